"""Keeps the report fresh: results of chapters are used again only while nothing they saw changed.

Quarto keeps what a chapter's cells gave in ``_freeze/`` while the chapter's own text is the same.
The cells also see the package, the caches, whatever else lies in the project, and the installed
libraries. All of that is hashed before a render; where the hash is another one, the kept results
go. A chapter that may read what lies elsewhere is executed each time. A book that was rendered
whole keeps the hash: ``check`` ends with 0 where it is of what is here now.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

FROZEN, BOOK = Path("_freeze"), Path("_book")
STAMP = BOOK / ".made-from"
SHOWN = os.environ.get("CIFAR_STUDY_CACHE", "")  # the results that are reported, if not cache/
NEEDED = ("numpy", "scipy", "pandas", "matplotlib", "PIL", "safetensors", "tabulate", "ipykernel")
OTHER_RESULTS = "other-results: true\n"  # hides the answers that are the study's alone

UNSEEN = re.compile(  # folders that are not looked at, what a render writes, what no cell reads
    r"(^|/)(\.|__pycache__/|checkpoint-)|^(_book|_freeze|_pdf|site_libs|data|tests|plain|benchmarks)/"
    r"|_files/|(?<!keyboard)\.(html|pdf|docx|lock|quarto_ipynb)$"
)
CELL = re.compile(r"^```+ *\{python\}.*?^```", re.M | re.S)
READS = re.compile(  # what may read a file, unless it begins with a name of one that is looked at
    r"""\b(?:open|read\w*|load\w*|\w*glob|\w+dir|url\w+|Path)\("""
    r"""(?!\)|\s*["'](?![/.~]|\w+:|(?:data|tests|plain|benchmarks)/))|^ *[!%]|sys\.path""",
    re.M,
)


def look() -> tuple[set[Path], set[Path], set[Path]]:
    """The files that cells can see; of them the chapters, and those that may read others."""
    tops = [top for top in Path().iterdir() if not UNSEEN.search(f"{top}/")]
    tops = [top for top in tops if not (top / "pyvenv.cfg").exists()]
    files = {path for top in tops for path in (top, *top.rglob("*")) if path.is_file()}
    files = {path for path in files if not UNSEEN.search(path.as_posix())}
    book = "".join(map(Path.read_text, Path().glob("_quarto*.yml")))
    sources = {path: path.read_text("utf-8") for path in files if path.suffix == ".qmd"}
    chapters = {path for path in sources if path.as_posix() in book}
    unsure = {path for path in sources if READS.search("\n".join(CELL.findall(sources[path])))}
    if SHOWN:
        files |= {path for path in Path(SHOWN).rglob("[!.]*") if path.is_file()}
    # Any chapter may include what is none.
    return files, chapters, unsure if unsure <= chapters else chapters


def digest(files: set[Path]) -> str:
    """A hash of the files' names and contents, of the libraries, and of the study's settings."""
    study = [f"{name}={value}" for name, value in os.environ.items() if "CIFAR_STUDY_" in name]
    libraries = [f"{found.name} {found.version}" for found in distributions()]
    total = hashlib.sha256("\n".join([sys.version, *sorted(study + libraries)]).encode())
    for path in sorted(files):
        total.update(path.as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def everything() -> str:
    """The hash of all that the book is made of; never the same where that can't be known."""
    files, _, unsure = look()
    return digest(files) + (os.urandom(8).hex() if unsure else "")


def before() -> None:
    """Delete results that were made from something else, and note what they are made from now."""
    tell_of_other_results()
    files, chapters, unsure = look()
    inputs, noted = digest(files - chapters), FROZEN / "cells"  # Quarto looks at chapters itself
    if not noted.exists() or noted.read_text() != inputs:
        shutil.rmtree(FROZEN, ignore_errors=True)
        FROZEN.mkdir()
        noted.write_text(inputs)
    for chapter in unsure:
        shutil.rmtree(FROZEN / chapter.with_suffix(""), ignore_errors=True)
    (FROZEN / "book").write_text(everything())


def after() -> None:
    """Leave in a book of pages that was rendered whole what it was made from, as noted before."""
    made = map(Path, os.environ.get("QUARTO_PROJECT_OUTPUT_FILES", "").splitlines())
    if os.environ.get("QUARTO_PROJECT_RENDER_ALL") and BOOK / "index.html" in made:
        shutil.copy(FROZEN / "book", STAMP)


def check() -> None:
    """End with status 0 where the book was rendered whole from what is here now, else with 1."""
    sys.exit(not (STAMP.exists() and STAMP.read_text() == everything()))


def show_digest() -> None:
    """Print the hash of everything, for the plain edition."""
    tell_of_other_results()
    print(everything())


def tell_of_other_results() -> None:
    """Write metadata of the pages where results are shown that are not the study's."""
    sys.path.insert(0, str(Path.cwd()))
    from cifar_study.report import facts  # here, as it takes a second

    others = facts.other_results()
    for path in (Path("_metadata.yml"), Path("chapters", "_metadata.yml")):
        if others and not path.exists():
            path.write_text(OTHER_RESULTS)
        elif not others and path.exists() and path.read_text() == OTHER_RESULTS:
            path.unlink()


def refuse(why: str) -> NoReturn:
    """End with one line and status 2: no render can succeed."""
    print(f"error: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    steps = {"before": before, "after": after, "check": check, "digest": show_digest}
    if missing := [package for package in NEEDED if not find_spec(package)]:
        refuse(
            f"{sys.executable} lacks {', '.join(missing)}; run: make report, or: "
            "python -m pip install -r requirements.txt, and set QUARTO_PYTHON to that python"
        )
    if SHOWN and not next(Path(SHOWN).glob("stage-*/seed-*"), None):
        refuse(f"CIFAR_STUDY_CACHE={SHOWN}: no results there; name a folder that holds some")
    try:
        steps[sys.argv[1]]()
    except OSError as failed:
        refuse(f"{failed.filename}: {failed.strerror}; mend that, and render again")
