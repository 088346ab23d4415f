"""What the book consists of: ``_quarto.yml`` and the chapters that it lists."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from cifar_study.errors import StudyError


@dataclass(frozen=True)
class Chapter:
    """One source file: its Markdown, and where it stands in the book."""

    path: str  # relative to the project, with forward slashes
    part: str  # title of the part it belongs to, or ""
    text: str
    appendix: bool
    meta: list[str]  # what ``when-meta`` may ask for: the metadata that are true


@dataclass(frozen=True)
class Book:
    """The whole book, ready to be executed."""

    root: Path
    title: str
    subtitle: str
    author: str
    date: str
    lang: str
    bibliography: list[str]
    settings: dict[str, Any]  # of every cell: echo, code-fold, warning, …
    chapters: list[Chapter]


def read_book(project: Path) -> Book:
    """Read ``_quarto.yml`` in ``project`` and every chapter it lists.

    Raises StudyError for a missing file, bad YAML, or a project that is no book.
    """
    root = project.resolve()
    if not (root / "_quarto.yml").exists():
        raise StudyError(f"{project}: holds no _quarto.yml; name a book's folder with --project")
    config = parse_yaml(_read(root / "_quarto.yml", "_quarto.yml"), "_quarto.yml")
    book = config.get("book")
    if not isinstance(book, dict) or not book.get("chapters"):
        raise StudyError("_quarto.yml: no chapters; list them under book: chapters:")
    return Book(
        root=root,
        title=str(book.get("title", root.name)),
        subtitle=str(book.get("subtitle", "")),
        author=", ".join(
            str(author["name"] if isinstance(author, dict) and "name" in author else author)
            for author in as_list(book.get("author"))
        ),
        date=_date(book.get("date", "")),
        lang=str(config.get("lang", "en")),
        bibliography=[str(name) for name in as_list(config.get("bibliography"))],
        settings=_settings(config),
        chapters=[
            Chapter(path, part, _read(root / path, path), appendix, _true(config, root, path))
            for entries, appendix in ((book["chapters"], False), (book.get("appendices"), True))
            for path, part in _entries(entries, "Appendices" if appendix else "")
        ],
    )


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parse a YAML mapping; an error says where it stands."""
    try:
        value = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise StudyError(f"{where}: bad YAML: {said}; check quotes and indents") from None
    if not isinstance(value, dict):
        raise StudyError(f"{where}: bad YAML: expected lines like `key: value`")
    return value


def _entries(items: Any, part: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, title of the part) for every chapter or appendix, in reading order."""
    for item in as_list(items):
        if isinstance(item, str):
            yield str(PurePosixPath(item)), part
        elif isinstance(item, dict) and "part" in item and not str(item["part"]).endswith(".qmd"):
            yield from _entries(item.get("chapters", []), str(item["part"]))
        else:
            raise StudyError(f"_quarto.yml: chapter {item!r} is neither a path nor a titled part")


def _date(value: Any) -> str:
    """A date as Quarto writes it; what is none, as it is."""
    if value in ("today", "now"):
        value = datetime.date.today()
    if isinstance(value, datetime.date):
        return f"{value:%B} {value.day}, {value.year}"
    return str(value)


def _true(config: dict[str, Any], root: Path, path: str) -> list[str]:
    """The metadata that are true: of the project, and of ``_metadata.yml`` on the way down."""
    meta = dict(config)
    for folder in reversed(PurePosixPath(path).parents):
        if (file := root / folder / "_metadata.yml").is_file():
            meta |= parse_yaml(_read(file, str(folder / file.name)), str(folder / file.name))
    return [key for key, value in meta.items() if value is True]


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
        raise StudyError(f"{name}: {reason}; check the path under book: chapters:") from None


def as_list(value: Any) -> list[Any]:
    """A value that may be left out, one or several, as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
