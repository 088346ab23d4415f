"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar_study.errors import StudyError

UNFINISHED = ".unfinished"  # ends the name of what is being written; git ignores it


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says against writing ``path`` into one clear error."""
    try:
        yield
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be written ({error.strerror or error}); make room or allow writing "
            "there, then run the same command again: nothing that was finished is lost"
        ) from None


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Replace ``path`` by ``content`` so that no reader and no power cut sees a part of it.

    What the operating system says against it is a :class:`StudyError`; the
    file that was there stays as it was.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED
        )
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        if os.name == "posix":  # the new name itself is on the disk only after this
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written in a folder that only we write to now."""
    for path in folder.glob(f".*{UNFINISHED}"):
        with writing(path):
            path.unlink()
