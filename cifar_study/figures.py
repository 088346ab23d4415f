"""Charts from the cache: histories and results. Colours of stages and axes are assigned here.

A colour means a stage, a line's style means a split: test solid, training
dashed. Every history has the same two axes, so any two charts compare at a
glance.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from matplotlib.transforms import offset_copy

from cifar_study import cache
from cifar_study.errors import StudyError
from cifar_study.files import present, read_json
from cifar_study.layouts import SIDE
from cifar_study.runs import FIGURES, reported_run
from cifar_study.seeds import Sample, epoch_times, how_many, reliability, sample
from cifar_study.stages import CLASSES, STAGES

# From Paul Tol's schemes: told apart by the colour-blind and on paper.
COLOURS = {
    1: "#332288",
    2: "#88CCEE",
    3: "#999933",
    4: "#117733",
    5: "#DDAA33",
    6: "#CC6677",
    7: "#44AA99",
    8: "#882255",
    9: "#4477AA",
    10: "#EE7733",
    11: "#A0A0A0",
}
RIGHT, WRONG, OTHER = "#117733", "#882255", "#B8BDC4"  # classes, among bars and under photos
GREY = "#555555"
BAND = 0.25  # how opaque a band from the least to the greatest seed is
TRAINING_DASHES = (4, 2)  # dash and gap in line widths; test lines are solid
SMOOTHING = 10
SAVED_WIDTH = 560  # CSS pixels that a saved picture is shown in, at most
PHOTO = "photo.json"  # what the network said of the photo, beside its picture
SIZES = "sizes.json"  # how often it was right about test pictures of other sizes
DRAWN = "drawn.json"  # from which results the pictures were drawn
REDRAW = "draw it again with: python -m cifar_study.train --figures"
STYLE = Path(__file__).with_name("report.mplstyle")


@dataclass(frozen=True)
class Scale:
    """A vertical axis from zero to its last tick; ``form`` writes the value ``x`` of a tick."""

    title: str
    label: str
    ticks: tuple[float, ...]
    form: str


LOSS = Scale("Loss", "cross-entropy, nats", (0, 0.5, 1, 1.5, 2, 2.5), "{x:.1f}")
ACCURACY = Scale("Accuracy", "share of pictures", (0, 0.2, 0.4, 0.6, 0.8, 1), "{x:.0%}")


class Chart:
    """A figure that a notebook shows as SVG, the same bytes each time."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        buffer = io.StringIO()
        with style.context(STYLE):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return {"image/svg+xml": buffer.getvalue()}


