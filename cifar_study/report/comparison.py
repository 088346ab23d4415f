"""What may be said of stages side by side: differences with their intervals, and times."""

import math
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from cifar_study.errors import StudyError
from cifar_study.report import study
from cifar_study.report.replicates import Replicates, processor, replicates
from cifar_study.results.speed import read_speeds


@dataclass(frozen=True)
class Difference:
    """How much a stage's final test accuracy is above another's; not a number if unknown.

    ``half`` is half the width of the 95% interval, which takes two ``pairs`` of seeds or more.
    """

    mean: float
    half: float
    pairs: int


def difference(one: Replicates, other: Replicates) -> Difference:
    """``one`` minus ``other`` at the end, over the seeds that both have; Student's interval."""
    gains = (one.final("test_accuracy") - other.final("test_accuracy")).dropna()
    return Difference(gains.mean(), half_width(gains), len(gains))


def paired_predictions(one: Replicates, other: Replicates, seed: int) -> Difference:
    """``one`` minus ``other`` in test accuracy, the interval from the test pictures alone.

    For one network of each: on the pictures that just one of them names
    rightly (McNemar 1947). What another seed would change is not in it.
    """
    right = []
    for sample in (one, other):
        [result] = (result for result in sample.counted if result.seed == seed)
        probabilities, labels = result.predictions()
        right.append(probabilities.argmax(1) == labels)
    gain = right[0].astype(float) - right[1]
    return Difference(float(gain.mean()), 1.96 * float(gain.std()) / math.sqrt(len(gain)), 1)


@dataclass(frozen=True)
class Times:
    """Seconds of an epoch by stage, all of one machine, how they were taken, and on what."""

    seconds: dict[int, float]
    taken: str
    on: str = ""


def epoch_times(numbers: Iterable[int]) -> Times:
    """Seconds of these stages as measured in one sitting, the first that has all of them.

    Else what an epoch usually took while training, on one machine that trained some of all of
    them, which depends on what else it did. Times of two machines are not put side by side.
    """
    return times_by_machine(list(numbers))[0]


def times_by_machine(numbers: Collection[int]) -> list[Times]:
    """Those of each sitting that has all of these stages; else the one of training, maybe empty."""
    measured = [
        Times(
            {n: statistics.median(found[str(n)]["seconds"]["engine"]) for n in numbers},
            f"measured in one sitting, with the test and without the evaluation of training "
            f"pictures, on {where['processor']}, one thread, {where['precision']}",
            processor(where),
        )
        for sitting in sittings()
        for found, where in [(sitting.get("stages", {}), sitting["machine"])]
        if all(str(number) in found for number in numbers)
    ]
    if measured:
        return measured
    trained = _seconds_of_training(numbers)
    if not (shared := _of_all(trained)):
        return [Times({}, "not measured together yet")]
    machine = shared[0]
    found = {number: float(seconds[machine]) for number, seconds in trained.items()}
    return [Times(found, f"the median while training, on {machine}", machine)]


def machines_of_all(numbers: Iterable[int]) -> list[str]:
    """The machines that trained some epochs of each of these stages that is begun."""
    return _of_all(_seconds_of_training(numbers))


def _seconds_of_training(numbers: Iterable[int]) -> dict[int, pd.Series]:
    """What an epoch took on each machine, of the stages that are begun."""
    return {number: one.seconds for number in numbers if (one := replicates(number)).counted}


def _of_all(trained: dict[int, pd.Series]) -> list[str]:
    first = next(iter(trained.values()), pd.Series())
    return [name for name in first.index if all(name in taken for taken in trained.values())]


def sittings() -> list[dict[str, Any]]:
    """What ``benchmarks/`` measured on each processor; none where a file is damaged."""
    try:
        return read_speeds(study.cache())
    except StudyError:  # tables.incomplete_note says so
        return []


def half_width(values: Sequence[float]) -> float:
    """Half of Student's 95% confidence interval for a mean; not a number of fewer than two."""
    return float(stdtrit(len(values) - 1, 0.975) * pd.Series(values).sem())


def share_interval(right: int, of: int) -> tuple[float, float]:
    """Wilson's 95% interval for a share that was counted on ``of`` pictures (Wilson 1927)."""
    share, z = right / of, 1.96
    middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2) / (1 + z**2 / of)
    return middle - half, middle + half
