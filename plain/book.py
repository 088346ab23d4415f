"""What the book consists of: ``_quarto.yml`` and the chapters' front matter, read and checked."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from . import PlainError

FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S | re.M)


@dataclass(frozen=True)
class Chapter:
    """One source file: its Markdown, where it stands in the book, and its settings."""

    path: str  # relative to the project, with forward slashes
    part: str  # title of the part it belongs to, or ""
    title: str  # from the front matter, or "" when the text begins with a heading
    settings: dict[str, Any]  # the project's and its own: echo, code-fold, warning, …
    text: str
    first_line: int  # the line of the file on which ``text`` begins


@dataclass(frozen=True)
class Book:
    """The whole book, ready to be executed."""

    root: Path
    title: str
    subtitle: str
    authors: list[str]
    lang: str
    bibliography: list[str]
    chapters: list[Chapter]


def read_book(project: Path) -> Book:
    """Read ``_quarto.yml`` in ``project`` and every chapter it lists.

    Raises PlainError for a missing file, bad YAML, or a project that is no book.
    """
    root = project.resolve()
    config = parse_yaml(_read(root / "_quarto.yml", "_quarto.yml"), "_quarto.yml")
    book = config.get("book")
    if not isinstance(book, dict) or not book.get("chapters"):
        raise PlainError("_quarto.yml: no chapters; list them under book: chapters:")
    settings = _settings(config)
    authors = _as_list(book.get("author", config.get("author")))
    return Book(
        root=root,
        title=str(book.get("title", root.name)),
        subtitle=str(book.get("subtitle", "")),
        authors=[str(a.get("name", "")) if isinstance(a, dict) else str(a) for a in authors],
        lang=str(config.get("lang", "en")),
        bibliography=[str(name) for name in _as_list(config.get("bibliography"))],
        chapters=[_read_chapter(root, *entry, settings) for entry in _entries(book["chapters"])],
    )


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse a YAML mapping; an error says where it stands."""
    try:
        value = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", YAML line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "cannot be read"
        raise PlainError(f"{where}{place}: bad YAML: {reason}; check quotes and indents") from None
    if not isinstance(value, dict):
        raise PlainError(f"{where}: bad YAML: expected lines like `key: value`")
    return value


def _entries(items: Any, part: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, title of the part) for every chapter, in reading order."""
    for item in _as_list(items):
        if isinstance(item, str):
            yield item, part
        elif isinstance(item, dict) and "part" in item and not str(item["part"]).endswith(".qmd"):
            yield from _entries(item.get("chapters", []), str(item["part"]))
        else:
            raise PlainError(f"_quarto.yml: chapter {item!r} is neither a path nor a titled part")


def _read_chapter(root: Path, path: str, part: str, settings: dict[str, Any]) -> Chapter:
    path = str(PurePosixPath(path))
    text = _read(root / path, path)
    front: dict[str, Any] = {}
    first_line = 1
    if match := FRONT_MATTER.match(text):
        front = parse_yaml(match[1], path)
        first_line += match[0].count("\n")
        text = text[match.end() :]
    settings = settings | _settings(front)
    return Chapter(path, part, str(front.get("title", "")), settings, text, first_line)


def _settings(meta: dict[str, Any]) -> dict[str, Any]:
    """Lay ``format: html:`` and ``execute:`` over the top level: one flat set of options."""
    formats = meta.get("format")
    html = formats.get("html") if isinstance(formats, dict) else None
    layers = (meta, html, meta.get("execute"))
    return {
        key: value for layer in layers if isinstance(layer, dict) for key, value in layer.items()
    }


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise PlainError(f"{name}: {reason}; check the path under book: chapters:") from None


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
