"""How fast the engine is, beside two peers and the floor that the arithmetic sets."""

import sys
from importlib.util import find_spec

import cifar_study  # noqa: F401  where Python is too old, it says so

# Said here, as the commands import it at their top; Keras has an environment without torch.
if find_spec("torch") is None and find_spec("keras") is None:
    sys.stderr.write(
        "error: the package torch is not installed; run: make bench "
        "(or: pip install -r requirements.txt)\n"
    )
    raise SystemExit(2)
