"""CIFAR-10 in memory: found, downloaded, decoded once, and proved pixel by pixel.

A set is known by its content: wherever below the folder its files lie, what they hold is brought
into one order (by label, then by pixels), and a SHA-256 over that is CIFAR-10's or is not. So
every source yields the same arrays and, with the same seed, the same training.
"""

import hashlib
import io
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cifar_study.checkpoints import write
from cifar_study.errors import StudyError, reason, say
from cifar_study.runs import PROJECT
from cifar_study.stages import CLASSES, SIDE, TRAIN

DATA = PROJECT / "data"  # what is downloaded and decoded lies here, whatever folder is named
DECODED = "cifar10-*.npy"  # named by the files that it was decoded from
FINGERPRINT = "ef8c44da315580899423e5630347b520bf5028438fe629f2c56e43dec1b25471"
ROW = 1 + SIDE * SIDE * 3  # a label, then the pixels: height, width, channel
COLUMNS = (("label", "labels"), ("img", "image"))  # of parquet files
ARCHIVES = (".tar", ".gz", ".tgz", ".zip")
AGAIN = "copy or download it again"
ELSEWHERE = "name another folder with --data, or leave --data and CIFAR_STUDY_DATA out to download"


@dataclass(frozen=True)
class Dataset:
    """Pictures ``uint8`` (N, 32, 32, 3) and labels ``uint8`` (N,), for training and test.

    ``fingerprint`` is the SHA-256 over labels and pixels in their order here.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    fingerprint: str
    name: str = "cifar10"


def load(source: str = "auto") -> Dataset:
    """The data set of a folder; ``auto`` is data/, downloaded where it is empty; ``synthetic``.

    Decoded once, into data/, and memory-mapped from then on. A folder without
    CIFAR-10, whole and unchanged, is a :class:`StudyError`.
    """
    if source == "synthetic":
        return synthetic()
    try:
        return _found(DATA if source == "auto" else Path(os.path.expanduser(source)))  # noqa: PTH111
    except StudyError as error:
        if source != "auto":
            raise
        return _downloaded(str(error).partition(";")[0])


def _downloaded(problem: str) -> Dataset:
    """From Hugging Face's cache on this machine, else from Hugging Face (144 MB) into data/."""
    from huggingface_hub import constants, snapshot_download

    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("datasets--*cifar10")):
        with suppress(StudyError):
            return _found(folder)
    say(f"downloading CIFAR-10 from Hugging Face into {DATA}")
    files = {"allow_patterns": "plain_text/*.parquet", "local_dir": DATA}
    try:
        snapshot_download("uoft-cs/cifar10", repo_type="dataset", **files)
    except Exception as error:  # whatever a network can raise
        raise StudyError(
            f"{problem}; it could not be downloaded ({reason(error)}): put it there by hand, name "
            "a folder that has it with --data or CIFAR_STUDY_DATA, or try --data synthetic"
        ) from None
    return _found(DATA)


def _found(folder: Path) -> Dataset:
    """The first whole CIFAR-10 at any depth, through links; hidden folders may be unfinished."""
    if not folder.is_dir():
        kind = "is a file, not a" if folder.exists() else "no such"
        raise StudyError(f"{folder}: {kind} data folder; {ELSEWHERE}")
    files = []
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place).resolve()
        deeper = (name for name in folders if name[0] != ".")
        # A link to a folder above would lead around in a circle.
        folders[:] = sorted(n for n in deeper if not here.is_relative_to((here / n).resolve()))
        files += [Path(place, name) for name in sorted(names) if name[0] != "."]
    for path in files:
        if path.match(DECODED) and (rows := _kept(path)) is not None:
            return _dataset(rows, TRAIN, FINGERPRINT)
    problems = [f"{path} is an archive; unpack it" for path in files if path.suffix in ARCHIVES]
    for sources, decode in _sets(folder, files):
        digest = hashlib.sha256("".join(map(_digest, sources)).encode()).hexdigest()[:16]
        kept = DATA / DECODED.replace("*", digest)
        try:
            if (rows := _kept(kept)) is None:
                say(f"decoding the pictures in {folder}, some ten seconds")
                rows = np.concatenate([_in_order(part) for part in decode()])
                if _fingerprint(rows) != FINGERPRINT:
                    raise StudyError(
                        f"{sources[0]} and those with it are not the original; {AGAIN}"
                    )
                _keep(kept, rows)
        except StudyError as error:
            problems.append(str(error))
        else:
            return _dataset(rows, TRAIN, FINGERPRINT)
    if problems:
        raise StudyError(f"{folder}: holds no whole CIFAR-10: {problems[0]}")
    looked = "train*.parquet and test*.parquet, or data_batch_1 to 5 and test_batch"
    seen = ", ".join(sorted(path.name for path in folder.iterdir())[:3]) or "nothing"
    raise StudyError(f"{folder}: holds no CIFAR-10: no {looked}, but {seen}; {ELSEWHERE}")


def _dataset(rows: np.ndarray, train: int, fingerprint: str, name: str = "cifar10") -> Dataset:
    images = rows[:, 1:].reshape(-1, SIDE, SIDE, 3)  # a view: nothing is copied
    labels = np.ascontiguousarray(rows[:, 0])
    parts = (images[:train], labels[:train], images[train:], labels[train:])
    return Dataset(*parts, fingerprint, name)


def _fingerprint(rows: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows)).hexdigest()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept(path: Path) -> np.ndarray | None:
    """The decoded set that ``path`` holds, memory-mapped; None where it is not that."""
    try:
        rows = np.load(path, mmap_mode="c", allow_pickle=False)
        return rows if _fingerprint(rows) == FINGERPRINT else None
    except Exception:  # a damaged header can raise nearly anything
        return None


