"""Results on disk: written whole or not at all, and read right or with one clear error."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import contents, of_epochs

from cifar_study import atomic, datasets
from cifar_study.atomic import read_json, write_json, write_whole
from cifar_study.errors import StudyError
from cifar_study.options import parser as options_of
from cifar_study.results import store
from cifar_study.results.run import CACHE, Run
from cifar_study.results.status import Status, as_recorded, differences, seeds, stale, status
from cifar_study.results.store import Checkpoint
from cifar_study.stages import PEERS, STAGES, Stage, get_stage, scale_width
from cifar_study.train import _runs
from cifar_study.training import trainer

DATA = datasets.synthetic(train=20, test=10)
RANDOM = np.random.default_rng(0)
PROBABILITIES = RANDOM.dirichlet(np.ones(10), 10).astype(np.float16)
RESULT = (store.HISTORY, store.PREDICTIONS, store.MODEL, store.RECORD)  # in the order of writing


def three_epochs(number: int) -> Stage:
    return of_epochs(STAGES[number], 3)


def history(count: int) -> pd.DataFrame:
    """Rows whose floats take all their digits."""
    digits = np.random.default_rng(1)
    rows = [[n, 2.3 / n, *digits.random(5), 1.25 * n] for n in range(1, count + 1)]
    return pd.DataFrame(rows, columns=store.COLUMNS)


def checkpoint(count: int) -> Checkpoint:
    """What a run of that many epochs would leave, with a network of two small arrays."""
    return Checkpoint(
        history(count),
        {"a": RANDOM.random((2, 3), np.float32), "b": np.arange(count, dtype=np.int64)},
        {"a": RANDOM.random((2, 3), np.float32)},
    )


def write(run: Run, count: int) -> Checkpoint:
    """Leave a run in the cache as training does."""
    state = checkpoint(count)
    save(state, run)
    return state


def save(state: Checkpoint, run: Run) -> None:
    configuration = run.configuration(DATA.fingerprint, "float32")
    about = {"configuration": configuration, "sessions": [{"first_epoch": 1}]}
    about["data"] = {"name": "synthetic"}
    state.save(run, PROBABILITIES, DATA.test_labels, **about)


def train(run: Run) -> bool:
    *_, trained = trainer.train(run, DATA, trainer.Hardware())
    return trained


def one_line_in(folder: Path, error: StudyError) -> bool:
    message = str(error)
    return len(message.splitlines()) == 1 and str(folder) in message


# --- reading: damaged, truncated, swapped and random files --------------------------------------


class Kept:
    """Runs on disk, one of them partial, and what was written to them."""

    def __init__(self, root: Path) -> None:
        self.run = Run(three_epochs(1), data="synthetic", root=root)
        self.other = replace(self.run, seed=1)
        self.partial = replace(self.run, stage=three_epochs(2))
        self.state = write(self.run, 3)
        write(self.other, 3)
        self.partial_state = write(self.partial, 2)
        runs = (self.run, self.other, self.partial)
        self.swaps = [content for run in runs for content in contents(run.folder).values()]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers take it that nobody writes just now."""
    monkeypatch.setattr(store, "SETTLED", 0)


