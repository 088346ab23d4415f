"""Figures of pictures and of what happens inside networks: they show what was measured."""

import shutil
from functools import cache

import numpy as np
import pytest
from conftest import PROJECT
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image
from results_on_disk import leave

from cifar_study.report import inside, pictures, predictions
from cifar_study.report.facts import measured
from cifar_study.report.style import RIGHT, WIDE, WRONG, Chart
from cifar_study.runs import Run, read
from cifar_study.stages import CLASSES, get_stage
from cifar_study.training import measure

FIGURES = {
    "before": lambda: pictures.probabilities(1, "before"),
    "after": lambda: pictures.probabilities(1, "after"),
    "errors": lambda: pictures.errors(8),
    "large photos": lambda: pictures.photos(),
    "all photos": lambda: pictures.photos(all=True),
    "gradients": lambda: inside.gradients(3, 4),
    "values": lambda: inside.activations(5, 6),
    "maps": lambda: inside.feature_maps(7),
    "by hand": lambda: inside.worked_convolution(1),
}
SLOW = ("before", "all photos", "maps")  # to measure their words takes long


@cache
def drawn(name):
    return FIGURES[name]()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long if n in SLOW else ()) for n in FIGURES]
)
def test_words_are_readable_and_within_the_figure(name):
    assert drawn(name).photographs == (name not in ("gradients", "values"))
    figure = drawn(name).figure
    assert figure.get_figwidth() == WIDE
    figure.draw_without_rendering()
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible():
            assert text.get_fontsize() >= 8
            box = text.get_window_extent()
            assert box.x0 >= -1, text
            assert box.x1 <= figure.bbox.width + 1, text


def test_probabilities_are_those_of_the_pictures_they_stand_beside():
    kept = measured("pictures", 1)
    given = read(Run(1, root=PROJECT / "cache")).predictions()[0]
    for when, shares in (("before", kept["before"]), ("after", given[kept["places"]])):
        axes = drawn(when).figure.axes
        for place, (picture, bars) in enumerate(zip(axes[::2], axes[1::2], strict=True)):
            label = kept["labels"][place]
            assert picture.get_title(loc="left") == CLASSES[label]
            pixels = np.asarray(picture.images[0].get_array())
            assert pixels.tobytes().hex() == kept["pixels"][place]
            assert [bar.get_width() for bar in bars.patches] == pytest.approx(shares[place])
            colours = [to_hex(bar.get_facecolor()) for bar in bars.patches]
            assert [colour == RIGHT for colour in colours] == [name == label for name in range(10)]
            [number] = [text.get_text() for text in bars.texts]
            assert number == f"{max(shares[place]):.0%}"


def test_mistakes_are_shown_with_what_the_network_says_and_the_label():
    given, labels = read(Run(8, root=PROJECT / "cache")).predictions()
    surest = np.where(given.argmax(1) == labels, 0, given.max(1)).argmax()
    first, *_ = drawn("errors").figure.axes
    assert first.get_title() == CLASSES[given[surest].argmax()]
    assert first.get_xlabel() == f"label: {CLASSES[labels[surest]]}"


def test_large_photos_are_three_right_and_three_wrong_as_they_were_seen_and_answered():
    shown = predictions.photos().query("large == 'yes'")
    assert sorted(shown.right) == [False] * 3 + [True] * 3
    axes = drawn("large photos").figure.axes
    parts = zip(shown.iterrows(), axes[::3], axes[1::3], axes[2::3], strict=True)
    for (name, answer), photo, seen, bars in parts:
        assert photo.get_title(loc="left") == answer["class"], name
        given = Image.open(PROJECT / "figures" / "photos" / name)
        asked = measure.resized([given], (answer.width, answer.height))[0]
        assert np.array_equal(seen.images[0].get_array(), asked)
        best = np.argsort(answer.probabilities)[::-1][:3]
        assert [text.get_text() for text in bars.texts][::2] == [CLASSES[c] for c in best]
        assert [bar.get_width() for bar in bars.patches] == sorted(answer.probabilities)[:-4:-1]
        surest = to_hex(bars.patches[0].get_facecolor()).upper()
        assert surest == (RIGHT if answer.right else WRONG)


