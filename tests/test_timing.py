"""Times measured in one sitting, and what the report makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import results

from cifar_study.atomic import write_json
from cifar_study.errors import StudyError
from cifar_study.report import benchmark, charts, comparison, study, summary, tables
from cifar_study.results.run import Run
from cifar_study.results.timing import read_timing, save_timing
from cifar_study.stages import STAGES
from cifar_study.train import main
from cifar_study.training import timing as timing_of


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "PROJECT", tmp_path)
    (tmp_path / "cache").mkdir()
    return tmp_path


def leave_times(seconds: float, folder: Path, *stages: str) -> None:
    entry = {"seconds": seconds, "least": 1.0, "most": 100.0}
    whole = {"machine": results.MACHINE, "repeats": 7, "stages": dict.fromkeys(stages, entry)}
    write_json(folder / "cache" / "timing.json", whole)


def test_measured_times_are_stored_in_order(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing_of, "TRAIN_PICTURES", 320)
    monkeypatch.setattr(timing_of, "TEST_PICTURES", 100)
    assert main(["--timing", "--stage", "1", "3", "--data", "synthetic", "--device", "cpu"]) == 0
    timing = read_timing(here / "cache" / "trial")
    assert set(timing["stages"]) == {"1", "3"}
    # Stage 3 has 27 times the arithmetic of stage 1.
    assert timing["stages"]["3"]["least"] > timing["stages"]["1"]["least"] > 0
    assert timing["machine"]["threads"] == 1
    assert "stage 3:" in capsys.readouterr().out
    assert read_timing(here / "cache") is None  # of a trial, not of the study


def test_stages_that_one_machine_trained_are_compared_in_the_sitting_once_there_is_one(
    here: Path,
) -> None:
    assert summary.stage(1).seconds == "–"
    results.leave(Run(STAGES[1], root=here / "cache"), [0.3, 0.4], seconds=100)
    results.leave(Run(STAGES[4], root=here / "cache"), [0.3, 0.4], seconds=250)
    assert summary.time_ratio(4, 1) == "2.5 times"
    leave_times(12.0, here, "1", "4")
    assert (summary.stage(1).seconds, summary.stage(1).trained_on) == (
        "100 s",
        "a chip, 1 thread, float32",
    )
    assert summary.time_ratio(4, 1) == "1.0 times"  # 12 s each
    assert benchmark.timed_on() == "a chip, 1 thread, float32, PyTorch 9"


def test_stages_of_two_machines_show_the_sitting(here: Path) -> None:
    results.leave(Run(STAGES[1], root=here / "cache"), [0.3, 0.4], seconds=100)
    other = results.MACHINE | {"first_epoch": 1, "processor": "another chip"}
    results.leave(Run(STAGES[2], root=here / "cache"), [0.3, 0.4], seconds=250, sessions=[other])
    assert comparison.epoch_times([1, 2]).seconds == {}
    leave_times(12.0, here, "1")
    found = comparison.epoch_times([1, 2])
    assert found.seconds == {1: 12.0}  # a stage that the sitting left out has no time
    assert found.taken.startswith("measured in one sitting, on a chip, one thread, float32")
    assert " 12 s " in tables.compare(1, 2).data
    assert "Times of an epoch are measured in one sitting" in tables.compare(1, 2).data
    by_parameters, by_time = charts.trade_off()
    assert [len(chart.figure.axes[0].lines) for chart in (by_parameters, by_time)] == [2, 1]


def test_one_stage_measured_again_leaves_the_others(here: Path) -> None:
    leave_times(12.0, here, "1", "2")
    entry = {"seconds": 7.0, "least": 6.0, "most": 8.0}
    again = {"machine": results.MACHINE, "repeats": 7, "stages": {"2": entry}}
    save_timing(again, here / "cache")
    stages = read_timing(here / "cache")["stages"]
    assert [stages[number]["seconds"] for number in ("1", "2")] == [12.0, 7.0]
    elsewhere = again | {"machine": results.MACHINE | {"processor": "another chip"}}
    with pytest.raises(StudyError, match=r"timing\.json: holds times of another machine"):
        save_timing(elsewhere, here / "cache")


@pytest.mark.parametrize("damage", ["", "{", "[]", "digit", "folder"])
def test_damage_is_named_and_does_not_fail_a_chapter(here: Path, damage: str) -> None:
    leave_times(12.0, here, "1")
    path = here / "cache" / "timing.json"
    whole = path.read_text()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_text(whole.replace("12.0", "13.0") if damage == "digit" else damage)
    with pytest.raises(StudyError, match=r"timing\.json: (damaged|unreadable) .* --timing$"):
        read_timing(here / "cache")
    assert "timing.json: " in benchmark.times().data
    assert comparison.epoch_times([1]).seconds == {}
    assert "timing.json: " in tables.incomplete_note(1).data


def test_machines_are_those_that_trained(here: Path) -> None:
    assert "Nothing is trained" in tables.machines(1, 2).data
    chip = {"processor": "a chip", "precision": "float32", "torch": "9"}
    sessions = [chip | {"first_epoch": 1}, chip | {"first_epoch": 3, "precision": "bfloat16"}]
    run = Run(STAGES[2], root=here / "cache")
    results.leave(run, [0.4], sessions=sessions)
    cells = [line.split("|")[1:-1] for line in tables.machines(1, 2).data.splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ["2", "1", "a chip, float32, PyTorch 9"],
        ["2", "3", "a chip, bfloat16, PyTorch 9"],
    ]
