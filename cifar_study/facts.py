"""The report's numbers as text: how they are written, and what each stage gave.

Every number in the prose is formatted here, once, and none is typed by hand.
What is not there yet is written as an en dash. Where a stage has several seeds,
its numbers are those of their mean history.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifar_study.data import TEST, TRAIN, TRAIN_SAMPLE
from cifar_study.figures import running_mean
from cifar_study.layers import Layer, count_layers, count_macs, count_parameters
from cifar_study.layouts import SIDE
from cifar_study.seeds import (
    Sample,
    difference,
    epoch_times,
    half_width,
    how_many,
    paired_answers,
    sample,
    share_interval,
)
from cifar_study.stages import CLASSES, STAGES, Network, ResNet, Stage, get_stage

ABSENT = "–"
PUBLISHED_RESNET = 0.9125  # test accuracy of ResNet-20 in He et al. 2016, table 6


# --- how numbers are written -------------------------------------------------------------


def count(value: float) -> str:
    """A whole number with its thousands set apart: 464,750."""
    return f"{value:,.0f}"


def percent(share: float) -> str:
    """A share in [0, 1] as a percentage with one decimal: 73.4%."""
    return f"{100 * share:.1f}%"


def points(share: float) -> str:
    """A difference of two shares, in percentage points: 12.3 points."""
    return f"{100 * share:.1f} points".replace("-", "\N{MINUS SIGN}")


def points_within(share: float, half: float) -> str:
    """A difference of two shares and half its interval: 2.3 ± 0.6 points."""
    return f"{100 * share:.1f} ± {100 * half:.1f} points".replace("-", "\N{MINUS SIGN}")


def with_interval(right: int, of: int) -> str:
    """A share that was counted, with Wilson's 95% interval: 28.6% (11.7% to 54.6%)."""
    low, high = share_interval(right, of)
    return f"{percent(right / of)} ({percent(low)} to {percent(high)})"


def loss(value: float) -> str:
    """A loss in nats with three decimals: 0.672."""
    return f"{value:.3f}"


