"""Several seeds of a stage: which of them count, their mean, and how far they spread."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from cifar_study import cache
from cifar_study.cache import COLUMNS, Result, Status
from cifar_study.errors import StudyError
from cifar_study.runs import ROOT, Run, reported_run
from cifar_study.stages import CLASSES, get_stage


@dataclass(frozen=True)
class Sample:
    """A stage as the report shows it: one status for each seed, in order, at least one."""

    stands: list[Status]

    @property
    def run(self) -> Run:
        """The run of the first seed; all of them plan the same epochs and network."""
        return self.stands[0].run

    @cached_property
    def counted(self) -> list[Result]:
        """The results that means are formed of: the complete seeds, or those that got furthest.

        They all have as many epochs and one precision, that of most of them. A
        stale result counts only where there is no current one.
        """
        for states in (("complete", "partial"), ("stale",)):
            found = [stand.result for stand in self.stands if stand.state in states]
            if found:
                most = max(result.epochs_done for result in found)
                found = [result for result in found if result.epochs_done == most]
                precision = statistics.mode(result.precision for result in found)
                return [result for result in found if result.precision == precision]
        return []

    @property
    def several(self) -> bool:
        """Whether more than one seed counts."""
        return len(self.counted) > 1

    @property
    def epochs_done(self) -> int:
        """Epochs that the seeds that count have finished."""
        return self.counted[0].epochs_done if self.counted else 0

    @property
    def complete(self) -> bool:
        """Whether the seeds that count are complete."""
        return bool(self.counted) and self.counted[0].complete

    @property
    def superseded(self) -> bool:
        """Whether what counts was trained by an earlier engine, and is as planned otherwise."""
        return all(stand.text == f"stale: {cache.EARLIER}" for stand in self.stands)

    @cached_property
    def histories(self) -> pd.DataFrame:
        """The histories of the seeds that count, one below the other, with a column ``seed``."""
        parts = [result.history.assign(seed=result.seed) for result in self.counted]
        return pd.concat(parts) if parts else pd.DataFrame(columns=[*COLUMNS, "seed"])

    @cached_property
    def history(self) -> pd.DataFrame:
        """The mean over the seeds that count, epoch by epoch; no row where none is trained."""
        means = self.histories.groupby("epoch", as_index=False).mean()
        return means.drop(columns="seed")

    @property
    def training_split(self) -> str:
        """The columns that charts show of training: as evaluated, or running where that is all."""
        return "running" if self.history["train_accuracy"].isna().any() else "train"

    @cached_property
    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """The test set's probabilities (N, classes) and labels (N,), one seed after the other."""
        given = [result.predictions() for result in self.counted]
        if not given:
            return np.empty((0, len(CLASSES))), np.empty(0, dtype=int)
        probabilities, labels = zip(*given, strict=True)
        return np.concatenate(probabilities), np.concatenate(labels)

    @cached_property
    def machine(self) -> tuple[str, ...] | None:
        """Where and how its epochs were trained, if all of them were alike, else None."""
        kinds = {
            tuple(str(session.get(field, "")) for field in ("processor", "precision", "threads"))
            for result in self.counted
            for session in result.record["sessions"]
        }
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def trained_on(self) -> str:
        """The same in words; of several machines just that, and nothing where none is trained."""
        if not self.machine:
            return "several machines" if self.counted else ""
        processor, precision, threads = self.machine
        return f"{processor}, {threads} thread{'s' if threads != '1' else ''}, {precision}"

    @property
    def seconds(self) -> float | None:
        """Seconds that an epoch usually took while training: the median over epochs and seeds."""
        return float(self.histories["seconds"].median()) if self.counted else None

    def final(self, field: str) -> np.ndarray:
        """A column of the history at the last epoch, or ``gap``, for each seed that counts."""
        last = self.histories[self.histories["epoch"] == self.epochs_done]
        if field == "gap":
            return (last["train_accuracy"] - last["test_accuracy"]).to_numpy(dtype=float)
        return last[field].to_numpy(dtype=float)


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


def difference(one: Sample, other: Sample, field: str = "test_accuracy") -> Difference | None:
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


def paired_answers(one: Sample, other: Sample) -> Difference | None:
    """``one`` minus ``other`` in test accuracy, the interval from the test pictures alone.

    For one network of each: on the pictures that just one of them names
    rightly (McNemar 1947). What another seed would change is not in it.
    """
    if not (one.counted and other.counted):
        return None
    right = []
    for result in (one.counted[0], other.counted[0]):
        given, labels = result.predictions()
        right.append(given.argmax(1) == labels)
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
    given, labels = sample(number).answers
    if not len(given):
        return pd.DataFrame(columns=["confidence", "accuracy", "pictures"])
    frame = pd.DataFrame(
        {"confidence": given.max(1), "accuracy": (given.argmax(1) == labels).astype(float)}
    )
    by_bin = frame.groupby(np.minimum((frame["confidence"] * bins).astype(int), bins - 1))
    return by_bin.mean().assign(pictures=by_bin.size())


@dataclass(frozen=True)
class Times:
    """Seconds of an epoch by stage, all of one machine, and how they were taken."""

    seconds: dict[int, float]
    taken: str


def epoch_times(numbers: Iterable[int]) -> Times:
    """What an epoch usually took while training, if one machine trained all of these stages.

    Else what ``--timing`` measured in one sitting, since times of two machines
    are not put side by side.
    """
    samples = {number: sample(number) for number in numbers}
    trained = [one for one in samples.values() if one.counted]
    machines = {one.machine for one in trained}
    if len(machines) == 1 and None not in machines:
        return Times(
            {number: one.seconds for number, one in samples.items() if one.seconds},
            f"the median while training, on {trained[0].trained_on}",
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


def sample(number: int, root: Path = ROOT) -> Sample:
    """Every seed of a stage in the study, or in the trial that is reported on."""
    first = reported_run(get_stage(number), root=root)
    runs = [replace(first, seed=seed) for seed in cache.seeds(first)]
    return Sample([_status(run, _stamp(run)) for run in runs])


@functools.cache
def _status(run: Run, stamp: tuple) -> Status:
    """The status of a run, read once: a page asks for the same hundred seeds many times."""
    return cache.status(run)


def _stamp(run: Run) -> tuple:
    """What changes when a file of the run does."""
    names = (cache.HISTORY, cache.RECORD, cache.MODEL, cache.PREDICTIONS)
    try:
        stats = [path.stat() for path in map(run.folder.joinpath, names) if path.exists()]
    except OSError:  # of a folder without permission, as the status says
        stats = []
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)


def timing() -> dict[str, Any] | None:
    """What ``--timing`` measured; None where it did not, or where the file is damaged."""
    try:
        return cache.read_timing()
    except StudyError:  # tables.standing says so
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


def how_many(samples: Iterable[Sample]) -> str:
    """How many seeds stand behind these stages' numbers: 1 seed, 3 seeds, 2 to 5 seeds."""
    counts = sorted({len(one.counted) for one in samples if one.counted}) or [0]
    few, many = counts[0], counts[-1]
    return f"{few} seed{'s' if few != 1 else ''}" if few == many else f"{few} to {many} seeds"


def written(numbers: Iterable[int]) -> str:
    """Seeds as ``--seeds`` takes them, which gives back the same: 0-2,5."""
    parts = []
    for _, group in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in group]
        parts.append(f"{members[0]}-{members[-1]}" if len(members) > 1 else str(members[0]))
    return ",".join(parts)
