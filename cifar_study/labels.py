"""Labels as the vectors that a network's probabilities are compared with."""

import numpy as np

from cifar_study.cifar10 import CLASSES
from cifar_study.errors import StudyError


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
