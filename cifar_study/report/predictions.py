"""What the networks say of pictures: frames for charts, and numbers for sentences.

Shares are over the test pictures and all seeds that count. Photos and shapes were measured with
the first seed, once it was trained. Without a result all are a dash.
"""

import math
from functools import lru_cache

import numpy as np
import pandas as pd

from cifar_study.errors import reading
from cifar_study.report.facts import StageResults, measured, stage
from cifar_study.report.numbers import ABSENT, Percent, Points, dashed
from cifar_study.runs import in_project
from cifar_study.stages import CLASSES

ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
PHOTOS = "figures/photos/sources.csv"


def guesses(number: int) -> pd.DataFrame:
    """A row for each test picture and seed that counts; none without a result.

    ``picture`` is its place in the test set and ``seed`` whose guess it is; ``truth`` and
    ``guess`` are classes, ``probability`` is that of the guess, ``right`` whether they agree,
    ``rank`` the place of the truth among the probabilities, from 1. Predictions that can't be
    read are a StudyError.
    """
    return _guesses(stage(number))


@lru_cache(maxsize=16)
def _guesses(results: StageResults) -> pd.DataFrame:
    parts = []
    for result in results.results:
        probabilities, labels = result.predictions()
        of_truth = np.take_along_axis(probabilities, labels[:, None], 1)
        part = {
            "picture": np.arange(len(labels)),
            "seed": result.run.seed,
            "truth": np.array(CLASSES)[labels],
            "guess": np.array(CLASSES)[probabilities.argmax(1)],
            "probability": probabilities.max(1),
            "rank": 1 + (probabilities > of_truth).sum(1),
        }
        parts.append(pd.DataFrame(part))
    columns = ["picture", "seed", "truth", "guess", "probability", "rank"]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return frame.assign(right=frame.truth == frame.guess)


def confusion(number: int) -> pd.DataFrame:
    """The share of each class's test pictures (rows) that is given each class (columns)."""
    frame = guesses(number)
    shares = pd.crosstab(frame.truth, frame.guess, normalize="index")
    return shares.reindex(index=CLASSES, columns=CLASSES, fill_value=0) if len(frame) else shares


def reliability(number: int, bins: int = 15) -> pd.DataFrame:
    """How far probabilities can be trusted: ``confidence``, ``accuracy``, ``pictures`` by bin.

    A bin holds the predictions whose probability is in its range; empty ones are left out.
    """
    frame = guesses(number).astype({"probability": float})
    by_bin = frame.groupby(np.minimum((frame.probability * bins).astype(int), bins - 1))
    return by_bin.agg(
        confidence=("probability", "mean"), accuracy=("right", "mean"), pictures=("right", "size")
    )


@dashed
def top_k_accuracy(number: int, k: int) -> Percent:
    """The share of test pictures whose class is among the first ``k`` guesses."""
    return Percent((guesses(number)["rank"] <= k).mean())


@dashed
def shown_right(number: int) -> str:
    """How many of the pictures drawn with their probabilities are classified correctly: 3 of 6.

    Of the first seed, whose probabilities are drawn.
    """
    frame = guesses(number)
    places = (measured("pictures", number) or {"places": []})["places"]
    shown = frame[(frame.seed == frame.seed.min()) & frame.picture.isin(places)]
    return _of(shown.right)


@dashed
def confidence(number: int) -> Percent:
    """The mean probability of the guess, over the test pictures classified correctly."""
    frame = guesses(number)
    return Percent(frame.probability[frame.right].mean())


@dashed
def stated(number: int) -> Percent:
    """The mean probability of the guess, over all test pictures."""
    return Percent(guesses(number).probability.mean())


@dashed
def confident_errors(number: int) -> Percent:
    """Of the mistakes, the share that is made with a probability of more than nine tenths."""
    frame = guesses(number)
    return Percent((frame.probability[~frame.right] > 0.9).mean())


@dashed
def calibration_error(number: int) -> Points:
    """The expected calibration error (Naeini et al. 2015; Guo et al. 2017)."""
    bins = reliability(number)
    distance = (bins.confidence - bins.accuracy).abs()
    return Points((distance * bins.pictures / bins.pictures.sum()).sum(min_count=1))


@dashed
def most_confused(number: int) -> str:
    """The two classes that are most often taken for each other: cat and dog."""
    shares = confusion(number)
    if not len(shares):
        return ABSENT
    both = np.triu(shares + shares.T, 1)
    first, second = np.unravel_index(both.argmax(), both.shape)
    return f"{CLASSES[first]} and {CLASSES[second]}"


@dashed
def mistakes_within(number: int, group: str) -> Percent:
    """Of the mistakes about "animals" or "vehicles", the share that name another of the group."""
    frame = guesses(number)
    members = [name for name in CLASSES if (name in ANIMALS) == (group == "animals")]
    return Percent(frame.guess[~frame.right & frame.truth.isin(members)].isin(members).mean())


def photos() -> pd.DataFrame:
    """The free photos and what the network says of them, a row each by file name.

    What ``figures/photos/sources.csv`` says; ``width`` and ``height`` as the network saw it; the
    ten ``probabilities`` and those of the photo ``squeezed`` into a square; the ``guess`` with
    its ``probability``, and whether it is ``right``. Empty where nothing was measured.
    """
    path = in_project(PHOTOS)
    with reading(path, "restore it from git"):
        sources = pd.read_csv(path, keep_default_na=False).set_index("file")
    columns = ["width", "height", "probabilities", "squeezed"]
    answers = pd.DataFrame.from_dict(measured("photos"), orient="index", columns=columns)
    frame = sources.join(answers, how="inner")
    return frame.assign(
        guess=frame.probabilities.map(_class),
        probability=frame.probabilities.map(max),
        right=lambda frame: frame.guess == frame["class"],
    )


def _class(probabilities: list[float]) -> str:
    return CLASSES[int(np.argmax(probabilities))]


@dashed
def recognised(kind: str | None = None, squeezed: bool = False) -> str:
    """How many photos are recognised, of all, the "scene"s or the "cut-out"s: 4 of 14.

    With their own proportions, or squeezed into a square of the training size.
    """
    frame = photos()
    frame = frame[frame.kind == kind] if kind else frame
    guess = frame["squeezed" if squeezed else "probabilities"].map(_class)
    return _of(guess == frame["class"])


def _of(right: pd.Series) -> str:
    return f"{right.sum()} of {len(right)}" if len(right) else ABSENT


@dashed
def in_shape(shape: str) -> Percent:
    """The accuracy on all test pictures in a shape such as "28×32 scaled"."""
    counts = measured("shapes").get(shape)
    return Percent(counts["right"] / counts["pictures"] if counts else "nan")


@dashed
def lost_in_shape(shape: str) -> str:
    """How much less that is than as they are, with the interval of the pairs: 2.3 ± 0.6 points."""
    if not (counts := measured("shapes").get(shape)):
        return ABSENT
    lost, gained, total = (counts[name] for name in ("lost", "gained", "pictures"))
    mean = (lost - gained) / total
    half = 1.96 * math.sqrt(((lost + gained) / total - mean**2) / total)
    return f"{Points(mean).bare} ± {Points(half)}"
