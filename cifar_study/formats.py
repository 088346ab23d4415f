"""The files that CIFAR-10 comes in, wherever they lie, decoded into rows of one form and order."""

import hashlib
import io
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

import numpy as np

from cifar_study.errors import StudyError, reason
from cifar_study.stages import SIDE, TEST, TRAIN

ROW = 1 + SIDE * SIDE * 3  # a label, then the pixels: height, width, channel
IMAGES, LABELS = ("img", "image"), ("label", "labels")  # columns of parquet files
BATCHES = re.compile("data_batch_[1-5]|test_batch")
ARCHIVES = re.compile(r".*\.(tar|tar\.gz|tgz|zip)", re.IGNORECASE)
AGAIN = "copy or download it again"

Rows = np.ndarray  # uint8 (N, ROW)
# A set to be decoded: the digest of its files, and what yields its training and its test rows
Candidate = tuple[str, Callable[[], Iterator[Rows]]]


def files_below(folder: Path, problems: list[str]) -> Iterator[Path]:
    """Every file at any depth, through links, but not of hidden folders, as unfinished ones are."""
    been = set()

    def unreadable(error: OSError) -> None:
        problems.append(f"{error.filename} can't be read ({reason(error)}); allow reading it")

    for place, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if name[0] != "." and real not in been)
        if real not in been:
            yield from (Path(place, name) for name in sorted(names) if name[0] != ".")
        been.add(real)


def candidates(folder: Path, files: list[Path], problems: list[str]) -> Iterator[Candidate]:
    """What may be CIFAR-10 among files below ``folder``; why others are not goes to ``problems``.

    The makers' batches, in every folder that has some of them, then Hugging Face's parquet
    files: those that are called alike are a set.
    """
    batches = [path for path in files if BATCHES.fullmatch(path.name)]
    for parent in dict.fromkeys(path.parent for path in batches):
        digests = [_digest(path) for path in batches if path.parent == parent]
        yield _joint(digests), lambda parent=parent: _batch_rows(parent)
    sets: dict = defaultdict(lambda: {"train": {}, "test": {}})
    for path in files:
        name = PurePath(path.relative_to(folder).as_posix().lower())
        if name.suffix != ".parquet":
            continue
        try:
            count, digest = _columns(path)[0], _digest(path)
        except StudyError as error:
            problems.append(str(error))
            continue
        except Exception as error:  # a damaged table can raise nearly anything
            problems.append(f"{path} is damaged or half copied ({reason(error)}); {AGAIN}")
            continue
        split = ["neither", *re.findall("train|test", str(name))][-1]
        stem = re.sub(r"copy|[\d\W_]", "", name.stem)  # as of "train-00000-of-00001 (1)"
        alike = re.sub("train|test", "", f"{name.parent}/{stem}")
        sets[alike].setdefault(split, {})[digest] = path, count  # the same file twice counts once
    for parts in sets.values():
        paths = [[path for path, _ in parts[split].values()] for split in ("train", "test")]
        train, test = (
            sum(count for _, count in parts[split].values()) for split in ("train", "test")
        )
        if (train, test) == (TRAIN, TEST):
            digest = _joint([*parts["train"], *parts["test"]])
            yield digest, lambda paths=paths: _table_rows(paths)
        else:
            first = next(path for part in parts.values() for path, _ in part.values())
            problems.append(
                f"{train:,} pictures in train*.parquet and {test:,} in test*.parquet beside "
                f"{first.name}, not {TRAIN:,} and {TEST:,}; copy what is missing there"
            )


def in_order(rows: Rows) -> Rows:
    """Rows sorted by label, then pixels: comparing rows as strings of bytes does both."""
    rows = np.ascontiguousarray(rows)
    return rows[np.argsort(rows.view(f"V{ROW}").ravel(), kind="stable")]


def unpacking(path: Path) -> str:
    """How to unpack an archive; empty for anything else."""
    archive = ARCHIVES.fullmatch(path.name)
    if not archive or not path.is_file():
        return ""
    module = "zipfile" if archive[1].lower() == "zip" else "tarfile"
    words = ["python", "-m", module, "-e", str(path), str(path.parent)]
    return f"unpack it with: {shlex.join(words)}"


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joint(digests: list[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def _batch_rows(folder: Path) -> Iterator[Rows]:
    """Unpickled only once their MD5 sums are those of the original, as torchvision knows them."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    class Batches(CIFAR10):
        base_folder = folder.name

    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    for name, md5 in (*CIFAR10.train_list, *CIFAR10.test_list, meta):
        if not check_integrity(folder / name, md5):
            kind = "damaged or half copied" if (folder / name).exists() else "missing"
            raise StudyError(f"{folder / name} is {kind}; {AGAIN}")
    for train in (True, False):
        part = Batches(folder.parent, train=train)
        labels = np.array(part.targets, dtype=np.uint8)
        yield np.hstack([labels[:, None], part.data.reshape(len(labels), ROW - 1)])


def _columns(path: Path) -> tuple[int, str, str]:
    """How many pictures a file claims, and its columns of pictures and of labels."""
    from pyarrow import parquet

    there = parquet.read_schema(path).names
    named = [name for names in (IMAGES, LABELS) for name in names if name in there]
    if len(named) != 2:
        raise StudyError(
            f"{path} is another set, of columns {', '.join(there)}; copy CIFAR-10 there"
        )
    return parquet.read_metadata(path).num_rows, *named


def _table_rows(parts: list[list[Path]]) -> Iterator[Rows]:
    from pyarrow import parquet
    from tqdm import tqdm

    size = TRAIN + TEST
    bar = tqdm(total=size, desc="decoding", unit=" pictures", delay=2, leave=False, disable=None)
    with bar:
        for paths in parts:
            rows = []
            for path in paths:
                _, *named = _columns(path)
                table = parquet.read_table(path, columns=named)
                rows_here = zip(*map(table.column, named), strict=True)
                for place, (picture, label) in enumerate(rows_here):
                    try:
                        rows.append(bytes([label.as_py()]) + _pixels(picture.as_py()))
                    except Exception as error:  # so can a damaged picture
                        what = f"row {place} of {path} is damaged ({reason(error)})"
                        raise StudyError(f"{what}; {AGAIN}") from None
                    bar.update()
            yield np.frombuffer(b"".join(rows), np.uint8).reshape(-1, ROW)


def _pixels(content: bytes | dict[str, bytes]) -> bytes:
    """The pixels of an encoded picture; one of another size is not decoded."""
    from PIL import Image

    if isinstance(content, dict):  # as Hugging Face has them
        content = content["bytes"]
    with Image.open(io.BytesIO(content)) as picture:
        if picture.size != (SIDE, SIDE):
            raise ValueError(f"{picture.width} × {picture.height} pixels")
        return picture.convert("RGB").tobytes()