class Charts(tuple[Chart | Markdown, ...]):
    """Charts that a notebook shows one after the other; the page decides on rows and columns."""

    def _ipython_display_(self) -> None:
        for chart in self:
            display(chart)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches; call inside ``style.context(STYLE)``.

    A phone shows any width in about three and a half inches: the narrower, the larger the text.
    """
    return Figure(figsize=(width, height))


def running_mean(values: Sequence[float], window: int = SMOOTHING) -> np.ndarray:
    """The mean over the ``window`` values up to each one, not a number before there are as many.

    Fewer than three windows of values are too few to smooth and come back as they are.
    """
    values = pd.Series(values, dtype=float)
    if len(values) < 3 * window:
        return values.to_numpy()
    return values.rolling(window).mean().to_numpy()


def saved(name: str, number: int, folder: Path = FIGURES) -> Image | Markdown:
    """The picture that was drawn when a stage was trained, or a note that it was not yet."""
    path = _drawn(f"{name}.png", number, folder)
    return Image(path, width=SAVED_WIDTH) if path else _not_yet(number)


def photos(folder: Path = FIGURES) -> pd.DataFrame:
    """The free photos and the network's answers, a row each; empty if they were not asked for.

    What ``photos/sources.csv`` says of it; ``width`` and ``height`` as the network saw it; the
    ten ``probabilities``, the most probable class as ``guess``, with which ``probability``; and
    whether that is ``right``.
    """
    frame = pd.DataFrame.from_dict(_measured(PHOTO, 8, folder), orient="index")
    if len(frame):
        best = [int(np.argmax(given)) for given in frame.probabilities]
        frame["guess"] = [CLASSES[label] for label in best]
        frame["probability"] = [max(given) for given in frame.probabilities]
        frame["right"] = frame.guess == frame["class"]
    return frame


def sizes(folder: Path = FIGURES) -> Chart | Markdown:
    """Accuracy on scaled test pictures by their width: square, flattened, and padded as well."""
    measured = size_accuracies(folder)
    if not measured:
        return _not_yet(8)
    with style.context(STYLE):
        figure = new_figure(4.4, 3.4)
        axes = figure.subplots()
        for shape, label, form, colour in (
            ("square", "square", "o-", COLOURS[8]),
            ("flattened", "flattened to two thirds of the height", "s--", COLOURS[9]),
            ("padded", "flattened, padded to multiples of 8", "^:", COLOURS[10]),
        ):
            shares = measured[shape]
            axes.plot(shares.keys(), shares.values(), form, color=colour, label=label)
        axes.axvline(SIDE, color=GREY, linewidth=0.8, zorder=0)
        axes.annotate("as trained", (SIDE, 1), (4, -4), textcoords="offset points", va="top")
        axes.set(xscale="log", xlabel="width in pixels", ylim=(0, 1), ylabel="test accuracy")
        axes.set_xticks(list(measured["square"]), measured["square"])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks(ACCURACY.ticks)
        axes.yaxis.set_major_formatter(ACCURACY.form)
        figure.legend(loc="outside upper left")
    return Chart(figure)


def size_accuracies(folder: Path = FIGURES) -> dict[str, dict[int, float]]:
    """The accuracies that were measured, by kind and width; empty if they were not."""
    return {
        kind: {int(side): share for side, share in shares.items()}
        for kind, shares in _measured(SIZES, 8, folder).get("widths", {}).items()
    }


def shape_counts(folder: Path = FIGURES) -> dict[str, dict[str, int]]:
    """How many test pictures were named rightly, by shape; the first is as they are."""
    return _measured(SIZES, 8, folder).get("shapes", {})


def rows_left(height: int) -> list[int]:
    """The rows of a picture of that height, then those after each pooling of the final network."""
    rows = [height]
    for pool in _pools():
        rows.append(rows[-1] // pool)
    return rows


def _pools() -> list[int]:
    return [block.pool for block in STAGES[8].network.blocks if isinstance(block.pool, int)]


def pooled_rows(*heights: int) -> Chart:
    """Which rows of pictures of some heights reach the last block: a column after each pooling.

    A value is drawn as high as the rows that it stands for. What a pooling leaves out is hatched:
    the last row of an odd height has no partner.
    """
    pools = _pools()
    with style.context(STYLE):
        figure = new_figure(4.4, 3.2)
        panels = figure.subplots(1, len(heights), sharey=True, squeeze=False)[0]
        for axes, height in zip(panels, heights, strict=True):
            span = 1
            for place, (rows, pool) in enumerate(zip(rows_left(height), [*pools, 1], strict=True)):
                for row in range(rows):
                    left_out = row >= rows // pool * pool
                    look = (
                        {"facecolor": "white", "edgecolor": WRONG, "hatch": "/////"}
                        if left_out
                        else {"facecolor": COLOURS[2], "edgecolor": "white", "linewidth": 0.5}
                    )
                    axes.add_patch(Rectangle((place, row * span), 0.84, span, **look))
                axes.text(place + 0.42, rows * span + 0.4, str(rows), ha="center", va="top")
                span *= pool
            axes.set(xlim=(-0.1, len(pools) + 1), ylim=(max(heights) + 3, 0))
            axes.set_title(f"{height} rows")
            axes.axis("off")
    return Chart(figure)


def _measured(file: str, number: int, folder: Path) -> dict[str, Any]:
    """The numbers of a file that was saved beside the pictures; none where it is of another run."""
    path = _drawn(file, number, folder)
    try:
        return read_json(path, REDRAW)["values"] if path else {}
    except StudyError:  # tables.standing says so
        return {}


def damage(folder: Path = FIGURES) -> list[str]:
    """What is wrong with the measured numbers beside the pictures, a line for each file."""
    lines = []
    for name in (DRAWN, PHOTO, SIZES):
        try:
            if present(folder / name):
                read_json(folder / name, REDRAW)
        except StudyError as error:
            lines.append(str(error))
    return lines


def _drawn(file: str, number: int, folder: Path) -> Path | None:
    """A file that was drawn from the run that is reported; none where it was drawn from another."""
    path, result = folder / file, cache.reported(number).result
    try:
        if result is None or not present(path):
            return None
        drawn = drawn_from(folder).get(str(number))
    except StudyError:  # tables.standing says so
        return None
    return path if drawn == result.record["files"][cache.HISTORY] else None


def drawn_from(folder: Path = FIGURES) -> dict[str, str]:
    """From which result of each stage the pictures were drawn: the checksum of its history."""
    path = folder / DRAWN
    return read_json(path, REDRAW) if present(path) else {}


def _not_yet(number: int) -> Markdown:
    if cache.reported(number).result:
        return Markdown(f"*Not drawn from this run of stage {number}.*")
    return Markdown(f"*Drawn once stage {number} is trained.*")


def histories(*stages: int) -> Charts:
    """Loss and accuracy by epoch, training and test, of one or more stages: a chart for each.

    Of several seeds, the mean, in a band from the least to the greatest.
    """
    samples = [sample(number) for number in stages]
    return Charts(_history(samples, scale) for scale in (LOSS, ACCURACY))


def _history(samples: list[Sample], scale: Scale) -> Chart:
    with style.context(STYLE):
        figure = new_figure(3.8, 3.4)
        axes = figure.subplots()
        for one in samples:
            if one.counted:
                _draw_history(axes, one, scale)
        _by_epoch(axes, scale, scale.label)
        handles = _legend(samples)
        # The longest labels leave no room beside them.
        long = len(samples) > 2 or any(len(handle.get_label()) > 36 for handle in handles)
        figure.legend(handles=handles, loc="outside upper left", ncols=1 if long else 2)
    return Chart(figure)


def _draw_history(axes: Axes, sample: Sample, scale: Scale) -> None:
    epochs = sample.history["epoch"].tolist()
    colour = COLOURS[sample.run.stage.number]
    for split, line in ((sample.training_split, (0, TRAINING_DASHES)), ("test", "solid")):
        field = f"{split}_{scale.title.lower()}"
        values = sample.history[field].tolist()
        smooth = running_mean(values)
        axes.plot(epochs, values, color=colour, linewidth=0.7, alpha=0.5, linestyle=line)
        axes.plot(epochs, smooth, color=colour, linestyle=line)
        _note_end_above(axes, epochs[-1], smooth[-1], colour, scale)
        _draw_band(axes, sample, field)


def _note_end_above(axes: Axes, epoch: int, value: float, colour: str, scale: Scale) -> None:
    """Say how high a curve ends that has left the chart; the axes stay those of all charts."""
    if value > scale.ticks[-1]:
        axes.annotate(
            f"↑ {scale.form.format(x=value)}",
            (epoch, scale.ticks[-1]),
            (-2, -3 - 11 * len(axes.texts)),  # below those of other curves
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
            color=colour,
        )


def _draw_band(axes: Axes, sample: Sample, field: str) -> None:
    """From the least to the greatest of the seeds, each smoothed as their mean is."""
    if sample.several:
        by_seed = sample.histories.groupby("seed")[field]
        curves = np.array([running_mean(values) for _, values in by_seed])
        axes.fill_between(
            range(1, curves.shape[1] + 1),
            curves.min(0),
            curves.max(0),
            color=COLOURS[sample.run.stage.number],
            alpha=BAND,
            linewidth=0,
        )


def _by_epoch(axes: Axes, scale: Scale, label: str) -> None:
    """The axes of every chart by epoch."""
    ticks = epoch_ticks()
    axes.set(xlim=(0, ticks[-1]), xlabel="epoch", ylim=(0, scale.ticks[-1]), ylabel=label)
    axes.set_xticks(ticks)
    axes.set_yticks(scale.ticks)
    axes.yaxis.set_major_formatter(scale.form)


def epoch_ticks() -> tuple[int, ...]:
    """From zero to the epochs of the longest stage, where the axes of all stages end."""
    last = max(reported_run(stage).planned for stage in STAGES.values())
    step = max(1, last // 6)
    return tuple(range(0, last + step, step))


def _legend(samples: list[Sample]) -> list[Artist]:
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            color=COLOURS[stage.number],
            label=f"{stage.number} {stage.title}{progress(one)}",
        )
        for one in samples
        for stage in [one.run.stage]
    ]
    return [
        *handles,
        Line2D([], [], color=GREY, linestyle=(0, TRAINING_DASHES), label="training"),
        Line2D([], [], color=GREY, label="test"),
        *_band_key(samples),
    ]


def _band_key(samples: Iterable[Sample]) -> list[Artist]:
    """The legend's entry for bands, where there are any."""
    if not any(one.several for one in samples):
        return []
    return [Patch(color=GREY, alpha=BAND, linewidth=0, label="range of seeds")]


