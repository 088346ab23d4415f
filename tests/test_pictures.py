"""What is measured for the pictures that are drawn from trained networks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PROJECT
from PIL import Image

from cifar_study import datasets
from cifar_study.cifar10 import CLASSES
from cifar_study.errors import StudyError
from cifar_study.report.pictures import PHOTO
from cifar_study.results.run import Run
from cifar_study.stages import STAGES
from cifar_study.training import predict, robustness

PHOTOS = PROJECT / "figures" / "photos"


def test_scaled_pictures_are_counted_as_the_network_names_them() -> None:
    torch.set_num_threads(1)
    run = Run(STAGES[8], root=PROJECT / "cache")
    drawn = datasets.synthetic(train=10, test=60)
    named = predict.probabilities(predict.trained_network(run), drawn.test_images).argmax(1)
    measured = robustness.measure_sizes(
        predict.trained_network(run), replace(drawn, test_labels=named), every=2
    )
    widths = measured["widths"]
    assert widths["square"]["32"] == 1  # not scaled, it says the same again
    assert all(0 < widths["flattened"][width] < 1 for width in ("24", "32"))
    assert widths["square"].keys() == widths["padded"].keys()
    assert widths["square"].keys() == set(map(str, robustness.TEST_SIDES))
    assert set(widths["enlarged"]) == {"16", "20", "24", "28"}
    for shape in measured["shapes"].values():
        assert shape["pictures"] == 60
        assert (
            shape["right"] == 60 + shape["gained"] - shape["lost"]
        )  # unchanged ones are all right


def test_photos_keep_their_proportions_at_about_the_training_size() -> None:
    for width, height in ((320, 213), (213, 320), (320, 100), (50, 50)):
        scaled = robustness.photo_size(width, height)
        assert abs(scaled[0] * scaled[1] - 32 * 32) < 40
        assert abs(scaled[0] / scaled[1] - width / height) < 0.15


def test_cuts_take_the_middle_and_padding_repeats_the_edge() -> None:
    picture = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    cut = robustness._cut(picture[None], 2, 4)
    assert np.array_equal(cut[0], picture[:, 1:3])
    padded = robustness._padded(picture[None, :3, :2], multiple=4)
    assert padded.shape == (1, 4, 4, 3)
    assert np.array_equal(padded[0, :, 0], picture[[0, 1, 2, 2], 0])


def test_the_network_says_again_what_is_written_of_the_photos() -> None:
    torch.set_num_threads(1)
    model = predict.trained_network(Run(STAGES[8], root=PROJECT / "cache"))
    again = robustness.ask_photos(model, PHOTOS)
    written = json.loads((PROJECT / "figures" / PHOTO).read_text())["values"]
    assert again.keys() == written.keys()
    for name, answer in again.items():
        for shape in ("probabilities", "squeezed"):
            assert np.allclose(answer.pop(shape), written[name].pop(shape), atol=1e-3)
        assert answer == written[name]


def test_photos_are_small_free_and_not_square() -> None:
    sources = pd.read_csv(PHOTOS / "sources.csv", index_col="file").drop(columns="origin")
    assert {path.name for path in PHOTOS.glob("*.jpg")} == set(sources.index)
    assert not sources.isna().any(axis=None)
    assert set(sources["class"]) == set(CLASSES)
    assert set(sources.kind) == {"scene", "cut-out"}
    assert sources["class"].value_counts().max() <= 4
    assert sources.licence.str.match("CC0|CC BY|public domain|GPL-2").all()
    for name in sources.index:
        with Image.open(PHOTOS / name) as photo:
            assert max(photo.size) <= 320
            assert photo.width != photo.height
    assert sum(path.stat().st_size for path in PHOTOS.iterdir()) < 600_000


def test_a_missing_photo_or_list_is_named(tmp_path: Path) -> None:
    model = predict.trained_network(Run(STAGES[8], root=PROJECT / "cache"))
    with pytest.raises(StudyError, match=r"sources.csv: unreadable .*git checkout"):
        robustness.ask_photos(model, tmp_path)
    shutil.copytree(PHOTOS, tmp_path / "photos")
    (tmp_path / "photos" / "cat-kitten.jpg").write_bytes(b"no picture")
    with pytest.raises(StudyError, match=r"cat-kitten.jpg: unreadable .*git checkout"):
        robustness.ask_photos(model, tmp_path / "photos")
