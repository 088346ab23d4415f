"""Charts of what happens inside the networks, from what was measured when they were drawn."""

from __future__ import annotations

import numpy as np
from IPython.display import Markdown
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MultipleLocator

from cifar_study.cifar10 import CLASSES, SIDE
from cifar_study.report.numbers import ABSENT, count, loss, percent, points, signed, times
from cifar_study.report.pictures import mechanism, not_yet
from cifar_study.report.replicates import replicates
from cifar_study.report.style import (
    COLOURS,
    GREY,
    STYLE,
    WIDE,
    Chart,
    Charts,
    new_figure,
)
from cifar_study.stages import STAGES

STRUCK = "#D6336C"  # of such a value; at home on white and on dark
MASKED = 255  # in a kept feature map, a value that dropout set to zero
WHEN = {"start": "before the first step", "end": "after training"}


# --- what a network says that tells no picture from another ---------------------------------


def same_for_all(number: int = 3) -> Charts | Markdown:
    """How often each class is named, and each class's probability over all test pictures."""
    given = _given(number)
    if not len(given):
        return not_yet(number)
    named = np.bincount(given.argmax(1), minlength=len(CLASSES))
    charts = []
    for label in ("test pictures that get the class", "probability of the class"):
        with style.context(STYLE):
            figure = new_figure(3.8, 3.0)
            axes = figure.subplots()
            places = range(len(CLASSES))
            if label.startswith("test"):
                axes.barh(places, named, color=COLOURS[number])
                axes.xaxis.set_major_formatter("{x:,.0f}")
                axes.set_xlim(0, len(given) * 1.02)
            else:
                axes.hlines(places, given.min(0), given.max(0), COLOURS[number], linewidth=2)
                axes.plot(given.mean(0), places, "o", color=COLOURS[number], markersize=4)
                axes.axvline(1 / len(CLASSES), color=GREY, linewidth=0.8, zorder=0)
                axes.set_xlim(0, max(0.2, float(given.max()) * 1.05))
                axes.xaxis.set_major_locator(MultipleLocator(0.05))
                axes.xaxis.set_major_formatter("{x:.0%}")
            axes.set_yticks(places, CLASSES)
            axes.set(ylim=(len(CLASSES) - 0.4, -0.6), xlabel=label)
            axes.grid(False, axis="y")
        charts.append(Chart(figure))
    return Charts(charts)


def _given(number: int) -> np.ndarray:
    """The probabilities of the test pictures, of the first seed that counts."""
    counted = replicates(number).counted
    return counted[0].predictions()[0] if counted else np.empty((0, len(CLASSES)))


def most_named(number: int = 3) -> str:
    """The class that is named most, and for how many of the pictures: ship, for 9 of 10."""
    given = _given(number)
    if not len(given):
        return ABSENT
    counts = np.bincount(given.argmax(1), minlength=len(CLASSES))
    best = int(counts.argmax())
    return f"{CLASSES[best]}, for {count(counts[best])} of {count(len(given))} pictures"


def widest_range(number: int = 3) -> str:
    """How far a class's probability differs at most between two test pictures, in points."""
    given = _given(number)
    if not len(given):
        return ABSENT
    widest = float(np.ptp(given, axis=0).max())
    return f"{100 * widest:.2f} points" if widest < 0.001 else points(widest)


def untrained_accuracy(number: int = 1) -> str:
    """The share of all test pictures that the network named rightly before its first step."""
    found = mechanism(number).get("untrained")
    return percent(found["accuracy"]) if found else ABSENT


def untrained_loss(number: int = 1) -> str:
    """The loss on all test pictures before the first step."""
    found = mechanism(number).get("untrained")
    return loss(found["loss"]) if found else ABSENT


# --- how much of the error each layer hears -------------------------------------------------


def gradients(*numbers: int) -> Chart | Markdown:
    """The size of the gradient by layer, before the first step (hollow) and after the last."""
    with style.context(STYLE):
        figure = new_figure(WIDE, 3.2)
        axes = figure.subplots()
        layers: list[str] = []
        for number in numbers:
            sizes = mechanism(number).get("gradients")
            if not sizes:
                continue
            layers = [name.replace(".", "\n") for name in sizes["start"]]
            for when, form, fill in (("start", "o--", "none"), ("end", "o-", None)):
                axes.plot(layers, sizes[when].values(), form, color=COLOURS[number], mfc=fill)
        if not layers:
            return not_yet(numbers[0])
        axes.set(yscale="log", ylabel="root mean square gradient")
        handles = [
            Line2D([], [], color=COLOURS[number], label=f"{number} {STAGES[number].title}")
            for number in numbers
        ]
        for when, line, fill in (("start", "--", "none"), ("end", "-", None)):
            look = {"color": GREY, "linestyle": line, "marker": "o", "mfc": fill}
            handles.append(Line2D([], [], label=WHEN[when], **look))
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return Chart(figure)


