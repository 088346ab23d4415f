"""The chart to explore: what it draws and says, how it is worked, and what stands in for it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
import results
from conftest import PROJECT

from cifar_study.report import explorer, study, style
from cifar_study.results import store
from cifar_study.results.run import Run
from cifar_study.stages import STAGES

pytestmark = pytest.mark.browser
FIELDS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


def publish(number: int, seed: int, test_accuracies: list[float]) -> None:
    """Leave a run in the cache below the working folder; its other values follow from these."""
    run = Run(STAGES[number], seed, root=Path("cache"))
    rows = [
        (epoch, 0, 0, 3 - value, value / 2, 1 - value, value, 1.0)
        for epoch, value in enumerate(test_accuracies, start=1)
    ]
    store.Checkpoint(
        pd.DataFrame(rows, columns=store.COLUMNS),
        {"a": np.zeros(1)},
        {},
    ).save(
        run,
        np.ones((1, 10), dtype=np.float16) / 10,
        np.zeros(1, dtype=np.uint8),
        configuration=run.configuration("", "float32"),
        sessions=[results.MACHINE | {"first_epoch": 1}],
        data={"fingerprint": ""},
    )


class Chart:
    """A page with the chart, as somebody at it sees and works it."""

    def __init__(self, page) -> None:
        self.page = page
        self.epoch = page.get_by_role("slider", name="Epoch", exact=True)
        self.smoothing = page.get_by_role("slider", name=re.compile("running mean|no smoothing"))

    def lines(self) -> dict[str, list[tuple[float, float]]]:
        """The points of each curve as epoch and share of the height, by stage and split."""
        drawn = self.page.eval_on_selector_all(
            ".curves [data-curve]",
            "lines => lines.map(line => [line.dataset.curve, line.getAttribute('d')])",
        )
        levels = [
            [float(n) for n in re.findall(r"[\d.]+", d)]
            for d in self.page.eval_on_selector_all(
                ".curves-axes path", "lines => lines.map(line => line.getAttribute('d'))"
            )
            if "H" in d
        ]
        left, bottom, right = levels[0]
        top = levels[-1][1]
        # The first point of a curve stands there twice.
        pairs = {name: re.findall(r"(-?[\d.]+) (-?[\d.]+)", d)[1:] for name, d in drawn}
        return {
            name: [
                ((float(x) - left) / (right - left) * 150, (bottom - float(y)) / (bottom - top))
                for x, y in points
            ]
            for name, points in pairs.items()
        }

    def values(self) -> dict[str, list[str]]:
        """The rows of the table: for each stage its values in training and test."""
        rows = self.page.locator(".curves tbody tr").all()
        return {
            row.locator("th").inner_text()[0]: row.locator("td").all_inner_texts() for row in rows
        }

    def box(self, name: str):
        return self.page.get_by_role("checkbox", name=re.compile(f"^{name}"))


def same(points: list[tuple[float, float]], expected: list[tuple[float, float]]) -> bool:
    """Whether they lie within a pixel of each other."""
    return len(points) == len(expected) and np.allclose(points, expected, rtol=0, atol=(0.1, 2e-3))


@pytest.fixture
def chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser) -> Iterator[Chart]:
    """Stage 1 three times, two runs with two epochs and one with one, stage 4 with twelve."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "PROJECT", tmp_path)
    (tmp_path / "chapters").symlink_to(PROJECT / "chapters")
    publish(1, 0, [0.1, 0.2])
    publish(1, 1, [0.2, 0.4])
    publish(1, 2, [0.9])
    publish(4, 0, [0.5 + epoch / 100 for epoch in range(1, 13)])
    markup = explorer.explorer("fig-all").data.removeprefix("````{=html}").removesuffix("````")
    page = browser.new_context(has_touch=True).new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.set_content(
        '<figure id="fig-all"><p>static</p><figcaption>All.</figcaption></figure>' + markup
    )
    yield Chart(page)
    page.context.close()
    assert not troubles


