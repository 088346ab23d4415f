"""The report's numbers as text: what each stage gave, and how stages differ.

Every number in the prose is made here, once, and none is typed by hand. What
is not there yet is an en dash. Where a stage has several seeds, its numbers are
those of their mean history.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifar_study.cifar10 import CLASSES, SIDE, TEST, TRAIN, TRAIN_SAMPLE
from cifar_study.layers import Layer, count_layers, count_macs, count_parameters
from cifar_study.report.comparison import (
    difference,
    epoch_times,
    half_width,
    paired_predictions,
)
from cifar_study.report.numbers import (
    ABSENT,
    count,
    loss,
    millions,
    percent,
    points,
    seconds,
    times,
)
from cifar_study.report.replicates import Replicates, how_many, replicates
from cifar_study.report.style import running_mean
from cifar_study.stages import STAGES, Network, ResNet, Stage

PUBLISHED_RESNET = 0.9125  # test accuracy of ResNet-20 in He et al. 2016, table 6


@dataclass(frozen=True)
class Summary:
    """The numbers of one stage as text; those that need a result are a dash without one.

    Accuracies and losses are those after the last epoch unless they say
    otherwise, of the network as it is evaluated; ``running_accuracy`` is the
    last epoch's as it went along, dropout at work. ``seconds`` is what an epoch
    usually took while training on ``trained_on``, ``macs`` are for one picture. ``…_interval``
    adds Student's 95% interval over the seeds. ``least_loss`` is that of the
    test pictures; ``last_gain`` what the smoothed test accuracy gained over the
    last ten epochs.
    """

    stage: Stage
    replicates: Replicates
    parameters: str
    macs: str
    epochs: str
    seeds: str
    seconds: str
    trained_on: str
    test_accuracy: str
    test_accuracy_interval: str
    train_accuracy: str
    running_accuracy: str
    test_loss: str
    gap: str
    gap_interval: str
    best_accuracy: str
    best_epoch: str
    best: str
    least_loss: str
    least_loss_epoch: str
    last_gain: str

    def test_loss_at(self, epoch: str) -> str:
        """The test loss after an epoch, given as the summary writes it."""
        history = self.replicates.history
        values = history.loc[history["epoch"].astype(str) == epoch, "test_loss"]
        return loss(values.iloc[0]) if len(values) else ABSENT

    def first_epoch_above(self, accuracy: float, split: str = "test") -> str:
        """The first epoch with an accuracy of at least ``accuracy`` on "test" or "running"."""
        history = self.replicates.history
        found = history.loc[history[f"{split}_accuracy"] >= accuracy, "epoch"]
        return count(found.iloc[0]) if len(found) else ABSENT


def stage(number: int) -> Summary:
    """The numbers of a stage, for inline use in a chapter."""
    one = replicates(number)
    history, done, planned = one.history, one.epochs_done, one.run.planned
    best = history.loc[history["test_accuracy"].idxmax()] if done else None
    least = history.loc[history["test_loss"].idxmin()] if done else None
    smooth = running_mean(history["test_accuracy"])
    best_accuracy = ABSENT if best is None else percent(best["test_accuracy"])
    best_epoch = ABSENT if best is None else count(best["epoch"])
    counted, there = len(one.counted), len(one.statuses)
    test_accuracy = _final(one, "test_accuracy", percent)
    gap = _final(one, "gap", points)
    return Summary(
        stage=one.run.stage,
        replicates=one,
        parameters=count(count_parameters(one.run.stage.network)),
        macs=millions(count_macs(one.run.stage.network)),
        epochs=f"{planned} epochs" if done >= planned else f"{done} of {planned} epochs",
        seeds=str(counted) if counted in (0, there) else f"{counted} of {there}",
        seconds=seconds(one.seconds.iloc[0]) if done else ABSENT,
        trained_on=one.seconds.index[0] if done else ABSENT,
        test_accuracy=test_accuracy,
        test_accuracy_interval=test_accuracy + _plus_minus(one, "test_accuracy"),
        train_accuracy=_final(one, "train_accuracy", percent),
        running_accuracy=_final(one, "running_accuracy", percent),
        test_loss=_final(one, "test_loss", loss),
        gap=gap,
        gap_interval=gap.removesuffix(" points") + _plus_minus(one, "gap"),
        best_accuracy=best_accuracy,
        best_epoch=best_epoch,
        best=f"{best_accuracy}\N{NO-BREAK SPACE}({best_epoch})" if done else ABSENT,
        least_loss=ABSENT if least is None else loss(least["test_loss"]),
        least_loss_epoch=ABSENT if least is None else count(least["epoch"]),
        last_gain=points(smooth[-1] - smooth[-11]) if done > 10 else ABSENT,
    )


def _final(one: Replicates, field: str, write: Callable[[float], str]) -> str:
    """The mean over the seeds at the last epoch; a dash where it was not measured."""
    values = one.final(field)
    return write(float(values.mean())) if len(values) and not np.isnan(values).any() else ABSENT


def _plus_minus(one: Replicates, field: str) -> str:
    if not one.several:
        return ""
    width = half_width(one.final(field).tolist())
    return f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{100 * width:.1f}"


def gain(number: int, before: int, field: str = "test_accuracy") -> str:
    """How far a stage ends above another one, with its interval, or that they are not told apart.

    ``field`` is ``test_accuracy`` or ``gap``. With one seed each the interval of a
    test accuracy is that of the test pictures alone.
    """
    found = difference(replicates(number), replicates(before), field)
    if found is None or math.isnan(found.mean):
        return ABSENT
    of_seeds = f"{found.pairs} pairs of seeds"
    if found.half is None:
        if field != "test_accuracy":
            return f"{points(found.mean)} (one seed each)"
        found = paired_predictions(replicates(number), replicates(before))
        if found is None:
            return ABSENT
        of_seeds = "of the test pictures alone, one seed each"
    least, most = (points(found.mean + sign * found.half) for sign in (-1, 1))
    interval = f"95% interval {least.removesuffix(' points')} to {most}, {of_seeds}"
    if not found.told_apart:
        return f"{points(found.mean)} ({interval}: the two cannot be told apart)"
    return f"{points(found.mean)} ({interval})"


def sampling_error(number: int) -> str:
    """Half the 95% interval of a stage's test accuracy that the number of test pictures leaves."""
    given, labels = replicates(number).predictions
    if not len(given):
        return ABSENT
    share, pictures = float((given.argmax(1) == labels).mean()), TEST
    return points(1.96 * math.sqrt(share * (1 - share) / pictures))


