"""The pictures: where they come from, that they are the right ones, and their labels.

Whatever the layout of the source, the decoded set is brought into one order
(by label, then by pixels), so every source of CIFAR-10 yields the same arrays,
the same fingerprint and, with the same seed, the same training.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cifar_study.errors import StudyError
from cifar_study.files import present, read_json, reason, write_json, write_whole
from cifar_study.layouts import ROW, SIDE, decode, holds_pictures, source_files
from cifar_study.stages import CLASSES

TRAIN, TEST = 50_000, 10_000
TRAIN_SAMPLE = 10_000  # training pictures that are evaluated after each epoch, as many as test ones
CHANNEL_MEANS = (0.49139968, 0.48215841, 0.44653091)  # published, of the training pixels
FINGERPRINT = "ef8c44da315580899423e5630347b520bf5028438fe629f2c56e43dec1b25471"
FOLDER_VARIABLE = "CIFAR_STUDY_DATA"
DEFAULT_FOLDER = Path("data")
DECODED = "cifar10-decoded.npy"
ELSEWHERE = "decoded-from.json"  # beside it, where it was decoded from a folder that is read-only
DRAWN_TRAIN, DRAWN_TEST = 2_000, 500  # pictures of the drawn set


@dataclass(frozen=True)
class Dataset:
    """Pictures ``uint8`` (N, 32, 32, 3) and labels ``uint8`` (N,), for training and test.

    ``fingerprint`` is the SHA-256 over labels and pixels in their order here.
    """

    name: str
    source: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    fingerprint: str

    def channel_means(self) -> tuple[float, ...]:
        """The mean of the training pixels by channel, on the scale [0, 1]."""
        return tuple(
            float(self.train_images[..., channel].mean(dtype=np.float64)) / 255
            for channel in range(3)
        )


def one_hot(labels: np.ndarray, classes: int = len(CLASSES)) -> np.ndarray:
    """Labels as probability vectors: certainty for the right class, zero elsewhere.

    Integer labels (N,) in, ``float32`` (N, ``classes``) out. A label outside
    0 … ``classes`` − 1 is a :class:`StudyError`.
    """
    labels = np.asarray(labels)
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise StudyError(f"label {wrong} is out of range: classes are numbered 0 to {classes - 1}")
    vectors = np.zeros((len(labels), classes), dtype=np.float32)
    vectors[np.arange(len(labels)), labels] = 1
    return vectors


def load(name: str = "auto") -> Dataset:
    """The data set called ``name``: ``auto``, ``synthetic`` or a folder.

    ``auto`` is the folder named by the environment variable CIFAR_STUDY_DATA,
    else ``data/``, which is filled by a download when it holds no data set.
    What is not CIFAR-10, whole and unchanged, is a :class:`StudyError`.
    """
    if name == "synthetic":
        return synthetic()
    if name != "auto":
        return load_folder(Path(name))
    if named := os.environ.get(FOLDER_VARIABLE):
        return load_folder(Path(named))
    if not _holds_pictures(DEFAULT_FOLDER):
        from cifar_study.download import download

        download(DEFAULT_FOLDER)
    return load_folder(DEFAULT_FOLDER)


def load_folder(folder: Path) -> Dataset:
    """CIFAR-10 from a folder in either layout, decoded once and memory-mapped afterwards."""
    if not present(folder) or not folder.is_dir():
        kind = "is a file, not a" if present(folder) else "no such"
        raise StudyError(
            f"{folder}: {kind} data folder; set {FOLDER_VARIABLE} or --data to the folder "
            "that holds CIFAR-10, or leave both away to download it"
        )
    try:
        return _load(folder)
    except OSError as error:  # what the layouts look for can't be looked at
        raise StudyError(
            f"{error.filename or folder}: unreadable ({reason(error)}); allow reading it, "
            "or choose another folder with --data"
        ) from None


def _load(folder: Path) -> Dataset:
    next(folder.iterdir(), None)  # without permission, glob would find nothing and say nothing
    decoded, same = _decoded_file(folder)
    if same and (data := _read_decoded(decoded, folder)):
        return data
    rows, train = decode(folder)
    data = _dataset("cifar10", folder, rows, train)
    check(data)
    _write_decoded(decoded, rows)
    if decoded.parent != folder:
        write_json(DEFAULT_FOLDER / ELSEWHERE, _description(folder))
    return data


def check(data: Dataset) -> None:
    """Raise :class:`StudyError` unless ``data`` is CIFAR-10, by counts and channel means."""
    counts = {
        "training": (data.train_labels, TRAIN // len(CLASSES)),
        "test": (data.test_labels, TEST // len(CLASSES)),
    }
    again = (
        "delete it and let it download again"
        if Path(data.source) == DEFAULT_FOLDER
        else f"copy the data set there again, or leave --data and {FOLDER_VARIABLE} away "
        "to have it downloaded"
    )
    remedy = f"{data.source}: not the whole of CIFAR-10; {again}"
    for part, (labels, expected) in counts.items():
        for name, count in zip(CLASSES, np.bincount(labels, minlength=len(CLASSES)), strict=True):
            if count != expected:
                raise StudyError(
                    f"{remedy} ({count} {part} pictures of class {name}, not {expected})"
                )
    means = data.channel_means()
    if not np.allclose(means, CHANNEL_MEANS, rtol=0, atol=1e-7):
        shown = ", ".join(f"{mean:.8f}" for mean in means)
        raise StudyError(f"{remedy} (channel means {shown} are not the published ones)")
    if data.fingerprint != FINGERPRINT:
        raise StudyError(f"{remedy} (its fingerprint differs from that of the original)")


def synthetic(train: int = DRAWN_TRAIN, test: int = DRAWN_TEST) -> Dataset:
    """Ten drawn shapes, one a class, for trials and tests that need no download.

    The same on every machine: drawn by integer arithmetic from a random stream
    that NumPy guarantees never to change.
    """
    random = np.random.RandomState(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    rows = np.empty((train + test, ROW), dtype=np.uint8)
    for index, row in enumerate(rows):
        label = row[0] = index % len(CLASSES)
        centre_y, centre_x = random.randint(12, 20, size=2)
        size = random.randint(7, 11)
        dy, dx = y - centre_y, x - centre_x
        distance = dy * dy + dx * dx
        shapes = (
            distance < size * size,  # disc
            (distance < size * size) & (distance > size * size // 3),  # ring
            np.maximum(abs(dy), abs(dx)) < size - 1,  # square
            abs(dy) + abs(dx) < size,  # diamond
            (dy < size) & (2 * abs(dx) < dy + size),  # triangle
            np.minimum(abs(dy), abs(dx)) < 3,  # cross
            abs(abs(dy) - abs(dx)) < 3,  # saltire
            (dy % 8) < 4,  # horizontal stripes
            (dx % 8) < 4,  # vertical stripes
            ((dy // 4 + dx // 4) % 2) == 0,  # checkerboard
        )
        paint, ground = random.randint(130, 256, size=3), random.randint(0, 120, size=3)
        picture = np.where(shapes[label][..., None], paint, ground)
        noise = random.randint(-20, 21, size=picture.shape)
        row[1:] = np.clip(picture + noise, 0, 255).astype(np.uint8).ravel()
    return _dataset("synthetic", "drawn", rows, train)


def _dataset(name: str, source: Path | str, rows: np.ndarray, train: int) -> Dataset:
    images = rows[:, 1:].reshape(-1, SIDE, SIDE, 3)  # a view: nothing is copied
    labels = np.ascontiguousarray(rows[:, 0])
    return Dataset(
        name,
        str(source),
        images[:train],
        labels[:train],
        images[train:],
        labels[train:],
        hashlib.sha256(np.ascontiguousarray(rows)).hexdigest(),
    )


def _holds_pictures(folder: Path) -> bool:
    return present(folder / DECODED) or holds_pictures(folder)


def _decoded_file(folder: Path) -> tuple[Path, bool]:
    """Where the decoded set lies, and whether what lies there was decoded from ``folder``.

    It lies beside its source, or here where that can't be written.
    """
    if folder.stat().st_mode & 0o222 and os.access(folder, os.W_OK):
        return folder / DECODED, present(folder / DECODED)
    try:
        same = read_json(DEFAULT_FOLDER / ELSEWHERE, "") == _description(folder)
    except StudyError:
        same = False
    return DEFAULT_FOLDER / DECODED, same


def _description(folder: Path) -> dict[str, Any]:
    """What tells whether a folder still holds what it held: names, sizes and times of its files."""
    files = {
        str(path.relative_to(folder)): [path.stat().st_size, path.stat().st_mtime_ns]
        for path in source_files(folder)
    }
    return {"folder": str(folder.resolve()), "files": files}


def _read_decoded(path: Path, source: Path) -> Dataset | None:
    """The data set from ``path``, or None where the file is not whole and must be made again."""
    try:
        rows = np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception:  # a damaged header can raise nearly anything
        return None
    if (
        not isinstance(rows, np.memmap)
        or rows.shape != (TRAIN + TEST, ROW)
        or rows.dtype != np.uint8
    ):
        return None
    data = _dataset("cifar10", source, rows, TRAIN)
    return data if data.fingerprint == FINGERPRINT else None


def _write_decoded(path: Path, rows: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, rows, allow_pickle=False)
    write_whole(path, content.getbuffer())
