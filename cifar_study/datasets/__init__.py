"""The pictures: where they come from, and that they are the right ones."""

from pathlib import Path

from cifar_study.atomic import present
from cifar_study.datasets.dataset import DECODED, Dataset, load_folder
from cifar_study.datasets.download import download
from cifar_study.datasets.formats import holds_pictures
from cifar_study.datasets.shapes import synthetic

__all__ = ["Dataset", "load", "load_folder", "synthetic"]


def load(name: str = "data", fill: bool = False) -> Dataset:
    """The data set called ``name``: ``synthetic``, or a folder with CIFAR-10.

    Where ``fill`` is true and the folder holds no data set, it is downloaded
    into it. What is not CIFAR-10, whole and unchanged, is a :class:`StudyError`.
    """
    if name == "synthetic":
        return synthetic()
    folder = Path(name)
    if fill and not (present(folder / DECODED) or holds_pictures(folder)):
        download(folder)
    return load_folder(folder)
