"""The rendered book in a real browser, and the scripts that keep its pages fresh and openable."""

import importlib
import os
import re
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from urllib.parse import unquote, urlsplit

import pytest
from conftest import PROJECT
from widgets import serious, told


def pages_of(book, tab):
    """Each page in turn, the first one first, opened as a file."""
    for page in sorted(book.rglob("*.html"), key=lambda page: (page.parent != book, page)):
        if tab.url.partition("#")[0] != page.as_uri():
            tab.goto(page.as_uri())
        yield page


@pytest.fixture(scope="module")
def tab(book, visit):
    tab = visit(book / "index.html", reduced_motion="reduce")
    tab.locator(".growth").scroll_into_view_if_needed()
    told(tab)
    return tab


LOOK = """async () => {
    const images = [...document.images];
    images.forEach(image => image.loading = 'eager');
    await Promise.all(images.map(image => image.decode().catch(() => {})));
    const bare = image => !image.alt && !image.closest('a,button');
    const broken = images.filter(image => !image.naturalWidth || bare(image));
    const cut = [...document.querySelectorAll('table')]
        .filter(table => table.offsetWidth > table.parentElement.clientWidth + 1);
    const wide = document.documentElement.scrollWidth > innerWidth ? ['too wide'] : [];
    return [...broken.map(image => image.src.slice(0, 80)), ...cut.map(t => t.innerText), ...wide];
}"""
LOOKS = [(390, "light"), (1280, "light"), (390, "dark"), (1280, "dark")]
LOOKS[1:] = [pytest.param(*look, marks=pytest.mark.long) for look in LOOKS[1:]]


@pytest.mark.browser
def test_the_first_page_runs_its_networks(book, tab):
    next(pages_of(book, tab))
    assert told(tab).startswith("Stage 1, minimal, 5 filters: bird with ")
    assert not tab.locator(".net-static").first.is_visible()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_pages_load_whole_and_axe_finds_nothing_serious(book, tab, width, scheme):
    tab.set_viewport_size({"width": width, "height": 900})
    tab.emulate_media(color_scheme=scheme)
    for page in pages_of(book, tab):
        if scheme == "dark":
            tab.reload()
        assert not tab.evaluate(LOOK), page
        assert not serious(tab), page


@pytest.mark.browser
def test_axe_notices_a_fault(visit):
    tab = visit('<!DOCTYPE html><html lang="en"><title>x</title><p style="color: #ccc">pale</p>')
    assert [found.split(":")[0] for found in serious(tab)] == ["color-contrast"]


@pytest.mark.browser
def test_links_lead_somewhere(book, tab):
    links, ids = set(), {}
    for page in pages_of(book, tab):
        links |= set(tab.evaluate("[...document.links].map(link => link.href)"))
        ids[str(page)] = tab.locator("[id]").evaluate_all("all => all.map(e => e.id)")
        assert not re.search(r"\?@?(fig|tbl|sec|eq)-[\w-]+|quarto-unresolved-ref", tab.content())
        text = tab.locator("main").inner_text()
        assert not re.search(r"\bnan\b|not trained yet|not measured yet", text)
    for link in filter(lambda link: link.startswith("file:"), links):
        path, anchor = (unquote(part) for part in urlsplit(link)[2::2])
        path += "index.html" * path.endswith("/")
        assert not anchor or anchor in ids[path], link
        assert Path(path).is_file(), link


@pytest.mark.browser
def test_a_page_opened_as_a_file_is_searched(book, tab):
    next(pages_of(book, tab))
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.get_by_role("searchbox").fill("overfitting")
    found = tab.get_by_role("link", name="ReLU").first
    found.wait_for()
    tab.wait_for_timeout(500)  # the list moves as it fills, and a click beside it closes it
    found.click()
    tab.wait_for_url("**#sec-relu*")


# --- chapters/fresh.py and works_from_file.py, as Quarto runs them --------------------------------

NAMES = ("index", "chapters/own", "chapters/shown", "chapters/elsewhere")
FILES = {
    "index.qmd": "# First\n\n{{< include parts/_cells.qmd >}}\n",
    "chapters/own.qmd": '```{python}\npandas.read_csv("tables/mine.csv")\n```\n',
    "chapters/shown.qmd": "```python\nopen(name)\n```\n",
    "chapters/elsewhere.qmd": "```{python}\nfacts.stage(1)\n```\n",
    "parts/_cells.qmd": "```{python}\nprint(1)\n```\n",
    "tables/mine.csv": "a\n1\n",
    "_quarto.yml": "chapters: [" + ", ".join(f"{name}.qmd" for name in NAMES) + "]\n",
}


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """The script, loaded in a small project."""
    shutil.copytree(PROJECT / "cache" / "stage-1", tmp_path / "cache" / "stage-1")
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(PROJECT / "chapters")
    monkeypatch.delitem(sys.modules, "fresh", raising=False)
    script = importlib.import_module("fresh")
    monkeypatch.setattr(script, "distributions", list)  # to list all that are here takes long
    return script


