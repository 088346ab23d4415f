"""What a network makes of pictures of other sizes than it was trained on: photos and shapes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from tqdm import tqdm

from cifar_study.data import Dataset
from cifar_study.errors import StudyError, reading, reason
from cifar_study.runs import Run, in_project
from cifar_study.stages import SIDE
from cifar_study.training.predict import probabilities, trained_network

PHOTOS = Path("figures/photos")
# Width, height and how a test picture comes to them: unchanged, then the assignment's own.
SHAPES = (
    (SIDE, SIDE, "as they are"),
    (28, 32, "scaled"),
    (36, 30, "scaled"),
    (32, 28, "cut"),
    (28, 32, "cut"),
)


def photos(run: Run, data: Dataset) -> dict[str, dict[str, Any]]:
    """What the network says of every photo that ``sources.csv`` names, by file.

    ``probabilities`` at ``width`` × ``height`` (:func:`photo_size`), ``squeezed`` in a square of
    the training size.
    """
    folder, model, answers = in_project(PHOTOS), trained_network(run), {}
    with reading(folder / "sources.csv", "restore it with: git checkout -- figures/photos"):
        names = pd.read_csv(folder / "sources.csv", usecols=["file"], dtype=str).file
    for name in tqdm(names, "asking about photos", leave=False, disable=None):
        photo = open_photo(folder / name)
        width, height = photo_size(*photo.size)
        answers[name] = {"width": width, "height": height}
        for key, size in (("probabilities", (width, height)), ("squeezed", (SIDE, SIDE))):
            answers[name][key] = probabilities(model, resized([photo], *size))[0].tolist()
    return answers


def open_photo(path: Path) -> Image.Image:
    """A photo in RGB, upright; one that can't be read is a :class:`StudyError`."""
    try:
        return ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    except Exception as error:  # a damaged picture can raise nearly anything
        raise StudyError(
            f"{path}: can't be read ({reason(error)}); save it as JPEG or PNG, or take its line "
            "out of sources.csv"
        ) from None


def photo_size(width: int, height: int) -> tuple[int, int]:
    """The sides that keep the proportions and hold about as many pixels as in training."""
    scale = SIDE / (width * height) ** 0.5
    return round(scale * width), round(scale * height)


def shapes(run: Run, data: Dataset) -> dict[str, dict[str, int]]:
    """How many test pictures are classified correctly in the shapes of :data:`SHAPES`.

    ``gained`` and ``lost`` count those that are in this shape alone, or as they are alone.
    """
    model, originals = trained_network(run), [Image.fromarray(each) for each in data.test_images]
    correct = {}
    for width, height, how in tqdm(SHAPES, "other shapes", leave=False, disable=None):
        change = _cut if how == "cut" else resized
        pictures = change(data.test_images if how == "cut" else originals, width, height)
        guesses = probabilities(model, pictures).argmax(1)
        correct[f"{width}×{height} {how}"] = guesses == data.test_labels
    unchanged = next(iter(correct.values()))
    return {
        shape: {
            "pictures": len(right),
            "right": int(right.sum()),
            "gained": int((right & ~unchanged).sum()),
            "lost": int((unchanged & ~right).sum()),
        }
        for shape, right in correct.items()
    }


def resized(pictures: Sequence[Image.Image], width: int, height: int) -> np.ndarray:
    """All of them at one size, ``uint8`` (N, height, width, 3)."""
    size = (width, height)
    return np.stack([np.asarray(each.resize(size, Image.Resampling.LANCZOS)) for each in pictures])


def _cut(pictures: np.ndarray, width: int, height: int) -> np.ndarray:
    """The middle of each, ``uint8`` (N, height, width, 3)."""
    top, left = (pictures.shape[1] - height) // 2, (pictures.shape[2] - width) // 2
    return pictures[:, top : top + height, left : left + width]
