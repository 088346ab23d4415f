"""The plain edition: the book as one HTML page, built without Quarto."""

import sys

# Said before anything is read that older ones don't understand.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.stderr.write(
        "plain: needs Python 3.11 or newer, and this is {}.{}; run: make plain PYTHON=python3.11 "
        "(or a newer one)\n".format(*sys.version_info[:2])
    )
    raise SystemExit(2)


class PlainError(Exception):
    """Something in the book's sources stops the build; the message names it and the remedy."""
