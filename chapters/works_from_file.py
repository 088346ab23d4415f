"""After a render: make Quarto's pages work when they are opened as files, without a server.

Browsers load no script modules from a file. Quarto's page script is one and imports a second; here
both become one ordinary script, which also loads the search index as a script.
"""

import os
import re
import sys
from functools import partial
from json import dumps
from pathlib import Path

MODULE = re.compile(r'<script src="\S*site_libs/quarto-html/\S+\.js" type="module"></script>')
IMPORT = 'import * as tabsets from "./tabsets/tabsets.js";\n'
# Fills the search of Quarto's quarto-search.js, which asks for search.json only without it.
INDEX = "fuseIndex = new Fuse([], kFuseIndexOptions); for (const one of %s) fuseIndex.add(one);"
LOAD_INDEX = """if (location.protocol === "file:") {
  const index = document.createElement("script");
  index.src = document.currentScript.src.replace(/[^/]*$/, "search-index.js");
  document.head.append(index);
}
"""
# A network or a part of the library that runs it, which becomes a script beside the page.
PART = re.compile(r'<script type="text/plain" data-once="([^"]+)"></script>')
FILL = """document.querySelector('script[data-once="%s"]').textContent = %s;"""


def main(output: Path) -> None:
    """Rewrite the pages just rendered, and the scripts they name."""
    libraries = output / "site_libs" / "quarto-html"
    page_script = libraries / "quarto.js"
    script = page_script.read_text("utf-8") if page_script.exists() else ""
    # Another format has none. Another version of Quarto may have another one, which is left alone.
    known = re.findall(r"^(?:import|export) .*\n", script, flags=re.M) == [IMPORT]
    if known:
        tabs = (libraries / "tabsets" / "tabsets.js").read_text("utf-8").replace("\nexport ", "\n")
        inlined = f"const tabsets = (() => {{\n{tabs}\nreturn {{ init }};\n}})();\n"
        script = f"{LOAD_INDEX}(() => {{\n{script.replace(IMPORT, inlined)}\n}})();\n"
        (libraries / "quarto-page.js").write_text(script, "utf-8")
        found = output / "search.json"  # not there while single pages are all that was rendered
        sections = found.read_text("utf-8") if found.exists() else "[]"
        (libraries / "search-index.js").write_text(INDEX % sections, "utf-8")
    for page in output.rglob("*.html"):
        text = PART.sub(partial(place, page, output), page.read_text("utf-8"))
        if known:
            text = text.replace('/quarto.js" type="module">', '/quarto-page.js" defer>')
            text = MODULE.sub("", text)
        page.write_text(text, "utf-8")


def place(page: Path, output: Path, found: re.Match[str]) -> str:
    """The place of a part with the address of its file, which is written."""
    from cifar_study.report.networks import part  # here, as it takes a second

    file = output / "networks" / f"{found[1]}.js"
    file.parent.mkdir(exist_ok=True)
    file.write_text(FILL % (found[1], dumps(part(found[1]))), "utf-8")
    address = Path(os.path.relpath(file, page.parent)).as_posix()
    return found[0].replace("></", f' data-src="{address}"></')


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    main(Path(os.environ.get("QUARTO_PROJECT_OUTPUT_DIR", "_book")))