@st.composite
def damages(draw: st.DrawFn, name: str) -> tuple[str, object]:
    """A way to damage a file, applied to its bytes in :func:`damaged`."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "drop", "text", "random", "swap"]))
    position = draw(st.floats(0, 1, exclude_max=True))
    more = {
        "cut": st.just(0),
        "flip": st.lists(st.integers(0, 7), min_size=1, max_size=3),
        "insert": st.binary(min_size=1, max_size=12),
        "drop": st.integers(1, 40),
        "text": st.sampled_from(
            [b"9", b"-", b"e", b"nan", b"\n", b",", b'"', b"null", b"[" * 5000]
        ),
        "random": st.binary(max_size=300),
        "swap": st.integers(0, 12),  # 4 + 4 + 5 files
    }[kind]
    return kind, (position, draw(more))


def damaged(content: bytes, damage: tuple, swaps: list[bytes]) -> bytes:
    kind, (share, detail) = damage
    position = int(share * len(content))
    if kind == "cut":
        return content[:position]
    if kind == "flip":
        flipped = bytearray(content)
        for offset, bit in enumerate(detail):
            flipped[(position + offset * 7) % len(content)] ^= 1 << bit
        return bytes(flipped)
    if kind == "insert":
        return content[:position] + detail + content[position:]
    if kind == "drop":
        return content[:position] + content[position + detail :]
    if kind == "text":
        return content[:position] + detail + content[position + len(detail) :]
    if kind == "random":
        return detail
    return swaps[detail % len(swaps)]


def same_arrays(read: dict, expected: dict) -> bool:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in read.items()} == {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in expected.items()
    }


def same_state(read: Checkpoint, expected: Checkpoint) -> bool:
    return (
        read.history.equals(expected.history)
        and same_arrays(read.model, expected.model)
        and same_arrays(read.momentum, expected.momentum)
    )


def same_predictions(read: tuple) -> bool:
    probabilities, labels = read
    return (
        probabilities.dtype == np.float32
        and probabilities.astype(np.float16).tobytes() == PROBABILITIES.tobytes()
        and labels.tolist() == DATA.test_labels.tolist()
    )


def check_every_reader(run: Run, record: dict, state: Checkpoint) -> None:
    """Each reader gives what was written, or one line of error."""
    folder = run.folder

    def attempt(reader, right) -> None:
        try:
            value = reader()
        except StudyError as error:
            assert one_line_in(folder, error), str(error)
        else:
            assert right(value)

    def stands(found: Status) -> bool:
        assert len(found.text.splitlines()) == 1
        whole = "complete" if len(state.history) == 3 else "partial"
        return found.state == whole or (found.state == "damaged" and str(folder) in found.text)

    attempt(
        lambda: store.read_result(folder),
        lambda read: read.record == record and read.history.equals(state.history),
    )
    result = store.Result(folder, record, state.history)
    attempt(result.predictions, same_predictions)
    attempt(result.model, lambda read: same_arrays(read, state.model))
    if not result.complete:
        attempt(lambda: Checkpoint.load(folder, record), lambda read: same_state(read, state))
    attempt(lambda: status(run), stands)


@pytest.mark.parametrize("name", RESULT)
def test_a_damaged_file_is_read_right_or_named(
    name: str, kept: Kept, tmp_path: Path, no_waiting: None
) -> None:
    damage_and_read(name, kept.run, kept.state, kept, tmp_path)


@pytest.mark.parametrize("name", [*RESULT, store.checkpoint_name(2)])
def test_a_damaged_file_of_a_partial_run_is_read_right_or_named(
    name: str, kept: Kept, tmp_path: Path, no_waiting: None
) -> None:
    damage_and_read(name, kept.partial, kept.partial_state, kept, tmp_path)


def damage_and_read(name: str, source: Run, state: Checkpoint, kept: Kept, tmp_path: Path) -> None:
    run, whole = replace(source, root=tmp_path), contents(source.folder)
    shutil.copytree(source.folder, run.folder)
    record = store.read_record(run.folder / store.RECORD)

    @settings(max_examples=150, deadline=None)
    @given(damages(name))
    def property_holds(damage: tuple) -> None:
        (run.folder / name).write_bytes(damaged(whole[name], damage, kept.swaps))
        check_every_reader(run, record, state)

    property_holds()


@pytest.mark.parametrize("name", RESULT)
def test_training_names_damage_of_a_complete_run(
    name: str, kept: Kept, tmp_path: Path, no_waiting: None
) -> None:
    """A complete run is read in full before training says so: nothing may be lost or half read."""
    run, whole = replace(kept.run, root=tmp_path), contents(kept.run.folder)
    run.folder.mkdir(parents=True)

    @settings(max_examples=40, deadline=None)
    @given(damages(name))
    def property_holds(damage: tuple) -> None:
        for file, content in whole.items():
            (run.folder / file).write_bytes(content)
        (run.folder / name).write_bytes(damaged(whole[name], damage, kept.swaps))
        before = contents(run.folder)
        try:
            trained = train(run)
        except StudyError as error:
            assert one_line_in(run.folder, error), str(error)
        else:
            assert not trained
            result = store.read_result(run.folder)
            assert status(run).text == "complete"
            assert result.history.equals(kept.state.history)
            assert same_predictions(result.predictions())
            assert same_arrays(result.model(), kept.state.model)
        assert contents(run.folder) == before

    property_holds()


def test_what_is_written_is_read_to_the_last_digit(kept: Kept, tmp_path: Path) -> None:
    result = store.read_result(kept.run.folder)
    pd.testing.assert_frame_equal(result.history, history(3), check_exact=True)
    assert list(result.history.columns) == [
        "epoch", "running_loss", "running_accuracy", "train_loss", "train_accuracy",
        "test_loss", "test_accuracy", "seconds",
    ]  # fmt: skip
    assert (result.seed, result.precision) == (0, "float32")
    planned = result.record["configuration"]["recipe"]["epochs"]
    assert (result.epochs_done, planned, result.complete) == (3, 3, True)
    assert same_arrays(result.model(), kept.state.model)
    assert same_predictions(result.predictions())
    text = history(200).to_csv(index=False).encode()
    (tmp_path / store.HISTORY).write_bytes(text)
    sums = {store.HISTORY: hashlib.sha256(text).hexdigest()}
    record = {"files": sums, "epochs_done": 200}
    assert store._read_history(tmp_path, record).equals(history(200))
    record = store.read_record(kept.partial.folder / store.RECORD)
    assert same_state(Checkpoint.load(kept.partial.folder, record), kept.partial_state)


def test_the_record_holds_the_sha256_of_each_other_file(kept: Kept) -> None:
    for run, names in (
        (kept.run, {store.HISTORY, store.PREDICTIONS, store.MODEL}),
        (kept.partial, {store.HISTORY, store.PREDICTIONS, store.MODEL, "checkpoint-2.safetensors"}),
    ):
        written = contents(run.folder)
        record = json.loads(written.pop(store.RECORD))
        assert set(written) == names
        assert record["files"] == {
            name: hashlib.sha256(content).hexdigest() for name, content in written.items()
        }
        own = record.pop("sha256")
        assert own == hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000) | st.text(max_size=500).map(str.encode))
def test_random_files_are_never_taken_for_results(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("random") / "stage-1" / "seed-0"
    folder.mkdir(parents=True)
    for name in (store.HISTORY, store.RECORD, store.MODEL):
        (folder / name).write_bytes(content)
    with pytest.raises(StudyError) as caught:
        store.read_result(folder)
    assert one_line_in(folder, caught.value)
    with pytest.raises(StudyError) as caught:
        store.read_tensors(folder / store.MODEL, "0" * 64)
    assert one_line_in(folder / store.MODEL, caught.value)
    shutil.rmtree(folder.parents[1])


@pytest.mark.parametrize("depth", [200, 900, 990, 2_000, 100_000])
def test_a_record_nested_too_deep_is_named(depth: int, tmp_path: Path) -> None:
    path = tmp_path / store.RECORD
    path.write_text('{"format": 1, "title": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(StudyError) as caught:
        store.read_record(path)
    assert one_line_in(path, caught.value)


@pytest.mark.parametrize("done", [2, 3])
def test_a_hand_edited_history_is_named(done: int, tmp_path: Path, no_waiting: None) -> None:
    run = Run(three_epochs(1), data="synthetic", root=tmp_path)
    write(run, done)
    path = run.folder / store.HISTORY
    path.write_text(path.read_text().replace("2.3,", "2.2,"))
    with pytest.raises(StudyError, match="is not the file that result") as at:
        store.read_result(run.folder)
    assert one_line_in(path, at.value)
    # A partial run has a checkpoint, from which it is written again.
    remedy = (
        "goes on from its last finished epoch"
        if done == 2
        else "restore it from git if it is there, or "
    )
    assert remedy in str(at.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("parameters", 1181), ("epochs_done", 2), ("title", "another"), ("configuration", {}),
     ("stage", 2), ("files", {}), ("sessions", []), ("format", 1), ("extra", 1), ("sha256", "0")],
)  # fmt: skip
def test_a_hand_edited_record_is_named(
    field: str, value: object, kept: Kept, tmp_path: Path
) -> None:
    folder = shutil.copytree(kept.run.folder, tmp_path / "stage-1" / "seed-0")
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(record | {field: value}))
    with pytest.raises(StudyError, match="checksum differs") as caught:
        store.read_result(folder)
    assert one_line_in(folder / "result.json", caught.value)


def test_a_result_in_the_place_of_another_is_named(kept: Kept, tmp_path: Path) -> None:
    for place in ("stage-1/seed-1", "stage-2/seed-0"):
        folder = shutil.copytree(kept.run.folder, tmp_path / place)
        with pytest.raises(StudyError, match="stage 1, seed 0, and does not belong here") as caught:
            store.read_result(folder)
        assert one_line_in(folder / "result.json", caught.value)


def test_half_of_a_result_is_an_error_and_none_of_it_is_none(
    kept: Kept, tmp_path: Path, no_waiting: None
) -> None:
    assert store.read_result(tmp_path / "stage-1" / "seed-0") is None
    for missing in (store.HISTORY, store.RECORD):
        folder = shutil.copytree(kept.run.folder, tmp_path / missing / "stage-1" / "seed-0")
        (folder / missing).unlink()
        with pytest.raises(StudyError, match="missing") as caught:
            store.read_result(folder)
        assert one_line_in(folder / missing, caught.value)


def test_a_first_epoch_cut_off_before_its_record_is_no_result(tmp_path: Path) -> None:
    run = Run(three_epochs(1), data="synthetic", root=tmp_path)
    write(run, 1)
    (run.folder / store.RECORD).unlink()
    assert store.read_result(run.folder) is None
    assert status(run).state == "absent"


# --- writing: whole or not at all ---------------------------------------------------------------


class FullDisk:
    """A file that takes half of what is written to it."""

    def __init__(self, file) -> None:
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    def write(self, content) -> None:
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


def fail(number: int, text: str):
    def failing(*_arguments, **_options):
        raise OSError(number, text)

    return failing


FAILURES = {
    "no room to make the file": ("tempfile.mkstemp", fail(errno.ENOSPC, "No space left on device")),
    "no room for its content": (
        "os.fdopen",
        lambda handle, mode, real=os.fdopen: FullDisk(real(handle, mode)),
    ),
    "no room when it is flushed": ("os.fsync", fail(errno.ENOSPC, "No space left on device")),
    "read-only when it is renamed": ("os.replace", fail(errno.EROFS, "Read-only file system")),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_write_that_fails_leaves_the_old_file_and_one_line(
    failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_whole(path, b"old")
    with monkeypatch.context() as patched:
        patched.setattr(*FAILURES[failure])
        with pytest.raises(StudyError, match=r"No space left|Read-only") as caught:
            write_whole(path, b"new and longer")
    assert one_line_in(path, caught.value)
    assert contents(tmp_path) == {"result.json": b"old"}
    write_whole(path, b"new and longer")
    assert contents(tmp_path) == {"result.json": b"new and longer"}


def test_a_write_that_is_stopped_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_whole(path, b"old")

    def stopped(_handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert contents(tmp_path) == {"result.json": b"old"}


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    run, written = Run(three_epochs(1), data="synthetic", root=tmp_path), []
    state = checkpoint(2)
    for _ in range(5):
        state.model = dict(reversed(state.model.items()))
        save(state, run)
        written.append(contents(run.folder))
    assert all(one == written[0] for one in written)


@pytest.mark.parametrize("planned", [3, 4])
@pytest.mark.parametrize("replaced", range(6))
def test_an_epoch_cut_off_between_its_files_is_noticed_and_leaves_the_old_checkpoint(
    replaced: int, planned: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_waiting: None
) -> None:
    run = Run(of_epochs(STAGES[1], planned), data="synthetic", root=tmp_path)
    old = write(run, 2)
    record = store.read_record(run.folder / store.RECORD)
    count = 0
    # History, predictions, network, the checkpoint of a run that is not complete, the record;
    # last the old checkpoint goes.
    last = 4 if planned == 3 else 5
    if replaced > last:
        pytest.skip("the last epoch has a file less")

    def stop_at_last(change):
        def changed(*words, **more) -> None:
            nonlocal count
            if count == replaced:
                raise KeyboardInterrupt
            count += 1
            change(*words, **more)

        return changed

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", stop_at_last(os.replace))
        if replaced == last:
            patched.setattr(Path, "unlink", stop_at_last(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            write(run, 3)
    found = status(run)
    if replaced == 0:
        assert found.text == f"at 2/{planned}"
        assert found.result.history.equals(history(2))
    elif replaced < last:
        assert found.state == "damaged"
        assert found.text.endswith("it goes on from its last finished epoch")
        assert str(run.folder / store.HISTORY) in found.text
        with pytest.raises(StudyError) as caught:
            store.read_result(run.folder)
        assert str(caught.value) == found.text
    else:
        assert found.text == ("complete" if planned == 3 else "at 3/4")
        assert found.result.history.equals(history(3))
        assert found.result.predictions()[0].shape == (10, 10)
    if replaced < last:
        assert store.read_record(run.folder / store.RECORD) == record
        assert same_state(Checkpoint.load(run.folder, record), old)
    new = write(run, 3)  # as from the checkpoint
    after = status(run)
    assert after.text == ("complete" if planned == 3 else "at 3/4")
    assert same_arrays(after.result.model(), new.model)
    checkpoints = {"checkpoint-3.safetensors"} if planned == 4 else set()
    assert set(contents(run.folder)) == {*RESULT, *checkpoints}


def test_a_reader_beside_a_writer_finds_whole_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty epochs in a row; then on, waiting for a reader that is slow, until it saw several."""
    monkeypatch.setattr(store, "SETTLED", 30)  # a busy disk takes its time between two files
    run, rows, seen = Run(STAGES[1], data="synthetic", root=tmp_path), history(150), [1]
    write(run, 1)
    deadline = time.monotonic() + 60

    def write_on() -> None:
        for count in range(2, 150):
            while count > 31 and seen[-1] < count - 10 and time.monotonic() < deadline:
                time.sleep(0.01)
            if count > 31 and (len(set(seen)) > 5 or time.monotonic() > deadline):
                return
            write(run, count)
            time.sleep(0.01)

    writer = threading.Thread(target=write_on)
    writer.start()
    while writer.is_alive():
        found = status(run)
        assert found.state == "partial", found.text
        assert found.result.history.equals(rows.head(found.result.epochs_done))
        seen.append(found.result.epochs_done)
    writer.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 64 kB of room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True
    )
    if not done or done.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_on_a_full_disk_the_old_results_stay(small_disk: Path) -> None:
    run = Run(three_epochs(1), data="synthetic", root=small_disk)
    write(run, 2)
    before = contents(run.folder)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"0" * 100_000)
    with pytest.raises(StudyError, match="No space left on device") as caught:
        write(run, 3)
    assert one_line_in(run.folder, caught.value)
    assert contents(run.folder) == before
    assert status(run).text == "at 2/3"
    filler.unlink()
    write(run, 3)
    assert status(run).text == "complete"


