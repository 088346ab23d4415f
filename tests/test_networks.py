"""The networks in the page give what PyTorch gives, and the widget shows it."""

import base64
import hashlib
import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import widgets as w
from conftest import PROJECT
from PIL import Image, ImageCms
from results_on_disk import leave

from cifar_study.report import networks
from cifar_study.report.style import RIGHT, WRONG
from cifar_study.runs import Run, read
from cifar_study.stages import CLASSES, STAGES, Block, Network, Recipe, ResNet, Stage
from cifar_study.training import measure

WITHIN = 0.01  # of a probability; weights in the page have 16 bits
STRIP = np.asarray(Image.open(PROJECT / "figures" / "shown.png").convert("RGB"))


@pytest.fixture(scope="module")
def page():
    return w.widget_page()


@pytest.fixture(scope="module")
def tab(visit, page):
    tab = visit(page)
    w.told(tab)
    return tab


def stored(number):
    probabilities, _ = read(Run(number, root=PROJECT / "cache")).predictions()
    return probabilities.astype(float)


@pytest.mark.browser
def test_pictures_get_the_answers_of_pytorch_and_those_of_the_figure_that_are_stored(tab):
    shown = np.stack(np.split(STRIP, 6, axis=1))
    images = np.concatenate([shown, w.photos(32, 32)])
    for number in STAGES:
        given, expected = w.in_browser(tab, number, images), stored(number)[list(networks.SHOWN)]
        assert np.abs(given - w.in_torch(number, images)).max() < WITHIN, number
        # Stored are the answers of training's sixteen bits, where those were used.
        assert np.abs(given[:6] - expected).max() < 0.06, number
        assert (given[:6].argmax(1) == expected.argmax(1)).all(), number


@pytest.mark.browser
def test_pictures_of_other_sizes_get_the_probabilities_of_pytorch(tab):
    guesses = set()
    for size in ((8, 8), (9, 13), (33, 47), (100, 37), (128, 17)):
        images = w.photos(*size)
        expected = w.in_torch(8, images)
        guesses |= set(expected.argmax(1))
        assert np.abs(w.in_browser(tab, 8, images) - expected).max() < WITHIN, size
    assert len(guesses) >= 3  # the pictures are not all alike to the network


TITLE = """</script><script>alert(1)</script> a | b "c" 'd' `e` [f](g) $h$ 🐸"""
OTHERS = {
    15: Network((Block(4, "sigmoid", pool=3), Block(5, batch_norm=True))),
    13: Network(()),
    14: Network((Block(6, batch_norm=True, dropout=0.3), Block(7, pool="global")), None),
}


@pytest.mark.browser
def test_stages_of_ones_own_run_under_their_own_titles(visit, folder, monkeypatch):
    models, random_values = {}, np.random.RandomState(1)
    for number, network in OTHERS.items():
        monkeypatch.setitem(STAGES, number, Stage(number, TITLE, network, Recipe(epochs=2)))
        models[number] = measure.fresh_network(Run(number))
        values = models[number].state_dict()
        arrays = {key: value.numpy() for key, value in values.items() if value.ndim}
        for key in filter(re.compile("block.*running").match, arrays):  # as after some training
            arrays[key] += random_values.uniform(0, 0.3, arrays[key].shape)
        leave(folder, number, 0, [0.1, 0.1], model=arrays)
    tab = visit(w.widget_page())
    assert w.told(tab).startswith(f"Stage 15, {TITLE}: ")
    assert re.search(r"After 2 epochs it classifies 10\.0% ", tab.locator(".net").inner_text())
    images = w.photos(32, 32)
    for number, model in models.items():
        expected = measure.probabilities(model, images)
        assert np.abs(w.in_browser(tab, number, images) - expected).max() < WITHIN
    w.give(tab, w.content(Image.new("RGB", (300, 100), "red")))
    assert w.seen(tab).shape == (32, 32, 3)
    w.step(tab, 3)
    assert w.seen(tab).shape == (18, 55, 3)


