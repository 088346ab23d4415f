"""How charts look, and how a page shows them: colours, sizes, file formats, notes in their place.

Charts follow the dark theme by a CSS filter that the page sets on SVG; figures with photographs,
which must keep their colours, reach pages as PNG.
"""

import functools
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, overload

import numpy as np
from IPython.display import Markdown, display
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifar_study.errors import StudyError, reason

# Of classes, among bars and below photographs; a stage's colour is in its entry in stages.py.
RIGHT, WRONG, OTHER = "#117733", "#B0309E", "#868D96"
GREY = "#555555"
ON_DARK, ON_LIGHT = "#fefefe", "#303030"  # words over pictures and shades
# Inches, the widest chart: a phone shows any in about three and a half, the smallest text,
# of eight points, then with nine pixels.
WIDE = 4.3
# Matplotlib's own defaults first, so that nobody's matplotlibrc changes a chart.
LOOK = ["default", Path(__file__).with_name("report.mplstyle")]
TAKE_SVG = ("html", "epub", "typst", "revealjs", "gfm")  # as Quarto calls formats


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
        with style.context(LOOK):
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
    """Plain text as one line of Markdown, in italics; no sign of it is markup."""
    plain = re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
    return Markdown(f"*{plain}*")


@overload
def chart(draw: Callable[..., Figure]) -> Callable[..., Any]: ...
@overload
def chart(*, photographs: bool) -> Callable[[Callable[..., Figure]], Callable[..., Any]]: ...
def chart(draw: Callable[..., Figure] | None = None, *, photographs: bool = False) -> Any:
    """A function that draws a figure, made to return a :class:`Chart`, or a note if it can't.

    Written ``@chart``, or ``@chart(photographs=True)`` where a figure's colours must stay.
    """
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


def show_image(axes: Axes, values: np.ndarray, **colours: object) -> None:
    """Draw a picture without axes."""
    axes.imshow(values, **colours)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
