"""Training a run: what it records, in which precision, begun anew, stopped by a loss or a disk."""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import train_in_fork
from runs import (
    HARDWARE,
    ONE_JOB,
    contents,
    drawn,
    epochs_told,
    same_result,
    small_run,
    stopped_after,
    train_here,
)
from tqdm import tqdm

from cifar_study import datasets
from cifar_study.errors import StudyError
from cifar_study.results import store
from cifar_study.results.run import Run
from cifar_study.results.status import status
from cifar_study.stages import STAGES
from cifar_study.training import engine, hardware, progress, trainer
from cifar_study.training.progress import Reporter, show

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, subprocess.CompletedProcess]:
    """A run of 25 epochs that nothing interrupts, and what it printed."""
    folder = tmp_path_factory.mktemp("straight")
    done = train_in_fork(folder, "--stage", "8", "--epochs", "25", *ONE_JOB)
    assert done.returncode == 0, done.stderr
    return small_run(8, 25, folder), done


def test_output_to_a_log_is_lines(straight) -> None:
    _, done = straight
    assert done.stdout == ""
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    starting, *lines = done.stderr.splitlines()
    assert starting == "starting: the first news takes some seconds"
    lines = [line for line in lines if "at work on" not in line]
    assert len(lines) == 26
    assert re.fullmatch(
        r"stage 8, seed 0: epoch 7/25, train loss \d\.\d{4} accuracy \d+\.\d%, "
        r"test loss \d\.\d{4} accuracy \d+\.\d%, \d+\.\d s, \d\d:\d\d left",
        lines[6],
    )
    assert lines[-1].startswith("stage 8, seed 0: complete, 25 epochs in cache/trial/")


def test_the_record_says_what_was_trained(straight) -> None:
    run, _ = straight
    result = store.read_result(run.folder)
    record = result.record
    assert (record["stage"], record["title"]) == (8, "global average pooling")
    assert (result.seed, result.precision) == (0, "float32")
    assert (record["epochs_done"], result.record["configuration"]["recipe"]["epochs"]) == (25, 25)
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
    run, _ = straight
    result = store.read_result(run.folder)
    probabilities, labels = result.predictions()
    right = sum(
        int(row.argmax() == label) for row, label in zip(probabilities, labels, strict=True)
    )
    assert labels.tolist() == datasets.synthetic().test_labels.tolist()
    assert result.history["test_accuracy"].iloc[-1] == right / len(labels)


def test_a_complete_run_says_so_and_touches_nothing(straight) -> None:
    run, _ = straight
    before = contents(run.folder)
    again = train_in_fork(run.root.parents[1], "--stage", "8", "--epochs", "25", *ONE_JOB)
    assert again.returncode == 0
    assert "stage 8, seed 0: already complete, 25 epochs in " in again.stderr
    assert contents(run.folder) == before


# --- precision ------------------------------------------------------------------------------------


def on_processor(monkeypatch: pytest.MonkeyPatch, bfloat16: bool) -> None:
    monkeypatch.setattr(hardware, "has_bfloat16", lambda _device: bfloat16)
    monkeypatch.setattr(hardware, "emulates_bfloat16", lambda _device: False)


