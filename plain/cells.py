"""The Python in a chapter: find the cells, have them run, write Markdown in their place."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar_study.errors import StudyError

from .book import Book, Chapter, parse_yaml
from .outputs import OPTIONS, cell_markdown, inline_markdown
from .shell import Output, Shell, open_shell

FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})\s*(.*?)\s*$")
INLINE = re.compile(r"(?<!`)`\{python\}[ \t]+([^`]+)`(?!`)")
SHORTCODE = re.compile(r"\{\{<.*?>\}\}")


@dataclass(frozen=True)
class Cell:
    """A code cell, or (``inline``) one expression in the prose."""

    code: str
    line: int
    options: dict[str, Any]
    inline: bool = False


def split(text: str, path: str) -> list[str | Cell]:
    """Cut a chapter into Markdown and cells, in the order of the document.

    Only fences at the top level count: a cell inside a longer fence is an example to be shown.
    """
    pieces: list[str | Cell] = []
    prose: list[str] = []  # lines up to the next fence
    block: list[str] = []  # lines of the open fence, its first line included
    fence = info = ""
    start = prose_line = 1
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        match = FENCE.match(line)
        if fence:
            if match and match[1].startswith(fence) and not match[2]:
                pieces.append(_block(block, line, info, path, start))
                fence, prose, prose_line = "", [], number + 1
            else:
                block.append(line)
        elif match and not (match[1][0] == "`" and "`" in match[2]):
            pieces += _prose("".join(prose), path, prose_line)
            fence, info, block, start = match[1], match[2], [line], number
        else:
            prose.append(line)
    if fence:
        raise StudyError(f"{path}, line {start}: this code block is never closed; add {fence}")
    return pieces + _prose("".join(prose), path, prose_line)


def _block(block: list[str], last: str, info: str, path: str, line: int) -> str | Cell:
    """Turn a fenced block into a Cell, or give it back as Markdown."""
    language = re.match(r"\{(\w+)[ ,}]", info)
    if not language:  # `{{python}}` is how Quarto writes a cell that is only shown
        shown = [re.sub(r"^(\s*[`~]{3,})\{\{(\w+)\}\}", r"\1{\2}", text) for text in block]
        return "".join(shown) + last
    if language[1] != "python":
        raise StudyError(f"{path}, line {line}: a {language[1]} cell; only python cells can be run")
    body = block[1:]
    head = 0
    while head < len(body) and body[head].startswith("#|"):
        head += 1
    options = parse_yaml("".join(text[2:] for text in body[:head]), f"{path}, cell at line {line}")
    for option in options.keys() - OPTIONS:
        raise StudyError(f"{path}, cell at line {line}: {option}: no option of the plain edition")
    return Cell("".join(body[head:]).strip("\n"), line, options)


def _prose(text: str, path: str, line: int) -> list[str | Cell]:
    """Cut prose at its inline expressions."""
    if found := SHORTCODE.search(text):
        place = line + text.count("\n", 0, found.start())
        raise StudyError(f"{path}, line {place}: {found[0]}: shortcodes are Quarto's; use Markdown")
    pieces: list[str | Cell] = []
    end = 0
    for match in INLINE.finditer(text):
        place = line + text.count("\n", 0, match.start())
        pieces += [text[end : match.start()], Cell(match[1].strip(), place, {}, inline=True)]
        end = match.end()
    return [*pieces, text[end:]]


def run_chapters(book: Book, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Execute every chapter and return its Markdown; pictures are written to ``folder``.

    Raises StudyError with chapter, cell and the exception's last line when a cell fails.
    """
    chapters = [split(chapter.text, chapter.path) for chapter in book.chapters]
    shell, texts = open_shell(book.root, book.settings), []
    for number, (chapter, pieces) in enumerate(zip(book.chapters, chapters, strict=True)):
        began = time.perf_counter()
        # Imported modules stay, as they take seconds; a chapter's own names go.
        shell.reset(new_session=False)
        texts.append(_run(book, chapter, pieces, shell, folder / f"picture-{number}"))
        if any(isinstance(piece, Cell) for piece in pieces):
            say(f"{chapter.path}: {time.perf_counter() - began:.1f} s")
    return texts


def _run(
    book: Book, chapter: Chapter, pieces: list[str | Cell], shell: Shell, picture: Path
) -> str:
    """Run a chapter and put each cell's Markdown in the place of the cell."""
    parts, count = [], 0
    for number, piece in enumerate(pieces):
        if isinstance(piece, str):
            parts.append(piece)
        elif piece.inline:
            shown, failure = shell.run(piece.code, {})
            if failure:
                raise StudyError(_failure(chapter, piece, f"inline (`{piece.code}`)", failure))
            parts.append(inline_markdown(shown))
        else:
            count += 1
            options, shown = book.settings | piece.options, []
            if options.get("eval", True) is not False:
                shown, failure = shell.run(piece.code, piece.options)
                if failure and options.get("error", False) is False:
                    name = f"cell {count} ({options.get('label', 'without a label')})"
                    raise StudyError(_failure(chapter, piece, name, failure))
                if failure:
                    shown.append(Output({"text/plain": failure}, {}))
            path = picture.with_name(f"{picture.name}-{number}")
            parts.append(cell_markdown(piece.code, options, shown, path))
    return "".join(parts)


def _failure(chapter: Chapter, cell: Cell, name: str, failure: str) -> str:
    return f"{chapter.path}, line {cell.line}, {name}: {failure}; mend the cell and build again"
