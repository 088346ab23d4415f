"""The figure of what every stage says of the same pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import PROJECT
from safetensors.numpy import load_file

from cifar_study.cifar10 import CLASSES
from cifar_study.report import growth, study
from cifar_study.report.style import RIGHT, WRONG


def test_answers_are_those_that_are_stored() -> None:
    figure = growth.answers().figure
    cells = {axes.get_subplotspec().num1: axes for axes in figure.axes}
    assert [cells[column].get_title() for column in range(6)] == [
        "airplane",
        "automobile",
        "cat",
        "dog",
        "frog",
        "ship",
    ]
    for row, number in ((1, 1), (8, 8)):
        stored = load_file(PROJECT / f"cache/stage-{number}/seed-0/predictions.safetensors")
        for column, place in enumerate(growth.SHOWN):
            given = stored["probabilities"][place]
            said = [
                text for text in cells[6 * row + column].texts if text.get_text() != str(number)
            ]
            guess = CLASSES[given.argmax()]
            assert [text.get_text() for text in said] == [guess, f"{given.max():.0%}"]
            right = given.argmax() == stored["labels"][place]
            assert said[0].get_color() == (RIGHT if right else WRONG)


def test_without_results_there_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(study.VARIABLE, str(tmp_path))
    assert growth.answers().data == "*Drawn once a stage is trained.*"
