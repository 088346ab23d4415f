"""Tables, notes on runs and listings: what stands in them, and that it does what it says."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PROJECT
from results_on_disk import leave

from cifar_study import stages
from cifar_study.options import chosen_runs, parser
from cifar_study.report import architecture, facts, listing, tables
from cifar_study.report.style import Chart
from cifar_study.runs import VARIABLE, Run
from cifar_study.stages import ENTRIES, STAGES, Recipe

TWO = {"processor": "another | chip"}


@pytest.fixture
def study(folder, monkeypatch):
    """That folder as the study's own."""
    for module in (facts, tables):
        monkeypatch.setattr(module, "CACHE", folder)
    return folder


def rows(table: object) -> list[list[str]]:
    """The cells of a table's rows, below its head."""
    lines = [line for line in table.data.splitlines() if line.startswith("|")]
    return [[" ".join(cell.split()) for cell in line.split("|")[1:-1]] for line in lines[2:]]


def asked(command: str) -> list[Run]:
    """The runs that a command trains, as the command itself reads it."""
    return chosen_runs(parser().parse_args(shlex.split(command)[3:]))


def commands(note: object) -> list[str]:
    return re.findall(r"`(python -m cifar_study.train [^`]*)`", note.data)


def test_stages_stand_side_by_side_with_intervals_and_times(folder):
    for seed, accuracy in enumerate((0.60, 0.62, 0.70)):
        leave(folder, 4, seed, [accuracy], seconds=2.0, epochs=1)
    leave(folder, 1, 0, [0.67], pictures=500, right=range(335), seconds=3.0, epochs=1)
    compared = tables.compare(4, 1, 5)
    assert rows(compared) == [
        ["4 two blocks, ReLU", "64.0% ± 13.1", "10.0 ± 0.0", "2.0 s", "51,470", "9.79"],
        ["1 minimal, 5 filters", "67.0% ± 4.1", "10.0", "3.0 s", "1,180", "0.37"],
        ["5 four blocks", "–", "–", "–", "464,750", "20.8"],
    ]
    assert "of one seed it is that of its test pictures." in compared.data
    assert rows(tables.glance())[3] == ["4 two blocks, ReLU", "64.0%", "10.0", "2.0 s", "51,470"]
    assert len(rows(tables.glance())) == len(STAGES)
    assert rows(tables.epoch_times())[3] == ["4 two blocks, ReLU", "2.0 s"]
    assert "On AMD EPYC, 2 cores, 1 thread, float32, PyTorch 9." in tables.epoch_times().data


def test_a_stages_title_stays_in_its_cell(folder, monkeypatch):
    monkeypatch.setitem(STAGES, 4, replace(STAGES[4], title="a|b <b> [a](b)"))
    leave(folder, 5, 0, [0.5], epochs=1)
    for table in (tables.glance(), tables.compare(4), tables.incomplete_note(4)):
        assert r"4 a\|b \<b\> \[a\](b)" in table.data


def test_layers_are_counted(folder):
    layers = rows(tables.layers(1))
    assert layers[1] == ["block1.conv1", "convolution 3×3", "5 × 32 × 32", "140", "3·3·3·5 + 5"]
    assert layers[-1] == ["**total**", "", "", "**1,180**", ""]


def test_labels_become_vectors():
    assert tables.one_hot([3, 0]).tolist() == [[0, 0, 0, 1] + [0] * 6, [1] + [0] * 9]
    assert rows(tables.one_hot_examples([9])) == [["truck", "9", "0 0 0 0 0 0 0 0 0 1"]]


def test_machines_are_listed_with_the_epochs_they_trained(folder):
    leave(folder, 4, 0, [0.1] * 3, epochs=3, sessions=[{}, TWO | {"first_epoch": 3}])
    leave(folder, 4, 1, [0.1] * 3, epochs=3)
    table = tables.machines()
    text = table.data.replace("\N{WORD JOINER}", "").replace("\N{NO-BREAK SPACE}", " ")
    assert "| 4 | 0 (1–2), 1 | 0 (3–3) |" in " ".join(text.split())
    assert r"order: AMD EPYC, 2 cores, 1 thread, float32, PyTorch 9; another \| chip, 1" in text


def test_nothing_is_noted_of_a_complete_study():
    assert tables.incomplete_note(*range(1, 12)).data == tables.incomplete_note().data == ""


