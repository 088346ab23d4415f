"""The rendered book, in both editions, in a real browser."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
WIDTHS = {"desktop": 1280, "phone": 390}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def served(book: Path) -> Iterator[tuple[str, list[str]]]:
    """The book on the loopback address, and the path of each of its pages."""
    handler = functools.partial(Quiet, directory=book)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        pages = sorted(str(page.relative_to(book)) for page in book.rglob("*.html"))
        yield f"http://127.0.0.1:{server.server_port}/", pages
        server.shutdown()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_pages_load_whole_and_alone(served: tuple[str, list[str]], browser, width: int) -> None:
    address, pages = served
    context = browser.new_context(viewport={"width": width, "height": 900})
    troubles: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: message.type == "error" and troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))

    def only_here(route) -> None:
        if route.request.url.startswith(address):
            route.continue_()
        else:
            troubles.append(f"asks for {route.request.url}")
            route.abort()

    context.route(re.compile("^https?://"), only_here)
    for name in pages:
        page.goto(address + name, wait_until="load")
        broken = page.evaluate(
            """async () => {
                const images = [...document.images];
                images.forEach(image => image.loading = 'eager');
                await Promise.all(images.map(image => image.decode().catch(() => {})));
                const bare = image => !image.alt && !image.closest('a,button');
                return images.filter(image => !image.naturalWidth || bare(image))
                    .map(image => image.src.slice(0, 80));
            }"""
        )
        assert not broken, name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        # A table shows all its columns: none of them has to be scrolled to.
        assert page.evaluate(
            """[...document.querySelectorAll('table')]
                .every(table => table.offsetWidth <= table.parentElement.clientWidth + 1)"""
        ), name
    assert not troubles
    context.close()


def test_links_lead_somewhere(served: tuple[str, list[str]], browser) -> None:
    address, pages = served
    page = browser.new_page()
    links: set[str] = set()
    ids: dict[str, set[str]] = {}
    for name in pages:
        page.goto(address + name, wait_until="domcontentloaded")
        links |= set(page.evaluate("[...document.links].map(link => link.href)"))
        ids[address + name] = set(
            page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        )
    for link in links:
        target, _, anchor = link.partition("#")
        if target.startswith(address):
            target = target + "index.html" if target.endswith("/") else target
            if target not in ids:  # a picture, opened large
                assert page.request.get(target).ok, link
            assert not anchor or anchor in ids[target], link
    page.close()


def test_no_reference_is_left_unresolved(book: Path) -> None:
    for page in book.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r"\?@?(?:fig|tbl|sec|eq)-[\w-]+", text), page.name
        assert "quarto-unresolved-ref" not in text, page.name


def test_folds_open(served: tuple[str, list[str]], browser) -> None:
    address, pages = served
    page = browser.new_page()
    chapter = [name for name in pages if "q06" in name] or pages  # the plain edition is one page
    page.goto(address + chapter[0])
    fold = page.locator("details:not([open]) > summary", has_text="Code").first
    fold.scroll_into_view_if_needed()
    fold.click()
    assert page.evaluate("document.querySelectorAll('details[open]').length") >= 1
    code = page.get_by_text("def train_in_parts").first
    assert not code.is_visible()
    page.get_by_text("Engine.train_in_parts").first.click()
    code.wait_for()
    page.close()


def test_a_page_opened_as_a_file_works(book: Path, browser) -> None:
    page = browser.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: message.type == "error" and troubles.append(message.text))
    chapter = book / "chapters" / "q06-training.html"
    page.goto((chapter if chapter.exists() else book / "index.html").as_uri())
    page.get_by_text("Engine._evaluate").first.click()
    page.get_by_text("def _evaluate").first.wait_for()
    page.get_by_role("searchbox").fill("overfitting")
    found = page.get_by_role("link", name="Four blocks").first
    found.wait_for()
    page.wait_for_timeout(500)  # the list moves as it fills, and a click beside it closes it
    found.click()
    page.wait_for_url("**#sec-four")
    assert not troubles
    page.close()
