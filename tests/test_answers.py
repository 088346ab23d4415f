"""What the prose says of guesses, mistakes and the photo is counted rightly."""

from __future__ import annotations

import numpy as np
import pytest

from cifar_study import answers, figures, tables
from cifar_study.facts import ABSENT
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
    assert answers.among_first(8, 1) == "40.0%"  # the deer and the second truck
    assert answers.among_first(8, 2) == "80.0%"  # the first cat and the first truck are second
    assert answers.confidence(8) == "70.0%"  # 0.6 for the deer, 0.8 for the truck
    # A cat called a dog, a cat called a ship; a truck called an automobile.
    assert answers.mistakes_within(8, "animals") == "50.0%"
    assert answers.mistakes_within(8, "vehicles") == "100.0%"
    assert answers.confused(8, "cat", "dog") == "50.0%"
    assert answers.confused(8, "deer", "dog") == "0.0%"
    assert answers.sure_mistakes(8, 0.59) == "100.0%"  # all three with 0.6
    assert answers.sure_mistakes(8) == "0.0%"


def test_chance_is_counted_over_the_classes_that_are_wrong() -> None:
    assert answers.chance_within("animals") == "55.6%"  # five of nine
    assert answers.chance_within("vehicles") == "33.3%"  # three of nine


def test_without_results_they_are_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.empty((0, 10)), np.empty(0, dtype=int)
    monkeypatch.setattr(Sample, "answers", nothing)
    assert answers.among_first(8, 3) == answers.confidence(8) == ABSENT
    assert answers.sure_mistakes(8) == ABSENT
    assert answers.mistakes_within(8, "animals") == answers.confused(8, "cat", "dog") == ABSENT


@pytest.mark.parametrize(
    ("best", "said"),
    [
        ({"32×21": DOG, "64×43": CAT, "32×32, squeezed": DOG, "96×64": CAT}, "at 64×43 and 96×64"),
        ({"32×21": CAT, "64×43": DOG}, "at 32×21"),
        ({"32×21": CAT}, "at every size"),
        ({"32×21": DOG}, "at no size"),
        ({}, ABSENT),
    ],
)
def test_where_the_photo_is_recognised(
    best: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {size: [0.55 if n == k else 0.05 for n in range(10)] for size, k in best.items()}
    monkeypatch.setattr(answers, "photo", lambda: given)
    monkeypatch.setattr(figures, "photo", lambda: given)
    assert answers.recognised() == said
    for size, guess in best.items():
        assert answers.photo_said(size) == f"{CLASSES[guess]} with 55.0% at {size}"
    assert answers.photo_said("1×1") == ABSENT
    lines = tables.photo().data.splitlines()
    for line, (size, guess) in zip(lines[2:], best.items(), strict=True):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert cells == [size, CLASSES[guess], "55.0%", "55.0%" if guess == CAT else "5.0%"]


def test_accuracy_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "size_accuracies", lambda: {"square": {24: 0.25}})
    assert answers.at_width(24) == "25.0% at 24 pixels"
    assert answers.at_width(25) == answers.at_width(24, "flattened") == ABSENT
