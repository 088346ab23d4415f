"""The package's own code, for the report to show: read where it stands, never pasted."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from IPython.display import Markdown

from cifar_study.errors import StudyError

PACKAGE = Path(__file__).resolve().parents[1]


def source(path: str) -> Markdown:
    """A folded block with the code of ``"folder.module.name"``, a method of a class included.

    The module is read, not imported, so nothing it needs is loaded. A name
    that is not there is a :class:`StudyError`.
    """
    file, names = _module(path)
    text = file.read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for name in names:
        node = _find(node, name, path)
    first, code = _lines(text, node)
    where = f"`{file.relative_to(PACKAGE.parent).as_posix()}`, line {first}"
    return Markdown(
        f'::: {{.callout-note collapse="true" icon="false"}}\n'
        f"## `{'.'.join(names)}`, in {where}\n\n"
        f"```python\n{code}\n```\n:::\n"
    )


def entry(number: int) -> Markdown:
    """The lines of the registry that describe a stage, in full view."""
    text = (PACKAGE / "stages.py").read_text(encoding="utf-8")
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    for call in calls:
        if getattr(call.func, "id", "") != "Stage":
            continue
        fields = {keyword.arg: keyword.value for keyword in call.keywords}
        if fields["number"].value == number:
            return Markdown(f"```python\n{_lines(text, call)[1]}\n```\n")
    raise StudyError(f"stage {number} has no entry in cifar_study/stages.py")


def _module(path: str) -> tuple[Path, list[str]]:
    """The file of the module that a path begins with, and the names that are left."""
    names = path.split(".")
    for depth in (1, 2):
        file = PACKAGE.joinpath(*names[:depth]).with_suffix(".py")
        if file.is_file():
            return file, names[depth:]
    raise StudyError(f"{path}: cifar_study has no such module")


def _lines(text: str, node: ast.AST) -> tuple[int, str]:
    """The number of a node's first line, and its lines without the indent they share."""
    first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
    lines = text.splitlines()[first - 1 : node.end_lineno]
    return first, textwrap.dedent("\n".join(lines)).rstrip(",")


def _find(node: ast.AST, name: str, path: str) -> ast.AST:
    for child in getattr(node, "body", []):
        targets = getattr(child, "targets", [getattr(child, "target", None)])
        names = {getattr(target, "id", None) for target in targets} | {getattr(child, "name", None)}
        if name in names:
            return child
    raise StudyError(f"{path}: there is no {name} in cifar_study")
