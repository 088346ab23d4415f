"""Pictures that need the data set or a trained network, drawn when a stage is trained.

Saved in ``figures/`` and committed, so that the report needs neither. Drawing
the same thing twice gives the same bytes.
"""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cifar_study.atomic import write_json, write_whole
from cifar_study.cifar10 import CLASSES
from cifar_study.datasets import Dataset
from cifar_study.errors import StudyError
from cifar_study.report.charts import all_test_curves
from cifar_study.report.demo import SAMPLES
from cifar_study.report.growth import SHOWN_PICTURES
from cifar_study.report.pictures import (
    DRAWN,
    PHOTO,
    SHOWN,
    SIZES,
    drawn_from,
    mechanism_file,
    read_measured,
)
from cifar_study.report.replicates import replicates
from cifar_study.report.style import OTHER, RIGHT, STYLE, WIDE, WRONG, Chart, show_image
from cifar_study.results.run import Run
from cifar_study.results.store import HISTORY, Result, read_result
from cifar_study.stages import STAGES
from cifar_study.training.mechanisms import MEASURES
from cifar_study.training.predict import fresh_network, probabilities, trained_network
from cifar_study.training.robustness import ask_photos, measure_sizes, open_photo, resized

PHOTOS = "photos"  # the folder of the free photos, in figures/


def draw(runs: list[Run], data: Dataset, folder: Path, anew: bool = False) -> Iterator[str]:
    """Draw what is not drawn yet of complete runs, also of earlier commands, or everything anew.

    Yields what could not be drawn, and why.
    """
    if anew:
        print("drawing the pictures of the data set", file=sys.stderr)
        yield from _tried(draw_data, data, folder)
    for run in runs:
        yield from _tried(_draw, run, data, folder, anew)
    yield from _tried(_draw_result, folder)


def _tried(draw: Callable[..., None], *given: Any) -> Iterator[str]:
    try:
        draw(*given)
    except StudyError as error:
        yield str(error)


def _draw(run: Run, data: Dataset, folder: Path, anew: bool) -> None:
    try:
        result = read_result(run.folder, whole=anew)
    except StudyError as error:
        raise StudyError(f"{run.name}: not drawn: {error}") from None
    # One seed is shown where only one can be.
    wanted = result and not run.seed and result.complete and not _is_drawn(result, run, folder)
    if wanted or (anew and result):
        print(f"drawing the pictures of {run.name}", file=sys.stderr)
        draw_run(run, result, data, folder)


@style.context(STYLE)
def draw_run(run: Run, result: Result, data: Dataset, folder: Path) -> None:
    """What is drawn from a stage: probabilities, photos, mistakes, filters, or its mechanism."""
    of = result.record["files"][HISTORY]
    if run.stage.number == 1:
        draw_probabilities(run, result, data, folder)
    if run.stage.number == 8:
        model = trained_network(run)
        answers = ask_photos(model, folder / PHOTOS)
        write_json(folder / PHOTO, {"values": answers, "of": of})
        _save(_photo_grid(answers, folder / PHOTOS), folder / "photo.svg")
        write_json(folder / SIZES, {"values": measure_sizes(model, data), "of": of})
        draw_mistakes(result, data, folder)
        draw_filters(result, folder)
    if measure := MEASURES.get(run.stage.number):
        measured = {"values": measure(run, data), "of": of}
        write_json(folder / mechanism_file(run.stage.number), measured)
    drawn = _drawn(folder) | {str(run.stage.number): of}
    write_json(folder / DRAWN, dict(sorted(drawn.items())))


def _drawn(folder: Path) -> dict[str, str]:
    try:
        return drawn_from(folder)
    except StudyError:  # what is left of it says nothing about the other pictures
        return {}


def _is_drawn(result: Result, run: Run, folder: Path) -> bool:
    number, of = run.stage.number, result.record["files"][HISTORY]
    if number in MEASURES and not read_measured(folder / mechanism_file(number), of):
        return False
    return _drawn(folder).get(str(number)) == of


