"""One convolution of a trained network, worked by hand at one place of a test picture."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cifar_study.report.mechanisms import show_picture
from cifar_study.report.numbers import listed, signed, text
from cifar_study.report.pictures import mechanism
from cifar_study.report.style import COLOURS, GREY, ON_DARK, WIDE, chart, new_axes

CHANNELS = ("red", "green", "blue")


@chart
def worked_convolution(number: int = 1) -> Figure:
    """The first filter at one place of a test picture, every factor and sum written out.

    Factors are rounded to two decimals first, so that the sums can be checked exactly.
    """
    found = mechanism(number)
    patch, weights, bias, sums = by_hand(found)
    figure, axes = new_axes(WIDE, 4.6)
    for row, name in enumerate(CHANNELS):
        top = 5.2 * row
        axes.text(0, top - 0.35, f"{name} channel")
        _cells(axes, (0, top), patch[row], window=True)
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
    show_picture(where, found["picture"])
    row, column = found["place"]
    corner = (column - 0.5, row - 0.5)
    where.add_patch(Rectangle(corner, 4, 4, fill=False, edgecolor=ON_DARK, linewidth=1.2))
    return figure


def by_hand(found: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Patch (3, 4, 4), weights (3, 3, 3) and bias with two decimals, and each channel's sum.

    The sums are those of the upper left window of the patch.
    """
    patch, weights = (np.round(found[name], 2) for name in ("patch", "weights"))
    return patch, weights, round(found["bias"], 2), (patch[:, :3, :3] * weights).sum((1, 2))


@text
def output_by_hand(number: int = 1) -> str:
    """What the worked convolution gives, from factors of two decimals."""
    *_, bias, sums = by_hand(mechanism(number))
    return signed(sums.sum() + bias, 4)


@text
def output_of_network(number: int = 1) -> str:
    """What the network's own convolution gives at the same place, without rounding."""
    return signed(mechanism(number)["outputs"][0][0], 4)


@text
def other_outputs(number: int = 1) -> str:
    """The network's outputs at the other three windows of the patch."""
    return listed(signed(value, 2) for value in np.ravel(mechanism(number)["outputs"])[1:])


def _cells(
    axes: Axes,
    corner: tuple[float, float],
    values: np.ndarray,
    window: bool = False,
    wide: float = 1,
) -> None:
    """A table of numbers; a patch has the window that the filter covers outlined and filled."""
    left, top = corner
    for (row, column), value in np.ndenumerate(values):
        place = (left + wide * column, top + row)
        inside = window and row < 3 and column < 3
        look = {"facecolor": COLOURS[1], "alpha": 0.16} if inside else {"facecolor": "none"}
        axes.add_patch(Rectangle(place, wide, 1, edgecolor=GREY, linewidth=0.4, **look))
        middle = (place[0] + wide / 2, place[1] + 0.5)
        axes.text(*middle, signed(value, 2), ha="center", va="center", fontsize=8)
    if window:
        axes.add_patch(Rectangle(corner, 3, 3, fill=False, edgecolor=COLOURS[1], linewidth=1.8))
