"""CIFAR-10 in memory: found, downloaded, decoded once, and proved pixel by pixel.

A set is known by its content, not by its files' names: whatever they are called and wherever
below the folder they lie, what they hold is brought into one order (by label, then by pixels),
and a SHA-256 over that is CIFAR-10's or is not. So every source yields the same arrays and, with
the same seed, the same training.
"""

import hashlib
import io
import os
import re
import shlex
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifar_study.checkpoints import write
from cifar_study.errors import StudyError, one_line, reason, say, writing
from cifar_study.runs import PROJECT
from cifar_study.stages import CLASSES, SIDE, TEST, TRAIN

DATA = PROJECT / "data"  # what is downloaded and decoded lies here, whatever folder is named
DECODED = "cifar10-*.npy"  # named by the files that it was decoded from
FINGERPRINT = "ef8c44da315580899423e5630347b520bf5028438fe629f2c56e43dec1b25471"
ROW = 1 + SIDE * SIDE * 3  # a label, then the pixels: height, width, channel
IMAGES, LABELS = ("img", "image"), ("label", "labels", "fine_label")  # columns of parquet files
ARCHIVES = {".tar": "tarfile", ".tar.gz": "tarfile", ".tgz": "tarfile", ".zip": "zipfile"}
REPOSITORY = "uoft-cs/cifar10"
AGAIN = "copy or download it again"
WAYS_OUT = "name another folder with --data, or leave --data and CIFAR_STUDY_DATA out to download"

Rows = np.ndarray  # uint8 (N, ROW), training pictures first
Problems = list[tuple[str, str]]  # what was seen instead of CIFAR-10, and what helps


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
        if data := (DATA.is_dir() and _found(DATA)) or _found_in_hugging_face_cache():
            return data
        return _downloaded()
    folder = Path(source)
    with suppress(RuntimeError):  # of a user that there is none of
        folder = folder.expanduser()
    if not folder.is_dir():
        if remedy := _unpack(folder):
            raise StudyError(f"{folder}: is an archive that is not unpacked; {remedy}")
        kind = "is a file, not a" if folder.exists() else "no such"
        raise StudyError(f"{folder}: {kind} data folder; {WAYS_OUT}")
    if data := _found(folder):
        return data
    names = sorted(path.name for path in folder.iterdir())
    seen = f"saw {', '.join(names[:3])}{' …' * (len(names) > 3)}" if names else "it is empty"
    looked = "train*.parquet and test*.parquet, or data_batch_1 to 5 and test_batch"
    raise StudyError(f"{folder}: holds no CIFAR-10; looked for {looked}, {seen}; {WAYS_OUT}")


def _dataset(rows: Rows, train: int, fingerprint: str, name: str = "cifar10") -> Dataset:
    images = rows[:, 1:].reshape(-1, SIDE, SIDE, 3)  # a view: nothing is copied
    labels = np.ascontiguousarray(rows[:, 0])
    parts = (images[:train], labels[:train], images[train:], labels[train:])
    return Dataset(*parts, fingerprint, name)


def _fingerprint(rows: Rows) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows)).hexdigest()


def _found(folder: Path) -> Dataset | None:
    """The first whole CIFAR-10 below ``folder``; None where nothing looks like one."""
    problems: Problems = []
    files = list(_files(folder, problems))
    for path in files:
        if path.match(DECODED) and (rows := _kept(path)) is not None:
            return _dataset(rows, TRAIN, FINGERPRINT)
    for digests, decode in (*_batches(files), *_tables(folder, files, problems)):
        kept = DATA / DECODED.replace("*", hashlib.sha256("".join(digests).encode()).hexdigest())
        if (rows := _kept(kept)) is None:
            say(f"decoding the pictures in {folder}, some ten seconds")
            try:
                rows = np.concatenate([_in_order(part) for part in decode()])
            except StudyError as error:
                problems.append((str(error), AGAIN))
                continue
            if _fingerprint(rows) != FINGERPRINT:
                seen = "its pictures or labels are not the original's (another fingerprint)"
                problems.append((seen, AGAIN))
                continue
            _keep(kept, rows)
        return _dataset(rows, TRAIN, FINGERPRINT)
    archives = [(f"{path} is not unpacked", way) for path in files if (way := _unpack(path))]
    problems = archives + problems
    if problems:
        (seen, remedy), more = problems[0], len(problems) - 1
        others = f" (and {more} more that will not do)" * (more > 0)
        raise StudyError(f"{folder}: holds no whole CIFAR-10: {seen}{others}; {remedy}")
    return None