@pytest.mark.browser
def test_pictures_are_scaled_as_pillow_scales_them(tab):
    chance, noise = random.Random(1), np.random.RandomState(1)
    for place in range(12):
        width, height = (chance.choice([1, 7, 32, 63, 200]) for _ in "wh")
        to = [chance.choice([1, 8, 26, 32, 39, 128]) for _ in "wh"]
        picture = noise.randint(0, 256, (height, width, 3)).astype(np.uint8)
        if place % 2:  # edges rather than noise, whose overshoot is cut off
            picture = (picture > 200).astype(np.uint8) * 255
        expected = np.asarray(Image.fromarray(picture).resize(to, Image.Resampling.LANCZOS))
        given = w.resized_in_page(tab, picture, *to)
        assert np.abs(given - expected.astype(int)).max() <= 1, (width, height, to)


PHOTO = Image.fromarray(w.photos(300, 400)[1])
JPEG = w.content(PHOTO, "JPEG")
FRAMES = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"/>'
BAD = (
    (JPEG[:-100], "can't be read as a picture"),
    (w.content(Image.new("RGB", (1, 1))), "1 × 1 pixels, too few"),
    (w.content(Image.new("1", (10_000, 10_000))), "10,000 × 10,000 pixels, too many"),
    (SVG, "a drawing (SVG)"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400), "can't open HEIC"),
)


@pytest.mark.browser
def test_bad_files_are_named_and_the_page_goes_on(tab):
    for data, words in BAD:
        status = w.give(tab, data)
        assert words in status
        assert status.count(". ") <= 1, status
        assert not tab.locator(".net-card").is_visible(), words
    assert "with" in w.give(tab, w.content(PHOTO))
    assert tab.locator(".net-card").is_visible()


@pytest.mark.browser
def test_a_jpeg_without_its_last_two_bytes_is_whole(tab):
    w.give(tab, JPEG, "whole.jpg")
    whole = w.seen(tab)
    for data in (JPEG, w.content(PHOTO, "JPEG", progressive=True)):
        assert data.endswith(b"\xff\xd9")
        assert "with" in w.give(tab, data[:-2], "nearly.jpg")
        assert np.abs(w.seen(tab).astype(int) - whole).max() <= 3


@pytest.mark.browser
def test_of_pictures_that_move_the_first_frame_is_taken_and_that_is_said(tab):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("GIF", "PNG", "WEBP"):
        options = {} if kind == "GIF" else {"icc_profile": profile}
        moving = w.content(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:], **options)
        assert "a picture that moves" in w.give(tab, moving), kind
        assert w.seen(tab)[0, 0, 0] > 200, kind  # red
        assert "moves" not in w.give(tab, w.content(FRAMES[0], kind, **options)), kind


def test_the_library_is_the_one_its_note_names():
    folder = PROJECT / "chapters" / "tensorflow"
    lines = re.findall(r"([0-9a-f]{64}) +(\S+)", (folder / "SOURCE.txt").read_text())
    files = {path for path in folder.iterdir() if path.suffix in (".js", ".wasm")}
    digests = {(hashlib.sha256(path.read_bytes()).hexdigest(), path.name) for path in files}
    assert digests == set(lines)


# --- the figure, and the widget that takes its place on screens -----------------------------------


def test_answers_are_those_that_are_stored():
    figure = networks.answers().figure
    cells = {axes.get_subplotspec().num1: axes for axes in figure.axes}
    titles = [cells[column].get_title() for column in range(6)]
    assert titles == ["airplane", "automobile", "cat", "dog", "frog", "ship"]
    for row, number in ((1, 1), (8, 8)):
        for column, place in enumerate(networks.SHOWN):
            given = stored(number)[place]
            words = cells[6 * row + column].texts[-2:]
            guess = CLASSES[given.argmax()]
            assert [text.get_text() for text in words] == [guess, f"{given.max():.0%}"]
            assert words[0].get_color() == (RIGHT if guess == titles[column] else WRONG)


