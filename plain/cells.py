"""The Python in a chapter: find the cells, run them in a kernel, write Markdown in place."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from cifar_study.errors import StudyError

from .book import Book, Chapter, parse_yaml
from .outputs import OPTIONS, cell_markdown, inline_markdown

FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})\s*(.*?)\s*$")
INLINE = re.compile(r"(?<!`)`\{python\}[ \t]+([^`]+)`(?!`)")
SHORTCODE = re.compile(r"\{\{<.*?>\}\}")
KERNELS = 2
SECONDS_PER_CELL = 600


@dataclass(frozen=True)
class Cell:
    """A code cell, or (``inline``) one expression in the prose."""

    code: str
    line: int
    options: dict[str, Any]
    inline: bool = False


def split(text: str, path: str) -> list[str | Cell]:
    """Cut a chapter into Markdown and cells, in the order of the document.

    Only fences at the top level count: a cell inside a longer fence is an example to be shown.
    """
    pieces: list[str | Cell] = []
    prose: list[str] = []  # lines up to the next fence
    block: list[str] = []  # lines of the open fence, its first line included
    fence = info = ""
    start = prose_line = 1
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        match = FENCE.match(line)
        if fence:
            if match and match[1].startswith(fence) and not match[2]:
                pieces.append(_block(block, line, info, path, start))
                fence, prose, prose_line = "", [], number + 1
            else:
                block.append(line)
        elif match and not (match[1][0] == "`" and "`" in match[2]):
            pieces += _prose("".join(prose), path, prose_line)
            fence, info, block, start = match[1], match[2], [line], number
        else:
            prose.append(line)
    if fence:
        raise StudyError(f"{path}, line {start}: this code block is never closed; add {fence}")
    return pieces + _prose("".join(prose), path, prose_line)


def _block(block: list[str], last: str, info: str, path: str, line: int) -> str | Cell:
    """Turn a fenced block into a Cell, or give it back as Markdown."""
    language = re.match(r"\{(\w+)[ ,}]", info)
    if not language:  # `{{python}}` is how Quarto writes a cell that is only shown
        shown = [re.sub(r"^(\s*[`~]{3,})\{\{(\w+)\}\}", r"\1{\2}", text) for text in block]
        return "".join(shown) + last
    if language[1] != "python":
        raise StudyError(f"{path}, line {line}: a {language[1]} cell; only python cells can be run")
    body = block[1:]
    head = 0
    while head < len(body) and body[head].startswith("#|"):
        head += 1
    options = parse_yaml("".join(text[2:] for text in body[:head]), f"{path}, cell at line {line}")
    for option in options.keys() - OPTIONS:
        raise StudyError(f"{path}, cell at line {line}: {option}: no option of the plain edition")
    return Cell("".join(body[head:]).strip("\n"), line, options)


def _prose(text: str, path: str, line: int) -> list[str | Cell]:
    """Cut prose at its inline expressions."""
    if found := SHORTCODE.search(text):
        place = line + text.count("\n", 0, found.start())
        raise StudyError(f"{path}, line {place}: {found[0]}: shortcodes are Quarto's; use Markdown")
    pieces: list[str | Cell] = []
    end = 0
    for match in INLINE.finditer(text):
        place = line + text.count("\n", 0, match.start())
        pieces += [text[end : match.start()], Cell(match[1].strip(), place, {}, inline=True)]
        end = match.end()
    return [*pieces, text[end:]]


def run_chapters(book: Book, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Execute every chapter and return its Markdown; pictures are written to ``folder``.

    Raises StudyError with chapter, cell and the exception's last line when a cell fails.
    """
    stopped: list[bool] = []

    async def run() -> list[str]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        with suppress(NotImplementedError):  # on Windows
            loop.add_signal_handler(signal.SIGINT, lambda: (stopped.append(True), task.cancel()))
        # nbclient would put its own in this one's place, and go on without the kernels.
        loop.add_signal_handler = loop.remove_signal_handler = lambda *_: False
        try:
            return await _run_all(book, folder, say)
        except BaseException:
            if stopped:  # whatever it is that shutting kernels down led to
                raise KeyboardInterrupt from None
            raise
        finally:
            del loop.add_signal_handler, loop.remove_signal_handler  # as the loop's end needs them

    return asyncio.run(run())


