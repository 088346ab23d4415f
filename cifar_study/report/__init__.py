"""What chapters and notebooks call: tables, charts and numbers made from the results.

``report.results()`` and ``report.histories()`` are tidy pandas frames. Nothing
here needs torch, the pictures or the half that trains.
"""

from cifar_study.report.frames import histories, results

__all__ = ["histories", "results"]
