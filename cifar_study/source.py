"""The package's own code, for the report to show: read where it stands, never pasted."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from IPython.display import Markdown

from cifar_study.errors import StudyError


def source(path: str) -> Markdown:
    """A folded block with the code of ``"module.name"`` or ``"module.Class.method"``.

    The module is read, not imported, so nothing it needs is loaded. A name
    that is not there is a :class:`StudyError`.
    """
    module, *names = path.split(".")
    file = Path(__file__).with_name(f"{module}.py")
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"{path}: cifar_study has no module {module}") from None
    node: ast.AST = ast.parse(text)
    for name in names:
        node = _find(node, name, path)
    first, code = _lines(text, node)
    return Markdown(
        f'::: {{.callout-note collapse="true" icon="false"}}\n'
        f"## `{'.'.join(names)}`, in `cifar_study/{module}.py`, line {first}\n\n"
        f"```python\n{code}\n```\n:::\n"
    )


def entry(number: int) -> Markdown:
    """The lines of the registry that describe a stage, in full view."""
    text = Path(__file__).with_name("stages.py").read_text(encoding="utf-8")
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    for call in calls:
        if getattr(call.func, "id", "") != "Stage":
            continue
        fields = {keyword.arg: keyword.value for keyword in call.keywords}
        if fields["number"].value == number:
            return Markdown(f"```python\n{_lines(text, call)[1]}\n```\n")
    raise StudyError(f"stage {number} has no entry in cifar_study/stages.py")


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
    raise StudyError(f"{path}: there is no {name} in cifar_study/{path.split('.')[0]}.py")
