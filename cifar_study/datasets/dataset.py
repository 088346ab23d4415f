"""CIFAR-10 in memory, and the proof that it is the original, pixel by pixel.

Whatever the layout of the source, the decoded set is brought into one order
(by label, then by pixels), so every source of CIFAR-10 yields the same arrays,
the same fingerprint and, with the same seed, the same training.
"""

import hashlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifar_study.atomic import present, write_whole
from cifar_study.cifar10 import SIDE, TEST, TRAIN
from cifar_study.datasets.formats import ROW, decode
from cifar_study.errors import StudyError, reason

FINGERPRINT = "ef8c44da315580899423e5630347b520bf5028438fe629f2c56e43dec1b25471"
DECODED = "cifar10-decoded.npy"


@dataclass(frozen=True)
class Dataset:
    """Pictures ``uint8`` (N, 32, 32, 3) and labels ``uint8`` (N,), for training and test.

    ``fingerprint`` is the SHA-256 over labels and pixels in their order here.
    """

    name: str
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


def dataset_from(name: str, rows: np.ndarray, train: int) -> Dataset:
    """The data set of rows as :func:`~cifar_study.datasets.formats.decode` gives them."""
    images = rows[:, 1:].reshape(-1, SIDE, SIDE, 3)  # a view: nothing is copied
    labels = np.ascontiguousarray(rows[:, 0])
    return Dataset(
        name,
        images[:train],
        labels[:train],
        images[train:],
        labels[train:],
        hashlib.sha256(np.ascontiguousarray(rows)).hexdigest(),
    )


def load_folder(folder: Path) -> Dataset:
    """CIFAR-10 from a folder in either layout; what is not the original is a :class:`StudyError`.

    Decoded once and memory-mapped afterwards, where the folder can be written.
    """
    if not present(folder) or not folder.is_dir():
        kind = "is a file, not a" if present(folder) else "no such"
        raise StudyError(
            f"{folder}: {kind} data folder; set CIFAR_STUDY_DATA or --data to the folder "
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
    decoded = folder / DECODED
    if present(decoded) and (data := _read_decoded(decoded)):
        return data
    print(f"decoding the pictures in {folder}, some ten seconds", file=sys.stderr, flush=True)
    rows, train = decode(folder)
    data = dataset_from("cifar10", rows, train)
    if data.fingerprint != FINGERPRINT:
        raise StudyError(
            f"{folder}: not the whole of CIFAR-10, unchanged (its fingerprint differs from that "
            "of the original); copy the data set there again, or leave --data and "
            "CIFAR_STUDY_DATA away to have it downloaded"
        )
    if folder.stat().st_mode & 0o222 and os.access(folder, os.W_OK):
        content = io.BytesIO()
        np.save(content, rows, allow_pickle=False)
        write_whole(decoded, content.getbuffer())
    return data


def _read_decoded(path: Path) -> Dataset | None:
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
    data = dataset_from("cifar10", rows, TRAIN)
    return data if data.fingerprint == FINGERPRINT else None
