"""Charts of histories and of predictions.

Test is solid, training dashed. A line is the mean of a stage's seeds, the band their range.
"""

import re
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from cifar_study.errors import StudyError
from cifar_study.report import facts, predictions, style
from cifar_study.report.numbers import Loss, Number, Percent, Points
from cifar_study.stages import CLASSES, PEERS, STAGES

LABELS = {"loss": "cross-entropy", "accuracy": "accuracy"}  # of the measures' axes
KINDS: dict[str, type[Number]] = {"loss": Loss, "accuracy": Percent}  # how a value prints
SPLITS = {"train": (0, (4, 2)), "test": "solid"}  # and their lines' dashes
SHARES = [0, 0.2, 0.4, 0.6, 0.8, 1]  # ticks of an accuracy
HALO = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85}


def histories(*stages: int, gap: int = 0) -> style.Charts:
    """Loss and accuracy by epoch of these stages; a bracket shows the gap of that called so."""
    return style.Charts(_history(measure, stages, gap) for measure in LABELS)


@style.chart
def _history(measure: str, numbers: Sequence[int], gap: int) -> Figure:
    figure, axes = by_epoch(measure, height=2.8, top=0.905)
    labels, stages, kind = [], trained(numbers), KINDS[measure]
    for results in stages:
        stage, end = results.stage, results.epochs_done
        train, test = (draw(axes, results, f"{split}_{measure}") for split in SPLITS)
        said = f"training {kind(train)}", f"test {kind(test)}"
        if len(numbers) > 1:
            said = f"{stage.number} {said[0]}", f"{_named(results)}\n{kind(test)}"
        labels += [(said[0], end, train, stage.colour), (said[1], end, test, stage.colour)]
        if measure == "accuracy" and stage.number == gap:
            _bracket_gap(axes, end, train, test)
    if measure == "loss":
        mark_lowest(axes, stages)
    label_ends(axes, labels)
    return figure


def trained(numbers: Iterable[int]) -> list[facts.StageResults]:
    """The stages that have results; a StudyError where none of these has."""
    stages = [results for results in map(facts.stage, numbers) if results.results]
    if not stages:
        raise StudyError("Drawn once one of these stages is trained.")
    return stages


def curve(results: facts.StageResults, column: str) -> pd.DataFrame:
    """A column by epoch: ``mean`` of a stage's seeds, ``low`` and ``high`` ends of its band."""
    return results.histories.groupby("epoch")[column].agg(mean="mean", low="min", high="max")


def last_epoch() -> int:
    """Where every epoch axis ends: the longest run that is begun, as planned; two at least."""
    begun = trained((*STAGES, *PEERS))
    return max(2, *(max(each.epochs_done, each.stage.recipe.epochs) for each in begun))


def epoch_ticks() -> list[int]:
    """The first epoch and round ones, in all histories."""
    last = last_epoch()
    round_ones = MaxNLocator(3, integer=True, steps=[1, 2, 5, 10]).tick_values(0, last)
    return [1, *(int(tick) for tick in round_ones if 1 < tick <= last)]


def ticks(measure: str) -> list[float]:
    """From zero to where the axis ends in all histories, so that no curve leaves it."""
    if measure == "accuracy":
        return SHARES
    frames = [each.histories[["train_loss", "test_loss"]] for each in trained((*STAGES, *PEERS))]
    most = max(frame.max(axis=None) for frame in frames)
    return MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(0, most).tolist()


def by_epoch(measure: str, height: float, top: float) -> tuple[Figure, Axes]:
    """A plot with the axes that all histories share, with room for words beside it."""
    figure = Figure(figsize=(4, height), layout="none")
    axes = figure.add_axes((0.155, 0.44 / height, 0.535, top - 0.44 / height))
    heights = ticks(measure)
    axes.set(xlabel="epoch", xlim=(1, last_epoch()), xticks=epoch_ticks())
    axes.set(ylabel=LABELS[measure], ylim=(0, heights[-1]), yticks=heights)
    axes.yaxis.set_major_formatter("{x:.0%}" if measure == "accuracy" else "{x:g}")
    return figure, axes


def draw(axes: Axes, results: facts.StageResults, column: str) -> float:
    """Draw a stage's curve and its band, a single epoch as a dot; the curve's last value."""
    values, colour = curve(results, column), results.stage.colour
    dashes, dot = SPLITS[column.partition("_")[0]], "o" if len(values) == 1 else ""
    axes.plot(values["mean"], color=colour, ls=dashes, lw=1.5, marker=dot, clip_on=False)
    axes.fill_between(values.index, values.low, values.high, color=colour, alpha=0.22, lw=0)
    return float(values["mean"].iloc[-1])


def _named(results: facts.StageResults) -> str:
    title = f"{results.stage.number} {results.stage.title}"
    name = textwrap.fill(re.sub(r"(\d) ", "\\1\N{NO-BREAK SPACE}", title), 15)
    return f"{name}\n{results.epochs}" if results.epochs_done < last_epoch() else name


def label_ends(axes: Axes, labels: Sequence[tuple[str, float, float, str]]) -> None:
    """Write labels (words, x, y, colour) to the right of curves' ends, apart where they touch."""
    top, points = axes.get_ylim()[1], axes.get_window_extent().height * 72 / axes.figure.dpi
    for end in {label[1] for label in labels}:
        column = sorted((label for label in labels if label[1] == end), key=lambda label: label[2])
        halves = [9.7 * (1 + label[0].count("\n")) / points / 2 for label in column]
        heights, floor, ceiling = [], -0.04, 1.04  # shares of the plot's height, as the halves
        for label, half in zip(column, halves, strict=True):
            heights.append(max(label[2] / top, floor + half))
            floor = heights[-1] + half
        for place in reversed(range(len(column))):
            heights[place] = min(heights[place], ceiling - halves[place])
            ceiling = heights[place] - halves[place]
        for (text, x, y, colour), height in zip(column, heights, strict=True):
            axes.annotate(
                text, (x, y), (9, (height - y / top) * points), textcoords="offset points",
                color=colour, weight="normal" if "training" in text else "bold", fontsize=8,
                va="center", linespacing=1.1, annotation_clip=False, parse_math=False,
                bbox=HALO if x < axes.get_xlim()[1] else None,
                arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 0,
                            "shrinkB": 1, "relpos": (0, 0.5)},
            )  # fmt: skip


