"""Locks that keep two processes off the same files; a holder that dies lets go."""

import errno
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from cifar_study.atomic import writing
from cifar_study.errors import StudyError
from cifar_study.results.run import LOCK


@contextmanager
def hold(folder: Path, doing: str, timeout: float = 0) -> Iterator[None]:
    """Hold ``folder`` for what is being done, waiting ``timeout`` seconds for another holder.

    A negative ``timeout`` waits for as long as it takes. A folder that stays held is a
    :class:`StudyError`, as is one whose file system has no locks or can't be written.
    """
    path = folder / LOCK
    lock = filelock.FileLock(path, is_singleton=False, fallback_to_soft=False)
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _acquire(lock, path, doing, timeout)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            raise StudyError(
                f"{path}: this file system has no locks, which keep two processes off one run; "
                "choose another folder with --cache"
            ) from None
        path.write_text(f"process {os.getpid()} on {platform.node()}")
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: filelock.BaseFileLock, path: Path, doing: str, timeout: float) -> None:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        held = f"{doing} by {path.read_text() or 'another process'} ({path})"
        if timeout:
            print(f"waiting: {held}", file=sys.stderr, flush=True)
        try:
            lock.acquire(timeout=timeout)
        except filelock.Timeout:
            raise StudyError(f"{held}; wait for it or stop it") from None