def trained() -> str:
    """How often each stage was trained: "once, from one seed", or "from 2 to 5 seeds"."""
    seeds = how_many(replicates(number) for number in STAGES)
    return f"from {seeds}" if seeds.endswith("s") else "once, from one seed"


def time_ratio(numerator: int, denominator: int) -> str:
    """How many times the epoch time of one stage is that of another, on one machine."""
    found = epoch_times((numerator, denominator)).seconds
    one, other = found.get(numerator), found.get(denominator)
    return times(one / other) if one and other else ABSENT


def parameter_ratio(numerator: int, denominator: int) -> str:
    """How many times the parameters of one stage are those of another."""
    one, other = (count_parameters(_network(n)) for n in (numerator, denominator))
    return times(one / other)


def mac_ratio(numerator: int, denominator: int) -> str:
    """How many times the multiply-accumulates of one stage are those of another."""
    one, other = (count_macs(_network(n)) for n in (numerator, denominator))
    return times(one / other)


@dataclass(frozen=True)
class DataFacts:
    """The numbers of the data set as text."""

    classes: str = ", ".join(CLASSES)
    train: str = count(TRAIN)
    test: str = count(TEST)
    train_each: str = count(TRAIN // len(CLASSES))
    test_each: str = count(TEST // len(CLASSES))
    side: str = str(SIDE)
    sample: str = count(TRAIN_SAMPLE)

    @property
    def fingerprint(self) -> str:
        """How the SHA-256 of pixels and labels begins, as stored with the results."""
        stored = {data["fingerprint"] for data in stored_data()}
        return " and ".join(f"{value[:12]}…" for value in sorted(stored)) or ABSENT


def stored_data() -> list[dict[str, Any]]:
    """What the results that count say of the pictures they were trained on."""
    return [result.record["data"] for number in STAGES for result in replicates(number).counted]


def data() -> DataFacts:
    """The numbers of the data set, for inline use in a chapter."""
    return DataFacts()


def chance_loss() -> str:
    """The cross-entropy of equal probabilities for all classes, in nats."""
    return loss(math.log(len(CLASSES)))


def layer_share(number: int, name: str) -> str:
    """The share of a stage's parameters that one layer has."""
    layer = _layer(number, name)
    return percent(layer.parameters / count_parameters(_network(number)))


def layer_macs(number: int, name: str) -> str:
    """The multiply-accumulates of one layer for one picture."""
    return count(_layer(number, name).macs)


def _layer(number: int, name: str) -> Layer:
    return next(layer for layer in count_layers(_network(number)) if layer.name == name)


def _network(number: int) -> Network | ResNet:
    return replicates(number).run.stage.network
