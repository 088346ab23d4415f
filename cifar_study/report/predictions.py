"""What the networks say of pictures, as text for the prose: guesses, mistakes, sizes.

Shares of guesses and mistakes are over the test set and all seeds that count; the photos
and the sizes were measured with one seed. Without a result all are a dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cifar_study.cifar10 import CLASSES
from cifar_study.report.architecture import rows_left
from cifar_study.report.comparison import reliability
from cifar_study.report.numbers import ABSENT, percent, points, points_within, with_interval
from cifar_study.report.pictures import SHOWN, photos, shape_counts, size_accuracies
from cifar_study.report.replicates import replicates

ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")


def top_k_accuracy(number: int, guesses: int) -> str:
    """The share of test pictures whose class is among the first guesses, over all seeds."""
    probabilities, labels = replicates(number).predictions
    if not len(probabilities):
        return ABSENT
    right = probabilities[np.arange(len(probabilities)), labels]
    return percent(float(((probabilities > right[:, None]).sum(1) < guesses).mean()))


def shown_right(number: int) -> str:
    """How many of the pictures drawn with their probabilities are named rightly: 3 of 6."""
    named = _shown(number)
    return f"{sum(a == b for a, b in named)} of {len(named)}" if named else ABSENT


def shown_mistakes(number: int) -> str:
    """What the others are taken for: "airplane as automobile, cat as dog", or "none"."""
    wrong = [f"{truth} as {guess}" for truth, guess in _shown(number) if truth != guess]
    return (", ".join(wrong) or "none") if _shown(number) else ABSENT


def _shown(number: int) -> list[tuple[str, str]]:
    """Class and guess of each of these pictures, of the first seed that counts."""
    counted = replicates(number).counted
    if not counted:
        return []
    probabilities, labels = counted[0].predictions()
    places = [place for place in SHOWN if place < len(labels)]
    return [(CLASSES[labels[place]], CLASSES[probabilities[place].argmax()]) for place in places]


def confidence(number: int) -> str:
    """The mean probability of the class named, over the test pictures named correctly."""
    probabilities, labels = replicates(number).predictions
    right = (
        probabilities[probabilities.argmax(1) == labels].max(1)
        if len(probabilities)
        else probabilities
    )
    return percent(float(right.mean())) if len(right) else ABSENT


def confident_errors(number: int, least: float = 0.9) -> str:
    """Of the mistakes, the share that is made with a probability of more than ``least``."""
    probabilities, labels = replicates(number).predictions
    wrong = (
        probabilities[probabilities.argmax(1) != labels].max(1)
        if len(probabilities)
        else probabilities
    )
    return percent(float((wrong > least).mean())) if len(wrong) else ABSENT


def right_when_sure(number: int, least: float = 0.9) -> str:
    """The share of right guesses among those made with a probability of more than ``least``."""
    probabilities, labels = replicates(number).predictions
    sure = probabilities.max(1, initial=0) > least
    return (
        percent(float((probabilities.argmax(1) == labels)[sure].mean())) if sure.any() else ABSENT
    )


def calibration_error(number: int) -> str:
    """The expected calibration error, in points (Naeini et al. 2015; Guo et al. 2017).

    The distance between the mean probability of the class named and the share
    of right guesses, in fifteen bins of that probability, as a mean over the
    test pictures.
    """
    bins = reliability(number)
    if not len(bins):
        return ABSENT
    return points(float(np.average((bins.confidence - bins.accuracy).abs(), weights=bins.pictures)))


def confused(number: int, truth: str, guess: str) -> str:
    """The share of a class's test pictures that are taken for another class."""
    probabilities, labels = replicates(number).predictions
    guesses = (
        probabilities[labels == _class(truth)].argmax(1) if len(probabilities) else probabilities
    )
    return percent(float((guesses == _class(guess)).mean())) if len(guesses) else ABSENT