def _files(folder: Path, problems: Problems) -> Iterator[Path]:
    """Every file at any depth, through links, but not of hidden folders, as unfinished ones are."""
    been = set()

    def unreadable(error: OSError) -> None:
        problems.append((f"{error.filename} can't be read ({reason(error)})", "allow reading it"))

    for place, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if name[0] != "." and real not in been)
        if real not in been:
            yield from (Path(place, name) for name in sorted(names) if name[0] != ".")
        been.add(real)


def _in_order(rows: Rows) -> Rows:
    """Rows sorted by label, then pixels: comparing rows as strings of bytes does both."""
    rows = np.ascontiguousarray(rows)
    return rows[np.argsort(rows.view(f"V{ROW}").ravel(), kind="stable")]


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    except (StudyError, OSError) as error:
        why = str(error).partition(";")[0]
        say(f"{why}; make room or allow it, or the pictures are decoded anew each time")


# A set to be decoded: the digests of its files, and what yields its two parts, unordered
Source = tuple[list[str], Callable[[], Iterator[Rows]]]


def _batches(files: list[Path]) -> Iterator[Source]:
    """The makers' own files, in every folder that has some of them."""
    name = re.compile("data_batch_[1-5]|test_batch")
    batches = [path for path in files if name.fullmatch(path.name)]
    for folder in dict.fromkeys(path.parent for path in batches):
        digests = [_digest(path) for path in batches if path.parent == folder]
        yield digests, lambda folder=folder: _batch_rows(folder)


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
            raise StudyError(f"{folder / name} is {kind}")
    for train in (True, False):
        part = Batches(folder.parent, train=train)
        labels = np.array(part.targets, dtype=np.uint8)
        yield np.hstack([labels[:, None], part.data.reshape(len(labels), ROW - 1)])


def _tables(folder: Path, files: list[Path], problems: Problems) -> Iterator[Source]:
    """Parquet files, as Hugging Face has them: those that are called alike, else all together."""
    sets: dict = defaultdict(lambda: {"train": {}, "test": {}})
    for path in files:
        if path.suffix.lower() != ".parquet":
            continue
        name = path.relative_to(folder).as_posix().lower()
        if not (parts := re.findall("train|test", name)):
            remedy = "call it train.parquet or test.parquet"
            problems.append((f"{path} has neither train nor test in its name", remedy))
            continue
        try:
            count, digest = len(_labels(path)), _digest(path)
        except StudyError as error:
            problems.append((str(error), WAYS_OUT))
            continue
        except Exception as error:  # a damaged table can raise nearly anything
            problems.append((f"{path} is damaged or half copied ({reason(error)})", AGAIN))
            continue
        stem = re.sub(r"copy|copie|kopie|[\d\W_]", "", Path(name).stem)
        alike = re.sub("train|test", "", f"{Path(name).parent}/{stem}")
        for key in (alike, "all"):  # the same file twice counts once
            sets[key][parts[-1]][digest] = (path, count)
    sets["all"] = sets.pop("all", {})  # the last resort
    for found in sets.values():
        counts = {part: sum(count for _, count in found[part].values()) for part in found}
        if counts == {"train": TRAIN, "test": TEST}:
            parts = [[path for path, _ in found[part].values()] for part in found]
            yield [*found["train"], *found["test"]], lambda parts=parts: _table_rows(parts)
        elif counts:
            where = next(path for part in found.values() for path, _ in part.values())
            seen = f"{counts['train']:,} training and {counts['test']:,} test pictures"
            wanted = f"{TRAIN:,} and {TEST:,}"
            problems.append((f"{seen} beside {where}, not {wanted}", "copy what is missing"))


def _labels(path: Path) -> np.ndarray:
    import pyarrow.parquet

    name = _column(path, LABELS)
    labels = pyarrow.parquet.read_table(path, columns=[name])[name].to_numpy()
    if labels.dtype.kind not in "iu" or not np.isin(labels, range(len(CLASSES))).all():
        last = len(CLASSES) - 1
        raise StudyError(
            f"{path} is another set: its labels are not whole numbers from 0 to {last}"
        )
    return labels


