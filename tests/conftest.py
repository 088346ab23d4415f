"""What several tests share: the project, copies of it, its book, a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from cifar_study import data
from cifar_study.runs import VARIABLE

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_folder() -> Path:
    """The folder of CIFAR-10, where there is one."""
    beside = PROJECT.parent / "shared" / "cifar10"
    folder = Path(os.environ.get("CIFAR_STUDY_DATA") or beside)
    if not folder.is_dir():
        pytest.skip("needs CIFAR-10: set CIFAR_STUDY_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def real_data(real_folder: Path, shared: Path) -> data.Dataset:
    """CIFAR-10, decoded once by whichever worker is first: it takes seconds."""
    with FileLock(shared / "cifar10.lock"):
        return data.load(str(real_folder))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of results, which the report shows."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def copy_project(target: Path) -> Path:
    """What the report is made of, in a folder of its own."""
    target.mkdir(parents=True, exist_ok=True)
    unwanted = shutil.ignore_patterns("__pycache__", "trial", "*.lock", ".quarto", "*.quarto_ipynb")
    for name in ("chapters", "cifar_study", "plain", "figures", "cache"):
        shutil.copytree(PROJECT / name, target / name, ignore=unwanted)
    for name in ("_quarto.yml", "_quarto-pdf.yml", "index.qmd"):
        shutil.copy(PROJECT / name, target)
    return target


NEEDS_QUARTO = pytest.mark.skipif(not shutil.which("quarto"), reason="no quarto on the path")
QUARTO = pytest.param("quarto", marks=[pytest.mark.long, NEEDS_QUARTO])


@pytest.fixture(scope="session", params=["plain", QUARTO])
def book(request: pytest.FixtureRequest, shared: Path) -> Path:
    """The pages of the whole book, rendered once for each edition by whichever worker is first."""
    pages = shared / f"book-{request.param}" / "_book"
    page = pages / "index.html"
    with FileLock(shared / f"{request.param}.lock"):
        if not page.exists():
            folder, command = PROJECT, [sys.executable, "-m", "plain", "--output", page]
            if request.param == "quarto":
                folder, command = copy_project(pages.parent), ["quarto", "render"]
            elif (made := PROJECT / "report.html").exists():
                pages.mkdir(parents=True)
                shutil.copy(made, page)  # which stays as it is if it is of what is here now
            about = os.environ | {"QUARTO_PYTHON": sys.executable}
            done = subprocess.run(command, cwd=folder, env=about, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
            assert "Unable to resolve crossref" not in done.stderr
    # A value in a sentence is shown as Python writes it where it has more than plain characters.
    assert not [page for page in pages.rglob("*.html") if r"\xa0" in page.read_text()]
    return pages


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """A headless Chromium: one on the path, else Playwright's own."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    found = found or shutil.which("google-chrome")
    with sync_api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(
                executable_path=found, args=["--no-sandbox", "--disable-background-networking"]
            )
        except sync_api.Error as error:
            pytest.skip(f"no Chromium: put one on the path ({error.message.splitlines()[0]})")
        yield started
        started.close()


@pytest.fixture(scope="module")
def visit(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Open a file or a page's text, alone; what it asks of the web or logs fails the test."""
    contexts, messages = [], []

    def refuse(route) -> None:
        messages.append(f"asks for {route.request.url}")
        route.abort()

    def open_page(page: str | Path, **options):
        if isinstance(page, str):
            path = tmp_path_factory.mktemp("page") / "page.html"
            path.write_text(page, encoding="utf-8")
            page = path
        context = browser.new_context(**options)
        context.set_default_timeout(120_000)  # on a machine that has other work, too
        contexts.append(context)
        context.route(re.compile("^https?://"), refuse)
        tab = context.new_page()
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("pageerror", lambda error: messages.append(str(error)))
        tab.goto(page.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not messages, messages