@style.context(STYLE)
def _draw_result(folder: Path) -> None:
    """The chart of all stages, for the README; not drawn where a damaged one would be left out."""
    path = folder / "result.png"
    statuses = [status for number in STAGES for status in replicates(number).statuses]
    if not any(status.result for status in statuses):
        raise StudyError(f"{path}: not drawn: nothing is trained yet; train a stage first")
    for status in statuses:
        if status.state == "damaged":
            raise StudyError(f"{path}: not drawn: {status.text}")
    buffer = io.BytesIO()
    all_test_curves().figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())


@style.context(STYLE)
def draw_data(data: Dataset, folder: Path) -> None:
    """Random examples and how varied the classes are; the pictures offered to be tried."""
    _save(_examples(data), folder / "examples.svg")
    _save(_variety(data), folder / "variety.svg")
    strip = Image.fromarray(np.concatenate(list(data.test_images[list(SHOWN)]), axis=1))
    _encode(strip, folder / SHOWN_PICTURES, "PNG")
    save_samples(folder)


def _examples(data: Dataset, columns: int = 10) -> Figure:
    random = np.random.RandomState(1)
    figure = Figure(figsize=(WIDE, 4.1))
    grid = figure.subplots(len(CLASSES), columns)
    for label, row in enumerate(grid):
        members = np.flatnonzero(data.train_labels == label)
        for axes, index in zip(row, random.choice(members, columns, replace=False), strict=True):
            show_image(axes, data.train_images[index])
        row[0].set_ylabel(CLASSES[label], rotation=0, ha="right", va="center", fontsize=8)
    return figure


def _variety(data: Dataset, classes: tuple[int, ...] = (0, 2, 7, 9), each: int = 4) -> Figure:
    """For some classes: the mean picture, then those nearest to it and farthest from it."""
    figure = Figure(figsize=(WIDE, 2.1))
    grid = figure.subplots(len(classes), 1 + 2 * each)
    for row, label in zip(grid, classes, strict=True):
        members = data.train_images[data.train_labels == label].astype(np.float32)
        mean = members.mean(0)
        distance = ((members - mean) ** 2).sum((1, 2, 3))
        order = np.argsort(distance, kind="stable")
        chosen = [mean, *members[order[:each]], *members[order[-each:]]]
        for axes, picture in zip(row, chosen, strict=True):
            show_image(axes, picture.astype(np.uint8))
        row[0].set_ylabel(CLASSES[label], rotation=0, ha="right", va="center", fontsize=8)
    for column, title in ((0, "mean"), (1, "nearest to the mean"), (1 + each, "farthest from it")):
        # Titles wider than their picture must not push the columns apart.
        axes = grid[0][column]
        axes.text(
            0, 1.12, title, fontsize=8, transform=axes.transAxes, weight="bold"
        ).set_in_layout(False)
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.94))
    return figure


def draw_probabilities(run: Run, result: Result, data: Dataset, folder: Path) -> None:
    """The same test pictures with their ten probabilities, untrained and trained."""
    pictures, labels = data.test_images[list(SHOWN)], data.test_labels[list(SHOWN)]
    before = probabilities(fresh_network(run), pictures)
    after = result.predictions()[0][list(SHOWN)]
    for name, values in (("before", before), ("after", after)):
        figure = Figure(figsize=(WIDE, 5.6))
        halves = figure.subplots(3, 4, width_ratios=[1, 1] * 2).reshape(-1, 2)
        for (left, right), picture, label, row in zip(
            halves, pictures, labels, values, strict=True
        ):
            show_image(left, picture)
            left.set_title(CLASSES[label], fontsize=8, weight="normal")
            _bars(right, row, int(label))
        _save(figure, folder / f"probabilities-{name}.svg")


