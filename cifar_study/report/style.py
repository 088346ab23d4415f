"""How charts look: colours, axes, and figures that a page shows as SVG.

Colours of stages and of classes are assigned here, and nowhere else.
"""

import functools
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from cifar_study.report.study import noted

# After Paul Tol's schemes, told apart by the colour-blind and on paper; the pale ones are darker
# here, so that each has a contrast of three to one with white.
COLOURS = {
    1: "#332288",
    2: "#2B97C2",
    3: "#7A7A1E",
    4: "#117733",
    5: "#C7830A",
    6: "#CC6677",
    7: "#2E9484",
    8: "#882255",
    9: "#4477AA",
    10: "#D6452B",
    11: "#808080",
}
RIGHT, WRONG, OTHER = "#117733", "#882255", "#868D96"  # classes, among bars and under photos
GREY = "#555555"
ON_DARK, ON_LIGHT = "#fefefe", "#303030"  # over pictures and shades: the same in both themes
GROUND = "#1d2126"  # of charts in the dark theme
# What the greys of report.mplstyle become there; colours only get lighter where they must.
DARK = {
    "#ffffff": GROUND,
    "#222222": "#e3e7eb",
    "#333333": "#d5dade",
    "#555555": "#a9b2bb",
    "#888888": "#8a949e",
    "#bbbbbb": "#6b747d",
    "#e4e4e4": "#3b434c",
}
# Stages whose colours would come too near to others when they are merely made lighter.
DARK |= {
    COLOURS[1].lower(): "#9a8cf0",
    COLOURS[4].lower(): "#3aa765",
    COLOURS[6].lower(): "#f0a3a8",
    COLOURS[8].lower(): "#d45cc0",
}
BAND = 0.25  # how opaque a band from the least to the greatest seed is
TRAINING_DASHES = (4, 2)  # dash and gap in line widths; test lines are solid
SMOOTHING = 10
# Inches, the widest chart: a phone shows any in about three and a half, the smallest text,
# of eight points, then with nine pixels.
WIDE = 4.3
STYLE = Path(__file__).with_name("report.mplstyle")


@dataclass(frozen=True)
class Scale:
    """A vertical axis from zero; ``form`` writes the value ``x`` of a tick.

    It ends at its last tick; without ticks where the greatest of all values does.
    """

    title: str
    label: str
    ticks: tuple[float, ...]
    form: str


LOSS = Scale("Loss", "cross-entropy, nats", (), "{x:g}")
ACCURACY = Scale("Accuracy", "share of pictures", (0, 0.2, 0.4, 0.6, 0.8, 1), "{x:.0%}")


class Chart:
    """A figure that a notebook shows as SVG, the same bytes each time."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def _repr_svg_(self) -> str:
        buffer = io.StringIO()
        with style.context(STYLE):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return with_dark_theme(buffer.getvalue())


def chart(draw: Callable[..., Figure]) -> Callable[..., Chart | Markdown]:
    """A function that draws, made to do so in this style, or to leave a note if it cannot yet."""

    @noted
    @functools.wraps(draw)
    @style.context(STYLE)
    def drawn(*about: Any, **options: Any) -> Chart:
        return Chart(draw(*about, **options))

    return drawn


class Charts(tuple[Chart | Markdown, ...]):
    """Charts that a notebook shows one after the other; the page decides on rows and columns."""

    def _ipython_display_(self) -> None:
        for chart in self:
            display(chart)


def with_dark_theme(svg: str) -> str:
    """The same chart with colours for a dark page, which the browser chooses by ``color-scheme``.

    A chart is an image of its own that no style of the page reaches; of the page's
    ``color-scheme`` it is told.
    """
    rules = []
    for colour in sorted(set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg))):
        if (dark := on_ground(colour)) != colour:
            rules += [
                f'[style*="{what}: {colour}"] {{ {what}: {dark} !important }}'
                for what in ("fill", "stroke")
            ]
    style = "@media (prefers-color-scheme: dark) {\n" + "\n".join(rules) + "\n}\n"
    return svg.replace("</style>", f"{style}</style>", 1)


def on_ground(colour: str) -> str:
    """What a colour becomes in the dark theme: mixed with white to a contrast of three to one."""
    colour = colour.lower()
    if colour in (ON_DARK, ON_LIGHT):
        return colour
    if colour in DARK:
        return DARK[colour]
    red_green_blue = np.array(to_rgb(colour))
    for white in np.arange(0, 1, 0.05):
        mixed = to_hex(red_green_blue * (1 - white) + white)
        if contrast(mixed, GROUND) >= 3:
            return mixed
    return "#ffffff"


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, from 1 to 21 (WCAG 2.2)."""
    light = []
    for colour in (one, other):
        values = np.array(to_rgb(colour))
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        light.append(float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05)
    return max(light) / min(light)


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of that many inches with one plot, for a function that is a :func:`chart`."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def show_image(axes: Axes, values: np.ndarray, **colours: object) -> None:
    """Draw a picture without axes."""
    axes.imshow(values, **colours)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


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
