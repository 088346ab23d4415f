"""Moves to stages.py."""

from cifar_study.stages import CHANNEL_MEANS, CLASSES, SIDE, TEST, TRAIN, TRAIN_SAMPLE  # noqa: F401
