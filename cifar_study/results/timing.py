"""Times of one sitting, in ``timing.json``: all of one machine, so that stages compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cifar_study.atomic import present, read_json, write_json
from cifar_study.errors import StudyError
from cifar_study.stages import STAGES

TIMING = "timing.json"


def read_timing(root: Path) -> dict[str, Any] | None:
    """What was measured, or None where nothing was yet; damage is a :class:`StudyError`."""
    if not present(root / TIMING):
        return None
    return read_json(root / TIMING, "measure again with: python -m cifar_study.train --timing")


def save_timing(measured: dict[str, Any], root: Path) -> None:
    """Write what was measured; other stages' times of the same machine stay.

    A file with times of another machine, or a damaged one, is replaced where every
    stage was measured anew, else left alone with a :class:`StudyError`.
    """
    stages = measured["stages"]
    if not set(map(str, STAGES)) <= set(stages):
        before = read_timing(root) or measured
        if before["machine"] != measured["machine"]:
            raise StudyError(
                f"{root / TIMING}: holds times of another machine or setting; measure all stages "
                "here: python -m cifar_study.train --timing"
            )
        stages = dict(sorted((before["stages"] | stages).items(), key=lambda item: int(item[0])))
    write_json(root / TIMING, measured | {"stages": stages})
