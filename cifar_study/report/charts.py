"""Charts of histories and results.

A line's style means a split: test solid, training dashed. Every history has the
same two axes, so any two charts compare at a glance.
"""

from collections.abc import Iterable

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from cifar_study.cifar10 import CLASSES
from cifar_study.report import predictions, style
from cifar_study.report.comparison import epoch_times
from cifar_study.report.pictures import not_yet
from cifar_study.report.points import draw_points, enlarge_best
from cifar_study.report.replicates import Replicates, how_many, replicates
from cifar_study.report.study import AbsentError
from cifar_study.stages import STAGES


def histories(*stages: int) -> style.Charts:
    """Loss and accuracy by epoch, training and test: the mean of each stage's seeds, and a band."""
    samples = [replicates(number) for number in stages]
    return style.Charts(_history(samples, scale) for scale in (style.LOSS, style.ACCURACY))


@style.chart
def _history(samples: list[Replicates], scale: style.Scale) -> Figure:
    figure, axes = style.new_axes(3.8, 3.4)
    for one in samples:
        if one.counted:
            _draw_history(axes, one, scale)
    _by_epoch(axes, scale, scale.label)
    if all(4 * one.epochs_done < epoch_ticks()[-1] for one in samples):
        _inset(axes, samples, scale)
    handles = [
        *_stage_keys(samples, note=True),
        Line2D([], [], color=style.GREY, linestyle=(0, style.TRAINING_DASHES), label="training"),
        Line2D([], [], color=style.GREY, label="test"),
        *_band_key(samples),
    ]
    # The longest labels leave no room beside them.
    long = len(samples) > 2 or any(len(handle.get_label()) > 36 for handle in handles)
    columns = 1 if long else 2
    figure.set_figheight(2.8 + 0.19 * -(-len(handles) // columns))  # the plot keeps its height
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)
    return figure


def _draw_history(axes: Axes, sample: Replicates, scale: style.Scale) -> None:
    epochs = sample.history["epoch"].tolist()
    colour = style.COLOURS[sample.run.stage.number]
    for split, line in (("train", (0, style.TRAINING_DASHES)), ("test", "solid")):
        field = f"{split}_{scale.title.lower()}"
        values = sample.history[field].tolist()
        smooth = style.running_mean(values)
        axes.plot(epochs, values, color=colour, linewidth=0.7, alpha=0.5, linestyle=line)
        axes.plot(epochs, smooth, color=colour, linestyle=line)
        _draw_band(axes, sample, field)


def _inset(axes: Axes, samples: list[Replicates], scale: style.Scale) -> None:
    """The same curves on a range of their own, where they fill little of the common axes."""
    part = axes.inset_axes((0.4, 0.3, 0.58, 0.4))
    for one in filter(lambda one: one.counted, samples):
        _draw_history(part, one, scale)
    part.set_title("on its own range", weight="normal", fontsize=8, pad=3)
    part.yaxis.set_major_locator(MaxNLocator(3))
    part.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    if scale is style.ACCURACY:
        part.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))


def _draw_band(axes: Axes, sample: Replicates, field: str) -> None:
    """From the least to the greatest of the seeds, each smoothed as their mean is."""
    if sample.several:
        by_seed = sample.histories.groupby("seed")[field]
        curves = np.array([style.running_mean(values) for _, values in by_seed])
        axes.fill_between(
            range(1, curves.shape[1] + 1),
            curves.min(0),
            curves.max(0),
            color=style.COLOURS[sample.run.stage.number],
            alpha=style.BAND,
            linewidth=0,
        )


def _by_epoch(axes: Axes, scale: style.Scale, label: str) -> None:
    """The axes of every chart by epoch."""
    epochs, heights = epoch_ticks(), ticks(scale)
    axes.set(xlim=(0, epochs[-1]), xlabel="epoch", ylim=(0, heights[-1]), ylabel=label)
    axes.set_xticks(epochs)
    axes.set_yticks(heights)
    axes.yaxis.set_major_formatter(scale.form)


def begun() -> list[Replicates]:
    """The stages that have results."""
    return [one for one in map(replicates, STAGES) if one.counted]


