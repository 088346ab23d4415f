"""Charts of what happens inside the networks, from what was measured when they were drawn."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MultipleLocator

from cifar_study.cifar10 import CLASSES, SIDE
from cifar_study.report.numbers import count, listed, loss, percent, points, signed, text, times
from cifar_study.report.pictures import mechanism, not_yet
from cifar_study.report.replicates import replicates
from cifar_study.report.study import AbsentError
from cifar_study.report.style import COLOURS, GREY, WIDE, Chart, Charts, chart, new_axes, show_image
from cifar_study.stages import STAGES

STRUCK = "#D6336C"  # of a value that dropout set to zero; at home on white and on dark
MASKED = 255  # such a value in a kept feature map
WHEN = {"start": "before the first step", "end": "after training"}


# --- what a network says that tells no picture from another ---------------------------------


def same_for_all(number: int = 3) -> Charts:
    """How often each class is named, and each class's probability over all test pictures."""
    charts = _times_named(number), _probabilities(number)
    return Charts(charts) if isinstance(charts[0], Chart) else charts[0]


@chart
def _times_named(number: int) -> Figure:
    given = _given(number)
    figure, axes = _by_class("test pictures that get the class")
    axes.barh(range(len(CLASSES)), _counts(given), color=COLOURS[number])
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(0, len(given) * 1.02)
    return figure


@chart
def _probabilities(number: int) -> Figure:
    given, places = _given(number), range(len(CLASSES))
    figure, axes = _by_class("probability of the class")
    axes.hlines(places, given.min(0), given.max(0), COLOURS[number], linewidth=2)
    axes.plot(given.mean(0), places, "o", color=COLOURS[number], markersize=4)
    axes.axvline(1 / len(CLASSES), color=GREY, linewidth=0.8, zorder=0)
    axes.set_xlim(0, max(0.2, float(given.max()) * 1.05))
    axes.xaxis.set_major_locator(MultipleLocator(0.05))
    axes.xaxis.set_major_formatter("{x:.0%}")
    return figure


def _by_class(label: str) -> tuple[Figure, Axes]:
    figure, axes = new_axes(3.8, 3.0)
    axes.set_yticks(range(len(CLASSES)), CLASSES)
    axes.set(ylim=(len(CLASSES) - 0.4, -0.6), xlabel=label)
    axes.grid(False, axis="y")
    return figure, axes


def _given(number: int) -> np.ndarray:
    """The probabilities of the test pictures, of the first seed."""
    if result := replicates(number).statuses[0].result:
        return result.predictions()[0]
    raise AbsentError(not_yet(number))


def _counts(given: np.ndarray) -> np.ndarray:
    """How often each class is named."""
    return np.bincount(given.argmax(1), minlength=len(CLASSES))


@text
def most_named(number: int = 3) -> str:
    """The class that is named most, and for how many of the pictures: ship, for 9 of 10."""
    counts = _counts(_given(number))
    return (
        f"{CLASSES[counts.argmax()]}, for {count(counts.max())} of {count(counts.sum())} pictures"
    )


@text
def widest_range(number: int = 3) -> str:
    """How far a class's probability differs at most between two test pictures, in points."""
    widest = float(np.ptp(_given(number), axis=0).max())
    return f"{100 * widest:.2f} points" if widest < 0.001 else points(widest)


@text
def untrained_accuracy(number: int = 1) -> str:
    """The share of all test pictures that the network named rightly before its first step."""
    return percent(mechanism(number)["untrained"]["accuracy"])


@text
def untrained_loss(number: int = 1) -> str:
    """The loss on all test pictures before the first step."""
    return loss(mechanism(number)["untrained"]["loss"])


# --- how much of the error each layer hears -------------------------------------------------


@chart
def gradients(*numbers: int) -> Figure:
    """The size of the gradient by layer, before the first step (hollow) and after the last."""
    figure, axes = new_axes(WIDE, 3.2)
    looks = {"start": {"linestyle": "--", "mfc": "none"}, "end": {"linestyle": "-"}}
    for number in numbers:
        for when, sizes in mechanism(number)["gradients"].items():
            layers = [name.replace(".", "\n") for name in sizes]
            axes.plot(layers, sizes.values(), marker="o", color=COLOURS[number], **looks[when])
    axes.set(yscale="log", ylabel="root mean square gradient")
    handles = [Line2D([], [], color=COLOURS[n], label=f"{n} {STAGES[n].title}") for n in numbers]
    for when, look in looks.items():
        handles.append(Line2D([], [], color=GREY, marker="o", label=WHEN[when], **look))
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


