"""The network in the page: it says what PyTorch says, and no file upsets it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT
from PIL import Image, ImageDraw

from cifar_study import illustrations as drawing
from cifar_study.report import demo as exported
from cifar_study.results.run import Run
from cifar_study.stages import CLASSES, STAGES
from cifar_study.training import predict

SIZES = (
    (8, 8), (9, 13), (21, 32), (32, 32), (33, 47),
    (64, 48), (96, 96), (100, 37), (85, 128), (128, 17),
)  # fmt: skip
ASK = """async ([height, width, coded]) => {
    const bytes = Uint8ClampedArray.from(atob(coded), (letter) => letter.charCodeAt(0));
    const pixels = new ImageData(bytes, width, height);
    return [...await document.getElementById("photo").probabilities(pixels)];
}"""


def snippet(number: int) -> str:
    """What the chapter's line puts into the page."""
    with contextlib.chdir(PROJECT):
        return exported.photo(number).data


@pytest.fixture
def visit(browser, tmp_path: Path) -> Iterator[Callable]:
    """Open a page that holds nothing else, as a file; requests and messages fail the test."""
    contexts, said = [], []

    def open_page(page: Path | int = 8, sample: bool = True, **options):
        if isinstance(page, int):
            html = re.sub(r"^`{7}.*$", "", snippet(page), flags=re.MULTILINE)
            page = tmp_path / "page.html"
            page.write_text(f"<!DOCTYPE html><meta charset='utf-8'>{html}", encoding="utf-8")
        context = browser.new_context(**options)
        contexts.append(context)
        if not sample:  # a picture that these networks can't take
            context.add_init_script("window.IntersectionObserver = class { observe() {} }")
        tab = context.new_page()
        tab.on("request", lambda request: said.append(request.url[:80]))
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(page.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    loaded = [line for line in said if not line.startswith(("file:", "data:", "blob:"))]
    assert not loaded


def pictures(count: int, height: int, width: int) -> list[np.ndarray]:
    """Coloured shapes on a gradient with some noise, ``uint8`` (H, W, 3)."""
    drawn = []
    for seed in range(count):
        chance = random.Random(f"{seed} {height} {width}")

        def colour(chance: random.Random = chance) -> tuple[int, ...]:
            return tuple(chance.randrange(256) for _ in range(3))

        ramp = Image.linear_gradient("L").rotate(90 * chance.randrange(4)).resize((width, height))
        picture = Image.composite(*(Image.new("RGB", ramp.size, colour()) for _ in "ab"), ramp)
        draw = ImageDraw.Draw(picture)
        for shape in (draw.ellipse, draw.rectangle):
            x, y = chance.randrange(width), chance.randrange(height)
            shape((x - width // 4, y - height // 6, x, y), fill=colour())
        noise = np.random.RandomState(seed).normal(0, 6 * seed, (height, width, 3))
        drawn.append((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))
    return drawn


def in_browser(tab, picture: np.ndarray) -> np.ndarray:
    opaque = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    return np.array(
        tab.evaluate(ASK, [*picture.shape[:2], base64.b64encode(opaque.tobytes()).decode()])
    )


def in_torch(number: int, picture: np.ndarray) -> np.ndarray:
    torch.set_num_threads(1)
    model = predict.trained_network(Run(STAGES[number], root=PROJECT / "cache"))
    return predict.probabilities(model, picture[None])[0]


@pytest.mark.browser
def test_a_hundred_pictures_get_the_probabilities_that_pytorch_gives(visit) -> None:
    tab = visit()
    guesses = set()
    for size in SIZES:
        for picture in pictures(10, *size):
            expected = in_torch(8, picture)
            guesses.add(int(expected.argmax()))
            assert np.abs(in_browser(tab, picture) - expected).max() < 1e-4, size
    assert len(guesses) >= 3  # the pictures are not all alike to the network


@pytest.mark.browser
@pytest.mark.parametrize("number", [1, 4, 6], ids="stage {}".format)
def test_other_stages_are_built_from_their_description(visit, number: int) -> None:
    tab = visit(number, sample=False)
    for picture in pictures(5, 32, 32):
        assert np.abs(in_browser(tab, picture) - in_torch(number, picture)).max() < 1e-4


@pytest.mark.browser
def test_answers_within_a_fifth_of_a_second(visit) -> None:
    tab = visit()
    seconds = tab.evaluate(
        """async () => {
            const { probabilities } = document.getElementById("photo");
            const times = [];
            for (const side of [32, 48, 64, 80, 96, 112, 128]) { // first of a size
                const begun = performance.now();
                await probabilities(new ImageData(side, side));
                times.push((performance.now() - begun) / 1000);
            }
            return times;
        }"""
    )
    assert np.median(seconds) < 0.2, seconds


def content(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def give(tab, data: bytes, name: str = "mine.png") -> str:
    """Choose a file; what the page says once it is through."""
    file = {"name": name, "mimeType": "image/png", "buffer": data}
    tab.locator("#photo input[type=file]").set_input_files(file)
    tab.wait_for_function(
        "!/^$|Reading/.test(document.querySelector('#photo [role=status]').textContent)"
    )
    return tab.locator("#photo").get_by_role("status").inner_text()


def seen(tab) -> np.ndarray:
    """The pixels on the screen, (H, W, 3)."""
    height, width, values = tab.evaluate(
        """() => {
            const canvas = document.querySelector("#photo canvas");
            const { width, height } = canvas;
            const copy = new OffscreenCanvas(width, height);
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            return [height, width, [...context.getImageData(0, 0, width, height).data]];
        }"""
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def shown(tab) -> list[float]:
    """The ten percentages in the table."""
    cells = tab.locator("#photo td:last-child").all_inner_texts()
    return [float(cell.removesuffix("%")) for cell in cells]


PHOTO = Image.fromarray(pictures(1, 300, 400)[0])
BAD = {
    "text": (b"no picture at all\n", "can't be read as a picture"),
    "nothing": (b"", "can't be read as a picture"),
    "noise": (random.Random(0).randbytes(5000), "can't be read as a picture"),
    "header only": (content(PHOTO)[:60], "can't be read as a picture"),
    "cut off": (content(PHOTO, "JPEG")[:-100], "can't be read as a picture"),
    "one pixel": (content(Image.new("RGB", (1, 1))), "1 × 1 pixels, too few"),
    "huge": (content(Image.new("1", (10_000, 10_000))), "10,000 × 10,000 pixels, too many"),
    "narrow": (content(Image.new("RGB", (600, 60))), "32 × 3 pixels"),
}


@pytest.mark.browser
def test_bad_files_are_named_and_the_page_goes_on(visit) -> None:
    tab = visit()
    for name, (data, words) in BAD.items():
        assert words in give(tab, data), name
        assert not tab.locator("#photo canvas").is_visible(), name
    # A narrow picture fits once it is larger.
    tab.locator("#photo input[type=range]").fill("128")
    tab.get_by_text("The network says").wait_for()
    assert seen(tab).shape == (13, 128, 3)
    tab.locator("#photo input[type=range]").fill("32")
    assert "The network says" in give(tab, content(PHOTO))
    assert seen(tab).shape == (24, 32, 3)
    assert np.allclose(shown(tab), 100 * in_torch(8, seen(tab)), atol=0.06)


@pytest.mark.browser
def test_pictures_are_turned_laid_on_white_and_averaged(visit) -> None:
    tab = visit()
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    give(tab, content(PHOTO, "JPEG", exif=turned), "turned.jpg")
    assert seen(tab).shape == (32, 24, 3)
    give(tab, content(Image.new("RGBA", (640, 480), (0, 0, 0, 0))))
    assert (seen(tab) == 255).all()
    chess = np.indices((800, 1000)).sum(0) % 2 * 255
    give(tab, content(Image.fromarray(chess.astype(np.uint8))))
    assert np.abs(seen(tab).astype(int) - 127.5).max() < 8


@pytest.mark.browser
def test_a_picture_is_dropped(visit) -> None:
    tab = visit()
    transfer = tab.evaluate_handle(
        """(coded) => {
            const bytes = Uint8Array.from(atob(coded), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
            return transfer;
        }""",
        base64.b64encode(content(PHOTO.rotate(90, expand=True))).decode(),
    )
    tab.dispatch_event("#photo", "drop", {"dataTransfer": transfer})
    tab.wait_for_function("document.querySelector('#photo canvas').height === 32")
    assert seen(tab).shape == (32, 24, 3)
    tab.dispatch_event(
        "#photo", "drop", {"dataTransfer": tab.evaluate_handle("new DataTransfer()")}
    )
    assert "No file came" in tab.locator("#photo").get_by_role("status").inner_text()


@pytest.mark.browser
def test_in_the_book_it_is_used_with_the_keyboard(visit, book: Path) -> None:
    chapter = book / "chapters" / "q13-photo.html"
    tab = visit(chapter if chapter.exists() else book / "index.html")
    photo = tab.locator("#photo")
    photo.get_by_role("button", name="cat").press("Enter")
    photo.get_by_text("The network says").wait_for()
    assert photo.locator("tr.right th").inner_text() == "cat"
    side = photo.get_by_role("slider", name="Longer side")
    side.press("ArrowRight")
    photo.get_by_role("img", name="The network sees 33 × 22 pixels").wait_for()
    tab.wait_for_function("document.querySelector('#photo canvas').width === 33")
    assert side.get_attribute("aria-valuetext") == "33 pixels"
    expected = in_torch(8, seen(tab))
    assert np.allclose(shown(tab), 100 * expected, atol=0.06)
    best = CLASSES[int(expected.argmax())]
    assert f"The network says {best} " in photo.get_by_role("status").inner_text()
    assert photo.locator("tr.first th").inner_text() == best
    button = photo.get_by_label("Choose a picture")
    button.focus()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent.trim()") == "cat"


@pytest.mark.browser
def test_without_scripts_the_page_says_what_is_missing(visit) -> None:
    tab = visit(java_script_enabled=False)
    assert tab.get_by_text("needs JavaScript").is_visible()
    assert not tab.locator("#photo").is_visible()


def test_says_how_far_the_weights_are_and_stays_small() -> None:
    record = json.loads((PROJECT / "cache" / "stage-8" / "seed-0" / "result.json").read_text())
    done, planned = record["epochs_done"], record["configuration"]["recipe"]["epochs"]
    said = f"after {planned} epochs" if done == planned else f"after {done} of {planned} epochs"
    assert said in snippet(8)
    assert len(snippet(8).encode()) < 5e6


def test_without_a_result_there_is_a_sentence_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = exported.photo(8).data
    assert "once stage 8 is trained" in text
    assert "<" not in text


def test_the_free_pictures_are_drawn_again_to_the_byte(tmp_path: Path) -> None:
    drawing.save_samples(tmp_path)
    drawn = sorted(tmp_path.iterdir())
    assert len(drawn) == len(exported.SAMPLES)
    for path in drawn:
        assert path.read_bytes() == (PROJECT / "figures" / path.name).read_bytes()


def test_the_library_is_the_one_its_note_names() -> None:
    folder = PROJECT / "chapters" / "tensorflow"
    noted = dict(
        reversed(line.split())
        for line in re.findall(r"[0-9a-f]{64} .*", (folder / "SOURCE.txt").read_text())
    )
    files = {path for path in folder.iterdir() if path.suffix in (".js", ".wasm")}
    assert noted == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
