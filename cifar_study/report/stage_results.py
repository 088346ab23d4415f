"""The results of a stage, read once, and two stages side by side."""

import math
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cifar_study.errors import StudyError
from cifar_study.layers import count_macs, count_parameters
from cifar_study.report.numbers import (
    ABSENT,
    Loss,
    Millions,
    Number,
    Percent,
    Points,
    epochs,
    half_width,
    listed,
    wilson_half_width,
)  # fmt: skip
from cifar_study.runs import CACHE, COLUMNS, Result, Run, cache, in_project, read, runs_in
from cifar_study.stages import PEERS, STAGES, Stage, get_stage


def _final(column: str, kind: type[Number]) -> Any:
    """The mean over the seeds after the last epoch."""
    return property(lambda self: kind(self.final(column).mean(skipna=False)))


@dataclass(frozen=True, eq=False)
class StageResults:
    """The runs of a stage, of which ``results`` count: all of one kind, one a seed.

    Numbers are means over these seeds after the last epoch, of the network as it is evaluated;
    ``running_accuracy`` is the last epoch's as it went along, dropout at work. They are NaN, and
    print as a dash, where nothing is trained. ``macs`` are the multiply-accumulates for one
    picture. ``damage`` says which runs can't be read, and why.
    """

    stage: Stage
    all_results: list[Result]
    results: list[Result]
    damage: list[str]

    test_accuracy = _final("test_accuracy", Percent)
    train_accuracy = _final("train_accuracy", Percent)
    running_accuracy = _final("running_accuracy", Percent)
    test_loss = _final("test_loss", Loss)
    gap = _final("gap", Points)
    parameters = property(lambda self: Number(count_parameters(self.stage.network)))
    macs = property(lambda self: Millions(count_macs(self.stage.network)))
    epochs_done = property(lambda self: self.results[0].epochs_done if self.results else 0)

    @property
    def first(self) -> Result | None:
        """The first seed's result, shown where one network alone can be."""
        return self.results[0] if self.results else None

    @cached_property
    def histories(self) -> pd.DataFrame:
        """The histories of the seeds that count, with columns ``seed`` and ``gap``."""
        parts = [result.history.assign(seed=result.run.seed) for result in self.results]
        none = pd.DataFrame(columns=[*COLUMNS, "seed"], dtype=float)
        frame = pd.concat(parts, ignore_index=True) if parts else none
        return frame.assign(gap=frame.train_accuracy - frame.test_accuracy)

    def final(self, column: str) -> pd.Series:
        """A column of the histories after the last epoch, by seed."""
        return self.histories.groupby("seed")[column].last()

    @property
    def epochs(self) -> str:
        """How long it was trained: 150 epochs, 3 of 150 epochs."""
        done, planned = self.epochs_done, self.stage.recipe.epochs
        of = "" if done >= planned else f"{done} of "
        return f"{of}{max(done, planned)} epoch{'s' * (planned > 1)}"

    @property
    def ends(self) -> str:
        """The test accuracy of each seed: 10.0%, 41.2% and 45.9%."""
        return listed(map(Percent, self.final("test_accuracy")))

    @cached_property
    def sampling_error(self) -> Points:
        """Half of the 95% interval that the number of test pictures leaves its test accuracy."""
        try:
            right = [_right(result) for result in self.results]
        except StudyError:
            right = []
        half = wilson_half_width(float(np.mean(right)), len(right[0])) if right else math.nan
        return Points(half)

    def half_width(self, column: str) -> Number:
        """Half of Student's 95% interval over the seeds; one seed has that of its test pictures.

        NaN where there is neither.
        """
        if len(self.results) == 1 and column == "test_accuracy":
            return self.sampling_error
        return type(getattr(self, column))(half_width(self.final(column)))

    def accuracy_at(self, epoch: int) -> Percent:
        """The mean test accuracy after an epoch."""
        at_epoch = self.histories[self.histories.epoch == epoch]
        return Percent(at_epoch.test_accuracy.mean())

    def _best(self, column: str) -> pd.DataFrame:
        """Each seed's epoch of the highest accuracy or the lowest loss."""
        by_seed = self.histories.groupby("seed")[column]
        return self.histories.loc[by_seed.idxmin() if "loss" in column else by_seed.idxmax()]

    @property
    def best_accuracy(self) -> Percent:
        """The mean of each seed's highest test accuracy, picked on test pictures."""
        return Percent(self._best("test_accuracy").test_accuracy.mean())

    @property
    def lowest_loss(self) -> Loss:
        """The mean of each seed's lowest test loss."""
        return Loss(self._best("test_loss").test_loss.mean())

    @property
    def lowest_loss_epoch(self) -> Number:
        """The epoch of the lowest test loss, the median of the seeds' own."""
        return Number(np.round(self._best("test_loss").epoch.median()))

    def first_epoch_above(self, accuracy: float) -> str:
        """Each seed's first epoch with at least this test accuracy: epoch 1, epochs 6 to 7."""
        above = self.histories[self.histories.test_accuracy >= accuracy]
        first = above.groupby("seed").epoch.min()
        return epochs(first.reindex(self.final("epoch").index))

    def __sub__(self, other: "StageResults") -> str:
        """How much higher its test accuracy ends than another stage's, with the 95% interval.

        Student's over the pairs of seeds. With a single pair it is that of the test pictures: of
        those that just one of the two networks classifies correctly (McNemar 1947).
        """
        others = {result.run.seed: result for result in other.results}
        pairs = [(each, others[each.run.seed]) for each in self.results if each.run.seed in others]
        if not pairs and len(self.results) == len(other.results) == 1:
            pairs = [(self.results[0], other.results[0])]
        if len(pairs) == 1:
            mean, half = _of_pictures(*pairs[0])
            basis = "of the test pictures alone, one seed each"
        else:
            gains = (self.final("test_accuracy") - other.final("test_accuracy")).dropna()
            mean, half, basis = gains.mean(), half_width(gains), f"{len(gains)} pairs of seeds"
        if math.isnan(mean):
            return ABSENT
        if len(pairs) == 2:
            basis += ", too few to tell them apart"
        elif abs(mean) <= half:
            basis += ": the two cannot be told apart"
        low, high = Points(mean - half), Points(mean + half)
        return f"{Points(mean)} (95% interval {low.bare} to {high}, {basis})"


