"""The results of stages as numbers, for sentences, tables and charts."""

import json
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cifar_study.errors import StudyError
from cifar_study.layers import count_macs, count_parameters
from cifar_study.report import numbers
from cifar_study.report.numbers import Loss, Number, Percent, Points, Seconds, Times
from cifar_study.runs import CACHE, COLUMNS, Result, cache, in_project, read, runs_in
from cifar_study.stages import CLASSES, PEERS, STAGES, TEST, TRAIN, TRAIN_SAMPLE, Stage, get_stage

TRAINING, TESTED, SAMPLED = map(Number, (TRAIN, TEST, TRAIN_SAMPLE))  # counts of pictures
CHANCE_LOSS = Loss(math.log(len(CLASSES)))  # of equal probabilities for all classes
EPOCH_TIMES = CACHE / "epoch-times.json"  # of the study, written by benchmarks/


def _mean(column: str, which: str, kind: type[Number]) -> Any:
    """The mean over the seeds of each one's "last", "max" or "min" of a column."""
    return property(lambda self: kind(self.histories.groupby("seed")[column].agg(which).mean()))


@dataclass(frozen=True, eq=False)
class StageResults:
    """The runs of a stage, of which ``results`` count: all of one kind, one a seed.

    Numbers are means over these seeds after the last epoch, NaN where nothing is trained;
    ``best_accuracy`` is picked on test pictures. ``damage`` says which runs can't be read, and why.
    """

    stage: Stage
    all_results: list[Result]
    results: list[Result]
    damage: list[str]

    test_accuracy = _mean("test_accuracy", "last", Percent)
    train_accuracy = _mean("train_accuracy", "last", Percent)
    running_accuracy = _mean("running_accuracy", "last", Percent)
    test_loss = _mean("test_loss", "last", Loss)
    gap = _mean("gap", "last", Points)
    best_accuracy = _mean("test_accuracy", "max", Percent)
    parameters = property(lambda self: Number(count_parameters(self.stage.network)))
    macs = property(lambda self: numbers.Millions(count_macs(self.stage.network)))
    first = property(lambda self: self.results[0] if self.results else None)
    epochs_done = property(lambda self: self.results[0].epochs_done if self.results else 0)
    ends = property(lambda self: numbers.listed(map(Percent, self.final("test_accuracy"))))

    @cached_property
    def histories(self) -> pd.DataFrame:
        """The histories of the seeds that count, with columns ``seed`` and ``gap``."""
        parts = [result.history.assign(seed=result.run.seed) for result in self.results]
        none = pd.DataFrame(columns=[*COLUMNS, "seed"], dtype=float)
        frame = pd.concat(parts or [none], ignore_index=True)
        return frame.assign(gap=frame.train_accuracy - frame.test_accuracy)

    def final(self, column: str) -> pd.Series:
        return self.histories.groupby("seed")[column].last()

    @property
    def epochs(self) -> str:
        """How long it was trained: 150 epochs, 3 of 150 epochs."""
        done, most = self.epochs_done, max(self.epochs_done, self.stage.recipe.epochs)
        return f"{f'{done} of ' * (done < most)}{most} epoch{'s' * (most > 1)}"

    @property
    def epoch_seconds(self) -> Seconds:
        """What an epoch takes, evaluation included, of one process on one machine."""
        return Seconds(epoch_times()[1].get(self.stage.number, math.nan))

    def half_width(self, column: str) -> Number:
        """Half of Student's 95% interval over the seeds; one seed has that of its test pictures."""
        if len(self.results) == 1 and column == "test_accuracy":
            return sampling_error(self.stage.number)
        return Points(numbers.half_width(self.final(column)))

    def accuracy_at(self, epoch: int) -> Percent:
        return Percent(self.histories[self.histories.epoch == epoch].test_accuracy.mean())

    @property
    def lowest_loss_epoch(self) -> Number:
        """The epoch of the lowest test loss, the median of the seeds' own."""
        rows = self.histories.loc[self.histories.groupby("seed").test_loss.idxmin()]
        return Number(np.round(rows.epoch.median()))

    def first_epoch_above(self, accuracy: float) -> str:
        """Each seed's first epoch with at least this test accuracy: epoch 1, epochs 6 to 7."""
        above = self.histories[self.histories.test_accuracy >= accuracy]
        first = above.groupby("seed").epoch.min()
        if len(first) < max(1, len(self.results)):
            return f"epoch {numbers.ABSENT}"
        low, high = first.min(), first.max()
        return f"epoch {low}" if low == high else f"epochs {low} to {high}"

    @numbers.dashed
    def __sub__(self, other: "StageResults") -> str:
        """How much higher its test accuracy ends than another stage's, with the 95% interval.

        Student's over the pairs of seeds; of one seed each that of the pictures (McNemar 1947).
        """
        gains = (self.final("test_accuracy") - other.final("test_accuracy")).dropna()
        half, basis = numbers.half_width(gains), f"{len(gains)} pairs of seeds"
        if len(self.results) == len(other.results) == 1:
            gains = _right(self.first) - _right(other.first)  # NaN where one has no such picture
            half = 1.96 * gains.std(skipna=False, ddof=0) / math.sqrt(len(gains))
            basis = "of the test pictures alone, one seed each"
        if math.isnan(half):
            return numbers.ABSENT
        mean = gains.mean()
        if len(gains) == 2:
            basis += ", too few to tell them apart"
        elif abs(mean) <= half:
            basis += ": the two cannot be told apart"
        low, high = Points(mean - half), Points(mean + half)
        return f"{Points(mean)} (95% interval {low.bare} to {high}, {basis})"


