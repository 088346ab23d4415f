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


def run(project, output, **environment):
    return subprocess.run(
        [sys.executable, "-m", "plain", "--project", str(project), "--output", str(output)],
        cwd=PROJECT, env=os.environ | environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    output = tmp_path_factory.mktemp("plain") / "index.html"
    done = run(SAMPLE, output)
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
    ids = [node.get("id") for node in page.iterfind(".//*[@id]")]
    assert len(ids) == len(set(ids))
    addresses = [a.get("href") for a in page.iterfind(".//a[@href]")]
    targets = {address[1:] for address in addresses if address.startswith("#")}
    assert targets <= set(ids)
    assert {"fig-curve", "tbl-cell", "eq-softmax", "sec-curve", "fig-left"} <= targets
    links = {text_of(a): a.get("href") for a in page.iterfind(".//main//a[@href]")}
    assert links["the figures"] == "#sec-figures"
    assert links["a section of the tables"] == links["a label"] == "#sec-wide"
    own = page.find(f".//*[@id='{links['this section'][1:]}']")
    assert text_of(own) == "2.2 What to remember"  # chapter 1 has a section of this name, too


def test_captions_and_alternative_texts(page):
    captions = {
        label: text_of(page.find(f".//figure[@id='{label}']//figcaption"))
        for label in ("fig-curve", "fig-right", "tbl-cell")
    }
    assert captions == {
        "fig-curve": "Figure 1.1: The loss falls, and falls more slowly",
        "fig-right": "(b) Right half",
        "tbl-cell": "Table 2.1: Squares, computed",
    }
    image = page.find(".//figure[@id='fig-curve']//img")
    assert image.get("alt") == "A line that falls from 2.3 to 0.9 over five steps"
    assert 450 < int(image.get("width")) < 600  # six inches at 96 dpi, though twice the pixels
    cells = page.iterfind(".//figure[@id='tbl-cell']//td")
    assert [text_of(cell) for cell in cells] == ["1", "1", "2", "4", "3", "9"]
    assert all(image.get("alt") for image in page.iter("img"))


def test_headings_and_contents(page):
    assert [text_of(heading) for heading in page.iter("h1")] == ["A Sample Book"]
    assert [text_of(heading) for heading in page.iter("h2")] == [
        "Preface", "1 Figures", "2 Tables and sums", "3 Words around them", "References", "A More",
    ]  # fmt: skip
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
    assert all(shown in text for shown in ("Only in HTML.", "In a draft.", "Not in print."))
    for hidden in ("Never in HTML.", "Never in a draft.", "Only in print."):
        assert hidden not in text


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
    (tmp_path / "_quarto.yml").write_text(
        "project: {type: book}\nbook:\n  title: T\n  chapters: [index.qmd, one.qmd]\n"
    )
    (tmp_path / "index.qmd").write_text("# Preface {.unnumbered}\n\nText.\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    yield tmp_path
    Shell.clear_instance()


RAISES = "class A:\n    def _repr_html_(self):\n        raise ValueError('no\\nmore')\nA()"
BROKEN = {
    "cell": ("# One\n\n```{python}\n#| label: bad\nvalue = 1\n1 / 0\n```\n",
             ["one.qmd, line 3, cell 1 (bad)", "ZeroDivisionError: division by zero"]),
    "inline": ("# One\n\nIt is `{python} missing`.\n",
               ["one.qmd, line 3, inline (`missing`)", "NameError"]),
    "syntax": ("# One\n\n```{python}\n1 +\n```\n", ["cell 1", "SyntaxError: invalid syntax"]),
    "representation": (f"# One\n\n```{{python}}\n{RAISES}\n```\n",
                       ["one.qmd, line 3, cell 1", "ValueError: no more; mend"]),
    "reference": ("# One\n\nSee @fig-none.\n", ["one.qmd", "@fig-none"]),
    "citation": ("# One\n\nSee @nobody1999.\n", ["nobody1999"]),
    "picture": ("# One\n\n![x](figures/none.png)\n", ["one.qmd", "figures/none.png", "missing"]),
    "remote picture": ("# One\n\n![x](https://example.org/x.png)\n", ["example.org/x.png"]),
    "dead link": ("# One\n\n[x](two.qmd)\n", ["one.qmd", "two.qmd"]),
    "open div": ("# One\n\n::: {.callout-note}\nText\n", ["one.qmd", "Div", "unclosed"]),
    "cell options": ("# One\n\n```{python}\n#| label: [\n1\n```\n",
                     ["one.qmd, cell at line 3", "bad YAML"]),
    "unknown option": ("# One\n\n```{python}\n#| column: margin\n1\n```\n",
                       ["one.qmd, cell at line 3", "column: no option of the plain edition"]),
    "own settings": ("---\nexecute: {echo: false}\n---\n\n# One\n",
                     ["one.qmd", "execute", "_quarto.yml"]),
    "open fence": ("# One\n\n```{python}\n1\n", ["one.qmd, line 3", "never closed"]),
    "other language": ("# One\n\n```{mermaid}\ngraph\n```\n", ["one.qmd, line 3", "mermaid"]),
    "shortcode": ("# One\n\n{{< video x.mp4 >}}\n", ["one.qmd, line 3", "{{< video x.mp4 >}}"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_chapter_is_one_line_and_status_2(book, capsys, name):
    source, words = BROKEN[name]
    (book / "one.qmd").write_text(source)
    expect_failure(book, capsys, words)


def test_a_broken_project_is_one_line_and_status_2(book, capsys):
    expect_failure(book, capsys, ["one.qmd", "No such file"])
    (book / "_quarto.yml").write_text("book:\n  title: 'T\n")
    expect_failure(book, capsys, ["_quarto.yml", "bad YAML"])
    (book / "_quarto.yml").unlink()
    expect_failure(book, capsys, [f"{book}: holds no _quarto.yml", "--project"])


def expect_failure(book, capsys, words):
    output = book / "page.html"
    output.write_text("as before")
    assert main(["--project", str(book), "--output", str(output)]) == 2
    said = capsys.readouterr().err.splitlines()
    lines = [line for line in said if not re.fullmatch(r"\S+: \d+\.\d s", line)]
    assert len(lines) == 1, said
    assert all(word in lines[0] for word in words), lines[0]
    assert output.read_text() == "as before"


def test_what_cannot_come_to_a_page_is_said_before_a_cell_is_run(book, capsys):
    (book / "one.qmd").write_text("# One\n\n```{python}\n1 / 0\n```\n")
    for output, said in (("", "is there and no file"), ("one.qmd/page.html", "can't be written")):
        assert main(["--project", str(book), "--output", str(book / output)]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert said in line


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


def test_a_broken_figure_is_one_line_whatever_the_backend(book):
    cell = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.title('$x_{1$')"
    (book / "one.qmd").write_text(f"# One\n\n```{{python}}\n{cell}\n```\n")
    done = run(book, book / "page.html", MPLBACKEND="nonsense")
    *_, last = done.stderr.splitlines()
    assert done.returncode == 2
    assert last.startswith("error: one.qmd, line 3, cell 1 (without a label): ValueError: ")


def test_ctrl_c_in_a_cell_stops_it(book, capsys):
    (book / "one.qmd").write_text("# One\n\n```{python}\nraise KeyboardInterrupt\n```\n")
    assert main(["--project", str(book)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; nothing was written"
    assert not (book / "report.html").exists()


@pytest.fixture
def sample(visit, built):
    """Opens the sample in a fresh context."""
    return lambda width=1280, **options: visit(
        built, viewport={"width": width, "height": 844}, **options
    )


@pytest.mark.browser
def test_search_lists_the_sections_that_hold_all_words(sample):
    tab = sample()
    field = tab.get_by_role("searchbox")
    hits = tab.get_by_role("search").get_by_role("link")
    for words in ("footnote zebra", "unread"):  # which stands in a script alone
        field.fill(words)
        assert tab.get_by_text("0 sections found").is_visible()
    field.fill("footnote stays")
    assert hits.count() == 1
    field.press("Enter")
    assert tab.url.endswith("#sec-code")  # notes stand at the end, in the last section


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_overflows_the_page(sample, width):
    tab = sample(width)
    tab.evaluate("document.querySelectorAll('main details').forEach((fold) => fold.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_the_menu_on_a_phone_and_the_chapter_that_is_read(sample):
    tab = sample(390)
    contents = tab.get_by_role("navigation")
    link = contents.get_by_role("link", name="Tables and sums")
    assert not link.is_visible()
    contents.locator("summary").click()
    link.click()
    assert not link.is_visible()
    assert tab.url.endswith("#sec-tables")
    tab.wait_for_function(
        "document.querySelector('nav [aria-current]')?.textContent.includes('Tables and sums')"
    )


@pytest.mark.browser
def test_the_theme_is_the_systems_until_it_is_chosen(sample):
    tab = sample(color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert sum(map(int, re.findall(r"\d+", tab.evaluate(paper)))) < 150
    tab.get_by_role("button", name="Light theme").click()
    assert tab.evaluate(paper) == "rgb(255, 255, 255)"


def test_an_inline_value_is_shown_whatever_its_repr():
    for shown, expected in (("'", "'"), ("'a' or 'b'", "'a' or 'b'"), ("'a_b'", r"a\_b"),
                            ('"it\'s"', "it's"), ("42", "42")):  # fmt: skip
        assert inline_markdown([Output({"text/plain": shown}, {})]) == expected
