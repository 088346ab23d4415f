"""After a render: make the pages work when they are opened as files, without a server.

Browsers refuse to load script modules from a file. Quarto's page script is one
and imports a second; here both become one ordinary script. They refuse to fetch
the search index, too; pages opened as files load it as a script. The networks that
pages run are written to files beside them, which the pages share and load when a
reader comes near, again as scripts. Quarto runs this itself (``post-render`` in
``_quarto.yml``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODULE = re.compile(
    r'<script src="([^"]*site_libs/quarto-html/)(\S+?)\.js" type="module"></script>'
)
# Fills the search of Quarto's quarto-search.js, which asks for search.json only without it.
INDEX = """fuseIndex = new Fuse([], kFuseIndexOptions);
for (const section of %s) fuseIndex.add(section);
"""
LOAD_INDEX = """if (location.protocol === "file:") {
  const index = document.createElement("script");
  index.src = document.currentScript.src.replace(/[^/]*$/, "search-index.js");
  document.head.append(index);
}
"""
# A network or a part of the library that runs it, which chapters/networks.js asks for by name.
PART = re.compile(r'<script type="text/plain" data-once="([^"]+)"></script>')
PARTS = "networks"  # the folder of those files, and of what is kept of them in _freeze
FILL = """document.querySelector('script[data-once="%s"]').textContent = %s;
"""


def main() -> None:
    """Rewrite the pages just rendered, and the scripts they name."""
    output = Path(os.environ.get("QUARTO_PROJECT_OUTPUT_DIR", "_book"))
    for page in output.rglob("*.html"):
        place_parts(page, output)
    libraries = output / "site_libs" / "quarto-html"
    page_script, tab_script = libraries / "quarto.js", libraries / "tabsets" / "tabsets.js"
    if not (page_script.exists() and tab_script.exists()):
        if any(output.rglob("*.html")):  # of HTML, not of a PDF
            _warn("has no quarto.js where it was expected")
        return
    tabs = re.sub(r"^export ", "", read(tab_script), flags=re.MULTILINE)
    script, imports = re.subn(
        r'^import \* as tabsets from "\./tabsets/tabsets\.js";$',
        lambda _: f"const tabsets = (() => {{\n{tabs}\nreturn {{ init }};\n}})();",
        read(page_script),
        flags=re.MULTILINE,
    )
    if imports != 1 or re.search(r"^(import|export) ", script, flags=re.MULTILINE):
        _warn("has another quarto.js")
        return
    sections = read(output / "search.json", json.loads)
    (libraries / "search-index.js").write_text(INDEX % json.dumps(sections), encoding="utf-8")
    (libraries / "quarto-page.js").write_text(
        f"{LOAD_INDEX}(() => {{\n{script}\n}})();\n", encoding="utf-8"
    )
    for page in output.rglob("*.html"):
        text = read(page)
        classic = MODULE.sub(
            lambda found: (
                f'<script src="{found[1]}quarto-page.js" defer></script>'
                if found[2] == "quarto"
                else ""
            ),
            text,
        )
        if classic != text:
            page.write_text(classic, encoding="utf-8")


def read(path: Path, parse: Callable[[str], Any] = str) -> Any:
    """What a file says; the error of one that says nothing names it."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def place_parts(page: Path, output: Path) -> None:
    """Write what a page runs to files of the book, and their addresses into the page."""

    def place(found: re.Match[str]) -> str:
        script = kept_part(found[1])
        file = output / PARTS / script.name
        file.parent.mkdir(exist_ok=True)
        shutil.copy(script, file)
        version = hashlib.sha256(script.read_bytes()).hexdigest()[:8]  # no browser keeps an old one
        address = f"{os.path.relpath(file, page.parent).replace(os.sep, '/')}?{version}"
        return found[0].replace("></", f' data-src="{address}"></')

    text = read(page)
    placed = PART.sub(place, text)
    if placed != text:
        page.write_text(placed, encoding="utf-8")


def kept_part(name: str) -> Path:
    """The script that fills a part, made once for as long as nothing that cells see has changed."""
    kept = Path("_freeze", PARTS, f"{name}.js")
    if not kept.exists():
        sys.path.insert(0, str(Path.cwd()))
        from cifar_study.atomic import write_whole  # here, as they take a second
        from cifar_study.report.demo import part

        write_whole(kept, (FILL % (name, json.dumps(part(name)))).encode())
    return kept


def _warn(what: str) -> None:
    print(
        f"chapters/works_from_file.py: this version of Quarto {what}; its pages need a server "
        "(quarto preview), opened as files their menus do not work",
        file=sys.stderr,
    )


if __name__ == "__main__":
    try:
        main()
    except Exception as failed:  # a page, an index or a network that is damaged can raise any
        print(f"error: chapters/works_from_file.py: {failed}; render again", file=sys.stderr)
        sys.exit(2)
