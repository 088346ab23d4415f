"""Tables, notes on runs and listings: what stands in them, and that it does what it says."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT
from results_on_disk import leave

from cifar_study import stages
from cifar_study.errors import StudyError
from cifar_study.options import chosen_runs, parser
from cifar_study.report import architecture, facts, listing, predictions, tables
from cifar_study.report.style import Chart
from cifar_study.runs import VARIABLE, Run
from cifar_study.stages import CLASSES, ENTRIES, STAGES, Recipe


@pytest.fixture
def study(folder, monkeypatch):
    """That folder as the study's own."""
    for module in (facts, tables):
        monkeypatch.setattr(module, "CACHE", folder)
    return folder


def rows(table):
    """The cells of a table's rows, below its head."""
    lines = [line for line in table.data.splitlines() if line.startswith("|")]
    cells = [line.replace(r"\|", "¦").split("|")[1:-1] for line in lines[2:]]
    return [[" ".join(cell.split()) for cell in row] for row in cells]


def asked(command):
    """The runs that a command trains, as the command itself reads it."""
    return chosen_runs(parser().parse_args(shlex.split(command)[3:]))


def commands(note):
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
    other = {"processor": "another | chip", "first_epoch": 3}
    leave(folder, 4, 0, [0.1] * 3, epochs=3, sessions=[{}, other])
    leave(folder, 4, 1, [0.1] * 3, epochs=3)
    table = tables.machines()
    text = table.data.replace("\N{WORD JOINER}", "").replace("\N{NO-BREAK SPACE}", " ")
    assert "| 4 | 0 (1–2), 1 | 0 (3–3) |" in " ".join(text.split())
    assert r": 1. AMD EPYC, 2 cores, 1 thread, float32, PyTorch 9; 2. another \| chip" in text
    assert r"| 1. AMD EPYC | 2. another \| chip |" in " ".join(text.split())


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
    assert lines[0].startswith("- **Stage 1 minimal, 5 filters**: not trained yet; `python -m ")
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
        ["2 epochs on 64 pictures", "20.0%", "10.0"],
        ["1 of 2 epochs on 64 pictures", "10.0%", "10.0"],
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


# --- what is said of guesses, photos and shapes ---------------------------------------------------

CAT, DEER, DOG, SHIP, TRUCK, CAR = (
    CLASSES.index(name) for name in ("cat", "deer", "dog", "ship", "truck", "automobile")
)


@pytest.fixture
def five_pictures(folder):
    """Two cats, a deer and two trucks, with the classes that are given most and second most."""
    labels = [CAT, CAT, DEER, TRUCK, TRUCK]
    first, second = [DOG, SHIP, DEER, CAR, TRUCK], [CAT, DOG, CAT, TRUCK, CAR]
    given = np.full((5, 10), 0.01)
    given[range(5), first], given[range(5), second] = [0.95, 0.6, 0.6, 0.6, 0.8], 0.3
    leave(folder, 8, 0, [0.4], probabilities=given, labels=np.array(labels), epochs=1)


def test_guesses_confidence_and_where_mistakes_go(five_pictures):
    assert str(predictions.confidence(8)) == "70.0%"  # 0.6 for the deer, 0.8 for the truck
    # A cat called a dog, a cat called a ship; a truck called an automobile.
    assert str(predictions.mistakes_within(8, "animals")) == "50.0%"
    assert str(predictions.mistakes_within(8, "vehicles")) == "100.0%"
    assert predictions.confusion(8).loc["cat", ["dog", "ship", "cat"]].tolist() == [0.5, 0.5, 0]
    # Bins of a fifteenth: of 0.6 (three pictures, one right), 0.8 (right) and 0.95 (wrong).
    bins = predictions.reliability(8)
    assert bins.pictures.tolist() == [3, 1, 1]
    assert bins.accuracy.tolist() == pytest.approx([1 / 3, 1, 0])
    # (3 · (0.6 − 1/3) + (1 − 0.8) + 0.95) / 5
    assert str(predictions.calibration_error(8)) == "39.0 points"


