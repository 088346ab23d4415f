"""Pages that hold a widget of the report and nothing else, and pictures to give to it."""

from __future__ import annotations

import base64
import contextlib
import io
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT
from PIL import Image, ImageDraw

from cifar_study.report import demo, growth
from cifar_study.results.run import Run
from cifar_study.stages import STAGES
from cifar_study.training import predict
from plain.build import keep_once, put_parts_in

FIGURE = '<figure id="fig-growth"><div id="static">static</div><figcaption>A</figcaption></figure>'
ASK = """async ([name, number, height, width, coded]) => {
    const data = JSON.parse(document.getElementById(`${name}-data`).textContent);
    const stage = (data.stages ?? [data.stage]).find(stage => stage.number === number);
    const bytes = Uint8ClampedArray.from(atob(coded), (letter) => letter.charCodeAt(0));
    const size = 4 * width * height;
    const pictures = Array.from({ length: bytes.length / size }, (_, i) =>
        new ImageData(bytes.slice(size * i, size * (i + 1)), width, height));
    return [...(await networks.ask(stage, pictures)).shares];
}"""
RESIZE = """([height, width, coded, newHeight, newWidth]) => {
    const bytes = Uint8ClampedArray.from(atob(coded), (letter) => letter.charCodeAt(0));
    return [...pictures.resize(new ImageData(bytes, width, height), newWidth, newHeight).data];
}"""


def widget_page(*names: str) -> str:
    """A page with the widgets of that name, from the results that are reported."""
    with contextlib.chdir(PROJECT):
        made = {"photo": lambda: demo.photo(8), "growth": lambda: growth.watch("fig-growth")}
        parts = [re.sub(r"^`{7}.*$", "", made[name]().data, flags=re.MULTILINE) for name in names]
        head = "<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>Page</title>"
        page = f"{head}<main><h1>Page</h1>{FIGURE}{''.join(parts)}</main>"
        return put_parts_in(keep_once(page))


@pytest.fixture(scope="module")
def visit_from(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable]:
    """Open an address or a page's text, alone; requests elsewhere and messages fail the test."""
    contexts, said = [], []

    def open_page(page: str | Path, **options):
        if isinstance(page, str) and page.startswith("<"):
            path = tmp_path_factory.mktemp("page") / "page.html"
            path.write_text(page, encoding="utf-8")
            page = path
        address = page.as_uri() if isinstance(page, Path) else page
        context = browser.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        own = address.split("//")[1].split("/")[0]
        fine = ("file:", "data:", "blob:") if not own else (f"http://{own}/", "data:", "blob:")
        tab.on(
            "request",
            lambda request: request.url.startswith(fine) or said.append(request.url[:80]),
        )
        tab.on(
            "console",
            lambda message: (
                message.location["url"].endswith("/favicon.ico")  # of a bare server
                or said.append(f"{message.text} {message.location['url'][:80]}")
            ),
        )
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(address)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not said, said


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


def coded(pictures: np.ndarray) -> str:
    """Pictures (N, H, W, 3) as the bytes of canvases, in base64."""
    opaque = np.full((*pictures.shape[:-1], 1), 255, np.uint8)
    return base64.b64encode(np.concatenate([pictures, opaque], -1).tobytes()).decode()


def in_browser(tab, number: int, pictures: np.ndarray, widget: str = "growth") -> np.ndarray:
    """The probabilities (N, classes) that the page's network gives."""
    given = tab.evaluate(ASK, [widget, number, *pictures.shape[1:3], coded(pictures)])
    return np.reshape(given, (len(pictures), -1))


def in_torch(number: int, pictures: np.ndarray, root: Path = PROJECT / "cache") -> np.ndarray:
    """Those that PyTorch gives."""
    torch.set_num_threads(1)
    model = predict.trained_network(Run(STAGES[number], root=root))
    parts = np.array_split(pictures, max(1, len(pictures) // 250))
    return np.concatenate([predict.probabilities(model, part) for part in parts])


def resized_in_page(tab, picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture as the page scales it, (H, W, 3)."""
    given = tab.evaluate(RESIZE, [*picture.shape[:2], coded(picture[None]), height, width])
    return np.reshape(given, (height, width, 4))[..., :3]


def content(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    """The bytes of a picture's file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def give(tab, selector: str, data: bytes, name: str = "mine.png") -> str:
    """Choose a file in a widget; what it says once it is through."""
    file = {"name": name, "mimeType": "image/png", "buffer": data}
    tab.locator(f"{selector} input[type=file]").set_input_files(file)
    return told(tab, selector)


def told(tab, selector: str) -> str:
    """What a widget says once it is through."""
    tab.wait_for_function(
        "selector => !/^$|…/.test(document.querySelector(`${selector} [role=status]`).textContent)",
        arg=selector,
    )
    return tab.locator(f"{selector} [role=status]").inner_text()


def seen(tab, selector: str) -> np.ndarray:
    """The pixels on a canvas, (H, W, 3)."""
    height, width, values = tab.evaluate(
        """selector => {
            const canvas = document.querySelector(selector);
            const { width, height } = canvas;
            const copy = new OffscreenCanvas(width, height);
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            return [height, width, [...context.getImageData(0, 0, width, height).data]];
        }""",
        selector,
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def shown(tab, selector: str) -> list[float]:
    """The ten percentages in a widget's table."""
    cells = tab.locator(f"{selector} .net-bars td:last-child").all_inner_texts()
    return [float(cell.removesuffix("%")) for cell in cells]
