"""What the charts draw of results, printed and to explore: curves, bands, marks and words."""

import json
import os
import re
import subprocess
import sys
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from conftest import PROJECT
from IPython.display import Markdown
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from results_on_disk import leave

from cifar_study.report import charts, style
from cifar_study.stages import PEERS, STAGES


def axes_of(chart):
    [axes] = chart.figure.axes
    return axes


def texts(chart):
    """The words in a plot, lines joined, spaces plain."""
    written = [text.get_text() for text in axes_of(chart).texts if text.get_text()]
    return [" ".join(text.split()) for text in written]


def test_curves_are_the_raw_means_and_bands_reach_from_the_lowest_seed_to_the_highest(folder):
    leave(folder, 4, 0, [0.3, 0.5, 0.4], epochs=3)
    leave(folder, 4, 1, [0.1, 0.6, 0.5], epochs=3)
    accuracy = axes_of(charts.histories(4)[1])
    train, test = accuracy.lines
    assert test.get_xydata() == pytest.approx(np.array([[1, 0.2], [2, 0.55], [3, 0.45]]))
    assert train.get_ydata() == pytest.approx([0.3, 0.65, 0.55])  # 0.1 above
    assert (test.get_linestyle(), train.get_linestyle()) == ("-", "--")
    corners = accuracy.collections[1].get_paths()[0].vertices
    for epoch, low, high in ((1, 0.1, 0.3), (2, 0.5, 0.6), (3, 0.4, 0.5)):
        heights = corners[corners[:, 0] == epoch, 1]
        assert (heights.min(), heights.max()) == pytest.approx((low, high))


def test_the_lowest_loss_is_marked_at_the_median_of_the_seeds_own_epochs(folder):
    # The loss of the test is 2 less the accuracy: lowest in epochs 2, 4 and 5. The mean curve's
    # own lowest point is in epoch 2.
    leave(folder, 5, 0, [0.1, 0.9, 0.1, 0.1, 0.1, 0.1], epochs=6)
    leave(folder, 5, 1, [0.1, 0.2, 0.2, 0.4, 0.2, 0.1], epochs=6)
    leave(folder, 5, 2, [0.1, 0.2, 0.2, 0.2, 0.5, 0.1], epochs=6)
    loss = charts.histories(5)[0]
    [dot] = [line for line in axes_of(loss).lines if line.get_marker() == "o"]
    assert dot.get_xydata()[0] == pytest.approx((4, 2 - 0.7 / 3))
    assert "4" in texts(loss)
    leave(folder, 4, 0, [0.1, 0.2, 0.3], epochs=3)  # its loss still falls
    assert not any("lowest" in text for text in texts(charts.histories(4)[0]))


def test_curves_are_named_with_the_values_that_the_report_prints_and_a_gap_is_bracketed(folder):
    leave(folder, 4, 0, [0.2, 0.85234], epochs=2)
    leave(folder, 5, 0, [0.3, 0.6], epochs=2)
    loss, accuracy = charts.histories(4, 5, gap=5)
    said = ["4 training 95.2%", "4 two blocks, ReLU 85.2%", "5 four blocks 60.0%"]
    assert sorted(texts(accuracy)) == [*said, "5 training 70.0%", "gap 10.0 points"]
    assert not any("gap" in text for text in texts(loss))
    [arrow] = [each for each in axes_of(accuracy).texts if each.arrow_patch and not each.get_text()]
    assert (arrow.xy[1], arrow.xyann[1]) == pytest.approx((0.7, 0.6))
    assert 1 < arrow.xy[0] <= 2
    assert sorted(texts(charts.histories(4)[1])) == ["test 85.2%", "training 95.2%"]


def test_axes_end_where_the_longest_run_will_and_a_stage_that_is_not_through_says_so(folder):
    leave(folder, 1, 0, [0.2], epochs=1)
    assert axes_of(charts.histories(1)[0]).get_xlim() == (1, 2)
    leave(folder, 4, 0, [0.25])
    leave(folder, 3, 0, [0.1] * 15)
    said = texts(charts.histories(3, 4)[1])
    assert "4 two blocks, ReLU 1 of 150 epochs 25.0%" in said
    assert "3 two blocks, sigmoid 15 epochs 10.0%" in said
    one = axes_of(charts.histories(4)[1])
    assert {line.get_marker() for line in one.lines} == {"o"}  # a line of one point is not seen
    assert one.get_xlim() == (1, 150)