def chance_within(group: str) -> str:
    """The share of :func:`mistakes_within` if every wrong class were as likely."""
    members = len(ANIMALS) if group == "animals" else len(CLASSES) - len(ANIMALS)
    return percent((members - 1) / (len(CLASSES) - 1))


def mistakes_within(number: int, group: str) -> str:
    """Of the mistakes about "animals" or "vehicles", the share that names another of the group."""
    probabilities, labels = replicates(number).predictions
    animals = np.isin(np.arange(len(CLASSES)), [_class(name) for name in ANIMALS])
    members = animals if group == "animals" else ~animals
    guesses = probabilities.argmax(1) if len(probabilities) else labels
    wrong = members[labels] & (guesses != labels)
    return percent(float(members[guesses[wrong]].mean())) if wrong.any() else ABSENT


def recognised(kind: str | None = None, squeezed: bool = False) -> str:
    """How many photos were named rightly, of all, the "scene"s or the "cut-out"s: 4 of 14.

    With their own proportions, or squeezed into a square of the training size.
    """
    named = _named_rightly(kind, squeezed)
    return f"{sum(named)} of {len(named)}" if named else ABSENT


def share_recognised(kind: str | None = None, squeezed: bool = False) -> str:
    """The share of :func:`recognised` with Wilson's 95% interval: 28.6% (11.7% to 54.6%)."""
    named = _named_rightly(kind, squeezed)
    return with_interval(sum(named), len(named)) if named else ABSENT


def _named_rightly(kind: str | None, squeezed: bool) -> list[bool]:
    frame = photos()
    return [
        CLASSES[int(np.argmax(item.squeezed if squeezed else item.probabilities))] == item["class"]
        for _, item in frame.iterrows()
        if kind in (None, item.kind)
    ]


def photo_said(file: str) -> str:
    """What a photo was taken for: frog with 97.8%."""
    frame = photos()
    if file not in frame.index:
        return ABSENT
    return f"{frame.guess[file]} with {percent(frame.probability[file])}"


def in_shape(shape: str) -> str:
    """The accuracy on all test pictures in a shape such as "28×32 scaled", as a percentage."""
    counted = shape_counts().get(shape)
    return percent(counted["right"] / counted["pictures"]) if counted else ABSENT


def lost_in_shape(shape: str) -> str:
    """How much less that is than as they are, the interval from the pairs: 2.3 ± 0.6 points."""
    counted = shape_counts().get(shape)
    return points_within(*paired_loss(counted)) if counted else ABSENT


def paired_loss(counted: Mapping[str, int]) -> tuple[float, float]:
    """The loss of accuracy, and half its 95% interval, from the pictures that changed sides."""
    lost, gained, total = counted["lost"], counted["gained"], counted["pictures"]
    mean = (lost - gained) / total
    return mean, 1.96 * math.sqrt((lost + gained) / total - mean**2) / math.sqrt(total)


def at_width(width: int, kind: str = "square") -> str:
    """The accuracy on scaled test pictures of a kind at a width, as a percentage: 79.8%."""
    share = size_accuracies().get(kind, {}).get(width)
    return ABSENT if share is None else percent(share)


def best_width(kind: str = "square") -> str:
    """The measured width with the highest accuracy: 36 pixels."""
    shares = size_accuracies().get(kind)
    return f"{max(shares, key=shares.get)} pixels" if shares else ABSENT


def rows_after(height: int) -> str:
    """The rows of a picture of that height after each pooling: "10, 5 and 2"."""
    *most, last = map(str, rows_left(height)[1:])
    return f"{', '.join(most)} and {last}"


def rows_kept(height: int) -> str:
    """How many of its rows the values after the last pooling stand for: "16 of its 21 rows"."""
    left = rows_left(height)
    return f"{left[-1] * 2 ** (len(left) - 1)} of its {height} rows"


def _class(name: str) -> int:
    return CLASSES.index(name)
