"""Training as the user starts it: real processes that are killed, stopped, and go on."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from command import environment, fork, start, train, train_in_fork

from cifar_study import datasets
from cifar_study.results import store
from cifar_study.training import engine, trainer
from cifar_study.results.store import Checkpoint
from cifar_study.errors import StudyError
from cifar_study.training.local import Reporter
from cifar_study.results.run import Run
from cifar_study.stages import STAGES
from cifar_study.train import main

torch.set_num_threads(1)
SMALL = ("--data", "synthetic", "--limit", "100", "--width", "0.25")
SMALL += ("--device", "cpu", "--precision", "float32")
ONE_JOB = (*SMALL, "--jobs", "1")


def small_run(stage: int, epochs: int, root: Path) -> Run:
    return Run(STAGES[stage], 0, epochs, 100, 0.25, "synthetic", root / "cache")


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def untimed(history: pd.DataFrame) -> pd.DataFrame:
    return history.drop(columns="seconds")


def same_result(one: Path, other: Path) -> None:
    """Two folders hold the same complete run bit for bit, but for the seconds that it took."""
    left, right = (store.read_result(folder, whole=True) for folder in (one, other))
    assert left.complete
    assert untimed(left.history).equals(untimed(right.history))

    def untimed_record(record: dict) -> dict:
        sums = {name: sum for name, sum in record["files"].items() if name != store.HISTORY}
        return record | {"files": sums, "sessions": []}

    assert untimed_record(left.record) == untimed_record(right.record)
    for name in (store.MODEL, store.PREDICTIONS):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    # Nothing half written and no checkpoint is left.
    result = {store.HISTORY, store.PREDICTIONS, store.MODEL, store.RECORD}
    assert set(files(one)) == set(files(other)) == result


GOES_ON = "train the stage again: it goes on from its last finished epoch"


def finished(run: Run) -> pd.DataFrame:
    """The rows of the finished epochs of a run that was stopped, seconds aside.

    Where it was stopped between the files of an epoch, the status says so.
    """
    stand = store.status(run)
    if stand.state == "absent":
        return untimed(pd.DataFrame(columns=store.COLUMNS))
    assert stand.state == "partial" or (stand.state == "damaged" and GOES_ON in stand.text), stand
    record = store.read_record(run.folder / store.RECORD)
    rows = untimed(Checkpoint.load(run.folder, record).history)
    if stand.result:
        assert untimed(stand.result.history).equals(rows)
    return rows


# --- killed and resumed -------------------------------------------------------------------------


def kill_once(folder: Path, options: tuple[str, ...], run: Run, chance: random.Random) -> None:
    """Start training and kill it: at any moment, after an epoch, or while a file is written."""

    def rows() -> int:
        history = run.folder / store.HISTORY
        return history.read_text().count("\n") if history.exists() else 0

    before, moment = rows(), chance.choice(["any time", "an epoch", "a write", "a write"])
    process = fork(folder, *options)
    if moment == "any time":
        end = time.monotonic() + chance.uniform(0, 2)
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


def kill_and_resume(folder: Path, stage: int, epochs: int, kills: int, seed: int) -> None:
    """Train through ``kills`` kills to the end, which is that of the run in ``straight``.

    Each process goes on at once, so a holder that was killed holds nothing.
    """
    run, straight = (small_run(stage, epochs, root) for root in (folder, folder / "straight"))
    options = ("--stage", str(stage), "--epochs", str(epochs), *ONE_JOB)
    reference = untimed(store.read_result(straight.folder).history)
    chance, done = random.Random(seed), 0
    for _ in range(kills):
        kill_once(folder, options, run, chance)
        rows = finished(run)
        assert len(rows) >= done
        done = len(rows)
        assert done == 0 or rows.equals(reference.head(done))
    last = train_in_fork(folder, *options)
    assert last.returncode == 0, last.stderr
    same_result(run.folder, straight.folder)


def train_straight(folder: Path, stage: int, epochs: int) -> subprocess.CompletedProcess[str]:
    (folder / "straight").mkdir(parents=True)
    options = ("--stage", str(stage), "--epochs", str(epochs), *ONE_JOB)
    done = train_in_fork(folder / "straight", *options)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """A run of 25 epochs that nothing interrupts, and what it printed."""
    folder = tmp_path_factory.mktemp("kill")
    return folder, train_straight(folder, 8, 25)


@pytest.mark.timeout(300)
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(straight) -> None:
    folder, _ = straight
    kill_and_resume(folder, stage=8, epochs=25, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_fifty_times_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    train_straight(tmp_path, 8, 300)
    kill_and_resume(tmp_path, stage=8, epochs=300, kills=50, seed=2)


def test_output_to_a_log_is_lines(straight) -> None:
    _, done = straight
    assert done.stdout == ""
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 26
    assert re.fullmatch(
        r"stage 8, seed 0: epoch 7/25, train loss \d\.\d{4} accuracy \d+\.\d%, "
        r"test loss \d\.\d{4} accuracy \d+\.\d%, \d+\.\d s, \d\d:\d\d left",
        lines[6],
    )
    assert lines[-1].startswith("stage 8, seed 0: complete, 25 epochs in cache/trials/")


def test_the_record_says_what_was_trained(straight) -> None:
    folder, _ = straight
    run = small_run(8, 25, folder / "straight")
    result = store.read_result(run.folder)
    record = result.record
    assert (record["stage"], record["title"]) == (8, "global average pooling")
    assert (result.seed, result.precision) == (0, "float32")
    assert (record["epochs_done"], result.epochs_planned) == (25, 25)
    assert record["parameters"] == (
        (27 * 5 + 5) + (45 * 5 + 5) + (45 * 10 + 10) + (90 * 10 + 10)
        + (90 * 20 + 20) + (180 * 20 + 20) + (180 * 40 + 40) + (360 * 40 + 40)
        + 2 * 2 * (5 + 10 + 20 + 40) + (40 * 10 + 10)
    )  # fmt: skip
    assert record["data"]["name"] == "synthetic"
    assert record["data"]["fingerprint"] == datasets.synthetic().fingerprint
    [session] = record["sessions"]
    assert (session["device"], session["precision"], session["threads"]) == ("cpu", "float32", 1)
    assert session["first_epoch"] == 1
    assert session["side_by_side"] == 1
    assert session["torch"] == torch.__version__


def test_the_stored_predictions_give_the_accuracy_of_the_last_epoch(straight) -> None:
    folder, _ = straight
    result = store.read_result(small_run(8, 25, folder / "straight").folder)
    probabilities, labels = result.predictions()
    right = sum(
        int(row.argmax() == label) for row, label in zip(probabilities, labels, strict=True)
    )
    assert labels.tolist() == datasets.synthetic().test_labels.tolist()
    assert result.history["test_accuracy"].iloc[-1] == right / len(labels)


def test_a_complete_run_says_so_and_touches_nothing(straight) -> None:
    folder, _ = straight
    before = files(small_run(8, 25, folder / "straight").folder)
    again = train_in_fork(folder / "straight", "--stage", "8", "--epochs", "25", *ONE_JOB)
    assert again.returncode == 0
    assert "stage 8, seed 0: already complete, 25 epochs in " in again.stderr
    assert files(small_run(8, 25, folder / "straight").folder) == before


# --- in this process: what a run does with what it finds ------------------------------------------


HARDWARE = trainer.Hardware("cpu", "float32", 1)


def train_here(
    run: Run, restart: bool = False, hardware: trainer.Hardware = HARDWARE
) -> list[trainer.Event]:
    """Train in this process; the news."""
    news: list[trainer.Event] = []
    trainer.train(run, datasets.synthetic(), hardware, news.append, restart)
    return news


def epochs_told(news: list[trainer.Event]) -> list[int]:
    """The epochs that the news says are finished."""
    return [event.row["epoch"] for event in news if event.row]


def stopped_after(run: Run, epoch: int, hardware: trainer.Hardware = HARDWARE) -> None:
    """Train and stop as Ctrl-C does once that epoch is finished."""

    def stop(event: trainer.Event) -> None:
        if event.row and event.row["epoch"] == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.train(run, datasets.synthetic(), hardware, stop)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers take it that nobody writes just now."""
    monkeypatch.setattr(cache, "SETTLED", 0)