def gradient_step(number: int, when: str = "start") -> str:
    """How many times larger the gradient is from one layer to the next, as a geometric mean."""
    sizes = mechanism(number).get("gradients")
    if not sizes:
        return ABSENT
    values = list(sizes[when].values())
    return times((values[-1] / values[0]) ** (1 / (len(values) - 1)))


def gradient_span(number: int, when: str = "start") -> str:
    """How many times larger the gradient of the last layer is than that of the first."""
    sizes = mechanism(number).get("gradients")
    if not sizes:
        return ABSENT
    values = list(sizes[when].values())
    return times(values[-1] / values[0])


# --- values before the activation -----------------------------------------------------------


def activations(*numbers: int) -> Chart | Markdown:
    """What reaches each activation: median, and from the 5th to the 95th percentile, by layer."""
    found = {number: mechanism(number) for number in numbers}
    if not all(found.values()):
        return not_yet(next(number for number in numbers if not found[number]))
    with style.context(STYLE):
        figure = new_figure(WIDE, 3.6)
        panels = figure.subplots(1, len(numbers), sharey=True, squeeze=False)[0]
        for axes, number in zip(panels, numbers, strict=True):
            for when, colour in (("start", GREY), ("end", COLOURS[number])):
                low, middle, high = np.array(list(found[number]["values"][when].values())).T
                places = np.arange(1, len(middle) + 1) + (0.17 if when == "end" else -0.17)
                axes.vlines(places, low, high, colour, linewidth=5)
                axes.plot(places, middle, "_", color="white", markersize=5, mew=1.2)
            axes.set_xticks(range(1, len(middle) + 1))
            axes.set(xlabel="convolution", title=f"{number} {STAGES[number].title}")
            axes.grid(False, axis="x")
            axes.set_yscale("symlog", linthresh=0.1)
            axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        panels[0].set_ylabel("value before the activation")
        panels[0].yaxis.set_major_formatter("{x:g}")
        handles = [Patch(color=GREY, label=WHEN["start"])]
        handles += [Patch(color=COLOURS[n], label=f"{n}: {WHEN['end']}") for n in numbers]
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return Chart(figure)


def activation_range(number: int, when: str, layer: str) -> str:
    """Between which values nine tenths of what reaches a layer's activation lie: −1.6 to 1.6."""
    values = mechanism(number).get("values", {}).get(when)
    if not values:
        return ABSENT
    low, _, high = values[layer]
    digits = 2 if max(abs(low), abs(high)) < 1 else 1
    return f"{signed(low, digits)} to {signed(high, digits)}"


# --- feature maps, and the same under dropout -----------------------------------------------


def feature_maps(number: int = 7) -> Chart | Markdown:
    """A test picture, then some maps of each block: above as evaluated, below under dropout."""
    found = mechanism(number)
    if not found:
        return not_yet(number)
    blocks = found["blocks"]
    with style.context(STYLE):
        figure = new_figure(WIDE, 6.6)
        top, *outer = figure.subfigures(1 + len(blocks), 1, height_ratios=[0.7] + [1] * len(blocks))
        show_picture(top.subplots(), found["picture"])
        top.legend(
            handles=[Patch(color=STRUCK, label="set to zero\nby dropout")], loc="center right"
        )
        for place, (part, block) in enumerate(zip(outer, blocks, strict=True), start=1):
            side = block["side"]
            part.suptitle(
                f"block {place}: {len(block['maps'])} of {block['of']} maps, {side}×{side}",
                fontsize=8,
                x=0.01,
                ha="left",
            )
            grid = part.subplots(2, len(block["maps"]))
            for row, maps in zip(grid, (block["maps"], block["thinned"]), strict=True):
                for axes, text in zip(row, maps, strict=True):
                    _map(axes, _bytes(text).reshape(side, side))
    return Chart(figure)


def show_picture(axes: Axes, text: str) -> None:
    """Draw the training-sized picture that was kept as text, without axes."""
    axes.imshow(_bytes(text).reshape(SIDE, SIDE, 3))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _map(axes: Axes, values: np.ndarray) -> None:
    shown = np.ma.masked_equal(values, MASKED)
    colours = colormaps["Greys_r"].with_extremes(bad=STRUCK)
    axes.imshow(shown, cmap=colours, vmin=0, vmax=MASKED - 1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def share_dropped(number: int = 7) -> str:
    """The share of values that the mask of each block set to zero, block by block."""
    found = mechanism(number)
    if not found:
        return ABSENT
    *most, last = (percent(block["dropped"]) for block in found["blocks"])
    return f"{', '.join(most)} and {last}"


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
