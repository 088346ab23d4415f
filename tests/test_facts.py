"""What the prose and the charts say of results is counted rightly."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from cifar_study import facts, figures, tables
from cifar_study.runs import ROOT
from cifar_study.seeds import Sample
from cifar_study.stages import CLASSES

CAT, DEER, DOG, SHIP, TRUCK, CAR = (
    CLASSES.index(name) for name in ("cat", "deer", "dog", "ship", "truck", "automobile")
)


@pytest.fixture
def five_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cats, a deer and two trucks, with the classes that are given most and second most."""
    labels = [CAT, CAT, DEER, TRUCK, TRUCK]
    first, second = [DOG, SHIP, DEER, CAR, TRUCK], [CAT, DOG, CAT, TRUCK, CAR]
    given = np.full((5, 10), 0.01)
    for row, (most, next_most) in enumerate(zip(first, second, strict=True)):
        given[row, most], given[row, next_most] = 0.6, 0.3
    given[4, TRUCK] = 0.8
    monkeypatch.setattr(Sample, "answers", (given, np.array(labels)))


def test_first_guesses_confidence_and_where_mistakes_go(five_pictures: None) -> None:
    assert facts.among_first(8, 1) == "40.0%"  # the deer and the second truck
    assert facts.among_first(8, 2) == "80.0%"  # the first cat and the first truck are second
    assert facts.confidence(8) == "70.0%"  # 0.6 for the deer, 0.8 for the truck
    assert facts.mistakes_within(8, "animals") == "50.0%"  # a cat called a dog, a cat called a ship
    assert facts.mistakes_within(8, "vehicles") == "100.0%"  # a truck called an automobile
    assert facts.confused(8, "cat", "dog") == "50.0%"
    assert facts.confused(8, "deer", "dog") == "0.0%"
    assert facts.sure_mistakes(8, 0.59) == "100.0%"  # all three with 0.6
    assert facts.sure_mistakes(8) == "0.0%"


def test_chance_is_counted_over_the_classes_that_are_wrong() -> None:
    assert facts.chance_within("animals") == "55.6%"  # five of nine
    assert facts.chance_within("vehicles") == "33.3%"  # three of nine


def test_without_results_they_are_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.empty((0, 10)), np.empty(0, dtype=int)
    monkeypatch.setattr(Sample, "answers", nothing)
    assert facts.among_first(8, 3) == facts.confidence(8) == facts.ABSENT
    assert facts.sure_mistakes(8) == facts.ABSENT
    assert facts.mistakes_within(8, "animals") == facts.confused(8, "cat", "dog") == facts.ABSENT


@pytest.mark.parametrize(
    ("best", "said"),
    [
        ({"32×21": DOG, "64×43": CAT, "squeezed": DOG, "96×64": CAT}, "at 64×43 and 96×64"),
        ({"32×21": CAT, "64×43": DOG}, "at 32×21"),
        ({"32×21": CAT}, "at every size"),
        ({"32×21": DOG}, "at no size"),
        ({}, facts.ABSENT),
    ],
)
def test_where_the_photo_is_recognised(
    best: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {size: [0.55 if n == k else 0.05 for n in range(10)] for size, k in best.items()}
    monkeypatch.setattr(facts, "photo", lambda: given)
    monkeypatch.setattr(figures, "photo", lambda: given)
    assert facts.recognised() == said
    for size, guess in best.items():
        assert facts.photo_said(size) == f"{CLASSES[guess]} with 55.0%"
    assert facts.photo_said("1×1") == facts.ABSENT
    lines = tables.photo().data.splitlines()
    for line, (size, guess) in zip(lines[2:], best.items(), strict=True):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert cells == [size, CLASSES[guess], "55.0%", "55.0%" if guess == CAT else "5.0%"]


def test_curves_that_leave_the_chart_say_where_they_end() -> None:
    expected = []
    for number in (4, 5):
        history = ROOT / f"stage-{number}" / "seed-0" / "history.csv"
        with history.open(newline="") as file:
            losses = [float(row["test_loss"]) for row in csv.DictReader(file)][-10:]
        end = sum(losses) / 10
        assert end > 2.5  # where the axis of losses ends
        expected.append(f"↑ {end:.1f}")
    loss, accuracy = figures.histories(4, 5)
    loss.figure.draw_without_rendering()
    said = loss.figure.axes[0].texts
    assert [text.get_text() for text in said] == expected
    one, other = (text.get_window_extent() for text in said)
    assert not one.overlaps(other)
    assert not accuracy.figure.axes[0].texts


def test_numbers_beside_points_keep_apart() -> None:
    by_parameters, _ = figures.trade_off()
    by_parameters.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in by_parameters.figure.axes[0].texts]
    assert len(boxes) == 8
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
