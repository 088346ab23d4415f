"""How charts look, and how a page shows them.

A CSS filter fits SVG to the dark theme; photographs, which must keep their colours, are PNG.
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
from cifar_study.runs import in_project

# Of classes, among bars and below photographs; a stage's colour is in its entry in stages.py.
RIGHT, WRONG, OTHER = "#117733", "#B0309E", "#868D96"
GREY = "#555555"
ON_DARK, ON_LIGHT = "#fefefe", "#303030"  # words over pictures and shades
WIDE = 4.3  # inches, the widest chart: words of eight points then have nine pixels on a phone
TAKE_SVG = ("html", "epub", "typst", "revealjs")  # as Quarto calls formats
LOOK = ["default", Path(__file__).with_name("report.mplstyle")]  # whatever a matplotlibrc says
UNDATED = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


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
        with style.context(LOOK):
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
    return json.loads(Path(path).read_text("utf-8"))["format"]["identifier"]["target-format"]


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
        with style.context(LOOK):
            return Chart(draw(*about, **options), photographs)

    return drawn


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of that many inches with one plot, for a function that is a :func:`chart`."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def in_page(label: str, data: Any, css: str, *scripts: str, head: str = "") -> Markdown:
    """Files of chapters/ and their data as raw HTML, which a PDF leaves out."""
    styles, *code = ((in_project("chapters") / name).read_text("utf-8") for name in (css, *scripts))
    content = json.dumps(data, separators=(",", ":")).replace("<", r"\u003c")  # "<" may end it
    return Markdown(
        f"```````{{=html}}\n{head}\n<style>\n{styles}</style>\n"
        f'<script type="application/json" id="{label}">{content}</script>\n'
        f"<script>\n{''.join(code)}</script>\n```````\n"
    )


def show_image(axes: Axes, values: np.ndarray, **colours: object) -> None:
    """Draw a picture without axes."""
    axes.imshow(values, **colours)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
