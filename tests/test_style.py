"""How charts look: colours that are seen and told apart, and the same drawing for everybody."""

import json
import os
import re
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from conftest import PROJECT
from matplotlib.colors import to_rgb

from cifar_study.report import style
from cifar_study.stages import PEERS, STAGES

COLOURS = {number: stage.colour for number, stage in (STAGES | PEERS).items()}
# Of hue-rotate(180deg), from the specification of CSS filters.
HUE = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])

CONES = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.63]])
OKLAB = np.array([[0.2105, 0.7936, -0.0041], [1.978, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])


def on_dark(colour):
    """What the filter in dark.scss makes of a colour."""
    rule = (PROJECT / "chapters" / "dark.scss").read_text()
    share = float(re.search(r"--chart-filter: invert\(([\d.]+)\) hue-rotate\(180deg\);", rule)[1])
    rgb = np.array(to_rgb(colour))
    return np.clip(HUE @ (rgb * (1 - share) + (1 - rgb) * share), 0, 1)


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """The contrast ratio of WCAG 2.2, from 1 to 21."""
    light = [linear(np.array(rgb)) @ (0.2126, 0.7152, 0.0722) + 0.05 for rgb in (one, other)]
    return max(light) / min(light)


def apart(one, other):
    """The distance of two colours in Ottosson's coordinates, which is about what is seen."""
    places = [OKLAB @ np.cbrt(CONES @ linear(np.array(to_rgb(colour)))) for colour in (one, other)]
    return np.linalg.norm(places[0] - places[1])


def test_lines_and_words_are_seen_on_white_and_in_the_dark_theme():
    ground = on_dark("#ffffff")
    assert ground * 255 == pytest.approx([34] * 3, abs=0.6)  # the page's own, #222
    for colour in (*COLOURS.values(), style.RIGHT, style.WRONG, style.OTHER):
        assert contrast(to_rgb(colour), (1, 1, 1)) >= 3, colour
        assert contrast(on_dark(colour), ground) >= 3, colour
    for words in ("#222222", "#333333", style.GREY):
        assert contrast(to_rgb(words), (1, 1, 1)) >= 4.5
        assert contrast(on_dark(words), ground) >= 4.5


def test_stages_are_told_apart_and_none_looks_right_or_wrong():
    for one, other in combinations((3, 4, 7), 2):
        assert apart(COLOURS[one], COLOURS[other]) > 0.2, (one, other)
    for one, other in combinations(STAGES, 2):
        assert apart(COLOURS[one], COLOURS[other]) > 0.1, (one, other)
    for number, colour in COLOURS.items():
        assert min(apart(colour, style.RIGHT), apart(colour, style.WRONG)) > 0.1, number
    assert apart(style.RIGHT, style.WRONG) > 0.2


def drawing():
    return style.new_axes(2, 1.5)[0]


def test_pages_get_svg_photographs_png_and_word_png_alone(tmp_path, monkeypatch):
    svg, png = "image/svg+xml", "image/png"
    about = tmp_path / "about.json"
    for target, *wanted in (("", svg, png), ("html", svg, png), ("typst", svg, svg),
                            ("docx", png, png)):  # fmt: skip
        if target:
            about.write_text(json.dumps({"format": {"identifier": {"target-format": target}}}))
            monkeypatch.setenv("QUARTO_EXECUTE_INFO", str(about))
        charts = (style.chart(drawing)(), style.chart(photographs=True)(drawing)())
        shown = [chart._repr_mimebundle_() for chart in charts]
        assert [list(content) for content, _ in shown] == [[kind] for kind in wanted], target
    assert shown[1][1] == {png: {"width": 192, "height": 144}}  # two inches of 96 pixels
    assert shown[1][0][png].startswith(b"\x89PNG")


DRAW = """
from cifar_study.report.architecture import network
print((network(8).saved("svg") + network(8).saved("png")).hex())
"""
USER = """
text.usetex: True
figure.autolayout: True
savefig.bbox: tight
savefig.transparent: True
font.size: 30
backend: pdf
"""


def test_nobodys_settings_change_a_chart_by_a_byte(tmp_path, capsys):
    exec(DRAW, {})
    (tmp_path / "matplotlibrc").write_text(USER)
    theirs = {"MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    words = [sys.executable, "-c", DRAW]
    other = subprocess.run(words, env=os.environ | theirs, capture_output=True, text=True)
    assert other.stdout == capsys.readouterr().out