@pytest.mark.parametrize("planned", [3, 4])
def test_an_epoch_torn_between_its_files_is_noticed_and_trained_again_to_the_same_end(
    planned: int, tmp_path: Path, no_waiting: None
) -> None:
    run, whole = small_run(8, planned, tmp_path), small_run(8, planned, tmp_path / "whole")
    after: dict[int, dict[str, bytes]] = {}

    def keep(event: trainer.Event) -> None:
        if event.row:
            after[event.row["epoch"]] = files(whole.folder)

    trainer.train(whole, datasets.synthetic(), HARDWARE, keep)
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
        stand = store.status(run)
        assert stand.state == ("damaged" if count else "partial")
        assert not count or stand.text.endswith(GOES_ON)
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
            patched.setattr(cache, "write_json", killed)
            with pytest.raises(KeyboardInterrupt):
                train_here(run)
        assert store.status(run).state == "damaged"
    assert epochs_told(train_here(run)) == [4]
    same_result(run.folder, whole.folder)


def test_a_partial_run_needs_its_checkpoint_and_no_other_file(tmp_path: Path) -> None:
    run, whole = small_run(1, 4, tmp_path), small_run(1, 4, tmp_path / "whole")
    train_here(whole)
    stopped_after(run, 2)
    (run.folder / store.MODEL).unlink()
    assert store.status(run).text == "at 2/4"  # git keeps the network of seed 0 only
    (run.folder / store.PREDICTIONS).unlink()
    (run.folder / store.HISTORY).write_text("damaged")
    assert epochs_told(train_here(run)) == [3, 4]
    same_result(run.folder, whole.folder)