def mark_lowest(axes: Axes, stages: Sequence[facts.StageResults]) -> None:
    """Dots at the lowest test losses, each with its epoch, where the loss rises again."""
    marks = []
    for results in stages:
        losses, epoch = curve(results, "test_loss")["mean"], int(results.lowest_loss_epoch)
        if losses.iloc[-1] - losses[epoch] > 0.01:
            marks.append((losses[epoch], epoch, results.stage.colour))
    if marks:
        axes.set_title("● lowest test loss, and its epoch", fontsize=8, weight="normal")
    for loss, epoch, colour in marks:
        # Of two that are near to each other the lower one's is below.
        below = any(loss < other[0] and abs(epoch - other[1]) < 10 for other in marks)
        axes.plot(epoch, loss, "o", color=colour, mec="white", mew=0.8, markersize=6, zorder=5)
        axes.annotate(
            str(epoch), (epoch, loss), (0, -5 if below else 5), textcoords="offset points",
            fontsize=8, weight="bold", color=colour, ha="center", va="top" if below else "bottom",
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip


def _bracket_gap(axes: Axes, end: int, train: float, test: float) -> None:
    x = 1 + 0.965 * (end - 1)
    arrow = {"arrowstyle": "<->", "color": style.GREY, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, train), (x, test), arrowprops=arrow)
    axes.annotate(
        f"gap {Points(train - test)}", (x, (train + test) / 2), (-4, 0), bbox=HALO,
        textcoords="offset points", ha="right", va="center", fontsize=8, color=style.GREY,
    )  # fmt: skip


@style.chart
def all_test_curves() -> Figure:
    """Test accuracy by epoch of all stages, named at their ends."""
    figure, axes = by_epoch("accuracy", height=3.4, top=0.975)
    axes.set_ylabel("test accuracy")
    labels = []
    for results in trained(STAGES):
        end = draw(axes, results, "test_accuracy")
        labels.append((_named(results), results.epochs_done, end, results.stage.colour))
    label_ends(axes, labels)
    return figure


@style.chart
def calibration(*numbers: int) -> Figure:
    """Share of right predictions against the probability they were made with, by stage."""
    figure = Figure(figsize=(4, 3), layout="none")
    axes = figure.add_axes((0.155, 0.15, 0.535, 0.82))
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, zorder=0)
    axes.set(xlabel="probability", xlim=(0, 1), xticks=SHARES)
    axes.set(ylabel="share of right predictions", ylim=(0, 1), yticks=SHARES)
    labels = []
    for results in trained(numbers):
        bins, colour = predictions.reliability(results.stage.number), results.stage.colour
        area = 8 + 300 * bins.pictures / bins.pictures.sum()
        axes.plot(bins.confidence, bins.accuracy, color=colour)
        axes.scatter(bins.confidence, bins.accuracy, area, color=colour, clip_on=False)
        labels.append((_named(results), 1, bins.accuracy.iloc[-1], colour))
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.yaxis.set_major_formatter("{x:.0%}")
    label_ends(axes, labels)
    return figure


@style.chart
def confusion(number: int) -> Figure:
    """How often a test picture of each class (rows) is given each class (columns), in all seeds."""
    trained([number])
    shares = predictions.confusion(number).to_numpy()
    figure, axes = style.new_axes(style.WIDE, 4.2)
    style.show_image(axes, shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(CLASSES)), CLASSES, rotation=45, ha="right")
    axes.set(xlabel="prediction", ylabel="class", yticks=range(len(CLASSES)), yticklabels=CLASSES)
    axes.tick_params(length=0)
    axes.grid(False)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column, row, f"{100 * share:.0f}" if share > 0.005 else "·",
            ha="center", va="center", fontsize=8,
            color=style.ON_DARK if share > 0.55 else style.ON_LIGHT,
        )  # fmt: skip
    return figure


@style.noted
def explorer(label: str) -> Markdown:
    """A chart of all histories, on screens in the place of the figure of that label."""
    measures = {
        measure: {
            "title": measure.capitalize(),
            "label": LABELS[measure],
            "ticks": [round(kind.scale * tick, 6) for tick in ticks(measure)],
            "unit": kind.unit,
            "digits": int(kind.form[1]),  # of ".3f"
        }
        for measure, kind in KINDS.items()
    }
    data = {"figure": label, "epochs": last_epoch(), "ticks": epoch_ticks()}
    data |= {"measures": measures, "stages": [_lines(number) for number in STAGES]}
    return style.in_page("curves-data", data, "curves.css", "curves.js")


def _lines(number: int) -> dict:
    results = facts.stage(number)
    curves = {
        f"{split}_{measure}": curve(results, f"{split}_{measure}")
        .map(lambda value, kind=kind: float(kind(value).bare))
        .to_dict("list")
        for measure, kind in KINDS.items()
        for split in SPLITS
    }
    note = results.epochs if results.epochs_done < last_epoch() else ""
    about = {"number": number, "title": results.stage.title, "colour": results.stage.colour}
    return about | {"note": note, "curves": curves}
