"""The two layouts that CIFAR-10 comes in, read into rows of one form and one order."""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cifar_study.cifar10 import CLASSES, SIDE
from cifar_study.errors import StudyError, reason

BATCHES = "cifar-10-batches-py"
ROW = 1 + SIDE * SIDE * 3  # a label, then the pixels: height, width, channel
# A file that claims more is not opened further; the real ones have 50,000 pictures in 120 MB.
MOST_ROWS, MOST_BYTES = 100_000, 1_000_000_000


def holds_pictures(folder: Path) -> bool:
    """Whether ``folder`` holds a data set in either layout; half of one is a StudyError."""
    return bool(_parquet_files(folder) or _batch_folder(folder))


def decode(folder: Path) -> tuple[np.ndarray, int]:
    """Read a folder in either layout, unchecked: rows (N, 3073) in order, and how many train.

    A row is the label and then the pixels; training rows stand first. Missing
    or damaged files are a :class:`StudyError`.
    """
    if parquet := _parquet_files(folder):
        parts = [list(_parquet_rows(files)) for files in parquet]
    elif batches := _batch_folder(folder):
        parts = [[_batch_rows(batches, train)] for train in (True, False)]
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
            disable=None,
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
    for candidate in (folder, folder / BATCHES):
        if candidate.name == BATCHES and (candidate / "data_batch_1").exists():
            return candidate
    return None


def _batch_rows(folder: Path, train: bool) -> np.ndarray:
    """The original batches, unpickled only once their MD5 sums are those of the original."""
    from torchvision.datasets import CIFAR10

    try:
        batches = CIFAR10(folder.parent, train=train)
    except RuntimeError as error:
        raise StudyError(f"{folder}: {_damaged(error)}") from None
    labels = np.array(batches.targets, dtype=np.uint8)
    return np.hstack([labels[:, None], batches.data.reshape(len(labels), ROW - 1)])


def _damaged(error: Exception) -> str:
    return f"unreadable or only half copied ({reason(error)}); copy or download it again"
