"""The report's numbers as text: what each stage gave, and how stages differ.

Every number in the prose is made here, once, and none is typed by hand. What
is not there yet is an en dash. Where a stage has several seeds, its numbers are
those of their mean history.
"""

import math
from types import SimpleNamespace
from typing import Any

import pandas as pd

from cifar_study.cifar10 import CLASSES, SIDE, TEST, TRAIN, TRAIN_SAMPLE
from cifar_study.layers import count_layers, count_macs, count_parameters
from cifar_study.report.comparison import (
    difference,
    half_width,
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
    median epoch took while training on ``trained_on``, with quartiles, ``macs``
    are for one picture. ``…_interval`` adds Student's 95% interval over the
    seeds. ``least_loss`` is that of the test pictures; ``last_gain`` what the
    smoothed test accuracy gained over the last ten epochs.
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
        self.trained_on = one.seconds.index[0] if done else ABSENT
        taken = one.histories.loc[one.histories["machine"] == self.trained_on, "seconds"]
        low, middle, high = map(seconds, taken.astype(float).quantile((0.25, 0.5, 0.75)))
        self.seconds = middle if low == high else f"{middle} (half of them {low} to {high})"

        self.test_accuracy = percent(_mean(one, "test_accuracy"))
        self.train_accuracy = percent(_mean(one, "train_accuracy"))
        self.running_accuracy = percent(_mean(one, "running_accuracy"))
        self.test_loss = loss(_mean(one, "test_loss"))
        self.gap = points(_mean(one, "gap"))
        self.test_accuracy_interval = self.test_accuracy + _plus_minus(one, "test_accuracy")
        self.gap_interval = self.gap.removesuffix(" points") + _plus_minus(one, "gap")

        history = one.history.set_index("epoch")
        test = history["test_accuracy"].astype(float)
        self.best_accuracy, self.best_epoch = percent(test.max()), _epoch(test == test.max())
        self.best = f"{self.best_accuracy}\N{NO-BREAK SPACE}({self.best_epoch})" if done else ABSENT
        least = history["test_loss"].min()
        of_least = history["test_loss"] == least
        self.least_loss, self.least_loss_epoch = loss(least), _epoch(of_least)
        self.least_loss_accuracy = percent(test[of_least].mean())
        smooth = running_mean(test)
        self.last_gain = points(smooth[-1] - smooth[-11]) if done > 10 else ABSENT

    def memorised(self) -> str:
        """When the loop first named every training picture correctly, if ever: a sentence."""
        whole = self.replicates.histories.query("running_accuracy >= 1")
        first = whole.groupby("seed")[["epoch", "test_loss"]].first()
        if not len(first):
            return "In no epoch did the loop name every training picture correctly."
        seeds = f" with seed {first['epoch'].idxmin()}" if self.replicates.several else ""
        epoch, test_loss = first.loc[first["epoch"].idxmin()]
        return (
            f"In epoch {epoch:.0f} the loop{seeds} for the first time named every training picture "
            f"correctly, at a test loss of {loss(test_loss)}."
        )

    def first_epoch_above(self, accuracy: float) -> str:
        """The first epoch with a test accuracy of at least ``accuracy``."""
        return _epoch(self.replicates.history.set_index("epoch")["test_accuracy"] >= accuracy)

    def first_epoch_past(self, other: "Summary") -> str:
        """The first epoch with a test accuracy of at least what ``other`` ends at."""
        return self.first_epoch_above(_mean(other.replicates, "test_accuracy"))

    def reaches(self) -> str:
        """What the stage names rightly at the end, or that it is not trained, to end a sentence."""
        if self.test_accuracy == ABSENT:
            return "is not trained yet"
        return f"names {self.test_accuracy} (after {self.epochs})"

    def leaves_chance(self) -> str:
        """Whether and when test accuracy passes two tenths, and where it ends: a sentence."""
        if self.test_accuracy == ABSENT:
            return "That run is not trained yet."
        curves = self.replicates.histories.set_index("epoch").groupby("seed")["test_accuracy"]
        passed = listed(_epoch(curve >= 0.2).replace(ABSENT, "none") for _, curve in curves)
        ends = listed(percent(end) for end in self.replicates.final("test_accuracy"))
        seeds = ", seed by seed," if self.replicates.several else ""
        return (
            f"Its test accuracy passes two tenths{seeds} in epoch {passed} "
            f"and stands at {ends} after {self.epochs}."
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


def _epoch(holds: pd.Series) -> str:
    """The first epoch of which something holds."""
    return count(holds.idxmax()) if holds.any() else ABSENT


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


def time_ratio(numerator: int, denominator: int) -> str:
    """How many times the epoch time of one stage is that of another: 2.1 to 3.4 times.

    Each ratio is of one machine; there are two where it differs between those measured.
    """
    ratios = [
        one.seconds.get(numerator, math.nan) / one.seconds.get(denominator, math.nan)
        for one in times_by_machine((numerator, denominator))
    ]
    least, most = times(min(ratios)), times(max(ratios))
    return most if least == most else f"{least.removesuffix(' times')} to {most}"


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