def _column(path: Path, names: tuple[str, ...]) -> str:
    import pyarrow.parquet

    there = pyarrow.parquet.read_schema(path).names
    for name in names:
        if name in there:
            return name
    raise StudyError(f"{path} is another set: its columns are {', '.join(there)}")


def _table_rows(parts: list[list[Path]]) -> Iterator[Rows]:
    import pyarrow.parquet
    from tqdm import tqdm

    size = TRAIN + TEST
    bar = tqdm(total=size, desc="decoding", unit=" pictures", delay=2, leave=False, disable=None)
    with bar:
        for paths in parts:
            rows = []
            for path in paths:
                name = _column(path, IMAGES)
                labels, pictures = _labels(path), pyarrow.parquet.read_table(path, columns=[name])
                for index, picture in enumerate(pictures[name]):
                    try:
                        rows.append(np.append(labels[index].astype(np.uint8), _pixels(picture)))
                    except Exception as error:  # so can a damaged picture
                        seen = f"the picture in row {index} of {path} is damaged"
                        raise StudyError(f"{seen} ({reason(error)})") from None
                    bar.update()
            yield np.stack(rows)


def _pixels(picture) -> np.ndarray:
    """The pixels of an encoded picture, in a row; one of another size is not decoded."""
    from PIL import Image

    value = picture.as_py()
    with Image.open(io.BytesIO(value["bytes"] if isinstance(value, dict) else value)) as opened:
        if opened.size != (SIDE, SIDE):
            raise ValueError(f"it has {opened.width} × {opened.height} pixels")
        return np.asarray(opened.convert("RGB")).ravel()


def _unpack(path: Path) -> str:
    """How to unpack an archive; empty for any other file."""
    for ending, module in ARCHIVES.items():
        if path.name.lower().endswith(ending) and path.is_file():
            words = ["python", "-m", module, "-e", str(path), str(path.parent)]
            return f"unpack it with: {shlex.join(words)}"
    return ""


def _found_in_hugging_face_cache() -> Dataset | None:
    """CIFAR-10 where other programs have it from Hugging Face; looked for without a network."""
    with suppress(ImportError, StudyError):
        from huggingface_hub.constants import HF_HUB_CACHE

        for folder in sorted(Path(HF_HUB_CACHE).glob("datasets--*cifar10")):
            if data := _found(folder):
                return data
    return None


def _from_hugging_face(folder: Path) -> None:
    """The parquet files of uoft-cs/cifar10, 144 MB."""
    from huggingface_hub import hf_hub_download

    for part in ("train", "test"):
        name = f"plain_text/{part}-00000-of-00001.parquet"
        hf_hub_download(REPOSITORY, name, repo_type="dataset", local_dir=folder)


def _from_the_makers(folder: Path) -> None:
    """The original archive, 170 MB, its checksum verified by torchvision."""
    from torchvision.datasets import CIFAR10

    CIFAR10(folder, download=True)
    (folder / CIFAR10.filename).unlink(missing_ok=True)


# The makers' host has served at 55–80 kB/s since June 2026 (pytorch/vision issue 9536).
HOSTS: dict[str, Callable[[Path], None]] = {
    f"Hugging Face ({REPOSITORY})": _from_hugging_face,
    "the makers' host (slow: up to an hour)": _from_the_makers,
}


def _downloaded() -> Dataset:
    """CIFAR-10 from the first host that serves it, in data/ only once it is whole."""
    reasons = []
    for name, fetch in HOSTS.items():
        with writing(DATA):
            DATA.mkdir(parents=True, exist_ok=True)
            incoming = tempfile.TemporaryDirectory(dir=DATA, prefix=".incoming-")
        with incoming:
            say(f"downloading CIFAR-10 from {name} into {DATA}")
            try:
                fetch(Path(incoming.name))
                if data := _found(Path(incoming.name)):
                    for path in Path(incoming.name).glob("[!.]*"):
                        path.replace(DATA / path.name)
                    return data
                reasons.append(f"{name}: it served something else")
            except Exception as error:  # whatever a network and two libraries can raise
                reasons.append(f"{name}: {reason(error)}")
            say(one_line(f"no luck with {reasons[-1]}"))
    raise StudyError(
        f"CIFAR-10 could not be downloaded ({'; '.join(reasons)}); put it into {DATA} by hand, "
        "name a folder that has it with --data or CIFAR_STUDY_DATA, or try --data synthetic"
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
    return _dataset(rows, train, _fingerprint(rows), "synthetic")
