"""A cell and what it put out, as the Markdown that Pandoc reads next."""

import ast
import base64
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .shell import Output

OPTIONS = {
    *("label", "eval", "echo", "include", "output", "warning", "error", "code-fold"),
    *("fig-cap", "fig-alt", "fig-subcap", "fig-width", "fig-height", "tbl-cap", "layout-ncol"),
}
PICTURES = {"image/svg+xml": ".svg", "image/png": ".png", "image/jpeg": ".jpg"}


def cell_markdown(code: str, options: dict[str, Any], outputs: list[Output], picture: Path) -> str:
    """Return a cell's code, as far as it is shown, and its outputs.

    ``picture`` is the path, without an ending, under which its pictures are written.
    """
    if options.get("include", True) is False:
        return ""
    parts = [_fenced(code, ".python")] if options.get("echo", True) else []
    shown = _outputs(outputs, options, picture) if options.get("output", True) else []
    label = str(options.get("label", ""))
    kind = label.partition("-")[0]
    if shown and kind in ("fig", "tbl"):
        shown.append(_one_line(options.get(f"{kind}-cap", "")))
        columns = {"layout-ncol": options.get("layout-ncol")}
        shown = [_div("\n\n".join(shown), f"#{label}", **columns)]
    return "\n{}\n".format("\n\n".join(parts + shown))


def inline_markdown(outputs: list[Output]) -> str:
    """Return an inline expression's value: Markdown as it is, other values as plain text."""
    for data, _, stream in outputs:
        if "text/markdown" in data:
            return data["text/markdown"].strip()
        if "text/plain" in data and not stream:
            text = data["text/plain"]
            with suppress(ValueError, SyntaxError):  # a repr that is no string's stays as it is
                text = ast.literal_eval(text) if text.startswith(("'", '"')) else text
            return re.sub(r"([\\`*_{}\[\]<>$@#~^|])", r"\\\1", text)
    return ""


def _outputs(outputs: Iterable[Output], options: dict[str, Any], picture: Path) -> list[str]:
    pictured = any(_is_picture(output) for output in outputs)
    parts: list[str] = []
    number = 0  # of the picture within the cell
    for output in outputs:
        if output.stream:
            parts.append(_stream(output, options))
        elif _is_picture(output):
            path = picture.with_name(f"{picture.name}-{number}")
            parts.append(_picture(output, options, number, path))
            number += 1
        elif not (pictured and output.data.keys() == {"text/plain"}):
            parts.append(_text(output.data))  # beside a picture, `<Axes: …>` says nothing
    return [part for part in parts if part]


def _is_picture(output: Output) -> bool:
    return bool(PICTURES.keys() & output.data.keys())


def _stream(output: Output, options: dict[str, Any]) -> str:
    if output.stream == "stderr" and options.get("warning", True) is False:
        return ""
    text = output.data["text/plain"]
    return text if options.get("output") == "asis" else _fenced(text.rstrip(), ".output")


def _text(data: dict[str, str]) -> str:
    if "text/markdown" in data:
        return data["text/markdown"]
    if "text/html" in data:
        return _div(_fenced(data["text/html"], "=html"), ".table-scroll")
    return _fenced(data.get("text/plain", ""), ".output")


def _picture(output: Output, options: dict[str, Any], number: int, path: Path) -> str:
    """Write one picture to disk and return the image that shows it."""
    mime = next(mime for mime in PICTURES if mime in output.data)
    path, content = path.with_name(path.name + PICTURES[mime]), output.data[mime]
    if isinstance(content, str):
        content = content.encode() if "xml" in mime else base64.b64decode(content)
    path.write_bytes(content)
    width = output.metadata.get(mime, {}).get("width")  # half the pixels of a sharp PNG
    label = str(options.get("label", ""))
    caption = _nth(options.get("fig-subcap"), number)
    name = f"#{label}-{number + 1}" if caption else ""
    if not label.startswith("fig-"):
        caption = _nth(options.get("fig-cap"), number)
    alt = {"fig-alt": _nth(options.get("fig-alt"), number)}
    attributes = _attributes(name, **alt, width=f"{width}px" if width else None)
    return f"![{_one_line(caption)}]({path.as_posix()}){attributes}"


def _nth(value: Any, number: int) -> Any:
    """The value for one picture of several: a list's element, or the one value there is."""
    if isinstance(value, list):
        return value[number] if number < len(value) else None
    return value


def _div(text: str, *names: str, **attributes: Any) -> str:
    return f"::::: {_attributes(*names, **attributes)}\n{text}\n\n:::::"


def _fenced(text: str, *names: str, **attributes: Any) -> str:
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence} {_attributes(*names, **attributes)}\n{text}\n{fence}"


def _attributes(*names: str, **values: Any) -> str:
    """Write ``{#id .class key="value"}``; what is empty is left out."""
    quoted = {
        key: _one_line(value).replace("\\", r"\\").replace('"', r"\"")
        for key, value in values.items()
        if value
    }
    words = [name for name in names if name] + [f'{key}="{text}"' for key, text in quoted.items()]
    return "{" + " ".join(words) + "}" if words else ""


def _one_line(value: Any) -> str:
    return " ".join(str(value or "").split())