async def _run_all(book: Book, folder: Path, say: Callable[[str], None]) -> list[str]:
    split_chapters = [split(c.text, c.path) for c in book.chapters]
    waiting, texts = iter(enumerate(split_chapters)), {}

    async def work(number: int) -> None:
        """Run chapter after chapter in one kernel, which forgets the names of each."""
        async with _kernel(book, folder / f"kernel-{number}.json") as execute:
            for index, pieces in waiting:
                chapter, outputs = book.chapters[index], []
                if cells := [piece for piece in pieces if isinstance(piece, Cell)]:
                    began = time.perf_counter()
                    outputs = await execute(chapter, cells)
                    say(f"{chapter.path}: {time.perf_counter() - began:.1f} s")
                texts[index] = _join(book, pieces, iter(outputs), folder / f"picture-{index}")

    # A TaskGroup, not gather: when one chapter fails the other kernel is shut down first.
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(KERNELS):
                group.create_task(work(number))
    except ExceptionGroup as errors:  # not `except*`, where Python 3.11.2 groups what is raised
        raise errors.exceptions[0] from None
    return [texts[index] for index in range(len(book.chapters))]


def _join(book: Book, pieces: list[str | Cell], outputs: Any, stem: Path) -> str:
    """Put each cell's Markdown in the place of the cell."""
    parts = []
    for number, piece in enumerate(pieces):
        if isinstance(piece, str):
            parts.append(piece)
        elif piece.inline:
            parts.append(inline_markdown(next(outputs)))
        else:
            options = book.settings | piece.options
            picture = stem.with_name(f"{stem.name}-{number}")
            parts.append(cell_markdown(piece.code, options, next(outputs), picture))
    return "".join(parts)


class _ThisPython(KernelSpecManager):
    """Offers one kernel: the interpreter that runs the build, whatever is installed elsewhere."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self._settings = settings

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Describe that kernel, with Quarto's defaults for figures."""
        size = (self._settings.get("fig-width", 7), self._settings.get("fig-height", 5))
        arguments = [
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
            "--HistoryManager.enabled=False",
            f"--InlineBackend.figure_formats={self._settings.get('fig-format', 'retina')}",
            f"--InlineBackend.rc={{'figure.figsize': {size}, 'figure.dpi': 96}}",
        ]
        environment = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # silences a debugger's warning
        return KernelSpec(argv=[sys.executable, *arguments], language="python", env=environment)


@asynccontextmanager
async def _kernel(book: Book, connection: Path) -> AsyncIterator[Callable[..., Any]]:
    """A kernel, as what runs a chapter's cells in it and returns the outputs of each."""
    # Sockets in the file system, so that nothing listens on a port (Windows has only ports).
    manager = AsyncKernelManager(
        kernel_spec_manager=_ThisPython(book.settings),
        transport="tcp" if os.name == "nt" else "ipc",
        connection_file=str(connection),
    )
    options = {
        "km": manager,
        "timeout": SECONDS_PER_CELL,
        "coalesce_streams": True,
        "resources": {"metadata": {"path": str(book.root)}},
    }
    channels = None

    async def execute(chapter: Chapter, cells: list[Cell]) -> list[list[Any]]:
        nonlocal channels
        # Imported modules stay, as they take seconds; a chapter's own names go.
        code = ["%reset -f", *(cell.code for cell in cells)]
        notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, code)])
        client = NotebookClient(notebook, **options)
        client.kc = channels
        try:
            await client.async_execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise StudyError(_failure(chapter, cells, notebook.cells[1:], error)) from None
        channels = client.kc
        return [cell.outputs for cell in notebook.cells[1:]]

    try:
        yield execute
    finally:  # nbclient leaves a kernel it was given running
        if manager.has_kernel:
            await manager.shutdown_kernel(now=True)


def _failure(chapter: Chapter, cells: list[Cell], run: list[Any], error: Exception) -> str:
    """One line: chapter, cell, what Python said last."""
    ran = [bool(c.execution_count or c.outputs) for c in run]
    index = max((i for i, done in enumerate(ran) if done), default=0)
    if isinstance(error, CellExecutionError):
        said = f"{error.ename}: {error.evalue}".strip().splitlines()
        index = next(
            i for i, c in enumerate(run) if any(o.output_type == "error" for o in c.outputs)
        )
        reason = f"{said[0]}; mend the cell and build again"
    elif isinstance(error, CellTimeoutError):
        reason = f"no end after {SECONDS_PER_CELL} s; let it read cached results"
    else:
        reason = "the kernel died; run the cell's code by hand to see why"
    cell = cells[index]
    name = f"`{cell.code}`" if cell.inline else cell.options.get("label", "without a label")
    number = sum(not c.inline for c in cells[: index + 1])
    kind = "inline" if cell.inline else f"cell {number}"
    return f"{chapter.path}, line {cell.line}, {kind} ({name}): {reason}"