def test_a_checkpoint_that_a_kill_left_in_a_complete_run_goes(tmp_path: Path) -> None:
    run = small_run(1, 2, tmp_path)
    train_here(run)
    before = files(run.folder)
    (run.folder / store.checkpoint_name(1)).write_bytes(b"left")
    assert epochs_told(train_here(run)) == []
    assert files(run.folder) == before


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
    before = files(run.folder)
    with pytest.raises(StudyError) as caught:
        train_here(run)
    assert str(caught.value).startswith(f"{path}: ")
    assert "restore it from git, or delete" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.status(run).text == str(caught.value)
    assert files(run.folder) == before
    assert epochs_told(train_here(run, restart=True)) == [1, 2, 3]
    same_result(run.folder, whole.folder)


def test_a_checkpoint_of_another_network_is_named(tmp_path: Path) -> None:
    run = small_run(1, 3, tmp_path)
    stopped_after(run, 1)
    record = store.read_record(run.folder / store.RECORD)
    state = Checkpoint.load(run.folder, record)
    state.momentum.popitem()
    state.save(run, record["configuration"], record["data"])
    with pytest.raises(StudyError, match=r"does not fit the network \(no momentum.*--restart$"):
        train_here(run)


# --- precision ------------------------------------------------------------------------------------


def on_processor(monkeypatch: pytest.MonkeyPatch, bfloat16: bool) -> None:
    monkeypatch.setattr(engine, "has_bfloat16", lambda _device: bfloat16)


