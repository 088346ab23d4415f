"""Charts of histories and of predictions.

A line's style means a split: test solid, training dashed. A line is the mean of a stage's seeds
as it is, from the first epoch on; the band about it reaches from the lowest seed to the highest.
All histories of a report have the same two axes, so any two charts compare at a glance.
"""

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from cifar_study.errors import StudyError, writing
from cifar_study.report import facts, predictions, style
from cifar_study.report.facts import StageResults
from cifar_study.report.numbers import Loss, Number, Percent, Points
from cifar_study.runs import Run
from cifar_study.stages import CLASSES, PEERS, STAGES

LABELS = {"loss": "cross-entropy", "accuracy": "accuracy"}  # of the measures' axes
KINDS: dict[str, type[Number]] = {"loss": Loss, "accuracy": Percent}  # how a value prints
SPLITS = {"train": (0, (4, 2)), "test": "solid"}  # and their lines' dashes
BAND = 0.22  # how opaque it is
PLOT = (0.155, 0.155, 0.535, 0.75)  # of a history, in every figure the same
WRAP = 15  # letters that have room beside a plot
NEAR = 0.1  # of loss: closer curves lie on each other
RISE = 0.01  # of the test loss, from its lowest value on, that is worth a mark


def histories(*stages: int, gap: int = 0) -> style.Charts:
    """Loss and accuracy by epoch, training and test, of these stages.

    The lowest test loss is marked with its epoch, the median of the seeds' own, where the loss
    rises again; ``gap`` names the stage whose gap at the end gets a bracket.
    """
    return style.Charts(_history(measure, stages, gap) for measure in LABELS)


@style.chart
def _history(measure: str, numbers: Sequence[int], gap: int) -> Figure:
    stages = trained(numbers)
    figure = Figure(figsize=(4, 2.8), layout="none")
    axes = figure.add_axes(PLOT)
    set_up(axes, measure)
    labels: list[style.Label] = []
    for results in stages:
        for split in SPLITS:
            draw(axes, results, f"{split}_{measure}")
        if measure == "accuracy" and results.stage.number == gap:
            mark_gap(axes, results)
    if measure == "loss":
        mark_lowest(axes, stages)
    for number in numbers:
        if number not in (results.stage.number for results in stages):
            text = f"{named(number)}\nnot trained"
            labels.append(style.Label(text, last_epoch(), 0, style.GREY))
    style.label_ends(axes, labels + end_labels(stages, measure, alone=len(numbers) == 1))
    return figure


def trained(numbers: Iterable[int]) -> list[StageResults]:
    """The stages that have results; a StudyError where none of these has."""
    numbers = list(numbers)
    stages = [results for results in map(facts.stage, numbers) if results.results]
    if not stages:
        command = Run(numbers[0]).command()
        raise StudyError(f"Nothing of this is trained yet; run: {command}")
    return stages


def curve(results: StageResults, column: str) -> pd.DataFrame:
    """A column by epoch: ``mean`` of a stage's seeds, ``low`` and ``high`` ends of its band."""
    by_epoch = results.histories.groupby("epoch")[column]
    return by_epoch.agg(mean="mean", low="min", high="max")


def shown() -> list[StageResults]:
    """The stages and peers whose results set the axes: those that have any."""
    stages = [facts.stage(number) for number in (*STAGES, *PEERS)]
    return [results for results in stages if results.results] or stages


def last_epoch() -> int:
    """Where every epoch axis ends: the longest run that is begun, as planned; two at least."""
    return max(2, *(max(each.epochs_done, each.stage.recipe.epochs) for each in shown()))


def epoch_ticks() -> list[int]:
    """The first epoch and round ones, in all histories."""
    last = last_epoch()
    round_ones = MaxNLocator(3, integer=True, steps=[1, 2, 5, 10]).tick_values(0, last)
    return [1, *(int(tick) for tick in round_ones if 1 < tick <= last)]


