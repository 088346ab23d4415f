"""Every source yields the same checked pictures; whatever is wrong with one is said in a line."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts_on_disk import (
    pass_for_cifar10,
    pass_for_original,
    png,
    write_batches,
    write_parquet,
    write_table,
)

from cifar_study import datasets
from cifar_study.datasets import Dataset, dataset
from cifar_study.datasets.dataset import DECODED
from cifar_study.datasets.download import download, from_hugging_face
from cifar_study.datasets.formats import decode
from cifar_study.errors import StudyError
from cifar_study.labels import one_hot

TRAIN_FILE, TEST_FILE = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"


def drawn() -> Dataset:
    return datasets.synthetic(train=200, test=50)


def sorted_rows(data: Dataset) -> tuple[list[bytes], list[bytes]]:
    """Label and pixels of each picture as bytes, ordered by Python."""
    parts = ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
    train, test = (
        sorted(
            bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)
        )
        for images, labels in parts
    )
    return train, test


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return {
        "parquet": write_parquet(folder / "parquet", drawn()),
        "batches": write_batches(folder / "batches", drawn()),
    }


@pytest.fixture
def original_batches(sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the batches among the sources, and those alone, have the original's MD5 sums."""
    pass_for_original(monkeypatch, sources["batches"])


@pytest.fixture(params=["parquet", "batches"])
def source(
    request: pytest.FixtureRequest, sources: dict[str, Path], tmp_path: Path, original_batches: None
) -> Path:
    """A folder of our own in either layout."""
    return shutil.copytree(sources[request.param], tmp_path / "source")


@pytest.fixture
def small_original(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dataset:
    """Lets 250 drawn pictures pass for the whole of CIFAR-10, in a working folder of its own."""
    data = drawn()
    pass_for_cifar10(monkeypatch, data)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return data


def one_line_naming(path: Path, caught: pytest.ExceptionInfo[StudyError]) -> bool:
    message = str(caught.value)
    return str(path) in message and len(message.splitlines()) == 1


# --- labels -----------------------------------------------------------------------------------


def test_one_hot_by_hand() -> None:
    vectors = one_hot(np.array([2, 0]), classes=3)
    assert vectors.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert vectors.dtype == np.float32
    assert one_hot(np.array([9], dtype=np.uint8)).tolist() == [[0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    assert one_hot(np.array([], dtype=np.uint8)).shape == (0, 10)


@pytest.mark.parametrize("label", [-1, 10, 255])
def test_a_label_out_of_range_is_an_error(label: int) -> None:
    with pytest.raises(StudyError, match=f"label {label} is out of range: .* 0 to 9"):
        one_hot(np.array([3, label, 4]))


# --- both layouts -----------------------------------------------------------------------------


def test_both_layouts_yield_the_same_rows_in_the_order_of_label_and_pixels(
    sources: dict[str, Path], original_batches: None
) -> None:
    expected_train, expected_test = sorted_rows(drawn())
    for folder in sources.values():
        rows, train = decode(folder)
        assert train == 200
        assert rows.dtype == np.uint8
        assert [row.tobytes() for row in rows] == expected_train + expected_test


def test_both_layouts_load_as_the_same_data_set(
    sources: dict[str, Path], original_batches: None, small_original: Dataset, tmp_path: Path
) -> None:
    loaded = [
        datasets.load(str(shutil.copytree(folder, tmp_path / name)))
        for name, folder in sources.items()
    ]
    assert loaded[0].fingerprint == loaded[1].fingerprint == dataset.FINGERPRINT
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        one, other = (getattr(data, field) for data in loaded)
        assert np.array_equal(one, other), field
    assert loaded[0].train_images.shape == (200, 32, 32, 3)
    assert loaded[0].test_labels.tolist() == sorted(small_original.test_labels.tolist())


def test_the_folder_of_the_batches_itself_will_do(
    sources: dict[str, Path], original_batches: None
) -> None:
    rows, _ = decode(sources["batches"] / "cifar-10-batches-py")
    assert len(rows) == 250


# --- what can be wrong with a source ------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        datasets.load(str(tmp_path / "nowhere"))
    assert one_line_naming(tmp_path / "nowhere", caught)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no CIFAR-10") as caught:
        datasets.load(str(tmp_path))
    assert one_line_naming(tmp_path, caught)


@pytest.mark.parametrize("missing", [TRAIN_FILE, TEST_FILE])
def test_half_of_the_parquet_files_is_an_error(
    missing: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(sources["parquet"], tmp_path / "half")
    (folder / missing).unlink()
    with pytest.raises(StudyError, match=f"{missing.split('-')[0]}-.*is missing") as caught:
        datasets.load(str(folder))
    assert one_line_naming(folder, caught)


@pytest.mark.parametrize("missing", ["data_batch_1", "data_batch_4", "test_batch", "batches.meta"])
def test_a_missing_batch_is_an_error(
    missing: str, sources: dict[str, Path], original_batches: None, tmp_path: Path
) -> None:
    folder = shutil.copytree(sources["batches"], tmp_path / "half")
    (folder / "cifar-10-batches-py" / missing).unlink()
    with pytest.raises(StudyError) as caught:
        datasets.load(str(folder))
    assert one_line_naming(folder, caught)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_file_copied_in_part_is_named(kept: float, source: Path) -> None:
    """By its name where it is a table, by that of their folder where it is a batch."""
    [path] = [path for path in source.rglob("*") if path.name in (TRAIN_FILE, "data_batch_2")]
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    with pytest.raises(StudyError, match="half copied") as caught:
        datasets.load(str(source))
    assert one_line_naming(path if path.name == TRAIN_FILE else path.parent, caught)


def rewrite_training(folder: Path, pictures: list[bytes], labels: list[int]) -> Path:
    write_table(folder / TRAIN_FILE, pictures, labels)
    write_table(folder / TEST_FILE, pictures[:1], [0])
    return folder / TRAIN_FILE


GOOD = png(drawn().train_images[0])


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no picture",
        GOOD[:-40],
        GOOD[:60] + b"\0" * 40 + GOOD[100:],
        png(np.zeros((32, 31, 3), np.uint8)),
    ],
    ids=["empty", "text", "cut off", "overwritten", "another size"],
)
def test_a_damaged_picture_is_named_with_its_row(damaged: bytes, tmp_path: Path) -> None:
    path = rewrite_training(tmp_path, [GOOD, GOOD, damaged], [0, 1, 2])
    with pytest.raises(StudyError, match="row 2 is damaged") as caught:
        decode(tmp_path)
    assert one_line_naming(path, caught)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8))
