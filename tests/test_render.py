"""What Quarto makes beside the pages: the PDF, only what has to be made again, the preview."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, copy_project

needs_quarto = pytest.mark.skipif(not shutil.which("quarto"), reason="no quarto on the path")
ENVIRONMENT = os.environ | {"QUARTO_PYTHON": sys.executable}
SMALL = """
project:
  type: book
  output-dir: _book
  execute-dir: project
  pre-render: chapters/fresh.py before
  post-render: chapters/fresh.py after
  resources: [/cifar_study/**/*.py, /cache/*/*/history.csv]
book:
  title: Small
  chapters: [index.qmd, chapters/q04-parameters.qmd, chapters/q08-more-filters.qmd]
execute: {freeze: auto, daemon: false}
format: {html: {theme: none}}
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a short book of two chapters, which renders fast."""
    copy = copy_project(tmp_path_factory.mktemp("small") / "project")
    (copy / "_quarto.yml").write_text(SMALL)
    (copy / "index.qmd").write_text("# Small {.unnumbered}\n")
    return copy


def render(project: Path) -> set[str]:
    """Render the book; the chapters that were executed."""
    began = time.perf_counter()
    done = subprocess.run(
        ["quarto", "render"],
        cwd=project,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    executed = set(re.findall(r"Executing '(q\d\d)", done.stderr))
    print(f"rendered in {time.perf_counter() - began:.1f} s, executed {sorted(executed) or 'none'}")
    return executed


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, path
    path.write_text(text.replace(old, new))


def fresh(project: Path, step: str) -> int:
    script = [sys.executable, "chapters/fresh.py", step]
    return subprocess.run(script, cwd=project, check=False).returncode


@pytest.mark.long
@needs_quarto
def test_only_what_changed_is_executed_again(small: Path) -> None:
    page = small / "_book" / "chapters" / "q08-more-filters.html"
    assert render(small) == {"q04", "q08"}
    assert fresh(small, "check") == 0
    assert render(small) == set()

    replace(small / "chapters/q08-more-filters.qmd", "An epoch takes", "An epoch lasts")
    assert fresh(small, "check") == 1
    assert render(small) == {"q08"}
    assert "An epoch lasts" in page.read_text()

    # A changed row shows: as one that nothing vouches for.
    assert "is not the file that" not in page.read_text()
    history = small / "cache/stage-1/seed-0/history.csv"
    *rows, last = history.read_text().splitlines()
    history.write_text("\n".join([*rows, last.replace(",0.", ",0.9"), ""]))
    assert "q08" in render(small)
    assert "is not the file that" in page.read_text()

    assert "#abcdef" not in page.read_text()
    replace(small / "cifar_study/report/style.py", '"#2B97C2"', '"#abcdef"')
    replace(small / "cifar_study/report/numbers.py", '{digits}f}%"', '{digits}f} per cent"')
    assert render(small) == {"q04", "q08"}
    assert re.search(r"\d\.\d per cent", page.read_text())
    charts = (small / "_book" / "chapters").rglob("*.svg")
    assert "#abcdef" in "".join(chart.read_text() for chart in charts)


@pytest.fixture
def preview(small: Path) -> Iterator[str]:
    """The address of a preview of the small book."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["quarto", "preview", "--no-browser", "--port", str(port)],
        cwd=small,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it starts children, and all have to end
    )
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


@pytest.mark.long
@needs_quarto
def test_the_preview_shows_an_edit_of_the_package(small: Path, preview: str) -> None:
    address = f"{preview}/chapters/q04-parameters.html"

    def wait_for(words: str) -> None:
        began = time.perf_counter()
        while time.perf_counter() - began < 240:
            try:
                with urllib.request.urlopen(address, timeout=240) as answer:
                    if words in answer.read().decode():
                        print(f"saw {words!r} after {time.perf_counter() - began:.1f} s")
                        return
            except (urllib.error.URLError, ConnectionError):
                pass  # not up yet
            time.sleep(0.3)
        raise AssertionError(f"{words} is not shown")

    wait_for("0.4 million")
    time.sleep(1.1)  # files are told apart by their times in whole seconds
    replace(small / "cifar_study/report/numbers.py", ':.1f} million"', ':.1f} millions"')
    wait_for("0.4 millions")


CHANGES = {
    "a history": "cache/stage-2/seed-0/history.csv",
    "parameters": "cache/stage-8/seed-0/model.safetensors",
    "the package": "cifar_study/report/tables.py",
    "the style": "cifar_study/report/report.mplstyle",
    "a picture": "figures/photo.svg",
    "the project": "_quarto.yml",
    "a new file": "cifar_study/new.py",
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("copy") / "project")


