"""The plain edition: a sample book is built and read back; then broken books must say why."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree.ElementTree import TreeBuilder

import pytest
from conftest import PROJECT

from plain.__main__ import main
from plain.outputs import inline_markdown
from plain.shell import Output, Shell

SAMPLE = Path(__file__).parent / "sample_book"
VOID = {"meta", "img", "br", "hr", "link", "input", "col", "source", "wbr"}


class Tree(HTMLParser):
    """Reads a page, in which every element is closed in its turn."""

    def __init__(self, page):
        super().__init__()
        self.builder = TreeBuilder()
        self.feed(page)
        self.root = self.builder.close()

    def handle_starttag(self, tag, attrs):
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        if tag in VOID:
            self.builder.end(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.builder.end(tag).tag == tag, tag

    def handle_data(self, data):
        self.builder.data(data)


def text_of(node):
    """The text of an element and of all that is in it."""
    return re.sub(r"\s+", " ", "".join(node.itertext()))


def of_class(node, name):
    return [each for each in node.iter() if name in each.get("class", "").split()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    output = tmp_path_factory.mktemp("plain") / "index.html"
    words = [sys.executable, "-m", "plain", "--project", SAMPLE, "--output", output]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def page(built):
    return Tree(built.read_text(encoding="utf-8")).root


@pytest.fixture(scope="module")
def text(page):
    """What is read without unfolding the chapters' sources."""
    sources = of_class(page, "source")
    return " ".join(text_of(part) for part in page.find(".//main") if part not in sources)


def test_prose_has_values_and_references(text):
    for sentence in (  # as in Quarto 1.9's book of this sample
        "Figure 1 comes before any numbered chapter, and Chapter 1 opens the book.",
        "The answer is 42, the name is snake_case_*name*.",
        "Its curve is in Figure 1.1, its file in Figure 1.2, and a pair in Figure 1.3, "
        "of which Figure 1.3 (a) is the left half.",
        "A bare number reads 1.1, and two at once read Figure 1.1, Figure 1.2.",
        "With a prefix: see Fig. 1.1.",
        "The loss ends at 0.9 after 5 steps.",
        "Back to Chapter 1 and its Section 1.1. Ahead: Table 2.1, Table 2.2 and Equation 2.1.",
        "More is in Appendix A and in Figure A.1.",
        "See Chapter 2 and Section 3.1.1.",
        "(He et al. 2016) were tried on the pictures of Krizhevsky (2009).",
    ):
        assert sentence in text


def test_references_lead_to_what_they_name(page):
    ids = {node.get("id") for node in page.iterfind(".//*[@id]")}
    assert len(ids) == len(page.findall(".//*[@id]"))
    addresses = {a.get("href") for a in page.iterfind(".//a[@href]")}
    targets = {address[1:] for address in addresses if address.startswith("#")}
    assert ids >= targets >= {"fig-curve", "tbl-cell", "eq-softmax", "sec-curve", "fig-left"}
    links = {text_of(a): a.get("href") for a in page.iterfind(".//main//a[@href]")}
    assert links["the figures"] == "#sec-figures"
    assert links["a section of the tables"] == links["a label"] == "#sec-wide"
    own = page.find(f".//*[@id='{links['this section'][1:]}']")
    assert text_of(own) == "2.2 What to remember"  # chapter 1 has a section of this name, too


def test_captions_and_alternative_texts(page):
    for label, caption in (
        ("fig-curve", "Figure 1.1: The loss falls, and falls more slowly"),
        ("fig-right", "(b) Right half"),
        ("tbl-cell", "Table 2.1: Squares, computed"),
    ):
        assert text_of(page.find(f".//figure[@id='{label}']//figcaption")) == caption
    image = page.find(".//figure[@id='fig-curve']//img")
    assert image.get("alt") == "A line that falls from 2.3 to 0.9 over five steps"
    assert 450 < int(image.get("width")) < 600  # six inches at 96 dpi, though twice the pixels
    cells = page.iterfind(".//figure[@id='tbl-cell']//td")
    assert [text_of(cell) for cell in cells] == ["1", "1", "2", "4", "3", "9"]
    assert all(image.get("alt") for image in page.iter("img"))


def test_headings_and_contents(page):
    assert [text_of(heading) for heading in page.iter("h1")] == ["A Sample Book"]
    chapters = ["Preface", "1 Figures", "2 Tables and sums", "3 Words around them", "References"]
    assert [text_of(heading) for heading in page.iter("h2")] == [*chapters, "A More"]
    contents = page.find(".//nav")
    parts = [text_of(part).strip() for part in of_class(contents, "contents-part")]
    assert parts == ["Basics", "Text", "Appendices"]
    assert "2.2 What to remember" in [text_of(link) for link in contents.iter("a")]
    [title] = of_class(page, "title")
    assert text_of(title).strip().endswith("knows Ada Lovelace, Alan Turing November 28, 2026")


