"""Drawn shapes in place of photographs, for trials and tests that need no download."""

import numpy as np

from cifar_study.cifar10 import CLASSES, SIDE
from cifar_study.datasets.dataset import Dataset, dataset_from
from cifar_study.datasets.formats import ROW

TRAIN, TEST = 2_000, 500  # pictures


def synthetic(train: int = TRAIN, test: int = TEST) -> Dataset:
    """Ten drawn shapes, one a class.

    The same on every machine: drawn by integer arithmetic from a random stream
    that NumPy guarantees never to change.
    """
    random = np.random.RandomState(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    rows = np.empty((train + test, ROW), dtype=np.uint8)
    for index, row in enumerate(rows):
        label = row[0] = index % len(CLASSES)
        centre_y, centre_x = random.randint(12, 20, size=2)
        size = random.randint(7, 11)
        dy, dx = y - centre_y, x - centre_x
        distance = dy * dy + dx * dx
        shapes = (
            distance < size * size,  # disc
            (distance < size * size) & (distance > size * size // 3),  # ring
            np.maximum(abs(dy), abs(dx)) < size - 1,  # square
            abs(dy) + abs(dx) < size,  # diamond
            (dy < size) & (2 * abs(dx) < dy + size),  # triangle
            np.minimum(abs(dy), abs(dx)) < 3,  # cross
            abs(abs(dy) - abs(dx)) < 3,  # saltire
            (dy % 8) < 4,  # horizontal stripes
            (dx % 8) < 4,  # vertical stripes
            ((dy // 4 + dx // 4) % 2) == 0,  # checkerboard
        )
        paint, ground = random.randint(130, 256, size=3), random.randint(0, 120, size=3)
        picture = np.where(shapes[label][..., None], paint, ground)
        noise = random.randint(-20, 21, size=picture.shape)
        row[1:] = np.clip(picture + noise, 0, 255).astype(np.uint8).ravel()
    return dataset_from("synthetic", rows, train)