@pytest.mark.parametrize("name", CHANGES.values(), ids=CHANGES)
def test_results_made_from_something_else_go(copy: Path, name: str) -> None:
    fresh(copy, "before")
    kept = copy / "_freeze" / "result"
    kept.touch()
    (copy / "cache" / "stage-2" / "seed-0" / "lock").touch()
    with (copy / "chapters" / "q08-more-filters.qmd").open("a") as chapter:
        chapter.write("More.\n")  # a chapter's own text is Quarto's affair
    left = copy / "chapters" / "q08-more-filters_files" / "chart.png"  # by a render cut off
    left.parent.mkdir(exist_ok=True)
    for path in (left, copy / "chapters" / "q08-more-filters.quarto_ipynb"):
        path.write_text(name)
    fresh(copy, "before")
    assert kept.exists()
    with (copy / name).open("ab") as file:
        file.write(b"\n")
    fresh(copy, "before")
    assert not kept.exists()


def test_results_that_lie_elsewhere_are_looked_at(copy: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CIFAR_STUDY_CACHE", str(tmp_path / "theirs"))
    assert fresh(copy, "before") == fresh(copy, "check") == 2  # no such folder
    (tmp_path / "theirs" / "stage-1").mkdir(parents=True)
    assert fresh(copy, "before") == fresh(copy, "check") == 2  # nothing in it
    (tmp_path / "theirs" / "stage-1" / "seed-0").mkdir()
    assert fresh(copy, "before") == 0
    kept = copy / "_freeze" / "result"
    kept.touch()
    fresh(copy, "before")
    assert kept.exists()
    (tmp_path / "theirs" / "speed-chip.json").write_text("{}")
    fresh(copy, "before")
    assert not kept.exists()


@pytest.mark.parametrize("words", [[], ["befor"], ["before", "after"]])
def test_a_step_that_is_none_is_a_line(copy: Path, words: list[str]) -> None:
    script = [sys.executable, "chapters/fresh.py", *words]
    done = subprocess.run(script, cwd=copy, check=False, capture_output=True, text=True)
    said = "error: say one of: chapters/fresh.py before, after, check\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_what_is_in_the_way_is_named_in_a_line(copy: Path) -> None:
    shutil.rmtree(copy / "_freeze", ignore_errors=True)
    (copy / "_freeze").write_text("no folder")
    script = [sys.executable, "chapters/fresh.py", "before"]
    done = subprocess.run(script, cwd=copy, check=False, capture_output=True, text=True)
    (copy / "_freeze").unlink()
    assert done.returncode == 2
    assert done.stderr.startswith("error: _freeze: ")
    assert len(done.stderr.splitlines()) == 1


def make(target: str, project: Path, path: str) -> subprocess.CompletedProcess[str]:
    """Run the Makefile with the libraries of this process."""
    for name in ("Makefile", "requirements.txt", "_quarto-pdf.yml"):
        shutil.copy(PROJECT / name, project)
    return subprocess.run(
        [shutil.which("make"), "-o", f"{sys.prefix}/.report", target, f"VENV={sys.prefix}"],
        cwd=project,
        # As typed by hand, even where make runs these tests.
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("whole", [True, False], ids=["it is made", "it fails"])
def test_the_plain_edition_takes_the_place_of_an_earlier_book_only_once_it_is_made(
    whole: bool, tmp_path: Path
) -> None:
    for name in ("plain", "cifar_study"):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / "_quarto.yml").write_text("book: {title: Small, chapters: [index.qmd]}\n")
    (tmp_path / "index.qmd").write_text("# Small\n" if whole else "# Small\n\nSee @fig-none.\n")
    earlier = {tmp_path / "_book" / name for name in ("index.html", "chapters/q01.html")}
    for page in earlier:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("as before")
    done = make("plain", tmp_path, os.environ["PATH"])
    assert done.returncode == (0 if whole else 2), done.stderr
    pages = {page for page in (tmp_path / "_book").rglob("*") if page.is_file()}
    assert pages == ({tmp_path / "_book" / "index.html"} if whole else earlier)
    for page in pages:
        assert (page.read_text() == "as before") is not whole


def test_a_misspelt_cache_leaves_the_book_as_it_is(copy: Path, monkeypatch) -> None:
    """Quarto would remove it before it asks whether there is something to render."""
    (copy / "_book").mkdir()
    (copy / "_book" / "index.html").write_text("as before")
    monkeypatch.setenv("CIFAR_STUDY_CACHE", "nope")
    for target in ("report", "pdf", "preview") if shutil.which("quarto") else ("report",):
        done = make(target, copy, os.environ["PATH"])
        assert done.returncode == 2
        [line] = [line for line in done.stderr.splitlines() if not line.startswith("make:")]
        assert line.startswith("error: CIFAR_STUDY_CACHE=nope: No such file or directory; name ")
    assert (copy / "_book" / "index.html").read_text() == "as before"
    shutil.rmtree(copy / "_book")


@pytest.mark.parametrize("name", ["page.html", "search.json"])
@pytest.mark.parametrize("content", [None, b"\xff{"], ids=["missing", "damaged"])
def test_a_damaged_page_or_index_is_named_in_a_line(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    libraries = tmp_path / "site_libs" / "quarto-html" / "tabsets"
    libraries.mkdir(parents=True)
    (libraries / "tabsets.js").write_text("export function init() {}\n")
    script = 'import * as tabsets from "./tabsets/tabsets.js";\n'
    (libraries.parent / "quarto.js").write_text(script)
    for file in {"page.html", "search.json"} - {name}:
        (tmp_path / file).write_text("[]")
    if content:
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, PROJECT / "chapters" / "works_from_file.py"],
        env=os.environ | {"QUARTO_PROJECT_OUTPUT_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    if (name, content) == ("page.html", None):  # a book without pages is none of its business
        assert done.returncode == 0
        return
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: chapters/works_from_file.py: ")
    assert str(tmp_path / name) in line
    assert line.endswith("; render again")


@pytest.mark.parametrize(
    ("script", "named"),
    [
        (None, "has no quarto.js where it was expected"),
        ("", "has another quarto.js"),
        ('import * as tabsets from "./other.js";', "has another quarto.js"),
        ('import * as tabsets from "./tabsets/tabsets.js";\nimport "./more.js";', "has another"),
    ],
    ids=["none", "empty", "another import", "one import more"],
)
def test_pages_of_a_quarto_that_is_not_known_are_left_and_it_is_said(
    script: str | None, named: str, tmp_path: Path
) -> None:
    page, text = tmp_path / "page.html", '<script src="x/quarto.js" type="module"></script>'
    page.write_text(text)
    libraries = tmp_path / "site_libs" / "quarto-html"
    (libraries / "tabsets").mkdir(parents=True)
    (libraries / "tabsets" / "tabsets.js").write_text("export function init() {}\n")
    if script is not None:
        (libraries / "quarto.js").write_text(script)
    done = subprocess.run(
        [sys.executable, PROJECT / "chapters" / "works_from_file.py"],
        env=os.environ | {"QUARTO_PROJECT_OUTPUT_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert line.startswith(f"chapters/works_from_file.py: this version of Quarto {named}")
    assert page.read_text() == text


@pytest.mark.parametrize("target", ["pdf", "preview"])
def test_without_quarto_one_line_says_so(copy: Path, target: str) -> None:
    folders = os.environ["PATH"].split(os.pathsep)
    without = [folder for folder in folders if not (Path(folder) / "quarto").exists()]
    done = make(target, copy, os.pathsep.join(without))
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("make:")]
    assert len(said) == 1
    assert said[0].startswith(f"make {target} needs Quarto")


@pytest.mark.long
@needs_quarto
def test_the_report_as_pdf(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    copy = copy_project(tmp_path / "project")
    (copy / "_book").mkdir()
    (copy / "_book" / "index.html").write_text("as before")
    before = {path.name for path in copy.iterdir()}
    done = make("pdf", copy, os.environ["PATH"])
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Unable to resolve crossref" not in done.stderr
    made = {path.name for path in copy.iterdir()} - before
    assert made - {"Makefile", "requirements.txt"} <= {
        "report.pdf", "_quarto-pdf.yml", "_freeze", ".quarto", ".gitignore",
    }  # fmt: skip
    assert [path.name for path in (copy / "_book").iterdir()] == ["index.html"]

    pages = pypdf.PdfReader(copy / "report.pdf").pages
    text = "\n".join(page.extract_text() for page in pages)
    chapters = "".join(path.read_text() for path in sorted((copy / "chapters").glob("*.qmd")))
    for kind, word in (("fig", "Figure"), ("tbl", "Table")):
        labels = re.findall(rf"(?:label: |\{{#){kind}-", chapters)
        captions = re.findall(rf"^{word} \d+\.\d+:", text, re.MULTILINE)
        assert len(captions) == len(labels), captions
    assert "Batch Normalization: Accelerating" in " ".join(text.split())  # the bibliography
    assert "uoft-cs/cifar10" in text  # code inside prose
    assert "return in Chapter 7." in " ".join(text.split())  # a cross-reference
