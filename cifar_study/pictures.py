"""Pictures that need the data set or a trained network, drawn when a stage is trained.

Saved in ``figures/`` and committed, so that the report needs neither. Drawing
the same thing twice gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cifar_study import cache
from cifar_study.browser import SAMPLES
from cifar_study.data import Dataset
from cifar_study.errors import StudyError
from cifar_study.figures import (
    COLOURS,
    DRAWN,
    OTHER,
    PHOTO,
    RIGHT,
    SIZES,
    STYLE,
    WRONG,
    all_test_curves,
    drawn_from,
    new_figure,
)
from cifar_study.files import write_json, write_whole
from cifar_study.layouts import SIDE
from cifar_study.runs import FIGURES, Run
from cifar_study.stages import CLASSES, STAGES

SHOWN = (310, 1205, 3010, 5400, 6042, 8815)  # test pictures whose probabilities are drawn
PHOTOS = "photos"  # the folder of the free photos, in figures/
PHOTOS_REMEDY = "restore it with: git checkout -- figures/photos"
# Width, height and how a test picture comes to them: unchanged, then the assignment's own.
SHAPES = (
    (SIDE, SIDE, "as they are"),
    (28, 32, "scaled"),
    (36, 30, "scaled"),
    (32, 28, "cut"),
    (28, 32, "cut"),
)
TEST_SIDES = (16, 20, 24, 28, 32, 36, 40, 48, 64)


def draw_data(data: Dataset, folder: Path = FIGURES) -> None:
    """Random examples and how varied the classes are; the pictures offered to be tried."""
    with style.context(STYLE):
        _save(_examples(data), folder / "examples.png")
        _save(_variety(data), folder / "variety.png")
    save_samples(folder)


def _examples(data: Dataset, columns: int = 10) -> Figure:
    random = np.random.RandomState(1)
    figure = new_figure(7.2, 7.4)
    grid = figure.subplots(len(CLASSES), columns)
    for label, row in enumerate(grid):
        members = np.flatnonzero(data.train_labels == label)
        for axes, index in zip(row, random.choice(members, columns, replace=False), strict=True):
            _picture(axes, data.train_images[index])
        row[0].set_ylabel(CLASSES[label], rotation=0, ha="right", va="center", fontsize=9)
    return figure


def _variety(data: Dataset, classes: tuple[int, ...] = (0, 2, 7, 9), each: int = 4) -> Figure:
    """For some classes: the mean picture, then those nearest to it and farthest from it."""
    figure = new_figure(7.2, 3.5)
    grid = figure.subplots(len(classes), 1 + 2 * each)
    for row, label in zip(grid, classes, strict=True):
        members = data.train_images[data.train_labels == label].astype(np.float32)
        mean = members.mean(0)
        distance = ((members - mean) ** 2).sum((1, 2, 3))
        order = np.argsort(distance, kind="stable")
        chosen = [mean, *members[order[:each]], *members[order[-each:]]]
        for axes, picture in zip(row, chosen, strict=True):
            _picture(axes, picture.astype(np.uint8))
        row[0].set_ylabel(CLASSES[label], rotation=0, ha="right", va="center", fontsize=9)
    for column, title in ((0, "mean"), (1, "nearest to the mean"), (1 + each, "farthest from it")):
        # Titles wider than their picture must not push the columns apart.
        axes = grid[0][column]
        axes.text(0, 1.12, title, transform=axes.transAxes, weight="bold").set_in_layout(False)
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.94))
    return figure


def draw_result(folder: Path = FIGURES) -> None:
    """The chart of all stages, for the README."""
    with style.context(STYLE):
        _save(all_test_curves().figure, folder / "result.png")


def draw_run(run: Run, data: Dataset, folder: Path = FIGURES) -> None:
    """What is drawn from a stage: its probabilities, gradients, photo, mistakes or filters."""
    if run.stage.number == 1:
        draw_probabilities(run, data, folder)
    if run.stage.number == 3:
        draw_gradients(data, folder)
    if run.stage.number == 8:
        draw_photo(run, folder)
        measure_sizes(run, data, folder)
        draw_mistakes(run, data, folder)
        draw_filters(run, folder)
    result = cache.read_result(run.folder)
    try:
        drawn = drawn_from(folder)
    except StudyError:  # what is left of it says nothing about the other pictures
        drawn = {}
    drawn |= {str(run.stage.number): result.record["files"][cache.HISTORY]}
    write_json(folder / DRAWN, dict(sorted(drawn.items())))


def is_undrawn(run: Run, folder: Path = FIGURES) -> bool:
    """Whether the run is complete and its pictures are of another result, or of none."""
    result = cache.read_result(run.folder)
    if result is None or not result.complete:
        return False
    try:
        drawn = drawn_from(folder).get(str(run.stage.number))
    except StudyError:  # drawing them replaces the damaged file
        drawn = None
    return drawn != result.record["files"][cache.HISTORY]


def draw_gradients(data: Dataset, folder: Path = FIGURES) -> None:
    """The size of the first gradients by layer, in two blocks with sigmoid and with ReLU."""
    from cifar_study.predict import gradient_sizes

    with style.context(STYLE):
        figure = new_figure(6.4, 2.8)
        axes = figure.subplots()
        for number, label in ((3, "sigmoid"), (4, "ReLU")):
            sizes = gradient_sizes(Run(STAGES[number]), data)
            axes.plot(range(len(sizes)), sizes.values(), "o-", color=COLOURS[number], label=label)
            axes.set_xticks(range(len(sizes)), sizes)
        axes.set(yscale="log", ylabel="gradient of a weight\n(root mean square)")
        axes.legend()
        _save(figure, folder / "gradients.png")


def draw_probabilities(run: Run, data: Dataset, folder: Path = FIGURES) -> None:
    """The same test pictures with their ten probabilities, untrained and trained."""
    from cifar_study.predict import fresh_network, probabilities

    pictures, labels = data.test_images[list(SHOWN)], data.test_labels[list(SHOWN)]
    before = probabilities(fresh_network(run), pictures)
    after = cache.read_result(run.folder).predictions()[0][list(SHOWN)]
    with style.context(STYLE):
        for name, values in (("before", before), ("after", after)):
            figure = new_figure(5.4, 5.6)
            halves = figure.subplots(3, 4, width_ratios=[1, 1.15] * 2).reshape(-1, 2)
            for (left, right), picture, label, row in zip(
                halves, pictures, labels, values, strict=True
            ):
                _picture(left, picture)
                left.set_title(CLASSES[label], fontsize=9)
                _bars(right, row, int(label))
            _save(figure, folder / f"probabilities-{name}.png")


def draw_photo(run: Run, folder: Path = FIGURES) -> None:
    """Ask the network about every photo in ``photos/``, scaled by :func:`photo_size`; draw all.

    And about the same photos squeezed into a square of the training size.
    ``photos/sources.csv`` says what each photo shows and whose it is.
    """
    from cifar_study.predict import probabilities, trained_network

    model = trained_network(run)
    answers: dict[str, dict[str, Any]] = {}
    for name, source in _photo_sources(folder / PHOTOS).items():
        photo = _open_photo(folder / PHOTOS / name)
        width, height = photo_size(*photo.size)
        answers[name] = source | {"width": width, "height": height}
        for key, size in (("probabilities", (width, height)), ("squeezed", (SIDE, SIDE))):
            answers[name][key] = probabilities(model, _resized([photo], *size))[0].tolist()
    write_json(folder / PHOTO, {"values": answers})
    with style.context(STYLE):
        _save(_photo_grid(answers, folder / PHOTOS), folder / "photo.png")


def photo_size(width: int, height: int) -> tuple[int, int]:
    """The sides that keep the proportions and hold about as many pixels as in training."""
    scale = SIDE / (width * height) ** 0.5
    return round(scale * width), round(scale * height)


def _photo_sources(folder: Path) -> dict[str, dict[str, str]]:
    """What ``sources.csv`` says of each photo, by its file's name."""
    path = folder / "sources.csv"
    try:
        return pd.read_csv(path, index_col="file", dtype=str).fillna("").to_dict("index")
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: unreadable ({error}); {PHOTOS_REMEDY}") from None