def test_pictures_that_are_shown_are_those_of_the_first_seed_alone(folder):
    shown = {"pictures": {"places": [0, 5]}}
    leave(folder, 1, 0, [0.1], right=[3], measured=shown, epochs=1)
    for seed in (1, 2):  # right about both, and with as many pictures before them
        leave(folder, 1, seed, [0.1], right=[0, 5], epochs=1)
    assert predictions.shown_right(1) == "0 of 2"
    assert len(predictions.guesses(1)) == 30


def test_without_results_they_are_a_dash(folder):
    for of in ("confidence", "calibration_error", "shown_right"):
        assert str(getattr(predictions, of)(8)) == "–", of
    assert str(predictions.recognised("scene")) == "–"
    assert str(predictions.mistakes_within(8, "animals")) == "–"
    assert str(predictions.in_shape("28×32 scaled")) == "–"
    assert "once stage 8 is trained" in tables.photos().data
    assert "once stage 8 is trained" in tables.shapes().data


def test_damaged_predictions_are_a_dash_in_sentences_and_an_error_for_charts(five_pictures, folder):
    (folder / "stage-8" / "seed-0" / "predictions.safetensors").write_bytes(b"?")
    assert str(predictions.confidence(8)) == "–"
    with pytest.raises(StudyError, match="not the file that result"):
        predictions.guesses(8)


def test_photos_are_counted_by_kind_and_shape_and_credited_as_typed(folder, monkeypatch):
    sources = folder / "sources.csv"
    sources.write_text(
        "file,author,licence,package,path,origin,shows,class,kind\n"
        "a.jpg,N. N.,CC0 1.0,free 1.0,a,,a thing,cat,scene\n"
        "b.jpg,N|N <b>,CC0 1.0,free 1.0,b,https://a.example/b,a thing,cat,scene\n"
        "c.jpg,N. N.,CC0 1.0,free 1.0,c,,a thing,dog,cut-out\n"
        "not-asked.jpg,N. N.,CC0 1.0,free 1.0,d,,a thing,dog,cut-out\n"
    )
    monkeypatch.setattr(predictions, "PHOTOS", sources)
    answers = {}
    for name, label in (("a.jpg", CAT), ("b.jpg", DOG), ("c.jpg", DOG)):
        shares = [0.55 if place == label else 0.05 for place in range(10)]
        answers[name] = {"width": 39, "height": 26, "probabilities": shares}
    leave(folder, 8, 0, [0.4], measured={"photos": answers}, epochs=1)
    assert predictions.recognised("scene") == "1 of 2"
    assert predictions.recognised("cut-out") == "1 of 1"
    seen = "a thing, 39×26"
    assert rows(tables.photos()) == [
        [f"cat: {seen}", "✓ cat, 55.0%", "N. N., CC0 1.0, free"],
        [f"cat: {seen}", "✗ dog, 55.0%", r"N¦N \<b\>, CC0 1.0, [free](<https://a.example/b>)"],
        [f"dog: {seen}", "✓ dog, 55.0%", "N. N., CC0 1.0, free"],
    ]


def test_accuracy_by_shape(folder):
    as_they_are = {"pictures": 100, "right": 85, "gained": 0, "lost": 0}
    scaled = {"pictures": 100, "right": 80, "gained": 2, "lost": 7}
    shapes = {"32×32 as they are": as_they_are, "28×32 scaled": scaled}
    leave(folder, 8, 0, [0.4], measured={"shapes": shapes}, epochs=1)
    assert str(predictions.in_shape("28×32 scaled")) == "80.0%"
    # A mean loss of 0.05, of which (7 + 2) / 100 - 0.05² is the variance: 1.96 · 0.2958 / 10.
    # Wilson for 80 of 100: 1.96 · √(0.16 / 100 + 3.8416 / 40,000) / 1.038416 = 0.0777.
    assert "| 80.0% ± 7.8 | 5.0 ± 5.8 |" in " ".join(tables.shapes().data.split())
