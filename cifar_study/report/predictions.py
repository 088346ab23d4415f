"""What the networks say of pictures: frames for charts, and numbers for sentences.

Shares are over the test pictures and all seeds that count, photos and shapes of the first seed.
"""

import numpy as np
import pandas as pd

from cifar_study.errors import reading
from cifar_study.report.facts import measured, stage
from cifar_study.report.numbers import Percent, Points, dashed
from cifar_study.runs import in_project
from cifar_study.stages import CLASSES

ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
PHOTOS = "figures/photos/sources.csv"


def guesses(number: int) -> pd.DataFrame:
    """A row for each test picture and seed that counts; none without a result.

    ``picture`` is its place in the test set, ``truth`` and ``guess`` are classes, ``probability``
    is that of the guess.
    """
    given = [(result.run.seed, *result.predictions()) for result in stage(number).results]
    nothing = 0, np.empty((0, len(CLASSES))), np.empty(0, dtype=int)
    frames, classes = [], np.array(CLASSES)
    for seed, probabilities, labels in given or [nothing]:
        pictures, guess = np.arange(len(labels)), probabilities.argmax(1)
        columns = {
            "picture": pictures,
            "seed": seed,
            "truth": classes[labels],
            "guess": classes[guess],
            "probability": probabilities.max(1),
            "right": guess == labels,
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def confusion(number: int) -> pd.DataFrame:
    """The share of each class's test pictures (rows) that is given each class (columns)."""
    frame = guesses(number)
    shares = pd.crosstab(frame.truth, frame.guess, normalize="index")
    return shares.reindex(index=CLASSES, columns=CLASSES, fill_value=0)


def reliability(number: int) -> pd.DataFrame:
    """``confidence``, ``accuracy`` and ``pictures`` by fifteenth of the guess's probability."""
    frame = guesses(number)
    by_bin = frame.groupby(np.minimum((frame.probability * 15).astype(int), 14))
    return by_bin.agg(
        confidence=("probability", "mean"), accuracy=("right", "mean"), pictures=("right", "size")
    )


@dashed
def shown_right(number: int) -> str:
    """How many of the pictures drawn with their probabilities the first seed classifies: 3 of 6."""
    frame, shown = guesses(number), measured("pictures", number)["places"]
    right = frame[frame.picture.isin(shown) & (frame.seed == frame.seed.min())].right
    return f"{right.sum()} of {len(right)}"


@dashed
def confidence(number: int) -> Percent:
    """The mean probability of the guess, over the test pictures classified correctly."""
    return Percent(guesses(number).query("right").probability.mean())


@dashed
def calibration_error(number: int) -> Points:
    """The expected calibration error (Naeini et al. 2015; Guo et al. 2017)."""
    bins = reliability(number)
    distance = (bins.confidence - bins.accuracy).abs()
    return Points((distance * bins.pictures / bins.pictures.sum()).sum(min_count=1))


@dashed
def mistakes_within(number: int, group: str) -> Percent:
    """Of the mistakes about "animals" or "vehicles", the share that name another of the group."""
    members = [name for name in CLASSES if (name in ANIMALS) == (group == "animals")]
    mistakes = guesses(number).query("not right and truth in @members")
    return Percent(mistakes.guess.isin(members).mean())


def photos() -> pd.DataFrame:
    """What ``sources.csv`` and the network say of the photos, as it saw them, by file name."""
    with reading(in_project(PHOTOS), "save it with commas, in UTF-8"):
        sources = pd.read_csv(in_project(PHOTOS), keep_default_na=False).set_index("file")
    frame = sources.join(pd.DataFrame.from_dict(measured("photos"), orient="index"), how="inner")
    guess = frame.probabilities.map(lambda given: CLASSES[int(np.argmax(given))])
    probability = frame.probabilities.map(max)
    return frame.assign(guess=guess, probability=probability, right=guess == frame["class"])


@dashed
def recognised(kind: str) -> str:
    """How many photos of "scene"s or "cut-out"s are recognised: 5 of 14."""
    right = photos().query("kind == @kind").right
    return f"{right.sum()} of {len(right)}"


@dashed
def in_shape(shape: str) -> Percent:
    """The accuracy on all test pictures in a shape such as "28×32 scaled"."""
    counts = measured("shapes")[shape]
    return Percent(counts["right"] / counts["pictures"])
