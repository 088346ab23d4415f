"""What the networks say of pictures: as frames for charts, and as text for the prose.

Shares of guesses and mistakes are over the test set and all seeds that count; the photos
and the sizes were measured with one seed. Without a result all are a dash.
"""

import math

import numpy as np
import pandas as pd

from cifar_study.cifar10 import CLASSES
from cifar_study.report.architecture import rows_left
from cifar_study.report.numbers import ABSENT, listed, percent, points, points_within, with_interval
from cifar_study.report.pictures import SHOWN, photos, shape_counts, size_accuracies
from cifar_study.report.replicates import replicates

ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")


def guesses(number: int) -> pd.DataFrame:
    """A row for each test picture, one seed that counts after the other; none without a result.

    ``truth`` and ``guess`` are classes, ``probability`` is that of the guess, ``right`` says
    whether they agree, and ``rank`` is the place of the truth among the probabilities, from 1.
    """
    none = np.empty((0, len(CLASSES))), np.empty(0, dtype=int)
    given = [none, *(result.predictions() for result in replicates(number).counted)]
    probabilities, labels = map(np.concatenate, zip(*given, strict=True))
    classes = np.array(CLASSES)
    of_truth = probabilities[np.arange(len(labels)), labels]
    frame = pd.DataFrame(
        {
            "truth": classes[labels],
            "guess": classes[probabilities.argmax(1)],
            "probability": probabilities.max(1),
            "rank": 1 + (probabilities > of_truth[:, None]).sum(1),
        }
    )
    return frame.assign(right=frame.truth == frame.guess)


def confusion(number: int) -> pd.DataFrame:
    """The share of each class's test pictures (rows) that is given each class (columns)."""
    frame = guesses(number)
    shares = pd.crosstab(frame.truth, frame.guess, normalize="index")
    return shares.reindex(index=CLASSES, columns=CLASSES, fill_value=0) if len(frame) else shares


def reliability(number: int, bins: int = 15) -> pd.DataFrame:
    """How far probabilities can be trusted: ``confidence``, ``accuracy``, ``pictures`` by bin.

    A bin holds the test pictures whose most probable class has a probability in its range;
    those without pictures are left out.
    """
    frame = guesses(number)
    by_bin = frame.groupby(np.minimum((frame.probability * bins).astype(int), bins - 1))
    return by_bin.agg(
        confidence=("probability", "mean"), accuracy=("right", "mean"), pictures=("right", "size")
    )


def top_k_accuracy(number: int, k: int) -> str:
    """The share of test pictures whose class is among the first ``k`` guesses."""
    return percent((guesses(number)["rank"] <= k).mean())


def shown_right(number: int) -> str:
    """How many of the pictures drawn with their probabilities are named rightly: 3 of 6."""
    return _of(_shown(number).right)


def shown_mistakes(number: int) -> str:
    """What the others are taken for: "airplane as automobile, cat as dog", or "none"."""
    shown = _shown(number)
    wrong = shown[~shown.right]
    return (", ".join(wrong.truth + " as " + wrong.guess) or "none") if len(shown) else ABSENT


def _shown(number: int) -> pd.DataFrame:
    """The guesses about these pictures, of the first seed that counts."""
    frame = guesses(number)
    return frame[frame.index.isin(SHOWN)]


def confidence(number: int) -> str:
    """The mean probability of the class named, over the test pictures named correctly."""
    frame = guesses(number)
    return percent(frame.probability[frame.right].mean())


def stated(number: int) -> str:
    """The mean probability of the class named, over all test pictures."""
    return percent(guesses(number).probability.mean())


def confident_errors(number: int, least: float = 0.9) -> str:
    """Of the mistakes, the share that is made with a probability of more than ``least``."""
    frame = guesses(number)
    return percent((frame.probability[~frame.right] > least).mean())


def right_when_sure(number: int, least: float = 0.9) -> str:
    """The share of right guesses among those made with a probability of more than ``least``."""
    frame = guesses(number)
    return percent(frame.right[frame.probability > least].mean())


def calibration_error(number: int) -> str:
    """The expected calibration error, in points (Naeini et al. 2015; Guo et al. 2017)."""
    bins = reliability(number)
    distance = (bins.confidence - bins.accuracy).abs()
    return points((distance * bins.pictures / bins.pictures.sum()).sum(min_count=1))


def most_confused(number: int) -> str:
    """The two classes that are taken for each other most, and how often each is."""
    shares = confusion(number)
    if not len(shares):
        return ABSENT
    both = np.triu(shares + shares.T, 1)
    one, other = np.unravel_index(both.argmax(), both.shape)
    return (
        f"{CLASSES[one]} and {CLASSES[other]} ({percent(shares.iloc[one, other])} of the first "
        f"are named as the second, {percent(shares.iloc[other, one])} the other way round)"
    )


def chance_within(group: str) -> str:
    """The share of :func:`mistakes_within` if every wrong class were as likely."""
    return percent((len(_members(group)) - 1) / (len(CLASSES) - 1))


def mistakes_within(number: int, group: str) -> str:
    """Of the mistakes about "animals" or "vehicles", the share that names another of the group."""
    frame, members = guesses(number), _members(group)
    return percent(frame.guess[~frame.right & frame.truth.isin(members)].isin(members).mean())


def _members(group: str) -> list[str]:
    return [name for name in CLASSES if (name in ANIMALS) == (group == "animals")]


def recognised(kind: str | None = None, squeezed: bool = False) -> str:
    """How many photos were named rightly, of all, the "scene"s or the "cut-out"s: 4 of 14.

    With their own proportions, or squeezed into a square of the training size.
    """
    return _of(_named_rightly(kind, squeezed))


def share_recognised(kind: str | None = None, squeezed: bool = False) -> str:
    """The share of :func:`recognised` with Wilson's 95% interval: 28.6% (11.7% to 54.6%)."""
    named = _named_rightly(kind, squeezed)
    return with_interval(named.sum(), len(named)) if len(named) else ABSENT


def _named_rightly(kind: str | None, squeezed: bool) -> pd.Series:
    frame = photos()
    if kind:
        frame = frame[frame.kind == kind]
    if squeezed:
        frame = frame.assign(guess=[CLASSES[int(np.argmax(given))] for given in frame.squeezed])
    return frame.guess == frame["class"]


def _of(right: pd.Series) -> str:
    return f"{right.sum()} of {len(right)}" if len(right) else ABSENT


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
    if not (counted := shape_counts().get(shape)):
        return ABSENT
    lost, gained, total = (counted[name] for name in ("lost", "gained", "pictures"))
    mean = (lost - gained) / total
    half = 1.96 * math.sqrt((lost + gained) / total - mean**2) / math.sqrt(total)
    return points_within(mean, half)


def at_width(width: int, kind: str = "square") -> str:
    """The accuracy on scaled test pictures of a kind at a width, as a percentage: 79.8%."""
    return percent(size_accuracies().get(kind, {}).get(width, math.nan))


def best_width() -> str:
    """The measured width with the highest accuracy of square pictures: 32 pixels."""
    shares = size_accuracies().get("square")
    return f"{max(shares, key=shares.get)} pixels" if shares else ABSENT


def rows_after(height: int) -> str:
    """The rows of a picture of that height after each pooling: "10, 5 and 2"."""
    return listed(map(str, rows_left(height)[1:]))


def rows_kept(height: int) -> str:
    """How many of its rows the values after the last pooling stand for: "16 of its 21 rows"."""
    left = rows_left(height)
    return f"{left[-1] * 2 ** (len(left) - 1)} of its {height} rows"
