"""What was drawn and measured when a stage was trained, beside the results: in ``figures/``."""

from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
import pandas as pd
import PIL.Image
from IPython.display import SVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from cifar_study.atomic import present, read_json
from cifar_study.cifar10 import CLASSES, SIDE
from cifar_study.errors import StudyError, reason
from cifar_study.report import study
from cifar_study.report.replicates import replicates
from cifar_study.report.study import AbsentError
from cifar_study.report.style import ACCURACY, COLOURS, GREY, WIDE, chart, new_axes
from cifar_study.results.store import HISTORY

SHOWN = (310, 1205, 3010, 5400, 6042, 8815)  # test pictures whose probabilities are drawn
PHOTO = "photo.json"  # what the network said of the photos, beside their picture
SIZES = "sizes.json"  # how often it was right about test pictures of other sizes
DRAWN = "drawn.json"  # from which results the pictures were drawn
REDRAW = "draw it again with: python -m cifar_study.train --figures"


@study.noted
def saved(name: str, number: int) -> SVG:
    """The picture that was drawn when a stage was trained, or a note that it was not yet."""
    path, result = study.figures() / f"{name}.svg", replicates(number).first
    drawn = drawn_from(study.figures()).get(str(number))
    if result is None or drawn != result.record["files"][HISTORY] or not present(path):
        raise AbsentError(not_yet(number))
    try:
        return SVG(path)
    except (ExpatError, OSError, ValueError) as error:
        raise StudyError(f"{path}: unreadable ({reason(error)}); {REDRAW}") from None


def open_picture(path: Path) -> PIL.Image.Image:
    """A picture that was drawn, decoded; one that can't be is a :class:`StudyError`."""
    try:
        picture = PIL.Image.open(path)
        picture.load()
    except Exception as error:  # a damaged picture can raise nearly anything
        raise StudyError(f"{path}: unreadable ({reason(error)}); {REDRAW}") from None
    return picture


def photos() -> pd.DataFrame:
    """The free photos and the network's answers, a row each; empty if they were not asked for.

    What ``photos/sources.csv`` says of it; ``width`` and ``height`` as the network saw it; the
    ten ``probabilities``, the most probable class as ``guess``, with which ``probability``; and
    whether that is ``right``.
    """
    frame = pd.DataFrame.from_dict(_measured(PHOTO, 8), orient="index")
    if not len(frame):
        return pd.DataFrame(columns=["class", "kind", "guess", "probability", "squeezed"])
    return frame.assign(
        guess=[CLASSES[int(np.argmax(given))] for given in frame.probabilities],
        probability=frame.probabilities.map(max),
        right=lambda frame: frame.guess == frame["class"],
    )


@chart
def sizes() -> Figure:
    """Accuracy on scaled test pictures by their width: square, flattened, and padded as well."""
    measured = size_accuracies()
    if not measured:
        raise AbsentError(not_yet(8))
    figure, axes = new_axes(WIDE, 3.4)
    for shape, label, form, colour in (
        ("square", "square", "o-", COLOURS[8]),
        ("flattened", "flattened to two thirds of the height", "s--", COLOURS[9]),
        ("padded", "flattened, padded to multiples of 8", "^:", COLOURS[10]),
    ):
        shares = measured[shape]
        axes.plot(shares.keys(), shares.values(), form, color=colour, label=label)
    axes.axvline(SIDE, color=GREY, linewidth=0.8, zorder=0)
    axes.annotate("as trained", (SIDE, 1), (4, -4), textcoords="offset points", va="top")
    axes.set(xscale="log", xlabel="width in pixels", ylim=(0, 1), ylabel="test accuracy")
    axes.set_xticks(list(measured["square"]), measured["square"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(ACCURACY.ticks)
    axes.yaxis.set_major_formatter(ACCURACY.form)
    figure.legend(loc="outside upper left")
    return figure


def size_accuracies() -> dict[str, dict[int, float]]:
    """The accuracies that were measured, by kind and width; empty if they were not."""
    return {
        kind: {int(side): share for side, share in shares.items()}
        for kind, shares in _measured(SIZES, 8).get("widths", {}).items()
    }


def shape_counts() -> dict[str, dict[str, int]]:
    """How many test pictures were named rightly, by shape; the first is as they are."""
    return _measured(SIZES, 8).get("shapes", {})


def mechanism(number: int) -> dict[str, Any]:
    """What was measured inside a stage's network; AbsentError if nothing was, or of another run."""
    if found := _measured(mechanism_file(number), number):
        return found
    raise AbsentError(not_yet(number))


def _measured(file: str, number: int) -> dict[str, Any]:
    result = replicates(number).first
    return read_measured(study.figures() / file, result.record["files"][HISTORY]) if result else {}


def read_measured(path: Path, of: str) -> dict[str, Any]:
    """What was measured of the result with that history; empty if nothing was, or of another."""
    try:
        found = read_json(path, REDRAW) if present(path) else {}
    except StudyError:  # tables.incomplete_note says so
        return {}
    return found["values"] if found.get("of") == of else {}


def mechanism_file(number: int | str) -> str:
    """The file of what was measured inside a stage's network."""
    return f"mechanism-{number}.json"


def damage() -> list[str]:
    """What is wrong with the measured numbers beside the pictures, a line for each file."""
    lines, folder = [], study.figures()
    mechanisms = [path.name for path in sorted(folder.glob(mechanism_file("*")))]
    for name in (DRAWN, PHOTO, SIZES, *mechanisms):
        try:
            if present(folder / name):
                read_json(folder / name, REDRAW)
        except StudyError as error:
            lines.append(str(error))
    return lines


def drawn_from(folder: Path) -> dict[str, str]:
    """From which result of each stage the pictures were drawn: the checksum of its history."""
    path = folder / DRAWN
    return read_json(path, REDRAW) if present(path) else {}


def not_yet(number: int) -> str:
    """A sentence in the place of a picture: drawn from another run, or not yet."""
    if replicates(number).first:
        return f"Not drawn from this run of stage {number}."
    return f"Drawn once stage {number} is trained."