AUTOMATIC = trainer.Hardware("cpu", "auto", 1)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_run_begun_in_float32_stays_in_it_on_any_processor(
    bfloat16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, whole = small_run(1, 3, tmp_path), small_run(1, 3, tmp_path / "whole")
    train_here(whole)
    on_processor(monkeypatch, bfloat16=False)
    stopped_after(run, 1, hardware=AUTOMATIC)
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
    stopped_after(run, 1, hardware=AUTOMATIC)
    assert store.read_result(run.folder).precision == "bfloat16"
    kept = contents(run.folder)
    on_processor(monkeypatch, bfloat16=False)
    for asked in (AUTOMATIC, trainer.Hardware("cpu", "bfloat16", 1)):
        with pytest.raises(StudyError, match=r"^--precision bfloat16: .* does not have it"):
            train_here(run, hardware=asked)
        assert contents(run.folder) == kept
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
    kept = contents(run.folder)
    on_processor(monkeypatch, bfloat16=True)
    with pytest.raises(StudyError, match="stale: precision float32 → bfloat16; --restart trains"):
        train_here(run, hardware=bfloat16)
    assert contents(run.folder) == kept
    assert status(run).state == ("partial" if done == 1 else "complete")
    assert epochs_told(train_here(run, restart="anew", hardware=bfloat16)) == [1, 2]
    assert store.read_result(run.folder).precision == "bfloat16"


def test_a_new_run_in_bfloat16_is_refused_where_the_processor_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(1, 2, tmp_path)
    on_processor(monkeypatch, bfloat16=False)
    with pytest.raises(StudyError, match=r"^--precision bfloat16: "):
        train_here(run, hardware=trainer.Hardware("cpu", "bfloat16", 1))
    assert contents(run.folder) == {}


# --- anew, stopped by a loss or a disk ------------------------------------------------------------


def test_restart_trains_anew_to_the_same_end(tmp_path: Path) -> None:
    run = small_run(7, 2, tmp_path)
    train_here(run)
    first = contents(run.folder)
    (run.folder / store.HISTORY).write_text("damaged")
    assert epochs_told(train_here(run, restart="anew")) == [1, 2]
    assert contents(run.folder)[store.MODEL] == first[store.MODEL]
    assert status(run).text == "complete"


@pytest.mark.parametrize("done", [2, 3])
def test_a_restart_leaves_the_old_result_until_its_first_epoch_is_written(
    done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, whole = small_run(8, 3, tmp_path), small_run(8, 3, tmp_path / "whole")
    train_here(whole)
    slower = replace(run.stage, recipe=replace(run.stage.recipe, momentum=0.8))
    stopped_after(replace(run, stage=slower), done)
    old = contents(run.folder)
    looks = []

    def look(name: str, real: Callable) -> Callable:
        def looked(*words: object) -> object:
            looks.append(name)
            assert contents(run.folder) == old
            return real(*words)

        return looked

    with monkeypatch.context() as patched:
        for name in ("train_in_parts", "evaluate_training", "evaluate"):
            patched.setattr(engine.Engine, name, look(name, getattr(engine.Engine, name)))
        news = trainer.train(run, drawn(), HARDWARE, restart="anew")
        event = next(event for event in news if event.row)
    assert looks == ["train_in_parts", "evaluate_training", "evaluate"]
    assert event.row["epoch"] == 1
    assert status(run).text == "at 1/3"
    assert set(contents(run.folder)) == {
        *(store.HISTORY, store.PREDICTIONS, store.MODEL, store.RECORD),
        store.checkpoint_name(1),
    }
    assert epochs_told([event for event in news if isinstance(event, trainer.Event)]) == [2, 3]
    same_result(run.folder, whole.folder)


def test_a_restart_that_is_stopped_in_its_first_epoch_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(1, 2, tmp_path)
    train_here(run)
    before = contents(run.folder)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.Engine, "evaluate", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_here(run, restart="anew")
    assert contents(run.folder) == before
    assert status(run).text == "complete"


def test_a_restart_goes_on_with_what_the_same_command_began(tmp_path: Path) -> None:
    """As a job of a cluster does that another worker takes up."""
    run, whole = small_run(7, 4, tmp_path), small_run(7, 4, tmp_path / "whole")
    train_here(whole)
    train_here(run)
    stopped_after(run, 2, restart="a command")
    assert status(run).text == "at 2/4"
    stopped_after(run, 3, restart="a command")  # the third alone
    assert epochs_told(train_here(run, restart="a command")) == [4]
    same_result(run.folder, whole.folder)
    assert train_here(run, restart="a command") == []  # complete
    stopped_after(run, 1, restart="another command")
    assert epochs_told(train_here(run)) == [2, 3, 4]  # as after any other stop
    same_result(run.folder, whole.folder)


def test_a_restart_that_goes_on_keeps_its_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(1, 2, tmp_path)
    on_processor(monkeypatch, bfloat16=True)
    stopped_after(run, 1, "a command", AUTOMATIC)
    on_processor(monkeypatch, bfloat16=False)
    with pytest.raises(StudyError, match=r"^--precision bfloat16: "):
        train_here(run, "a command", AUTOMATIC)
    assert status(run).text == "at 1/2"
    assert epochs_told(train_here(run, "another command", AUTOMATIC)) == [1, 2]
    assert store.read_result(run.folder).precision == "float32"


@pytest.mark.parametrize("damage", ["missing", "cut", "text"])
def test_a_restart_needs_no_record(damage: str, tmp_path: Path) -> None:
    run = small_run(1, 2, tmp_path)
    train_here(run)
    path = run.folder / store.RECORD
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(whole[:-9] if damage == "cut" else b"[" * 9)
    assert epochs_told(train_here(run, restart="anew")) == [1, 2]
    assert status(run).text == "complete"


def test_a_restart_that_cannot_begin_loses_nothing(tmp_path: Path) -> None:
    run = small_run(1, 1, tmp_path)
    train_here(run)
    before = contents(run.folder)
    with pytest.raises(StudyError, match="--device mps"):
        train_here(run, "anew", trainer.Hardware("mps"))
    assert contents(run.folder) == before


def test_a_loss_that_is_not_a_number_stops_with_the_last_good_state_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(1, 5, tmp_path)
    stopped_after(run, 2)
    good = contents(run.folder)
    with monkeypatch.context() as patched:
        patched.setattr(
            engine.Engine, "train_in_parts", lambda *_: iter([(1.0, float("nan"), 0.1)])
        )
        with pytest.raises(
            StudyError, match=r"stage 1, seed 0: .* epoch 3 .*epochs 1 to 2 are kept"
        ):
            train_here(run)
    assert contents(run.folder) == good
    train_here(run)
    assert status(run).text == "complete"


def test_a_recipe_that_diverges_is_stopped_in_its_first_epoch(tmp_path: Path) -> None:
    wild = replace(STAGES[4], recipe=replace(STAGES[4].recipe, learning_rate=1e30))
    run = replace(small_run(4, 3, tmp_path), stage=wild)
    with pytest.raises(StudyError, match="stage 4, seed 0: the loss of epoch 1 is not a number"):
        train_here(run)
    assert contents(run.folder) == {}


def test_a_stage_whose_files_fill_the_disk_goes_on_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, whole = small_run(8, 3, tmp_path), small_run(8, 3, tmp_path / "whole")
    train_here(whole)
    stopped_after(run, 1)
    kept = contents(run.folder)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StudyError, match="No space left on device"):
            train_here(run)
    assert contents(run.folder) == kept
    train_here(run)
    same_result(run.folder, whole.folder)


# --- news of it ---


def told(epoch: int) -> trainer.Event:
    """News of a finished epoch."""
    row = dict.fromkeys(store.COLUMNS, 0.25) | {"epoch": epoch, "seconds": 7.0}
    return trainer.Event(epoch, 0.25, 0.25, row)


def test_news_that_begin_with_the_end_of_an_epoch_are_lines_with_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr("cifar_study.training.progress.time.monotonic", lambda: now[0])
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
    assert capsys.readouterr().err == "stage 1, seed 0: at work on epoch 4 of 10\n"
    now[0] += 10
    reporter(told(4))
    now[0] += 10
    reporter(told(5))  # two epochs in 20 seconds: five are left
    assert capsys.readouterr().err.splitlines()[1].endswith(" 7.0 s, 00:50 left")


def test_messages_of_runs_side_by_side_are_shown_as_they_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = (small_run(stage, 3, tmp_path) for stage in (1, 2, 3))
    messages = [(one, told(2)), (two, told(1)), (one, told(3)), (one, True)]
    messages += [(two, "stage 2, seed 0: its process died"), (three, False)]
    assert show(iter(messages)) == [two]
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert [line.partition(", train loss")[0] for line in lines] == [
        "stage 1, seed 0: epoch 2/3",
        "stage 2, seed 0: epoch 1/3",
        "stage 1, seed 0: epoch 3/3",
        f"stage 1, seed 0: complete, 3 epochs in {one.folder}",
        "error: stage 2, seed 0: its process died",
        f"stage 3, seed 0: already complete, 3 epochs in {three.folder}",
    ]


def test_a_bar_that_ended_leaves_its_line_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars of runs side by side never share a line of the terminal."""
    lines: dict[str, int] = {}

    class Bar(tqdm):
        def __init__(self, **more: Any) -> None:
            super().__init__(**more | {"disable": False, "file": io.StringIO()})
            lines[more["desc"]] = abs(self.pos)

    monkeypatch.setattr(progress, "tqdm", Bar)
    one, two, three, four = (small_run(stage, 3, tmp_path) for stage in (1, 2, 3, 4))
    messages = [(one, told(1)), (two, told(1)), (one, True), (three, told(1)), (four, told(1))]
    assert show(iter([*messages, (two, True), (three, True), (four, True)])) == []
    assert list(lines.values()) == [0, 1, 0, 2]