def test_cells_show_what_their_options_ask_for(page, text):
    assert "import matplotlib" not in text  # include: false
    assert "for name in" not in text  # echo: false
    assert "5 steps, last loss 0.9" in text
    assert [text_of(item) for item in page.iter("li")].count("cat has 3 letters") == 1
    assert 'print("shown, not run")' in text
    assert "`{python} 1 + 1` stays as it is here" in text
    assert "never_defined()" in text  # eval: false
    assert "said, not shown" not in text.replace('"said, not shown"', "")  # output: false
    assert "ZeroDivisionError: division by zero" in text  # error: true
    assert 250 < int(page.find(".//figure[@id='fig-small']//img").get("width")) < 310  # fig-width


def test_callouts_and_visibility(page, text):
    kinds = [node.get("class") for node in of_class(page, "callout")]
    assert kinds == ["callout note", "callout note", "callout warning", "callout note answer"]
    [folded] = [node.find(".//details") for node in of_class(page, "warning")]
    assert folded.get("open") is None
    assert text_of(folded.find("summary")).strip() == "A folded warning"
    lines = "Only in HTML|In a draft|Not in print|Never in HTML|Never in a draft|Only in print"
    assert re.findall(lines, text) == ["Only in HTML", "In a draft", "Not in print"]


def test_formulae_notes_literature_and_raw_html(page):
    assert text_of(page.find(".//*[@id='raw-html']/abbr")) == "HTML"
    equation = page.find(".//*[@id='eq-softmax']")
    assert equation.find(".//mfrac") is not None
    assert text_of(equation).endswith("(2.1)")
    assert "Deep Residual Learning" in text_of(page.find(".//*[@id='refs']"))
    chapter = next(each for each in of_class(page, "chapter") if "Notes work" in text_of(each))
    assert "A footnote stays with its chapter." in text_of(of_class(chapter, "footnotes")[0])


