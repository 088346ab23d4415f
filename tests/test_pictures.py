"""What is measured for the pictures that are drawn from trained networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from conftest import PROJECT

from cifar_study import data as datasets
from cifar_study import figures, pictures, predict
from cifar_study.runs import Run
from cifar_study.stages import STAGES


def test_scaled_pictures_are_counted_as_the_network_names_them(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    run = Run(STAGES[8], root=PROJECT / "cache")
    drawn = datasets.synthetic(train=10, test=60)
    named = predict.probabilities(predict.trained_network(run), drawn.test_images).argmax(1)
    pictures.measure_sizes(run, replace(drawn, test_labels=named), tmp_path, every=2)
    square, flattened = json.loads((tmp_path / figures.SIZES).read_text()).values()
    assert square["32"] == 1  # not scaled, it says the same again
    assert all(0 < flattened[width] < 1 for width in ("24", "32"))
    assert square.keys() == flattened.keys() == set(map(str, pictures.TEST_SIDES))
