"""Photographs and test pictures with what a network says of them, drawn from what was measured."""

import numpy as np
import pandas as pd
from IPython import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from cifar_study.errors import StudyError, reading
from cifar_study.report import predictions
from cifar_study.report.facts import measured, stage
from cifar_study.report.style import OTHER, RIGHT, WIDE, WRONG, chart, noted, show_image
from cifar_study.runs import in_project
from cifar_study.stages import CLASSES, SIDE


@noted
def stored(name: str) -> display.Image:
    """Training pictures as they were drawn once: "examples" of each class, or their "variety"."""
    return display.Image(filename=str(in_project(f"figures/{name}.png")), width=round(96 * WIDE))


def pixels(kept: str, *shape: int) -> np.ndarray:
    """Bytes that were kept as text, as ``uint8`` of that shape."""
    return np.frombuffer(bytes.fromhex(kept), dtype=np.uint8).reshape(shape)


@chart(photographs=True)
def probabilities(number: int, when: str) -> Figure:
    """Six test pictures with their ten probabilities, "before" the first step or "after" all."""
    kept = measured("pictures", number)
    given = (
        kept["before"] if when == "before" else stage(number).first.predictions()[0][kept["places"]]
    )
    figure = Figure(figsize=(WIDE, 5))
    halves = figure.subplots(3, 4, width_ratios=[4, 3] * 2).reshape(-1, 2)
    shown = zip(halves, kept["labels"], kept["pixels"], given, strict=False)
    for (left, right), label, picture, shares in shown:
        show_image(left, pixels(picture, SIDE, SIDE, 3))
        left.set_title(CLASSES[label], fontsize=8, pad=4)
        colours = [RIGHT if place == label else OTHER for place in range(len(CLASSES))]
        right.barh(CLASSES, shares, color=colours, height=0.75)
        right.set(xlim=(0, 1), ylim=(len(CLASSES) - 0.4, -0.6), xticks=[])
        right.tick_params(length=0, labelsize=8)
        right.grid(False)
        right.spines["bottom"].set_visible(False)
        _number(right, np.argmax(shares), max(shares))
    return figure


def _number(axes: Axes, row: int, share: float) -> None:
    """Write a probability beside its bar, or into it where there is no room."""
    within = share > 0.7
    look = {"ha": "right", "color": "white"} if within else {"ha": "left"}
    place = share - 0.03 if within else share + 0.03
    axes.text(place, row, f"{share:.0%}", va="center", fontsize=8, **look)


@chart(photographs=True)
def errors(number: int) -> Figure:
    """The test pictures that the network is surest of and wrong about, the surest first."""
    kept = measured("errors", number)
    given, _ = stage(number).first.predictions()
    figure = Figure(figsize=(WIDE, 4.8))
    panels = figure.subplots(3, 4).flat
    shown = zip(panels, kept["places"], kept["labels"], kept["pixels"], strict=True)
    for axes, place, label, picture in shown:
        show_image(axes, pixels(picture, SIDE, SIDE, 3))
        axes.set_title(CLASSES[given[place].argmax()], fontsize=8, loc="center", color=WRONG, pad=3)
        axes.set_xlabel(f"label: {CLASSES[label]}", fontsize=8)
    return figure


@chart(photographs=True)
def photos(all: bool = False) -> Figure:
    """The photos that ``sources.csv`` calls large, or all, with what the network sees and says."""
    answers = predictions.photos()
    answers = answers if all else answers[answers.large == "yes"]
    if answers.empty:
        raise StudyError("sources.csv: no photo that is measured is large: yes")
    columns, below = (4, 0.1) if all else (2, 0.85)  # inches below a photo, as all that follows
    wide = WIDE / columns
    parts = ((0, 0.55 * wide), (0.55 * wide + 0.05, 0.37 * wide))  # the photo, and as it is seen
    shown = [(answer, *_photo(name, answer)) for name, answer in answers.iterrows()]
    rows = [shown[first : first + columns] for first in range(0, len(shown), columns)]
    heights = [parts[0][1] * min(1, max(p.height / p.width for _, p, _ in row)) for row in rows]
    figure = Figure(figsize=(WIDE, sum(heights) + len(rows) * (below + 0.2)), layout="none")
    size, low = np.tile(figure.get_size_inches(), 2), figure.get_figheight()
    for row, height in zip(rows, heights, strict=True):
        low -= height + below + 0.2
        for column, (answer, photo, seen) in enumerate(row):
            left = column * wide
            boxes = [(left + start, low + below, width, height) for start, width in parts]
            axes, beside = (figure.add_axes(box / size, anchor="SW") for box in boxes)
            show_image(axes, photo)
            show_image(beside, seen)
            if all:
                mark, colour = ("✓", RIGHT) if answer.right else ("✗", WRONG)
                axes.set_title(f"{mark} {answer.guess}", fontsize=8, pad=4, color=colour)
            else:
                axes.set_title(answer["class"], fontsize=8, pad=4)
                bars = (left, low + 0.1, wide - 0.1, below - 0.2)
                _three_bars(figure.add_axes(bars / size), answer)
    return figure


def _three_bars(axes: Axes, answer: pd.Series) -> None:
    axes.axis("off")
    axes.set(xlim=(-0.65, 1), ylim=(2.6, -0.6))
    for row, guess in enumerate(np.argsort(answer.probabilities)[::-1][:3]):
        share, right = answer.probabilities[guess], CLASSES[guess] == answer["class"]
        axes.text(-0.65, row, CLASSES[guess], va="center", fontsize=8)
        axes.barh(row, share, 0.7, color=RIGHT if right else OTHER if row else WRONG)
        _number(axes, row, share)


def _photo(name: str, answer: pd.Series) -> tuple[Image.Image, Image.Image]:
    path = in_project("figures/photos") / name
    with reading(path, "put it back, or take its line out of sources.csv"):
        photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    seen = photo.resize((answer.width, answer.height), Image.Resampling.LANCZOS)
    photo.thumbnail((320, 320))
    return photo, seen
