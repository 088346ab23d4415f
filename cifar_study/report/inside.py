"""Charts of what happens inside the networks, from what was measured once they were trained."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from cifar_study.report.charts import KINDS
from cifar_study.report.facts import measured
from cifar_study.report.numbers import Number, Times, dashed
from cifar_study.report.pictures import pixels
from cifar_study.report.style import GREY, ON_DARK, WIDE, chart, new_axes, show_image
from cifar_study.stages import SIDE, get_stage

STRUCK = "#D6336C"  # of a value that dropout set to zero; at home on white and on dark
MASKED = 255  # such a value in a kept feature map
WHEN = {"start": "before the first step", "end": "after training"}


def signed(value: float, digits: int) -> str:
    """A value within a network, which may be negative: −0.79."""
    return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


@dashed
def untrained(number: int, measure: str) -> Number:
    """The "accuracy" or the "loss" on all test pictures before the first step."""
    return KINDS[measure](measured("pictures", number)["untrained"][measure])


@chart
def gradients(*numbers: int) -> Figure:
    """The size of the gradient by layer, before the first step (hollow) and after the last."""
    figure, axes = new_axes(WIDE, 3.2)
    looks = {"start": {"linestyle": "--", "mfc": "none"}, "end": {"linestyle": "-"}}
    stages = [get_stage(number) for number in numbers]
    for stage in stages:
        for when, sizes in measured("gradients", stage.number).items():
            layers = [name.replace(".", "\n") for name in sizes]
            axes.plot(layers, sizes.values(), marker="o", color=stage.colour, **looks[when])
    axes.set(yscale="log", ylabel="root mean square gradient")
    handles = [Line2D([], [], color=s.colour, label=f"{s.number} {s.title}") for s in stages]
    for when, look in looks.items():
        handles.append(Line2D([], [], color=GREY, marker="o", label=WHEN[when], **look))
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


@dashed
def gradient_span(number: int) -> Times:
    """How many times larger the last layer's gradient is than the first's, before training."""
    first, *_, last = measured("gradients", number)["start"].values()
    return Times(last / first)


@chart
def activations(*numbers: int) -> Figure:
    """What reaches each activation: median, and from the 5th to the 95th percentile, by layer."""
    figure = Figure(figsize=(WIDE, 3.6))
    panels = figure.subplots(1, len(numbers), sharey=True, squeeze=False)[0]
    stages = [get_stage(number) for number in numbers]
    for axes, stage in zip(panels, stages, strict=True):
        for when, colour, shift in (("start", GREY, -0.17), ("end", stage.colour, 0.17)):
            low, middle, high = np.array([*measured("values", stage.number)[when].values()]).T
            places = np.arange(1, len(middle) + 1)
            axes.vlines(places + shift, low, high, colour, linewidth=5)
            axes.plot(places + shift, middle, "_", color="white", markersize=5, mew=1.2)
        axes.set(xlabel="convolution", xticks=places, title=f"{stage.number} {stage.title}")
        axes.grid(False, axis="x")
        axes.set_yscale("symlog", linthresh=0.1)
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    panels[0].set_ylabel("value before the activation")
    panels[0].yaxis.set_major_formatter("{x:g}")
    handles = [Patch(color=GREY, label=WHEN["start"])]
    handles += [Patch(color=s.colour, label=f"{s.number}: {WHEN['end']}") for s in stages]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


@dashed
def activation_range(number: int, when: str, layer: str) -> str:
    """Between which values nine tenths of what reaches a layer's activation lie: −1.6 to 1.6."""
    low, _, high = measured("values", number)[when][layer]
    return f"{low:.2g} to {high:.2g}".replace("-", "\N{MINUS SIGN}")


