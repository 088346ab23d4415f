"""The report's numbers as text: what each stage gave, and how stages differ.

What is not there yet is an en dash. Where a stage has several seeds, its numbers
are those of their mean history unless they say otherwise.
"""

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from cifar_study.cifar10 import CLASSES, SIDE, TEST, TRAIN, TRAIN_SAMPLE
from cifar_study.layers import count_layers, count_macs, count_parameters
from cifar_study.report.comparison import (
    difference,
    half_width,
    machines_of_all,
    paired_predictions,
    times_by_machine,
)
from cifar_study.report.numbers import (
    ABSENT,
    count,
    listed,
    loss,
    millions,
    percent,
    points,
    seconds,
    times,
)
from cifar_study.report.predictions import guesses
from cifar_study.report.replicates import Replicates, how_many, replicates
from cifar_study.report.style import running_mean
from cifar_study.stages import STAGES

CHANCE_LOSS = loss(math.log(len(CLASSES)))  # of equal probabilities for all classes, in nats


class Summary:
    """The numbers of one stage as text; those that need a result are a dash without one.

    Accuracies and losses are those after the last epoch unless they say
    otherwise, of the network as it is evaluated; ``running_accuracy`` is the
    last epoch's as it went along, dropout at work. ``seconds`` is what the
    median epoch took while training on ``trained_on``, with quartiles: a machine
    that trained some of every stage, if there is one. ``macs`` are for one
    picture. ``…_interval`` adds Student's 95% interval over the seeds.
    ``least_loss`` is that of the test pictures, the mean of each seed's;
    ``last_gain`` what the smoothed test accuracy gained over the last ten
    epochs. That and epochs are from the least to the greatest of the seeds.
    """

    def __init__(self, one: Replicates) -> None:
        self.stage, self.replicates = one.run.stage, one
        network = self.stage.network
        parameters, dense = count_parameters(network), count_layers(network)[-1]
        self.parameters, self.macs = count(parameters), millions(count_macs(network))
        self.dense_share = percent(dense.parameters / parameters)
        self.dense_macs = count(dense.macs)

        done, planned = one.epochs_done, one.run.planned
        counted, there = len(one.counted), len(one.statuses)
        plan = f"{planned} epoch{'s' if planned > 1 else ''}"
        self.epochs = plan if done >= planned else f"{done} of {plan}"
        self.seeds = str(counted) if counted in (0, there) else f"{counted} of {there}"

        self.test_accuracy = percent(_mean(one, "test_accuracy"))
        self.train_accuracy = percent(_mean(one, "train_accuracy"))
        self.running_accuracy = percent(_mean(one, "running_accuracy"))
        self.test_loss = loss(_mean(one, "test_loss"))
        self.gap = points(_mean(one, "gap"))
        self.test_accuracy_interval = self.test_accuracy + _plus_minus(one, "test_accuracy")
        self.gap_interval = self.gap.removesuffix(" points") + _plus_minus(one, "gap")

        by_seed = one.histories.groupby("seed")
        best = one.histories.loc[by_seed["test_accuracy"].idxmax()]
        best_epoch = _span(best["epoch"], count)
        self.best_epoch = _epochs(best["epoch"])
        self.best_accuracy = percent(best["test_accuracy"].mean())
        self.best = f"{self.best_accuracy}\N{NO-BREAK SPACE}({best_epoch})" if done else ABSENT
        least = one.histories.loc[by_seed["test_loss"].idxmin()]
        self.least_loss_epoch = _epochs(least["epoch"])
        self.least_loss = loss(least["test_loss"].mean())
        self.least_loss_accuracy = percent(least["test_accuracy"].mean())
        smooth = [running_mean(values) for _, values in by_seed["test_accuracy"]]
        gains = [curve[-1] - curve[-11] for curve in smooth] if done > 10 else []
        self.last_gain = _span(gains, points)
        self.ends = listed(map(percent, one.final("test_accuracy")))

    # These two once they are asked for: they look at every stage.
    @cached_property
    def trained_on(self) -> str:
        """The machine that trained some of every stage, else the one of most first-seed epochs."""
        machines, shared = self.replicates.seconds.index, machines_of_all(STAGES)
        return next((name for name in machines if name in shared), [*machines, ABSENT][0])

    @cached_property
    def seconds(self) -> str:
        """What the median epoch took on it while training, with quartiles."""
        histories = self.replicates.histories
        taken = histories.loc[histories["machine"] == self.trained_on, "seconds"].astype(float)
        low, middle, high = map(seconds, taken.quantile((0.25, 0.5, 0.75)))
        return middle if low == high else f"{middle} (the middle half {low} to {high})"

    def smoothed_at(self, epoch: int) -> str:
        """Test accuracy as the mean of the ten epochs up to one of them, over the seeds."""
        smooth = running_mean(self.replicates.history["test_accuracy"])
        return percent(smooth[epoch - 1]) if epoch <= len(smooth) else ABSENT

    def memorised(self) -> str:
        """When the loop first named every training picture correctly, if ever: a sentence."""
        if self.test_accuracy == ABSENT:
            return "It is not trained yet."
        whole = self.replicates.histories.query("running_accuracy >= 1")
        first = whole.groupby("seed")[["epoch", "test_loss"]].first()
        if not len(first):
            return "In no epoch did the loop name every training picture correctly."
        seeds = len(self.replicates.counted)
        some = f" with {len(first)} of {seeds} seeds" * (len(first) < seeds)
        return (
            f"In {_epochs(first['epoch'])} the loop{some} for the first time named every "
            f"training picture correctly, at a test loss of {_span(first['test_loss'], loss)}."
        )

    def first_epoch_above(self, accuracy: float) -> str:
        """The first epoch of each seed with a test accuracy of at least ``accuracy``."""
        return _epochs(self._first_above(accuracy))

    def _first_above(self, accuracy: float) -> list[float]:
        above = self.replicates.histories.query("test_accuracy >= @accuracy")
        first = above.groupby("seed")["epoch"].min()
        return first.reindex([result.seed for result in self.replicates.counted]).tolist()

    def first_epoch_past(self, other: "Summary") -> str:
        """The first epoch of each seed past the highest end of the seeds of ``other``."""
        return self.first_epoch_above(other.replicates.final("test_accuracy").max())

    def leaves_chance(self) -> str:
        """Whether and when test accuracy passes two tenths, and where it ends: a sentence."""
        if self.test_accuracy == ABSENT:
            return "That run is not trained yet."
        passed = listed(count(epoch).replace(ABSENT, "none") for epoch in self._first_above(0.2))
        by_seed = ", seed by seed, in epochs" if self.replicates.several else " in epoch"
        return (
            f"Its test accuracy passes two tenths{by_seed} {passed} "
            f"and stands at {self.ends} after {self.epochs}."
        )


