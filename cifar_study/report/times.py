"""How long an epoch takes, and on which machine: times of two machines are never compared."""

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from cifar_study.errors import StudyError, reading
from cifar_study.report.numbers import Seconds, word
from cifar_study.report.stage_results import StageResults, other_results, stage
from cifar_study.runs import CACHE, Result, in_project
from cifar_study.stages import PEERS, STAGES

MEASURED = CACHE / "epoch-times.json"  # of the study, written by benchmarks/


@dataclass(frozen=True)
class EpochTimes:
    """Seconds of an epoch by stage, all of one machine; where nothing is known, of none."""

    machine: Mapping[str, Any]
    seconds: Mapping[int, float]

    def __getitem__(self, number: int) -> Seconds:
        return Seconds(self.seconds.get(number, math.nan))

    @property
    def where(self) -> str:
        """The machine in a sentence: one core of an AMD EPYC, an NVIDIA H200."""
        name = processor(self.machine)
        name = f"{'an' if name[0] in 'AEIOU' or name.startswith('NV') else 'a'} {name}"
        if self.machine.get("device", "cpu") != "cpu":
            return name
        cores = self.machine["threads"]
        return f"{word(cores)} core{'s' * (cores > 1)} of {name}"


def epoch_times() -> EpochTimes:
    """The study's as measured by themselves; of other results those of their histories."""
    if other_results():
        return _of_training(tuple(stage(number) for number in (*STAGES, *PEERS)))
    with suppress(StudyError):  # tables.epoch_times says so
        return measured()
    return EpochTimes({}, {})


def measured() -> EpochTimes:
    """The study's times as ``benchmarks/`` left them; none before, StudyError if unreadable."""
    path = in_project(MEASURED)
    with reading(path, "measure it again with: make bench"):
        if not path.exists():
            return EpochTimes({}, {})
        times = json.loads(path.read_bytes())
        medians = {int(number): statistics.median(s) for number, s in times["seconds"].items()}
        return EpochTimes({**times, "processor": times["machine"]}, medians)


@lru_cache(maxsize=8)
def _of_training(stages: tuple[StageResults, ...]) -> EpochTimes:
    """The median epochs of runs that had their machine to themselves.

    On the machine that trained the most stages; those that it did not train have no time.
    """
    machines: dict[str, Mapping[str, Any]] = {}
    taken: dict[str, dict[int, list[float]]] = {}
    for result in (result for results in stages for result in results.results):
        for session, rows in sessions(result):
            if session.get("side_by_side", 1) == 1:
                name = machine(session)
                machines.setdefault(name, session)
                seconds = taken.setdefault(name, {}).setdefault(result.run.number, [])
                seconds += rows.seconds.tolist()
    if not machines:
        return EpochTimes({}, {})
    most = max(taken, key=lambda name: len(taken[name]))
    medians = {number: statistics.median(values) for number, values in taken[most].items()}
    return EpochTimes(machines[most], medians)


def sessions(result: Result) -> Iterator[tuple[Mapping[str, Any], pd.DataFrame]]:
    """The machines that trained a run in turn, each with the rows of its epochs."""
    parts, end = [], result.epochs_done + 1
    for session in reversed(result.record["sessions"]):
        epoch = result.history.epoch
        rows = result.history[(epoch >= session["first_epoch"]) & (epoch < end)]
        end = min(end, session["first_epoch"])
        if len(rows):  # a session may have been stopped before its first epoch was whole
            parts.insert(0, (session, rows))
    return iter(parts)


def processor(session: Mapping[str, Any]) -> str:
    """The short name of what computed, without the number of its cores: AMD EPYC."""
    return session["processor"].partition(",")[0].replace("(R)", "").removesuffix(" Processor")


def machine(session: Mapping[str, Any]) -> str:
    """What computed, as it was recorded: processor, threads, precision, how many beside it."""
    parts = [session["processor"]]
    if (threads := session.get("threads")) and session.get("device", "cpu") == "cpu":
        parts.append(f"{threads} thread{'s' * (threads > 1)}")
    parts.append(session["precision"])
    if (runs := session.get("side_by_side", 1)) > 1:
        parts.append(f"up to {runs} runs side by side")
    if "torch" in session:
        parts.append(f"PyTorch {session['torch']}")
    return ", ".join(parts)
