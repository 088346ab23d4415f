"""Training that is killed at any moment, or torn between two files, ends as if it had not been."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import torch
from command import fork, train_in_fork
from runs import (
    GOES_ON,
    HARDWARE,
    ONE_JOB,
    contents,
    drawn,
    epochs_told,
    finished,
    same_result,
    small_run,
    stopped_after,
    train_here,
    untimed,
    wait_for,
)

from cifar_study.errors import StudyError
from cifar_study.results import store
from cifar_study.results.run import Run
from cifar_study.results.status import status
from cifar_study.results.store import Checkpoint
from cifar_study.training import trainer

torch.set_num_threads(1)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers take it that nobody writes just now."""
    monkeypatch.setattr(store, "SETTLED", 0)


# --- killed and resumed -------------------------------------------------------------------------


def kill_once(folder: Path, options: tuple[str, ...], run: Run, chance: random.Random) -> None:
    """Start training and kill it: at any moment, after an epoch, or while a file is written."""

    def rows() -> int:
        history = run.folder / store.HISTORY
        return history.read_text().count("\n") if history.exists() else 0

    before, moment = rows(), chance.choice(["any time", "an epoch", "a write", "a write"])
    process = fork(folder, *options, few=True)
    if moment == "any time":
        end = time.monotonic() + chance.uniform(0, 1)
        wait_for(lambda: time.monotonic() > end or rows() > before + 2)
    else:
        wait_for(lambda: rows() > before or not process.is_alive())
        time.sleep(chance.uniform(0, 0.1))
    if moment == "a write":
        which = chance.choice(
            [store.HISTORY, store.PREDICTIONS, store.MODEL, "checkpoint-", store.RECORD]
        )
        end = time.monotonic() + 1
        while not list(run.folder.glob(f".{which}*")) and time.monotonic() < end:
            pass
    alive = process.is_alive()
    process.kill()
    process.join()
    assert alive, "it ended before it was killed"


def kill_and_resume(folder: Path, epochs: int, kills: int, seed: int) -> None:
    """Train stage 8 through ``kills`` kills to the end, which is that of nothing but training.

    Each process goes on at once, so a holder that was killed holds nothing.
    """
    (folder / "straight").mkdir()
    places = (folder, folder / "straight")
    run, straight = (small_run(8, epochs, place, width=0.05) for place in places)
    options = ("--stage", "8", "--epochs", str(epochs), *ONE_JOB, "--width", "0.05")
    done = train_in_fork(folder / "straight", *options, few=True)
    assert done.returncode == 0, done.stderr
    reference = untimed(store.read_result(straight.folder).history)
    chance, done = random.Random(seed), 0
    for _ in range(kills):
        kill_once(folder, options, run, chance)
        rows = finished(run)
        assert len(rows) >= done
        done = len(rows)
        assert done == 0 or rows.equals(reference.head(done))
    last = train_in_fork(folder, *options, few=True)
    assert last.returncode == 0, last.stderr
    same_result(run.folder, straight.folder)


