"""The chart to explore: it draws and says what the printed charts do, by mouse and by keyboard."""

import re
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from conftest import PROJECT
from results_on_disk import leave

from cifar_study.report import explorer

pytestmark = pytest.mark.browser
FIGURE = '<figure id="fig-all"><p>printed</p><figcaption>All.</figcaption></figure>'


@pytest.fixture
def page(tmp_path, monkeypatch, browser):
    """Stage 1 from two seeds, stage 4 from one with a single epoch, of twelve that are planned."""
    monkeypatch.setenv("CIFAR_STUDY_CACHE", str(tmp_path))
    leave(tmp_path, 1, 0, [0.1, 0.2, 0.4625], epochs=3)
    leave(tmp_path, 1, 1, [0.2, 0.4, 0.4625], epochs=3)
    leave(tmp_path, 4, 0, [0.5], epochs=12)
    with opened(browser) as page:
        yield page


@contextmanager
def opened(browser, **options):
    """A page with the chart alone; what it logs fails the test."""
    markup = explorer.explorer("fig-all").data.removeprefix("````{=html}").removesuffix("````")
    page = browser.new_context(has_touch=True, **options).new_page()
    troubles = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.set_content(
        f"<!DOCTYPE html><meta name=viewport content=width=device-width>{FIGURE}{markup}"
    )
    yield page
    page.context.close()
    assert not troubles


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
    """The rows of the table: for each stage its values in training and test."""
    rows = page.locator(".curves tbody tr").all()
    return {row.locator("th").inner_text()[0]: row.locator("td").all_inner_texts() for row in rows}


def test_lines_are_the_means_and_bands_reach_from_the_lowest_seed_to_the_highest(page):
    page.get_by_role("checkbox", name="training").check()
    lines, bands = drawn(page, "curve"), drawn(page, "band")
    assert set(lines) == set(bands) == {"1 train", "1 test", "4 train", "4 test"}
    # The first point stands there twice.
    assert np.allclose(lines["1 test"][1:], [(1, 0.15), (2, 0.3), (3, 0.4625)], atol=3e-3)
    assert np.allclose(lines["1 train"][1:], [(1, 0.25), (2, 0.4), (3, 0.5625)], atol=3e-3)
    edge = [(1, 0.2), (2, 0.4), (3, 0.4625), (3, 0.4625), (2, 0.2), (1, 0.1)]
    assert np.allclose(bands["1 test"], edge, atol=3e-3)
    page.get_by_role("radio", name="Loss").check()  # of 2: the greatest is 1.9
    loss = drawn(page, "curve")["1 test"][1:]
    assert np.allclose(loss, [(1, 0.925), (2, 0.85), (3, 0.76875)], atol=3e-3)


def test_the_keyboard_moves_and_the_values_are_shown_and_spoken(page):
    page.get_by_role("radio", name="Accuracy").focus()
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


def test_stages_without_results_say_so_and_paper_has_the_printed_chart(page):
    assert "0 of 150 epochs" in page.locator(".curves tbody th").nth(1).inner_text()
    assert page.get_by_role("checkbox", name="2 minimal").is_disabled()
    page.get_by_role("checkbox", name="1 minimal").uncheck()
    assert set(drawn(page, "curve")) == {"4 test"}
    assert not page.get_by_text("printed").is_visible()
    page.emulate_media(media="print")
    assert page.get_by_text("printed").is_visible()
    assert not page.locator(".curves").is_visible()


@pytest.mark.parametrize("width", [320, 1280])
def test_the_study_is_read_off_as_recorded_and_fits_the_page(browser, width):
    with opened(browser, viewport={"width": width, "height": 800}) as page:
        page.get_by_role("checkbox", name="training").check()
        for epoch in (1, 150):
            page.get_by_role("slider", name="Epoch", exact=True).fill(str(epoch))
            shown = values(page)
            for number in (1, 5, 8):
                paths = (PROJECT / f"cache/stage-{number}").glob("seed-*/history.csv")
                rows = pd.DataFrame(pd.read_csv(path).iloc[epoch - 1] for path in paths)
                means = rows[["train_accuracy", "test_accuracy"]].mean()
                assert shown[str(number)] == [f"{mean:.1%}" for mean in means]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
