"""All networks on one picture: the figure, and the page that takes its place on screens."""

from __future__ import annotations

import functools
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT
from pages import (
    content,
    give,
    in_torch,
    pictures,
    seen,
    shown,
    told,
    visit_from,  # noqa: F401
    widget_page,
)
from PIL import Image
from results import leave
from safetensors.numpy import load_file
from test_accessibility import serious
from test_book import Quiet

from cifar_study.cifar10 import CLASSES
from cifar_study.report import demo, growth, study
from cifar_study.report.replicates import replicates
from cifar_study.report.style import RIGHT, WRONG
from cifar_study.results.run import Run
from cifar_study.stages import STAGES
from cifar_study.training import predict

STEPS = ".growth-strip label"
FROG = growth.SHOWN.index(6042)
PHOTO = Image.fromarray(pictures(1, 300, 400)[0])


def stored(number: int, seed: int = 0) -> dict[str, np.ndarray]:
    return load_file(PROJECT / f"cache/stage-{number}/seed-{seed}/predictions.safetensors")


def accuracies(number: int) -> dict[int, float]:
    """By seed, from the answers that are stored."""
    seeds = (PROJECT / f"cache/stage-{number}").glob("seed-*")
    found = {}
    for seed in (int(folder.name.removeprefix("seed-")) for folder in seeds):
        given = stored(number, seed)
        found[seed] = (given["probabilities"].argmax(1) == given["labels"]).mean()
    return found


def test_answers_are_those_that_are_stored() -> None:
    figure = growth.answers().figure
    cells = {axes.get_subplotspec().num1: axes for axes in figure.axes}
    assert [cells[column].get_title() for column in range(6)] == [
        "airplane",
        "automobile",
        "cat",
        "dog",
        "frog",
        "ship",
    ]
    for row, number in ((1, 1), (8, 8)):
        answers = stored(number)
        for column, place in enumerate(growth.SHOWN):
            given = answers["probabilities"][place]
            said = [
                text for text in cells[6 * row + column].texts if text.get_text() != str(number)
            ]
            guess = CLASSES[given.argmax()]
            assert [text.get_text() for text in said] == [guess, f"{given.max():.0%}"]
            right = given.argmax() == answers["labels"][place]
            assert said[0].get_color() == (RIGHT if right else WRONG)


def test_without_results_there_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stage-1" / "seed-0").mkdir(parents=True)  # of a run without an epoch
    monkeypatch.setenv(study.VARIABLE, str(tmp_path))
    none = "*Drawn once a stage is trained on CIFAR-10.*"
    assert growth.answers().data == none
    # Of drawn pictures there are fewer, and they are others.
    leave(Run(STAGES[1], data="synthetic", root=tmp_path), [0.5])
    assert growth.answers().data == none
    assert growth.watch("fig-growth").data == ""


def test_what_to_notice_is_what_the_results_say() -> None:
    for number in STAGES:
        said = growth.notice(number, number - 1 or None)
        given, right = stored(number), accuracies(number)
        if number in (3, 4):  # the third is a trial of fewer epochs
            assert "against" not in said
        elif number > 1:
            other = accuracies(number - 1)
            gain = np.mean([right[seed] - other[seed] for seed in right.keys() & other])
            written = f"{100 * gain:.1f} points".replace("-", "\N{MINUS SIGN}")
            assert said.startswith(f"Test accuracy against stage {number - 1}: {written}")
        one_class = len(set(given["probabilities"].argmax(1))) == 1
        assert ("Try several pictures" in said) == one_class == (number == 3)
        assert ("any shape" in said) == (number == 8)
    for stage in (1, 5):
        known = replicates(stage).final("train_accuracy").mean() > growth.KNOWN_BY_HEART
        assert ("training pictures" in growth.notice(stage, None)) == known


def test_only_stages_with_a_result_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 4):
        run = Run(STAGES[number], root=tmp_path)
        network = predict.fresh_network(run)
        weights = {key: value.numpy() for key, value in network.state_dict().items()}
        leave(run, [0.2], model=weights)
    mine = replace(STAGES[4].network.blocks[0], filters=3)
    changed = replace(STAGES[4], network=replace(STAGES[4].network, blocks=(mine,)))
    monkeypatch.setenv(study.VARIABLE, str(tmp_path))
    monkeypatch.setitem(STAGES, 4, changed)  # of which there is another result
    assert [bool(demo.trained(number)) for number in (1, 2, 4)] == [True, False, True]
    filters = [layer["shape"][-1] for layer in demo.trained(4)["layers"] if "shape" in layer]
    assert filters == [20, 20, 40, 40, 10]


