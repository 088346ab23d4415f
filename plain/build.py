"""From the sources to the page: execute, let Pandoc write HTML, put the pictures in, save."""

import base64
import hashlib
import html
import json
import mimetypes
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pypandoc

from cifar_study import runs
from cifar_study.checkpoints import write
from cifar_study.errors import StudyError, say, writing

from .book import Book, as_list, read_book
from .cells import run_chapters

HERE = Path(__file__).parent
PART = re.compile(r'(<script type="text/plain" data-once="([^"]+)">)</script>')
STAMP = '<meta name="made-from" content="'
SOURCE = re.compile(r'(<(?:img|source|video|audio|iframe|embed|script)\b[^>]*?\ssrc=")([^"]*)"')


def build(project: Path, output: Path) -> bool:
    """Build the book in ``project`` as one file, ``output``, written whole or not at all.

    Returns whether it was built: a page that was made from what is here now stays.
    """
    project, output = project.absolute(), output.absolute()  # as cells run in the project
    digest = made_from(project)
    if digest and output.is_file() and STAMP + digest in output.read_text("utf-8", "replace"):
        return False
    book = read_book(project)
    if output.exists() and not output.is_file():
        raise StudyError(f"{output}: is there and no file; choose another name")
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output.parent).close()  # said now, not after all cells
    with tempfile.TemporaryDirectory(prefix="plain-") as name:
        folder = Path(name).resolve()
        texts = run_chapters(book, folder, say)
        page = put_parts_in(put_pictures_in(run_pandoc(book, texts, folder, digest)))
    with writing(output):
        write(output, page.encode())
    return True


def made_from(project: Path) -> str:
    """A digest of all that the book is made of, this edition included; "" where none is known.

    The project's own script looks; it also refuses results that no page can be made from.
    """
    script = project / "chapters" / "fresh.py"
    if not script.is_file():
        return ""
    done = subprocess.run(
        [sys.executable, "chapters/fresh.py", "digest"],
        cwd=project,
        env=os.environ | {runs.VARIABLE: runs.setting(runs.VARIABLE), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"{script}: ended with {done.returncode}"]
        raise StudyError(said[-1].removeprefix("error: "))
    total = hashlib.sha256(done.stdout.encode())
    for path in sorted(path for path in HERE.iterdir() if path.is_file()):
        total.update(path.read_bytes())
    return total.hexdigest()


def run_pandoc(book: Book, texts: list[str], pictures: Path, digest: str) -> str:
    """Return the page as Pandoc writes it, its pictures still links to files."""
    chapters = zip(book.chapters, texts, strict=True)
    source = vars(book) | {
        "pictures": str(pictures),
        "digest": digest,
        "chapters": [vars(chapter) | {"text": text} for chapter, text in chapters],
    }
    command = [
        pypandoc.get_pandoc_path(),
        f"--from={HERE / 'reader.lua'}",
        "--to=html5",
        "--mathml",
        f"--template={HERE / 'template.html'}",
        "--wrap=none",
        "--reference-location=section",
    ]
    after = as_list(book.settings.get("include-after-body"))
    command += [f"--include-after-body={book.root / name}" for name in after]
    if book.bibliography:
        command += ["--citeproc", "--metadata=link-citations:true"]
        command += [f"--bibliography={book.root / name}" for name in book.bibliography]
    given = json.dumps(source, default=str)
    done = subprocess.run(command, input=given, capture_output=True, encoding="utf-8", check=False)
    complaints = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode or complaints:
        raise StudyError(_in_one_line(complaints, done.returncode))
    return done.stdout


def _in_one_line(complaints: list[str], status: int) -> str:
    """Shorten what Pandoc said; a citation that is not in the bibliography reads like the rest."""
    first = (complaints or [f"pandoc ended with status {status}"])[0]
    first = re.sub(r"^\[WARNING\] ", "pandoc: ", first)
    first = re.sub(r": citation (\S+) not found", r": @\1 is neither label nor literature", first)
    more = len(complaints) - 1
    return first + (f" (and {more} more)" if more > 0 else "")


def put_pictures_in(page: str) -> str:
    """Replace every ``src`` by the file's content, so that the page needs nothing beside it."""

    def put_in(match: re.Match[str]) -> str:
        source = html.unescape(match[2])
        if source.startswith("data:"):
            return match[0]
        if not source.startswith("file:"):
            raise StudyError(f"{source} would be loaded from elsewhere; keep a copy in figures/")
        path = Path(source.removeprefix("file:"))
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return f'{match[1]}data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"'

    return SOURCE.sub(put_in, page)


def put_parts_in(page: str) -> str:
    """Put the networks that the page runs, and the library that runs them, into their places."""
    if not PART.search(page):
        return page
    from cifar_study.report.networks import part  # here, as few pages have a network

    return PART.sub(lambda match: f"{match[1]}{part(match[2])}</script>", page)
