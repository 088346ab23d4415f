"""What the prose says of guesses, mistakes and the photo is counted rightly."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cifar_study.report import pictures, predictions, tables
from cifar_study.report.numbers import ABSENT
from cifar_study.report.replicates import Replicates
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
    result = SimpleNamespace(predictions=lambda: (given, np.array(labels)))
    monkeypatch.setattr(Replicates, "counted", [result])


def test_first_guesses_confidence_and_where_mistakes_go(five_pictures: None) -> None:
    assert predictions.top_k_accuracy(8, 1) == "40.0%"  # the deer and the second truck
    assert predictions.top_k_accuracy(8, 2) == "80.0%"  # a cat and a truck are second
    assert predictions.confidence(8) == "70.0%"  # 0.6 for the deer, 0.8 for the truck
    # A cat called a dog, a cat called a ship; a truck called an automobile.
    assert predictions.mistakes_within(8, "animals") == "50.0%"
    assert predictions.mistakes_within(8, "vehicles") == "100.0%"
    # One of two cats was called a dog, and one of two trucks an automobile, the earlier class.
    assert predictions.most_confused(8) == (
        "automobile and truck (0.0% of the first are named as the second, "
        "50.0% the other way round)"
    )
    assert predictions.confident_errors(8, 0.59) == "100.0%"  # all three with 0.6
    assert predictions.confident_errors(8) == "0.0%"


def test_chance_is_counted_over_the_classes_that_are_wrong() -> None:
    assert predictions.chance_within("animals") == "55.6%"  # five of nine
    assert predictions.chance_within("vehicles") == "33.3%"  # three of nine


def test_without_results_they_are_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replicates, "counted", [])
    assert predictions.top_k_accuracy(8, 3) == predictions.confidence(8) == ABSENT
    assert predictions.confident_errors(8) == ABSENT
    assert predictions.mistakes_within(8, "animals") == predictions.most_confused(8) == ABSENT


def test_photos_are_counted_by_kind_and_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    def says(label: int) -> list[float]:
        return [0.55 if n == label else 0.05 for n in range(10)]

    rows = {
        "a.jpg": ("cat", "scene", says(CAT), says(CAT)),
        "b.jpg": ("cat", "scene", says(DOG), says(CAT)),
        "c.jpg": ("dog", "cut-out", says(DOG), says(CAT)),
    }
    given = {
        name: {"class": truth, "kind": kind, "probabilities": own, "squeezed": squeezed}
        for name, (truth, kind, own, squeezed) in rows.items()
    }
    monkeypatch.setattr(pictures, "_measured", lambda file, number: given)
    frame = pictures.photos()
    assert frame.guess.tolist() == ["cat", "dog", "dog"]
    assert frame.right.tolist() == [True, False, True]
    assert predictions.recognised() == "2 of 3"
    assert predictions.recognised("scene") == "1 of 2"
    assert predictions.recognised("scene", squeezed=True) == "2 of 2"
    assert predictions.recognised("cut-out", squeezed=True) == "0 of 1"
    # Wilson for 1 of 2: middle 0.5, half 1.96 · √(0.25 / 2 + 0.49²) / (1 + 3.8416 / 2) = 0.4055.
    assert predictions.share_recognised("scene") == "50.0% (9.5% to 90.5%)"
    assert predictions.photo_said("b.jpg") == "dog with 55.0%"
    assert predictions.photo_said("none.jpg") == ABSENT
    monkeypatch.setattr(pictures, "_measured", lambda file, number: {})
    assert predictions.recognised() == predictions.share_recognised() == ABSENT
    assert "Known once stage 8 is trained" in tables.photos().data


def test_every_photo_is_in_the_table_right_or_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"author": "N. N.", "licence": "CC0 1.0", "package": "free 1.0", "shows": "a thing"}
    about |= {"kind": "scene", "width": 39, "height": 26}
    given = [0.05] * 10
    given[DOG] = 0.55
    values = {
        "a.jpg": about | {"class": "cat", "probabilities": given, "origin": ""},
        "b.jpg": about | {"class": "dog", "probabilities": given, "origin": "https://a.example/b"},
    }
    monkeypatch.setattr(pictures, "_measured", lambda file, number: values)
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in tables.photos().data.splitlines()[2:]
    ]
    seen, whose = "a thing, 39×26", "N. N., CC0 1.0"
    assert rows == [
        [f"cat: {seen}", "✗ dog, 55.0%", f"{whose}, free"],
        [f"dog: {seen}", "✓ dog, 55.0%", f"{whose}, [free](https://a.example/b)"],
    ]


def test_accuracy_by_shape_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"pictures": 100, "right": 80, "gained": 2, "lost": 7}
    monkeypatch.setattr(predictions, "shape_counts", lambda: {"28×32 scaled": counted})
    assert predictions.in_shape("28×32 scaled") == "80.0%"
    # A mean loss of 0.05, of which (7 + 2) / 100 - 0.05² is the variance: 1.96 · 0.2958 / 10.
    assert predictions.lost_in_shape("28×32 scaled") == "5.0 ± 5.8 points"
    assert predictions.in_shape("1×1 cut") == predictions.lost_in_shape("1×1 cut") == ABSENT
    monkeypatch.setattr(predictions, "size_accuracies", lambda: {"square": {24: 0.25, 32: 0.5}})
    assert predictions.at_width(24) == "25.0%"
    assert predictions.at_width(25) == predictions.at_width(24, "flattened") == ABSENT
    assert predictions.best_width() == "32 pixels"


def test_rows_that_poolings_leave() -> None:
    assert predictions.rows_after(21) == "10, 5 and 2"
    assert predictions.rows_after(24) == "12, 6 and 3"
    assert predictions.rows_kept(21) == "16 of its 21 rows"
