"""Every source yields the same checked pictures; whatever is wrong with one is said in a line."""

import hashlib
import io
import pickle
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from cifar_study import data
from cifar_study.errors import StudyError

TRAIN, TEST = "train.parquet", "test.parquet"
DRAWN = data.synthetic(200, 50)
PARTS = ((DRAWN.train_images, DRAWN.train_labels), (DRAWN.test_images, DRAWN.test_labels))


def write_table(path: Path, images, labels, columns=("img", "label")) -> None:
    import pyarrow.parquet

    pictures = []
    for image in images:
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG")
        pictures.append({"bytes": content.getvalue(), "path": None})
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


def rows(images: np.ndarray, labels: np.ndarray) -> list[bytes]:
    return [bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)]


def rows_of(of: data.Dataset) -> list[bytes]:
    return rows(of.train_images, of.train_labels) + rows(of.test_images, of.test_labels)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bytes]:
    """Lets 250 drawn pictures pass for CIFAR-10, offline: their rows, as Python orders them."""
    ordered = [row for part in PARTS for row in sorted(rows(*part))]
    monkeypatch.setattr(data, "TRAIN", 200)
    monkeypatch.setattr(data, "DATA", tmp_path / "data")
    monkeypatch.setattr(data, "FINGERPRINT", hashlib.sha256(b"".join(ordered)).hexdigest())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    offline = ConnectionError("Network is unreachable\nas it seems")
    monkeypatch.setattr("huggingface_hub.snapshot_download", Mock(side_effect=offline))
    monkeypatch.setenv("HOME", str(tmp_path))
    return ordered


def beside_cifar100(folder: Path, patch: pytest.MonkeyPatch) -> None:
    write_tables(folder / "cifar100", columns=("img", "fine_label"))
    write_tables(folder / "cifar10")
    (folder / "cifar10" / f"._{TRAIN}").write_text("what macOS leaves beside files")


def in_pieces_and_twice(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (images, labels), test = PARTS
    write_table(folder / "train-00000-of-00002.parquet", images[:90], labels[:90])
    write_table(folder / "train-00001-of-00002.parquet", images[90:], labels[90:])
    write_table(folder / "test-00000-of-00001.parquet", *test)
    for path in list(folder.iterdir()):
        path.with_stem(f"{path.stem} (1)").write_bytes(path.read_bytes())


def linked(folder: Path, patch: pytest.MonkeyPatch) -> None:
    write_tables(folder.parent / "elsewhere")
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "link").symlink_to(folder.parent / "elsewhere")
    (folder / "a" / "loop").symlink_to(folder)


LAYOUTS = {
    "a folder each, other columns": lambda folder, patch: write_tables(
        folder / "test_of_mine",
        ("train/0000.parquet", "test/0000.parquet"),
        columns=("image", "labels"),
    ),
    "in pieces and twice": in_pieces_and_twice,
    "beside CIFAR-100": beside_cifar100,
    "linked": linked,
    "batches": lambda folder, patch: write_batches(folder / "keras/x/cifar (1)", patch),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_set_and_is_left_as_it_was(
    layout: str, small: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    LAYOUTS[layout](tmp_path / "named", monkeypatch)
    before = sorted((tmp_path / "named").rglob("*"))
    for source in ("~/named", str(tmp_path / "named"), "auto"):
        loaded = data.load(source)
        assert rows_of(loaded) == small
        assert (loaded.fingerprint, loaded.name) == (data.FINGERPRINT, "cifar10")
        assert (len(loaded.train_labels), len(loaded.test_labels)) == (200, 50)
        loaded.train_images[0] = 0  # on a copy of the page: the file stays as it is
    assert capsys.readouterr().err.count("decoding the pictures") == 1
    assert sorted((tmp_path / "named").rglob("*")) == before
    assert len(list(data.DATA.iterdir())) == 1


def damaged(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = write_tables(folder) / TRAIN
    path.write_bytes(path.read_bytes()[:-100])


def a_bit_differs(folder: Path, patch: pytest.MonkeyPatch) -> None:
    images = DRAWN.train_images.copy()
    images[0, 0, 0, 0] ^= 1
    write_tables(folder, parts=((images, PARTS[0][1]), PARTS[1]))


REFUSALS = {
    "no such data folder; name another folder with --data": lambda folder, patch: None,
    "no train*.parquet and test*.parquet": lambda folder, patch: write_tables(folder, "ab"),
    "/b.gz is an archive; unpack it": lambda folder, patch: write_tables(folder, ("a", "b.gz")),
    "(test*.parquet is missing)": lambda folder, patch: write_table(folder / TRAIN, *PARTS[0]),
    "/test.parquet and what belongs to it are not the original (": damaged,
    "(its pictures or labels are others); copy or download it again": a_bit_differs,
}


@pytest.mark.parametrize("why", REFUSALS)
def test_what_is_not_cifar10_is_refused_in_a_line(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "named"
    REFUSALS[why](folder, monkeypatch)
    with pytest.raises(StudyError) as caught:
        data.load(str(folder))
    message = str(caught.value)
    assert message.startswith(f"{folder}: ")
    assert len(message.splitlines()) == 1
    assert why in message
    assert not data.DATA.exists()


def test_a_damaged_decoded_file_is_made_anew(
    tmp_path: Path, small: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tables(tmp_path / "named")
    with monkeypatch.context() as patch:  # nothing can be written into a file
        patch.setattr(data, "DATA", folder / TEST)
        assert rows_of(data.load(str(folder))) == small
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


def test_what_hugging_face_has_cached_is_used_offline(tmp_path: Path, small: list[bytes]) -> None:
    write_tables(tmp_path / "hub/datasets--uoft-cs--cifar10/snapshots/0123/plain_text")
    assert rows_of(data.load()) == small


def test_an_empty_folder_is_filled(small: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudyError, match=r"not be downloaded \(Network is unreachable\): put it"):
        data.load()
    download = Mock(side_effect=lambda *_, local_dir, **__: write_tables(local_dir / "plain_text"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    write_table(data.DATA / "plain_text" / TRAIN, *PARTS[0])  # a download that was broken off
    for _ in range(2):
        assert rows_of(data.load()) == small
    files = {"allow_patterns": "plain_text/*.parquet", "local_dir": data.DATA}
    download.assert_called_once_with("uoft-cs/cifar10", repo_type="dataset", **files)


def test_the_drawn_set_is_the_same_everywhere_and_balanced() -> None:
    drawn = data.load("synthetic")
    assert drawn.fingerprint == "e6e5a611dbe4039e73039f8ad4481b8012d3b354b724fb166bf7a70efc833955"
    assert hashlib.sha256(b"".join(rows_of(drawn))).hexdigest() == drawn.fingerprint
    assert drawn.name == "synthetic"
    for labels, count in ((drawn.train_labels, 200), (drawn.test_labels, 50)):
        assert np.bincount(labels).tolist() == [count] * 10
