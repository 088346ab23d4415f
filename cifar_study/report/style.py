"""How charts look, and how a page shows them: colours, sizes, file formats, notes in their place.

Charts follow the dark theme by a CSS filter that the page sets on SVG; figures with photographs,
which must keep their colours, reach pages as PNG.
"""

import functools
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import Markdown, display
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_study.errors import StudyError, reason
from cifar_study.report.numbers import escaped

# Of classes, among bars and below photographs; a stage's colour is in its entry in stages.py.
RIGHT, WRONG, OTHER = "#117733", "#B0309E", "#868D96"
GREY = "#555555"
ON_DARK, ON_LIGHT = "#fefefe", "#303030"  # words over pictures and shades
# Inches, the widest chart: a phone shows any in about three and a half, the smallest text,
# of eight points, then with nine pixels.
WIDE = 4.3
HALO = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85}
LINE = 9.7  # points: the height of a line of words at a curve's end
TAKE_SVG = ("html", "epub", "typst", "revealjs", "gfm")  # as Quarto calls formats


def look() -> AbstractContextManager[None]:
    """The look of charts while one is drawn or saved, whatever the user's matplotlibrc says."""
    return style.context(["default", Path(__file__).with_name("report.mplstyle")])


class Chart:
    """A figure that pages show as SVG, or as PNG where they must; the same bytes each time."""

    def __init__(self, figure: Figure, photographs: bool = False) -> None:
        self.figure, self.photographs = figure, photographs

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        form = target_format()
        takes_svg = not form or form.startswith(TAKE_SVG)
        if takes_svg and (form == "typst" or not self.photographs):  # paper has no dark theme
            return {"image/svg+xml": self.svg()}, {}
        width, height = (round(96 * inches) for inches in self.figure.get_size_inches())
        return {"image/png": self.png()}, {"image/png": {"width": width, "height": height}}

    def svg(self) -> str:
        """The figure as the text of an SVG file."""
        return self._saved("svg", Date=None, Creator=None).decode()

    def png(self) -> bytes:
        """The figure as the content of a PNG file."""
        return self._saved("png", Software=None)

    def _saved(self, kind: str, **metadata: None) -> bytes:
        buffer = io.BytesIO()
        # Saving sets no layout going where a figure has none.
        with look(), rc_context({"figure.constrained_layout.use": False}):
            self.figure.savefig(buffer, format=kind, metadata=metadata)
        return buffer.getvalue()


class Charts(tuple[Chart | Markdown, ...]):
    """Charts that a notebook shows one after the other; the page decides on rows and columns."""

    def _ipython_display_(self) -> None:
        for each in self:
            display(each)


def target_format() -> str:
    """The format that Quarto renders, such as ``html`` or ``docx``; empty elsewhere."""
    try:
        about = json.loads(Path(os.environ["QUARTO_EXECUTE_INFO"]).read_text(encoding="utf-8"))
        return str(about["format"]["identifier"]["target-format"])
    except (KeyError, TypeError, OSError, ValueError):
        return ""


def noted(show: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of chapters, which says in one line of Markdown what it can't read."""

    @functools.wraps(show)
    def shown(*given: Any, **named: Any) -> Any:
        try:
            return show(*given, **named)
        except StudyError as error:
            return note(str(error))
        except OSError as error:  # of a file that came with the project
            return note(f"{error.filename}: {reason(error)}; restore it from git")

    return shown


def note(text: str) -> Markdown:
    """Plain text as one line of Markdown, in italics."""
    return Markdown(f"*{escaped(text)}*")


def chart(draw: Callable[..., Figure] | None = None, *, photographs: bool = False) -> Any:
    """A function that draws a figure, made to return a :class:`Chart`, or a note if it can't.

    Written ``@chart``, or ``@chart(photographs=True)`` where a figure's colours must stay.
    """
    if draw is None:
        return functools.partial(chart, photographs=photographs)

    @noted
    @functools.wraps(draw)
    def drawn(*about: Any, **options: Any) -> Chart:
        with look():
            return Chart(draw(*about, **options), photographs)

    return drawn


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of that many inches with one plot, for a function that is a :func:`chart`."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def show_image(axes: Axes, values: np.ndarray, **colours: object) -> None:
    """Draw a picture without axes."""
    axes.imshow(values, **colours)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


@dataclass(frozen=True)
class Label:
    """Words for the end of a curve, at ``x`` and ``y`` of the data."""

    text: str
    x: float
    y: float
    colour: str
    weight: str = "normal"


def label_ends(axes: Axes, labels: Iterable[Label]) -> None:
    """Write labels to the right of curves' ends, moved apart where they would touch."""
    top, points = axes.get_ylim()[1], axes.get_window_extent().height * 72 / axes.figure.dpi
    columns: dict[float, list[Label]] = {}
    for label in labels:
        columns.setdefault(label.x, []).append(label)
    for x, column in columns.items():
        sizes = [LINE * (1 + label.text.count("\n")) / points for label in column]
        heights = apart([label.y / top for label in column], sizes)
        for label, height in zip(column, heights, strict=True):
            axes.annotate(
                label.text, (x, label.y), (9, (height - label.y / top) * points),
                textcoords="offset points", color=label.colour, weight=label.weight, fontsize=8,
                va="center", linespacing=1.1, annotation_clip=False, parse_math=False,
                bbox=HALO if x < axes.get_xlim()[1] else None,
                arrowprops={"arrowstyle": "-", "color": label.colour, "lw": 0.7, "shrinkA": 0,
                            "shrinkB": 1, "relpos": (0, 0.5)},
            )  # fmt: skip


def apart(heights: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Middles of labels of these sizes, near ``heights``: none overlap, none leaves the plot."""
    order = np.argsort(heights, kind="stable")
    size = np.array(sizes)[order]
    placed = np.array(heights, dtype=float)[order]
    least = (size[1:] + size[:-1]) / 2  # from one label's middle to the next one's
    for _ in range(300):
        for lower, needed in enumerate(least):
            push = max(0, needed - (placed[lower + 1] - placed[lower])) / 2
            placed[lower : lower + 2] += (-push, push)
        placed = np.clip(placed, size / 2 - 0.04, 1.04 - size / 2)
    return placed[np.argsort(order)].tolist()
