"""How charts look: colours, axes, and figures that a page shows as SVG.

Colours of stages and of classes are assigned here, and nowhere else.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

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


def spread(heights: list[float], gap: float = 0.045) -> list[float]:
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
        for name, height in zip(names, spread([places[n][1] for n in names], 0.055), strict=True):
            axes.text(places[name][0], height, name, transform=beside, va="center", fontsize=8)