def ticks(measure: str) -> list[float]:
    """From zero to where the axis ends in all histories, so that no curve leaves it."""
    if measure == "accuracy":
        return [0, 0.2, 0.4, 0.6, 0.8, 1]
    frames = [each.histories[["train_loss", "test_loss"]] for each in shown()]
    most = max(frame.max(axis=None) for frame in frames)
    return MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(0, float(most)).tolist()


def set_up(axes: Axes, measure: str) -> None:
    """Give a plot the axes that all histories share."""
    heights = ticks(measure)
    axes.set(xlim=(1, last_epoch()), xlabel="epoch", ylim=(0, heights[-1]), ylabel=LABELS[measure])
    axes.set_xticks(epoch_ticks())
    axes.set_yticks(heights)
    axes.yaxis.set_major_formatter("{x:.0%}" if measure == "accuracy" else "{x:g}")


def draw(axes: Axes, results: StageResults, column: str) -> None:
    """Draw a stage's curve and its band; a single epoch is a dot."""
    values, colour = curve(results, column), results.stage.colour
    dashes = SPLITS[column.partition("_")[0]]
    dot = {"marker": "o", "markersize": 4} if len(values) == 1 else {}
    axes.plot(values["mean"], color=colour, linestyle=dashes, linewidth=1.5, clip_on=False, **dot)
    axes.fill_between(values.index, values.low, values.high, color=colour, alpha=BAND, linewidth=0)


def named(number: int) -> str:
    """A stage's number and title, in lines that have room beside a plot."""
    title = f"{number} {facts.stage(number).stage.title}"
    return textwrap.fill(re.sub(r"(\d) ", "\\1\N{NO-BREAK SPACE}", title), WRAP)


def end_labels(stages: list[StageResults], measure: str, alone: bool) -> list[style.Label]:
    """A name and the last value for each curve; training curves that end alike share theirs."""
    labels: list[style.Label] = []
    trainings: dict[tuple[str, int], list[style.Label]] = {}
    for results in stages:
        number, colour, done = results.stage.number, results.stage.colour, results.epochs_done
        train, test = (float(results.final(f"{split}_{measure}").mean()) for split in SPLITS)
        end = str(KINDS[measure](test))
        if done < last_epoch():
            end += f", {results.epochs}"
        name = "test" if alone else named(number)
        labels.append(style.Label(f"{name}\n{end}", done, test, colour, "bold"))
        end = str(KINDS[measure](train))
        name = "training" if alone else f"{number} training"
        label = style.Label(f"{name} {end}", done, train, colour)
        trainings.setdefault((end, done), []).append(label)
    for (end, done), alike in trainings.items():
        together = f"training, {'both' if len(alike) == 2 else 'all'}\n{end}"
        value = max(label.y for label in alike)
        labels += alike if len(alike) == 1 else [style.Label(together, done, value, style.GREY)]
    return labels


