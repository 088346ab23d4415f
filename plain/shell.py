"""IPython in this process: runs a chapter's cells and keeps what they show, in order."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from pathlib import Path
from typing import Any, NamedTuple

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config


class Output(NamedTuple):
    """What a cell printed (``stream`` names where to) or displayed: content by MIME type."""

    data: dict[str, Any]
    metadata: dict[str, Any]
    stream: str = ""


class Printed(TextIOBase):
    """Standard output or error of a cell; what is printed in one go stays together."""

    def __init__(self, name: str, shown: list[Output]) -> None:
        self.name, self.shown = name, shown

    def write(self, text: str) -> int:
        """Keep the text."""
        if not self.shown or self.shown[-1].stream != self.name:
            self.shown.append(Output({"text/plain": ""}, {}, self.name))
        self.shown[-1].data["text/plain"] += text
        return len(text)


class Publisher(DisplayPublisher):
    """Takes what ``display`` and matplotlib's figures publish."""

    def publish(self, data: dict[str, Any], metadata: Any = None, **_: Any) -> None:
        """Keep what is displayed."""
        self.shell.shown.append(Output(data, metadata or {}))


class Hook(DisplayHook):
    """Takes the value of a cell's last expression."""

    def __call__(self, result: Any = None) -> None:
        """Keep the value in all its representations."""
        if result is not None and not self.quiet():
            self.shell.shown.append(Output(*self.compute_format_data(result)))


class Shell(InteractiveShell):
    """IPython without a terminal: an error is kept as one line, wherever it was raised."""

    displayhook_class = Type(Hook)
    display_pub_class = Type(Publisher)
    shown: list[Output]
    failures: list[str]

    def showtraceback(self, exc_tuple: Any = None, *_: Any, **__: Any) -> None:
        """Keep an error of a cell, of a representation, or of the figure that is drawn last."""
        kind, error = (exc_tuple or sys.exc_info())[:2]
        said = getattr(error, "msg", error)  # a syntax error's own text names a file of IPython's
        self.failures.append(" ".join(f"{kind.__name__}: {said}".split())[:300])

    def showsyntaxerror(self, *_: Any, **__: Any) -> None:
        """Keep a syntax error."""
        self.showtraceback()

    def run(self, code: str, options: dict[str, Any]) -> tuple[list[Output], str]:
        """Run one cell; what it showed, and its first error or ""."""
        self.shown, self.failures = [], []
        out, err = Printed("stdout", self.shown), Printed("stderr", self.shown)
        with redirect_stdout(out), redirect_stderr(err), _figure_size(options):
            self.run_cell(code, store_history=True)
        if any(said.startswith("KeyboardInterrupt") for said in self.failures):
            raise KeyboardInterrupt
        return self.shown, self.failures[0] if self.failures else ""


@contextmanager
def _figure_size(options: dict[str, Any]) -> Iterator[None]:
    """Draw the figures of a cell in its own size, in inches."""
    if options.keys().isdisjoint(("fig-width", "fig-height")):
        yield
        return
    import matplotlib  # here, as it reads MPLBACKEND

    width, height = matplotlib.rcParams["figure.figsize"]
    size = (options.get("fig-width", width), options.get("fig-height", height))
    with matplotlib.rc_context({"figure.figsize": size}):
        yield


def open_shell(root: Path, settings: dict[str, Any]) -> Shell:
    """A shell in the project's folder, with Quarto's defaults for figures."""
    os.chdir(root)
    sys.path.insert(0, str(root))
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    size = (settings.get("fig-width", 7), settings.get("fig-height", 5))
    config = Config()
    config.HistoryManager.enabled = False
    config.InlineBackend.figure_formats = {settings.get("fig-format", "retina")}
    config.InlineBackend.rc = {"figure.figsize": size, "figure.dpi": 96}
    return Shell.instance(config=config)