def render(fresh, made="_book/index.html", whole="1"):
    """The chapters whose kept results are used as Quarto renders to the file ``made``."""
    fresh.before()
    used = {name for name in NAMES if Path("_freeze", name).exists()}
    for name in NAMES:
        Path("_freeze", name).mkdir(parents=True, exist_ok=True)
    Path(made).parent.mkdir(exist_ok=True)
    Path(made).write_text("page")
    about = {"QUARTO_PROJECT_RENDER_ALL": whole, "QUARTO_PROJECT_OUTPUT_FILES": made}
    with mock.patch.dict(os.environ, about):
        fresh.after()
    return used


def test_kept_results_are_used_while_nothing_else_changed(fresh):
    assert render(fresh, made="_book/Report.docx") == set()
    assert not fresh.up_to_date()
    assert render(fresh, whole="") == set(NAMES)
    assert not fresh.up_to_date()
    render(fresh)
    assert fresh.up_to_date()
    Path("chapters/own.qmd").write_text(FILES["chapters/own.qmd"] + "More prose.\n")
    assert not fresh.up_to_date()
    assert render(fresh) == set(NAMES)  # Quarto looks at a chapter's own text
    Path("tables/mine.csv").write_text("a\n2\n")
    assert render(fresh) == set()
    assert fresh.up_to_date()
    Path("chapters/elsewhere.qmd").write_text('```{python}\nopen("/etc/hostname")\n```\n')
    render(fresh)
    assert render(fresh) == set(NAMES) - {"chapters/elsewhere"}
    assert not fresh.up_to_date()


def test_every_change_that_cells_can_see_is_seen(fresh, monkeypatch):
    def seen():
        files, chapters, unsure = fresh.look()
        assert (len(chapters), unsure) == (len(NAMES), set())
        return fresh.digest(files - chapters)

    digests = [seen()]
    for name in ("parts/_cells.qmd", "cache/stage-1/seed-0/history.csv", "_quarto-x.yml", "new.py"):
        Path(name).write_text("changed")
        digests.append(seen())
    Path("new.py").rename("newer.py")
    digests.append(seen())
    monkeypatch.setenv("CIFAR_STUDY_THING", "x")
    digests.append(seen())
    monkeypatch.setattr(fresh, "distributions", lambda: [SimpleNamespace(name="a", version="3")])
    digests.append(seen())
    assert len(set(digests)) == len(digests)
    for name in ("report.html", "_book/x", ".git/x", "data/x"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("not looked at")
    assert seen() == digests[-1]


def test_chapters_that_may_read_what_is_not_looked_at_are_known(fresh):
    for line in ("open('/x')", "pandas.read_csv(name)", 'read_csv("https://x.org/x.csv")',
                 'Path("data/x").read_text()', "!ls", "sys.path.insert(0, 'x')"):  # fmt: skip
        Path("chapters/elsewhere.qmd").write_text(f"```{{python}}\n{line}\n```\n")
        assert fresh.look()[2] == {Path("chapters/elsewhere.qmd")}, line
    assert fresh.everything() != fresh.everything()
    Path("parts/_cells.qmd").write_text("```{python}\nopen(name)\n```\n")  # somebody includes it
    assert fresh.look()[2] == {Path(f"{name}.qmd") for name in NAMES}


def test_pages_are_told_of_other_results(fresh, monkeypatch):
    files = [Path("_metadata.yml"), Path("chapters/_metadata.yml")]
    monkeypatch.setenv("CIFAR_STUDY_CACHE", str(Path("cache").absolute()))
    fresh.tell_of_other_results()
    assert [path.read_text() for path in files] == ["other-results: true\n"] * 2
    files[0].write_text("author: me\n")  # as somebody may have
    monkeypatch.delenv("CIFAR_STUDY_CACHE")
    fresh.tell_of_other_results()
    assert [path.exists() for path in files] == [True, False]


def test_pages_get_scripts_that_load_from_files(fresh):
    tabs, page = Path("_book/site_libs/quarto-html/tabsets"), Path("_book/chapters/x.html")
    for folder in (tabs, page.parent):
        folder.mkdir(parents=True)
    (tabs / "tabsets.js").write_text("// grouped tabsets\n\nexport function init() {}\n")
    script = 'import * as tabsets from "./tabsets/tabsets.js";\ntabsets.init();\n'
    tabs.with_name("quarto.js").write_text(script)
    module = '<script src="../site_libs/quarto-html/{}.js" type="module"></script>'
    part = '<script type="text/plain" data-once="stage-1"></script>'
    page.write_text(module.format("quarto") + module.format("tabsets/tabsets") + part)
    # A single page comes without an index, and is not written anew when others are rendered.
    for index in ("[]", '[{"title": "<b>"}]'):
        runpy.run_path(PROJECT / "chapters" / "works_from_file.py", run_name="__main__")
        assert index in tabs.with_name("search-index.js").read_text()
        Path("_book/search.json").write_text('[{"title": "<b>"}]')
    text = page.read_text()
    assert "module" not in text
    assert '<script src="../site_libs/quarto-html/quarto-page.js" defer></script>' in text
    script = tabs.with_name("quarto-page.js").read_text()
    assert "export" not in script
    assert "const tabsets = (() => {" in script
    assert 'data-src="../networks/stage-1.js"' in text
    assert "stage-1" in Path("_book/networks/stage-1.js").read_text()
