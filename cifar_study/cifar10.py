"""What is known of CIFAR-10 without looking at it: classes, sizes, published means, one-hot labels.

Both halves of the package need it, so it imports neither.
"""

from __future__ import annotations

import numpy as np

from cifar_study.errors import StudyError

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIDE = 32  # pixels
TRAIN, TEST = 50_000, 10_000  # pictures, as many of each class
TRAIN_SAMPLE = 10_000  # training pictures that are evaluated after each epoch, as many as test ones
CHANNEL_MEANS = (0.49139968, 0.48215841, 0.44653091)  # published, of the training pixels


def one_hot(labels: np.ndarray, classes: int = len(CLASSES)) -> np.ndarray:
    """Labels as probability vectors: certainty for the right class, zero elsewhere.

    Integer labels (N,) in, ``float32`` (N, ``classes``) out. A label outside
    0 … ``classes`` − 1 is a :class:`StudyError`.
    """
    labels = np.asarray(labels)
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise StudyError(f"label {wrong} is out of range: classes are numbered 0 to {classes - 1}")
    vectors = np.zeros((len(labels), classes), dtype=np.float32)
    vectors[np.arange(len(labels)), labels] = 1
    return vectors
