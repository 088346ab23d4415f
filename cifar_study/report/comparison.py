"""What may be said of stages side by side: differences with their intervals, and times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from cifar_study.errors import StudyError
from cifar_study.report import study
from cifar_study.report.replicates import Replicates, replicates
from cifar_study.results.timing import read_timing


@dataclass(frozen=True)
class Difference:
    """How much a stage's final value is above another's, over the seeds that both have.

    ``half`` is half the width of Student's 95% interval over the pairs of
    seeds, None with a single pair.
    """

    mean: float
    half: float | None
    pairs: int

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves zero out; one pair of seeds never tells."""
        return self.half is not None and abs(self.mean) > self.half


def difference(
    one: Replicates, other: Replicates, field: str = "test_accuracy"
) -> Difference | None:
    """``one`` minus ``other`` at the end, paired by seed; None where no seed is in both."""
    values = [
        dict(zip([result.seed for result in each.counted], each.final(field), strict=True))
        for each in (one, other)
    ]
    gains = [values[0][seed] - values[1][seed] for seed in values[0] if seed in values[1]]
    if not gains:
        return None
    half = half_width(gains) if len(gains) > 1 else None
    return Difference(statistics.fmean(gains), half, len(gains))


def paired_predictions(one: Replicates, other: Replicates) -> Difference | None:
    """``one`` minus ``other`` in test accuracy, the interval from the test pictures alone.

    For one network of each: on the pictures that just one of them names
    rightly (McNemar 1947). What another seed would change is not in it.
    """
    if not (one.counted and other.counted):
        return None
    right = []
    for result in (one.counted[0], other.counted[0]):
        probabilities, labels = result.predictions()
        right.append(probabilities.argmax(1) == labels)
    if len(right[0]) != len(right[1]):
        return None
    gain = right[0].astype(float) - right[1]
    half = 1.96 * float(gain.std()) / math.sqrt(len(gain))
    return Difference(float(gain.mean()), half, 1)


def reliability(number: int, bins: int = 15) -> pd.DataFrame:
    """How far probabilities can be trusted: ``confidence``, ``accuracy``, ``pictures`` by bin.

    A bin holds the test pictures, of all seeds that count, whose most probable
    class has a probability in its range; those without pictures are left out.
    """
    probabilities, labels = replicates(number).predictions
    if not len(probabilities):
        return pd.DataFrame(columns=["confidence", "accuracy", "pictures"])
    frame = pd.DataFrame(
        {
            "confidence": probabilities.max(1),
            "accuracy": (probabilities.argmax(1) == labels).astype(float),
        }
    )
    by_bin = frame.groupby(np.minimum((frame["confidence"] * bins).astype(int), bins - 1))
    return by_bin.mean().assign(pictures=by_bin.size())


@dataclass(frozen=True)
class Times:
    """Seconds of an epoch by stage, all of one machine, and how they were taken."""

    seconds: dict[int, float]
    taken: str


def epoch_times(numbers: Iterable[int]) -> Times:
    """What an epoch usually took while training, on one machine that trained some of all stages.

    Else what ``--timing`` measured in one sitting, since times of two machines
    are not put side by side.
    """
    samples = {number: replicates(number) for number in numbers}
    trained = {number: one.seconds for number, one in samples.items() if one.counted}
    machines = next(iter(trained.values()), pd.Series()).index
    for machine in machines:
        if all(machine in seconds for seconds in trained.values()):
            return Times(
                {number: float(seconds[machine]) for number, seconds in trained.items()},
                f"the median while training, on {machine}",
            )
    sitting = timing()
    if not sitting:
        return Times({}, "not measured on one machine yet")
    measured = {int(number): entry["seconds"] for number, entry in sitting["stages"].items()}
    where = sitting["machine"]
    return Times(
        {number: measured[number] for number in samples if number in measured},
        f"measured in one sitting, on {where['processor']}, one thread, {where['precision']} "
        "(the stages were trained on several machines)",
    )


def timing() -> dict[str, Any] | None:
    """What ``--timing`` measured; None where it did not, or where the file is damaged."""
    try:
        return read_timing(study.cache())
    except StudyError:  # tables.incomplete_note says so
        return None


def half_width(values: Sequence[float], confidence: float = 0.95) -> float:
    """Half the width of Student's confidence interval for the mean of two or more values."""
    quantile = stdtrit(len(values) - 1, (1 + confidence) / 2)
    return float(quantile * statistics.stdev(values) / math.sqrt(len(values)))


def share_interval(right: int, of: int) -> tuple[float, float]:
    """Wilson's 95% interval for a share that was counted on ``of`` pictures (Wilson 1927)."""
    share, z = right / of, 1.96
    middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2) / (1 + z**2 / of)
    return middle - half, middle + half
