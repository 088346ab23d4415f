"""The final network in chapter 13: on the reader's picture, at any size, by any hand."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT
from pages import (
    content,
    give,
    in_torch,
    pictures,
    seen,
    shown,
    visit_from,  # noqa: F401
    widget_page,
)
from PIL import Image

from cifar_study import illustrations as drawing
from cifar_study.report import demo as exported
from cifar_study.report import study
from cifar_study.stages import CLASSES

PHOTO = Image.fromarray(pictures(1, 300, 400)[0])


@pytest.fixture
def visit(visit_from: Callable) -> Callable:  # noqa: F811
    return lambda page=None, **options: visit_from(page or widget_page("photo"), **options)


def in_percent(picture: np.ndarray) -> np.ndarray:
    return 100 * in_torch(8, picture[None])[0]


@pytest.mark.browser
def test_a_narrow_picture_fits_once_it_is_larger(visit: Callable) -> None:
    tab = visit()
    said = give(tab, "#photo", content(Image.new("RGB", (900, 9))))
    assert "320 × 3 pixels" in said
    assert not tab.locator("#photo canvas").is_visible()
    tab.locator("#photo input[type=range]").fill("96")
    tab.get_by_text("The network says").wait_for()
    assert seen(tab, "#photo canvas").shape == (10, 960, 3)
    tab.locator("#photo input[type=range]").fill("32")
    assert "The network says" in give(tab, "#photo", content(PHOTO))
    assert seen(tab, "#photo canvas").shape == (28, 37, 3)
    assert np.allclose(shown(tab, "#photo"), in_percent(seen(tab, "#photo canvas")), atol=1)


@pytest.mark.browser
def test_pictures_are_turned_and_laid_on_white(visit: Callable) -> None:
    tab = visit()
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    give(tab, "#photo", content(PHOTO, "JPEG", exif=turned), "turned.jpg")
    assert seen(tab, "#photo canvas").shape == (37, 28, 3)
    give(tab, "#photo", content(Image.new("RGBA", (640, 480), (0, 0, 0, 0))))
    assert (seen(tab, "#photo canvas") == 255).all()
    chess = np.indices((2400, 3000)).sum(0) % 2 * 255  # halved before it is scaled
    give(tab, "#photo", content(Image.fromarray(chess.astype(np.uint8))))
    assert np.abs(seen(tab, "#photo canvas").astype(int) - 127.5).max() < 8


TRANSFER = """(coded) => {
    const bytes = Uint8Array.from(atob(coded), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "given.png", { type: "image/png" }));
    return transfer;
}"""


@pytest.mark.browser
def test_a_picture_is_dropped_or_pasted(visit: Callable) -> None:
    tab = visit()
    upright = base64.b64encode(content(PHOTO.rotate(90, expand=True))).decode()
    tab.dispatch_event("#photo", "drop", {"dataTransfer": tab.evaluate_handle(TRANSFER, upright)})
    tab.wait_for_function("document.querySelector('#photo canvas').height === 37")
    assert seen(tab, "#photo canvas").shape == (37, 28, 3)
    tab.dispatch_event(
        "#photo", "drop", {"dataTransfer": tab.evaluate_handle("new DataTransfer()")}
    )
    assert "No file came" in tab.locator("#photo").get_by_role("status").inner_text()
    lying = base64.b64encode(content(PHOTO)).decode()
    tab.evaluate(
        f"""(coded) => document.dispatchEvent(
            new ClipboardEvent("paste", {{ clipboardData: ({TRANSFER})(coded) }}))""",
        lying,
    )
    tab.wait_for_function("document.querySelector('#photo canvas').height === 28")


@pytest.mark.browser
def test_in_the_book_it_is_used_with_the_keyboard(visit: Callable, book: Path) -> None:
    chapter = book / "chapters" / "q13-photo.html"
    tab = visit(chapter if chapter.exists() else book / "index.html")
    photo = tab.locator("#photo")
    photo.get_by_role("button", name="cat").press("Enter")
    photo.get_by_text("The network says").wait_for()
    assert photo.get_by_role("button", pressed=True).all_inner_texts() == ["cat"]
    assert photo.locator("tr.right th").inner_text() == "cat"
    side = photo.get_by_role("slider", name="Side of a square")
    side.press("ArrowRight")
    photo.get_by_role("img", name="The network sees 40 × 27 pixels").wait_for()
    assert side.get_attribute("aria-valuetext") == "33 × 33"
    expected = in_percent(seen(tab, "#photo canvas"))
    assert np.allclose(shown(tab, "#photo"), expected, atol=1)
    best = CLASSES[int(expected.argmax())]
    assert f"The network says {best} " in photo.get_by_role("status").inner_text()
    assert photo.locator("tr.first th").inner_text() == best
    height = photo.bounding_box()["height"]
    side.press("Home")
    photo.get_by_text("Choose a larger size").wait_for()
    assert not photo.locator(".photo-card").is_visible()
    assert photo.bounding_box()["height"] == pytest.approx(height, abs=1)  # nothing below jumps
    photo.get_by_role("button", name="coffee").focus()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.type") == "file"


@pytest.mark.browser
def test_without_scripts_the_page_says_what_is_missing(visit: Callable) -> None:
    tab = visit(java_script_enabled=False)
    assert tab.get_by_text("needs JavaScript").is_visible()
    assert not tab.locator("#photo").is_visible()


def test_says_how_far_the_weights_are_and_stays_small() -> None:
    record = json.loads((PROJECT / "cache" / "stage-8" / "seed-0" / "result.json").read_text())
    done, planned = record["epochs_done"], record["configuration"]["recipe"]["epochs"]
    said = f"after {planned} epochs" if done == planned else f"after {done} of {planned} epochs"
    page = widget_page("photo")
    assert said in page
    assert len(page.encode()) < 3e6


def test_without_a_result_there_is_a_sentence_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stage-8" / "seed-0").mkdir(parents=True)  # of a run without an epoch
    monkeypatch.setenv(study.VARIABLE, str(tmp_path))
    text = exported.photo(8).data
    assert "once stage 8 is trained" in text
    assert "<" not in text


def test_the_free_pictures_are_drawn_again_to_the_byte(tmp_path: Path) -> None:
    drawing.save_samples(tmp_path)
    drawn = sorted(tmp_path.iterdir())
    assert len(drawn) == len(exported.SAMPLES)
    for path in drawn:
        assert path.read_bytes() == (PROJECT / "figures" / path.name).read_bytes()