def test_without_results_of_cifar_10_there_is_a_sentence(folder):
    (folder / "stage-1" / "seed-0").mkdir(parents=True)  # of a run without an epoch
    for _ in range(2):
        assert "once a stage is trained on CIFAR-10" in networks.answers().data.replace("\\", "")
        assert networks.watch("fig-growth").data == ""
        leave(folder, 2, 0, [0.1], data="synthetic")


def stages_of(page):
    """The numbers of the stages that the page runs."""
    text = re.search(r'id="growth-data">(.*?)</script>', page)[1]
    assert "<" not in text
    return [stage["number"] for stage in json.loads(text)["stages"]]


@pytest.mark.browser
def test_stages_that_a_page_cannot_run_are_left_out(visit, page, folder, monkeypatch):
    assert stages_of(page) == list(STAGES)
    assert len(page.encode()) < 7e6
    monkeypatch.setitem(STAGES, 15, replace(STAGES[4], number=15))
    monkeypatch.setitem(STAGES, 13, Stage(13, "residual", ResNet(parameters=1, macs=1)))
    for number in (1, 4, 15):
        model = measure.fresh_network(Run(number)).state_dict()
        arrays = {key: value.numpy() for key, value in model.items()}
        leave(folder, number, 0, [0.1], epochs=1, model=arrays)
    leave(folder, 13, 0, [0.1], epochs=1)
    monkeypatch.setitem(STAGES, 4, replace(STAGES[4], network=STAGES[5].network))  # now stale
    (folder / "stage-15" / "seed-0" / "model.safetensors").unlink()
    assert stages_of(w.widget_page()) == [1]
    assert w.told(tab := visit(w.widget_page())).startswith("Stage 1, minimal, 5 filters: ")
    assert not tab.get_by_role("button", name="Play").is_visible()


def chosen(tab):
    """The stage in view."""
    checked = "all => all.findIndex(step => step.checked)"
    return 1 + tab.locator(f"{w.STEPS} input").evaluate_all(checked)


@pytest.mark.browser
def test_begins_with_a_picture_steps_by_keyboard_and_plays(visit, page):
    tab = visit(page)
    tab.clock.install()
    w.told(tab)
    assert chosen(tab) == 1
    pressed = tab.locator(".net-choices [aria-pressed=true]")
    assert pressed.get_attribute("title") == "frog, test picture"
    given = [stored(number)[6042] for number in STAGES]
    most = int(np.diff([shares[6] for shares in given]).argmax()) + 2
    words = tab.locator(".growth-play p").inner_text()
    assert f"stage {most} ({STAGES[most].title})" in words
    marks = "".join(re.findall("[✓✗]", tab.locator(".growth-strip").inner_text()))
    assert marks == "".join("✓" if shares.argmax() == 6 else "✗" for shares in given)
    choose(tab, "cat")
    tab.locator(f"{w.STEPS} input").first.focus()
    tab.keyboard.press("ArrowRight")
    assert chosen(tab) == 2
    assert tab.locator("[role=status]").inner_text().startswith("Stage 2, minimal, 20 filters: dog")
    button = tab.get_by_role("button", name="Play")
    button.press("Enter")
    tab.clock.run_for(1600)
    assert chosen(tab) == 4
    tab.get_by_role("button", name="Pause").press("Enter")
    tab.clock.run_for(5000)
    assert chosen(tab) == 4
    button.press("Enter")
    tab.clock.run_for(10_000)
    assert chosen(tab) == 8
    button.press("Enter")  # from the beginning
    assert chosen(tab) == 1


def choose(tab, name):
    """Have the test picture of that class looked at."""
    tab.get_by_role("button", name=f"{name}, test picture").press("Enter")
    tab.get_by_role("button", name=f"{name}, test picture", pressed=True).wait_for()
    w.told(tab)


