"""The networks in the pages say what PyTorch says, of pictures scaled as Pillow scales them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT
from pages import (
    content,
    give,
    in_browser,
    in_torch,
    pictures,
    resized_in_page,
    shown,
    told,
    visit_from,  # noqa: F401
    widget_page,
)
from PIL import Image
from results import leave

from cifar_study import datasets
from cifar_study.report import demo, study
from cifar_study.results.run import Run
from cifar_study.stages import STAGES, Block, Network
from cifar_study.training import predict
from plain.build import put_parts_in

SIZES = (
    (8, 8), (9, 13), (21, 32), (32, 32), (33, 47),
    (64, 48), (96, 96), (100, 37), (85, 128), (128, 17),
)  # fmt: skip
WITHIN = 0.01  # of a probability; weights in the page have 16 bits


@pytest.fixture(scope="module")
def tab(visit_from: Callable):  # noqa: F811
    """A page with both widgets."""
    return visit_from(widget_page("growth", "photo"))


@pytest.mark.browser
@pytest.mark.real_data
def test_test_pictures_get_the_answers_of_pytorch(tab, real_data: datasets.Dataset) -> None:
    images = real_data.test_images[::40]  # they are in the order of their classes
    assert len(images) == 250
    for number in STAGES:
        expected = in_torch(number, images)
        given = in_browser(tab, number, images)
        print(number, np.abs(given - expected).max(), (given.argmax(1) != expected.argmax(1)).sum())
        assert np.abs(given - expected).max() < WITHIN, number
        assert (given.argmax(1) != expected.argmax(1)).sum() <= 1, number


@pytest.mark.browser
def test_pictures_of_other_sizes_get_the_probabilities_of_pytorch(tab) -> None:
    guesses = set()
    for size in SIZES:
        images = np.stack(pictures(10, *size))
        expected = in_torch(8, images)
        guesses |= set(expected.argmax(1))
        assert np.abs(in_browser(tab, 8, images) - expected).max() < WITHIN, size
    assert len(guesses) >= 3  # the pictures are not all alike to the network


OTHERS = {
    "narrow": Network((Block(3, "sigmoid", pool=8),)),
    "odd windows": Network((Block(4, "sigmoid", pool=3), Block(5, batch_norm=True))),
    "any size": Network((Block(6, batch_norm=True, dropout=0.3), Block(7, pool="global")), None),
    "no block": Network(()),
}


@pytest.mark.browser
@pytest.mark.parametrize("name", OTHERS)
def test_a_changed_stage_of_a_trial_half_trained_runs_too(
    visit_from: Callable,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    run = Run(replace(STAGES[8], title="mine", network=OTHERS[name]), root=tmp_path)
    model = predict.fresh_network(run)
    random_weights = np.random.RandomState(1)
    for key, values in model.state_dict().items():
        if key.startswith("block") and "running" in key:  # as after some training
            values += torch.from_numpy(random_weights.uniform(0, 0.3, values.shape))
    weights = {key: value.numpy() for key, value in model.state_dict().items() if value.ndim}
    leave(run, [0.1, 0.2], model=weights)
    monkeypatch.setenv(study.VARIABLE, str(tmp_path))
    with contextlib.chdir(PROJECT):
        page = put_parts_in(demo.photo(8).data)
    assert "after 2 of 150 epochs" in page
    tab = visit_from("<!DOCTYPE html>" + re.sub(r"^`{7}.*$", "", page, flags=re.MULTILINE))
    images = np.stack(pictures(5, 32, 32))
    expected = predict.probabilities(model, images)
    assert np.abs(in_browser(tab, 8, images, "photo") - expected).max() < WITHIN


@pytest.mark.browser
def test_pictures_are_scaled_as_pillow_scales_them(tab) -> None:
    chance = random.Random(1)
    noise = np.random.RandomState(1)
    for place in range(60):
        width, height = (chance.choice([1, 7, 32, 63, 200, 333]) for _ in "wh")
        to = [chance.choice([1, 8, 26, 32, 39, 128]) for _ in "wh"]
        picture = noise.randint(0, 256, (height, width, 3)).astype(np.uint8)
        if place % 2:  # edges rather than noise, whose overshoot is cut off
            picture = (picture > 200).astype(np.uint8) * 255
        expected = np.asarray(Image.fromarray(picture).resize(to, Image.Resampling.LANCZOS))
        given = resized_in_page(tab, picture, *to)
        assert np.abs(given - expected.astype(int)).max() <= 1, (width, height, to)


@pytest.mark.browser
def test_the_photos_get_the_answers_of_the_chapters_table(tab) -> None:
    answers = json.loads((PROJECT / "figures" / "photo.json").read_text())["values"]
    tab.locator("#photo input[type=range]").fill("32")
    for name in sorted(answers)[::4]:
        give(tab, "#photo", (PROJECT / "figures" / "photos" / name).read_bytes(), name)
        expected = 100 * np.array(answers[name]["probabilities"])
        assert np.allclose(shown(tab, "#photo"), expected, atol=100 * WITHIN), name


@pytest.mark.browser
def test_a_step_takes_at_most_a_tenth_of_a_second(tab) -> None:
    told(tab, ".growth")
    milliseconds = tab.evaluate(
        """() => {
            const steps = document.querySelectorAll(".growth-strip input");
            return [...steps].map((step) => {
                const begun = performance.now();
                step.click();
                document.body.offsetHeight; // laid out
                return performance.now() - begun;
            });
        }"""
    )
    assert np.median(milliseconds) < 100, milliseconds


PHOTO = Image.fromarray(pictures(1, 300, 400)[0])
FRAMES = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"/>'
BAD = {
    "text": (b"no picture at all\n", "can't be read as a picture"),
    "nothing": (b"", "can't be read as a picture"),
    "noise": (random.Random(0).randbytes(5000), "can't be read as a picture"),
    "header only": (content(PHOTO)[:60], "can't be read as a picture"),
    "cut off": (content(PHOTO, "JPEG")[:-100], "can't be read as a picture"),
    "one pixel": (content(Image.new("RGB", (1, 1))), "1 × 1 pixels, too few"),
    "huge": (content(Image.new("1", (10_000, 10_000))), "10,000 × 10,000 pixels, too many"),
    "a drawing": (SVG, "a drawing (SVG)"),
    "of a phone": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400), "can't open HEIC"),
}


@pytest.mark.browser
@pytest.mark.parametrize("widget", ["#photo", ".growth"])
def test_bad_files_are_named_and_the_page_goes_on(tab, widget: str) -> None:
    card = tab.locator(f"{widget} .net-card")
    for name, (data, words) in BAD.items():
        said = give(tab, widget, data)
        assert words in said, name
        assert said.count(". ") <= 1, name
        assert not card.is_visible(), name
    moving = content(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:])
    assert "a picture that moves" in give(tab, widget, moving, "moving.gif")
    assert card.is_visible()
    assert "moves" not in give(tab, widget, content(PHOTO))
    assert card.is_visible()


def test_the_library_is_the_one_its_note_names() -> None:
    folder = PROJECT / "chapters" / "tensorflow"
    noted = dict(
        reversed(line.split())
        for line in re.findall(r"[0-9a-f]{64} .*", (folder / "SOURCE.txt").read_text())
    )
    files = {path for path in folder.iterdir() if path.suffix in (".js", ".wasm")}
    assert noted == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
