"""The package's own code, for the report: read from its files, never pasted."""

import ast
import textwrap
from pathlib import Path

from IPython.display import Markdown

from cifar_study.errors import StudyError
from cifar_study.report.style import noted

PACKAGE = Path(__file__).resolve().parents[1]


@noted
def source(file: str, name: str) -> Markdown:
    """A block with the code of a function, class or ``Class.method``, without its docstring.

    The module is read, not imported, so nothing it needs is loaded.
    """
    text = (PACKAGE / file).read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        members = [each for each in getattr(node, "body", []) if getattr(each, "name", "") == part]
        if not members:
            raise StudyError(f"cifar_study/{file}: there is no {name}")
        node = members[0]
    return _block(file, text, node)


@noted
def entry(number: int) -> Markdown:
    """A block with the lines of the registry that describe a stage."""
    file = "stages.py"
    text = (PACKAGE / file).read_text(encoding="utf-8")
    for call in ast.walk(ast.parse(text)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Stage":
            named = [keyword.value for keyword in call.keywords if keyword.arg == "number"]
            if ast.unparse([*named, *call.args][0]) == str(number):
                return _block(file, text, call)
    raise StudyError(f"cifar_study/{file}: stage {number} has no entry")


def _block(file: str, text: str, node: ast.AST) -> Markdown:
    """The lines of a node without their common indent, the file and the first line's number."""
    decorators = getattr(node, "decorator_list", [])
    first = min(each.lineno for each in [node, *decorators])
    lines = text.splitlines()[: node.end_lineno]
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
        docstring = node.body[0]
        end = docstring.end_lineno
        if not lines[end].strip():
            end += 1  # the blank line below it
        del lines[docstring.lineno - 1 : end]
    code = textwrap.dedent("\n".join(lines[first - 1 :])).rstrip(",")
    return Markdown(f"```python\n# cifar_study/{file}, line {first}\n{code}\n```\n")
