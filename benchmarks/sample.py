"""The pictures that every contender trains on: one sample, written once, read by all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from cifar_study.data import Dataset

TEST_SHARE = 5  # CIFAR-10 has one test picture for every five it trains on


class Sample(NamedTuple):
    """Pictures ``uint8`` (N, 32, 32, 3) and labels ``uint8`` (N,), for training and test."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def first(self, images: int) -> Sample:
        """A smaller sample: ``images`` to train on, and a fifth of that to test."""
        tests = images // TEST_SHARE
        return Sample(
            self.train_images[:images],
            self.train_labels[:images],
            self.test_images[:tests],
            self.test_labels[:tests],
        )


def write_sample(path: Path, data: Dataset, images: int) -> None:
    """Draw ``images`` pictures, and a fifth as many to test: the sets are in order of class."""
    random = np.random.default_rng(0)
    train = random.permutation(len(data.train_labels))[:images]
    test = random.permutation(len(data.test_labels))[: images // TEST_SHARE]
    arrays = Sample(
        data.train_images[train],
        data.train_labels[train],
        data.test_images[test],
        data.test_labels[test],
    )
    np.savez(path, **arrays._asdict())


def read_sample(path: Path) -> Sample:
    """What :func:`write_sample` wrote."""
    with np.load(path) as arrays:
        return Sample(**arrays)
