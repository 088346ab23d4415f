"""The networks in the page give what PyTorch gives, of pictures scaled as Pillow scales them."""

import hashlib
import json
import random
import re

import numpy as np
import pytest
import torch
import widgets as w
from conftest import PROJECT
from PIL import Image, ImageCms
from safetensors.numpy import load_file

from cifar_study.report import networks
from cifar_study.runs import VARIABLE, Run
from cifar_study.stages import STAGES, Block, Network, Recipe, Stage
from cifar_study.training import predict

WITHIN = 0.01  # of a probability; weights in the page have 16 bits
STRIP = PROJECT / "figures" / "shown.png"


@pytest.fixture(scope="module")
def tab(visit):
    tab = visit(w.widget_page())
    w.told(tab)
    return tab


def stored(number):
    file = PROJECT / f"cache/stage-{number}/seed-0/predictions.safetensors"
    return load_file(file)["probabilities"].astype(float)


@pytest.mark.long
@pytest.mark.browser
@pytest.mark.real_data
def test_test_pictures_get_the_answers_of_pytorch_and_those_that_are_stored(tab, real_data):
    images = real_data.test_images[::40]  # they are in the order of their classes
    assert len(images) == 250
    for number in STAGES:
        expected = w.in_torch(number, images)
        given = w.in_browser(tab, number, images)
        assert np.abs(given - expected).max() < WITHIN, number
        assert (given.argmax(1) != expected.argmax(1)).sum() <= 1, number
        # Stored are the answers of training's sixteen bits, where those were used.
        assert (given.argmax(1) == stored(number)[::40].argmax(1)).mean() > 0.97, number


@pytest.mark.browser
def test_the_pictures_of_the_figure_get_the_answers_of_the_figure(tab):
    images = np.stack(np.split(np.asarray(Image.open(STRIP).convert("RGB")), 6, axis=1))
    for number in STAGES:
        given, expected = w.in_browser(tab, number, images), stored(number)[list(networks.SHOWN)]
        assert np.abs(given - expected).max() < 0.06, number
        assert (given.argmax(1) == expected.argmax(1)).all(), number


@pytest.mark.browser
def test_pictures_of_other_sizes_get_the_probabilities_of_pytorch(tab):
    guesses = set()
    for size in ((8, 8), (9, 13), (21, 32), (33, 47), (64, 48), (100, 37), (85, 128), (128, 17)):
        images = w.photos(*size)
        expected = w.in_torch(8, images)
        guesses |= set(expected.argmax(1))
        assert np.abs(w.in_browser(tab, 8, images) - expected).max() < WITHIN, size
    assert len(guesses) >= 3  # the pictures are not all alike to the network


TITLE = """</script><script>alert(1)</script> a | b "c" 'd' `e` [f](g) $h$ 🐸"""
OTHERS = {
    "odd windows": Network((Block(4, "sigmoid", pool=3), Block(5, batch_norm=True))),
    "any size": Network((Block(6, batch_norm=True, dropout=0.3), Block(7, pool="global")), None),
    "no block": Network(()),
}


@pytest.mark.browser
@pytest.mark.parametrize("name", OTHERS)
def test_one_stage_of_ones_own_runs_under_its_own_title(visit, tmp_path, monkeypatch, name):
    monkeypatch.setitem(STAGES, 12, Stage(12, TITLE, OTHERS[name], Recipe(epochs=2)))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    run = Run(12, root=tmp_path)
    model = predict.fresh_network(run)
    random_values = np.random.RandomState(1)
    for key, values in model.state_dict().items():
        if key.startswith("block") and "running" in key:  # as after some training
            values += torch.from_numpy(random_values.uniform(0, 0.3, values.shape))
    w.leave(run, {key: value.numpy() for key, value in model.state_dict().items() if value.ndim})
    tab = visit(w.widget_page())
    assert w.told(tab).startswith(f"Stage 12, {TITLE}: ")
    assert re.search(r"After 2 epochs it classifies 10\.0% ", tab.locator(".net").inner_text())
    assert not tab.get_by_role("button", name="Play").is_visible()
    images = w.photos(32, 32)
    expected = predict.probabilities(model, images)
    assert np.abs(w.in_browser(tab, 12, images) - expected).max() < WITHIN
    w.give(tab, w.content(Image.new("RGB", (300, 100), "red")))
    assert w.seen(tab).shape == ((18, 55, 3) if name == "any size" else (32, 32, 3))


