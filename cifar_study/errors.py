"""The one kind of error that a user can cause, and how a command says it: on one line."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn


class StudyError(Exception):
    """A message of one line that names the file, option or entry, and the remedy."""


def reason(error: BaseException) -> str:
    """Why, in one line: of the operating system without the path, else the error's own text."""
    return getattr(error, "strerror", None) or (str(error) or type(error).__name__).splitlines()[0]


def one_line(text: str) -> str:
    """The text with line breaks and other control characters, as file names have, spelt out."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def missing_package(error: ImportError, make: str = "make train STAGE=1") -> str:
    """What to run where an import failed."""
    return f"{reason(error)}; run: {make} (or: pip install -r requirements.txt)"


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn what is wrong with a file that is read into one line with its remedy."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: can't be read ({reason(error)}); {remedy}") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system says against writing ``path`` into one line."""
    try:
        yield
    except OSError as error:
        raise StudyError(
            f"{path}: can't be written ({reason(error)}); make room, allow writing there or move "
            "away what is in its place, and run the same command again: no finished epoch is lost"
        ) from None


class Parser(argparse.ArgumentParser):
    """Reads options, and says what is wrong with them in one line."""

    def error(self, message: str) -> NoReturn:
        """End the command with status 2."""
        self.exit(2, f"error: {one_line(message)} (--help shows the options)\n")


def run_command(command: Callable[[], int], stopped: str, make: str) -> int:
    """The exit status of a command: its own, 2 an error on one line, 130 stopped, 141 unread.

    ``stopped`` is said after Ctrl-C; ``make`` is the target that installs what is missing.
    """
    try:
        status = command()
        sys.stdout.flush()
        return status
    except StudyError as error:
        text = str(error)
    except ImportError as error:
        text = missing_package(error, make)
    except BrokenPipeError:  # whoever read what was said has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # as for any command that SIGPIPE ends
    except OSError as error:  # of a file that nobody expected to fail
        text = f"{error.filename or 'standard output'}: {reason(error)}; mend that first"
    except KeyboardInterrupt:
        say(f"\n{stopped}")
        return 130
    say(f"error: {one_line(text)}")
    return 2


def say(text: str) -> None:
    """Write a line to standard error, where somebody is still there to read it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
