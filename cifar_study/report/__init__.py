"""What chapters and notebooks call: tables, charts and numbers made from the results.

``report.results()`` and ``report.histories()`` are tidy pandas frames. Nothing
here needs torch, the pictures or the half that trains.
"""

import os
import sys

try:
    import matplotlib  # noqa: F401
except ValueError:  # of a backend in MPLBACKEND that it does not know; charts need none
    os.environ.pop("MPLBACKEND", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        del sys.modules[name]  # half of it is there

from cifar_study.report.frames import histories, results

__all__ = ["histories", "results"]
