"""What the prose says of guesses, mistakes, photos and shapes is counted rightly."""

import numpy as np
import pytest
from results_on_disk import leave

from cifar_study.errors import StudyError
from cifar_study.report import predictions, tables
from cifar_study.stages import CLASSES

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
    assert str(predictions.top_k_accuracy(8, 1)) == "40.0%"  # the deer and the second truck
    assert str(predictions.top_k_accuracy(8, 2)) == "80.0%"  # a cat and a truck are second
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
    assert str(predictions.top_k_accuracy(8, 3)) == str(predictions.recognised("scene")) == "–"
    assert str(predictions.mistakes_within(8, "animals")) == "–"
    assert str(predictions.in_shape("28×32 scaled")) == "–"
    assert "once a network is trained" in tables.photos().data
    assert "once a network is trained" in tables.shapes().data


def test_damaged_predictions_are_a_dash_in_sentences_and_an_error_for_charts(five_pictures, folder):
    (folder / "stage-8" / "seed-0" / "predictions.safetensors").write_bytes(b"?")
    assert str(predictions.confidence(8)) == "–"
    with pytest.raises(StudyError, match="not the file that result"):
        predictions.guesses(8)


def test_photos_are_counted_by_kind_and_shape_and_credited_as_typed(folder, monkeypatch):
    def says(label: int) -> list[float]:
        return [0.55 if n == label else 0.05 for n in range(10)]

    sources = folder / "sources.csv"
    sources.write_text(
        "file,author,licence,package,path,origin,shows,class,kind\n"
        "a.jpg,N. N.,CC0 1.0,free 1.0,a,,a thing,cat,scene\n"
        "b.jpg,N|N <b>,CC0 1.0,free 1.0,b,https://a.example/b,a thing,cat,scene\n"
        "c.jpg,N. N.,CC0 1.0,free 1.0,c,,a thing,dog,cut-out\n"
        "not-asked.jpg,N. N.,CC0 1.0,free 1.0,d,,a thing,dog,cut-out\n"
    )
    monkeypatch.setattr(predictions, "PHOTOS", sources)
    given = {"a.jpg": says(CAT), "b.jpg": says(DOG), "c.jpg": says(DOG)}
    answers = {
        name: {"width": 39, "height": 26, "probabilities": shares} for name, shares in given.items()
    }
    leave(folder, 8, 0, [0.4], measured={"photos": answers}, epochs=1)
    assert predictions.recognised("scene") == "1 of 2"
    assert predictions.recognised("cut-out") == "1 of 1"
    rows = [
        [cell.strip() for cell in line.replace(r"\|", "¦").split("|")[1:-1]]
        for line in tables.photos().data.splitlines()[2:]
    ]
    seen = "a thing, 39×26"
    assert rows == [
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
