"""CIFAR-10 in memory: found, downloaded, decoded once, and proved pixel by pixel.

A set is known by its content: wherever below the folder its files lie, what they hold is brought
into one order (by label, then by pixels), and a SHA-256 over that is CIFAR-10's or is not. So
every source yields the same arrays and, with the same seed, the same training.
"""

import glob
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
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
    if source != "auto":
        return _found(Path(source).expanduser())
    try:
        return _found(DATA)
    except StudyError as error:
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
    """The first whole CIFAR-10 at any depth, through links; what is hidden may be unfinished."""
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such data folder; {ELSEWHERE}")
    # Path.glob follows no links. By a link there are several ways to a file: the shortest counts.
    names = glob.glob(f"{glob.escape(str(folder))}/**/*", recursive=True)  # noqa: PTH207
    paths = map(Path, sorted(names, key=len, reverse=True))
    files = sorted({path.resolve(): path for path in paths if path.is_file()}.values())
    for path in files:
        if path.match(DECODED) and (rows := _kept(path)) is not None:
            return _dataset(rows, TRAIN, FINGERPRINT)
    archives = [path for path in files if path.suffix in (".tar", ".gz", ".tgz", ".zip")]
    problems = [f"{path} is an archive; unpack it" for path in archives]
    for sources, read in _sets(files):
        try:
            return _dataset(_decoded(sources, read), TRAIN, FINGERPRINT)
        except ImportError:
            raise
        except Exception as error:  # a damaged file can raise nearly anything
            what = f"{sources[0]} and what belongs to it are not the original ({reason(error)})"
            problems.append(f"{what}; copy or download it again")
    problems.append(f"no train*.parquet and test*.parquet, nor data_batch_1; {ELSEWHERE}")
    raise StudyError(f"{folder}: holds no whole CIFAR-10: {problems[0]}")


def _sets(files: list[Path]) -> Iterator[tuple[list[Path], Callable]]:
    """What may be CIFAR-10: its files, and what reads the rows of its two parts from them."""
    sets = defaultdict(dict)
    for path in files:
        if path.name == "data_batch_1":
            yield sorted(path.parent.glob("*_batch*")), _batches
        if path.suffix == ".parquet" and re.search("train|test", str(path).lower()):
            # Those that are called alike are a set, as "train-00000-of-00001 (1)" is.
            place = re.sub("train|test", "", str(path.parent).lower())
            name = re.sub(r"train|test|copy|[\d\W_]", "", path.stem.lower())
            sets[place, name][_sha256(path.read_bytes())] = path  # the same twice counts once
    for paths in sets.values():
        yield list(paths.values()), _tables


def _decoded(sources: list[Path], read: Callable) -> np.ndarray:
    """The rows of CIFAR-10: what was kept when these files were read before, else anew."""
    digest = _sha256("".join(_sha256(path.read_bytes()) for path in sources).encode())
    path = DATA / DECODED.replace("*", digest[:16])
    if (rows := _kept(path)) is not None:
        return rows
    say(f"decoding the pictures in {sources[0].parent}, some ten seconds")
    rows = np.concatenate([_in_order(part) for part in read(sources)])
    if _sha256(rows) != FINGERPRINT:
        raise StudyError("its pictures or labels are others")
    content = io.BytesIO()
    np.save(content, rows, allow_pickle=False)
    with suppress(StudyError):  # where there is no room, they are decoded each time
        write(path, content.getbuffer())
    return rows


def _kept(path: Path) -> np.ndarray | None:
    """The decoded set that ``path`` holds, memory-mapped; None where it is not that."""
    try:
        rows = np.load(path, mmap_mode="c", allow_pickle=False)
        return rows if _sha256(rows) == FINGERPRINT else None
    except Exception:  # a damaged header can raise nearly anything
        return None


def _sha256(content: bytes | np.ndarray) -> str:
    return hashlib.sha256(content).hexdigest()


def _dataset(rows: np.ndarray, train: int, fingerprint: str, name: str = "cifar10") -> Dataset:
    images = rows[:, 1:].reshape(-1, SIDE, SIDE, 3)  # a view: nothing is copied
    labels = np.ascontiguousarray(rows[:, 0])
    return Dataset(
        images[:train], labels[:train], images[train:], labels[train:], fingerprint, name
    )


def _in_order(rows: np.ndarray) -> np.ndarray:
    """Rows sorted by label, then pixels: comparing rows as strings of bytes does both."""
    return rows[np.argsort(rows.view(f"V{ROW}").ravel(), kind="stable")]


def _batches(paths: list[Path]) -> Iterator[np.ndarray]:
    """The makers' own files; torchvision checks their MD5 sums before it unpickles them."""
    from torchvision.datasets import CIFAR10

    folder = paths[0].parent

    class Batches(CIFAR10):
        base_folder = folder.name

    for train in (True, False):
        part = Batches(folder.parent, train=train)
        labels = np.array(part.targets, dtype=np.uint8)
        yield np.hstack([labels[:, None], part.data.reshape(len(labels), -1)])


def _tables(paths: list[Path]) -> list[np.ndarray]:
    from PIL import Image
    from pyarrow import parquet

    parts = {"train": [], "test": []}
    for path in paths:
        rows = parts[re.findall("train|test", str(path).lower())[-1]]
        table = parquet.read_table(path)
        names = [name for name in ("label", "labels", "img", "image") if name in table.schema.names]
        for label, image in zip(*table.select(names), strict=True):
            with Image.open(io.BytesIO(image["bytes"].as_py())) as picture:
                pixels = np.asarray(picture.convert("RGB")).ravel()
            rows.append(np.append(np.uint8(label.as_py()), pixels))
    if missing := [part for part, rows in parts.items() if not rows]:
        raise StudyError(f"{missing[0]}*.parquet is missing")
    return [np.stack(rows) for rows in parts.values()]


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
        row[1:] = np.clip(picture + random.randint(-20, 21, picture.shape), 0, 255).ravel()
    return _dataset(rows, train, _sha256(rows), "synthetic")
