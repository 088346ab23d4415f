"""From the sources to the page: execute, let Pandoc write HTML, put the pictures in, save."""

import base64
import html
import json
import mimetypes
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pypandoc

from cifar_study.atomic import check_writable, write_whole
from cifar_study.errors import StudyError
from cifar_study.report import study
from cifar_study.report.demo import part

from .book import Book, as_list, read_book
from .cells import run_chapters

HERE = Path(__file__).parent
ONCE = re.compile(r'<(script|style)\b[^>]*\sdata-once="([^"]+)"[^>]*>.*?</\1>', re.S)
PART = re.compile(r'(<script type="text/plain" data-once="([^"]+)">)</script>')
SOURCE = re.compile(r'(<(?:img|source|video|audio|iframe|embed|script)\b[^>]*?\ssrc=")([^"]*)"')


def build(project: Path, output: Path) -> None:
    """Build the book in ``project`` as one file, ``output``, written whole or not at all.

    Raises StudyError when something in the sources has to be mended first.
    """
    book = read_book(project)
    study.cache()  # the results that it is pointed at are there, or that is said now
    check_writable(output)
    with tempfile.TemporaryDirectory(prefix="plain-") as name:
        folder = Path(name).resolve()
        texts = run_chapters(book, folder, lambda line: print(line, file=sys.stderr, flush=True))
        page = put_parts_in(keep_once(put_pictures_in(run_pandoc(book, texts, folder))))
    write_whole(output, page.encode())


def run_pandoc(book: Book, texts: list[str], pictures: Path) -> str:
    """Return the page as Pandoc writes it, its pictures still links to files."""
    source = {
        "root": str(book.root),
        "pictures": str(pictures),
        "title": book.title,
        "subtitle": book.subtitle,
        "lang": book.lang,
        "cites": bool(book.bibliography),
        "chapters": [
            {"path": c.path, "part": c.part, "text": text, "source": c.text}
            for c, text in zip(book.chapters, texts, strict=True)
        ],
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
    command += [f"--include-after-body={_existing(book.root, name)}" for name in after]
    if book.bibliography:
        command += ["--citeproc", "--metadata=link-citations:true"]
        command += [f"--bibliography={_existing(book.root, name)}" for name in book.bibliography]
    done = subprocess.run(
        command, input=json.dumps(source), capture_output=True, encoding="utf-8", check=False
    )
    complaints = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode or complaints:
        raise StudyError(_in_one_line(complaints, done.returncode))
    return done.stdout


def _in_one_line(complaints: list[str], status: int) -> str:
    """Shorten what Pandoc said; a citation that is not in the bibliography reads like the rest."""
    first = (complaints or [f"pandoc ended with status {status}"])[0]
    first = re.sub(r"^\[WARNING\] ", "pandoc: ", first)
    if found := re.match(r"pandoc: Citeproc: citation (\S+) not found", first):
        first = f"@{found[1]}: neither a label nor in the bibliography; mend the key"
    more = len(complaints) - 1
    return first + (f" (and {more} more)" if more > 0 else "")


def _existing(root: Path, name: str) -> Path:
    if not (root / name).is_file():
        raise StudyError(f"_quarto.yml: {name} is missing; restore it or take its line out")
    return root / name


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


def keep_once(page: str) -> str:
    """Leave out scripts and styles that an earlier chapter brought, by the name in data-once."""
    there: set[str] = set()

    def first(match: re.Match[str]) -> str:
        if match[2] in there:
            return ""
        there.add(match[2])
        return match[0]

    return ONCE.sub(first, page)


def put_parts_in(page: str) -> str:
    """Put the networks that the page runs, and the library that runs them, into their places."""
    return PART.sub(lambda match: f"{match[1]}{part(match[2])}</script>", page)