def test_lines_have_the_values_colours_and_dashes_of_the_static_charts(chart: Chart) -> None:
    chart.smoothing.fill("1")
    chart.box("training").check()
    lines = chart.lines()
    assert set(lines) == {"1 train", "1 test", "4 train", "4 test"}
    assert same(lines["1 test"], [(1, 0.15), (2, 0.3)])  # the mean of the two that got furthest
    assert same(lines["1 train"], [(1, 0.075), (2, 0.15)])
    assert np.allclose([y for _, y in lines["4 test"]], np.arange(0.51, 0.625, 0.01), atol=1e-3)
    for number in (1, 4):
        test, train = (
            chart.page.locator(f"[data-curve='{number} {split}']") for split in ("test", "train")
        )
        assert test.get_attribute("stroke") == style.COLOURS[number]
        assert train.get_attribute("stroke") == style.COLOURS[number]
        assert train.get_attribute("stroke-dasharray") == "8,4"  # lines are two pixels wide
        assert not test.get_attribute("stroke-dasharray")


def test_loss_is_drawn_on_its_own_axis(chart: Chart) -> None:
    chart.smoothing.fill("1")
    chart.page.get_by_role("radio", name="Loss").check()
    # The greatest, of training, is 2.9.
    assert same(chart.lines()["1 test"], [(1, 0.85 / 3), (2, 0.7 / 3)])
    texts = chart.page.locator(".curves-axes text").all_text_contents()
    assert texts[:7] == ["0", "0.5", "1", "1.5", "2", "2.5", "3"]
    assert texts[-1] == "cross-entropy, nats"


def test_each_curve_has_its_number_and_a_dot_at_the_epoch(chart: Chart) -> None:
    chart.smoothing.fill("1")
    chart.page.get_by_role("radio", name="Loss").check()
    assert sorted(chart.page.locator(".curves-end").all_text_contents()) == ["1", "4"]
    chart.box("training").check()
    chart.box("test").uncheck()
    assert sorted(chart.page.locator(".curves-end").all_text_contents()) == ["1", "4"]
    chart.epoch.fill("2")
    assert chart.page.locator(".curves-mark circle").count() == 2
    assert chart.page.locator(".curves-mark path").count() == 1  # the epoch's line


def test_stages_and_splits_come_and_go(chart: Chart) -> None:
    assert set(chart.lines()) == {"1 test", "4 test"}
    chart.box("1 minimal").uncheck()
    assert set(chart.lines()) == {"4 test"}
    chart.box("test").uncheck()
    assert chart.lines() == {}
    chart.page.get_by_role("button", name="All of the stages").click()
    chart.box("training").check()
    assert set(chart.lines()) == {"1 train", "4 train"}
    chart.page.get_by_role("button", name="None of the stages").click()
    assert chart.lines() == {}
    assert all(values == ["–", "–"] for values in chart.values().values())


def test_half_trained_absent_and_repeated_stages_say_so(chart: Chart) -> None:
    rows = chart.page.locator(".curves tbody th").all_inner_texts()
    assert "2 of 150 epochs" in rows[0]
    assert "2 seeds" in rows[0]
    assert "12 of 150 epochs" in rows[3]
    for row in (1, 2, 4, 5, 6, 7):
        assert "not trained" in rows[row]
        assert chart.box(str(row + 1)).is_disabled()


def test_smoothing_is_a_running_mean_that_starts_with_its_full_window(chart: Chart) -> None:
    chart.epoch.fill("4")
    chart.smoothing.fill("4")
    # Twelve epochs are three windows; 0.51 to 0.54, then 0.52 to 0.55, ... 0.59 to 0.62.
    smooth = [(epoch, 0.485 + epoch / 100) for epoch in range(4, 13)]
    assert same(chart.lines()["4 test"], smooth)
    assert chart.values()["4"] == ["–", "52.50%"]
    chart.epoch.fill("3")
    assert chart.values()["4"] == ["–", "–"]
    caption = chart.page.locator(".curves caption")
    assert caption.inner_text().startswith("Epoch 3: too early for a mean of 4 epochs")
    # Two epochs are too few to smooth.
    assert same(chart.lines()["1 test"], [(1, 0.15), (2, 0.3)])
    assert caption.inner_text().endswith("(stages of fewer than 12 epochs as they are)")
    chart.epoch.fill("12")
    assert caption.inner_text().startswith("Epoch 12: mean of epochs 9 to 12")
    chart.smoothing.fill("5")
    assert chart.values()["4"] == ["–", "62.00%"]  # twelve are fewer than three times five
    chart.smoothing.fill("1")
    assert chart.values()["4"] == ["–", "62.00%"]
    assert chart.values()["1"] == ["–", "–"]  # ended before