def test_a_picture_damaged_anywhere_is_read_or_named(
    tmp_path: Path, position: int, garbage: bytes
) -> None:
    picture = GOOD[:position] + garbage + GOOD[position + len(garbage) :]
    path = rewrite_training(tmp_path, [picture], [0])
    try:
        rows, _ = decode(tmp_path)
    except StudyError as error:
        assert str(path) in str(error)
    else:
        assert rows.shape == (2, 3073)


@pytest.mark.parametrize("label", [-1, 10, 300])
def test_a_label_out_of_range_is_named(label: int, tmp_path: Path) -> None:
    table = rewrite_training(tmp_path, [GOOD, GOOD], [0, label])
    with pytest.raises(StudyError, match=f"label {label} of row 1 is out of range") as caught:
        decode(tmp_path)
    assert one_line_naming(table, caught)


def test_a_table_of_something_else_is_named(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    good = {"bytes": GOOD, "path": None}
    for column in (
        {"img": [b"1"]},
        {"img": [good], "label": ["cat"]},
        {"img": [good], "label": [None]},
    ):
        table = pyarrow.table({"label": [0]} | column)
        for name in (TRAIN_FILE, TEST_FILE):
            pyarrow.parquet.write_table(table, tmp_path / name)
        with pytest.raises(StudyError) as caught:
            decode(tmp_path)
        assert one_line_naming(tmp_path / TRAIN_FILE, caught)


def test_pictures_that_are_not_all_of_cifar10_are_refused(source: Path) -> None:
    with pytest.raises(StudyError, match="not the whole of CIFAR-10, unchanged") as caught:
        datasets.load(str(source))
    assert one_line_naming(source, caught)
    assert not (source / DECODED).exists()


@pytest.mark.parametrize("change", ["a bit", "two pixels", "a label", "a picture less", "a part"])
def test_a_data_set_that_changed_in_the_least_is_refused(
    change: str, small_original: Dataset, tmp_path: Path
) -> None:
    whole = write_parquet(tmp_path / "whole", small_original)
    assert datasets.load(str(whole)).fingerprint == dataset.FINGERPRINT
    images, labels = small_original.train_images.copy(), small_original.train_labels.copy()
    changed = small_original
    if change == "a bit":
        images[0, 0, 0, 0] ^= 1
    elif change == "two pixels":
        images[0, 0, [0, 1]] = images[0, 0, [1, 0]]  # leaves the means as they are
    elif change == "a label":
        labels[7] = (labels[7] + 1) % 10
    elif change == "a picture less":
        images, labels = images[1:], labels[1:]
    else:  # a picture goes from training to test
        changed = replace(
            small_original,
            test_images=np.concatenate([small_original.test_images, images[:1]]),
            test_labels=np.concatenate([small_original.test_labels, labels[:1]]),
        )
        images, labels = images[1:], labels[1:]
    folder = write_parquet(
        tmp_path / "changed", replace(changed, train_images=images, train_labels=labels)
    )
    with pytest.raises(StudyError, match="not the whole of CIFAR-10, unchanged") as caught:
        datasets.load(str(folder))
    assert one_line_naming(folder, caught)
    assert not (folder / DECODED).exists()


# --- the decoded file ---------------------------------------------------------------------------


def mapped(array: np.ndarray) -> bool:
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


def test_the_second_load_maps_the_decoded_file(source: Path, small_original: Dataset) -> None:
    first = datasets.load(str(source))
    second = datasets.load(str(source))
    assert not mapped(first.train_images)
    assert mapped(second.train_images)
    assert np.array_equal(first.train_images, second.train_images)
    assert first.fingerprint == second.fingerprint
    second.train_images[0] = 0  # on a copy of the page: the file stays as it is
    assert datasets.load(str(source)).fingerprint == first.fingerprint


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:-1],
        lambda whole: whole[:100],
        lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
        lambda whole: b"PK\x03\x04" + whole[4:],
        lambda whole: pickle.dumps([1, 2]),
        lambda whole: whole[:10] + b"(" * 100 + whole[110:],
        lambda whole: whole.replace(b"(250,", b"(9**99,"),
    ],
)
def test_a_damaged_decoded_file_is_made_anew(damage, source: Path, small_original: Dataset) -> None:
    datasets.load(str(source))
    decoded = source / DECODED
    whole = decoded.read_bytes()
    decoded.write_bytes(damage(whole))
    assert datasets.load(str(source)).fingerprint == dataset.FINGERPRINT
    assert decoded.read_bytes() == whole


