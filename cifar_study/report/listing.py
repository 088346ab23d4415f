"""The package's own code, for the report: read from its files, never pasted."""

import ast
import textwrap
from pathlib import Path

from IPython.display import Markdown

PACKAGE = Path(__file__).resolve().parents[1]


def source(file: str, name: str) -> Markdown:
    """A block with the code of a function or class of a module, without its docstring."""
    text = (PACKAGE / file).read_text(encoding="utf-8")
    [node] = [each for each in ast.parse(text).body if getattr(each, "name", "") == name]
    first = min(each.lineno for each in [node, *node.decorator_list])
    lines = text.splitlines()[first - 1 : node.end_lineno]
    if ast.get_docstring(node):
        del lines[node.body[0].lineno - first : node.body[0].end_lineno - first + 1]
    return _block(file, first, "\n".join(lines))


def entry(number: int) -> Markdown:
    """A block with the lines of the registry that describe a stage."""
    text = (PACKAGE / "stages.py").read_text(encoding="utf-8")
    for call in ast.walk(ast.parse(text)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Stage":
            numbers = [each.value for each in call.keywords if each.arg == "number"] + call.args
            if ast.unparse(numbers[0]) == str(number):
                lines = text.splitlines()[call.lineno - 1 : call.end_lineno]
                return _block("stages.py", call.lineno, "\n".join(lines).rstrip(","))
    raise LookupError(f"stages.py has no entry of stage {number}")


def _block(file: str, line: int, code: str) -> Markdown:
    code = textwrap.dedent(code)
    return Markdown(f"```python\n# cifar_study/{file}, line {line}\n{code}\n```\n")
