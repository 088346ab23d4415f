"""All networks on one picture: the figure, and the widget that takes its place on screens."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import widgets as w
from conftest import PROJECT
from PIL import Image
from safetensors.numpy import load_file
from test_accessibility import serious

from cifar_study.report import networks
from cifar_study.report.style import RIGHT, WRONG
from cifar_study.runs import VARIABLE, Run
from cifar_study.stages import CLASSES, STAGES, ResNet, Stage
from cifar_study.training import predict

PHOTO = Image.fromarray(w.photos(300, 400)[1])


def stored(number):
    return load_file(PROJECT / f"cache/stage-{number}/seed-0/predictions.safetensors")


def test_answers_are_those_that_are_stored():
    figure = networks.answers().figure
    cells = {axes.get_subplotspec().num1: axes for axes in figure.axes}
    titles = [cells[column].get_title() for column in range(6)]
    assert titles == ["airplane", "automobile", "cat", "dog", "frog", "ship"]
    for row, number in ((1, 1), (8, 8)):
        answers = stored(number)
        for column, place in enumerate(networks.SHOWN):
            given = answers["probabilities"][place]
            words = cells[6 * row + column].texts[-2:]
            guess = CLASSES[given.argmax()]
            assert [text.get_text() for text in words] == [guess, f"{given.max():.0%}"]
            right = given.argmax() == answers["labels"][place]
            assert words[0].get_color() == (RIGHT if right else WRONG)


def test_without_results_of_cifar_10_there_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "stage-1" / "seed-0").mkdir(parents=True)  # of a run without an epoch
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    for _ in range(2):
        assert "once a stage is trained on CIFAR-10" in networks.answers().data.replace("\\", "")
        assert networks.watch("fig-growth").data == ""
        w.leave(Run(2, data="synthetic", root=tmp_path), {}, data="synthetic")


def data_of(page):
    text = re.search(r'id="growth-data">(.*?)</script>', page)[1]
    assert "<" not in text
    return json.loads(text)


@pytest.fixture(scope="module")
def page():
    return w.widget_page()


def test_all_stages_are_there_and_the_page_is_small(page):
    assert [stage["number"] for stage in data_of(page)["stages"]] == list(STAGES)
    assert len(page.encode()) < 7e6


def test_stages_that_a_page_cannot_run_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setitem(STAGES, 12, replace(STAGES[4], number=12))
    monkeypatch.setitem(STAGES, 13, Stage(13, "residual", ResNet(parameters=1, macs=1)))
    for number in (1, 4, 12):
        run = Run(number, epochs=2, root=tmp_path)
        network = predict.fresh_network(run).state_dict()
        w.leave(run, {key: value.numpy() for key, value in network.items()})
    w.leave(Run(13, epochs=2, root=tmp_path), {})
    monkeypatch.setitem(STAGES, 4, replace(STAGES[4], network=STAGES[5].network))  # now stale
    (tmp_path / "stage-12" / "seed-0" / "model.safetensors").unlink()
    assert [stage["number"] for stage in data_of(w.widget_page())["stages"]] == [1]


@pytest.fixture
def tab(visit, page):
    tab = visit(page)
    w.told(tab)
    return tab


def chosen(tab):
    """The stage in view."""
    checked = "all => all.findIndex(step => step.checked)"
    return 1 + tab.locator(f"{w.STEPS} input").evaluate_all(checked)


@pytest.mark.browser
def test_begins_with_a_picture_and_marks_who_is_right(tab):
    assert chosen(tab) == 1
    pressed = tab.locator(".net-choices [aria-pressed=true]")
    assert pressed.get_attribute("title") == "frog, test picture"
    given = [stored(number)["probabilities"][6042].astype(float) for number in STAGES]
    most = int(np.diff([shares[6] for shares in given]).argmax()) + 2
    words = tab.locator(".growth-play p").inner_text()
    assert f"stage {most} ({STAGES[most].title})" in words
    marks = "".join(re.findall("[✓✗]", tab.locator(".growth-strip").inner_text()))
    assert marks == "".join("✓" if shares.argmax() == 6 else "✗" for shares in given)


@pytest.mark.browser
def test_steps_by_keyboard_and_play(visit, page):
    tab = visit(page)
    tab.clock.install()
    w.told(tab)
    tab.get_by_role("button", name="cat, test picture").press("Enter")
    tab.get_by_role("button", name="cat, test picture", pressed=True).wait_for()
    w.told(tab)
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


@pytest.mark.browser
def test_one_map_is_looked_at_by_mouse_and_keyboard(tab):
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
    picture = np.asarray(Image.open(PROJECT / "figures" / "shown.png"))[None, :, 128:160]
    network = predict.trained_network(Run(4, root=PROJECT / "cache"))
    with torch.inference_mode():
        yielded = network[:3](predict.as_batch(picture))[0, 38]
    least, most = map(float, re.findall(r"\d+\.\d+", about.inner_text()))
    assert [least, most] == pytest.approx([float(yielded.min()), float(yielded.max())], abs=0.02)


@pytest.mark.browser
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
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_fits_a_phone_and_axe_finds_nothing(visit, page, scheme):
    size = {"width": 390, "height": 844}
    tab = visit(page, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    w.told(tab)
    for number in (1, 8):
        w.step(tab, number)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not serious(tab)


@pytest.mark.browser
def test_without_scripts_and_on_paper_the_figure_stays(visit, page):
    tab = visit(page, java_script_enabled=False)
    assert tab.locator("#static").is_visible()
    tab = visit(page)
    w.told(tab)
    assert not tab.locator("#static").is_visible()
    tab.emulate_media(media="print")
    assert tab.locator("#static").is_visible()
    assert not tab.locator(".growth").is_visible()