def test_on_a_read_only_disk_results_are_read_and_not_written(small_disk: Path) -> None:
    run = Run(three_epochs(1), data="synthetic", root=small_disk)
    write(run, 2)
    before = contents(run.folder)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert status(run).text == "at 2/3"
    with pytest.raises(StudyError, match="Read-only file system") as caught:
        write(run, 3)
    assert one_line_in(run.folder, caught.value)
    with pytest.raises(StudyError, match="Read-only file system") as caught:
        train(run)
    assert one_line_in(run.folder, caught.value)
    assert contents(run.folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes everywhere")
def test_in_a_read_only_folder_the_old_results_stay(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "result.json"
    write_whole(path, b"old")
    path.parent.chmod(0o555)
    try:
        with pytest.raises(StudyError, match="Permission denied") as caught:
            write_whole(path, b"new")
    finally:
        path.parent.chmod(0o755)
    assert one_line_in(path, caught.value)
    assert contents(path.parent) == {"result.json": b"old"}


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(StudyError) as caught:
        write_whole(tmp_path / "cache" / "stage-1" / "history.csv", b"")
    assert one_line_in(tmp_path / "cache", caught.value)


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path: Path) -> None:
    run = Run(three_epochs(1), data="synthetic", root=tmp_path)
    write(run, 3)
    whole = contents(run.folder)
    half = run.folder / f".model.safetensors.x{atomic.UNFINISHED}"
    half.write_bytes(b"half")
    assert not train(run)
    assert contents(run.folder) == whole


# --- status, staleness, trials ------------------------------------------------------------------


def test_status_tells_how_far_a_run_is(tmp_path: Path, no_waiting: None) -> None:
    run = Run(three_epochs(1), data="synthetic", root=tmp_path)
    assert status(run).text == "absent"
    write(run, 2)
    assert (status(run).state, status(run).text) == ("partial", "at 2/3")
    write(run, 3)
    assert status(run).text == "complete"
    (run.folder / store.MODEL).unlink()  # git keeps that of seed 0 only
    assert status(run).text == "complete"
    with pytest.raises(StudyError, match="missing") as caught:
        store.read_result(run.folder).model()
    assert one_line_in(run.folder / store.MODEL, caught.value)
    (run.folder / store.PREDICTIONS).unlink()
    assert status(run).state == "damaged"
    assert str(run.folder / store.PREDICTIONS) in status(run).text


def test_a_partial_result_without_its_checkpoint_is_damaged(
    tmp_path: Path, no_waiting: None
) -> None:
    run = Run(three_epochs(1), data="synthetic", root=tmp_path)
    write(run, 2)
    path = run.folder / store.checkpoint_name(2)
    path.unlink()
    before = contents(run.folder)
    found = status(run)
    assert found.state == "damaged"
    assert found.text.startswith(f"{path}: missing; restore it from git if it is there, or delete ")
    with pytest.raises(StudyError, match="missing; restore it from git") as caught:
        train(run)
    assert one_line_in(path, caught.value)
    assert contents(run.folder) == before


def test_status_names_the_field_that_differs(tmp_path: Path) -> None:
    run = Run(three_epochs(6), data="synthetic", root=tmp_path)
    write(run, 3)

    def text(stage: Stage) -> str:
        found = status(replace(run, stage=stage))
        assert found.state == "stale"
        return found.text

    slower = replace(run.stage, recipe=replace(run.stage.recipe, momentum=0.8))
    assert text(slower) == "stale: recipe.momentum 0.9 → 0.8"
    blocks = STAGES[6].network.blocks
    plain = (blocks[0], replace(blocks[1], batch_norm=False), *blocks[2:])
    changed = replace(run.stage, network=replace(run.stage.network, blocks=plain))
    assert text(changed) == "stale: network.blocks[1].batch_norm True → False"
    record = store.read_result(run.folder).record
    assert stale(run, record) == ""
    assert stale(run, record, "float32", DATA.fingerprint) == ""
    assert stale(run, record, "", "0" * 64) == "data (another fingerprint)"
    assert stale(run, record, "bfloat16") == "precision float32 → bfloat16"
    with pytest.raises(StudyError, match=r"momentum 0\.9 → 0\.8.*--restart"):
        train(replace(run, stage=slower))
    other = datasets.synthetic(train=20, test=11)
    with pytest.raises(StudyError, match=r"stale: data \(another fingerprint\); .*--restart"):
        next(trainer.train(run, other, trainer.Hardware()))
    assert status(run).text == "complete"


def test_a_result_of_another_format_is_said_to_be_one(kept: Kept, tmp_path: Path) -> None:
    record = read_json(kept.run.folder / "result.json", "")
    path = tmp_path / "result.json"
    write_json(path, record | {"format": 3})
    with pytest.raises(StudyError, match="not a result of format 2"):
        store.read_record(path)


def test_differences_of_nested_dicts_by_hand() -> None:
    old = {"a": 1, "b": {"c": [1, {"d": 2}], "e": "x"}, "gone": 1, "list": [1]}
    new = {"a": 1, "b": {"c": [1, {"d": 3}], "e": "y"}, "new": 2, "list": [1, 2]}
    assert list(differences(old, new)) == [
        "b.c[1].d 2 → 3",
        "b.e x → y",
        "gone 1 → None",
        "list [1] → [1, 2]",
        "new None → 2",
    ]
    assert list(differences(old, old)) == []


@given(
    number=st.sampled_from(list(STAGES | PEERS)),
    epochs=st.sampled_from([1, 15, 149, 150, 300]),
    limit=st.none() | st.integers(1, 60_000),
    width=st.sampled_from([0.001, 0.25, 0.5, 0.99999999, 1.0, 1.0000001, 2.0]),
    name=st.sampled_from(["cifar10", "synthetic"]),
)
def test_a_run_is_a_trial_where_it_is_not_the_registered_stage_on_the_whole_of_cifar10(
    number: int, epochs: int, limit: int | None, width: float, name: str
) -> None:
    registered = (STAGES | PEERS)[number]
    stage = scale_width(of_epochs(registered, epochs), width)
    run = Run(stage, 0, limit, name, root=Path("anywhere"))
    of_the_study = (
        epochs == (15 if number == 3 else 150)
        # A width that rounds to as many filters, or has none to scale, is the same network.
        and (0.9 < width < 1.1 or number in (9, 11))
        and limit is None
        and name == "cifar10"
    )
    assert run.trial == (not of_the_study)
    assert run.folder == Path(f"anywhere/stage-{number}/seed-0")
    command = replace(run, root=CACHE / "trial" if run.trial else CACHE).command()
    assert ("--cache cache/trial" in command) == run.trial
    # What it says to type trains that run.
    options = options_of().parse_args(command.split()[3:])
    if (limit or 0) <= (2_000 if name == "synthetic" else 50_000) and (
        number in STAGES or 0.9 < width < 1.1  # peers keep their own
    ):
        assert [replace(one, root=run.root) for one in _runs(options)] == [run]


def test_a_run_is_read_back_from_its_record(tmp_path: Path) -> None:
    for number in (1, 8, 9, 11):
        stage = scale_width(of_epochs(get_stage(number), 3), 0.5)
        run = Run(stage, 7, 50, "synthetic", root=tmp_path)
        write(run, 2)
        assert as_recorded(replace(run, stage=get_stage(number), limit=None)) == run
    absent = Run(STAGES[2], root=tmp_path)
    assert as_recorded(absent) == absent
    misplaced = replace(run, seed=8)
    shutil.copytree(run.folder, misplaced.folder)
    assert as_recorded(misplaced) == misplaced
    said = f"{misplaced.folder / store.RECORD}: is of stage 11, seed 7, and does not belong here"
    assert status(misplaced).text.startswith(said)
    (run.folder / store.RECORD).write_text("{")
    registered = replace(run, stage=get_stage(11), limit=None)
    assert as_recorded(registered) == registered
    assert status(registered).state == "damaged"


def test_the_seeds_of_a_stage_are_those_that_have_a_folder(tmp_path: Path) -> None:
    assert seeds(Run(STAGES[1], root=tmp_path)) == [0]  # nothing yet: what would be first
    write(Run(STAGES[1], seed=12, root=tmp_path), 1)
    write(Run(STAGES[1], seed=2, root=tmp_path), 1)
    write(Run(STAGES[2], seed=3, root=tmp_path), 1)
    write(Run(three_epochs(1), seed=4, data="synthetic", root=tmp_path / "trial"), 3)
    (tmp_path / "stage-1" / "seed-old").mkdir()
    assert seeds(Run(STAGES[1], root=tmp_path)) == [2, 12]
