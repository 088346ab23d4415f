"""Command line: ``python -m plain [--project DIR] [--output PATH]``."""

import sys
from pathlib import Path

from cifar_study.errors import Parser, StudyError, missing_package


def main(arguments: list[str] | None = None) -> int:
    """Build the page; return 0, or 2 after one line that says what to mend."""
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
        help="the page to write (default: DIR/_book/index.html)",
    )
    options = parser.parse_args(arguments)
    output = options.output or options.project / "_book" / "index.html"
    try:
        from .build import build  # here, as it needs packages that may be missing

        build(options.project, output)
        size = output.stat().st_size
    except ImportError as error:
        said = missing_package(error, "make plain")
    except StudyError as error:
        said = str(error)
    except (OSError, ValueError) as error:  # of a path that can't be looked at, or be one
        said = f"{getattr(error, 'filename', None) or output}: {error}"
    except KeyboardInterrupt:
        print("plain: stopped; nothing was written", file=sys.stderr)
        return 130
    else:
        print(f"plain: wrote {output} ({size / 1e6:.1f} MB)", file=sys.stderr)
        return 0
    print(f"plain: {said}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
