"""What may be said of stages side by side: differences with their intervals, and times."""

from __future__ import annotations

import math
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
from cifar_study.stages import STAGES


@dataclass(frozen=True)
class Difference:
    """How much a stage's final test accuracy is above another's; not a number if unknown.

    ``half`` is half the width of the 95% interval, which takes two ``pairs`` of seeds or more.
    """

    mean: float
    half: float
    pairs: int

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves zero out; one pair of seeds never tells."""
        return abs(self.mean) > self.half


def difference(one: Replicates, other: Replicates) -> Difference:
    """``one`` minus ``other`` at the end, over the seeds that both have; Student's interval."""
    gains = (one.final("test_accuracy") - other.final("test_accuracy")).dropna()
    return Difference(gains.mean(), half_width(gains), len(gains))


def paired_predictions(one: Replicates, other: Replicates) -> Difference:
    """``one`` minus ``other`` in test accuracy, the interval from the test pictures alone.

    For one network of each: on the pictures that just one of them names
    rightly (McNemar 1947). What another seed would change is not in it.
    """
    right = []
    for result in (one.counted[0], other.counted[0]):
        probabilities, labels = result.predictions()
        right.append(probabilities.argmax(1) == labels)
    gain = right[0].astype(float) - right[1]
    return Difference(float(gain.mean()), 1.96 * float(gain.std()) / math.sqrt(len(gain)), 1)


@dataclass(frozen=True)
class Times:
    """Seconds of an epoch by stage, all of one machine, and how they were taken."""

    seconds: dict[int, float]
    taken: str


def epoch_times(numbers: Iterable[int]) -> Times:
    """What ``--timing`` measured in one sitting, if of all these stages of the assignment.

    Else what an epoch usually took while training, on one machine that trained some of all of
    them, which depends on what else that machine did; else what the sitting has of them. Times of
    two machines are not put side by side.
    """
    numbers = list(numbers)
    sitting = timing()
    measured = _measured(sitting, numbers) if sitting else Times({}, "not measured together yet")
    trained = {number: one.seconds for number in numbers if (one := replicates(number)).counted}
    if measured.seconds and trained.keys() & STAGES.keys() <= measured.seconds.keys():
        return measured
    for machine in next(iter(trained.values()), pd.Series()).index:
        if all(machine in seconds for seconds in trained.values()):
            return Times(
                {number: float(seconds[machine]) for number, seconds in trained.items()},
                f"the median while training, on {machine}",
            )
    return measured


def _measured(sitting: dict[str, Any], numbers: Iterable[int]) -> Times:
    found = {int(number): entry["seconds"] for number, entry in sitting["stages"].items()}
    where = sitting["machine"]
    return Times(
        {number: found[number] for number in numbers if number in found},
        f"measured in one sitting, on {where['processor']}, one thread, {where['precision']}",
    )


def timing() -> dict[str, Any] | None:
    """What ``--timing`` measured; None where it did not, or where the file is damaged."""
    try:
        return read_timing(study.cache())
    except StudyError:  # tables.incomplete_note says so
        return None


def half_width(values: Sequence[float]) -> float:
    """Half of Student's 95% confidence interval for a mean; not a number of fewer than two."""
    if len(values) < 2:
        return math.nan
    quantile = stdtrit(len(values) - 1, 0.975)
    return float(quantile * np.std(values, ddof=1) / math.sqrt(len(values)))


def share_interval(right: int, of: int) -> tuple[float, float]:
    """Wilson's 95% interval for a share that was counted on ``of`` pictures (Wilson 1927)."""
    share, z = right / of, 1.96
    middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2) / (1 + z**2 / of)
    return middle - half, middle + half