def _right(result: Result) -> pd.Series:
    probabilities, labels = result.predictions()
    return pd.Series(probabilities.argmax(1) == labels, dtype=float)


@numbers.dashed
def sampling_error(number: int) -> Points:
    """Half of the 95% interval that the number of test pictures leaves a stage's accuracy."""
    right = [_right(result) for result in stage(number).results]
    return Points(numbers.wilson_half_width(np.mean(right), len(right[0])) if right else "nan")


def stage(number: int) -> StageResults:
    """The results of a stage, read once until one of its files changes."""
    files = sorted(cache().glob(f"stage-{number}/seed-*/*.[cj]s*"))
    return _read(number, cache(), tuple((file, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=128)
def _read(number: int, root: Path, stamp: tuple) -> StageResults:
    all_results, damage = [], []
    for run in (run for run in runs_in(root) if run.number == number):
        try:
            all_results.append(read(run))
        except StudyError as error:
            damage.append(str(error))
    # Those of one kind count: complete ones, else those that got furthest, stale ones at the last.
    kinds = [_kind(result) for result in all_results]
    best = max(kinds, key=lambda kind: (*kind[:3], kinds.count(kind)), default=None)
    results = [result for result in all_results if _kind(result) == best]
    about = results[0].run.stage if results else get_stage(number)
    return StageResults(about, all_results, results, damage)


def _kind(result: Result) -> tuple:
    """What seeds must share for a mean of theirs to be one of anything; better ones are greater."""
    run, complete, done = result.run, result.complete, result.epochs_done
    rank = complete, not result.state.startswith("stale"), 0 if complete else done
    return *rank, done, result.record["configuration"]["precision"], run.stage, run.limit, run.data


def measured(name: str, number: int = 0) -> Any:
    """What was measured of a stage's first seed, or of the first that has it; else StudyError."""
    wanted = [number] if number else [n for n, s in (STAGES | PEERS).items() if name in s.measures]
    for results in map(stage, wanted):
        if results.first and (values := results.first.measured().get(name)):
            return values
    raise StudyError(f"Drawn once stage {numbers.listed(wanted)} is trained and measured.")


def other_results() -> bool:
    """Whether the results shown are another folder's than the study's."""
    return cache().resolve() != in_project(CACHE).resolve()


def seeds(*stages: int) -> str:
    """How many seeds count of these stages, in words: three seeds, one to three seeds."""
    counts = {len(stage(number).results) for number in stages} - {0} or {0}
    words = (numbers.word(count) for count in sorted({min(counts), max(counts)}))
    return " to ".join(words) + f" seed{'s' * (max(counts) != 1)}"


def points_gained(number: int, before: int) -> Number:
    """How many whole points higher a stage's mean test accuracy ends than another's."""
    return Number(100 * (stage(number).test_accuracy - stage(before).test_accuracy))


def ratio(of: str, number: int, before: int) -> Times:
    """How many times the "parameters", "macs" or "epoch_seconds" of one stage are another's."""
    return Times(getattr(stage(number), of) / getattr(stage(before), of))


def fingerprints() -> str:
    """How the fingerprints of the data begin that are stored with the results."""
    counted = [result for number in STAGES for result in stage(number).results]
    stored = {f"{result.record['data']['fingerprint']:.12}…" for result in counted}
    return numbers.listed(sorted(stored))


def epoch_times() -> tuple[dict[str, Any], dict[int, float]]:
    """A machine, and the median seconds of an epoch on it by stage; empty where none is known.

    For other results than the study's: from first seeds that had the first one's machine alone.
    """
    about: dict[str, Any] = {}
    seconds: dict[int, float] = {}
    if other_results():
        for result in filter(None, (stage(number).first for number in (*STAGES, *PEERS))):
            session, *more = result.record["sessions"]
            alone = not more and session["side_by_side"] == 1
            if alone and machine(session) == machine(about or session):
                about = session
                seconds[result.run.number] = result.history.seconds.median()
    elif (path := in_project(EPOCH_TIMES)).exists():
        about = json.loads(path.read_bytes())
        about |= {"processor": about["machine"], "device": "cpu", "side_by_side": 1}
        seconds = {int(n): float(np.median(taken)) for n, taken in about["seconds"].items()}
    return about, seconds


def machine(session: dict[str, Any]) -> str:
    """What computed, as it was recorded: processor, threads, precision, PyTorch, runs beside it."""
    threads, beside = session["threads"], session["side_by_side"]
    parts = [session["processor"]]
    parts += [f"{threads} thread{'s' * (threads > 1)}"] * (session["device"] == "cpu")
    parts += [session["precision"], f"PyTorch {session['torch']}"]
    return ", ".join(parts + [f"up to {beside} runs side by side"] * (beside > 1))


def epoch_line(number: int, before: int = 0) -> str:
    """What an epoch takes, and where: a sentence, with the ratio to another stage."""
    taken = stage(number).epoch_seconds
    longer = ratio("epoch_seconds", number, before) if before else Times("nan")
    if math.isnan(taken):
        return "How long an epoch takes is not measured yet."
    about, _ = epoch_times()
    name = about["processor"].partition(",")[0].replace("(R)", "").removesuffix(" Processor")
    where = f"{'an' if name.startswith((*'AEIOU', 'NV')) else 'a'} {name}"
    if about["device"] == "cpu":
        where = f"{numbers.word(about['threads'])} core{'s' * (about['threads'] > 1)} of {where}"
    times = "about" if longer.bare == "1.0" else longer
    than = "" if math.isnan(longer) else f", {times} as long as in stage {before}"
    return f"An epoch takes {taken} on {numbers.escaped(where)}{than}."
