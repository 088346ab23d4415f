"""What ``benchmarks/`` measured: seconds of an epoch, in one sitting and one file a processor."""

import re
from pathlib import Path
from typing import Any

from cifar_study.atomic import read_json
from cifar_study.errors import StudyError

FORMAT = 1
REMEDY = "restore it from git, or delete it and measure again with: make bench"


def speed_file(root: Path, processor: str) -> Path:
    """The file of a processor: ``speed-amd-epyc.json`` for "AMD EPYC, 2 cores"."""
    name = processor.partition(",")[0].lower().replace("(r)", "")
    return root / f"speed-{re.sub('[^a-z0-9]+', '-', name).strip('-')}.json"


def read_speed(path: Path, remedy: str = REMEDY) -> dict[str, Any]:
    """What was measured on one processor; anything else is a :class:`StudyError`."""
    results = read_json(path, remedy)
    if results.get("format") != FORMAT:
        raise StudyError(f"{path}: not a result of format {FORMAT}; {remedy}")
    return results


def read_speeds(root: Path) -> list[dict[str, Any]]:
    """What was measured on every processor, in the order of their names."""
    return [read_speed(path) for path in sorted(root.glob("speed-*.json"))]
