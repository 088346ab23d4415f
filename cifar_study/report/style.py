"""How charts look, and how a page shows them: colours, sizes, file formats, notes in their place.

Charts follow the dark theme by a CSS filter that the page sets on SVG; figures with photographs,
which must keep their colours, reach pages as PNG.
"""

import functools
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import Markdown, display
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_study.errors import StudyError, reason
from cifar_study.report.numbers import escaped

# Of classes, among bars and below photographs; a stage's colour is in its entry in stages.py.
RIGHT, WRONG, OTHER = "#117733", "#B0309E", "#868D96"
GREY = "#555555"
ON_DARK, ON_LIGHT = "#fefefe", "#303030"  # words over pictures and shades
WIDE = 4.3  # inches, the widest chart: words of eight points then have nine pixels on a phone
TAKE_SVG = ("html", "epub", "typst", "revealjs")  # as Quarto calls formats
UNDATED = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def look() -> Any:
    """The look of charts while one is drawn or saved, whatever the user's matplotlibrc says."""
    return style.context(["default", Path(__file__).with_name("report.mplstyle")])


class Chart:
    """A figure that pages show as SVG, or as PNG where they must; the same bytes each time."""

    def __init__(self, figure: Figure, photographs: bool = False) -> None:
        self.figure, self.photographs = figure, photographs

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        form = target_format()
        svg = form == "typst" or not self.photographs  # on paper nothing turns colours
        if svg and form.startswith(TAKE_SVG):
            return {"image/svg+xml": self.saved("svg").decode()}, {}
        width, height = (round(96 * inches) for inches in self.figure.get_size_inches())
        return {"image/png": self.saved("png")}, {"image/png": {"width": width, "height": height}}

    def saved(self, kind: str) -> bytes:
        """The content of a file, "svg" or "png"."""
        buffer = io.BytesIO()
        with look():
            self.figure.savefig(buffer, format=kind, metadata=UNDATED[kind])
        return buffer.getvalue()


class Charts(tuple[Chart | Markdown, ...]):
    """Charts that a notebook shows one after the other; the page decides on rows and columns."""

    def _ipython_display_(self) -> None:
        for each in self:
            display(each)


def target_format() -> str:
    """The format that Quarto renders, such as docx; html elsewhere."""
    if not (path := os.environ.get("QUARTO_EXECUTE_INFO")):
        return "html"
    about = json.loads(Path(path).read_text(encoding="utf-8"))
    return about["format"]["identifier"]["target-format"]


def noted(show: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of chapters, which says in one line of Markdown what it can't read."""

    @functools.wraps(show)
    def shown(*given: Any, **named: Any) -> Any:
        try:
            return show(*given, **named)
        except StudyError as error:
            said = str(error)
        except OSError as error:  # of a file that came with the project
            said = f"{error.filename}: {reason(error)}; restore it from git"
        return Markdown(f"*{escaped(said)}*")

    return shown


def chart(draw: Callable[..., Figure] | None = None, *, photographs: bool = False) -> Any:
    """A function that draws a figure, made to return a :class:`Chart`, or a note if it can't."""
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