@pytest.mark.browser
def test_pictures_are_scaled_as_pillow_scales_them(tab):
    chance = random.Random(1)
    noise = np.random.RandomState(1)
    for place in range(24):
        width, height = (chance.choice([1, 7, 32, 63, 200]) for _ in "wh")
        to = [chance.choice([1, 8, 26, 32, 39, 128]) for _ in "wh"]
        picture = noise.randint(0, 256, (height, width, 3)).astype(np.uint8)
        if place % 2:  # edges rather than noise, whose overshoot is cut off
            picture = (picture > 200).astype(np.uint8) * 255
        expected = np.asarray(Image.fromarray(picture).resize(to, Image.Resampling.LANCZOS))
        given = w.resized_in_page(tab, picture, *to)
        assert np.abs(given - expected.astype(int)).max() <= 1, (width, height, to)


@pytest.mark.long
@pytest.mark.browser
def test_photos_get_the_shape_and_the_answers_that_were_measured(tab):
    measured = json.loads((PROJECT / "cache/stage-8/seed-0/measured.json").read_text())
    expected = measured["values"]["photos"]
    for name in sorted(expected)[::4]:
        w.give(tab, (PROJECT / "figures" / "photos" / name).read_bytes(), name)
        w.step(tab, 8)
        assert w.seen(tab).shape == (expected[name]["height"], expected[name]["width"], 3), name
        assert np.allclose(w.shown(tab), expected[name]["probabilities"], atol=WITHIN), name
        w.step(tab, 7)
        assert w.seen(tab).shape == (32, 32, 3)


PHOTO = Image.fromarray(w.photos(300, 400)[1])
JPEG = w.content(PHOTO, "JPEG")
FRAMES = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"/>'
BAD = {
    "text": (b"no picture at all\n", "can't be read as a picture"),
    "nothing": (b"", "can't be read as a picture"),
    "cut off": (JPEG[:-100], "can't be read as a picture"),
    "one pixel": (w.content(Image.new("RGB", (1, 1))), "1 × 1 pixels, too few"),
    "huge": (w.content(Image.new("1", (10_000, 10_000))), "10,000 × 10,000 pixels, too many"),
    "a drawing": (SVG, "a drawing (SVG)"),
    "of a phone": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400), "can't open HEIC"),
}


@pytest.mark.browser
def test_bad_files_are_named_and_the_page_goes_on(tab):
    card = tab.locator(".net-card")
    for name, (data, words) in BAD.items():
        status = w.give(tab, data)
        assert words in status, name
        assert status.count(". ") <= 1, name
        assert not card.is_visible(), name
    assert "with" in w.give(tab, w.content(PHOTO))
    assert card.is_visible()


@pytest.mark.browser
def test_a_jpeg_without_its_last_two_bytes_is_whole(tab):
    w.give(tab, JPEG, "whole.jpg")
    whole = w.seen(tab)
    for data in (JPEG, w.content(PHOTO, "JPEG", progressive=True)):
        assert data.endswith(b"\xff\xd9")
        assert "with" in w.give(tab, data[:-2], "nearly.jpg")
        assert np.abs(w.seen(tab).astype(int) - whole).max() <= 3


@pytest.mark.browser
def test_of_pictures_that_move_the_first_frame_is_taken_and_that_is_said(tab):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("GIF", "PNG", "WEBP"):
        options = {} if kind == "GIF" else {"icc_profile": profile}
        first, *others = FRAMES
        moving = w.content(first, kind, save_all=True, append_images=others, **options)
        assert "a picture that moves" in w.give(tab, moving), kind
        assert w.seen(tab)[0, 0, 0] > 200, kind  # red
        assert "moves" not in w.give(tab, w.content(first, kind, **options)), kind


def test_the_library_is_the_one_its_note_names():
    folder = PROJECT / "chapters" / "tensorflow"
    lines = re.findall(r"([0-9a-f]{64}) +(\S+)", (folder / "SOURCE.txt").read_text())
    files = {path for path in folder.iterdir() if path.suffix in (".js", ".wasm")}
    digests = {(hashlib.sha256(path.read_bytes()).hexdigest(), path.name) for path in files}
    assert digests == set(lines)