def test_a_source_that_cannot_be_written_is_decoded_and_nothing_is_written_elsewhere(
    source: Path, small_original: Dataset
) -> None:
    before = sorted(source.rglob("*"))
    source.chmod(0o555)
    try:
        for _ in range(2):
            data = datasets.load(str(source))
            assert data.fingerprint == dataset.FINGERPRINT
            assert not mapped(data.train_images)
        assert sorted(source.rglob("*")) == before
        assert list(Path().iterdir()) == []
    finally:
        source.chmod(0o755)


def test_a_decoded_file_serves_without_what_it_was_decoded_from(
    source: Path, small_original: Dataset
) -> None:
    datasets.load(str(source))
    for path in [path for path in source.rglob("*") if path.is_file() and path.name != DECODED]:
        path.unlink()
    assert datasets.load(str(source)).fingerprint == dataset.FINGERPRINT


# --- the download -------------------------------------------------------------------------------


def test_a_folder_is_filled_where_it_may_be_and_holds_nothing(
    source: Path, small_original: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = []

    def fill(folder: Path) -> None:
        filled.append(folder)
        write_parquet(folder, small_original)

    monkeypatch.setattr(datasets, "download", fill)
    with pytest.raises(StudyError, match="data: no such data folder"):
        datasets.load("data")
    assert datasets.load("data", fill=True).name == "cifar10"
    assert filled == [Path("data")]
    for path in Path("data").glob("*.parquet"):
        path.unlink()
    assert datasets.load("data", fill=True).name == "cifar10"  # decoded
    assert datasets.load(str(source), fill=True).name == "cifar10"
    assert filled == [Path("data")]


def serve(data: Dataset):
    return lambda folder: write_parquet(folder, data)


def broken(folder: Path) -> None:
    (folder / TRAIN_FILE).write_bytes(b"PAR1 and then the line went dead")
    raise ConnectionError("the line went dead\nat byte 32")


def test_where_the_first_source_fails_the_second_serves(
    small_original: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    download(Path("data"), {"first": broken, "second": serve(small_original)})
    assert datasets.load("data").fingerprint == dataset.FINGERPRINT
    assert not list(Path("data").glob(".*"))
    assert "first: the line went dead\n" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["fails", "is stopped"])
def test_a_broken_off_download_leaves_nothing(way: str, small_original: Dataset) -> None:
    def stopped(folder: Path) -> None:
        serve(small_original)(folder)
        raise KeyboardInterrupt

    source, expected = (broken, StudyError) if way == "fails" else (stopped, KeyboardInterrupt)
    with pytest.raises(expected):
        download(Path("data"), {"only": source})
    assert list(Path("data").iterdir()) == []


def test_what_a_killed_download_left_is_not_taken_for_a_data_set(
    small_original: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(Path("data/.incoming-abc"), small_original)
    Path("data/.incoming-abc", TEST_FILE).unlink()
    monkeypatch.setattr(download, "__defaults__", ({"only": serve(small_original)},))
    assert datasets.load("data", fill=True).fingerprint == dataset.FINGERPRINT


def test_a_source_that_serves_something_else_is_refused(small_original: Dataset) -> None:
    with pytest.raises(StudyError, match=r"could not be downloaded .*not the whole") as caught:
        download(Path("data"), {"only": serve(datasets.synthetic(100, 50))})
    assert len(str(caught.value).splitlines()) == 1
    assert "--data synthetic" in str(caught.value)
    assert list(Path("data").iterdir()) == []


def test_the_hugging_face_copy_is_taken_file_by_file(
    small_original: Dataset, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def hf_hub_download(repository: str, name: str, *, repo_type: str, local_dir: Path) -> str:
        asked.append((repository, name, repo_type))
        target = Path(local_dir, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        (Path(local_dir) / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)
        return str(shutil.copy(sources["parquet"] / target.name, target))

    hub = types.SimpleNamespace(hf_hub_download=hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    download(Path("data"), {"hub": from_hugging_face})
    assert asked == [
        ("uoft-cs/cifar10", f"plain_text/{TRAIN_FILE}", "dataset"),
        ("uoft-cs/cifar10", f"plain_text/{TEST_FILE}", "dataset"),
    ]
    assert sorted(path.name for path in Path("data").iterdir()) == sorted(
        [DECODED, TRAIN_FILE, TEST_FILE]
    )


# --- the drawn shapes and the real pictures -------------------------------------------------------


def test_the_drawn_set_is_the_same_everywhere_and_balanced() -> None:
    data = datasets.synthetic()
    assert data.fingerprint == "e6e5a611dbe4039e73039f8ad4481b8012d3b354b724fb166bf7a70efc833955"
    rows = b"".join(
        bytes([label]) + image.tobytes()
        for images, labels in (
            (data.train_images, data.train_labels),
            (data.test_images, data.test_labels),
        )
        for image, label in zip(images, labels, strict=True)
    )
    assert hashlib.sha256(rows).hexdigest() == data.fingerprint
    assert np.unique(data.train_labels, return_counts=True)[1].tolist() == [200] * 10
    assert np.unique(data.test_labels, return_counts=True)[1].tolist() == [50] * 10


@pytest.mark.real_data
@pytest.mark.timeout(600)
def test_the_real_pictures_are_all_there_in_their_order_and_no_bar_is_drawn_into_a_log(
    real_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows, count = decode(real_folder)
    assert "\r" not in re.sub("\r\n", "\n", "".join(capfd.readouterr()))
    assert (rows.shape, count) == ((60_000, 3073), 50_000)
    data = dataset.dataset_from("cifar10", rows, count)
    assert (len(data.train_labels), len(data.test_labels)) == (50_000, 10_000)
    assert data.channel_means() == pytest.approx((0.49139968, 0.48215841, 0.44653091), abs=5e-9)
    train, test = sorted_rows(data)
    assert [row.tobytes() for row in rows] == train + test
    digest = hashlib.sha256(b"".join(train + test)).hexdigest()
    assert digest == data.fingerprint == dataset.FINGERPRINT