def _open_photo(path: Path) -> Image.Image:
    try:
        return Image.open(path).convert("RGB")
    except OSError as error:
        raise StudyError(f"{path}: unreadable ({error}); {PHOTOS_REMEDY}") from None


def _photo_grid(answers: dict[str, dict[str, Any]], folder: Path, columns: int = 4) -> Figure:
    """A row for each class: every photo, beside it what the network sees, and its answer."""
    figure = new_figure(5.4, 7.8)
    grid = figure.subplots(len(CLASSES), 2 * columns, width_ratios=[3, 2] * columns)
    for axes in grid.flat:
        axes.axis("off")
        axes.set_anchor("NW")
    for row, truth in zip(grid, CLASSES, strict=True):
        row[0].text(-0.1, 1, truth, ha="right", va="top", transform=row[0].transAxes)
        shown = [(name, answer) for name, answer in answers.items() if answer["class"] == truth]
        for place, (name, answer) in enumerate(shown):
            photo = _open_photo(folder / name)
            left, right = row[2 * place : 2 * place + 2]
            left.imshow(photo)
            right.imshow(_resized([photo], answer["width"], answer["height"])[0])
            best = int(np.argmax(answer["probabilities"]))
            correct = CLASSES[best] == truth
            mark, colour = ("✓", RIGHT) if correct else ("✗", WRONG)
            left.set_title(f"{mark} {CLASSES[best]}", color=colour, weight="normal", pad=3)
    return figure


