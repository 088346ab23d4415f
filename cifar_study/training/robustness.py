"""What a network makes of pictures unlike those it was trained on: sizes, shapes, photos."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from torch import nn
from tqdm import tqdm

from cifar_study.cifar10 import SIDE
from cifar_study.datasets import Dataset
from cifar_study.errors import StudyError, reason
from cifar_study.training.predict import probabilities

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


def ask_photos(model: nn.Module, folder: Path) -> dict[str, dict[str, Any]]:
    """The network's probabilities for every photo of a folder, by file, with what its source says.

    Scaled by :func:`photo_size`, and squeezed into a square of the training
    size. ``sources.csv`` says what each photo shows and whose it is.
    """
    answers: dict[str, dict[str, Any]] = {}
    for name, source in _photo_sources(folder).items():
        photo = open_photo(folder / name)
        width, height = photo_size(*photo.size)
        answers[name] = source | {"width": width, "height": height}
        for key, size in (("probabilities", (width, height)), ("squeezed", (SIDE, SIDE))):
            answers[name][key] = probabilities(model, resized([photo], *size))[0].tolist()
    return answers


def measure_sizes(model: nn.Module, data: Dataset, every: int = 5) -> dict[str, Any]:
    """How many test pictures are named rightly in other shapes and at other sizes.

    ``shapes``: all of them in the shapes of :data:`SHAPES`; ``gained`` and ``lost`` count those
    named rightly in this shape alone, or as they are alone. ``widths``: the accuracy on every
    fifth by width, square; flattened to two thirds of the height; flattened, then each side
    padded to a multiple of eight; and, of less than the training width, made small and enlarged.
    """
    originals = [Image.fromarray(picture) for picture in data.test_images]
    named = {}
    for width, height, how in tqdm(SHAPES, "other shapes", leave=False, disable=None):
        if how == "cut":
            changed = _cut(data.test_images, width, height)
        else:
            changed = resized(originals, width, height)
        named[f"{width}×{height} {how}"] = (
            probabilities(model, changed).argmax(1) == data.test_labels
        )
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
    for side in tqdm(TEST_SIDES, "other sizes", leave=False, disable=None):
        flat = resized(some, side, flattened(side))
        square = resized(some, side, side)
        changes = {"square": square, "flattened": flat, "padded": _padded(flat)}
        if side < SIDE:
            small = [Image.fromarray(picture) for picture in square]
            changes["enlarged"] = resized(small, SIDE, SIDE)
        for name, pictures in changes.items():
            share = float((probabilities(model, pictures).argmax(1) == labels).mean())
            widths.setdefault(name, {})[str(side)] = share
    return {"shapes": shapes, "widths": widths}


def flattened(width: int) -> int:
    """The height of a square picture that lost a third of it."""
    return round(width * 2 / 3)


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
        raise StudyError(f"{path}: unreadable ({reason(error)}); {PHOTOS_REMEDY}") from None


def open_photo(path: Path) -> Image.Image:
    """A photo in RGB; one that can't be read is a :class:`StudyError`."""
    try:
        return Image.open(path).convert("RGB")
    except Exception as error:  # a damaged picture can raise nearly anything
        raise StudyError(f"{path}: unreadable ({reason(error)}); {PHOTOS_REMEDY}") from None


def resized(pictures: Sequence[Image.Image], width: int, height: int) -> np.ndarray:
    """All of them at one size, ``uint8`` (N, height, width, 3)."""
    size = (width, height)
    return np.stack([np.asarray(one.resize(size, Image.Resampling.LANCZOS)) for one in pictures])


def _cut(pictures: np.ndarray, width: int, height: int) -> np.ndarray:
    """The middle of each, ``uint8`` (N, height, width, 3)."""
    top, left = (pictures.shape[1] - height) // 2, (pictures.shape[2] - width) // 2
    return pictures[:, top : top + height, left : left + width]


def _padded(pictures: np.ndarray, multiple: int = 8) -> np.ndarray:
    """Their outer rows and columns repeated until both sides are a multiple of eight."""
    missing = [-side % multiple for side in pictures.shape[1:3]]
    around = [(amount // 2, amount - amount // 2) for amount in missing]
    return np.pad(pictures, ((0, 0), *around, (0, 0)), mode="edge")
