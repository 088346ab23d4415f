"""Times measured in one sitting, and what the report makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import train

from cifar_study import cache, facts, figures, speed, tables
from cifar_study.cache import Epoch
from cifar_study.errors import StudyError
from cifar_study.runs import Run
from cifar_study.stages import STAGES


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache").mkdir()
    return tmp_path


def stored(seconds: float, **change: object) -> str:
    entry = {"seconds": seconds, "least": 1.0, "most": 100.0}
    machine = {"processor": "a chip", "threads": 1, "precision": "float32", "torch": "9"}
    whole = {"format": 1, "machine": machine, "repeats": 7, "stages": {"1": entry, "4": entry}}
    return json.dumps(whole | change)


def test_measured_times_are_stored_in_order(here: Path) -> None:
    done = train(here, "--timing", "--stage", "1", "3", "--data", "synthetic")
    assert done.returncode == 0, done.stderr
    timing = cache.read_timing(here / "cache" / "trials" / "data-synthetic")
    assert set(timing["stages"]) == {"1", "3"}
    # Stage 3 has 27 times the arithmetic of stage 1.
    assert timing["stages"]["3"]["least"] > timing["stages"]["1"]["least"] > 0
    assert timing["machine"]["threads"] == 1
    assert "stage 3:" in done.stdout
    assert cache.read_timing(here / "cache") is None  # of a trial, not of the study


def test_the_report_takes_its_times_from_there(here: Path) -> None:
    assert facts.stage(1).seconds == "–"
    (here / "cache" / "timing.json").write_text(stored(12.0))
    assert facts.stage(1).seconds == "12 s"
    assert facts.stage(2).seconds == "–"
    assert facts.time_ratio(4, 1) == "1.0 times"
    assert speed.timed_on() == "a chip, 1 thread, float32, PyTorch 9"


def test_a_stage_that_the_sitting_left_out_has_no_time(here: Path) -> None:
    for number in (1, 2):
        run = Run(STAGES[number])
        made = {"sessions": [], "data": {"name": "cifar10", "fingerprint": "f"}}
        rows, given = [Epoch(1, 2.0, 0.3, 1.9, 0.4, 100.0)], np.eye(10, dtype=np.float32)
        cache.publish(run, run.configuration("f"), rows, {}, given, made)
    assert facts.stage(2).seconds == "100 s"
    (here / "cache" / "timing.json").write_text(stored(12.0))
    # Times of two machines would stand side by side.
    assert (facts.stage(1).seconds, facts.stage(2).seconds) == ("12 s", "–")
    by_parameters, by_time = figures.trade_off()
    assert [len(chart.figure.axes[0].lines) for chart in (by_parameters, by_time)] == [2, 1]


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", stored(0.5), stored(float("nan")), stored(3, format=2), stored(3, stages=[])],
)
def test_damage_is_named_and_does_not_fail_a_chapter(here: Path, damage: str) -> None:
    (here / "cache" / "timing.json").write_text(damage)
    with pytest.raises(StudyError, match=r"timing\.json: damaged .* --timing$"):
        cache.read_timing(here / "cache")
    assert "timing.json: damaged" in speed.times().data
    assert facts.stage(1).seconds == "–"
    assert "timing.json: damaged" in tables.standing(1).data


def test_machines_are_those_that_trained(here: Path) -> None:
    assert "Nothing is trained" in tables.machines(1, 2).data
    chip = {"processor": "a chip", "precision": "float32", "torch": "9"}
    sessions = [chip | {"first_epoch": 1}, chip | {"first_epoch": 3, "precision": "bfloat16"}]
    run = Run(STAGES[2])
    made = {"sessions": sessions, "data": {"name": "cifar10", "fingerprint": "f"}}
    rows, given = [Epoch(1, 2.0, 0.3, 1.9, 0.4, 100.0)], np.eye(10, dtype=np.float32)
    cache.publish(run, run.configuration("f"), rows, {}, given, made)
    cells = [line.split("|")[1:-1] for line in tables.machines(1, 2).data.splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ["2", "1", "a chip, float32, PyTorch 9"],
        ["2", "3", "a chip, bfloat16, PyTorch 9"],
    ]
