"""A page that holds the report's widget and nothing else, and pictures to give to it."""

import base64
import contextlib
import io
import re

import numpy as np
import torch
from axe_playwright_python.sync_playwright import Axe
from conftest import PROJECT
from PIL import Image

from cifar_study.report import networks
from cifar_study.runs import Run
from cifar_study.training import measure

STEPS = ".growth-strip label"
HEAD = "<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>Page</title>"
FIGURE = '<figure id="fig-growth"><div id="static">static</div><figcaption>A</figcaption></figure>'
PART = re.compile(r'(<script type="text/plain" data-once="([^"]+)">)</script>')
ASK = """async ([number, height, width, coded]) => {
    const { stages } = JSON.parse(document.getElementById("growth-data").textContent);
    const stage = stages.find(stage => stage.number === number);
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
PIXELS = """canvas => {
    const { width, height } = canvas;
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(canvas, 0, 0);
    return [height, width, [...context.getImageData(0, 0, width, height).data]];
}"""
UNFOLD = """async () => {
    document.querySelectorAll("details").forEach(fold => fold.open = true);
    document.querySelectorAll(".callout-collapse").forEach(fold => fold.classList.add("show"));
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}"""


def widget_page():
    """A page with the widget, of the results that are reported."""
    with contextlib.chdir(PROJECT):
        widget = re.sub(r"^`{7}.*$", "", networks.watch("fig-growth").data, flags=re.MULTILINE)
        widget = PART.sub(lambda found: f"{found[1]}{networks.part(found[2])}</script>", widget)
    return f"{HEAD}<main><h1>Page</h1>{FIGURE}{widget}</main>"


def photos(height, width):
    """Ten of the report's photos, squeezed into this shape, ``uint8`` (10, H, W, 3)."""
    paths = sorted((PROJECT / "figures" / "photos").glob("*.jpg"))[:30:3]
    return np.stack([Image.open(path).convert("RGB").resize((width, height)) for path in paths])


def coded(pictures):
    """Pictures (N, H, W, 3) as the bytes of canvases, in base64."""
    opaque = np.full((*pictures.shape[:-1], 1), 255, np.uint8)
    return base64.b64encode(np.concatenate([pictures, opaque], -1).tobytes()).decode()


def in_browser(tab, number, pictures):
    """The probabilities (N, classes) that the page's network gives."""
    given = tab.evaluate(ASK, [number, *pictures.shape[1:3], coded(pictures)])
    return np.reshape(given, (len(pictures), -1))


def in_torch(number, pictures):
    torch.set_num_threads(1)
    model = measure.trained_network(Run(number, root=PROJECT / "cache"))
    return measure.probabilities(model, pictures)


def resized_in_page(tab, picture, width, height):
    """The picture as the page scales it, (H, W, 3)."""
    given = tab.evaluate(RESIZE, [*picture.shape[:2], coded(picture[None]), height, width])
    return np.reshape(given, (height, width, 4))[..., :3]


def content(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def give(tab, data, name="mine.png"):
    """Choose a file; what the widget says once it is through."""
    file = {"name": name, "mimeType": "image/png", "buffer": data}
    tab.locator(".growth input[type=file]").set_input_files(file)
    return told(tab)


def told(tab):
    """What the widget says once it is through."""
    status = ".growth [role=status]"
    tab.wait_for_function(f"!/^$|…/.test(document.querySelector('{status}').textContent)")
    return tab.locator(status).inner_text()


def step(tab, number):
    tab.locator(STEPS).nth(number - 1).click()


def seen(tab):
    """The pixels that the stage in view sees, (H, W, 3)."""
    height, width, values = tab.locator(".net-card canvas").evaluate(PIXELS)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def shown(tab):
    cells = tab.locator(".net-bars td:last-child").all_inner_texts()
    return np.array([float(cell.removesuffix("%")) / 100 for cell in cells])


def serious(page):
    """What axe calls serious or critical: rule, element and reason of each finding."""
    page.evaluate(UNFOLD)
    options = {"resultTypes": ["violations"], "preload": False}  # which asks for styles again
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']}: {node['target']}: {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
