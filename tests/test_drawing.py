"""When pictures are drawn: at the end of a command, in its own process, and none is forgotten."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PROJECT
from results import leave
from runs import drawn

from cifar_study import datasets, illustrations
from cifar_study.report import pictures, study
from cifar_study.results.run import Run
from cifar_study.results.store import HISTORY, RECORD, read_result
from cifar_study.stages import get_stage
from cifar_study.train import FIGURES, main

TOGETHER = (2, 3)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The working folder has complete runs; what is drawn of each is its entry in drawn.json."""
    entries = {}
    for number in TOGETHER:
        run = Run(get_stage(number), root=PROJECT / "cache")
        shutil.copytree(run.folder, tmp_path / "cache" / f"stage-{number}" / "seed-0")
        record = read_result(run.folder).record
        entries[str(number)] = record["files"][HISTORY]
    data = replace(drawn(), fingerprint=record["configuration"]["fingerprint"])
    monkeypatch.setattr(datasets, "load", lambda *_: data)
    monkeypatch.setattr(illustrations, "_draw_result", lambda *_: None)
    monkeypatch.setattr(illustrations, "MEASURES", {})
    monkeypatch.chdir(tmp_path)
    return entries


def test_of_commands_that_end_together_every_picture_is_noted(
    trained: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def slowly(folder: Path, read=illustrations._drawn) -> dict[str, str]:
        found = read(folder)
        time.sleep(0.5)
        return found

    monkeypatch.setattr(illustrations, "_drawn", slowly)
    fork = multiprocessing.get_context("fork")
    commands = [
        fork.Process(target=main, args=(["--stage", number, "--device", "cpu", "--jobs", "1"],))
        for number in trained
    ]
    for command in commands:
        command.start()
    for command in commands:
        command.join(timeout=60)
        assert command.exitcode == 0
    assert pictures.drawn_from(FIGURES) == trained
    assert "waiting: figures/ is being drawn by process " in capfd.readouterr().err


def test_what_a_stop_left_undrawn_is_drawn_by_the_next_command(
    trained: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(run: Run, *rest: object, draw=illustrations.draw_run) -> None:
        if run.stage.number == 3:
            raise KeyboardInterrupt
        draw(run, *rest)

    command = ["--stage", "2", "3", "--device", "cpu", "--jobs", "1"]
    with monkeypatch.context() as patched:
        patched.setattr(illustrations, "draw_run", stopped)
        assert main(command) == 130
    missing = {"3": trained["3"]}
    assert (pictures.drawn_from(FIGURES) | missing) == trained
    capsys.readouterr()
    assert main(command) == 0
    assert pictures.drawn_from(FIGURES) == trained
    assert "drawing the pictures of stage 3, seed 0" in capsys.readouterr().err
    assert main(command) == 0
    assert "drawing" not in capsys.readouterr().err


def test_a_chart_that_would_lack_a_stage_leaves_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a run is damaged, and where nothing is trained."""
    runs = [Run(get_stage(number), root=tmp_path) for number in TOGETHER]
    for run in runs:
        leave(run, [0.5])
    monkeypatch.setenv(study.VARIABLE, str(tmp_path))
    assert list(illustrations.draw([], drawn(), tmp_path)) == []
    chart = tmp_path / "result.png"
    before = chart.read_bytes()

    (runs[0].folder / RECORD).write_text("{")
    [said] = illustrations.draw([], drawn(), tmp_path)
    assert said.startswith(f"{chart}: not drawn: {runs[0].folder / RECORD}: unreadable")
    for run in runs:
        shutil.rmtree(run.folder)
        run.folder.mkdir()
    [said] = illustrations.draw([], drawn(), tmp_path)
    assert said == f"{chart}: not drawn: nothing is trained yet; train a stage first"
    assert chart.read_bytes() == before
