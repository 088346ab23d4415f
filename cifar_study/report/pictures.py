"""Photographs and test pictures with what a network says of them, drawn from what was measured."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image as Photo
from PIL import ImageOps

from cifar_study.errors import StudyError, reading
from cifar_study.report import predictions
from cifar_study.report.facts import measured, stage
from cifar_study.report.style import OTHER, RIGHT, WIDE, WRONG, chart, noted, show_image
from cifar_study.runs import in_project
from cifar_study.stages import CLASSES, SIDE


@noted
def examples() -> Image:
    """Ten training pictures of each class, drawn at random."""
    return Image(filename=str(in_project("figures/examples.png")), width=round(96 * WIDE))


@noted
def variety() -> Image:
    """Of four classes the mean picture, and those nearest to it and farthest from it."""
    return Image(filename=str(in_project("figures/variety.png")), width=round(96 * WIDE))


def needed(name: str, number: int) -> Any:
    """What was measured of a stage's first seed; a :class:`StudyError` where nothing was."""
    if values := measured(name, number):
        return values
    command = f"python -m cifar_study.train --stage {number}"
    raise StudyError(f"Drawn once stage {number} is trained and measured: {command}")


def pixels(kept: str, *shape: int) -> np.ndarray:
    """Bytes that were kept as text, as ``uint8`` of that shape."""
    return np.frombuffer(bytes.fromhex(kept), dtype=np.uint8).reshape(shape)


def _test_pictures(kept: Mapping[str, list[Any]]) -> Iterator[tuple[int, int, np.ndarray]]:
    """Place in the test set, label and pixels of test pictures that were kept."""
    for place, label, text in zip(kept["places"], kept["labels"], kept["pixels"], strict=True):
        yield place, label, pixels(text, SIDE, SIDE, 3)


@chart(photographs=True)
def probabilities(number: int, when: str) -> Figure:
    """Six test pictures with their ten probabilities, "before" the first step or "after" all."""
    kept = needed("pictures", number)
    given = kept["before"]
    if when == "after":
        given = stage(number).first.predictions()[0][kept["places"]]
    figure = Figure(figsize=(WIDE, 5))
    halves = figure.subplots(3, 4, width_ratios=[4, 3] * 2).reshape(-1, 2)
    shown = zip(halves, _test_pictures(kept), given, strict=False)
    for (left, right), (_, label, picture), shares in shown:
        show_image(left, picture)
        left.set_title(CLASSES[label], fontsize=8, pad=4)
        colours = [RIGHT if place == label else OTHER for place in range(len(CLASSES))]
        right.barh(range(len(CLASSES)), shares, color=colours, height=0.75)
        right.set(xlim=(0, 1), ylim=(len(CLASSES) - 0.4, -0.6), xticks=[])
        right.set_yticks(range(len(CLASSES)), CLASSES, fontsize=8)
        right.tick_params(length=0)
        right.grid(False)
        right.spines["bottom"].set_visible(False)
        best = int(np.argmax(shares))
        _number(right, best, shares[best])
    return figure


def _number(axes: Axes, row: int, share: float) -> None:
    """Write a probability beside its bar, or into it where there is no room."""
    inside = share > 0.7
    look = {"ha": "right", "color": "white"} if inside else {"ha": "left"}
    place = share + (-0.03 if inside else 0.03)
    axes.text(place, row, f"{share:.0%}", va="center", fontsize=8, **look)


@chart(photographs=True)
def errors(number: int) -> Figure:
    """The test pictures that the network is surest of and wrong about, the surest first."""
    kept = needed("errors", number)
    given, _ = stage(number).first.predictions()
    figure = Figure(figsize=(WIDE, 4.8))
    places = list(figure.subplots(3, 4).flat)
    for axes in places:
        axes.axis("off")
    for axes, (place, label, picture) in zip(places, _test_pictures(kept), strict=False):
        show_image(axes, picture)
        axes.axis("on")
        guess = CLASSES[given[place].argmax()]
        axes.set_title(guess, fontsize=8, loc="center", color=WRONG, pad=3)
        axes.set_xlabel(f"label: {CLASSES[label]}", fontsize=8)
    return figure


@chart(photographs=True)
def photos(all: bool = False) -> Figure:
    """The photos that ``sources.csv`` calls large, with what the network sees and says of them.

    With ``all`` every photo, small, and the network's guess.
    """
    answers = predictions.photos()
    answers = answers if all else answers[answers.large == "yes"]
    if answers.empty:
        raise StudyError("Drawn once a network is trained of which photos are measured.")
    columns, bars, gap = (4, 0, 0.1) if all else (2, 0.75, 0.1)  # inches, as all that follows
    wide = WIDE / columns
    photo_width, seen_width = 0.55 * wide, 0.37 * wide
    shown = [(answer, *_photo(name, answer)) for name, answer in answers.iterrows()]
    rows = [shown[first : first + columns] for first in range(0, len(shown), columns)]
    heights = [photo_width * min(1, max(p.height / p.width for _, p, _ in row)) for row in rows]
    figure = Figure(figsize=(WIDE, sum(heights) + len(rows) * (bars + 0.3)))
    figure.set_layout_engine("none")

    def place(*inches: float) -> Axes:
        return figure.add_axes(inches / np.tile(figure.get_size_inches(), 2), anchor="SW")

    low = figure.get_figheight()
    for row, height in zip(rows, heights, strict=True):
        low -= height + bars + 0.3
        for column, (answer, photo, seen) in enumerate(row):
            left = column * wide
            show_image(axes := place(left, low + bars + gap, photo_width, height), photo)
            mark, colour = ("✓", RIGHT) if answer.right else ("✗", WRONG)
            said = {"label": f"{mark} {answer.guess}", "color": colour} if all else {}
            axes.set_title(**{"label": answer["class"], "fontsize": 8, "pad": 4} | said)
            seen_left = left + photo_width + gap / 2
            show_image(place(seen_left, low + bars + gap, seen_width, height), seen)
            if bars:
                _three_bars(place(left, low + gap, wide - gap, bars - gap), answer)
    return figure


def _three_bars(axes: Axes, answer: pd.Series) -> None:
    """The most probable classes of a photo, with their probabilities."""
    axes.axis("off")
    axes.set(xlim=(-0.65, 1), ylim=(2.6, -0.6))
    for row, guess in enumerate(np.argsort(answer.probabilities)[::-1][:3]):
        share, right = answer.probabilities[guess], CLASSES[guess] == answer["class"]
        axes.text(-0.65, row, CLASSES[guess], va="center", fontsize=8)
        axes.barh(row, share, 0.7, color=RIGHT if right else OTHER if row else WRONG)
        _number(axes, row, share)


def _photo(name: str, answer: pd.Series) -> tuple[Photo.Image, Photo.Image]:
    """A photo, made smaller where it is large, and as the network saw it."""
    path = in_project("figures/photos") / name
    with reading(path, "restore it with: git checkout -- figures"):
        photo = ImageOps.exif_transpose(Photo.open(path)).convert("RGB")
    seen = photo.resize((answer.width, answer.height), Photo.Resampling.LANCZOS)
    photo.thumbnail((320, 320))
    return photo, seen
