"""CIFAR-10 in memory: found, downloaded, decoded once, and proved pixel by pixel.

A set is known by its content: wherever below the folder its files lie, what they hold is brought
into one order (by label, then by pixels), and a SHA-256 over that is CIFAR-10's or is not. So
every source yields the same arrays and, with the same seed, the same training.
"""

import hashlib
import io
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifar_study.checkpoints import write
from cifar_study.errors import StudyError, reason, say, writing
from cifar_study.formats import AGAIN, ROW, Rows, candidates, files_below, in_order, unpacking
from cifar_study.runs import PROJECT
from cifar_study.stages import CLASSES, SIDE, TEST, TRAIN

DATA = PROJECT / "data"  # what is downloaded and decoded lies here, whatever folder is named
DECODED = "cifar10-*.npy"  # named by the files that it was decoded from
FINGERPRINT = "ef8c44da315580899423e5630347b520bf5028438fe629f2c56e43dec1b25471"
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

    def channel_means(self) -> tuple[float, ...]:
        """The mean of the training pixels by channel, on the scale [0, 1]."""
        channels = (self.train_images[..., channel] for channel in range(3))
        return tuple(float(pixels.mean(dtype=np.float64)) / 255 for pixels in channels)


def load(source: str = "auto") -> Dataset:
    """The data set of a folder; ``auto`` is data/, downloaded where it is empty; ``synthetic``.

    Decoded once, into data/, and memory-mapped from then on. A folder without
    CIFAR-10, whole and unchanged, is a :class:`StudyError`.
    """
    if source == "synthetic":
        return synthetic()
    if source == "auto":
        return _found(DATA) or _found_in_hugging_face_cache() or _downloaded()
    folder = Path(source)
    with suppress(RuntimeError):  # of a user that there is none of
        folder = folder.expanduser()
    if way := unpacking(folder):
        raise StudyError(f"{folder}: is an archive; {way}, and name its folder")
    if not folder.is_dir():
        kind = "is a file, not a" if folder.exists() else "no such"
        raise StudyError(f"{folder}: {kind} data folder; {ELSEWHERE}")
    if data := _found(folder):
        return data
    names = sorted(path.name for path in folder.iterdir())
    seen = f"saw {', '.join(names[:3])}{' …' * (len(names) > 3)}" if names else "it is empty"
    looked = "train*.parquet and test*.parquet, or data_batch_1 to 5 and test_batch"
    raise StudyError(f"{folder}: holds no CIFAR-10; looked for {looked}, {seen}; {ELSEWHERE}")


def _dataset(rows: Rows, train: int, fingerprint: str, name: str = "cifar10") -> Dataset:
    images = rows[:, 1:].reshape(-1, SIDE, SIDE, 3)  # a view: nothing is copied
    labels = np.ascontiguousarray(rows[:, 0])
    parts = (images[:train], labels[:train], images[train:], labels[train:])
    return Dataset(*parts, fingerprint, name)


def _found(folder: Path) -> Dataset | None:
    """The first whole CIFAR-10 below ``folder``; None where nothing looks like one."""
    if not folder.is_dir():
        return None
    problems: list[str] = []  # what looks like one and is not, with what helps
    files = list(files_below(folder, problems))
    for path in files:
        if path.match(DECODED) and (rows := _kept(path)) is not None:
            return _dataset(rows, TRAIN, FINGERPRINT)
    for digest, decode in candidates(folder, files, problems):
        kept = DATA / DECODED.replace("*", digest)
        if (rows := _kept(kept)) is not None:
            return _dataset(rows, TRAIN, FINGERPRINT)
        say(f"decoding the pictures in {folder}, some ten seconds")
        try:
            rows = np.concatenate([in_order(part) for part in decode()])
        except StudyError as error:
            problems.append(str(error))
            continue
        if _fingerprint(rows) == FINGERPRINT:
            _keep(kept, rows)
            return _dataset(rows, TRAIN, FINGERPRINT)
        problems.append(f"pictures or labels are not the original's, all of them; {AGAIN}")
    packed = [f"{path} is not unpacked; {way}" for path in files if (way := unpacking(path))]
    for problem in packed + problems:
        raise StudyError(f"{folder}: holds no whole CIFAR-10: {problem}")
    return None