def progress(sample: Sample) -> str:
    """What a legend adds to the title of a stage that is not one whole run."""
    if not sample.counted:
        return " (not trained)"
    parts = []
    if not sample.complete:
        parts.append(f"{sample.epochs_done} of {sample.run.planned} epochs")
    elif sample.run.planned < epoch_ticks()[-1]:
        parts.append(f"{sample.run.planned} epochs")
    if sample.training_split == "running":
        parts.append("training as it ran")
    if sample.several:
        parts.append(how_many([sample]))
    return f" ({', '.join(parts)})" if parts else ""


def all_test_curves() -> Chart:
    """Test accuracy by epoch of all stages in one chart, the raw values smoothed."""
    samples = [one for one in map(sample, STAGES) if one.counted]
    with style.context(STYLE):
        figure = new_figure(5.8, 3.6)
        axes = figure.subplots()
        ends: list[tuple[float, float, int]] = []
        for one in samples:
            number = one.run.stage.number
            values = running_mean(one.history["test_accuracy"])
            axes.plot(range(1, len(values) + 1), values, color=COLOURS[number])
            _draw_band(axes, one, "test_accuracy")
            ends.append((float(values[-1]), float(len(values)), number))
        _by_epoch(axes, ACCURACY, "test accuracy")
        if key := _band_key(samples):
            key[0].set_label(f"least to greatest of {how_many(samples)}")
            figure.legend(handles=key, loc="outside upper center")
        for height, (value, epoch, number) in zip(_spread([e[0] for e in ends]), ends, strict=True):
            axes.annotate(
                f"{number} {STAGES[number].title}",
                (epoch, value),
                (epoch_ticks()[-1] * 1.01 + 0.5, height),
                fontsize=8,
                va="center",
                annotation_clip=False,
                arrowprops={
                    "arrowstyle": "-",
                    "relpos": (0, 0.5),  # to the label's left end, not across its neighbours
                    "color": COLOURS[number],
                    "lw": 0.9,
                    "linestyle": (0, (1, 3)),
                },
            )
    return Chart(figure)


