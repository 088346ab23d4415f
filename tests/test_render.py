"""What make does beside the pages: the plain edition, the PDF, the preview."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import NEEDS_QUARTO, PROJECT, copy_project

BUILD = ("Makefile", "requirements.txt", "pyproject.toml")


def make(target, project, path=os.environ["PATH"]):
    """Run the Makefile with the libraries of this process, as typed by hand."""
    for name in BUILD:
        shutil.copy(PROJECT / name, project)
    return subprocess.run(
        ["make", "-o", f"{sys.prefix}/.report", target, f"VENV={sys.prefix}", "LOG=log"],
        cwd=project,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture
def small(tmp_path):
    """A book of one page, with the code of the plain edition."""
    for name in ("plain", "cifar_study"):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / "_quarto.yml").write_text("book: {title: Small, chapters: [index.qmd]}\n")
    (tmp_path / "index.qmd").write_text("# Small\n")
    (tmp_path / "chapters").mkdir()
    shutil.copy(PROJECT / "chapters" / "fresh.py", tmp_path / "chapters")
    return tmp_path


@pytest.mark.long
def test_without_quarto_the_report_is_one_file(small):
    folders = os.environ["PATH"].split(os.pathsep)
    path = os.pathsep.join(each for each in folders if not (Path(each) / "quarto").exists())
    (small / "log").touch()  # the package quarto-cli was tried
    done = make("report", small, path)
    assert done.returncode == 0, done.stderr
    assert "making the plain edition, report.html" in done.stdout
    assert "wrote report.html" in done.stderr
    assert "report.html is up to date" in make("plain", small, path).stderr
    for target in ("pdf", "preview"):
        done = make(target, small, path)
        assert done.returncode == 2
        [line] = [line for line in done.stderr.splitlines() if not line.startswith("make:")]
        assert line.startswith(f"make {target} needs Quarto")


@pytest.mark.long
def test_without_torch_data_and_most_results_the_report_names_what_is_missing(tmp_path):
    copy = copy_project(tmp_path / "project")
    for folder in (copy / "cache").glob("stage-*"):
        if folder.name != "stage-1":
            shutil.rmtree(folder)
    (copy / "torch.py").write_text("raise ImportError\n")
    environment = os.environ | {"CIFAR_STUDY_DATA": "/nowhere"}
    words = [sys.executable, "-m", "plain"]
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not trained yet" in (copy / "report.html").read_text()


def test_a_misspelt_cache_leaves_the_book_as_it_is(small):
    """Quarto would remove it before it asks whether there is something to render."""
    (small / "_environment.local").write_text("CIFAR_STUDY_CACHE=nope\n")
    (small / "_book").mkdir()
    (small / "_book" / "index.html").write_text("as before")
    for target in ("report", "plain", *(("pdf", "preview") if shutil.which("quarto") else ())):
        done = make(target, small)
        assert done.returncode == 2
        said = done.stderr.splitlines()[0]
        assert said.startswith("error: CIFAR_STUDY_CACHE=nope: no results there; name a folder")
    assert (small / "_book" / "index.html").read_text() == "as before"


@pytest.mark.long
@NEEDS_QUARTO
def test_the_preview_shows_an_edit_of_the_package(tmp_path):
    copy = copy_project(tmp_path / "project")
    (copy / "index.qmd").write_text(
        "# Four\n\n```{python}\nfrom cifar_study.report.numbers import word\nword(4)\n```\n"
    )
    settings = (copy / "_quarto.yml").read_text()
    settings = re.sub(r"(?ms)^  (chapters|appendices):\n.*?(?=^\S|^  \w)", "", settings)
    settings = settings.replace("book:\n", "book:\n  chapters: [index.qmd]\n")
    (copy / "_quarto.yml").write_text(settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["quarto", "preview", "--no-browser", "--port", str(port)],
        cwd=copy,
        env=os.environ | {"QUARTO_PYTHON": sys.executable},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it starts children, and all have to end
    )

    def wait_for(words):
        address, began = f"http://127.0.0.1:{port}/", time.time()
        while time.time() - began < 240:
            with (
                contextlib.suppress(OSError),  # not up yet
                urllib.request.urlopen(address, timeout=240) as answer,
            ):
                if words in answer.read().decode():
                    return
            time.sleep(0.3)
        raise AssertionError(f"{words} is not shown")

    try:
        wait_for("four")
        time.sleep(1.1)  # files are told apart by their times in whole seconds
        numbers = copy / "cifar_study/report/numbers.py"
        numbers.write_text(numbers.read_text() + "\n\ndef word(number):\n    return 'changed'\n")
        wait_for("changed")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.mark.long
@NEEDS_QUARTO
def test_latex_is_refused_with_the_command_that_makes_the_pdf(small):
    (small / "chapters/pdf").symlink_to(PROJECT / "chapters/pdf")
    [filters] = re.findall("(?m)^filters:.*", (PROJECT / "_quarto.yml").read_text())
    with (small / "_quarto.yml").open("a") as settings:
        settings.write(filters)
    words = ["quarto", "render", "--to", "pdf"]
    done = subprocess.run(words, cwd=small, capture_output=True, text=True, timeout=300)
    assert done.returncode
    assert "error: the PDF is made by: make pdf" in done.stderr


@pytest.mark.long
@NEEDS_QUARTO
def test_the_report_as_pdf(tmp_path):
    pypdf = pytest.importorskip("pypdf")
    copy = copy_project(tmp_path / "project")
    before = {path.name for path in copy.iterdir()}
    done = make("pdf", copy)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Unable to resolve crossref" not in done.stderr
    made = {path.name for path in copy.iterdir()} - before
    assert made <= {*BUILD, "report.pdf", "_freeze", ".quarto", ".gitignore"}
    text = "\n".join(page.extract_text() for page in pypdf.PdfReader(copy / "report.pdf").pages)
    chapters = "".join(path.read_text() for path in sorted((copy / "chapters").glob("*.qmd")))
    for kind, word in (("fig", "Figure"), ("tbl", "Table")):
        labels = re.findall(rf"(?:label: |\{{#){kind}-", chapters)
        captions = re.findall(rf"^{word} [A-Z\d]+\.\d+:", text, re.MULTILINE)
        assert len(captions) == len(labels), captions
    assert "Batch Normalization: Accelerating" in " ".join(text.split())  # the bibliography
