"""Every source yields the same checked pictures; whatever is wrong with one is said in a line."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifar_study import data
from cifar_study.errors import StudyError, writing

TRAIN, TEST = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"
DRAWN = data.synthetic(200, 50)
PARTS = ((DRAWN.train_images, DRAWN.train_labels), (DRAWN.test_images, DRAWN.test_labels))


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_table(path: Path, images, labels, columns=("img", "label"), plain: bool = False) -> None:
    import pyarrow
    import pyarrow.parquet

    pictures = [image if isinstance(image, bytes) else png(image) for image in images]
    if not plain:  # as Hugging Face has them
        pictures = [{"bytes": picture, "path": None} for picture in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(dict(zip(columns, (pictures, list(labels)), strict=True)))
    pyarrow.parquet.write_table(table, path, row_group_size=100)


def write_tables(folder: Path, names=(TRAIN, TEST), parts=PARTS, **more) -> Path:
    for name, part in zip(names, parts, strict=True):
        write_table(folder / name, *part, **more)
    return folder


def write_batches(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """The makers' layout, whose MD5 sums these very bytes are made to have."""
    from torchvision.datasets import CIFAR10

    folder.mkdir(parents=True)
    (images, labels), test = PARTS
    parts = [*zip(np.array_split(images, 5), np.array_split(labels, 5), strict=True), test]
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for name, (images, labels) in zip(names, parts, strict=True):
        pixels = images.transpose(0, 3, 1, 2).reshape(len(images), -1)  # channel by channel
        content = {"data": pixels, "labels": labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    patch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in names[:5]])
    patch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    patch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bytes]:
    """Lets 250 drawn pictures pass for CIFAR-10: their rows, ordered by Python, as bytes.

    data/, the home folder and Hugging Face's cache are empty ones, and there is no network.
    """
    rows = [
        sorted(bytes([label]) + image.tobytes() for image, label in zip(*part, strict=True))
        for part in PARTS
    ]
    monkeypatch.setattr(data, "TRAIN", 200)
    monkeypatch.setattr(data, "DATA", tmp_path / "data")
    whole = hashlib.sha256(b"".join(rows[0] + rows[1])).hexdigest()
    monkeypatch.setattr(data, "FINGERPRINT", whole)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    monkeypatch.setenv("HOME", str(tmp_path))
    return rows[0] + rows[1]


def offline(*_: object, **__: object) -> None:
    raise ConnectionError("Network is unreachable\nas it seems")


def rows_of(loaded: data.Dataset) -> list[bytes]:
    images = np.concatenate([loaded.train_images, loaded.test_images])
    labels = [*loaded.train_labels, *loaded.test_labels]
    return [bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)]


def mapped(array: np.ndarray | None) -> bool:
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


def beside_cifar100(folder: Path, patch: pytest.MonkeyPatch) -> None:
    columns = ("img", "fine_label")
    write_tables(folder / "cifar100", columns=columns)
    write_tables(folder, ("cifar100-train.parquet", "cifar100-test.parquet"), columns=columns)
    write_tables(folder / "cifar10")
    (folder / "cifar10" / f"._{TRAIN}").write_text("what macOS leaves beside files")


def in_pieces_and_twice(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (images, labels), test = PARTS
    write_table(folder / "train-00000-of-00002.parquet", images[:90], labels[:90])
    write_table(folder / "train-00001-of-00002.parquet", images[90:], labels[90:])
    write_table(folder / TEST, *test)
    for path in list(folder.iterdir()):
        path.with_stem(f"{path.stem} (1)").write_bytes(path.read_bytes())


def linked(folder: Path, patch: pytest.MonkeyPatch) -> None:
    write_tables(folder.parent / "elsewhere")
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "link").symlink_to(folder.parent / "elsewhere")
    (folder / "a" / "loop").symlink_to(folder)


