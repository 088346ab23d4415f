"""The chapters: each one runs without torch, data or network, and types no number."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import copy_project

from cifar_study.training.robustness import SHAPES, TEST_SIDES, flattened

PROJECT = Path(__file__).parent.parent
CHAPTERS = [PROJECT / "index.qmd", *sorted((PROJECT / "chapters").glob("q*.qmd"))]
CELL = re.compile(r"^```\{python\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`\{python\} ([^`]+)`")

# Importing torch, opening a connection or reading a data set fails the chapter.
GUARD = """
import os, socket, sys
sys.modules["torch"] = None
os.environ["CIFAR_STUDY_DATA"] = "/nowhere"
def refuse(*arguments, **options):
    raise OSError("a chapter must not open a connection")
socket.socket.connect = refuse
"""


# What a cell shows is printed, as far as it is text.
SHOW = """
import ast
def show(name, *pieces):
    space = {}
    for piece in pieces:
        tree = ast.parse(piece)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), space)
        if last:
            shown = eval(compile(ast.Expression(last.value), name, "eval"), space)
            print(getattr(shown, "data", shown))
"""


def execute(project: Path) -> str:
    """Run every chapter in a namespace of its own, in one process, as imports take long."""
    script = [GUARD, SHOW]
    for chapter in CHAPTERS:
        pieces = []
        for match in re.finditer(
            rf"{CELL.pattern}|{INLINE.pattern}", chapter.read_text(), CELL.flags
        ):
            cell, inline = match.groups()
            pieces += [cell] if cell else [f"assert isinstance({inline}, str)", inline]
        script.append(f"show({chapter.name!r}, *{pieces!r})")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(script)], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_run_without_torch_data_and_network() -> None:
    assert "Drawn once" not in execute(PROJECT)


@pytest.mark.long
def test_all_run_and_say_so_where_stages_are_missing_stale_or_damaged(tmp_path: Path) -> None:
    copy = copy_project(tmp_path / "project")
    for absent in (2, 8):
        shutil.rmtree(copy / "cache" / f"stage-{absent}")
    stages = copy / "cifar_study" / "stages.py"
    four = "network=Network(blocks=FOUR_BLOCKS)"
    assert four in stages.read_text()
    stages.write_text(stages.read_text().replace(four, f"{four}, recipe=Recipe(momentum=0.8)"))
    history = copy / "cache" / "stage-6" / "seed-0" / "history.csv"
    history.write_text(history.read_text().replace(",", ";", 3))
    text = execute(copy)
    assert "not trained yet" in text
    # The photo, sizes, confusion, mistakes and filters.
    assert text.count("Drawn once stage 8 is trained.") == 5
    assert "Known once stage 8 is trained." in text  # what it says of the photo
    assert "recipe.momentum 0.9 → 0.8" in text
    assert "history.csv: is not the file that result.json was written with" in text


SIDES = {side for width, height, _ in SHAPES for side in (width, height)} | set(TEST_SIDES)
SIDES |= {flattened(side) for side in (20, 32, 36)}


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_types_no_number(chapter: Path) -> None:
    prose = CELL.sub("", chapter.read_text())
    prose = re.sub(r"\{[^}]*\}", "", INLINE.sub("", prose))  # attributes: ids, widths
    # References, links, maths, and what is named in code.
    prose = re.sub(r"@[\w-]+|\]\([^)]*\)|\$\$?[^$]+\$\$?|`[^`]*`", "", prose)
    prose = prose.replace("CIFAR-10", "").replace("ResNet-20", "")
    # Sides of pictures that the chapter on sizes measures are settings, not results.
    sides = SIDES if chapter.stem == "q13-photo" else set()
    assert {int(number) for number in re.findall(r"\d+", prose)} <= sides


def test_every_question_has_its_chapter_in_the_book() -> None:
    book = yaml.safe_load((PROJECT / "_quarto.yml").read_text())["book"]["chapters"]
    listed = [name for entry in book if isinstance(entry, dict) for name in entry["chapters"]]
    questions = [f"chapters/q{number:02}" for number in range(1, 15)]
    assert [name[:12] for name in listed[:14]] == questions
    assert listed[14:] == ["chapters/speed.qmd"]
    assert all((PROJECT / name).exists() for name in listed)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_figures_and_tables_have_caption_and_text(chapter: Path) -> None:
    for cell in CELL.findall(chapter.read_text()):
        if "label: fig-" in cell:
            assert "fig-cap:" in cell
            assert "fig-alt:" in cell
        if "label: tbl-" in cell:
            assert "tbl-cap:" in cell
    for attributes in re.findall(r"!\[[^\]]+\]\([^)]+\)\{([^}]*)\}", chapter.read_text()):
        assert "fig-alt=" in attributes