@chart(photographs=True)
def feature_maps(number: int) -> Figure:
    """A test picture, then some maps of each block: above as evaluated, below under dropout."""
    kept = measured("maps", number)
    blocks = kept["blocks"]
    figure = Figure(figsize=(WIDE, 1.05 + 1.4 * len(blocks)))
    top, *outer = figure.subfigures(1 + len(blocks), 1, height_ratios=[0.7] + [1] * len(blocks))
    show_image(top.subplots(), pixels(kept["picture"], SIDE, SIDE, 3))
    top.legend(handles=[Patch(color=STRUCK, label="set to zero\nby dropout")], loc="center right")
    grey = colormaps["Greys_r"].with_extremes(bad=STRUCK)
    for place, (part, block) in enumerate(zip(outer, blocks, strict=True), start=1):
        side, shown = block["side"], len(block["maps"])
        part.suptitle(
            f"block {place}: {shown} of {block['of']} maps, {side}×{side}",
            fontsize=8,
            x=0.01,
            ha="left",
        )
        panels, maps = part.subplots(2, shown, squeeze=False).flat, block["maps"] + block["thinned"]
        for axes, values in zip(panels, maps, strict=True):
            masked = np.ma.masked_equal(pixels(values, side, side), MASKED)
            show_image(axes, masked, cmap=grey, vmin=0, vmax=MASKED - 1)
    return figure


@chart(photographs=True)
def worked_convolution(number: int) -> Figure:
    """The first filter at one place of a test picture, every factor and sum written out."""
    kept, colour = measured("convolution", number), get_stage(number).colour
    patch, weights, bias, sums = _by_hand(kept)
    figure, axes = new_axes(WIDE, 4.6)
    for row, name in enumerate(("red", "green", "blue")):
        top = 5.2 * row
        axes.text(0, top - 0.35, f"{name} channel")
        _cells(axes, (0, top), patch[row])
        axes.add_patch(Rectangle((0, top), 3, 3, facecolor=colour, alpha=0.16))
        axes.add_patch(Rectangle((0, top), 3, 3, fill=False, edgecolor=colour, linewidth=1.8))
        axes.text(4.3, top + 1.5, "·", ha="center", va="center", fontsize=12)
        _cells(axes, (4.6, top), weights[row], wide=1.25)  # there are minus signs
        axes.text(8.55, top + 1.5, f"→  {signed(sums[row], 4)}", va="center")
    axes.text(4.6, -0.35, "weights of the filter")
    axes.text(9, -0.35, "sum")
    terms = " + ".join(signed(value, 4) for value in sums)
    axes.text(0, 15.9, f"{terms} + bias {signed(bias, 2)}", va="center")
    axes.text(0, 16.9, f"= {signed(sums.sum() + bias, 4)}", va="center", weight="bold")
    axes.set(xlim=(-0.1, 11.4), ylim=(17.4, -1.2))
    axes.axis("off")
    where = axes.inset_axes((0.765, 0.005, 0.235, 0.205))
    show_image(where, pixels(kept["picture"], SIDE, SIDE, 3))
    row, column = kept["place"]
    where.add_patch(Rectangle((column - 0.5, row - 0.5), 4, 4, fill=False, ec=ON_DARK, lw=1.2))
    return figure


def _by_hand(kept: dict) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Patch, weights, bias and each channel's sum, from factors of two decimals."""
    patch, weights, bias = (np.round(kept[name], 2) for name in ("patch", "weights", "bias"))
    return patch, weights, bias, (patch[:, :3, :3] * weights).sum((1, 2))


@dashed
def output(number: int, how: str) -> str:
    """What the worked convolution gives, "by hand" from rounded factors or "exactly"."""
    kept = measured("convolution", number)
    *_, bias, sums = _by_hand(kept)
    return signed({"by hand": sums.sum() + bias, "exactly": kept["outputs"][0][0]}[how], 4)


def _cells(axes: Axes, corner: tuple[float, float], values: np.ndarray, wide: float = 1) -> None:
    for (row, column), value in np.ndenumerate(values):
        x, y = corner[0] + wide * column, corner[1] + row
        axes.add_patch(Rectangle((x, y), wide, 1, fill=False, edgecolor=GREY, linewidth=0.4))
        axes.text(x + wide / 2, y + 0.5, signed(value, 2), ha="center", va="center", fontsize=8)