def test_every_factor_and_sum_is_written():
    texts = drawn("by hand").figure.findobj(Text)
    said = [text.get_text().replace("\N{MINUS SIGN}", "-") for text in texts]
    numbers = [float(text) for text in said if text.replace("-", "").replace(".", "").isdigit()]
    assert len(numbers) == 3 * (16 + 9)
    sums = [float(text.split("→")[1]) for text in said if "→" in text]
    for channel, total in enumerate(sums):
        table = numbers[25 * channel : 25 * channel + 25]
        patch, weights = np.reshape(table[:16], (4, 4)), np.reshape(table[16:], (3, 3))
        assert (patch[:3, :3] * weights).sum() == pytest.approx(total, abs=5e-5)
    both = inside.output(1, "by hand"), inside.output(1, "exactly")
    hand, exact = (text.replace("\N{MINUS SIGN}", "-") for text in both)
    assert f"= {hand}" in said
    # Each factor is rounded by 0.005 at most.
    assert float(hand) == pytest.approx(float(exact), abs=27 * 0.01)


def test_lines_and_bars_are_what_was_measured():
    lines = drawn("gradients").figure.axes[0].lines
    of = (3, "start"), (3, "end"), (4, "start"), (4, "end")
    for line, (number, when) in zip(lines, of, strict=True):
        assert line.get_ydata() == pytest.approx(list(measured("gradients", number)[when].values()))
        assert line.get_color() == get_stage(number).colour
    left, _ = drawn("values").figure.axes
    low, _, high = np.array(list(measured("values", 5)["end"].values())).T
    ends = [segment[:, 1] for segment in left.collections[1].get_segments()]
    assert np.allclose(ends, np.array([low, high]).T)


def test_sentences_say_what_was_measured(folder):
    sizes_by_layer = {"a": 0.002, "b": 0.5, "dense": 0.25}
    leave(folder, 3, 0, [0.1], epochs=1, measured={"gradients": {"start": sizes_by_layer}})
    ranges = {"a": [-0.0151, 0, 0.0149], "b": [-12.34, 0, 1.618]}
    leave(folder, 5, 0, [0.1], epochs=1, measured={"values": {"end": ranges}})
    untrained = {"accuracy": 0.125, "loss": 2.3456}
    leave(folder, 1, 0, [0.1], epochs=1, measured={"pictures": {"untrained": untrained}})
    assert str(inside.gradient_span(3)) == "125 times"
    assert inside.activation_range(5, "end", "a") == "−0.015 to 0.015"
    assert inside.activation_range(5, "end", "b") == "−12 to 1.6"
    assert str(inside.untrained(1, "accuracy")) == "12.5%"
    assert str(inside.untrained(1, "loss")) == "2.346"


def test_nothing_measured_is_a_note_or_a_dash(folder):
    for name, draw in FIGURES.items():
        assert draw().data.startswith("*Drawn once "), name
    assert str(inside.gradient_span(3)) == str(inside.output(1, "by hand")) == "–"
    assert str(inside.activation_range(5, "end", "block4.conv2")) == "–"
    run = leave(folder, 3, 0, [0.1], epochs=1)
    (run.folder / "measured.json").write_text("{")
    assert "measured.json: can't be read" in inside.gradients(3, 4).data.replace("\\", "")


def test_a_damaged_or_missing_picture_is_a_note(tmp_path, monkeypatch):
    shutil.copytree(PROJECT / "figures" / "photos", tmp_path / "figures" / "photos")
    for module in (pictures, predictions):
        monkeypatch.setattr(module, "in_project", lambda name: tmp_path / name)
    assert isinstance(pictures.photos(), Chart)
    (tmp_path / "figures" / "photos" / "bird-heron.jpg").write_bytes(b"no picture")
    assert "bird-heron.jpg: can't be read" in pictures.photos().data.replace("\\", "")
    assert "examples.png: No such file" in pictures.stored("examples").data.replace("\\", "")