AUTOMATIC = trainer.Hardware("cpu", "auto", 1)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_run_begun_in_float32_stays_in_it_on_any_processor(
    bfloat16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, whole = small_run(1, 3, tmp_path), small_run(1, 3, tmp_path / "whole")
    train_here(whole)
    on_processor(monkeypatch, bfloat16=False)
    stopped_after(run, 1, AUTOMATIC)
    on_processor(monkeypatch, bfloat16)
    train_here(run, hardware=AUTOMATIC)
    result = store.read_result(run.folder)
    assert result.precision == "float32"
    assert [session["precision"] for session in result.record["sessions"]] == ["float32"]
    same_result(run.folder, whole.folder)


def test_a_run_begun_in_bfloat16_goes_on_only_where_the_processor_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, whole = small_run(1, 3, tmp_path), small_run(1, 3, tmp_path / "whole")
    on_processor(monkeypatch, bfloat16=True)
    train_here(whole, hardware=trainer.Hardware("cpu", "bfloat16", 1))
    stopped_after(run, 1, AUTOMATIC)
    assert store.read_result(run.folder).precision == "bfloat16"
    kept = files(run.folder)
    on_processor(monkeypatch, bfloat16=False)
    for hardware in (AUTOMATIC, trainer.Hardware("cpu", "bfloat16", 1)):
        with pytest.raises(StudyError, match=r"^--precision bfloat16: .* does not multiply it"):
            train_here(run, hardware=hardware)
        assert files(run.folder) == kept
    on_processor(monkeypatch, bfloat16=True)
    assert epochs_told(train_here(run, hardware=AUTOMATIC)) == [2, 3]
    same_result(run.folder, whole.folder)
    sessions = store.read_result(run.folder).record["sessions"]
    assert [session["precision"] for session in sessions] == ["bfloat16"]


@pytest.mark.parametrize("done", [1, 2])
def test_another_precision_than_the_recorded_is_refused(
    done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, bfloat16 = small_run(1, 2, tmp_path), trainer.Hardware("cpu", "bfloat16", 1)
    stopped_after(run, done)
    kept = files(run.folder)
    on_processor(monkeypatch, bfloat16=True)
    with pytest.raises(StudyError, match=r"stale: precision float32 → bfloat16; .* --restart$"):
        train_here(run, hardware=bfloat16)
    assert files(run.folder) == kept
    assert store.status(run).state == ("partial" if done == 1 else "complete")
    assert epochs_told(train_here(run, restart=True, hardware=bfloat16)) == [1, 2]
    assert store.read_result(run.folder).precision == "bfloat16"


def test_a_new_run_in_bfloat16_is_refused_where_the_processor_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(1, 2, tmp_path)
    on_processor(monkeypatch, bfloat16=False)
    with pytest.raises(StudyError, match=r"^--precision bfloat16: "):
        train_here(run, hardware=trainer.Hardware("cpu", "bfloat16", 1))
    assert files(run.folder) == {}


# --- anew, stopped by a loss or a disk ------------------------------------------------------------


def test_restart_trains_anew_to_the_same_end(tmp_path: Path) -> None:
    run = small_run(7, 2, tmp_path)
    train_here(run)
    first = files(run.folder)
    (run.folder / store.HISTORY).write_text("damaged")
    news = train_here(run, restart=True)
    assert epochs_told(news) == [1, 2]
    assert files(run.folder)[store.MODEL] == first[store.MODEL]
    assert store.status(run).text == "complete"


def test_a_restart_that_cannot_begin_loses_nothing(tmp_path: Path) -> None:
    run = small_run(1, 1, tmp_path)
    train_here(run)
    before = files(run.folder)
    with pytest.raises(StudyError, match="--device mps"):
        trainer.train(run, datasets.synthetic(), trainer.Hardware("mps"), print, restart=True)
    assert files(run.folder) == before


def test_a_loss_that_is_not_a_number_stops_with_the_last_good_state_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(1, 5, tmp_path)
    stopped_after(run, 2)
    good = files(run.folder)
    with monkeypatch.context() as patched:
        patched.setattr(engine.Engine, "train_epoch", lambda *_: (float("nan"), 0.1))
        with pytest.raises(
            StudyError, match=r"stage 1, seed 0: .* epoch 3 .*epochs 1 to 2 are kept"
        ):
            train_here(run)
    assert files(run.folder) == good
    train_here(run)
    assert store.status(run).text == "complete"


def test_a_recipe_that_diverges_is_stopped_in_its_first_epoch(tmp_path: Path) -> None:
    wild = replace(STAGES[4], recipe=replace(STAGES[4].recipe, learning_rate=1e30))
    run = replace(small_run(4, 3, tmp_path), stage=wild)
    with pytest.raises(StudyError, match="stage 4, seed 0: the loss of epoch 1 is not a number"):
        train_here(run)
    assert files(run.folder) == {}


def test_a_stage_whose_files_fill_the_disk_goes_on_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, whole = small_run(8, 3, tmp_path), small_run(8, 3, tmp_path / "whole")
    train_here(whole)
    stopped_after(run, 1)
    kept = files(run.folder)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StudyError, match="No space left on device"):
            train_here(run)
    assert files(run.folder) == kept
    train_here(run)
    same_result(run.folder, whole.folder)


# --- stopped, held, side by side ------------------------------------------------------------------


def group(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (
                os.getsid(int(entry.name)) == leader
                and "Z" not in ((entry / "stat").read_text().rsplit(")", 1)[1].split()[0])
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts the command in a session of its own, and leaves nothing of it behind."""
    begun: list[subprocess.Popen] = []

    def begin(*options: str) -> subprocess.Popen:
        begun.append(start(tmp_path, *options, start_new_session=True))
        return begun[-1]

    yield begin
    for process in begun:
        for member in group(process.pid):
            os.kill(member, signal.SIGKILL)
        process.communicate()


linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@linux_only
@pytest.mark.timeout(200)
def test_a_second_process_is_told_who_holds_the_run_and_ctrl_c_stops_the_first(
    started: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    options = ("--stage", "1", "--epochs", "5000", *ONE_JOB)
    history = small_run(1, 5000, tmp_path).folder / store.HISTORY
    first = started(*options)
    wait_for(history.exists)

    second = train(tmp_path, *options)
    assert second.returncode == 2
    assert f"stage 1, seed 0 is being trained by process {first.pid} on " in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert first.poll() is None

    os.killpg(first.pid, signal.SIGINT)
    _, said = first.communicate(timeout=30)
    assert first.returncode == 130
    assert "stopped; every finished epoch is kept, the same command goes on" in said
    assert "Traceback" not in said
    assert len(finished(small_run(1, 5000, tmp_path))) > 0


@linux_only
@pytest.mark.timeout(200)
@pytest.mark.parametrize("moment", ["while jobs start", "while they train"])
def test_ctrl_c_stops_every_job(
    moment: str, started: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    process = started("--stage", "1", "2", "--epochs", "5000", *SMALL, "--jobs", "2")
    if moment == "while jobs start":
        wait_for(lambda: len(group(process.pid)) >= 4)  # with multiprocessing's own tracker
    else:
        for stage in (1, 2):
            wait_for((small_run(stage, 5000, tmp_path).folder / store.HISTORY).exists)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped; every finished epoch is kept" in said
    assert "Traceback" not in said
    wait_for(lambda: group(process.pid) == [], seconds=10)


@linux_only
@pytest.mark.long
@pytest.mark.timeout(200)
def test_jobs_end_when_their_parent_is_killed(
    started: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    process = started("--stage", "1", "2", "--epochs", "5000", *SMALL, "--jobs", "2")
    for stage in (1, 2):
        wait_for((small_run(stage, 5000, tmp_path).folder / store.HISTORY).exists)
    process.kill()
    wait_for(lambda: group(process.pid) == [], seconds=15)


@pytest.mark.timeout(200)
def test_jobs_that_fail_or_die_leave_the_others_running(
    started: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    fine, fails, dies = (small_run(stage, 20, tmp_path) for stage in (1, 2, 3))
    damaged = fails.folder / store.RECORD
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    process = started("--stage", "1", "2", "3", "--epochs", "20", *SMALL, "--jobs", "2")
    wait_for((dies.folder / store.HISTORY).exists)
    os.kill(int((dies.folder / "lock").read_text().split()[1]), signal.SIGKILL)
    _, said = process.communicate(timeout=120)

    assert process.returncode == 2
    assert "Traceback" not in said
    assert re.search(r"^error: .*stage-2/seed-0/result\.json: unreadable", said, re.MULTILINE)
    assert "error: stage 3, seed 0: its process died; run the same command again" in said
    assert re.fullmatch("failed: stage [23], seed 0, stage [23], seed 0", said.splitlines()[-1])
    assert damaged.read_text() == "{"
    assert store.status(fine).text == "complete"
    [session] = store.read_result(fine.folder).record["sessions"]
    assert session["side_by_side"] == 2
    assert len(finished(dies)) < 20


def told(epoch: int) -> trainer.Event:
    """News of a finished epoch."""
    row = dict.fromkeys(store.COLUMNS, 0.25) | {"epoch": epoch, "seconds": 7.0}
    return trainer.Event(epoch, 0.25, 0.25, row)


def test_news_that_begin_with_the_end_of_an_epoch_are_lines_with_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr("cifar_study.training.local.time.monotonic", lambda: now[0])
    for first, left in ((1, "03:00"), (4, "02:00")):
        reporter = Reporter(small_run(1, 10, tmp_path))
        now[0] += 20
        reporter(told(first))  # one epoch in 20 seconds: nine or six are left
        said = capsys.readouterr().err
        assert said == (
            f"stage 1, seed 0: epoch {first}/10, train loss 0.2500 accuracy 25.0%, "
            f"test loss 0.2500 accuracy 25.0%, 7.0 s, {left} left\n"
        )
    reporter = Reporter(small_run(1, 10, tmp_path))
    reporter(trainer.Event(3.2, 0.25, 0.25))
    assert capsys.readouterr().err == ""
    now[0] += 10
    reporter(told(4))
    now[0] += 10
    reporter(told(5))  # two epochs in 20 seconds: five are left
    assert capsys.readouterr().err.splitlines()[1].endswith(" 7.0 s, 00:50 left")


@pytest.mark.timeout(200)
def test_on_a_terminal_a_bar_shows_how_it_goes(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = start(
        tmp_path, "--stage", "1", "--epochs", "12", *ONE_JOB, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how Linux says that the other side has closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert "\rstage 1, seed 0:" in text
    assert re.search(r"\d+% .*\d+\.\d/12 epochs \[\d\d:\d\d<.*loss \d\.\d{3}, accuracy ", text)
    assert "complete, 12 epochs" in text.splitlines()[-1]


@pytest.mark.timeout(200)
def test_several_seeds_of_several_stages_are_trained(tmp_path: Path) -> None:
    options = ("--stage", "1", "2", "--seeds", "0,3-4", "--epochs", "2", *ONE_JOB)
    done = train_in_fork(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    ends = set()
    for stage in (1, 2):
        for seed in (0, 3, 4):
            stand = store.status(replace(small_run(stage, 2, tmp_path), seed=seed))
            assert stand.state == "complete"
            ends.add(stand.result.history["test_loss"].iloc[-1])
            assert f"stage {stage}, seed {seed}: complete, 2 epochs in " in done.stderr
    assert len(ends) == 6


# --- the command line -------------------------------------------------------------------------


def test_help_answers_at_once_and_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['train', '--help']\n"
        "from cifar_study.train import main\n"
        "try: main()\n"
        "except SystemExit as done: print(done.code, 'torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.stderr == "0 False\n"
    for option in ("--stage", "--seed", "--epochs", "--limit", "--width", "--device", "--data",
                   "--jobs", "--restart", "--status", "--precision"):  # fmt: skip
        assert option in done.stdout

    def used() -> float:
        """Seconds of computing that --help takes: as on a machine that does nothing else."""
        before = os.times()
        command = [sys.executable, "-m", "cifar_study.train", "--help"]
        subprocess.run(command, env=environment(), check=True, capture_output=True)
        after = os.times()
        return (
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )

    assert min(used() for _ in range(3)) < 0.5


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line of error that the options end in, with exit status 2."""
    try:
        code = main(list(options))
    except SystemExit as stop:  # how argparse ends
        code = stop.code
    assert code == 2
    said = capsys.readouterr().err
    errors = [line for line in said.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert said.splitlines()[-1] == errors[0]
    assert "Traceback" not in said
    return errors[0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--stage 12", "--stage 12: there is no such stage"),
        ("--stage 9 --width 0.5", "--width 0.5: stage 9 keeps its own width"),
        ("--stage x", "--stage x: give numbers, or all"),
        ("--stage 1 2.5", "--stage 1 2.5: give numbers"),
        ("--stage", "--stage: expected at least one"),
        ("", "--stage N"),
        ("--stage 1 --epochs 0", "--epochs: 0 is not"),
        ("--stage 1 --epochs many", "--epochs: invalid"),
        ("--stage 1 --limit -5", "--limit: -5 is not"),
        ("--stage 1 --jobs 0", "--jobs: 0 is not"),
        ("--stage 1 --width 0", "--width: 0 is not"),
        ("--stage 1 --width nan", "--width: nan is not"),
        ("--stage 1 --seed -1", "--seed: -1 is not"),
        ("--stage 1 --seed 99999999999999999999", "--seed: 99999999999999999999 is not"),
        ("--stage 1 --seed 1 --seeds 2", "--seeds: not allowed with argument --seed"),
        ("--stage 1 --seeds", "--seeds: expected one argument"),
        ("--stage 1 --seeds 4-1", "--seeds: 4-1 ends before it begins"),
        ("--stage 1 --seeds 1,,2", "--seeds: '1,,2' is not of the form 0-4 or 0,2,5-7"),
        ("--stage 1 --seeds 1.5", "--seeds: '1.5' is not of the form"),
        ("--stage 1 --seeds 0-99999999", "--seeds: 0-99999999 is more than 10,000 seeds"),
        ("--stage 1 --seeds 99999999999999999999", "--seeds: 99999999999999999999 is not between"),
        ("--stage 1 --device tpu", "--device: invalid choice"),
        ("--stage 1 --precision float8", "--precision: invalid choice"),
        ("--stage 1 --data nowhere", "nowhere: no such data folder"),
        ("--stage 1 --data .", ".: holds no CIFAR-10"),
        ("--figures --data synthetic", "is not of the study that figures/ shows"),
        ("--figures --seed 1", "is not of the study that figures/ shows"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(
    options: str, named: str, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named in refused(capsys, *options.split())


@pytest.mark.parametrize("place", ["a file", "/proc"])
def test_a_cache_that_cannot_be_written_is_one_line_and_status_2(
    place: str, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("no folder")
    options = ("--stage", "1", *ONE_JOB, "--epochs", "1")
    assert f"{place}/" in refused(capsys, *options, "--cache", place)


def test_a_device_that_is_not_there_is_one_line_and_status_2(capsys, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    options = ("--stage", "1", *ONE_JOB, "--epochs", "1", "--device", "cuda")
    assert "--device cuda: " in refused(capsys, *options, "--cache", str(tmp_path))


def test_the_table_of_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--cache", str(tmp_path / "cache"))
    small = ("--limit", "100", "--width", "0.25", "--data", "synthetic", "--epochs", "3")
    train_here(small_run(1, 3, tmp_path))
    stopped_after(small_run(4, 3, tmp_path), 1)
    other = replace(STAGES[5], recipe=replace(STAGES[5].recipe, momentum=0.8))
    stopped_after(replace(small_run(5, 3, tmp_path), stage=other), 1)
    capsys.readouterr()
    assert main(["--status", *where, *small]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[1].endswith("complete")
    history = store.read_result(small_run(1, 3, tmp_path).folder).history
    assert f" {100 * history['test_accuracy'].iloc[-1]:.1f}%  complete" in lines[1]
    assert lines[2].endswith("absent")
    assert lines[4].endswith("at 1/3")
    assert lines[5].endswith("stale: recipe.momentum 0.8 → 0.9")

    damaged = small_run(4, 3, tmp_path).folder / store.RECORD
    damaged.write_text("{")
    assert main(["--status", *where, *small]) == 2
    assert str(damaged) in capsys.readouterr().out.splitlines()[4]

    train_here(replace(small_run(1, 3, tmp_path), seed=12))
    damaged.unlink()
    capsys.readouterr()
    assert main(["--status", "--stage", "1", *where, *small]) == 0  # every seed that is there
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[4] for line in lines] == ["0", "12"]
    assert main(["--status", "--stage", "1", "4", "--seeds", "1-2,12", *where, *small]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[4] for line in lines[:3]] == ["1", "2", "12"]
    assert [line.split()[-1] for line in lines] == ["absent", "absent", "complete"] + ["absent"] * 3

    assert main(["--status", *where]) == 0  # the study itself: nothing yet
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["absent"] * 11  # the eight and the peers
