"""The code and the networks that the report shows."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from conftest import PROJECT

from cifar_study.errors import StudyError
from cifar_study.report import listing
from cifar_study.stages import STAGES, Block, Network, Stage
from cifar_study.training.model import build_model


def lines(markdown) -> list[str]:
    """The lines of the first code block."""
    return re.search(r"```\w+\n(.*?)\n```", markdown.data, re.DOTALL)[1].splitlines()


def test_the_first_stage_is_shown_as_pytorch_prints_it() -> None:
    assert lines(listing.layers(1)) == str(build_model(STAGES[1].network)).splitlines()


def test_a_change_shows_what_is_new_and_what_is_gone() -> None:
    assert lines(listing.change(8, 7))[-3:] == [
        "+Block(filters=160, activation='relu', pool='global', batch_norm=True, dropout=0.4)",
        "+input_size=None",
        " epochs=150, batch_size=64, learning_rate=0.001, momentum=0.9",
    ]
    shown = lines(listing.change(4, 3))
    assert [line[0] for line in shown] == list("--++ -+")
    assert shown[0] == "-Block(filters=20, activation='sigmoid', pool=2)"
    assert shown[2] == "+Block(filters=20, activation='relu', pool=2)"
    assert shown[-1].startswith("+epochs=150,")


@pytest.mark.parametrize("number", range(2, 9))
def test_what_is_not_gone_from_a_change_is_the_stage(number: int) -> None:
    kept = [line[1:] for line in lines(listing.change(number, number - 1)) if line[0] != "-"]
    network, recipe = STAGES[number].network, STAGES[number].recipe
    blocks = [eval(line, {"Block": Block}) for line in kept if line.startswith("Block(")]
    assert tuple(blocks) == network.blocks
    assert f"input_size={network.input_size}" in kept
    assert f"epochs={recipe.epochs}, batch_size={recipe.batch_size}" in kept[-1]


def test_equal_settings_are_written_only_where_a_block_uses_them() -> None:
    plain = Stage(1, "", Network((Block(2),)))
    dropped = replace(plain, network=Network((Block(2, dropout=0.5),)))
    assert listing._settings([plain]) == ["filters", "activation", "pool"]
    assert listing._settings([plain, dropped]) == ["filters", "activation", "pool", "dropout"]


def test_code_is_shown_from_its_file_without_its_docstring() -> None:
    shown = lines(listing.code("labels.py", "one_hot"))
    place = re.fullmatch(r"# cifar_study/labels.py, line (\d+)", shown[0])
    file = (PROJECT / "cifar_study" / "labels.py").read_text().splitlines()
    assert file[int(place[1]) - 1] == shown[1]
    assert shown[1].startswith("def one_hot(")
    assert shown[-1] == "    return vectors"
    assert '"""' not in "".join(shown)
    assert set(shown[1:]) <= set(file)


def test_one_statement_of_a_function_can_be_shown() -> None:
    shown = lines(listing.code("training/engine.py", "Engine.__init__", "self.optimizer"))
    assert shown[1].startswith("self.optimizer = torch.optim.SGD(")
    with pytest.raises(StudyError, match=r"assigns to self\.missing"):
        listing.code("training/engine.py", "Engine.__init__", "self.missing")
    with pytest.raises(StudyError, match="there is no nothing"):
        listing.code("cifar10.py", "nothing")


def test_marks_that_ask_for_code_find_it_unfolded() -> None:
    chapters = {path.stem[:3]: path.read_text() for path in (PROJECT / "chapters").glob("q*.qmd")}
    for question in ("q02", "q03", "q06", "q09", "q10", "q11", "q12"):
        assert "listing.code(" in chapters[question], question
    everything = "".join(chapters.values())
    for number in range(1, 9):
        assert f"listing.entry({number})" in everything
    for number in range(2, 9):
        assert f"listing.change({number}, {number - 1})" in everything


@pytest.mark.browser
@pytest.mark.long
def test_show_all_code_opens_every_fold(book, browser) -> None:
    chapter = book / "chapters" / "q06-training.html"
    page = browser.new_context(reduced_motion="reduce").new_page()
    page.goto((chapter if chapter.exists() else book / "index.html").as_uri())
    if chapter.exists():
        folds, shut = ".callout-collapse, details.code-fold", ":is(.callout-collapse:not(.show))"
        menu = page.locator("#quarto-code-tools-menu")
        buttons = [page.locator(f"#quarto-{what}-all-code") for what in ("show", "hide")]
    else:
        listings = ".callout details:has(pre)"
        folds, shut = f"details.code-fold, {listings}", f"{listings}:not([open])"
        menu, buttons = None, [page.locator("#page-code")] * 2
    closed = page.locator(f"{shut}, details.code-fold:not([open])")
    everything = page.locator(folds).count()
    assert closed.count() == everything > 3
    for button, left in zip(buttons, (0, everything), strict=True):
        if menu:
            menu.click()
        button.click()
        page.wait_for_timeout(1000)
        assert closed.count() == left
    page.context.close()
