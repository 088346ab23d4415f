"""Keeps the report fresh: results of chapters are used again only while nothing they saw changed.

Quarto keeps what a chapter's cells gave in ``_freeze/`` while its own text is the same. All else
that cells can see is hashed before a render; where that changed, the kept results go.
"""

import hashlib
import os
import re
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))
from cifar_study.errors import run_command, say

FROZEN, BOOK = Path("_freeze"), Path("_book")
STAMP = BOOK / ".made-from"
SHOWN = os.environ.get("CIFAR_STUDY_CACHE", "")  # the results that are reported, if not cache/
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
    book = "".join(path.read_text("utf-8") for path in Path().glob("_quarto*.yml"))
    sources = {path: path.read_text("utf-8", "replace") for path in files if path.suffix == ".qmd"}
    chapters = {path for path in sources if path.as_posix() in book}
    unsure = {path for path in sources if READS.search("\n".join(CELL.findall(sources[path])))}
    if SHOWN:
        files |= {path for path in Path(SHOWN).rglob("[!.]*") if path.is_file()}
    return files, chapters, unsure if unsure <= chapters else chapters  # any may include others


def digest(files: set[Path]) -> str:
    """A hash of the files' names and contents, of the libraries, and of the study's settings."""
    seen = [f"{name}={value}" for name, value in os.environ.items() if "CIFAR_STUDY_" in name]
    seen += [f"{found.name} {found.version}" for found in distributions()]
    seen += [f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join([sys.version, *sorted(seen)]).encode()).hexdigest()


def everything() -> str:
    """The hash of all that the book is made of; never the same where that can't be known."""
    files, _, unsure = look()
    return digest(files) + (os.urandom(8).hex() if unsure else "")


def before() -> None:
    """Delete results that were made from something else, and note what they are made from now."""
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


def up_to_date() -> bool:
    """Whether the book was rendered whole from what is here now."""
    return STAMP.exists() and STAMP.read_text() == everything()


def tell_of_other_results() -> None:
    """Write metadata of the pages where results are shown that are not the study's."""
    from cifar_study.report import facts  # here, as it takes a second

    others = facts.other_results()
    for path in (Path("_metadata.yml"), Path("chapters", "_metadata.yml")):
        if others and not path.exists():
            path.write_text(OTHER_RESULTS)
        elif not others and path.exists() and path.read_text() == OTHER_RESULTS:
            path.unlink()


def main() -> int:
    """Take the step that is asked for; 1 where ``check`` finds an old book, 2 on a mistake."""
    step = sys.argv[1]
    if SHOWN and not next(Path(SHOWN).glob("stage-*/seed-*"), None):
        say(f"error: CIFAR_STUDY_CACHE={SHOWN}: no results there; name a folder that holds some")
        return 2
    tell_of_other_results()
    steps = {"before": before, "after": after, "digest": lambda: print(everything())}
    if step in steps:
        steps[step]()
    return int(step == "check" and not up_to_date())


if __name__ == "__main__":
    sys.exit(run_command(main, "stopped", "make report"))
