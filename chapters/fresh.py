"""Keeps the report fresh: results of chapters are used again only while nothing they saw changed.

Quarto keeps what a chapter's cells gave in ``_freeze/`` and uses it while the
chapter's own text is the same (``freeze: auto``). The cells also see the
package, the caches, the pictures and the installed libraries. So all of that is
hashed before a render, and where the hash is another one than before, the kept
results go. After a whole render, the hash of everything is left in the book, so
that ``make report`` knows when there is nothing to do.

Quarto runs this itself: ``pre-render`` and ``post-render`` in ``_quarto.yml``.
The standard library is enough.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path
from typing import NoReturn

FROZEN = Path("_freeze")
BOOK = Path("_book")
STAMP = ".made-from"
UNSEEN = {"__pycache__", "lock", "trial"}  # no cell looks at these, unless they are SHOWN
SHOWN = os.environ.get("CIFAR_STUDY_CACHE", "")  # the results that are reported, if not cache/


def read_by_cells() -> list[Path]:
    """The files that can reach a cell, the chapters themselves left out: Quarto looks at those."""
    files = [*Path().glob("_quarto*.yml")]
    for folder in ("cifar_study", "cache", "figures", "chapters"):
        files += [path for path in Path(folder).rglob("[!.]*") if not UNSEEN & set(path.parts)]
    if SHOWN:
        files += [path for path in Path(SHOWN).rglob("[!.]*") if path.name != "lock"]
    return sorted({path for path in files if path.is_file() and not _of_quarto(path)})


def _of_quarto(path: Path) -> bool:
    """Whether it is a chapter, or what a render puts beside it and may leave when cut off."""
    return path.suffix in (".qmd", ".quarto_ipynb") or any(
        part.endswith("_files") for part in path.parts
    )


def digest(files: Iterable[Path]) -> str:
    """A hash of the files' names and contents, of the libraries, and of the study's settings."""
    total = hashlib.sha256(sys.version.encode())
    for installed in sorted(f"{found.name} {found.version}" for found in distributions()):
        total.update(installed.encode())
    for name, value in sorted(os.environ.items()):
        if name.startswith("CIFAR_STUDY_"):
            total.update(f"{name}={value}".encode())
    for path in files:
        total.update(path.as_posix().encode())
        try:
            content = path.read_bytes()
        except OSError as error:  # a page says so, where a cell can't read it either
            content = str(error).encode()
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def everything() -> str:
    """The hash of all that the book is made of."""
    chapters = sorted([*Path().glob("*.qmd"), *Path("chapters").rglob("*.qmd")])
    return digest([*read_by_cells(), *chapters])


def before() -> None:
    """Delete results that were made from something else, and note what they are made from now.

    What a render that was killed left beside the chapters goes as well.
    """
    refuse_what_no_render_can_use()
    for chapter in (*Path().glob("*.qmd"), *Path("chapters").glob("*.qmd")):
        chapter.with_suffix(".html").unlink(missing_ok=True)
    inputs = digest(read_by_cells())
    noted = FROZEN / "cells"
    if not noted.exists() or noted.read_text() != inputs:
        shutil.rmtree(FROZEN, ignore_errors=True)
        FROZEN.mkdir()
        noted.write_text(inputs)
    (FROZEN / "book").write_text(everything())


def after() -> None:
    """Leave in a book that was rendered whole what it was made from, as noted before."""
    output = Path(os.environ.get("QUARTO_PROJECT_OUTPUT_DIR", BOOK))
    if os.environ.get("QUARTO_PROJECT_RENDER_ALL") and output.name == BOOK.name:
        shutil.copy(FROZEN / "book", output / STAMP)


def refuse_what_no_render_can_use() -> None:
    """End with status 2 where results are to be shown that are not there, or no page can be."""
    if SHOWN:
        try:
            os.scandir(SHOWN).close()
        except OSError as error:
            refuse(f"CIFAR_STUDY_CACHE={SHOWN}: {error.strerror}; name a folder that holds results")
        if not next(Path(SHOWN).glob("stage-*/seed-*"), None):
            refuse(f"CIFAR_STUDY_CACHE={SHOWN}: holds no results; name a folder that does")
    if not os.access(Path(), os.W_OK):
        refuse(f"{Path().absolute()}: can't be written; copy the project to where it can")


def check() -> None:
    """End with status 0 where the book was rendered whole from what is here now, else with 1."""
    refuse_what_no_render_can_use()
    stamp = BOOK / STAMP
    sys.exit(not (stamp.exists() and stamp.read_text() == everything()))


def refuse(why: str) -> NoReturn:
    """End with one line and status 2."""
    print(f"error: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    steps = {"before": before, "after": after, "check": check}
    if len(sys.argv) != 2 or sys.argv[1] not in steps:
        refuse(f"say one of: chapters/fresh.py {', '.join(steps)}")
    try:
        steps[sys.argv[1]]()
    except KeyboardInterrupt:
        sys.exit(130)
    except FileNotFoundError as gone:
        refuse(f"{gone.filename}: went missing meanwhile; render again")
    except OSError as failed:
        refuse(f"{failed.filename}: {failed.strerror}; move it away, or allow writing there")
