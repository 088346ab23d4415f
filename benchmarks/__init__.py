"""How long an epoch takes, and how this loop compares with two others."""

import sys
from importlib.util import find_spec

import cifar_study  # noqa: F401  where Python is too old, it says so

# Said here, as the commands import it at their top; Keras has an environment without torch.
if find_spec("torch") is None and find_spec("keras") is None:
    remedy = "make bench (or: pip install -r requirements.txt)"
    sys.stderr.write(f"error: the package torch is not installed; run: {remedy}\n")
    raise SystemExit(2)
