"""Writing a run: each epoch's files whole and in order, under a lock, and starting anew."""

import hashlib
import json
import os
import platform
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import filelock
import numpy as np
import pandas as pd
import safetensors.numpy

from cifar_study import runs
from cifar_study.errors import StudyError, reason, writing
from cifar_study.runs import Result, Run, in_project, load_tensors, read, read_record


@dataclass
class Checkpoint:
    """All that going on after an epoch takes."""

    history: pd.DataFrame
    model: dict[str, np.ndarray]
    momentum: dict[str, np.ndarray]

    def save(self, run: Run, probabilities: np.ndarray, labels: np.ndarray, **about: Any) -> None:
        """Write the files of a finished epoch, the record last.

        ``about`` goes into the record: configuration, data and sessions.
        """
        folder, done = run.folder, len(self.history)
        parts = {"model": self.model, "momentum": self.momentum}
        state = {f"{part}.{name}": parts[part][name] for part in parts for name in parts[part]}
        contents = {
            _checkpoint(done): _packed(state),
            runs.PREDICTIONS: _packed({"probabilities": probabilities, "labels": labels}),
            runs.MODEL: _packed(self.model),
        }
        asked = ("epochs", "limit", "width", "data") if run.trial else ()
        record = {
            "format": runs.FORMAT,
            "stage": run.number,
            "title": run.stage.title,
            "trial": {name: getattr(run, name) for name in asked},
            "epochs_done": done,
            **about,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        }
        contents[runs.HISTORY] = self.history.to_csv(index=False, lineterminator="\n").encode()
        contents[runs.RECORD] = (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()
        for name, content in contents.items():
            write(folder / name, content)
        _drop_checkpoints(folder, keep=contents)
        _remove(run.before)

    @classmethod
    def load(cls, result: Result) -> Self:
        """What to go on from: the checkpoint that the record names."""
        remedy = "git keeps no checkpoint: train the run from its start with another --cache"
        tensors = load_tensors(result.run.folder, _checkpoint(result.epochs_done), remedy)
        parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "momentum": {}}
        for name, values in tensors.items():
            part, _, name = name.partition(".")
            parts[part][name] = values
        return cls(result.history, **parts)


@contextmanager
def training(run: Run, restart: bool = False, fingerprint: str = "") -> Iterator[Result | None]:
    """Hold a run and yield what is to go on; None at its beginning.

    ``restart`` sets what there is aside until the first new epoch is whole, and
    puts it back where none came. A result of something else is a StudyError.
    """
    with held(run):
        _settle(run)
        if restart and run.folder.exists():
            if folders := [path for path in run.folder.iterdir() if path.is_dir()]:
                raise StudyError(f"{folders[0]}: is not of this run; move it away before --restart")
            with writing(run.before):
                os.replace(run.folder, run.before)
        try:
            if result := current(run, fingerprint):
                _drop_checkpoints(run.folder, keep=result.record["files"])
            yield result
        finally:
            _settle(run)


def current(run: Run, fingerprint: str = "") -> Result | None:
    """What there is of a run, None before its first epoch; of something else it is a StudyError."""
    result = read(run)
    if result and (why := run.stale(result.record, fingerprint)):
        own = run.root.resolve() != in_project(runs.CACHE).resolve()  # what is delivered is kept
        anew = ", --restart trains it anew" * own
        raise StudyError(f"{run.folder}: stale: {why}; another --cache keeps it{anew}")
    return result


def settle(run: Run) -> None:
    """End the restart of a run whose process was killed: put back what it set aside, or drop it."""
    if run.before.exists():
        with held(run):
            _settle(run)


def _settle(run: Run) -> None:
    if run.before.exists() and read_record(run.folder):
        _remove(run.before)
    elif run.before.exists():  # no new epoch came
        _remove(run.folder)
        with writing(run.folder):
            os.replace(run.before, run.folder)


@contextmanager
def held(run: Run, wait: float | None = None) -> Iterator[None]:
    """Keep other processes off a run, waiting ``wait`` seconds; a holder that dies lets go.

    Without it, a holder on this machine has five seconds, one elsewhere two minutes: NFS keeps
    the lock of a machine that is gone for a minute and a half.
    """
    path, holder, node = run.folder.with_name(f"{run.folder.name}.lock"), "", platform.node()
    # A soft lock, filelock's fallback, would outlive a killed holder.
    lock = filelock.FileLock(path, is_singleton=False, fallback_to_soft=False)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # it is new, or Windows, where nobody reads it
            holder = path.read_text()
        if wait is None:
            wait = 120 if holder and not holder.endswith(f" on {node}") else 5
        try:
            lock.acquire(timeout=wait)
        except filelock.Timeout:
            raise StudyError(
                f"{run} is held by {holder or 'another process'}; wait for it or stop it"
            ) from None
        except OSError as error:
            raise StudyError(
                f"{path}: can't be locked ({reason(error)}), and a lock keeps two processes off "
                "one run; choose a folder elsewhere with --cache"
            ) from None
    try:
        with suppress(OSError):
            path.write_text(f"process {os.getpid()} on {node}")
        yield
    finally:
        lock.release()


def write(path: Path, content: bytes) -> None:
    """Replace a file at once: no reader, no kill and no power cut sees a part of it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(unfinished, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except OSError:  # on a full disk, what was written would keep its room
            unfinished.unlink(missing_ok=True)
            raise
        if os.name == "posix":  # the new name is on the disk only after this
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)


def _checkpoint(epoch: int | str) -> str:
    return f"checkpoint-{epoch}.safetensors"


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    return safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in arrays.items()})


def _drop_checkpoints(folder: Path, keep: Collection[str]) -> None:
    with writing(folder):
        for path in folder.glob(_checkpoint("*")):
            if path.name not in keep:
                path.unlink()


def _remove(folder: Path) -> None:
    """Remove a run's folder with its files; a folder within is not the run's, and stays."""
    with writing(folder):
        for path in folder.iterdir() if folder.exists() else ():
            path.unlink()
        if folder.exists():
            folder.rmdir()