def _of_pictures(one: Result, other: Result) -> tuple[float, float]:
    """The mean difference of two networks on the same test pictures, and half its interval."""
    try:
        gain = _right(one).astype(float) - _right(other)
    except (StudyError, ValueError):  # unread, or of two test sets
        return math.nan, math.nan
    return float(gain.mean()), 1.96 * float(gain.std()) / math.sqrt(len(gain))


def _right(result: Result) -> np.ndarray:
    """Which test pictures the network classifies correctly."""
    probabilities, labels = result.predictions()
    return probabilities.argmax(1) == labels


def stage(number: int) -> StageResults:
    """The results of a stage, read once until one of its files changes."""
    root = cache()
    return _read(number, root, Path.cwd(), _stamp(root / f"stage-{number}"))


@lru_cache(maxsize=128)
def _read(number: int, root: Path, seen_from: Path, stamp: tuple) -> StageResults:
    all_results, damage = [], []
    for run in runs_in(root):
        if run.number == number:
            try:
                result = read(run)
            except StudyError as error:
                damage.append(str(error))
            else:
                all_results += [result] if result else []  # None where it is gone just now
    results = _counted(all_results)
    about = results[0].run.stage if results else get_stage(number)
    return StageResults(about, all_results, results, damage)


def _counted(all_results: list[Result]) -> list[Result]:
    """Of one kind: the complete ones, else those that got furthest; stale ones at the last."""
    chosen = [result for result in all_results if result.complete]
    if not chosen:
        current = [result for result in all_results if not result.state.startswith("stale")]
        chosen = current or all_results
        furthest = max((result.epochs_done for result in chosen), default=0)
        chosen = [result for result in chosen if result.epochs_done == furthest]
    kinds = Counter(map(_kind, chosen)).most_common(1)
    return [result for result in chosen if kinds[0][0] == _kind(result)]


def _kind(result: Result) -> tuple:
    """What seeds must share for a mean of theirs to be one of anything."""
    run, precision = result.run, result.record["configuration"]["precision"]
    return result.epochs_done, precision, run.stage, run.limit, run.data


def _stamp(folder: Path) -> tuple:
    """What changes when a file of the stage does."""
    stamp = []
    with suppress(OSError):  # nothing is there, or not ours to look at, as reading it will say
        for seed in os.scandir(folder):
            for file in os.scandir(seed) if seed.is_dir() else ():
                about = file.stat()
                stamp.append((file.path, about.st_ino, about.st_mtime_ns, about.st_size))
    return tuple(sorted(stamp))


def measured(name: str, number: int | None = None) -> Any:
    """What was measured of a network under that name; empty where nothing was.

    Of a stage's first seed, without a number that of the first stage that measures it.
    """
    stages = {**STAGES, **PEERS}
    numbers = [n for n, each in stages.items() if name in each.measures and number in (None, n)]
    for first in (stage(n).first for n in numbers):
        if first and (values := first.measured().get(name)):
            return values
    return {}


def other_results() -> bool:
    """Whether the results shown are others than the study's: another folder's, or trials."""
    elsewhere = cache().resolve() != in_project(CACHE).resolve()
    return elsewhere or any(run.trial for run in shown_runs())


def shown_runs() -> list[Run]:
    """The runs in the folder shown that have a result, in the order of stages and seeds."""
    return [result.run for number in (*STAGES, *PEERS) for result in stage(number).all_results]
