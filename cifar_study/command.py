"""What the commands of the project share: options, errors on one line, streams and Ctrl-C."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, NoReturn

from cifar_study.errors import StudyError, missing_package, one_line


class Parser(argparse.ArgumentParser):
    """Reads options, and says what is wrong with them in one line."""

    def error(self, message: str) -> NoReturn:
        """End the command with status 2."""
        self.exit(2, f"error: {one_line(message)} (--help shows the options)\n")


def run_command(command: Callable[[], int], stopped: str, make: str) -> int:
    """Run a command; the exit status: its own, 2 an error on one line, 130 stopped, 141 unread.

    ``stopped`` is said after Ctrl-C, ``make`` is the target that installs what is missing.
    """
    try:
        with _streams():
            return command()
    except StudyError as error:
        said = str(error)
    except ImportError as error:
        said = missing_package(error, make)
    except BrokenPipeError:  # whoever read what was said has enough, as `head` has
        _silence(sys.stdout)
        _silence(sys.stderr)
        return 128 + 13  # as for any command that SIGPIPE ends
    except OSError as error:  # of a file that nobody expected to fail
        said = f"{error.filename or 'input or output'}: {error.strerror or error}; mend that first"
    except KeyboardInterrupt:
        say(f"\n{stopped}")
        return 130
    say(f"error: {one_line(said)}")
    return 2


@contextmanager
def _streams() -> Iterator[None]:
    """Write what the terminal's encoding lacks as "?", and all that was said before the end."""
    if sys.stderr is None:  # closed by whoever started this
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        if sys.stdout is not None:
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                _silence(sys.stdout)
                raise StudyError(
                    f"standard output: {error.strerror}; make room or write elsewhere"
                ) from None


def say(text: str) -> None:
    """Write a line to standard error, for as long as somebody is there to be told."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # a closed terminal, a full disk
        _silence(sys.stderr)


def _silence(stream: IO[str] | None) -> None:
    """Let what is still in a stream's buffer go nowhere, or Python complains as it ends."""
    with suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