def mark_lowest(axes: Axes, stages: Sequence[StageResults]) -> None:
    """Dots at the lowest test losses, each with its epoch where the other curves leave room."""
    curves = [curve(each, f"{split}_loss")["mean"] for each in stages for split in SPLITS]
    marked = False
    for results in stages:
        losses, epoch = curve(results, "test_loss")["mean"], int(results.lowest_loss_epoch)
        loss = losses[epoch]
        if losses.iloc[-1] - loss < RISE:
            continue  # it is still falling
        others = [each[epoch] - loss for each in curves if epoch in each]
        above = min([each for each in others if each > NEAR], default=axes.get_ylim()[1] - loss)
        below = min([-each for each in others if each < -NEAR], default=loss)
        side, place = (1, "bottom") if above > below else (-1, "top")
        colour = results.stage.colour
        axes.plot(epoch, loss, "o", color=colour, mec="white", mew=0.8, markersize=6, zorder=5)
        axes.annotate(
            str(epoch), (epoch, loss), (0, 5 * side), textcoords="offset points", fontsize=8,
            weight="bold", color=colour, ha="center", va=place,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip
        marked = True
    if marked:
        beside = {"color": style.GREY, "transform": axes.transAxes}
        axes.plot(0.02, 1.06, "o", markersize=5, clip_on=False, **beside)
        axes.text(0.06, 1.06, "lowest test loss, and its epoch", fontsize=8, va="center", **beside)


def mark_gap(axes: Axes, results: StageResults) -> None:
    """A bracket from the end of the test curve to that of the training curve."""
    x = 1 + 0.965 * (results.epochs_done - 1)
    train, test = float(results.train_accuracy), float(results.test_accuracy)
    arrow = {"arrowstyle": "<->", "color": style.GREY, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, train), (x, test), arrowprops=arrow)
    axes.annotate(
        f"gap {Points(train - test)}", (x, (train + test) / 2), (-4, 0), bbox=style.HALO,
        textcoords="offset points", ha="right", va="center", fontsize=8, color=style.GREY,
    )  # fmt: skip


def save_overview(path: Path) -> None:
    """Write :func:`all_test_curves` as PNG, where there are results; a StudyError if it can't."""
    drawn = all_test_curves()
    if isinstance(drawn, style.Chart):
        with writing(path):
            path.write_bytes(drawn.png())


@style.chart
def all_test_curves() -> Figure:
    """Test accuracy by epoch of all stages, named at their ends."""
    stages = trained(STAGES)
    figure = Figure(figsize=(style.WIDE, 3.6), layout="none")
    axes = figure.add_axes((0.145, 0.125, 0.535, 0.85))
    set_up(axes, "accuracy")
    axes.set_ylabel("test accuracy")
    labels = []
    for results in stages:
        draw(axes, results, "test_accuracy")
        done, value = results.epochs_done, float(results.test_accuracy)
        text = named(results.stage.number)
        if done < last_epoch():
            text += f"\n{results.epochs}"
        labels.append(style.Label(text, done, value, results.stage.colour, "bold"))
    style.label_ends(axes, labels)
    return figure


@style.chart
def calibration(*numbers: int) -> Figure:
    """Share of right guesses against the probability they were made with, by stage."""
    stages = trained(numbers)
    figure = Figure(figsize=(style.WIDE, 3.2), layout="none")
    axes = figure.add_axes((0.145, 0.14, 0.535, 0.83))
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, zorder=0)
    labels = []
    for results in stages:
        bins, colour = predictions.reliability(results.stage.number), results.stage.colour
        axes.plot(bins.confidence, bins.accuracy, color=colour)
        area = 8 + 300 * bins.pictures / bins.pictures.sum()
        axes.scatter(bins.confidence, bins.accuracy, area, color=colour, clip_on=False)
        if len(bins):
            text = named(results.stage.number)
            labels.append(style.Label(text, 1, bins.accuracy.iloc[-1], colour, "bold"))
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability", ylabel="share of right predictions")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks("accuracy"))
        axis.set_major_formatter("{x:.0%}")
    style.label_ends(axes, labels)
    return figure


@style.chart
def confusion(number: int) -> Figure:
    """How often a test picture of each class (rows) is given each class (columns), in all seeds."""
    trained([number])
    shares = predictions.confusion(number).to_numpy()
    figure, axes = style.new_axes(style.WIDE, 4.2)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(False)
    axes.set_xticks(range(len(CLASSES)), CLASSES, rotation=45, ha="right")
    axes.set_yticks(range(len(CLASSES)), CLASSES)
    axes.set(xlabel="prediction", ylabel="class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column, row, f"{100 * share:.0f}" if share > 0.005 else "·",
            ha="center", va="center", fontsize=8,
            color=style.ON_DARK if share > 0.55 else style.ON_LIGHT,
        )  # fmt: skip
    return figure