def epoch_ticks() -> tuple[int, ...]:
    """From zero to the epochs of the longest stage that is begun, where all axes end."""
    last = max(one.run.planned for one in begun() or map(replicates, STAGES))
    step = max(1, last // 6)
    return tuple(range(0, last + step, step))


def ticks(scale: style.Scale) -> tuple[float, ...]:
    """The ticks of a scale in all charts, so that any two compare and no curve leaves them."""
    if scale.ticks:
        return scale.ticks
    histories = [result.history for one in begun() for result in one.counted]
    values = (history.filter(like=f"_{scale.title.lower()}") for history in histories)
    greatest = max((float(each.max(axis=None)) for each in values), default=1)
    return tuple(MaxNLocator(6, steps=(1, 2, 5, 10)).tick_values(0, greatest).tolist())


def _stage_keys(samples: list[Replicates], note: bool = False) -> list[Artist]:
    """A line in the colour of each stage with its title, and with what is to be noted of it."""
    return [
        Line2D(
            [], [], color=style.COLOURS[stage.number], label=f"{stage.number} {stage.title}{said}"
        )
        for one in samples
        for stage, said in [(one.run.stage, progress(one) if note else "")]
    ]


def _band_key(samples: Iterable[Replicates]) -> list[Artist]:
    """The legend's entry for bands, where there are any."""
    if not any(one.several for one in samples):
        return []
    return [Patch(color=style.GREY, alpha=style.BAND, linewidth=0, label="range of seeds")]


def progress(sample: Replicates) -> str:
    """What a legend adds to the title of a stage that is not one whole run."""
    if not sample.counted:
        return " (not trained)"
    parts = []
    if not sample.complete:
        parts.append(f"{sample.epochs_done} of {sample.run.planned} epochs")
    elif sample.run.planned < epoch_ticks()[-1]:
        parts.append(f"{sample.run.planned} epochs")
    if sample.several:
        parts.append(how_many([sample]))
    return f" ({', '.join(parts)})" if parts else ""


@style.chart
def all_test_curves() -> Figure:
    """Test accuracy by epoch of all stages in one chart, the raw values smoothed."""
    samples = begun()
    figure, axes = style.new_axes(style.WIDE, 4.2)
    ends: list[tuple[float, float, int]] = []
    for one in samples:
        number = one.run.stage.number
        values = style.running_mean(one.history["test_accuracy"])
        axes.plot(range(1, len(values) + 1), values, color=style.COLOURS[number])
        _draw_band(axes, one, "test_accuracy")
        ends.append((float(values[-1]), float(len(values)), number))
    _by_epoch(axes, style.ACCURACY, "test accuracy")
    handles = [*_stage_keys(samples), *_band_key(samples)]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    for height, (value, epoch, number) in zip(
        style.spread([e[0] for e in ends]), ends, strict=True
    ):
        axes.annotate(
            str(number),
            (epoch, value),
            (epoch_ticks()[-1] * 1.02, height),
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),  # to the number's left side
                "color": style.COLOURS[number],
                "lw": 0.9,
                "linestyle": (0, (1, 3)),
            },
        )
    return figure


@style.chart
def confusion(number: int = 8) -> Figure:
    """How often a test picture of each class (rows) is given each class (columns), in all seeds."""
    shares = predictions.confusion(number).to_numpy()
    if not len(shares):
        raise AbsentError(not_yet(number))
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
            column,
            row,
            f"{100 * share:.0f}" if share > 0.005 else "·",
            ha="center",
            va="center",
            fontsize=8,
            color=style.ON_DARK if share > 0.55 else style.ON_LIGHT,
        )
    return figure


def trade_off() -> style.Charts:
    """Final test accuracy against parameters and against the time of training, by stage."""
    samples = begun()
    parameters = {one.run.stage.number: one.counted[0].record["parameters"] for one in samples}
    seconds = epoch_times(STAGES).seconds
    hours = {
        one.run.stage.number: one.epochs_done * seconds[one.run.stage.number] / 3600
        for one in samples
        if one.run.stage.number in seconds
    }
    return style.Charts(
        (
            _trade_off(parameters, "parameters", LogLocator()),
            _trade_off(hours, "hours of training", LogLocator(subs=(1, 2, 5))),
        )
    )


@style.chart
def _trade_off(costs: dict[int, float], label: str, ticks: LogLocator) -> Figure:
    figure, axes = style.new_axes(3.8, 3.6)
    samples = [replicates(number) for number in costs]
    ends = [float(one.final("test_accuracy").mean()) for one in samples]
    points = dict(zip(map(str, costs), zip(costs.values(), ends, strict=True), strict=True))
    draw_points(axes, samples, points)
    axes.set(xscale="log", xlabel=label, ylim=(0, 1), ylabel="final test accuracy")
    axes.margins(x=0.15)
    style.label_points(axes, points)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter("{x:,.9g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(style.ACCURACY.form)
    enlarge_best(axes, samples, points)
    if any(one.several for one in samples):
        key = "mean; bar: range of seeds"
        axes.plot([], [], "o", color=style.GREY, label=key)
        figure.legend(loc="outside upper left")
    return figure
