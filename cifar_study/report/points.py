"""Points in charts: of stages, enlarged where they lie on each other, and of probabilities."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from cifar_study.report import style
from cifar_study.report.predictions import reliability
from cifar_study.report.replicates import Replicates
from cifar_study.stages import STAGES


def draw_points(
    axes: Axes, samples: list[Replicates], points: dict[str, tuple[float, float]]
) -> None:
    """A point for each stage in its colour, and a bar from the least to the greatest seed."""
    for one in samples:
        number = one.run.stage.number
        x, y = points[str(number)]
        axes.plot(x, y, "o", color=style.COLOURS[number], markersize=6)
        if one.several:
            ends = one.final("test_accuracy")
            axes.vlines(x, ends.min(), ends.max(), style.COLOURS[number], linewidth=3, alpha=0.5)


def enlarge_best(
    axes: Axes, samples: list[Replicates], points: dict[str, tuple[float, float]]
) -> None:
    """The points within five of a hundred of the best one again, where they lie on each other."""
    best = max((y for _, y in points.values()), default=0)
    near = {name: point for name, point in points.items() if point[1] > best - 0.05}
    if len(near) < 2:
        return
    to_share = axes.transData + axes.transAxes.inverted()
    low = [to_share.transform(point)[0] for point in points.values() if point[1] < 0.45]
    left = 0.2 if all(x > 0.5 for x in low) else 0.62  # beside a point near the axis
    part = axes.inset_axes((left, 0.07, 0.34, 0.27))
    draw_points(part, [one for one in samples if str(one.run.stage.number) in near], near)
    part.set(xscale="log")
    part.margins(0.35)
    style.label_points(part, near)
    for locator in (part.xaxis.set_major_locator, part.xaxis.set_minor_locator):
        locator(NullLocator())
    part.yaxis.set_major_locator(MaxNLocator(3))
    part.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    part.set_title("the best, enlarged", weight="normal", fontsize=8, pad=3)


@style.chart
def calibration(*numbers: int) -> Figure:
    """Share of right guesses against the probability they were made with, by stage."""
    figure, axes = style.new_axes(style.WIDE, 4.4)
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.8, zorder=0)
    for number in numbers:
        bins = reliability(number)
        if not len(bins):
            continue
        share = bins.pictures / bins.pictures.sum()
        label = f"{number} {STAGES[number].title}"
        axes.plot(bins.confidence, bins.accuracy, color=style.COLOURS[number], label=label)
        area = 8 + 300 * share
        axes.scatter(
            bins.confidence, bins.accuracy, area, color=style.COLOURS[number], clip_on=False
        )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set(xlabel="probability of the class named", ylabel="share of right guesses")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(style.ACCURACY.ticks)
        axis.set_major_formatter(style.ACCURACY.form)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper left", ncols=2)
    return figure