@pytest.mark.timeout(300)
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(
    tmp_path: Path, no_waiting: None
) -> None:
    kill_and_resume(tmp_path, epochs=20, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_fifty_times_it_ends_as_if_it_had_not_been(tmp_path: Path, no_waiting: None) -> None:
    kill_and_resume(tmp_path, epochs=220, kills=50, seed=2)


# --- in this process: what a run does with what it finds ------------------------------------------


@pytest.mark.parametrize("planned", [3, 4])
def test_an_epoch_torn_between_its_files_is_noticed_and_trained_again_to_the_same_end(
    planned: int, tmp_path: Path, no_waiting: None
) -> None:
    run, whole = small_run(8, planned, tmp_path), small_run(8, planned, tmp_path / "whole")
    after: dict[int, dict[str, bytes]] = {}
    for event in trainer.train(whole, drawn(), HARDWARE):
        if isinstance(event, trainer.Event) and event.row:
            after[event.row["epoch"]] = contents(whole.folder)
    # The order of writing; the last epoch has no checkpoint.
    checkpoint = [] if planned == 3 else [store.checkpoint_name(3)]
    order = [store.HISTORY, store.PREDICTIONS, store.MODEL, *checkpoint, store.RECORD]
    assert set(after[3]) == set(order)
    assert store.checkpoint_name(2) in after[2]
    for count in range(len(order)):
        run.folder.mkdir(parents=True, exist_ok=True)
        for path in run.folder.iterdir():
            path.unlink()
        for name, content in after[2].items():
            (run.folder / name).write_bytes(content)
        for name in order[:count]:
            (run.folder / name).write_bytes(after[3][name])
        found = status(run)
        assert found.state == ("damaged" if count else "partial")
        assert not count or found.text.endswith(GOES_ON)
        assert len(finished(run)) == 2
        assert epochs_told(train_here(run)) == list(range(3, planned + 1))
        same_result(run.folder, whole.folder)


def test_kills_in_a_row_before_the_record_lose_no_finished_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_waiting: None
) -> None:
    run, whole = small_run(1, 4, tmp_path), small_run(1, 4, tmp_path / "whole")
    train_here(whole)
    stopped_after(run, 1)
    for finished_before, killed_at in ((1, 2), (1, 2), (1, 3), (2, 3), (2, 4)):

        def killed(path: Path, value: dict, at=killed_at, write=store.write_json) -> None:
            if value["epochs_done"] == at:
                raise KeyboardInterrupt
            write(path, value)

        assert len(finished(run)) == finished_before
        with monkeypatch.context() as patched:
            patched.setattr(store, "write_json", killed)
            with pytest.raises(KeyboardInterrupt):
                train_here(run)
        assert status(run).state == "damaged"
    assert epochs_told(train_here(run)) == [4]
    same_result(run.folder, whole.folder)


def test_a_partial_run_needs_its_checkpoint_and_no_other_file(tmp_path: Path) -> None:
    run, whole = small_run(1, 4, tmp_path), small_run(1, 4, tmp_path / "whole")
    train_here(whole)
    stopped_after(run, 2)
    (run.folder / store.MODEL).unlink()
    assert status(run).text == "at 2/4"  # git keeps the network of seed 0 only
    (run.folder / store.PREDICTIONS).unlink()
    (run.folder / store.HISTORY).write_text("damaged")
    assert epochs_told(train_here(run)) == [3, 4]
    same_result(run.folder, whole.folder)


def test_a_checkpoint_that_a_kill_left_in_a_complete_run_goes(tmp_path: Path) -> None:
    run = small_run(1, 2, tmp_path)
    train_here(run)
    before = contents(run.folder)
    (run.folder / store.checkpoint_name(1)).write_bytes(b"left")
    assert epochs_told(train_here(run)) == []
    assert contents(run.folder) == before


@pytest.mark.parametrize("damage", ["missing", "cut", "another file"])
def test_a_checkpoint_that_is_damaged_is_named_and_nothing_is_touched(
    damage: str, tmp_path: Path, no_waiting: None
) -> None:
    run, whole = small_run(1, 3, tmp_path), small_run(1, 3, tmp_path / "whole")
    train_here(whole)
    stopped_after(run, 2)
    path = run.folder / store.checkpoint_name(2)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        path.write_bytes((run.folder / store.MODEL).read_bytes())
    before = contents(run.folder)
    with pytest.raises(StudyError) as caught:
        train_here(run)
    assert str(caught.value).startswith(f"{path}: ")
    assert "restore it from git if it is there, or delete" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert status(run).text == str(caught.value)
    assert contents(run.folder) == before
    assert epochs_told(train_here(run, restart="anew")) == [1, 2, 3]
    same_result(run.folder, whole.folder)


def test_a_checkpoint_of_another_network_is_named(tmp_path: Path) -> None:
    run = small_run(1, 3, tmp_path)
    stopped_after(run, 1)
    record = store.read_record(run.folder / store.RECORD)
    state = Checkpoint.load(run.folder, record)
    state.momentum.popitem()
    about = {name: record[name] for name in ("configuration", "sessions", "data")}
    state.save(run, *store.read_result(run.folder).predictions(), **about)
    with pytest.raises(StudyError, match=r"not fit the network \(no momentum.*; --restart trains "):
        train_here(run)