@text
def gradient_span(number: int, when: str = "start") -> str:
    """How many times larger the gradient of the last layer is than that of the first."""
    first, *_, last = mechanism(number)["gradients"][when].values()
    return times(last / first)


# --- values before the activation -----------------------------------------------------------


@chart
def activations(*numbers: int) -> Figure:
    """What reaches each activation: median, and from the 5th to the 95th percentile, by layer."""
    figure = Figure(figsize=(WIDE, 3.6))
    panels = figure.subplots(1, len(numbers), sharey=True, squeeze=False)[0]
    for axes, number in zip(panels, numbers, strict=True):
        for when, colour, shift in (("start", GREY, -0.17), ("end", COLOURS[number], 0.17)):
            low, middle, high = np.array(list(mechanism(number)["values"][when].values())).T
            places = np.arange(1, len(middle) + 1)
            axes.vlines(places + shift, low, high, colour, linewidth=5)
            axes.plot(places + shift, middle, "_", color="white", markersize=5, mew=1.2)
        axes.set_xticks(places)
        axes.set(xlabel="convolution", title=f"{number} {STAGES[number].title}")
        axes.grid(False, axis="x")
        axes.set_yscale("symlog", linthresh=0.1)
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    panels[0].set_ylabel("value before the activation")
    panels[0].yaxis.set_major_formatter("{x:g}")
    handles = [Patch(color=GREY, label=WHEN["start"])]
    handles += [Patch(color=COLOURS[n], label=f"{n}: {WHEN['end']}") for n in numbers]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


@text
def activation_range(number: int, when: str, layer: str) -> str:
    """Between which values nine tenths of what reaches a layer's activation lie: −1.6 to 1.6."""
    low, _, high = mechanism(number)["values"][when][layer]
    largest = max(abs(low), abs(high))
    digits = 3 if largest < 0.1 else 2 if largest < 1 else 1
    return f"{signed(low, digits)} to {signed(high, digits)}"


# --- feature maps, and the same under dropout -----------------------------------------------


@chart
def feature_maps(number: int = 7) -> Figure:
    """A test picture, then some maps of each block: above as evaluated, below under dropout."""
    found = mechanism(number)
    blocks = found["blocks"]
    figure = Figure(figsize=(WIDE, 6.6))
    top, *outer = figure.subfigures(1 + len(blocks), 1, height_ratios=[0.7] + [1] * len(blocks))
    show_picture(top.subplots(), found["picture"])
    top.legend(handles=[Patch(color=STRUCK, label="set to zero\nby dropout")], loc="center right")
    grey = colormaps["Greys_r"].with_extremes(bad=STRUCK)
    for place, (part, block) in enumerate(zip(outer, blocks, strict=True), start=1):
        side, maps = block["side"], [*block["maps"], *block["thinned"]]
        part.suptitle(
            f"block {place}: {len(block['maps'])} of {block['of']} maps, {side}×{side}",
            fontsize=8,
            x=0.01,
            ha="left",
        )
        for axes, kept in zip(part.subplots(2, len(block["maps"])).flat, maps, strict=True):
            values = np.ma.masked_equal(_bytes(kept).reshape(side, side), MASKED)
            show_image(axes, values, cmap=grey, vmin=0, vmax=MASKED - 1)
    return figure


def show_picture(axes: Axes, kept: str) -> None:
    """Draw the training-sized picture that was kept as text, without axes."""
    show_image(axes, _bytes(kept).reshape(SIDE, SIDE, 3))


def _bytes(kept: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(kept), dtype=np.uint8)


@text
def share_dropped(number: int = 7) -> str:
    """The share of values that the mask of each block set to zero, block by block."""
    return listed(percent(block["dropped"]) for block in mechanism(number)["blocks"])