def stage(number: int) -> Summary:
    """The numbers of a stage, for inline use in a chapter."""
    return Summary(replicates(number))


def _mean(one: Replicates, field: str) -> float:
    """The mean over the seeds at the last epoch; not a number where one was not measured."""
    return one.final(field).mean(skipna=False)


def _plus_minus(one: Replicates, field: str) -> str:
    if not one.several:
        return ""
    width = half_width(one.final(field))
    return f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{100 * width:.1f}"


def _span(values: Iterable[float], say: Callable[[float], str]) -> str:
    """From the least to the greatest: 7 to 9, or 6 where all are said alike."""
    values = [float(value) for value in values]
    if not values or any(map(math.isnan, values)):
        return ABSENT
    least, most = say(min(values)), say(max(values))
    return most if least == most else f"{least.removesuffix(' points')} to {most}"


def _epochs(epochs: Iterable[float]) -> str:
    """Epochs of the seeds with their noun: epoch 6, epochs 7 to 9."""
    span = _span(epochs, count)
    return f"epochs {span}" if " to " in span else f"epoch {span}"


def gain(number: int, before: int) -> str:
    """How far a stage ends above another one, with its interval, or that they are not told apart.

    With one seed each the interval is that of the test pictures alone.
    """
    one, other = replicates(number), replicates(before)
    found = difference(one, other)
    of_seeds = f"{found.pairs} pairs of seeds"
    if found.pairs == 1:
        [seed] = {result.seed for result in one.counted} & {r.seed for r in other.counted}
        found = paired_predictions(one, other, seed)
        seeds = f"seed {seed} of each" if one.several or other.several else "one seed each"
        of_seeds = f"of the test pictures alone, {seeds}"
    if math.isnan(found.mean):
        return ABSENT
    least, most = (points(found.mean + sign * found.half) for sign in (-1, 1))
    interval = f"95% interval {least.removesuffix(' points')} to {most}, {of_seeds}"
    if found.pairs == 2:
        interval += ", too few to tell them apart"
    elif abs(found.mean) <= found.half:
        interval += ": the two cannot be told apart"
    return f"{points(found.mean)} ({interval})"


def sampling_error(number: int) -> str:
    """Half the 95% interval of a stage's test accuracy that the number of test pictures leaves."""
    share = guesses(number)["right"].mean()
    return points(1.96 * (share * (1 - share) / TEST) ** 0.5)


def trained() -> str:
    """How often each stage was trained: "once, from one seed", or "from 2 to 5 seeds"."""
    seeds = how_many(replicates(number) for number in STAGES)
    return f"from {seeds}" if seeds.endswith("s") else "once, from one seed"


def measured(number: int) -> str:
    """What an epoch takes alone, by machine: 4.9 s on AMD EPYC and 4.1 s on Intel Xeon."""
    found = times_by_machine([number])
    return listed(f"{seconds(one.seconds[number])} on {one.on}" for one in found if one.seconds)


def time_ratio(numerator: int, denominator: int) -> str:
    """How many times the epoch time of one stage is that of another, on each machine measured.

    As 3.4 times (AMD EPYC) and 2.1 times (Intel Xeon), or one number that holds for all.
    """
    ratios = {
        one.on: times(one.seconds.get(numerator, math.nan) / one.seconds.get(denominator, math.nan))
        for one in times_by_machine((numerator, denominator))
    }
    said = set(ratios.values())
    return said.pop() if len(said) == 1 else listed(f"{r} ({on})" for on, r in ratios.items())


def ratio(of: str, numerator: int, denominator: int) -> str:
    """How many times the "parameters" or the "macs" of one stage are those of another."""
    one, other = (
        sum(getattr(layer, of) for layer in count_layers(replicates(number).run.stage.network))
        for number in (numerator, denominator)
    )
    return times(one / other)


def data() -> SimpleNamespace:
    """The numbers of the data set as text, for inline use in a chapter.

    ``fingerprint`` is how the SHA-256 of pixels and labels begins, as stored with the results.
    """
    stored = sorted({data["fingerprint"] for data in stored_data()})
    return SimpleNamespace(
        classes=", ".join(CLASSES),
        train=count(TRAIN),
        test=count(TEST),
        train_each=count(TRAIN // len(CLASSES)),
        test_each=count(TEST // len(CLASSES)),
        side=str(SIDE),
        sample=count(TRAIN_SAMPLE),
        fingerprint=" and ".join(f"{value[:12]}…" for value in stored) or ABSENT,
    )


def stored_data() -> list[dict[str, Any]]:
    """What the results that count say of the pictures they were trained on."""
    return [result.record["data"] for number in STAGES for result in replicates(number).counted]
