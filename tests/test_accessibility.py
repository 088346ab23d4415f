"""Every page of both editions, judged by axe in light and dark, at a desk and on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

pytestmark = pytest.mark.browser

UNFOLD = """async () => {
    document.querySelectorAll("details").forEach(fold => fold.open = true);
    document.querySelectorAll(".callout-collapse").forEach(fold => fold.classList.add("show"));
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}"""


def serious(page) -> list[str]:
    """What axe calls serious or critical: rule, element and reason of each finding."""
    page.evaluate(UNFOLD)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{rule['id']}: {node['target']}: {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_nothing_serious_on_any_page(book: Path, browser, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    troubles = {}
    for path in sorted(book.rglob("*.html")):
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(path.as_uri())
        troubles[path.name, "desk"] = serious(page)
        page.set_viewport_size({"width": 390, "height": 844})
        troubles[path.name, "phone"] = serious(page)
    context.close()
    assert not {where: found for where, found in troubles.items() if found}


def test_a_fault_is_noticed(browser) -> None:
    page = browser.new_page()
    page.set_content('<html lang="en"><title>x</title><p style="color: #ccc">pale</p>')
    assert [found.split(":")[0] for found in serious(page)] == ["color-contrast"]
    page.close()
