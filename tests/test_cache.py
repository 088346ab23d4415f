"""Results on disk: written whole or not at all, and read right or with one clear error."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_study import cache, data, files, trainer
from cifar_study.cache import Epoch
from cifar_study.errors import StudyError
from cifar_study.files import write_whole
from cifar_study.runs import Run
from cifar_study.stages import STAGES

DATA = data.synthetic(train=20, test=10)
RANDOM = np.random.default_rng(0)


def epochs(count: int) -> list[Epoch]:
    return [
        Epoch(n, 2.3 / n, 0.1 + n / 20, 2.4 / n, 0.1 + n / 25, 1.25 * n)
        for n in range(1, count + 1)
    ]


def saved(count: int) -> trainer._Saved:
    """What a run of that many epochs would leave, with a network of two small arrays."""
    model = {"a": RANDOM.random((2, 3), np.float32), "b": np.arange(count, dtype=np.int64)}
    momentum = {"a": RANDOM.random((2, 3), np.float32)}
    probabilities = RANDOM.dirichlet(np.ones(10), 10).astype(np.float32)
    return trainer._Saved(epochs(count), model, momentum, probabilities, [{"first_epoch": 1}])


def write(run: Run, count: int) -> trainer._Saved:
    """Leave a run in the cache as training does."""
    state = saved(count)
    configuration = run.configuration(DATA.fingerprint)
    state.write(run, configuration)
    state.publish(run, configuration, trainer._facts(state.sessions, DATA))
    return state


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def one_line_in(folder: Path, error: StudyError) -> bool:
    message = str(error)
    return len(message.splitlines()) == 1 and str(folder) in message


# --- reading: damaged, truncated, swapped and random files --------------------------------------


class Kept:
    """Two runs on disk, and what reading the first gave while it was whole."""

    def __init__(self, root: Path) -> None:
        self.run = Run(STAGES[1], epochs=3, data="synthetic", root=root)
        self.other = Run(STAGES[1], seed=1, epochs=3, data="synthetic", root=root)
        write(self.run, 3)
        write(self.other, 3)
        self.whole = contents(self.run.folder)
        self.swaps = [*self.whole.values(), *contents(self.other.folder).values()]
        self.result = cache.read_result(self.run.folder)
        self.probabilities = self.result.probabilities()
        self.resume = cache.read_tensors(self.run.folder / cache.RESUME)
        self.model = cache.read_tensors(self.run.folder / cache.MODEL)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept"))


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
        "swap": st.integers(0, 9),
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


def same_tensors(read: tuple, expected: tuple) -> bool:
    return read[1] == expected[1] and {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in read[0].items()
    } == {name: (array.dtype, array.shape, array.tobytes()) for name, array in expected[0].items()}


def check_every_reader(kept: Kept, run: Run) -> None:
    """Each reader gives what it gave while the files were whole, or one line of error."""
    folder = run.folder

    def attempt(reader, right) -> None:
        try:
            value = reader()
        except StudyError as error:
            assert one_line_in(folder, error), str(error)
        else:
            assert right(value)

    def same_result(result: cache.Result) -> bool:
        if result is None:
            return not (folder / cache.RECORD).exists()
        return (result.record, result.history) == (kept.result.record, kept.result.history)

    def stands(status: cache.Status) -> bool:
        assert len(status.text.splitlines()) == 1
        return status.state == "complete" or (
            status.state == "damaged" and str(folder) in status.text
        )

    attempt(lambda: cache.read_result(folder), same_result)
    attempt(
        lambda: cache.Result(folder, kept.result.record, []).probabilities(),
        lambda read: read.tobytes() == kept.probabilities.tobytes(),
    )
    for name, expected in ((cache.MODEL, kept.model), (cache.RESUME, kept.resume)):
        attempt(
            lambda name=name, expected=expected: cache.read_tensors(folder / name, expected[1]),
            lambda read, expected=expected: (
                same_tensors(read, expected)
                # Of the same run, one for the other: told apart by the arrays' names.
                or set(read[0]) != set(expected[0])
            ),
        )
    attempt(lambda: cache.status(run, DATA.fingerprint), stands)


@pytest.mark.parametrize(
    "name", [cache.HISTORY, cache.RECORD, cache.MODEL, cache.PROBABILITIES, cache.RESUME]
)
def test_a_damaged_file_is_read_right_or_named(name: str, kept: Kept, tmp_path: Path) -> None:
    run = replace(kept.run, root=tmp_path)
    run.folder.mkdir(parents=True)
    for file, content in kept.whole.items():
        (run.folder / file).write_bytes(content)

    @settings(max_examples=150, deadline=None)
    @given(damages(name))
    def property_holds(damage: tuple) -> None:
        (run.folder / name).write_bytes(damaged(kept.whole[name], damage, kept.swaps))
        check_every_reader(kept, run)

    property_holds()


@pytest.mark.parametrize(
    "name", [cache.HISTORY, cache.RECORD, cache.MODEL, cache.PROBABILITIES, cache.RESUME]
)
def test_training_goes_on_from_damage_or_names_it(name: str, kept: Kept, tmp_path: Path) -> None:
    """A complete run is read in full before training says so: nothing may be lost or half read."""
    run = replace(kept.run, root=tmp_path)
    run.folder.mkdir(parents=True)

    @settings(max_examples=40, deadline=None)
    @given(damages(name))
    def property_holds(damage: tuple) -> None:
        for file, content in kept.whole.items():
            (run.folder / file).write_bytes(content)
        (run.folder / name).write_bytes(damaged(kept.whole[name], damage, kept.swaps))
        before = contents(run.folder)
        try:
            trained = trainer.train(run, DATA, trainer.Hardware(), lambda event: None)
        except StudyError as error:
            assert one_line_in(run.folder, error), str(error)
            assert contents(run.folder) == before
        else:
            # Complete already, or published again from what training goes on from.
            assert not trained
            assert cache.status(run, DATA.fingerprint).state == "complete"
            result = cache.read_result(run.folder)
            assert result.history == kept.result.history
            assert result.record["configuration"] == kept.result.record["configuration"]
            assert result.probabilities().tobytes() == kept.probabilities.tobytes()

    property_holds()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000) | st.text(max_size=500).map(str.encode))
def test_random_files_are_never_taken_for_results(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("random") / "stage-1" / "seed-0"
    folder.mkdir(parents=True)
    for name in (cache.HISTORY, cache.RECORD, cache.MODEL):
        (folder / name).write_bytes(content)
    with pytest.raises(StudyError) as caught:
        cache.read_result(folder)
    assert one_line_in(folder, caught.value)
    with pytest.raises(StudyError) as caught:
        cache.read_tensors(folder / cache.MODEL)
    assert one_line_in(folder / cache.MODEL, caught.value)
    shutil.rmtree(folder.parents[1])


@pytest.mark.parametrize("depth", [200, 900, 990, 2_000, 100_000])
def test_a_record_nested_too_deep_is_named(depth: int, tmp_path: Path) -> None:
    path = tmp_path / cache.RECORD
    path.write_text('{"format": 1, "title": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(StudyError) as caught:
        cache.read_record(path)
    assert one_line_in(path, caught.value)


@pytest.mark.parametrize(
    "line",
    ["2,1,0.5,1,0.5", "2,1,0.5,1,0.5,1,1", "2,nan,0.5,1,0.5,1", "2,1,1.5,1,0.5,1",
     "2,1,0.5,-1,0.5,1", "3,1,0.5,1,0.5,1", "2,1,0.5,1,0.5,inf",
     "two,1,0.5,1,0.5,1", "", "2;1;0.5;1;0.5;1"],
)  # fmt: skip
def test_a_hand_edited_history_is_named_with_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    header = "epoch,train_loss,train_accuracy,test_loss,test_accuracy,seconds\n"
    path.write_text(f"{header}1,2.3,0.1,2.3,0.1,4.0\n{line}\n3,2.1,0.2,2.1,0.2,4.0\n")
    with pytest.raises(StudyError, match="line 3 is damaged") as caught:
        cache.read_history(path)
    assert one_line_in(path, caught.value)
    path.write_text(f"{header}1,2.3,0.1,2.25,0.1,4.5\n")
    assert cache.read_history(path) == [(1, 2.3, 0.1, 2.25, 0.1, 4.5)]


@pytest.mark.parametrize(
    ("field", "value"),
    [("parameters", 1181), ("epochs_planned", 4), ("epochs_done", 2), ("title", "another"),
     ("configuration", {}), ("stage", 2), ("seed", 7), ("median_seconds", 0.1), ("extra", 1)],
)  # fmt: skip
def test_a_hand_edited_record_is_named(
    field: str, value: object, kept: Kept, tmp_path: Path
) -> None:
    folder = shutil.copytree(kept.run.folder, tmp_path / "stage-1" / "seed-0")
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(record | {field: value}))
    with pytest.raises(StudyError) as caught:
        cache.read_result(folder)
    assert one_line_in(folder / "result.json", caught.value)


def test_half_of_a_result_is_an_error_and_none_of_it_is_none(kept: Kept, tmp_path: Path) -> None:
    assert cache.read_result(tmp_path / "stage-1" / "seed-0") is None
    for missing in (cache.HISTORY, cache.RECORD):
        folder = shutil.copytree(kept.run.folder, tmp_path / missing / "stage-1" / "seed-0")
        (folder / missing).unlink()
        with pytest.raises(StudyError, match="missing") as caught:
            cache.read_result(folder)
        assert one_line_in(folder / missing, caught.value)


def test_a_first_epoch_cut_off_before_its_record_is_no_result(tmp_path: Path) -> None:
    run = Run(STAGES[1], epochs=3, data="synthetic", root=tmp_path)
    write(run, 1)
    (run.folder / cache.RECORD).unlink()
    assert cache.read_result(run.folder) is None
    assert cache.status(run).state == "absent"


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


def test_the_same_arrays_and_metadata_give_the_same_bytes(tmp_path: Path) -> None:
    path, written = tmp_path / "model.safetensors", set()
    arrays = {name: np.full(3, number, np.float32) for number, name in enumerate("zebra")}
    facts = {"one": "1", "two": "²", "three": "3"}
    for names in ("zebra", "arbez") * 5:
        arrays = {name: arrays[name] for name in names}
        facts = dict(reversed(facts.items()))
        cache.write_tensors(path, arrays, facts)
        written.add(path.read_bytes())
    assert len(written) == 1
    read, found = cache.read_tensors(path)
    assert found == facts
    assert {name: array.tolist() for name, array in read.items()} == {
        "z": [0] * 3, "e": [1] * 3, "b": [2] * 3, "r": [3] * 3, "a": [4] * 3,
    }  # fmt: skip


@pytest.mark.parametrize("replaced", range(6))
def test_an_epoch_cut_off_between_its_files_is_read_as_the_old_or_the_new(
    replaced: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(STAGES[1], epochs=3, data="synthetic", root=tmp_path)
    write(run, 2)
    count = 0

    def replace_some(source: str, target: Path, real=os.replace) -> None:
        nonlocal count
        if count == replaced:
            raise KeyboardInterrupt
        count += 1
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace_some)
        try:
            write(run, 3)
        except KeyboardInterrupt:
            assert replaced < 5
    status = cache.status(run, DATA.fingerprint)
    # Five files: what going on needs, three for the report, and last the record of the epoch.
    assert status.result.epochs_done == (2 if replaced < 5 else 3)
    assert status.result.history == epochs(status.result.epochs_done)
    assert status.result.probabilities().shape == (10, 10)
    if replaced:
        assert not trainer.train(run, DATA, trainer.Hardware(), lambda event: None)
        assert cache.status(run, DATA.fingerprint).text == "complete"
        assert cache.read_result(run.folder).history == epochs(3)


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
    run = Run(STAGES[1], epochs=3, data="synthetic", root=small_disk)
    write(run, 2)
    before = contents(run.folder)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"0" * 100_000)
    with pytest.raises(StudyError, match="No space left on device") as caught:
        write(run, 3)
    assert one_line_in(run.folder, caught.value)
    assert contents(run.folder) == before
    assert cache.status(run, DATA.fingerprint).text == "at 2/3"
    filler.unlink()
    write(run, 3)
    assert cache.status(run, DATA.fingerprint).text == "complete"


def test_on_a_read_only_disk_results_are_read_and_not_written(small_disk: Path) -> None:
    run = Run(STAGES[1], epochs=3, data="synthetic", root=small_disk)
    write(run, 2)
    before = contents(run.folder)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert cache.status(run, DATA.fingerprint).text == "at 2/3"
    with pytest.raises(StudyError, match="Read-only file system") as caught:
        write(run, 3)
    assert one_line_in(run.folder, caught.value)
    with pytest.raises(StudyError, match="Read-only file system") as caught:
        trainer.train(run, DATA, trainer.Hardware(), lambda event: None)
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
    run = Run(STAGES[1], epochs=3, data="synthetic", root=tmp_path)
    write(run, 3)
    whole = contents(run.folder)
    half = run.folder / f".model.safetensors.x{files.UNFINISHED}"
    half.write_bytes(b"half")
    trainer.train(run, DATA, trainer.Hardware(), lambda event: None)
    assert contents(run.folder) == whole


# --- status, staleness, trials ------------------------------------------------------------------


def test_status_tells_how_far_a_run_is(tmp_path: Path) -> None:
    run = Run(STAGES[1], epochs=3, data="synthetic", root=tmp_path)
    assert cache.status(run).text == "absent"
    write(run, 2)
    assert (cache.status(run).state, cache.status(run).text) == ("partial", "at 2/3")
    write(run, 3)
    assert cache.status(run).text == "complete"
    (run.folder / cache.MODEL).unlink()
    assert cache.status(run).state == "damaged"
    assert str(run.folder / cache.MODEL) in cache.status(run).text


def test_status_names_the_field_that_differs(tmp_path: Path) -> None:
    run = Run(STAGES[6], epochs=3, data="synthetic", root=tmp_path)
    write(run, 3)

    def text(stage, fingerprint: str | None = None) -> str:
        status = cache.status(replace(run, stage=stage), fingerprint)
        assert status.state == "stale"
        return status.text

    slower = replace(STAGES[6], recipe=replace(STAGES[6].recipe, momentum=0.8))
    assert text(slower) == "stale: recipe.momentum 0.9 → 0.8"
    blocks = STAGES[6].network.blocks
    plain = (blocks[0], replace(blocks[1], batch_norm=False), *blocks[2:])
    changed = replace(STAGES[6], network=replace(STAGES[6].network, blocks=plain))
    assert text(changed) == "stale: network.blocks[1].batch_norm True → False"
    assert text(STAGES[6], "0" * 64) == "stale: data (another fingerprint)"
    with pytest.raises(StudyError, match=r"momentum 0\.9 → 0\.8.*--restart"):
        trainer.train(replace(run, stage=slower), DATA, trainer.Hardware(), lambda event: None)
    assert cache.status(run).text == "complete"


def test_a_result_of_another_format_is_said_to_be_one(kept: Kept, tmp_path: Path) -> None:
    record = json.loads((kept.run.folder / "result.json").read_text())
    path = tmp_path / "result.json"
    path.write_text(json.dumps(record | {"format": 0}))
    with pytest.raises(StudyError, match="not a result of format 1"):
        cache.read_record(path)


def test_differences_of_nested_dicts_by_hand() -> None:
    old = {"a": 1, "b": {"c": [1, {"d": 2}], "e": "x"}, "gone": 1, "list": [1]}
    new = {"a": 1, "b": {"c": [1, {"d": 3}], "e": "y"}, "new": 2, "list": [1, 2]}
    assert list(cache.differences(old, new)) == [
        "b.c[1].d 2 → 3",
        "b.e x → y",
        "gone 1 → None",
        "list [1] → [1, 2]",
        "new None → 2",
    ]
    assert list(cache.differences(old, old)) == []


@given(
    stage=st.sampled_from(list(STAGES)),
    epochs=st.none() | st.integers(1, 300),
    limit=st.none() | st.integers(1, 60_000),
    width=st.sampled_from([0.001, 0.25, 0.5, 0.99999999, 1.0, 1.0000001, 2.0]),
    name=st.sampled_from(["cifar10", "synthetic"]),
)
def test_a_trial_never_lies_where_a_result_of_the_study_does(
    stage: int, epochs: int | None, limit: int | None, width: float, name: str
) -> None:
    run = Run(STAGES[stage], 0, epochs, limit, width, name, Path("cache"))
    whole = epochs in (None, 15 if stage == 3 else 150)
    if whole and limit is None and width == 1 and name == "cifar10":
        assert run.folder == Path("cache") / f"stage-{stage}" / "seed-0"
    else:
        assert run.folder.is_relative_to("cache/trials")


def test_trials_are_not_among_the_seeds_of_a_stage(tmp_path: Path) -> None:
    trial = Run(STAGES[1], seed=3, epochs=3, data="synthetic", root=tmp_path)
    write(trial, 3)
    assert cache.seeds(Run(STAGES[1], root=tmp_path)) == [0]  # nothing yet: what would be first
    assert cache.seeds(trial) == [3]
    write(Run(STAGES[1], seed=12, root=tmp_path), 1)
    write(Run(STAGES[1], seed=2, root=tmp_path), 1)
    (tmp_path / "stage-1" / "seed-old").mkdir()
    assert cache.seeds(Run(STAGES[1], root=tmp_path)) == [2, 12]
    assert cache.reported(1, seed=2, root=tmp_path).text == "at 1/150"
    assert cache.reported(2, seed=2, root=tmp_path).text == "absent"
