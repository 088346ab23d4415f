"""Every page of both editions, judged by axe in light and dark, at a desk and on a phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe

pytestmark = pytest.mark.browser

UNFOLD = """async () => {
    document.querySelectorAll("details").forEach(fold => fold.open = true);
    document.querySelectorAll(".callout-collapse").forEach(fold => fold.classList.add("show"));
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}"""


def serious(page):
    """What axe calls serious or critical: rule, element and reason of each finding."""
    page.evaluate(UNFOLD)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{rule['id']}: {node['target']}: {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.long)])
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_nothing_serious_on_any_page(book, browser, scheme, width):
    size = {"width": width, "height": 900}
    page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    for path in sorted(book.rglob("*.html")):
        page.goto(path.as_uri())
        assert not serious(page), path
    page.close()


def test_a_fault_is_noticed(browser):
    page = browser.new_page()
    page.set_content('<html lang="en"><title>x</title><p style="color: #ccc">pale</p>')
    assert [found.split(":")[0] for found in serious(page)] == ["color-contrast"]
    page.close()