def _keep(path: Path, rows: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, rows, allow_pickle=False)
    try:
        write(path, content.getbuffer())
    except StudyError as error:
        why = str(error).partition(";")[0]
        say(f"{why}; make room or allow it, or the pictures are decoded anew each time")


def _sets(
    folder: Path, files: list[Path]
) -> Iterator[tuple[list[Path], Callable[[], Iterator[np.ndarray]]]]:
    """What may be CIFAR-10: its files, and what yields the rows of its two parts, unordered."""
    sets: dict = defaultdict(lambda: {"train": {}, "test": {}})
    for path in files:
        if path.name == "data_batch_1":
            yield sorted(path.parent.glob("*_batch*")), partial(_batches, path.parent)
        name = path.relative_to(folder).as_posix().lower()
        parts = re.findall("train|test", name)
        if name.endswith(".parquet") and parts:  # those that are called alike are a set
            stem = re.sub(r"copy|[\d\W_]", "", path.stem.lower())  # of "train-00000-of-00001 (1)"
            alike = re.sub("train|test", "", f"{os.path.dirname(name)}/{stem}")  # noqa: PTH120
            sets[alike][parts[-1]][_digest(path)] = path  # the same file twice counts once
    for found in sets.values():
        paths = {part: list(found[part].values()) for part in found}
        yield [*paths["train"], *paths["test"]], partial(_tables, paths)


def _in_order(rows: np.ndarray) -> np.ndarray:
    """Rows sorted by label, then pixels: comparing rows as strings of bytes does both."""
    rows = np.ascontiguousarray(rows)
    return rows[np.argsort(rows.view(f"V{ROW}").ravel(), kind="stable")]


def _batches(folder: Path) -> Iterator[np.ndarray]:
    """The makers' own files; torchvision checks their MD5 sums before it unpickles them."""
    from torchvision.datasets import CIFAR10

    class Batches(CIFAR10):
        base_folder = folder.name

    for train in (True, False):
        try:
            part = Batches(folder.parent, train=train)
        except RuntimeError:
            raise StudyError(f"{folder}: a file is missing or damaged; {AGAIN}") from None
        labels = np.array(part.targets, dtype=np.uint8)
        yield np.hstack([labels[:, None], part.data.reshape(len(labels), -1)])


def _tables(parts: dict[str, list[Path]]) -> Iterator[np.ndarray]:
    """Hugging Face's parquet files, of each part one or more."""
    from PIL import Image
    from pyarrow import parquet
    from tqdm import tqdm

    for part, paths in parts.items():
        rows = []
        for path in paths:
            try:
                there = parquet.read_schema(path).names
                names = [name for names in COLUMNS for name in names if name in there]
                labels, images = parquet.read_table(path, columns=names).select(names)
                bar = tqdm(images, desc=f"decoding {path.name}", delay=2, leave=False, disable=None)
                for label, image in zip(labels, bar, strict=True):
                    content = image.as_py()
                    content = content["bytes"] if isinstance(content, dict) else content
                    with Image.open(io.BytesIO(content)) as picture:
                        pixels = np.asarray(picture.convert("RGB")).ravel()
                    rows.append(np.append(np.uint8(label.as_py()), pixels))
            except Exception as error:  # a damaged file can raise nearly anything
                raise StudyError(
                    f"{path}: damaged, or another set ({reason(error)}); {AGAIN}"
                ) from None
        if not rows:
            beside = next(path for other in parts.values() for path in other)
            raise StudyError(f"{part}*.parquet is missing beside {beside}; {AGAIN}")
        yield np.stack(rows)


# Which pixels a drawn shape takes, by rows and columns from its centre and by its size; one a class
SHAPES: tuple[Callable[[np.ndarray, np.ndarray, int], np.ndarray], ...] = (
    lambda y, x, size: y * y + x * x < size * size,  # disc
    lambda y, x, size: (y * y + x * x < size * size) & (y * y + x * x > size * size // 3),  # ring
    lambda y, x, size: np.maximum(abs(y), abs(x)) < size - 1,  # square
    lambda y, x, size: abs(y) + abs(x) < size,  # diamond
    lambda y, x, size: (y < size) & (2 * abs(x) < y + size),  # triangle
    lambda y, x, size: np.minimum(abs(y), abs(x)) < 3,  # cross
    lambda y, x, size: abs(abs(y) - abs(x)) < 3,  # saltire
    lambda y, x, size: y % 8 < 4,  # horizontal stripes
    lambda y, x, size: x % 8 < 4,  # vertical stripes
    lambda y, x, size: (y // 4 + x // 4) % 2 == 0,  # checkerboard
)


def synthetic(train: int = 2_000, test: int = 500) -> Dataset:
    """Ten drawn shapes, one a class, for trials and tests that need no download.

    The same on every machine: by integers from a random stream that NumPy never changes.
    """
    random = np.random.RandomState(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    rows = np.empty((train + test, ROW), dtype=np.uint8)
    for index, row in enumerate(rows):
        label = row[0] = index % len(CLASSES)
        centre_y, centre_x = random.randint(12, 20, size=2)
        size = random.randint(7, 11)
        inside = SHAPES[label](y - centre_y, x - centre_x, size)
        paint, ground = random.randint(130, 256, size=3), random.randint(0, 120, size=3)
        picture = np.where(inside[..., None], paint, ground)
        noise = random.randint(-20, 21, size=picture.shape)
        row[1:] = np.clip(picture + noise, 0, 255).astype(np.uint8).ravel()
    return _dataset(rows, train, _fingerprint(rows), "synthetic")
