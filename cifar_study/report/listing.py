"""The package's own code and the networks it makes, for the report: read, never pasted."""

import ast
import difflib
import textwrap
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from IPython.display import Markdown

from cifar_study.errors import StudyError
from cifar_study.report.pictures import mechanism
from cifar_study.report.replicates import replicates
from cifar_study.report.study import noted
from cifar_study.stages import Block, ResNet, Stage

PACKAGE = Path(__file__).resolve().parents[1]
ADDED, REMOVED = "#0b6b2e", "#a3123b"  # on paper; the pages' styles have their own


def source(file: str, name: str) -> Markdown:
    """A folded block with the code of a function, class or ``Class.method`` of a module.

    The module is read, not imported, so nothing it needs is loaded. A name
    that is not there is a :class:`StudyError`.
    """
    first, code = _found(file, name)
    return Markdown(
        f'::: {{.callout-note collapse="true" icon="false"}}\n'
        f"## `{name}`, in `cifar_study/{file}`, line {first}\n\n"
        f"```python\n{code}\n```\n:::\n"
    )


def code(file: str, name: str, statement: str = "") -> Markdown:
    """The same in full view, without its docstring; of a function, one ``statement`` alone.

    A statement is named by what it assigns to, such as ``"self.optimizer"``. A condition
    that it stands under is shown with it.
    """
    first, text = _found(file, name, statement, docstring=False)
    return Markdown(f"```python\n# cifar_study/{file}, line {first}\n{text}\n```\n")


def entry(number: int) -> Markdown:
    """The lines of the registry that describe a stage, in full view."""
    text = (PACKAGE / "stages.py").read_text(encoding="utf-8")
    for call in ast.walk(ast.parse(text)):
        if isinstance(call, ast.Call) and ast.unparse(call).startswith(f"Stage(number={number},"):
            first, lines = _lines(text, call)
            return Markdown(f"```python\n# cifar_study/stages.py, line {first}\n{lines}\n```\n")
    raise StudyError(f"stage {number} has no entry in cifar_study/stages.py")


@noted
def layers(number: int) -> Markdown:
    """A stage's network as PyTorch prints it, saved when its pictures were drawn."""
    return Markdown(f"```python\n{mechanism(number)['print']}\n```\n")


def change(number: int, before: int) -> Markdown:
    """What is another in a stage than in the one before: its whole description as a diff.

    Lines that begin with a plus are new, those with a minus are gone. Every
    setting that any of their blocks has is written out.
    """
    lines = changed_lines(number, before)
    text = "\n".join(lines)
    return Markdown(
        '::: {.content-visible unless-format="typst"}\n'
        f"```diff\n{text}\n```\n:::\n\n"
        f"```{{=typst}}\n{_on_paper(lines)}\n```\n"
    )


def changed_lines(number: int, before: int | None) -> list[str]:
    """The lines of that diff; without a stage before, those of the description as it is."""
    numbers = [each for each in (before, number) if each is not None]
    stages = [replicates(each).run.stage for each in numbers]
    settings = _settings(stages)
    old, new = description(stages[0], settings), description(stages[-1], settings)
    lines = list(difflib.unified_diff(old, new, lineterm="", n=max(len(old), len(new))))
    return lines[3:] or new  # without the two names and the line that counts lines


def description(stage: Stage, settings: Iterable[str]) -> list[str]:
    """A stage in lines of text: its blocks with these settings, then what is around them."""
    network, recipe = stage.network, stage.recipe
    if isinstance(network, ResNet):
        blocks = [f"ResNet(filters={network.filters}, depth={network.depth})"]
    else:
        blocks = [
            f"Block({', '.join(f'{name}={getattr(block, name)!r}' for name in settings)})"
            for block in network.blocks
        ]
        blocks.append(f"input_size={network.input_size}")
    return [
        *blocks,
        f"epochs={recipe.epochs}, batch_size={recipe.batch_size}, "
        f"learning_rate={recipe.learning_rate}, momentum={recipe.momentum}",
    ]


def _settings(stages: Iterable[Stage]) -> list[str]:
    """The first three settings of a block, and those that a block of these stages makes use of."""
    blocks = [block for stage in stages for block in getattr(stage.network, "blocks", ())]
    names = [(field.name, field.default) for field in fields(Block)]
    return [
        name
        for place, (name, default) in enumerate(names)
        if place < 3 or any(getattr(block, name) != default for block in blocks)
    ]


def _on_paper(lines: list[str]) -> str:
    """A diff for Typst, whose colours the highlighter of code does not know."""
    colours = {"+": ADDED, "-": REMOVED}
    parts = []
    for line in lines:
        literal = '"' + line.replace("\\", "\\\\").replace('"', '\\"') + '"'
        colour = colours.get(line[:1], "#333333")
        parts.append(f'text(fill: rgb("{colour}"), raw({literal}))')
    return (
        "#block(fill: luma(246), width: 100%, inset: .8em, radius: 2pt, breakable: false, "
        "{ set par(justify: false, leading: .5em); (" + ", ".join(parts) + ",).join(linebreak()) })"
    )


def _found(file: str, name: str, statement: str = "", docstring: bool = True) -> tuple[int, str]:
    """The first line of what is named, and its code."""
    text = (PACKAGE / file).read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        node = _find(node, part, file)
    if statement:
        node = _statement(node, statement, file)
    first, lines = _lines(text, node)
    if (
        not docstring
        and isinstance(node, ast.FunctionDef | ast.ClassDef)
        and ast.get_docstring(node)
    ):
        kept = lines.splitlines()
        del kept[node.body[0].lineno - first : node.body[0].end_lineno - first + 1]
        lines = "\n".join(kept).replace(":\n\n", ":\n", 1)
    return first, lines


def _lines(text: str, node: ast.AST) -> tuple[int, str]:
    """The number of a node's first line, and its lines without the indent they share."""
    first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
    lines = text.splitlines()[first - 1 : node.end_lineno]
    return first, textwrap.dedent("\n".join(lines)).rstrip(",")


def _find(node: ast.AST, name: str, file: str) -> ast.AST:
    for child in getattr(node, "body", []):
        if name in (getattr(child, "name", ""), *map(ast.unparse, getattr(child, "targets", []))):
            return child
    raise StudyError(f"cifar_study/{file}: there is no {name}")


def _statement(node: ast.AST, target: str, file: str) -> ast.AST:
    for child in ast.walk(node):  # outer ones first
        inner = child.body if isinstance(child, ast.If) else [child]
        for each in inner:
            if isinstance(each, ast.Assign) and target in map(ast.unparse, each.targets):
                return child
    raise StudyError(f"cifar_study/{file}: nothing there assigns to {target}")