def _fingerprint(rows: Rows) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows)).hexdigest()


def _kept(path: Path) -> Rows | None:
    """The decoded set that ``path`` holds, memory-mapped; None where it is not that."""
    try:
        rows = np.load(path, mmap_mode="c", allow_pickle=False)
        whole = rows.shape == (TRAIN + TEST, ROW) and rows.dtype == np.uint8
        return rows if whole and _fingerprint(rows) == FINGERPRINT else None
    except Exception:  # a damaged header can raise nearly anything
        return None


def _keep(path: Path, rows: Rows) -> None:
    content = io.BytesIO()
    np.save(content, rows, allow_pickle=False)
    try:
        write(path, content.getbuffer())
    except StudyError as error:
        why = str(error).partition(";")[0]
        say(f"{why}; make room or allow it, or the pictures are decoded anew each time")


def _found_in_hugging_face_cache() -> Dataset | None:
    """CIFAR-10 where other programs have it from Hugging Face; looked for without a network."""
    with suppress(ImportError):
        from huggingface_hub.constants import HF_HUB_CACHE

        for folder in sorted(Path(HF_HUB_CACHE).glob("datasets--*cifar10")):
            with suppress(StudyError):  # half of one
                if data := _found(folder):
                    return data
    return None


def _from_hugging_face(folder: Path) -> None:
    """The parquet files of uoft-cs/cifar10, 144 MB."""
    from huggingface_hub import hf_hub_download

    for part in ("train", "test"):
        name = f"plain_text/{part}-00000-of-00001.parquet"
        hf_hub_download("uoft-cs/cifar10", name, repo_type="dataset", local_dir=folder)


def _from_the_makers(folder: Path) -> None:
    """The original archive, 170 MB, its checksum verified by torchvision."""
    from torchvision.datasets import CIFAR10

    CIFAR10(folder, download=True)
    (folder / CIFAR10.filename).unlink(missing_ok=True)


# The makers' host has served at 55–80 kB/s since June 2026 (pytorch/vision issue 9536).
HOSTS: dict[str, Callable[[Path], None]] = {
    "Hugging Face": _from_hugging_face,
    "the makers' host (slow: up to an hour)": _from_the_makers,
}


def _downloaded() -> Dataset:
    """CIFAR-10 from the first host that serves it, in data/ only once it is whole."""
    reasons = []
    for name, fetch in HOSTS.items():
        say(f"downloading CIFAR-10 from {name} into {DATA}")
        with writing(DATA):
            DATA.mkdir(parents=True, exist_ok=True)
            incoming = tempfile.TemporaryDirectory(dir=DATA, prefix=".incoming-")
        with incoming:
            folder = Path(incoming.name)
            try:
                fetch(folder)
                if data := _found(folder):
                    for path in folder.glob("[!.]*"):
                        path.replace(DATA / path.name)
                    return data
                reasons.append(f"{name}: served something else")
            except Exception as error:  # whatever a network and two libraries can raise
                reasons.append(f"{name}: {reason(error)}")
    raise StudyError(
        f"CIFAR-10 could not be downloaded ({'; '.join(reasons)}); put it into {DATA} by hand, "
        "name a folder that has it with --data or CIFAR_STUDY_DATA, or try --data synthetic"
    )


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
        inside = SHAPES[label](y - centre_y, x - centre_x, size)
        paint, ground = random.randint(130, 256, size=3), random.randint(0, 120, size=3)
        picture = np.where(inside[..., None], paint, ground)
        noise = random.randint(-20, 21, size=picture.shape)
        row[1:] = np.clip(picture + noise, 0, 255).astype(np.uint8).ravel()
    return _dataset(rows, train, _fingerprint(rows), "synthetic")