def test_nothing_is_loaded_from_elsewhere(page, built):
    for node in page.iter():
        assert node.get("src", "data:image/").startswith("data:image/")
        assert node.tag not in ("link", "iframe")
        assert "file:" not in node.get("href", "")
    assert not re.search(r"url\(|@import", "".join(map(text_of, page.iter("style"))))
    assert [path.name for path in built.parent.iterdir()] == ["index.html"]


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A small book to be broken: index.qmd and one chapter. It is built in this process."""
    settings = "book: {title: T, chapters: [index.qmd, one.qmd]}\n"
    (tmp_path / "_quarto.yml").write_text(settings)
    (tmp_path / "index.qmd").write_text("# Preface {.unnumbered}\n\nText.\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    yield tmp_path
    Shell.clear_instance()


RAISES = "class A:\n    def _repr_html_(self):\n        raise ValueError('no\\nmore')\nA()"
UNNAMED = "one.qmd, line 1, cell 1 (without a label): "
BROKEN = {
    "```{python}\n#| label: bad\n1 / 0\n```": "one.qmd, line 1, cell 1 (bad): ZeroDivisionError",
    "```{python}\n1 +\n```": f"{UNNAMED}SyntaxError: invalid syntax; mend",
    f"```{{python}}\n{RAISES}\n```": f"{UNNAMED}ValueError: no more; mend",
    "It is `{python} missing`.": "one.qmd, line 1, inline (`missing`): NameError: name 'missing'",
    "See @fig-none.": "one.qmd: @fig-none is no label",
    "See @nobody1999.": "one.qmd: @nobody1999 is cited",
    "![x](figures/none.png)": "one.qmd: picture figures/none.png is missing",
    "![x](https://example.org/x.png)": "https://example.org/x.png would be loaded from elsewhere",
    "[x](two.qmd)": "one.qmd: link to two.qmd leads nowhere",
    "::: {.callout-note}\nText": "one.qmd: Div unclosed",
    "```{python}\n#| label: [\n1\n```": "one.qmd, cell at line 1: bad YAML",
    "```{python}\n#| column: margin\n1\n```": "one.qmd, cell at line 1: column: no option of the",
    "---\nexecute: {echo: false}\n---": "one.qmd: execute above its text; set it in _quarto.yml",
    "```{python}\n1": "one.qmd, line 1: this code block is never closed",
    "```{mermaid}\ngraph\n```": "one.qmd, line 1: a mermaid cell",
    "{{< video x.mp4 >}}": "one.qmd, line 1: {{< video x.mp4 >}}: shortcodes are Quarto's",
}


def test_a_chart_that_fails_while_it_is_shown_is_one_line(book):
    drawn = "```{python}\nfrom matplotlib import pyplot\npyplot.title('$x_{1$')\n```\n\n# One\n"
    (book / "one.qmd").write_text(drawn)
    words = [sys.executable, "-m", "plain", "--project", book, "--output", book / "page.html"]
    theirs = os.environ | {"MPLBACKEND": "nonsense", "PYTHONPATH": str(PROJECT)}
    said = subprocess.run(words, env=theirs, capture_output=True, text=True).stderr.splitlines()
    assert said[-1].startswith(f"error: {UNNAMED}ValueError: "), said


def expect_failure(book, capsys, words):
    output = book / "page.html"
    output.write_text("as before")
    assert main(["--project", str(book), "--output", str(output)]) == 2
    said = capsys.readouterr().err.splitlines()
    [line] = [line for line in said if not re.fullmatch(r"\S+: \d+\.\d s", line)]
    assert line.startswith(f"error: {words}")
    assert output.read_text() == "as before"


@pytest.mark.parametrize("source", BROKEN)
def test_a_broken_chapter_is_one_line_and_status_2(book, capsys, source):
    (book / "one.qmd").write_text(f"{source}\n\n# One\n")
    expect_failure(book, capsys, BROKEN[source])


def test_a_broken_project_is_one_line_and_status_2(book, capsys):
    expect_failure(book, capsys, "one.qmd: No such file")
    (book / "_quarto.yml").write_text("book:\n  title: 'T\n")
    expect_failure(book, capsys, "_quarto.yml: bad YAML")
    (book / "_quarto.yml").unlink()
    expect_failure(book, capsys, f"{book}: holds no _quarto.yml; name a book's folder")


def test_what_cannot_come_to_a_page_is_said_before_a_cell_is_run(book, capsys):
    (book / "one.qmd").write_text("# One\n\n```{python}\n1 / 0\n```\n")
    no_file, no_folder, no_right = "", "one.qmd/page.html", "/proc/page.html"
    for output in (no_file, no_folder, no_right):
        assert main(["--project", str(book), "--output", str(book / output)]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert "can't be written" in line or "is there and no file" in line


def test_the_projects_own_script_says_whether_there_is_anything_to_do(book, capsys):
    (book / "one.qmd").write_text("# One\n")
    script = book / "chapters" / "fresh.py"
    script.parent.mkdir()
    for made_from, outcome in (("a", "wrote "), ("a", "is up to date"), ("b", "wrote ")):
        script.write_text(f"import sys\nassert sys.argv[1:] == ['digest']\nprint({made_from!r})\n")
        assert main(["--project", str(book)]) == 0
        assert outcome in capsys.readouterr().err
    script.write_text("import sys\nsys.exit('error: CIFAR_STUDY_CACHE=nope: no results there')\n")
    assert main(["--project", str(book)]) == 2
    assert capsys.readouterr().err == "error: CIFAR_STUDY_CACHE=nope: no results there\n"


def test_ctrl_c_in_a_cell_stops_it(book, capsys):
    (book / "one.qmd").write_text("# One\n\n```{python}\nraise KeyboardInterrupt\n```\n")
    assert main(["--project", str(book)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; nothing was written"
    assert not (book / "report.html").exists()


@pytest.fixture(scope="module")
def tab(visit, built):
    return visit(built, color_scheme="dark")


@pytest.mark.browser
def test_search_lists_the_sections_that_hold_all_words(tab):
    tab.set_viewport_size({"width": 1280, "height": 844})
    field = tab.get_by_role("searchbox")
    for words in ("footnote zebra", "unread"):  # which stands in a script alone
        field.fill(words)
        assert tab.get_by_text("0 sections found").is_visible()
    field.fill("footnote stays")
    assert tab.get_by_role("search").get_by_role("link").count() == 1
    field.press("Enter")
    assert tab.url.endswith("#sec-code")  # notes stand at the end, in the last section


@pytest.mark.browser
def test_a_phone_has_a_menu_and_all_within_its_width(tab):
    tab.set_viewport_size({"width": 320, "height": 844})
    tab.reload()
    contents = tab.get_by_role("navigation")
    link = contents.get_by_role("link", name="Tables and sums")
    assert not link.is_visible()
    contents.locator("summary").click()
    link.click()
    assert not link.is_visible()
    assert tab.url.endswith("#sec-tables")
    read = "document.querySelector('nav [aria-current]')?.textContent.includes('Tables and sums')"
    tab.wait_for_function(read)
    tab.evaluate("document.querySelectorAll('main details').forEach((fold) => fold.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.browser
def test_the_theme_is_the_systems_until_it_is_chosen(tab):
    paper = "getComputedStyle(document.body).backgroundColor"
    assert sum(map(int, re.findall(r"\d+", tab.evaluate(paper)))) < 150
    tab.get_by_role("button", name="Light theme").click()
    assert tab.evaluate(paper) == "rgb(255, 255, 255)"


def test_an_inline_value_is_shown_whatever_its_repr():
    pairs = {"'": "'", "'a' or 'b'": "'a' or 'b'", "'a_b'": r"a\_b", '"it\'s"': "it's", "42": "42"}
    for shown, expected in pairs.items():
        assert inline_markdown([Output({"text/plain": shown}, {})]) == expected
