"""The two layouts that CIFAR-10 comes in, read into rows of one form and one order."""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cifar_study.errors import StudyError
from cifar_study.stages import CLASSES

SIDE = 32
ROW = 1 + SIDE * SIDE * 3  # a label, then the pixels: height, width, channel
# A file that claims more is not opened further; the real ones have 50,000 pictures in 120 MB.
MOST_ROWS, MOST_BYTES = 100_000, 1_000_000_000


def holds_pictures(folder: Path) -> bool:
    """Whether ``folder`` holds a data set in either layout; half of one is a StudyError."""
    return bool(_parquet_files(folder) or _batch_folder(folder))


def source_files(folder: Path) -> list[Path]:
    """The files that ``folder`` is decoded from; none where it holds no data set."""
    batches = None if _parquet_files(folder) else _batch_folder(folder)
    parts = _batch_files(batches) if batches else _parquet_files(folder)
    return [path for part in parts for path in part if path.exists()]


def decode(folder: Path) -> tuple[np.ndarray, int]:
    """Read a folder in either layout, unchecked: rows (N, 3073) in order, and how many train.

    A row is the label and then the pixels; training rows stand first. Missing
    or damaged files are a :class:`StudyError`.
    """
    if parquet := _parquet_files(folder):
        parts = [list(_parquet_rows(files)) for files in parquet]
    elif batches := _batch_folder(folder):
        parts = [list(_batch_rows(files)) for files in _batch_files(batches)]
    else:
        raise StudyError(
            f"{folder}: holds no CIFAR-10; expected train-*.parquet and test-*.parquet, "
            "or the folder cifar-10-batches-py"
        )
    ordered = [_in_order(np.concatenate(part)) for part in parts]
    return np.concatenate(ordered), len(ordered[0])


def _in_order(rows: np.ndarray) -> np.ndarray:
    """Rows sorted by label, then pixels: comparing rows as strings of bytes does both."""
    rows = np.ascontiguousarray(rows)
    return rows[np.argsort(rows.view(f"V{ROW}").ravel(), kind="stable")]


def _parquet_files(folder: Path) -> list[list[Path]]:
    parts = [
        # Not below hidden folders, where a download that was cut off may have left some.
        sorted(path for path in folder.glob(f"**/{part}-*.parquet") if not _hidden(path, folder))
        for part in ("train", "test")
    ]
    for part, files in zip(("train", "test"), parts, strict=True):
        if any(parts) and not files:
            raise StudyError(
                f"{folder}: {part}-*.parquet is missing; copy or download the data set again"
            )
    return parts if all(parts) else []


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _parquet_rows(files: list[Path]) -> Iterator[np.ndarray]:
    import pyarrow
    import pyarrow.parquet
    from tqdm import tqdm

    for path in files:
        try:
            claimed = pyarrow.parquet.read_metadata(path)
            size = sum(
                claimed.row_group(group).total_byte_size for group in range(claimed.num_row_groups)
            )
            if claimed.num_rows > MOST_ROWS or size > MOST_BYTES:
                raise ValueError(f"it claims {claimed.num_rows:,} pictures in {size:,} bytes")
            table = pyarrow.parquet.read_table(path, columns=["img", "label"])
            labels = table["label"].to_numpy()
            pictures = table["img"].combine_chunks().field("bytes")
            if labels.dtype.kind not in "iu":
                raise ValueError("its labels are not whole numbers")
        except Exception as error:  # a damaged table can raise nearly anything
            raise StudyError(f"{path}: {_damaged(error)}") from None
        rows = np.empty((len(labels), ROW), dtype=np.uint8)
        progress = tqdm(
            rows,
            desc=f"decoding {path.name}",
            unit=" pictures",
            delay=1,
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        for index, row in enumerate(progress):
            if not 0 <= labels[index] < len(CLASSES):
                raise StudyError(
                    f"{path}: label {labels[index]} of row {index} is out of range "
                    f"0 to {len(CLASSES) - 1}; copy or download the file again"
                )
            try:
                row[1:] = _pixels(pictures[index].as_py())
            except Exception:  # so can a damaged picture
                raise StudyError(
                    f"{path}: the picture in row {index} is damaged; "
                    "copy or download the file again"
                ) from None
            row[0] = labels[index]
        yield rows


def _pixels(content: bytes) -> np.ndarray:
    """The pixels of a PNG, in a row; one of another size is a ValueError, and not decoded."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if picture.size != (SIDE, SIDE):
                raise ValueError(f"it is {picture.size}")
            return np.asarray(picture.convert("RGB")).ravel()


def _batch_folder(folder: Path) -> Path | None:
    for candidate in (folder, folder / "cifar-10-batches-py"):
        if (candidate / "data_batch_1").exists():
            return candidate
    return None


def _batch_files(folder: Path) -> tuple[list[Path], list[Path]]:
    return [folder / f"data_batch_{number}" for number in range(1, 6)], [folder / "test_batch"]


class _ArraysOnly(pickle.Unpickler):
    """Unpickles the original batches, which need arrays and built-in types, and nothing else."""

    ALLOWED = {("numpy", "dtype"), ("numpy", "ndarray"), ("_codecs", "encode")} | {
        (module, "_reconstruct") for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"holds {module}.{name}, which no batch needs")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _batch_rows(files: list[Path]) -> Iterator[np.ndarray]:
    for path in files:
        try:
            with path.open("rb") as file:
                batch = _ArraysOnly(file, encoding="bytes").load()
            # Stored channel by channel; the rows here hold pixel by pixel.
            pixels = batch[b"data"].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
            given = batch[b"labels"]
            if not isinstance(given, list) or not all(type(label) is int for label in given):
                raise ValueError("its labels are not a list of whole numbers")
            labels = np.array(given, dtype=np.int64)
            if pixels.dtype != np.uint8 or len(labels) != len(pixels):
                raise ValueError("pictures and labels do not fit")
        except FileNotFoundError:
            raise StudyError(f"{path}: missing; copy or download the data set again") from None
        # A damaged pickle can raise nearly anything.
        except Exception as error:
            raise StudyError(f"{path}: {_damaged(error)}") from None
        if labels.size and (labels.min() < 0 or labels.max() >= len(CLASSES)):
            raise StudyError(
                f"{path}: a label is out of range 0 to {len(CLASSES) - 1}; "
                "copy or download the data set again"
            )
        yield np.hstack([labels[:, None].astype(np.uint8), pixels.reshape(len(labels), ROW - 1)])


def _damaged(error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"unreadable or only half copied ({reason}); copy or download it again"