def test_without_a_result_a_line_says_how_to_get_one(folder):
    drawn = (*charts.histories(1), charts.all_test_curves(), charts.calibration(1, 5))
    for note in (*drawn, charts.confusion(8)):
        assert isinstance(note, Markdown)
        assert "Drawn once one of these stages is trained" in note.data


def test_no_curve_of_the_study_leaves_the_axes_that_all_its_histories_share():
    paths = (PROJECT / "cache").glob("stage-*/seed-*/history.csv")
    most = max(pd.read_csv(path)[["train_loss", "test_loss"]].max(axis=None) for path in paths)
    for stages in ((1,), (8, 9, 11)):
        loss, accuracy = map(axes_of, charts.histories(*stages))
        assert loss.get_position().bounds == accuracy.get_position().bounds
        assert loss.get_xlim() == accuracy.get_xlim() == (1, 150)
        assert accuracy.get_ylim() == (0, 1)
        assert loss.get_ylim()[0] == 0
        assert most <= loss.get_ylim()[1] < most + 1


def test_labels_of_all_stages_keep_apart_and_within_the_picture():
    for chart in (charts.all_test_curves(), *charts.histories(8, 9, 11), *charts.histories(6, 7)):
        figure = chart.figure
        figure.draw_without_rendering()
        named = [text for text in axes_of(chart).texts if text.get_text() and text.arrow_patch]
        boxes = [Text.get_window_extent(text) for text in named]  # without its leader
        for number, box in enumerate(boxes):
            assert figure.bbox.x1 >= box.x1, named[number]
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, named[number]
            for other in boxes[:number]:
                assert not box.padded(-2).overlaps(other.padded(-2)), named[number]


def test_calibration_and_confusion_show_what_the_networks_said(folder):
    said = np.full((4, 10), 0.2 / 9)
    said[np.arange(4), [0, 0, 1, 3]] = 0.8  # of pictures 0, 0, 1, 2: three right, one wrong
    leave(folder, 8, 0, [0.5], epochs=1, probabilities=said, labels=np.array([0, 0, 1, 2]))
    curve = axes_of(charts.calibration(8)).lines[1]
    assert curve.get_xydata()[0] == pytest.approx((0.8, 0.75), abs=1e-3)
    shares = np.asarray(axes_of(charts.confusion(8)).images[0].get_array())
    assert (shares[0, 0], shares[1, 1], shares[2, 3], shares[2, 2]) == (1, 1, 1, 0)


# --- how charts look: seen and told apart, and the same drawing for everybody ---------------------

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


@pytest.mark.long
def test_nobodys_settings_change_a_chart_by_a_byte(tmp_path, capsys):
    exec(DRAW, {})
    (tmp_path / "matplotlibrc").write_text(USER)
    theirs = {"MATPLOTLIBRC": str(tmp_path), "MPLBACKEND": "nonsense", "PYTHONPATH": str(PROJECT)}
    words = [sys.executable, "-c", DRAW]
    other = subprocess.run(words, env=os.environ | theirs, capture_output=True, text=True)
    assert other.stdout == capsys.readouterr().out


# --- the chart to explore, by mouse and by keyboard ----------------------------------------------

FIGURE = '<figure id="fig-all"><p>printed</p><figcaption>All.</figcaption></figure>'


def opened(visit, **options):
    """A page with the chart alone."""
    markup = charts.explorer("fig-all").data.strip("`\n").removeprefix("{=html}")
    head = "<!DOCTYPE html><meta charset=utf-8><meta name=viewport content=width=device-width>"
    return visit(f"{head}{FIGURE}{markup}", has_touch=True, **options)