def test_the_static_charts_smooth_alike(chart: Chart) -> None:
    chart.smoothing.fill("4")
    drawn = [share for _, share in chart.lines()["4 test"]]
    kept = style.running_mean([0.5 + epoch / 100 for epoch in range(1, 13)], 4)
    assert np.allclose(drawn, kept[~np.isnan(kept)], atol=2e-3)


def test_the_keyboard_moves_and_the_values_are_spoken(chart: Chart) -> None:
    chart.smoothing.fill("1")
    chart.page.keyboard.press("Tab")  # from the smoothing to the epoch
    chart.page.keyboard.press("Home")
    assert chart.values()["4"] == ["–", "51.00%"]
    chart.page.keyboard.press("ArrowRight")
    assert chart.values()["4"] == ["–", "52.00%"]
    spoken = chart.page.locator(".curves [aria-live=polite]", has_text="Epoch 2")
    spoken.wait_for(state="attached")
    assert spoken.inner_text() == "Epoch 2. stage 1 test 30.00%, stage 4 test 52.00%."


def test_the_mouse_and_a_finger_move_along_the_chart(chart: Chart) -> None:
    box = chart.page.locator(".curves-plot > svg").bounding_box()
    x = [box["x"] + 52 + (box["width"] - 78) * epoch / 150 for epoch in (0, 3, 7)]
    chart.page.mouse.move(x[1], box["y"] + 50)
    assert chart.epoch.input_value() == "3"
    chart.page.touchscreen.tap(x[2], box["y"] + 90)
    assert chart.epoch.input_value() == "7"
    chart.page.mouse.move(x[0] - 20, box["y"] + 50)
    assert chart.epoch.input_value() == "1"


# --- in the rendered book -----------------------------------------------------------------------


def open_chapter(book: Path, browser, **options: object):
    chapter = book / "chapters" / "q14-conclusions.html"
    page = browser.new_context(**options).new_page()
    page.goto((chapter if chapter.exists() else book / "index.html").as_uri())
    return page


def test_the_readout_equals_the_history(book: Path, browser) -> None:
    chart = Chart(open_chapter(book, browser))
    chart.smoothing.fill("1")
    chart.box("training").check()
    for measure, form in (("Accuracy", "{:.2%}"), ("Loss", "{:.3f}")):
        chart.page.get_by_role("radio", name=measure).check()
        for epoch in (1, 5, 40, 150):
            chart.epoch.fill(str(epoch))
            shown = chart.values()
            for number in STAGES:
                paths = (book.parent / f"cache/stage-{number}").glob("seed-*/history.csv")
                seeds = [list(csv.DictReader(path.open())) for path in paths]
                expected = ["–", "–"]
                if epoch <= len(seeds[0]):
                    rows = [rows[epoch - 1] for rows in seeds]
                    expected = [
                        form.format(fmean(float(row[f"{split}_{measure.lower()}"]) for row in rows))
                        for split in ("train", "test")
                    ]
                assert shown[str(number)] == expected, (measure, epoch)
    chart.page.context.close()


def test_on_paper_and_without_scripts_the_static_chart_shows(book: Path, browser) -> None:
    page = open_chapter(book, browser)
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    static, live = page.locator("#fig-all img"), page.locator(".curves")
    assert live.is_visible()
    assert not static.is_visible()
    page.emulate_media(media="print")
    assert static.is_visible()
    assert not live.is_visible()
    page.emulate_media(media="screen")
    live.get_by_role("img").wait_for()
    page.context.close()
    assert not troubles
    page = open_chapter(book, browser, java_script_enabled=False)
    assert page.locator("#fig-all img").is_visible()
    assert page.locator(".curves").count() == 0
    page.context.close()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_the_page(book: Path, browser, width: int) -> None:
    page = open_chapter(book, browser, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    Chart(page).box("training").check()
    box = page.locator(".curves").bounding_box()
    table = page.locator(".curves table").bounding_box()
    assert table["width"] <= box["width"] + 1
    page.context.close()