def seconds(value: float) -> str:
    """A time: 7.4 s, 93 s, 25 min, 3.9 h."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def times(ratio: float) -> str:
    """A ratio: 6.3 times."""
    return f"{ratio:.0f} times" if ratio >= 20 else f"{ratio:.1f} times"


def millions(value: float) -> str:
    """A count in millions: 20.8 million."""
    return f"{value / 1e6:.1f} million"


def machine(record: Mapping[str, Any]) -> str:
    """A machine as a result records it: processor, threads where they are said, precision."""
    words = [record["processor"]]
    if threads := record.get("threads"):
        words.append(f"{threads} thread{'s' if threads > 1 else ''}")
    return ", ".join([*words, record["precision"], f"PyTorch {record['torch']}"])


# --- what a stage gave, as text for the prose --------------------------------------------


@dataclass(frozen=True)
class Facts:
    """The numbers of one stage as text; those that need a result are a dash without one."""

    stage: Stage
    sample: Sample

    def _final(self, field: str, write: Callable[[float], str]) -> str:
        """The mean over the seeds at the last epoch; a dash where it was not measured."""
        values = self.sample.final(field)
        return write(float(values.mean())) if len(values) and not np.isnan(values).any() else ABSENT

    def _at_best(self, field: str, by: str, least: bool = False) -> float | None:
        history = self.sample.history
        if not len(history):
            return None
        place = history[by].idxmin() if least else history[by].idxmax()
        return float(history.loc[place, field])

    @property
    def parameters(self) -> str:
        """Trained parameters of the network."""
        return count(count_parameters(self.sample.run.network))

    @property
    def macs(self) -> str:
        """Multiply-accumulates for one picture."""
        return millions(count_macs(self.sample.run.network))

    @property
    def epochs(self) -> str:
        """Epochs done: "150 epochs", or "12 of 150 epochs"."""
        planned = self.sample.run.planned
        done = self.sample.epochs_done
        return f"{planned} epochs" if done >= planned else f"{done} of {planned} epochs"

    @property
    def seconds(self) -> str:
        """What an epoch usually took while the stage was trained, evaluation included."""
        value = self.sample.seconds
        return seconds(value) if value else ABSENT

    @property
    def trained_on(self) -> str:
        """The processor, threads and precision that its epochs were trained with."""
        return self.sample.trained_on or ABSENT

    @property
    def seeds(self) -> str:
        """Seeds that stand behind the numbers, of those there are: "3", or "2 of 5"."""
        counted, there = len(self.sample.counted), len(self.sample.stands)
        return str(counted) if counted in (0, there) else f"{counted} of {there}"

    @property
    def test_accuracy_interval(self) -> str:
        """Test accuracy at the end, with Student's 95% interval: 73.4% ± 0.5."""
        return self.test_accuracy + self._plus_minus("test_accuracy")

    @property
    def gap_interval(self) -> str:
        """The gap in points, with Student's 95% interval: 5.1 ± 0.2."""
        return self.gap.removesuffix(" points") + self._plus_minus("gap")

    def _plus_minus(self, field: str) -> str:
        if not self.sample.several:
            return ""
        width = half_width(self.sample.final(field).tolist())
        return f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{100 * width:.1f}"

    @property
    def test_accuracy(self) -> str:
        """Test accuracy after the last epoch."""
        return self._final("test_accuracy", percent)

    @property
    def train_accuracy(self) -> str:
        """Accuracy on the sample of training pictures after the last epoch, as evaluated."""
        return self._final("train_accuracy", percent)

    @property
    def running_accuracy(self) -> str:
        """Training accuracy as the last epoch went along, dropout at work."""
        return self._final("running_accuracy", percent)

    @property
    def test_loss(self) -> str:
        """Test loss after the last epoch."""
        return self._final("test_loss", loss)

    @property
    def gap(self) -> str:
        """Training accuracy minus test accuracy at the end, both as evaluated."""
        return self._final("gap", points)

    @property
    def best_accuracy(self) -> str:
        """The highest test accuracy on the way."""
        value = self._at_best("test_accuracy", "test_accuracy")
        return ABSENT if value is None else percent(value)

    @property
    def best_epoch(self) -> str:
        """The epoch of the highest test accuracy, the earliest of equals."""
        value = self._at_best("epoch", "test_accuracy")
        return ABSENT if value is None else count(value)

    @property
    def best(self) -> str:
        """The highest test accuracy with its epoch: 73.4% (41)."""
        return f"{self.best_accuracy} ({self.best_epoch})" if self.sample.counted else ABSENT

    @property
    def least_loss(self) -> str:
        """The least test loss on the way."""
        value = self._at_best("test_loss", "test_loss", least=True)
        return ABSENT if value is None else loss(value)

    @property
    def least_loss_epoch(self) -> str:
        """The epoch of the least test loss, after which the network overfits."""
        value = self._at_best("epoch", "test_loss", least=True)
        return ABSENT if value is None else count(value)

    @property
    def last_gain(self) -> str:
        """What the smoothed test accuracy gained over the last ten epochs, in points."""
        smooth = running_mean(self.sample.history["test_accuracy"])
        return points(smooth[-1] - smooth[-11]) if len(smooth) > 10 else ABSENT

    def test_loss_at(self, epoch: str) -> str:
        """The test loss after an epoch, given as the other facts write it."""
        history = self.sample.history
        values = history.loc[history["epoch"].astype(str) == epoch, "test_loss"]
        return loss(values.iloc[0]) if len(values) else ABSENT

    def first_epoch_above(self, accuracy: float, split: str = "test") -> str:
        """The first epoch with an accuracy of at least ``accuracy`` on "test" or "running"."""
        history = self.sample.history
        found = history.loc[history[f"{split}_accuracy"] >= accuracy, "epoch"]
        return count(found.iloc[0]) if len(found) else ABSENT


def gain(number: int, before: int, field: str = "test_accuracy") -> str:
    """How far a stage ends above another one, with its interval, or that they are not told apart.

    ``field`` is ``test_accuracy`` or ``gap``. With one seed each the interval of a
    test accuracy is that of the test pictures alone.
    """
    found = difference(sample(number), sample(before), field)
    if found is None or math.isnan(found.mean):
        return ABSENT
    of_seeds = f"{found.pairs} pairs of seeds"
    if found.half is None:
        if field != "test_accuracy":
            return f"{points(found.mean)} (one seed each)"
        found = paired_answers(sample(number), sample(before))
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
    given, labels = sample(number).answers
    if not len(given):
        return ABSENT
    share, pictures = float((given.argmax(1) == labels).mean()), TEST
    return points(1.96 * math.sqrt(share * (1 - share) / pictures))


def stage(number: int) -> Facts:
    """The numbers of a stage, for inline use in a chapter."""
    return Facts(get_stage(number), sample(number))


def trained() -> str:
    """How often each stage was trained: "once, from one seed", or "from 2 to 5 seeds"."""
    seeds = how_many(sample(number) for number in STAGES)
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
    return [result.record["data"] for number in STAGES for result in sample(number).counted]


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
    return sample(number).run.network
