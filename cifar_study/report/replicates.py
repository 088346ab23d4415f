"""The seeds of a stage: which of them count, their mean, and how far they spread."""

import functools
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import pandas as pd

from cifar_study.report.study import reported_run
from cifar_study.results.run import Run
from cifar_study.results.status import Status, seeds, status
from cifar_study.results.store import COLUMNS, HISTORY, MODEL, PREDICTIONS, RECORD, Result


@dataclass(frozen=True)
class Replicates:
    """A stage as the report shows it: one status for each seed, in order, at least one."""

    statuses: list[Status]

    @property
    def run(self) -> Run:
        """The run of the first seed; all of them plan the same epochs and network."""
        return self.statuses[0].run

    @cached_property
    def counted(self) -> list[Result]:
        """The results that means are formed of: the complete seeds, or those that got furthest.

        They all have as many epochs and one precision, that of most of them. A
        stale result counts only where there is no current one.
        """
        for states in (("complete", "partial"), ("stale",)):
            found = [status.result for status in self.statuses if status.state in states]
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

    @cached_property
    def histories(self) -> pd.DataFrame:
        """The histories of the seeds that count, with columns ``seed`` and ``machine``."""
        parts = [
            result.history.assign(seed=result.seed, machine=of_epochs(result, hardware))
            for result in self.counted
        ]
        none = pd.DataFrame(columns=[*COLUMNS, "seed", "machine"])
        return pd.concat(parts, ignore_index=True) if parts else none

    @cached_property
    def history(self) -> pd.DataFrame:
        """The mean over the seeds that count, epoch by epoch; no row where none is trained."""
        numbers = self.histories.drop(columns=["seed", "machine"])
        return numbers.groupby("epoch", as_index=False).mean()

    @cached_property
    def seconds(self) -> pd.Series:
        """Seconds that an epoch usually took while training, on each machine that trained some.

        The median over epochs and seeds. The machine of most of the first seed's epochs is first.
        """
        if not self.counted:
            return pd.Series(dtype=float)
        by_machine = self.histories.groupby("machine")["seconds"].median()
        first = of_epochs(self.counted[0], hardware)
        return by_machine.loc[sorted(by_machine.index, key=first.count, reverse=True)]

    @property
    def first(self) -> Result | None:
        """The result of the first seed, shown where one alone can be."""
        return self.statuses[0].result

    def final(self, field: str) -> pd.Series:
        """A column of the history at the last epoch, or ``gap``, by seed, of those that count."""
        last = self.histories.query("epoch == @self.epochs_done").set_index("seed")
        values = last["train_accuracy"] - last["test_accuracy"] if field == "gap" else last[field]
        return values.astype(float)


def of_epochs(result: Result, say: Callable[[Mapping[str, Any]], str]) -> list[str]:
    """What ``say`` says of the machine that trained each epoch of a run."""
    sessions = result.record["sessions"]
    by_first = pd.Series({one["first_epoch"]: say(one) for one in sessions})
    return by_first.reindex(result.history["epoch"], method="ffill").tolist()


def processor(record: Mapping[str, Any]) -> str:
    """The processor of a machine by its short name, without the number of its cores."""
    return record["processor"].partition(",")[0].replace("(R)", "").removesuffix(" Processor")


def hardware(record: Mapping[str, Any]) -> str:
    """What computed, as it was recorded: processor, of a CPU its threads, precision.

    And how many runs shared it, where it was not one alone: times of epochs depend on it.
    """
    words = [record["processor"]]
    if (threads := record.get("threads")) and record.get("device", "cpu") == "cpu":
        words.append(f"{threads} thread{'s' if threads > 1 else ''}")
    words.append(record["precision"])
    if (runs := record.get("side_by_side", 1)) > 1:
        words.append(f"up to {runs} runs side by side")
    return ", ".join(words)


def replicates(number: int) -> Replicates:
    """Every seed of a stage in the results that are reported on."""
    found = seeds(reported_run(number))
    first = reported_run(number, found[0])
    runs = [replace(first, seed=seed) for seed in found]
    return Replicates([_status(run, _stamp(run)) for run in runs])


@functools.cache
def _status(run: Run, stamp: tuple) -> Status:
    """The status of a run, read once: a page asks for the same hundred seeds many times."""
    return status(run)


def _stamp(run: Run) -> tuple:
    """What changes when a file of the run does."""
    names = (HISTORY, RECORD, MODEL, PREDICTIONS)
    try:
        stats = [path.stat() for path in map(run.folder.joinpath, names) if path.exists()]
    except OSError:  # of a folder without permission, as the status says
        stats = []
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)


def how_many(samples: Iterable[Replicates]) -> str:
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