def measure_sizes(run: Run, data: Dataset, folder: Path = FIGURES, every: int = 5) -> None:
    """How many test pictures are named rightly in other shapes and at other sizes.

    ``shapes``: all of them in the shapes of :data:`SHAPES`; ``gained`` and ``lost`` count those
    named rightly in this shape alone, or as they are alone. ``widths``: the accuracy on every
    fifth by width, square; flattened to two thirds of the height; flattened, then each side
    padded to a multiple of eight; and, of less than the training width, made small and enlarged.
    """
    from cifar_study.predict import probabilities, trained_network

    model = trained_network(run)
    originals = [Image.fromarray(picture) for picture in data.test_images]

    def right(pictures: np.ndarray, labels: np.ndarray) -> np.ndarray:
        parts = range(0, len(pictures), 200)  # few enough for any memory
        given = [probabilities(model, pictures[start : start + 200]) for start in parts]
        return np.concatenate(given).argmax(1) == labels

    named = {}
    for width, height, how in SHAPES:
        changed = (_cut if how == "cut" else _resized)(originals, width, height)
        named[f"{width}×{height} {how}"] = right(changed, data.test_labels)
    unchanged = next(iter(named.values()))
    shapes = {
        shape: {
            "pictures": len(rightly),
            "right": int(rightly.sum()),
            "gained": int((rightly & ~unchanged).sum()),
            "lost": int((unchanged & ~rightly).sum()),
        }
        for shape, rightly in named.items()
    }
    some, labels = originals[::every], data.test_labels[::every]
    widths: dict[str, dict[str, float]] = {}
    for side in TEST_SIDES:
        flat = _resized(some, side, flattened(side))
        square = _resized(some, side, side)
        changes = {"square": square, "flattened": flat, "padded": _padded(flat)}
        if side < SIDE:
            small = [Image.fromarray(picture) for picture in square]
            changes["enlarged"] = _resized(small, SIDE, SIDE)
        for name, pictures in changes.items():
            share = float(right(pictures, labels).mean())
            widths.setdefault(name, {})[str(side)] = share
    write_json(folder / SIZES, {"values": {"shapes": shapes, "widths": widths}})


