"""Command line: ``python -m plain [--project DIR] [--output PATH]``."""

import sys
from pathlib import Path

if not __package__:
    sys.stderr.write("error: run it in the project's folder as: python -m plain\n")
    raise SystemExit(2)

from cifar_study.errors import Parser, run_command, say


def main(arguments: list[str] | None = None) -> int:
    """Build the page; return 0, or 2 after one line that says what to mend."""
    return run_command(lambda: _build(arguments), "stopped; nothing was written", "make plain")


def _build(arguments: list[str] | None) -> int:
    parser = Parser(
        prog="python -m plain",
        description="Build the book as one self-contained HTML page, without Quarto.",
    )
    parser.add_argument(
        "--project",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder that holds _quarto.yml (default: this one)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="the page to write (default: DIR/report.html)",
    )
    options = parser.parse_args(arguments)
    output = options.output or options.project / "report.html"
    from .build import build  # here, as it needs packages that may be missing

    if build(options.project, output):
        say(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    else:
        say(f"{output} is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
