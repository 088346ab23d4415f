"""Writes pictures in the two layouts that CIFAR-10 comes in, as its publishers do."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from cifar_study.datasets import Dataset, dataset


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
    (batches / "batches.meta").write_bytes(pickle_as_python2({"label_names": list("abcdefghij")}))
    return folder


def pass_for_original(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the batches in ``folder``, as they are now, have the MD5 sums that torchvision asks for.

    Those are checked before anything is unpickled; with them, only these very bytes are.
    """
    batches = folder / "cifar-10-batches-py"

    def md5(name: str) -> str:
        return hashlib.md5((batches / name).read_bytes()).hexdigest()

    names = [f"data_batch_{number}" for number in range(1, 6)]
    patch.setattr(CIFAR10, "train_list", [[name, md5(name)] for name in names])
    patch.setattr(CIFAR10, "test_list", [["test_batch", md5("test_batch")]])
    patch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5("batches.meta")})


def pass_for_cifar10(patch: pytest.MonkeyPatch, data: Dataset) -> None:
    """Let a few drawn pictures, in either layout, pass for the whole of CIFAR-10."""
    parts = ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
    rows = [
        sorted(bytes([label]) + image.tobytes() for image, label in zip(*part, strict=True))
        for part in parts
    ]
    patch.setattr(dataset, "TRAIN", len(data.train_labels))
    patch.setattr(dataset, "TEST", len(data.test_labels))
    patch.setattr(dataset, "FINGERPRINT", hashlib.sha256(b"".join(rows[0] + rows[1])).hexdigest())
    patch.delenv("CIFAR_STUDY_DATA", raising=False)
