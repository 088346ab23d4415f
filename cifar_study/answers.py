"""What the networks say of pictures, as text for the prose: guesses, mistakes, sizes.

Shares of guesses and mistakes are over the test set and all seeds that count; the photo
and the sizes were measured with one seed. Without a result all are a dash.
"""

from __future__ import annotations

import numpy as np

from cifar_study.facts import ABSENT, percent, points
from cifar_study.figures import photo, size_accuracies
from cifar_study.seeds import reliability, sample
from cifar_study.stages import CLASSES

ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")


def among_first(number: int, guesses: int) -> str:
    """The share of test pictures whose class is among the first guesses, over all seeds."""
    given, labels = sample(number).answers
    if not len(given):
        return ABSENT
    right = given[np.arange(len(given)), labels]
    return percent(float(((given > right[:, None]).sum(1) < guesses).mean()))


def confidence(number: int) -> str:
    """The mean probability of the class named, over the test pictures named correctly."""
    given, labels = sample(number).answers
    right = given[given.argmax(1) == labels].max(1) if len(given) else given
    return percent(float(right.mean())) if len(right) else ABSENT


def sure_mistakes(number: int, least: float = 0.9) -> str:
    """Of the mistakes, the share that is made with a probability of more than ``least``."""
    given, labels = sample(number).answers
    wrong = given[given.argmax(1) != labels].max(1) if len(given) else given
    return percent(float((wrong > least).mean())) if len(wrong) else ABSENT


def right_when_sure(number: int, least: float = 0.9) -> str:
    """The share of right guesses among those made with a probability of more than ``least``."""
    given, labels = sample(number).answers
    sure = given.max(1, initial=0) > least
    return percent(float((given.argmax(1) == labels)[sure].mean())) if sure.any() else ABSENT


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
    given, labels = sample(number).answers
    guesses = given[labels == _class(truth)].argmax(1) if len(given) else given
    return percent(float((guesses == _class(guess)).mean())) if len(guesses) else ABSENT


def chance_within(group: str) -> str:
    """The share of :func:`mistakes_within` if every wrong class were as likely."""
    members = len(ANIMALS) if group == "animals" else len(CLASSES) - len(ANIMALS)
    return percent((members - 1) / (len(CLASSES) - 1))


def mistakes_within(number: int, group: str) -> str:
    """Of the mistakes about "animals" or "vehicles", the share that names another of the group."""
    given, labels = sample(number).answers
    animals = np.isin(np.arange(len(CLASSES)), [_class(name) for name in ANIMALS])
    members = animals if group == "animals" else ~animals
    guesses = given.argmax(1) if len(given) else labels
    wrong = members[labels] & (guesses != labels)
    return percent(float(members[guesses[wrong]].mean())) if wrong.any() else ABSENT


def recognised(name: str = "cat") -> str:
    """At which sizes the photo is taken for what it is: "at 64×43 and 96×64", "at no size"."""
    given = photo()
    sizes = [size for size, values in given.items() if values.index(max(values)) == _class(name)]
    if not given:
        return ABSENT
    if len(sizes) in (0, len(given)):
        return "at every size" if sizes else "at no size"
    return "at " + " and ".join(filter(None, [", ".join(sizes[:-1]), sizes[-1]]))


def photo_said(size: str) -> str:
    """What the photo is taken for at one of its sizes: frog with 98.0% at 32×21."""
    values = photo().get(size)
    if not values:
        return ABSENT
    return f"{CLASSES[values.index(max(values))]} with {percent(max(values))} at {size}"


def at_width(width: int, shape: str = "square") -> str:
    """The accuracy on test pictures, "square" or "flattened", at a width: 79.8% at 24 pixels."""
    share = size_accuracies().get(shape, {}).get(width)
    return ABSENT if share is None else f"{percent(share)} at {width} pixels"


def _class(name: str) -> int:
    return CLASSES.index(name)