def _photo_grid(answers: dict[str, dict[str, Any]], folder: Path, columns: int = 4) -> Figure:
    """A row for each class: every photo, beside it what the network sees, and its answer."""
    figure = Figure(figsize=(WIDE, 6.6))
    grid = figure.subplots(len(CLASSES), 2 * columns, width_ratios=[3, 2] * columns)
    for axes in grid.flat:
        axes.axis("off")
        axes.set_anchor("NW")
    for row, truth in zip(grid, CLASSES, strict=True):
        beside = {"transform": row[0].transAxes, "fontsize": 8}
        row[0].text(-0.1, 1, truth, ha="right", va="top", **beside)
        shown = [(name, answer) for name, answer in answers.items() if answer["class"] == truth]
        for place, (name, answer) in enumerate(shown):
            photo = open_photo(folder / name)
            left, right = row[2 * place : 2 * place + 2]
            left.imshow(photo)
            right.imshow(resized([photo], answer["width"], answer["height"])[0])
            best = int(np.argmax(answer["probabilities"]))
            correct = CLASSES[best] == truth
            mark, colour = ("✓", RIGHT) if correct else ("✗", WRONG)
            look = {"color": colour, "weight": "normal", "fontsize": 8, "pad": 3}
            left.set_title(f"{mark} {CLASSES[best]}", **look)
    return figure


def draw_mistakes(result: Result, data: Dataset, folder: Path) -> None:
    """The test pictures that the network is surest of and wrong about, the surest first."""
    given, _ = result.predictions()
    guesses = given.argmax(1)
    wrong = np.flatnonzero(guesses != data.test_labels)
    surest = wrong[np.argsort(-given[wrong].max(1), kind="stable")]
    figure = Figure(figsize=(WIDE, 4.8))
    for axes, index in zip(figure.subplots(3, 4).flat, surest, strict=False):
        show_image(axes, data.test_images[index])
        axes.set_title(CLASSES[guesses[index]], fontsize=8, loc="center")
        axes.set_xlabel(f"label: {CLASSES[data.test_labels[index]]}", fontsize=8)
    _save(figure, folder / "mistakes.svg")


def draw_filters(result: Result, folder: Path) -> None:
    """The first layer's filters as pictures, each scaled to its own largest weight."""
    weights = result.model()
    filters = weights["block1.conv1.weight"].transpose(0, 2, 3, 1)
    figure = Figure(figsize=(7.2, 1.7))
    for axes, values in zip(figure.subplots(2, 10).flat, filters, strict=False):
        show_image(axes, 0.5 + 0.5 * values / np.abs(values).max())
    _save(figure, folder / "filters.svg")


def save_samples(folder: Path, side: int = 320) -> None:
    """scikit-image's free pictures that the report offers to try the network on, made smaller."""
    from skimage import data

    for name in SAMPLES:
        pixels = data.chelsea() if name == "cat" else getattr(data, name)()
        picture = Image.fromarray(pixels).convert("RGB")
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        _encode(picture, folder / f"sample-{name}.jpg", "JPEG", quality=85)


def _bars(axes: Axes, values: np.ndarray, right: int) -> None:
    """Ten probabilities as bars, the right class in its own colour and every class named."""
    colours = [RIGHT if label == right else OTHER for label in range(len(values))]
    axes.barh(range(len(values)), values, color=colours, height=0.75)
    axes.set(xlim=(0, 1), ylim=(len(values) - 0.4, -0.6))
    axes.set_yticks(range(len(values)), CLASSES, fontsize=8)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"], fontsize=8)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    best = int(values.argmax())
    inside = values[best] > 0.75  # where there is no room beside the bar
    axes.text(
        values[best] + (-0.03 if inside else 0.03),
        best,
        f"{values[best]:.0%}",
        ha="right" if inside else "left",
        va="center",
        fontsize=8,
        color="white" if inside and best == right else None,
    )


def _encode(picture: Image.Image, path: Path, form: str, **options: int) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    write_whole(path, buffer.getvalue())


def _save(figure: Figure, path: Path) -> None:
    write_whole(path, Chart(figure)._repr_svg_().encode())