@pytest.fixture(scope="module")
def page(tmp_path_factory, visit):
    """Stage 1 from two seeds, stage 4 from one with a single epoch, of twelve that are planned."""
    folder = tmp_path_factory.mktemp("results")
    leave(folder, 1, 0, [0.1, 0.2, 0.4625], epochs=3)
    leave(folder, 1, 1, [0.2, 0.4, 0.4625], epochs=3)
    leave(folder, 4, 0, [0.5], epochs=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIFAR_STUDY_CACHE", str(folder))
        return opened(visit)


def drawn(page, of):
    """The points of curves or bands, as epoch and share of the height, of twelve epochs."""
    read = f"all => all.map(e => [e.dataset.{of}, e.getAttribute('d')])"
    paths = page.locator(f".curves [data-{of}]").evaluate_all(read)
    lines = page.locator(".curves-axes path").evaluate_all(read)
    levels = [[float(n) for n in re.findall(r"[\d.]+", d)] for _, d in lines if "H" in d]
    (left, bottom, right), (_, top, _) = levels[0], levels[-1]
    return {
        name: [
            (1 + 11 * (float(x) - left) / (right - left), (bottom - float(y)) / (bottom - top))
            for x, y in re.findall(r"([\d.]+) ([\d.]+)", d)
        ]
        for name, d in paths
    }


def values(page):
    """For each stage its values in training and test, as the table has them."""
    rows = page.locator(".curves tbody tr").all()
    return {row.locator("th").inner_text()[0]: row.locator("td").all_inner_texts() for row in rows}


@pytest.mark.browser
def test_lines_are_the_means_and_bands_reach_from_the_lowest_seed_to_the_highest(page):
    page.get_by_role("checkbox", name="training").check()
    lines, bands = drawn(page, "curve"), drawn(page, "band")
    assert set(lines) == set(bands) == {"1 train", "1 test", "4 train", "4 test"}
    # The first point stands there twice.
    assert np.allclose(lines["1 test"][1:], [(1, 0.15), (2, 0.3), (3, 0.4625)], atol=3e-3)
    assert np.allclose(lines["1 train"][1:], [(1, 0.25), (2, 0.4), (3, 0.5625)], atol=3e-3)
    edge = [(1, 0.2), (2, 0.4), (3, 0.4625), (3, 0.4625), (2, 0.2), (1, 0.1)]
    assert np.allclose(bands["1 test"], edge, atol=3e-3)
    page.get_by_role("checkbox", name="training").uncheck()
    page.get_by_role("radio", name="Loss").check()  # of 2: the greatest is 1.9
    loss = drawn(page, "curve")["1 test"][1:]
    assert np.allclose(loss, [(1, 0.925), (2, 0.85), (3, 0.76875)], atol=3e-3)


@pytest.mark.browser
def test_the_keyboard_moves_and_the_values_are_shown_and_spoken(page):
    page.get_by_role("radio", name="Accuracy").press("Space")
    page.keyboard.press("Tab")  # to the epoch
    page.keyboard.press("Home")
    assert values(page)["1"] == ["–", "15.0%"]
    assert values(page)["4"] == ["–", "50.0%"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert values(page)["1"] == ["–", "46.2%"]  # as Python prints it; a script would say 46.3
    assert values(page)["4"] == ["–", "–"]
    spoken = page.locator(".curves [aria-live=polite]", has_text="Epoch 3. stage 1 test 46.2%.")
    spoken.wait_for(state="attached")


@pytest.mark.browser
def test_stages_without_results_say_so_and_paper_has_the_printed_chart(page):
    assert "0 of 150 epochs" in page.locator(".curves tbody th").nth(1).inner_text()
    assert page.get_by_role("checkbox", name="2 minimal").is_disabled()
    page.get_by_role("checkbox", name="1 minimal").uncheck()
    assert set(drawn(page, "curve")) == {"4 test"}
    assert not page.get_by_text("printed").is_visible()
    page.emulate_media(media="print")
    assert page.get_by_text("printed").is_visible()
    assert not page.locator(".curves").is_visible()


@pytest.mark.browser
def test_the_study_is_read_off_as_recorded_and_fits_a_phone(visit):
    page = opened(visit, viewport={"width": 320, "height": 800})
    page.get_by_role("checkbox", name="training").check()
    for epoch in (1, 150):
        page.get_by_role("slider", name="Epoch", exact=True).fill(str(epoch))
        shown = values(page)
        for number in (1, 5, 8):
            paths = (PROJECT / f"cache/stage-{number}").glob("seed-*/history.csv")
            rows = pd.DataFrame(pd.read_csv(path).iloc[epoch - 1] for path in paths)
            means = rows[["train_accuracy", "test_accuracy"]].mean()
            assert shown[str(number)] == [f"{mean:.1%}" for mean in means]
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