LAYOUTS = {
    "as on Hugging Face": lambda folder, patch: write_tables(folder / "plain_text"),
    "other columns": lambda folder, patch: write_tables(folder, columns=("image", "labels")),
    "pictures as bytes": lambda folder, patch: write_tables(folder, plain=True),
    "a folder each": lambda folder, patch: write_tables(
        folder / "test_of_mine", ("train/0000.parquet", "test/0000.parquet")
    ),
    "in pieces and twice": in_pieces_and_twice,
    "beside CIFAR-100": beside_cifar100,
    "linked": linked,
    "batches": lambda folder, patch: write_batches(folder / "cifar-10-batches-py", patch),
    "batches deeper": lambda folder, patch: write_batches(folder / "keras/x/cifar (1)", patch),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_set_and_is_left_as_it_was(
    layout: str, small: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LAYOUTS[layout](tmp_path / "named", monkeypatch)
    before = sorted((tmp_path / "named").rglob("*"))
    first, second = data.load("~/named"), data.load(str(tmp_path / "named"))
    for loaded in (first, second):
        assert rows_of(loaded) == small
        assert (loaded.fingerprint, loaded.name) == (data.FINGERPRINT, "cifar10")
        assert (len(loaded.train_labels), len(loaded.test_labels)) == (200, 50)
    assert not mapped(first.train_images)
    assert mapped(second.train_images)
    second.train_images[0] = 0  # on a copy of the page: the file stays as it is
    assert rows_of(data.load("auto")) == small
    assert sorted((tmp_path / "named").rglob("*")) == before
    assert len(list(data.DATA.iterdir())) == 1


def nothing(folder: Path, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "notes.txt").touch()


def damaged_table(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = write_tables(folder) / TRAIN
    path.write_bytes(path.read_bytes()[:-100])


def damaged_picture(folder: Path, patch: pytest.MonkeyPatch) -> None:
    pictures = [png(image) for image in DRAWN.test_images]
    write_tables(folder, parts=(PARTS[0], ([pictures[0][:-40], *pictures[1:]], PARTS[1][1])))


def damaged_batch(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = write_batches(folder / "cifar-10-batches-py", patch) / "data_batch_4"
    path.write_bytes(path.read_bytes()[:-1])


def archive(folder: Path, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "cifar-10-python.tar.gz").touch()


def a_bit_differs(folder: Path, patch: pytest.MonkeyPatch) -> None:
    images = DRAWN.train_images.copy()
    images[0, 0, 0, 0] ^= 1
    write_tables(folder, parts=((images, PARTS[0][1]), PARTS[1]))


REFUSALS = {
    nothing: "holds no CIFAR-10: no train*.parquet and test*.parquet, or data_batch_1 to 5 and "
    "test_batch, but notes.txt; name another folder with --data",
    lambda folder, patch: None: "no such data folder; name another folder with --data",
    lambda folder, patch: folder.touch(): "is a file, not a data folder; name another folder",
    lambda folder, patch: write_table(folder / TRAIN, *PARTS[0]): "test*.parquet is missing beside "
    f"FOLDER/{TRAIN}; copy or download it again",
    lambda folder, patch: write_tables(
        folder, columns=("img", "fine_label")
    ): f"FOLDER/{TRAIN}: damaged, or another set (",
    damaged_table: f"FOLDER/{TRAIN}: damaged, or another set (",
    damaged_picture: f"FOLDER/{TEST}: damaged, or another set (",
    damaged_batch: "FOLDER/cifar-10-batches-py: a file is missing or damaged; copy",
    archive: "FOLDER/cifar-10-python.tar.gz is an archive; unpack it",
    a_bit_differs: f"FOLDER/{TRAIN} and those with it are not the original; copy",
}


@pytest.mark.parametrize("make", REFUSALS)
def test_what_is_not_cifar10_is_refused_in_a_line(
    make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "named"
    make(folder, monkeypatch)
    with pytest.raises(StudyError) as caught:
        data.load(str(folder))
    message = str(caught.value)
    assert message.startswith(f"{folder}: ")
    assert len(message.splitlines()) == 1
    assert REFUSALS[make].replace("FOLDER", str(folder)) in message
    assert not data.DATA.exists()


def test_a_damaged_decoded_file_is_made_anew(tmp_path: Path, small: list[bytes]) -> None:
    folder = write_tables(tmp_path / "named")
    data.load(str(folder))
    [kept] = data.DATA.iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), pickle.dumps([1, 2])):
        kept.write_bytes(damaged)
        assert rows_of(data.load(str(folder))) == small
        assert kept.read_bytes() == whole
    # Other pictures in the same folder are not taken for those that were decoded.
    write_tables(folder, parts=(PARTS[0], (DRAWN.test_images[1:], DRAWN.test_labels[1:])))
    with pytest.raises(StudyError, match="are not the original"):
        data.load(str(folder))


def test_where_the_decoded_file_cannot_be_written_a_line_says_so_and_training_goes_on(
    tmp_path: Path, small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, content: bytes) -> None:
        with writing(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(data, "write", full)
    for _ in range(2):
        assert rows_of(data.load(str(write_tables(tmp_path / "named")))) == small
        [line] = capsys.readouterr().err.splitlines()[1:]
        assert re.fullmatch(
            r".*/data/cifar10-\w+\.npy: can't be written \(No space left on device\); make room or "
            "allow it, or the pictures are decoded anew each time",
            line,
        )


def test_what_hugging_face_has_cached_is_used_without_a_network(
    tmp_path: Path, small: list[bytes]
) -> None:
    repository = tmp_path / "hub" / "datasets--uoft-cs--cifar10"
    write_tables(repository / "blobs", ("one", "two"))
    snapshot = repository / "snapshots" / "0123" / "plain_text"
    snapshot.mkdir(parents=True)
    for name, blob in ((TRAIN, "one"), (TEST, "two")):
        (snapshot / name).symlink_to(f"../../../blobs/{blob}")
    assert rows_of(data.load()) == small


def test_an_empty_data_folder_is_filled_and_no_other(
    tmp_path: Path, small: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StudyError) as caught:
        data.load()
    assert str(caught.value) == (
        f"{data.DATA}: no such data folder; it could not be downloaded (Network is unreachable): "
        "put it there by hand, name a folder that has it with --data or CIFAR_STUDY_DATA, or try "
        "--data synthetic"
    )
    asked = []

    def download(name: str, *, repo_type: str, allow_patterns: str, local_dir: Path) -> None:
        asked.append((name, repo_type, allow_patterns))
        write_tables(local_dir / "plain_text")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(StudyError, match="no such data folder"):
        data.load(str(tmp_path / "dta"))
    write_table(data.DATA / "plain_text" / TRAIN, *PARTS[0])  # a download that was broken off
    for _ in range(2):
        assert rows_of(data.load()) == small
    assert asked == [("uoft-cs/cifar10", "dataset", "plain_text/*.parquet")]


def test_the_drawn_set_is_the_same_everywhere_and_balanced(monkeypatch) -> None:
    drawn = data.load("synthetic")
    assert drawn.fingerprint == "e6e5a611dbe4039e73039f8ad4481b8012d3b354b724fb166bf7a70efc833955"
    assert hashlib.sha256(b"".join(rows_of(drawn))).hexdigest() == drawn.fingerprint
    assert drawn.name == "synthetic"
    assert np.bincount(drawn.train_labels).tolist() == [200] * 10
    assert np.bincount(drawn.test_labels).tolist() == [50] * 10


@pytest.mark.real_data
@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_real_pictures_are_all_there_in_their_order(
    real_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(data, "DATA", tmp_path)
    folder = tmp_path / "linked"  # without what may be decoded there
    folder.mkdir()
    for path in real_folder.glob("*.parquet"):
        (folder / path.name).symlink_to(path.resolve())
    loaded = data.load(str(folder))
    means = (0.49139968, 0.48215841, 0.44653091)
    assert loaded.train_images.mean((0, 1, 2)) / 255 == pytest.approx(means, abs=5e-9)
    rows = rows_of(loaded)
    assert (len(rows), rows[:50_000]) == (60_000, sorted(rows[:50_000]))
    assert rows[50_000:] == sorted(rows[50_000:])
    assert hashlib.sha256(b"".join(rows)).hexdigest() == (
        "ef8c44da315580899423e5630347b520bf5028438fe629f2c56e43dec1b25471"
    )