@pytest.mark.browser
def test_one_map_is_looked_at_by_mouse_and_keyboard(tab):
    choose(tab, "frog")
    w.step(tab, 4)
    about = tab.locator(".growth-close p")
    assert about.inner_text().startswith("Map 1 of 20 after block 1: values from ")
    second = tab.get_by_role("button", name="Block 2")
    box = second.locator("canvas").bounding_box()
    second.locator("canvas").click(position={"x": box["width"] - 4, "y": box["height"] - 4})
    assert about.inner_text().startswith("Map 40 of 40 after block 2")
    tab.get_by_role("slider", name="Map").press("ArrowLeft")
    assert about.inner_text().startswith("Map 39 of 40 after block 2")
    # Its values are those that PyTorch's second block yields.
    network = measure.trained_network(Run(4, root=PROJECT / "cache"))
    with torch.inference_mode():
        yielded = network[:3](measure.as_batch(STRIP[None, :, 128:160]))[0, 38]
    least, most = map(float, re.findall(r"\d+\.\d+", about.inner_text()))
    assert [least, most] == pytest.approx([float(yielded.min()), float(yielded.max())], abs=0.02)


@pytest.mark.browser
@pytest.mark.long
def test_a_picture_of_ones_own_keeps_its_proportions_and_is_named_by_its_reader(tab):
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    w.give(tab, w.content(PHOTO, "JPEG", exif=turned), "turned.jpg")
    assert not re.findall("[✓✗]", tab.locator(".growth-strip").inner_text())
    assert "Say what it shows" in tab.locator(".growth-play p").inner_text()
    tab.get_by_label("It shows").select_option("ship")
    assert len(re.findall("[✓✗]", tab.locator(".growth-strip").inner_text())) == len(STAGES)
    assert tab.locator(".net-bars .right th").inner_text() == "ship"
    w.step(tab, 8)
    assert w.seen(tab).shape == (37, 28, 3)
    assert np.allclose(w.shown(tab), w.in_torch(8, w.seen(tab)[None])[0], atol=0.01)
    w.give(tab, w.content(Image.new("RGB", (900, 9))))  # so narrow that it needs more pixels
    assert w.seen(tab).shape == (8, 800, 3)
    w.give(tab, w.content(Image.new("RGBA", (640, 480), (0, 0, 0, 0))))
    assert (w.seen(tab) == 255).all()
    chess = np.indices((2400, 3000)).sum(0) % 2 * 255  # halved before it is scaled
    w.give(tab, w.content(Image.fromarray(chess.astype(np.uint8))))
    assert np.abs(w.seen(tab).astype(int) - 127.5).max() < 8


TRANSFER = """(coded) => {
    const bytes = Uint8Array.from(atob(coded), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "given.png", { type: "image/png" }));
    return transfer;
}"""


@pytest.mark.browser
def test_a_picture_is_dropped_or_pasted(tab):
    w.step(tab, 8)
    upright = base64.b64encode(w.content(PHOTO.rotate(90, expand=True))).decode()
    tab.dispatch_event(".growth", "drop", {"dataTransfer": tab.evaluate_handle(TRANSFER, upright)})
    tab.get_by_role("img", name="It sees 28 × 37 pixels").wait_for()
    lying = base64.b64encode(w.content(PHOTO)).decode()
    paste = f'new ClipboardEvent("paste", {{ clipboardData: ({TRANSFER})(coded) }})'
    tab.evaluate(f"(coded) => document.dispatchEvent({paste})", lying)
    tab.get_by_role("img", name="It sees 37 × 28 pixels").wait_for()


@pytest.mark.browser
def test_fits_a_phone_where_axe_finds_nothing_and_leaves_the_figure_on_paper(visit, page, tab):
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.emulate_media(reduced_motion="reduce")
    for number in (1, 8):
        w.step(tab, number)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not w.serious(tab)
    assert not tab.locator("#static").is_visible()
    tab.emulate_media(media="print")
    assert tab.locator("#static").is_visible()
    assert not tab.locator(".growth").is_visible()
    tab.emulate_media(media="screen")
    without_scripts = re.sub(r"(?s)<script.*?</script>", "", page)
    assert visit(without_scripts).locator("#static").is_visible()
