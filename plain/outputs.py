"""A cell and what it put out, as the Markdown that Pandoc reads next."""

import ast
import base64
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

OPTIONS = {
    *("label", "echo", "include", "warning", "code-fold", "layout-ncol"),
    *("fig-cap", "fig-alt", "fig-subcap", "tbl-cap"),
}
PICTURES = {"image/svg+xml": ".svg", "image/png": ".png", "image/jpeg": ".jpg"}


def cell_markdown(code: str, options: dict[str, Any], outputs: list[Any], picture: Path) -> str:
    """Return a cell's code, as far as it is shown, and its outputs.

    ``picture`` is the path, without an ending, under which its pictures are written.
    """
    if options.get("include", True) is False:
        return ""
    fold = [".fold"] if options.get("code-fold") else []
    parts = [_fenced(code, ".python", *fold)] if options.get("echo", True) else []
    shown = _outputs(outputs, options, picture)
    label = str(options.get("label", ""))
    kind = label.partition("-")[0]
    if shown and kind in ("fig", "tbl"):
        shown.append(_one_line(options.get(f"{kind}-cap", "")))
        shown = [
            _div("\n\n".join(shown), f"#{label}", **{"layout-ncol": options.get("layout-ncol")})
        ]
    return "\n{}\n".format("\n\n".join(parts + shown))


def inline_markdown(outputs: list[Any]) -> str:
    """Return an inline expression's value: Markdown as it is, other values as plain text."""
    for output in outputs:
        data = output.get("data", {})
        if "text/markdown" in data:
            return data["text/markdown"].strip()
        if "text/plain" in data:
            text = data["text/plain"]
            with suppress(ValueError, SyntaxError):  # a repr that is no string's stays as it is
                text = ast.literal_eval(text) if text.startswith(("'", '"')) else text
            return re.sub(r"([\\`*_{}\[\]<>$@#~^|])", r"\\\1", text)
    return ""


def _outputs(outputs: Iterable[Any], options: dict[str, Any], picture: Path) -> list[str]:
    pictured = any(_is_picture(output) for output in outputs)
    parts: list[str] = []
    number = 0  # of the picture within the cell
    for output in outputs:
        if output.output_type == "stream":
            parts.append(_stream(output, options))
        elif _is_picture(output):
            path = picture.with_name(f"{picture.name}-{number}")
            parts.append(_picture(output, options, number, path))
            number += 1
        elif output.data and not (pictured and output.data.keys() == {"text/plain"}):
            parts.append(_text(output.data))  # beside a picture, `<Axes: …>` says nothing
    return [part for part in parts if part]


def _is_picture(output: Any) -> bool:
    return bool(PICTURES.keys() & output.get("data", {}).keys())


def _stream(output: Any, options: dict[str, Any]) -> str:
    if output.name == "stderr" and options.get("warning", True) is False:
        return ""
    return _fenced(output.text.rstrip(), ".output")


def _text(data: dict[str, str]) -> str:
    if "text/markdown" in data:
        return data["text/markdown"]
    if "text/html" in data:
        return _div(_fenced(data["text/html"], "=html"), ".table-scroll")
    return _fenced(data.get("text/plain", ""), ".output")


def _picture(output: Any, options: dict[str, Any], number: int, path: Path) -> str:
    """Write one picture to disk and return the image that shows it."""
    mime = next(mime for mime in PICTURES if mime in output.data)
    path = path.with_name(path.name + PICTURES[mime])
    if mime == "image/svg+xml":
        path.write_text(output.data[mime], encoding="utf-8")
    else:
        path.write_bytes(base64.b64decode(output.data[mime]))
    width = output.metadata.get(mime, {}).get("width")  # half the pixels of a sharp PNG
    label = str(options.get("label", ""))
    caption = _nth(options.get("fig-subcap"), number)
    name = f"#{label}-{number + 1}" if caption else ""
    if not label.startswith("fig-"):
        caption = _nth(options.get("fig-cap"), number)
    attributes = _attributes(
        name,
        **{
            "fig-alt": _nth(options.get("fig-alt"), number),
            "width": f"{width}px" if width else None,
        },
    )
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
