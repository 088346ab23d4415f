"""After a render: make Quarto's pages work when they are opened as files, without a server.

Browsers refuse to load script modules from a file. Quarto's page script is one and imports a
second; here both become one ordinary script. They refuse to fetch the search index, too; pages
opened as files load it as a script. The networks that pages run are written to scripts beside
them, which the pages share and load when a reader comes near.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from functools import partial
from pathlib import Path

MODULE = re.compile(
    r'<script src="([^"]*site_libs/quarto-html/)(\S+?)\.js" type="module"></script>'
)
IMPORT = re.compile(r'^import \* as tabsets from "\./tabsets/tabsets\.js";$', re.M)
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
FILL = """document.querySelector('script[data-once="%s"]').textContent = %s;
"""


def main() -> None:
    """Rewrite the pages just rendered, and the scripts they name."""
    output = Path(os.environ.get("QUARTO_PROJECT_OUTPUT_DIR", "_book"))
    has_script = write_page_script(output, output / "site_libs" / "quarto-html")
    for page in output.rglob("*.html"):
        before = page.read_text(encoding="utf-8")
        text = PART.sub(partial(place, page, output), before)
        text = MODULE.sub(classic, text) if has_script else text
        if text != before:
            page.write_text(text, encoding="utf-8")


def write_page_script(output: Path, libraries: Path) -> bool:
    """Write Quarto's page script as an ordinary one, and the search index as another."""
    if not libraries.exists():  # of another format
        return False
    tabs = (libraries / "tabsets" / "tabsets.js").read_text(encoding="utf-8")
    tabs = re.sub(r"^export ", "", tabs, flags=re.M)
    script = IMPORT.sub(
        lambda _: f"const tabsets = (() => {{\n{tabs}\nreturn {{ init }};\n}})();",
        (libraries / "quarto.js").read_text(encoding="utf-8"),
    )
    if re.search(r"^(import|export) ", script, flags=re.M):
        print(
            "chapters/works_from_file.py: for this version of Quarto pages need a server (quarto "
            "preview): opened as files their menus do not work",
            file=sys.stderr,
        )
        return False
    script = f"{LOAD_INDEX}(() => {{\n{script}\n}})();\n"
    (libraries / "quarto-page.js").write_text(script, encoding="utf-8")
    index = output / "search.json"  # not there while single pages are all that was rendered
    sections = json.loads(index.read_text(encoding="utf-8")) if index.exists() else []
    script = INDEX % json.dumps(sections)
    (libraries / "search-index.js").write_text(script, encoding="utf-8")
    return True


def classic(found: re.Match[str]) -> str:
    """What takes the place of a page's script module: the ordinary script, once."""
    if found[2] != "quarto":
        return ""
    return f'<script src="{found[1]}quarto-page.js" defer></script>'


def place(page: Path, output: Path, found: re.Match[str]) -> str:
    """The place of a part with the address of its file, which is written."""
    sys.path.insert(0, str(Path.cwd()))
    from cifar_study.report.networks import part  # here, as it takes a second

    script = (FILL % (found[1], json.dumps(part(found[1])))).encode()
    file = output / "networks" / f"{found[1]}.js"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(script)
    version = hashlib.sha256(script).hexdigest()[:8]  # no browser keeps an old one
    address = f"{os.path.relpath(file, page.parent).replace(os.sep, '/')}?{version}"
    return found[0].replace("></", f' data-src="{address}"></')


if __name__ == "__main__":
    try:
        main()
    except Exception as failed:  # of a page, an index or a network that can't be used
        print(f"error: chapters/works_from_file.py: {failed}", file=sys.stderr)
        sys.exit(2)