@pytest.fixture(scope="module")
def address(book: Path) -> Iterator[str]:
    """The first page of the book, from a server."""
    handler = functools.partial(Quiet, directory=book)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@pytest.mark.browser
@pytest.mark.parametrize("way", ["file", "server"])
def test_in_the_book_all_stages_say_what_pytorch_says(
    visit_from: Callable,  # noqa: F811
    book: Path,
    address: str,
    way: str,
) -> None:
    tab = visit_from(address if way == "server" else book / "index.html")
    tab.locator(".growth").scroll_into_view_if_needed()
    told(tab, ".growth")
    tab.get_by_role("button", name="cat, test picture").click()
    tab.get_by_role("button", name="cat, test picture", pressed=True).wait_for()
    told(tab, ".growth")
    picture = np.asarray(Image.open(PROJECT / "figures" / "shown.png"))[None, :, 64:96]
    for number in STAGES:
        tab.locator(STEPS).nth(number - 1).click()
        expected = in_torch(number, picture)[0]
        best = CLASSES[expected.argmax()]
        said = tab.locator(".growth [role=status]").inner_text()
        assert said.startswith(f"Stage {number}, {STAGES[number].title}: {best} with ")
        assert said.endswith("right." if best == "cat" else "wrong.")
        assert np.allclose(shown(tab, ".growth"), 100 * expected, atol=1), number
        assert best in tab.locator(STEPS).nth(number - 1).inner_text()
    assert not tab.locator(".net-static").first.is_visible()


@pytest.fixture(scope="module")
def page() -> str:
    return widget_page("growth")


@pytest.fixture
def tab(visit_from: Callable, page: str):  # noqa: F811
    tab = visit_from(page)
    told(tab, ".growth")
    return tab


def chosen(tab) -> int:
    return tab.evaluate(
        f"[...document.querySelectorAll('{STEPS} input')].findIndex(x => x.checked)"
    )


@pytest.mark.browser
def test_begins_with_the_picture_that_divides_them_most(tab) -> None:
    assert chosen(tab) == 0
    assert (
        tab.locator(".net-choices [aria-pressed=true]").get_attribute("title")
        == "frog, test picture"
    )
    place = growth.SHOWN[FROG]
    shares = [float(stored(number)["probabilities"][place][6]) for number in STAGES]
    most = int(np.diff(shares).argmax()) + 2
    largest = tab.locator(".growth-largest").inner_text()
    assert f"stage {most} ({STAGES[most].title})" in largest
    marks = "".join(re.findall("[✓✗]", tab.locator(".growth-strip").inner_text()))
    right = [stored(number)["probabilities"][place].argmax() == 6 for number in STAGES]
    assert marks == "".join("✓" if each else "✗" for each in right)


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_a_card_holds_the_longest_name(tab, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 800})
    over = """cards => cards.flatMap(card => {
        card.querySelector(".growth-answer").textContent = "automobile";
        card.querySelector(".growth-share").textContent = "100%";
        const edge = card.getBoundingClientRect().right - 3;
        return [...card.children].slice(1).map(part => part.getBoundingClientRect().right - edge);
    })"""
    assert max(tab.eval_on_selector_all(STEPS, over)) <= 0


@pytest.mark.browser
def test_steps_by_keyboard_slider_and_play(visit_from: Callable, page: str) -> None:  # noqa: F811
    tab = visit_from(page, reduced_motion="reduce")
    tab.clock.install()
    told(tab, ".growth")
    tab.locator(f"{STEPS} input").first.focus()
    tab.keyboard.press("ArrowRight")
    assert chosen(tab) == 1
    assert "Stage 2" in tab.locator(".growth [role=status]").inner_text()
    slider = tab.get_by_role("slider", name="Stage")
    slider.press("ArrowRight")
    assert chosen(tab) == 2
    assert slider.get_attribute("aria-valuetext") == "Stage 3: two blocks, sigmoid"
    button = tab.get_by_role("button", name="Play")
    button.press("Enter")
    assert chosen(tab) == 3
    tab.clock.run_for(1600)
    assert chosen(tab) == 4
    tab.get_by_role("button", name="Pause").press("Enter")
    tab.clock.run_for(5000)
    assert chosen(tab) == 4
    button.press("Enter")
    tab.clock.run_for(10_000)
    assert chosen(tab) == 7
    button.press("Enter")  # from the beginning
    assert chosen(tab) == 0
    moving = tab.evaluate(
        "getComputedStyle(document.querySelector('.growth-bar span')).transitionDuration"
    )
    assert moving == "0s"


