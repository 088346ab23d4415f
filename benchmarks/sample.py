"""The pictures that every contender trains on: one sample, written once, read by all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cifar_study.datasets import Dataset

TEST_SHARE = 5  # CIFAR-10 has one test picture for every five it trains on


def write_sample(path: Path, data: Dataset, images: int) -> None:
    """Draw ``images`` pictures, and a fifth as many to test: the sets are in order of class."""
    random = np.random.default_rng(0)
    train = random.permutation(len(data.train_labels))[:images]
    test = random.permutation(len(data.test_labels))[: images // TEST_SHARE]
    pictures = (data.train_images[train], data.train_labels[train])
    np.savez(path, *pictures, data.test_images[test], data.test_labels[test])


def read_sample(path: Path) -> Dataset:
    """What :func:`write_sample` wrote."""
    with np.load(path) as arrays:
        return Dataset("sample", *arrays.values(), fingerprint="")


def first(sample: Dataset, images: int) -> Dataset:
    """A smaller sample: ``images`` to train on, and a fifth of that to test."""
    tests = images // TEST_SHARE
    return replace(
        sample,
        train_images=sample.train_images[:images],
        train_labels=sample.train_labels[:images],
        test_images=sample.test_images[:tests],
        test_labels=sample.test_labels[:tests],
    )