def test_a_note_has_a_line_for_each_kind_of_lack_with_the_command_that_helps(study, monkeypatch):
    leave(study, 3, 0, [0.1] * 15)
    for seed in (1, 4):
        leave(study, 3, seed, [0.1] * 2)
    leave(study, 4, 0, [0.1] * 150)
    monkeypatch.setitem(STAGES, 4, replace(STAGES[4], recipe=Recipe(momentum=0.8)))
    leave(study, 5, 0, [0.1] * 2)
    (study / "stage-5" / "seed-0" / "history.csv").write_text("?")
    note = tables.incomplete_note(1, 3, 4, 5)
    head, *lines = [line for line in note.data.splitlines() if line.startswith((":::", "- "))][:-1]
    assert head == "::: {.callout-warning}"
    option = f" --cache {study}"
    assert lines[0] == (
        f"- **Stage 1 minimal, 5 filters**: not trained yet; `python -m cifar_study.train --stage 1"
        f"{option}` trains it."
    )
    assert lines[1].startswith("- **Stage 3 two blocks, sigmoid**: seed 1 is at 2/15; `python")
    assert "seed 0 is stale: recipe.momentum 0.9 → 0.8; `python" in lines[3]
    assert "history.csv: can't be read" in lines[4].replace("\\", "")
    assert len(commands(tables.incomplete_note())) == len(STAGES)  # two for 3, none for 5
    runs = [run for command in commands(note) for run in asked(command)]
    assert runs[:3] == [Run(1, root=study), Run(3, 1, root=study), Run(3, 4, root=study)]
    assert runs[3:] == [Run(4, root=Path("mine"))]  # nothing advises to discard the study


def test_other_results_are_shown_in_a_notice_with_their_own_commands(folder):
    trial = {"limit": 64, "width": 0.5, "data": "synthetic", "epochs": 2}
    leave(folder, 3, 0, [0.1, 0.2], **trial)
    leave(folder, 4, 0, [0.1], **trial)
    note = tables.incomplete_note(1, 3, 4)
    assert note.data.startswith("::: {.callout-note}\n")
    assert f"shows the results in `{folder}`, not the study's" in note.data
    assert [row[1:] for row in rows(note)] == [
        ["–", "–", "–"],
        ["2 epochs", "20.0%", "10.0"],
        ["1 of 2 epochs", "10.0%", "10.0"],
    ]
    absent, partial = map(asked, commands(note))
    assert absent == [Run(1, root=folder, **trial)]
    assert partial == [Run(4, root=folder, **trial)]
    assert commands(tables.incomplete_note(3)) == rows(tables.incomplete_note()) == []


def test_delivered_runs_are_told_from_ones_own(study, monkeypatch):
    for seed in (0, 1):
        leave(study, 4, seed, [0.1] * 150)
    assert rows(tables.delivered()) == [["4 two blocks, ReLU", "0, 1", ""]]
    mine = study / "mine"
    shutil.copytree(study / "stage-4" / "seed-0", mine / "stage-4" / "seed-0")
    leave(mine, 4, 1, [0.2] * 150, right=[1])
    leave(mine, 5, 0, [0.2] * 150)
    monkeypatch.setenv(VARIABLE, str(mine))
    assert [row[1:] for row in rows(tables.delivered())] == [["0", "1"], ["", "0"]]


def lines(shown):
    return re.fullmatch(r"```python\n(.*)\n```\n", shown.data, re.DOTALL)[1].splitlines()


def test_code_is_shown_from_its_file_without_its_docstring():
    shown = lines(listing.source("report/tables.py", "one_hot"))
    place = re.fullmatch(r"# cifar_study/report/tables.py, line (\d+)", shown[0])
    file = (PROJECT / "cifar_study" / "report" / "tables.py").read_text().splitlines()
    assert file[int(place[1]) - 1] == shown[1]
    assert shown[1].startswith("def one_hot(")
    assert shown[2].startswith("    vectors = np.zeros(")
    assert shown[-1] == "    return vectors"
    assert set(shown[1:]) <= set(file)


@pytest.mark.parametrize("stage", ENTRIES, ids=lambda stage: str(stage.number))
def test_the_entry_shown_makes_the_stage(stage):
    code = "\n".join(lines(listing.entry(stage.number))[1:])
    assert eval(code, vars(stages)) == stage


def test_networks_of_blocks_are_drawn_and_others_say_that_they_are_not():
    for number in (1, 8, 9):
        assert isinstance(architecture.network(number), Chart)
    assert "stage 11, ResNet" in architecture.network(11).data.replace("\\", "")