@pytest.mark.browser
def test_a_stage_shows_its_change_and_the_maps_of_its_blocks(tab) -> None:
    tab.locator(STEPS).nth(3).click()
    assert tab.locator(".growth-facts").inner_text().startswith("51,470 parameters; after 150")
    gone, added = (tab.locator(f".growth-{name} b").all_inner_texts() for name in ("gone", "added"))
    assert set(gone) == {"activation='sigmoid'", "epochs=15"}
    assert set(added) == {"activation='relu'", "epochs=150"}
    names = [f"Block {i}: {n} maps of {s} × {s}" for i, n, s in ((1, 20, 16), (2, 40, 8))]
    assert tab.locator(".growth-maps figcaption").all_inner_texts() == names
    tab.locator(STEPS).nth(7).click()
    last = tab.locator(".growth-maps figcaption").last.inner_text()
    assert last == "Block 4: 160 maps of 1 × 1"


@pytest.mark.browser
def test_one_map_is_looked_at_by_mouse_and_keyboard(tab) -> None:
    tab.locator(STEPS).nth(3).click()
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
    network = predict.trained_network(Run(STAGES[4], root=PROJECT / "cache"))
    with torch.inference_mode():
        yielded = network[:3](torch.tensor(picture).permute(0, 3, 1, 2))[0, 38]
    least, most = map(float, re.findall(r"\d+\.\d+", about.inner_text()))
    assert [least, most] == pytest.approx([float(yielded.min()), float(yielded.max())], abs=0.02)
    tab.get_by_role("button", name="Block 1").press("Enter")
    assert about.inner_text().startswith("Map 1 of 20 after block 1")


@pytest.mark.browser
def test_a_picture_of_ones_own_is_named_by_its_reader(tab) -> None:
    give(tab, ".growth", content(PHOTO))
    assert not re.findall("[✓✗]", tab.locator(".growth-strip").inner_text())
    assert "Say what it shows" in tab.locator(".growth-largest").inner_text()
    assert seen(tab, ".growth .net-card canvas").shape == (32, 32, 3)
    tab.get_by_label("It shows").select_option("ship")
    assert re.findall("[✓✗]", tab.locator(".growth-strip").inner_text())
    assert tab.locator(".growth .net-bars .right th").inner_text() == "ship"
    # The last stage takes it with its proportions, too.
    box = tab.get_by_label("with its own proportions")
    assert not box.is_visible()
    tab.locator(STEPS).nth(7).click()
    box.check()
    tab.get_by_role("img", name="It sees 37 × 28 pixels").wait_for()
    picture = seen(tab, ".growth .net-card canvas")
    assert np.allclose(shown(tab, ".growth"), 100 * in_torch(8, picture[None])[0], atol=1)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone_and_axe_finds_nothing(
    visit_from: Callable,  # noqa: F811
    page: str,
    scheme: str,
) -> None:
    style = "<style>:root { color-scheme: light dark } pre { background: Canvas }</style>"
    tab = visit_from(
        page.replace("<main>", f"{style}<main>"),
        viewport={"width": 390, "height": 844},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    told(tab, ".growth")
    for step in (0, 4, 7):
        tab.locator(STEPS).nth(step).click()
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not serious(tab)


@pytest.mark.browser
def test_without_scripts_and_on_paper_the_figure_stays(
    visit_from: Callable,  # noqa: F811
    page: str,
) -> None:
    tab = visit_from(page, java_script_enabled=False)
    assert tab.locator("#static").is_visible()
    tab = visit_from(page)
    told(tab, ".growth")
    assert not tab.locator("#static").is_visible()
    tab.emulate_media(media="print")
    assert tab.locator("#static").is_visible()
    assert not tab.locator(".growth").is_visible()


def test_data_in_the_page_are_safe_and_small() -> None:
    page = widget_page("growth", "photo")
    data = re.search(r'id="growth-data">(.*?)</script>', page)[1]
    assert "<" not in data
    assert [stage["number"] for stage in json.loads(data)["stages"]] == list(STAGES)
    assert page.count('data-once="stage-8"') == 1  # both widgets run it
    assert len(page.encode()) < 8e6
