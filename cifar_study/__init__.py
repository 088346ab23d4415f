"""A convolutional network for CIFAR-10, grown step by step: training, results and figures."""

import sys

# Said before anything is read that older ones don't understand.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.stderr.write(
        "error: needs Python 3.11 or newer, and this is {}.{}; run: make report PYTHON=python3.11 "
        "(or a newer one)\n".format(*sys.version_info[:2])
    )
    raise SystemExit(2)
