"""The package's own code, for the report: read from its files, never pasted."""

import ast
import textwrap
from pathlib import Path

from IPython.display import Markdown

from cifar_study.stages import ENTRIES

PACKAGE = Path(__file__).resolve().parents[1]


def source(file: str, name: str) -> Markdown:
    """A block with the code of a function of a module, without its docstring."""
    text = (PACKAGE / file).read_text(encoding="utf-8")
    [node] = [each for each in ast.parse(text).body if getattr(each, "name", "") == name]
    docstring = ast.get_source_segment(text, node.body[0])
    return _block(
        file, node.lineno, ast.get_source_segment(text, node).replace(f"    {docstring}\n", "")
    )


def entry(number: int) -> Markdown:
    """A block with the lines of the registry that describe a stage."""
    text = (PACKAGE / "stages.py").read_text(encoding="utf-8")
    [entries] = [each for each in ast.parse(text).body if ast.unparse(each).startswith("ENTRIES")]
    call = entries.value.elts[[stage.number for stage in ENTRIES].index(number)]
    return _block("stages.py", call.lineno, ast.get_source_segment(text, call, padded=True))


def _block(file: str, line: int, code: str) -> Markdown:
    return Markdown(f"```python\n# cifar_study/{file}, line {line}\n{textwrap.dedent(code)}\n```\n")