def _spread(heights: list[float], gap: float = 0.045) -> list[float]:
    """Heights for labels near ``heights`` but at least ``gap`` apart."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = list(heights)
    for below, above in pairwise(order):
        placed[above] = max(placed[above], placed[below] + gap)
    return placed


def label_points(axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """Names to the right of points, apart where points lie close; for axes that are set up."""
    axes.autoscale_view()
    to_share = axes.transData + axes.transAxes.inverted()  # of the axes' width and height
    places = {name: to_share.transform(point) for name, point in points.items()}
    columns: dict[float, list[str]] = {}
    for name, (x, _) in sorted(places.items(), key=lambda item: tuple(item[1])):
        near = next((other for other in columns if x - other < 0.03), x)
        columns.setdefault(near, []).append(name)
    beside = offset_copy(axes.transAxes, axes.figure, 6, 0, units="points")
    for names in columns.values():
        for name, height in zip(names, _spread([places[n][1] for n in names], 0.055), strict=True):
            axes.text(places[name][0], height, name, transform=beside, va="center", fontsize=8)


def confusion(number: int = 8) -> Chart | Markdown:
    """How often a test picture of each class (rows) is given each class (columns), in all seeds."""
    given, labels = sample(number).answers
    if not len(given):
        return _not_yet(number)
    counts = np.zeros((len(CLASSES), len(CLASSES)), dtype=int)
    np.add.at(counts, (labels, given.argmax(1)), 1)
    shares = counts / counts.sum(1, keepdims=True)
    with style.context(STYLE):
        figure = new_figure(5.2, 4.6)
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(False)
        axes.set_xticks(range(len(CLASSES)), CLASSES, rotation=45, ha="right")
        axes.set_yticks(range(len(CLASSES)), CLASSES)
        axes.set(xlabel="what the network says", ylabel="what it is")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for (row, column), share in np.ndenumerate(shares):
            axes.text(
                column,
                row,
                f"{100 * share:.0f}" if share > 0.005 else "·",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share > 0.55 else "#333333",
            )
    return Chart(figure)


def calibration(*numbers: int) -> Chart | Markdown:
    """Share of right guesses against the probability they were made with, by stage.

    On the diagonal a probability means what it says; below it the network is
    surer than it is right. The area of a point grows with its pictures.
    """
    with style.context(STYLE):
        figure = new_figure(5.2, 4.2)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, zorder=0)
        for number in numbers:
            bins = reliability(number)
            if not len(bins):
                continue
            share = bins.pictures / bins.pictures.sum()
            label = f"{number} {STAGES[number].title}"
            axes.plot(bins.confidence, bins.accuracy, color=COLOURS[number], label=label)
            axes.scatter(bins.confidence, bins.accuracy, 8 + 300 * share, color=COLOURS[number])
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        axes.set(xlabel="probability of the class named", ylabel="share of right guesses")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(ACCURACY.ticks)
            axis.set_major_formatter(ACCURACY.form)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left")
    return Chart(figure)


def trade_off() -> Charts:
    """Final test accuracy against parameters and against the time of training, by stage."""
    samples = [one for one in map(sample, STAGES) if one.counted]
    seconds = epoch_times(STAGES).seconds
    timed = [one for one in samples if one.run.stage.number in seconds]

    def hours(sample: Sample) -> float:
        return sample.epochs_done * seconds[sample.run.stage.number] / 3600

    return Charts(
        (
            _trade_off(samples, "parameters", _parameters, LogLocator()),
            _trade_off(timed, "hours of training", hours, LogLocator(subs=(1, 2, 5))),
        )
    )


def _parameters(sample: Sample) -> int:
    return sample.counted[0].record["parameters"]


def _trade_off(
    samples: list[Sample], label: str, cost: Callable[[Sample], float], ticks: LogLocator
) -> Chart:
    with style.context(STYLE):
        figure = new_figure(3.8, 3.2)
        axes = figure.subplots()
        points = {}
        for one in samples:
            number = one.run.stage.number
            x, y = cost(one), one.final("test_accuracy").mean()
            axes.plot(x, y, "o", color=COLOURS[number], markersize=8)
            points[str(number)] = (x, y)
            if one.several:
                ends = one.final("test_accuracy")
                axes.vlines(x, ends.min(), ends.max(), COLOURS[number], linewidth=3, alpha=0.5)
        axes.set(xscale="log", xlabel=label, ylim=(0, 1), ylabel="final test accuracy")
        axes.margins(x=0.15)
        label_points(axes, points)
        axes.xaxis.set_major_locator(ticks)
        axes.xaxis.set_major_formatter("{x:,.9g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(ACCURACY.form)
        if any(one.several for one in samples):
            key = f"mean, and least to greatest of {how_many(samples)}"
            axes.plot([], [], "o", color=GREY, label=key)
            axes.legend(loc="upper left")
    return Chart(figure)
