"""Colours, sizes and themes of charts, and that each one is referred to."""

from __future__ import annotations

import re

import pytest
from conftest import PROJECT
from matplotlib.text import Text

from cifar_study.report import (
    architecture,
    benchmark,
    charts,
    convolution,
    mechanisms,
    pictures,
    points,
    style,
)

PHONE = 348  # pixels between the margins of a phone that is 390 wide
CHAPTERS = [
    path
    for path in sorted((PROJECT / "chapters").glob("*.qmd"))
    if path.stem not in ("references", "glossary")
]


def all_charts() -> dict[str, style.Chart]:
    found = {
        "tests": charts.all_test_curves(),
        "confusion": charts.confusion(8),
        "calibration": points.calibration(1, 5, 6, 8),
        "minimal": architecture.network(1),
        "free": architecture.network(8),
        "rows": architecture.pooled_rows(21, 24, 32),
        "sizes": pictures.sizes(),
        "by hand": convolution.worked_convolution(1),
        "gradients": mechanisms.gradients(3, 4),
        "values": mechanisms.activations(5, 6),
        "maps": mechanisms.feature_maps(7),
    }
    pairs = {
        "history": charts.histories(3),
        "histories": charts.histories(7, 8),
        "trade-off": charts.trade_off(),
        "same": mechanisms.same_for_all(3),
        "growth": benchmark.growth(),
    }
    for name, pair in pairs.items():
        found |= {f"{name} {place}": chart for place, chart in enumerate(pair)}
    return {name: chart for name, chart in found.items() if isinstance(chart, style.Chart)}


def test_contrast_is_that_of_the_standard() -> None:
    assert style.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert style.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


def test_every_colour_is_seen_in_both_themes() -> None:
    for colour in (*style.COLOURS.values(), style.RIGHT, style.WRONG, style.OTHER):
        assert style.contrast(colour, "#ffffff") >= 3, colour
        assert style.contrast(style.on_ground(colour), style.GROUND) >= 3, colour
    for words in ("#222222", "#333333", "#555555"):
        assert style.contrast(style.on_ground(words), style.GROUND) >= 4.5
    stages = [style.on_ground(colour) for colour in style.COLOURS.values()]
    assert len(set(stages)) == len(stages)


def test_a_chart_carries_a_rule_for_the_dark_theme() -> None:
    svg = charts.histories(1)[0]._repr_svg_()
    media = re.search(r"@media \(prefers-color-scheme: dark\) \{\n(.*?)\n\}\n", svg, re.DOTALL)
    rules = media[1].splitlines()
    assert '[style*="fill: #ffffff"] { fill: #1d2126 !important }' in rules
    assert '[style*="stroke: #332288"] { stroke: #9a8cf0 !important }' in rules
    outside = svg.replace(media[0], "")
    for colour in set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", outside)):
        changed = any(f": {colour}" in rule for rule in rules)
        assert changed == (style.on_ground(colour) != colour)


def test_words_of_charts_have_nine_pixels_on_a_phone() -> None:
    small = {}
    for name, chart in all_charts().items():
        figure = chart.figure
        shown = min(1, PHONE / (figure.get_figwidth() * 96)) * 96 / 72  # pixels for a point
        for text in figure.findobj(Text):
            if text.get_text().strip() and text.get_visible():
                pixels = text.get_fontsize() * shown
                if pixels < 8.99:
                    small[name, text.get_text()] = round(pixels, 1)
    assert not small


def test_plots_keep_their_height_beside_long_legends() -> None:
    heights = []
    for stages in ((1,), (1, 2), (8, 9, 10, 11)):
        [axes] = charts.histories(*stages)[0].figure.axes
        axes.figure.draw_without_rendering()
        heights.append(axes.get_window_extent().height)
    assert max(heights) / min(heights) < 1.1


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_figure_and_table_is_referred_to(chapter) -> None:
    text = chapter.read_text()
    labels = re.findall(r"label: ((?:fig|tbl)-[\w-]+)|\{#(fig-[\w-]+)", text)
    for label in {one or other for one, other in labels}:
        assert re.search(rf"@{label}\b", text), label