def flattened(width: int) -> int:
    """The height of a square picture that lost a third of it."""
    return round(width * 2 / 3)


def _resized(pictures: Sequence[Image.Image], width: int, height: int) -> np.ndarray:
    """All of them at one size, ``uint8`` (N, height, width, 3)."""
    size = (width, height)
    return np.stack([np.asarray(one.resize(size, Image.Resampling.LANCZOS)) for one in pictures])


def _cut(pictures: Sequence[Image.Image], width: int, height: int) -> np.ndarray:
    """The middle of each, ``uint8`` (N, height, width, 3)."""
    left, top = (pictures[0].width - width) // 2, (pictures[0].height - height) // 2
    return np.stack([np.asarray(one)[top : top + height, left : left + width] for one in pictures])


def _padded(pictures: np.ndarray, multiple: int = 8) -> np.ndarray:
    """Their outer rows and columns repeated until both sides are a multiple of eight."""
    missing = [-side % multiple for side in pictures.shape[1:3]]
    around = [(amount // 2, amount - amount // 2) for amount in missing]
    return np.pad(pictures, ((0, 0), *around, (0, 0)), mode="edge")


def draw_mistakes(run: Run, data: Dataset, folder: Path = FIGURES) -> None:
    """The test pictures that the network is surest of and wrong about, the surest first."""
    given, _ = cache.read_result(run.folder).predictions()
    guesses = given.argmax(1)
    wrong = np.flatnonzero(guesses != data.test_labels)
    surest = wrong[np.argsort(-given[wrong].max(1), kind="stable")]
    with style.context(STYLE):
        figure = new_figure(5.4, 5.8)
        for axes, index in zip(figure.subplots(3, 4).flat, surest, strict=False):
            _picture(axes, data.test_images[index])
            axes.set_title(f"says {CLASSES[guesses[index]]}", fontsize=9, loc="center")
            axes.set_xlabel(f"is {CLASSES[data.test_labels[index]]}", fontsize=9)
        _save(figure, folder / "mistakes.png")


def draw_filters(run: Run, folder: Path = FIGURES) -> None:
    """The first layer's filters as pictures, each scaled to its own largest weight."""
    weights = cache.read_result(run.folder).model()
    filters = weights["block1.conv1.weight"].transpose(0, 2, 3, 1)
    with style.context(STYLE):
        figure = new_figure(7.2, 1.7)
        for axes, values in zip(figure.subplots(2, 10).flat, filters, strict=False):
            _picture(axes, 0.5 + 0.5 * values / np.abs(values).max())
        _save(figure, folder / "filters.png")


def save_samples(folder: Path = FIGURES, side: int = 320) -> None:
    """scikit-image's free pictures that the report offers to try the network on, made smaller."""
    from skimage import data

    for name in SAMPLES:
        pixels = data.chelsea() if name == "cat" else getattr(data, name)()
        picture = Image.fromarray(pixels).convert("RGB")
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        write_whole(folder / f"sample-{name}.jpg", buffer.getvalue())


def _picture(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _bars(axes: Axes, values: np.ndarray, right: int, names: bool = True) -> None:
    """Ten probabilities as bars, the right class in its own colour and every class named."""
    colours = [RIGHT if label == right else OTHER for label in range(len(values))]
    axes.barh(range(len(values)), values, color=colours, height=0.75)
    axes.set(xlim=(0, 1), ylim=(len(values) - 0.4, -0.6))
    axes.set_yticks(range(len(values)), CLASSES if names else [""] * len(values), fontsize=7)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"], fontsize=7)
    axes.tick_params(length=0)
    axes.grid(False, axis="y")
    axes.spines["bottom"].set_visible(False)
    best = int(values.argmax())
    inside = values[best] > 0.75  # where there is no room beside the bar
    axes.text(
        values[best] + (-0.03 if inside else 0.03),
        best,
        f"{values[best]:.0%}",
        ha="right" if inside else "left",
        va="center",
        fontsize=7,
        color="white" if inside and best == right else None,
    )


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())
