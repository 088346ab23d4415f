"""Draws the pictures here that take the data set, and the chart of the README, anew.

``python -m figures.draw`` in the project's folder; the same pixels each time.
"""

import os

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from cifar_study.data import Dataset, load
from cifar_study.report.charts import all_test_curves
from cifar_study.report.networks import SHOWN
from cifar_study.runs import PROJECT
from cifar_study.stages import CLASSES, SIDE

FOLDER = PROJECT / "figures"
SCALE, GAP, LABEL = 3, 8, 212  # pixels: of each pixel, between pictures, left of them for words
FONT = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 32)


def examples(data: Dataset, columns: int = 10) -> Image.Image:
    """Ten training pictures of each class, at random."""
    random = np.random.RandomState(1)
    rows = {}
    for label, name in enumerate(CLASSES):
        members = np.flatnonzero(data.train_labels == label)
        rows[name] = data.train_images[random.choice(members, columns, replace=False)]
    return _grid(rows)


def variety(data: Dataset, classes: tuple[int, ...] = (0, 2, 7, 9), each: int = 4) -> Image.Image:
    """Of some classes the mean picture, then those nearest to it and farthest from it."""
    rows = {}
    for label in classes:
        members = data.train_images[data.train_labels == label].astype(np.float32)
        mean = members.mean(0)
        order = np.argsort(((members - mean) ** 2).sum((1, 2, 3)), kind="stable")
        rows[CLASSES[label]] = [mean, *members[order[:each]], *members[order[-each:]]]
    return _grid(rows, {0: "mean", 1: "nearest", 1 + each: "farthest"})


def _grid(rows: dict[str, list[np.ndarray]], titles: dict[int, str] | None = None) -> Image.Image:
    """Rows of pictures, each with its name to the left; titles above columns."""
    step, top = SCALE * SIDE + GAP, 46 if titles else 0
    columns = len(next(iter(rows.values())))
    image = Image.new("RGB", (LABEL + columns * step - GAP, top + len(rows) * step - GAP), "white")
    draw = ImageDraw.Draw(image)
    for column, title in (titles or {}).items():
        draw.text((LABEL + column * step, 0), title, "#222222", FONT)
    for row, (name, pictures) in enumerate(rows.items()):
        low = top + row * step
        draw.text((LABEL - 14, low + step / 2), name, "#222222", FONT, anchor="rm")
        for column, picture in enumerate(pictures):
            small = Image.fromarray(np.asarray(picture, dtype=np.uint8))
            image.paste(small.resize((SCALE * SIDE,) * 2, 0), (LABEL + column * step, low))
    return image


if __name__ == "__main__":
    data = load(os.environ.get("CIFAR_STUDY_DATA") or "auto")
    examples(data).save(FOLDER / "examples.png", optimize=True)
    variety(data).save(FOLDER / "variety.png", optimize=True)
    strip = np.concatenate(list(data.test_images[list(SHOWN)]), axis=1)
    Image.fromarray(strip).save(FOLDER / "shown.png")
    (FOLDER / "result.png").write_bytes(all_test_curves().saved("png"))
