"""Writes pictures in the two layouts that CIFAR-10 comes in, as its publishers do."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from cifar_study.datasets import Dataset


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_table(path: Path, pictures: list[bytes], labels: list[int]) -> None:
    """The Hugging Face layout: columns img{bytes,path} and label."""
    images = [{"bytes": picture, "path": None} for picture in pictures]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table(
        {"img": pyarrow.array(images, kind), "label": pyarrow.array(labels, pyarrow.int64())}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path, row_group_size=100)


def write_parquet(folder: Path, data: Dataset) -> Path:
    parts = {
        "train": (data.train_images, data.train_labels),
        "test": (data.test_images, data.test_labels),
    }
    for part, (images, labels) in parts.items():
        name = f"{part}-00000-of-00001.parquet"
        write_table(folder / name, [png(image) for image in images], labels.tolist())
    return folder


class _Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did, from which the original files come."""

    def save_string(self, value: bytes | str) -> None:
        content = value.encode("ascii") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch = pickle._Pickler.dispatch | {bytes: save_string, str: save_string}


def pickle_as_python2(value: object) -> bytes:
    content = io.BytesIO()
    _Python2Pickler(content, protocol=2).dump(value)
    # and NumPy's modules had no underscore
    return content.getvalue().replace(b"numpy._core", b"numpy.core")


def write_batch(path: Path, images: np.ndarray, labels: list[int]) -> None:
    """The original layout: a pickled dict, pixels channel by channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels_first = np.stack([image.transpose(2, 0, 1).ravel() for image in images])
    batch = {
        "batch_label": "one batch",
        "labels": labels,
        "data": channels_first,
        "filenames": ["a.png"] * len(labels),
    }
    path.write_bytes(pickle_as_python2(batch))


def write_batches(folder: Path, data: Dataset) -> Path:
    batches = folder / "cifar-10-batches-py"
    images = np.array_split(data.train_images, 5)
    labels = np.array_split(data.train_labels, 5)
    for number in range(5):
        write_batch(batches / f"data_batch_{number + 1}", images[number], labels[number].tolist())
    write_batch(batches / "test_batch", data.test_images, data.test_labels.tolist())
    return folder
