"""Files that are written whole or not at all, and JSON that is noticed when it changed."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cifar_study.errors import StudyError, reason

UNFINISHED = ".unfinished"  # ends the name of what is being written; git ignores it


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says against writing ``path`` into one clear error."""
    try:
        yield
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be written ({error.strerror or error}); {_way_out(error)}, then run "
            "the same command again: nothing that was finished is lost"
        ) from None


def _way_out(error: OSError) -> str:
    """What helps against an error of writing."""
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY):
        what = "folder" if error.errno in (errno.EISDIR, errno.ENOTEMPTY) else "file"
        return f"a {what} is in its place: move that away"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):
        return "allow writing there or choose another folder"
    if error.errno == errno.ENAMETOOLONG:
        return "choose a shorter name"
    return "make room or look at the disk"


def present(path: Path) -> bool:
    """Whether there is anything at ``path``; a place that can't be looked at is a StudyError."""
    try:
        return path.exists() or path.is_symlink()  # one to nowhere is damage, not absence
    except (OSError, ValueError) as error:  # of a folder without permission, of a name too long
        raise StudyError(
            f"{path}: can't be looked at ({reason(error)}); allow reading there, or choose another"
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


def check_writable(path: Path) -> None:
    """Raise now the :class:`StudyError` that :func:`write_whole` would raise in the end."""
    if present(path) and not path.is_file():
        raise StudyError(f"{path}: is there and no file; choose another name")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


def remove(paths: Iterable[Path]) -> None:
    """Remove files of a folder that only we write to now."""
    for path in paths:
        with writing(path):
            path.unlink()


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object as JSON that a person can read, with a SHA-256 over its other fields.

    One of them is the file's name, so that a file in another's place is noticed as well.
    """
    named = value | {"file": path.name}
    sealed = named | {"sha256": _digest(named)}
    write_whole(path, (json.dumps(sealed, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """What :func:`write_json` wrote; a file that is missing or changed is a :class:`StudyError`."""
    content = read_whole(path, remedy)
    try:
        value = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path}: unreadable ({reason(error)}); {remedy}") from None
    if not isinstance(value, dict) or value.pop("sha256", None) != _digest(value):
        raise StudyError(f"{path}: damaged (its checksum differs); {remedy}")
    if (name := value.pop("file", path.name)) != path.name:
        raise StudyError(f"{path}: is {name} under another name; {remedy}")
    return value


def read_whole(path: Path, remedy: str) -> bytes:
    """A file's bytes; one that is missing or unreadable is a :class:`StudyError`."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StudyError(f"{path}: missing; {remedy}") from None
    except OSError as error:
        raise StudyError(f"{path}: unreadable ({reason(error)}); {remedy}") from None


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
