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
from scipy.special import stdtrit

from cifar_study import cache
from cifar_study.cache import Epoch, Result, Status
from cifar_study.data import ordered_labels
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

        They all have as many epochs. A stale result counts only where there is
        no current one.
        """
        for states in (("complete", "partial"), ("stale",)):
            found = [stand.result for stand in self.stands if stand.state in states]
            if found:
                most = max(result.epochs_done for result in found)
                return [result for result in found if result.epochs_done == most]
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

    @cached_property
    def history(self) -> list[Epoch]:
        """The mean over the seeds that count, epoch by epoch; empty where none is trained."""
        histories = (result.history for result in self.counted)
        return [
            Epoch(rows[0].epoch, *np.mean([row[1:] for row in rows], axis=0).tolist())
            for rows in zip(*histories, strict=True)
        ]

    @cached_property
    def answers(self) -> tuple[np.ndarray, np.ndarray]:
        """The test set's probabilities (N, classes) and labels (N,), one seed after the other."""
        given, labels = [np.empty((0, len(CLASSES)))], [np.empty(0, dtype=int)]
        for result in self.counted:
            given.append(result.probabilities())
            labels.append(ordered_labels(result.record["data"]["name"], len(given[-1])))
        return np.concatenate(given), np.concatenate(labels)

    @property
    def epoch_seconds(self) -> float | None:
        """An epoch's seconds as measured in one sitting, else their median while training.

        None for a stage that the sitting left out: times of two machines are not compared.
        """
        if not self.run.trial and (measured := timing()):
            entry = measured["stages"].get(str(self.run.stage.number))
            return entry and entry["seconds"]
        medians = [result.record["median_seconds"] for result in self.counted]
        return statistics.fmean(medians) if medians else None

    def values(self, field: str) -> np.ndarray:
        """One column of the history for each seed that counts: ``float`` (seeds, epochs)."""
        return np.array([[getattr(row, field) for row in r.history] for r in self.counted])


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
    names = (cache.HISTORY, cache.RECORD, cache.MODEL, cache.PROBABILITIES)
    stats = [path.stat() for path in map(run.folder.joinpath, names) if path.exists()]
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
