"""Which times of an epoch the report puts side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import results

from cifar_study.atomic import write_json
from cifar_study.report import benchmark, charts, comparison, study, summary, tables
from cifar_study.results.run import Run
from cifar_study.results.speed import FORMAT, speed_file
from cifar_study.stages import STAGES


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "PROJECT", tmp_path)
    (tmp_path / "cache").mkdir()
    return tmp_path


def leave_times(folder: Path, processor: str = "a chip, 2 cores", **stages: float) -> Path:
    """A sitting in which the engine took these seconds, a second less and two more."""
    entries = {
        number.removeprefix("stage"): {
            "macs": 1_000_000,
            "seconds": {"engine": [value, value - 1, value + 2]},
        }
        for number, value in stages.items()
    }
    machine = {"processor": processor, "precision": "bfloat16", "torch": "9"}
    path = speed_file(folder / "cache", processor)
    write_json(path, {"format": FORMAT, "machine": machine, "stages": entries})
    return path


def test_stages_that_one_machine_trained_are_compared_in_the_sitting_once_there_is_one(
    here: Path,
) -> None:
    assert summary.stage(1).seconds == "–"
    results.leave(Run(STAGES[1], root=here / "cache"), [0.3, 0.4], seconds=100)
    results.leave(Run(STAGES[4], root=here / "cache"), [0.3, 0.4], seconds=250)
    assert summary.time_ratio(4, 1) == "2.5 times"
    leave_times(here, stage1=12.0, stage4=12.0)
    assert (summary.stage(1).seconds, summary.stage(1).trained_on) == (
        "100 s",
        "a chip, 1 thread, float32",
    )
    assert summary.time_ratio(4, 1) == "1.0 times"  # 12 s each
    assert benchmark.measured_on() == "a chip, 2 cores, bfloat16, PyTorch 9"


def test_times_of_two_machines_are_not_put_side_by_side(here: Path) -> None:
    results.leave(Run(STAGES[1], root=here / "cache"), [0.3, 0.4], seconds=100)
    other = results.MACHINE | {"first_epoch": 1, "processor": "another chip"}
    results.leave(Run(STAGES[2], root=here / "cache"), [0.3, 0.4], seconds=250, sessions=[other])
    assert comparison.epoch_times([1, 2]).seconds == {}
    leave_times(here, stage1=12.0)
    assert comparison.epoch_times([1, 2]).seconds == {}  # the sitting left one out
    assert "Times of an epoch are not measured together yet" in tables.compare(1, 2).data
    leave_times(here, "B(R) 9, 4 cores", stage1=3.0, stage2=6.0)
    found = comparison.epoch_times([1, 2])
    assert found.seconds == {1: 3.0, 2: 6.0}
    assert found.taken == (
        "measured in one sitting, with the test and without the evaluation of training pictures, "
        "on B(R) 9, 4 cores, one thread, bfloat16"
    )
    assert " 6.0 s " in tables.compare(1, 2).data
    assert comparison.epoch_times([1]).seconds == {1: 12.0}  # the first that has all
    leave_times(here, **{f"stage{number}": 5.0 for number in STAGES})
    by_parameters, by_time = charts.trade_off()
    assert [len(chart.figure.axes[0].lines) for chart in (by_parameters, by_time)] == [2, 2]


def test_each_processor_has_a_column(here: Path) -> None:
    assert "no speed was measured yet; run: make bench" in benchmark.times().data
    leave_times(here, "B(R) 9, 4 cores", stage2=7.5)
    leave_times(here, stage1=12.0, stage2=30.0)
    lines = [line.strip("|").split("|") for line in benchmark.times().data.splitlines()]
    head, _, *rows = [[cell.strip() for cell in line] for line in lines]
    assert head == ["stage", "a chip", "B 9"]
    assert rows == [
        ["1 minimal, 5 filters", "12.0 (11.0–\N{WORD JOINER}14.0)", "–"],
        [
            "2 minimal, 20 filters",
            "30.0 (29.0–\N{WORD JOINER}32.0)",
            "7.5 (6.5–\N{WORD JOINER}9.5)",
        ],
    ]


@pytest.mark.parametrize("damage", ["", "{", "[]", "digit", "folder"])
def test_damage_is_named_and_does_not_fail_a_chapter(here: Path, damage: str) -> None:
    path = leave_times(here, stage1=12.0)
    assert path.name == "speed-a-chip.json"
    whole = path.read_text()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_text(whole.replace("12.0", "13.0") if damage == "digit" else damage)
    for shown in (benchmark.times(), benchmark.table(), tables.incomplete_note(1)):
        assert "speed-a-chip.json: " in shown.data
    assert comparison.epoch_times([1]).seconds == {}


def test_machines_are_those_that_trained(here: Path) -> None:
    assert "Nothing is trained" in tables.machines(1, 2).data
    chip = {"processor": "a chip", "precision": "float32", "torch": "9"}
    other = {"processor": "Other(R) Processor, 2 cores", "precision": "float32", "torch": "9"}
    moved = [chip | {"first_epoch": 1}, other | {"first_epoch": 2}, chip | {"first_epoch": 4}]
    run = Run(STAGES[2], root=here / "cache")
    results.leave(run, [0.4] * 4, seconds=1.0, sessions=moved)
    gpu = chip | {"device": "cuda", "threads": 1, "compiled": True, "first_epoch": 1}
    gpu |= {"side_by_side": 16}
    for seed, session, seconds in ((1, gpu, 0.5), (2, gpu, 0.5), (3, moved[1], 3.0)):
        session = [session | {"first_epoch": 1}]
        results.leave(replace(run, seed=seed), [0.4] * 4, seconds=seconds, sessions=session)
    *table, _, note = tables.machines(1, 2).data.splitlines()
    lines = [
        line.replace("\N{WORD JOINER}", "").replace("\N{NO-BREAK SPACE}", " ") for line in table
    ]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["stage", "a chip", "Other", "a chip"]
    # Of the other machine the median of 1, 1, 3, 3, 3 and 3 seconds; stage 1 is not trained.
    assert cells[2:] == [["2", "0 (1), 0 (4): 1.0 s", "0 (2–3), 3: 3.0 s", "1, 2: 0.5 s"]]
    assert note == (
        "The machines, in this order: a chip, float32, PyTorch 9; "
        "Other(R) Processor, 2 cores, float32, PyTorch 9; "
        "a chip, float32, up to 16 runs side by side, PyTorch 9, compiled."
    )
