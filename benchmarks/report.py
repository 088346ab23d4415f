"""The tables of ratios and of growth, from ``cache/speed.json``; no torch.

``python -m benchmarks.report`` writes them into ``benchmarks/README.md`` anew.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

from cifar_study.errors import StudyError
from cifar_study.facts import ABSENT
from cifar_study.files import write_whole
from cifar_study.speed import (
    RESULTS,
    against,
    in_order,
    markdown,
    ratios,
    read_results,
    written,
)
from cifar_study.stages import STAGES

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
HEADINGS = {
    "plain": "plain loop",
    "plain-jobs": "plain loop, side by side",
    "keras": "Keras",
    "keras-jobs": "Keras, side by side",
    "engine": "engine alone",
    "engine-jobs": "engine, side by side",
    "convolutions": "convolutions alone",
    "floor": "floor",
}


def section(results: dict[str, Any]) -> str:
    """All that was measured, as Markdown."""
    parts = [_machine(results)]
    if stages := results.get("stages"):
        parts += [_how(stages), ratios(stages), _seconds(stages), _whole_study(stages)]
    if scaling := results.get("scaling"):
        parts += [_growth_by_stage(scaling), _growth_by_size(scaling)]
    return "\n\n".join(part for part in parts if part)


def _seconds(stages: dict[str, Any]) -> str:
    names = [
        name for name in HEADINGS if any(name in entry["seconds"] for entry in stages.values())
    ]
    rows = []
    for number, entry in in_order(stages):
        times = entry["seconds"]
        rows.append([str(number), *(_median(times.get(name)) for name in names)])
    title = "Elapsed seconds for each finished epoch, medians with least and most:\n\n"
    return title + markdown(["stage", *(HEADINGS[name] for name in names)], rows)


def _median(values: list[float] | None) -> str:
    if not values:
        return ABSENT
    return written((statistics.median(values), min(values), max(values)), 1)


def _whole_study(stages: dict[str, Any]) -> str:
    """Hours of all planned epochs side by side, or nothing while a stage is missing."""
    total = 0.0
    for number, stage in STAGES.items():
        entry = stages.get(str(number)) or (stages.get("4") if number == 3 else None)
        if not entry or not (times := entry["seconds"].get("engine-jobs")):
            return ""
        total += stage.recipe.epochs * statistics.median(times)
    same = "" if "3" in stages else " (stage 3 taken to cost what stage 4 does)"
    return f"The whole study, every planned epoch side by side: {total / 3600:.1f} hours{same}."


def _how(stages: dict[str, Any]) -> str:
    def said(key: str) -> str:
        values = sorted({entry[key] for entry in stages.values()})
        return " or ".join(f"{value:,}" if isinstance(value, int) else value for value in values)

    days = sorted(entry["measured"][:10] for entry in stages.values())
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    loads = [entry["load_before"] for entry in stages.values() if entry["load_before"] is not None]
    busy = f" Load of the machine when a stage began: at most {max(loads):.1f}." if loads else ""
    return (
        f"Measured {when} on {said('data')}: parts of an epoch of {said('images')} training "
        f"pictures, {said('repeats')} repeats, {said('jobs')} processes where side by side.{busy}"
    )


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    used = [f"Python {machine['python']}", f"torch {machine['torch']}"]
    versions = {
        f"{name} {version}"
        for entry in results.get("stages", {}).values()
        for name, version in entry["versions"].items()
    }
    used += sorted(versions)
    return f"{machine['processor']}; engine in {machine['precision']}; {', '.join(used)}."


def _growth_by_stage(scaling: dict[str, Any]) -> str:
    rows = []
    for number, entry in in_order(scaling["stages"]):
        alone, jobs = entry.get("engine"), entry.get("engine-jobs")
        rows.append(
            [
                str(number),
                f"{entry['macs'] / 1e6:.2f}",
                _median(alone),
                _median(jobs),
                against(alone, jobs),
            ]
        )
    head = ["stage", "million multiply-accumulates", "seconds an epoch alone", "side by side"]
    title = f"How the cost grows with the network, and {scaling['jobs']} jobs against one:\n\n"
    return title + markdown([*head, "gain"], rows)


def _growth_by_size(scaling: dict[str, Any]) -> str:
    stages = in_order(scaling.get("sizes", {}))
    if not stages:
        return ""
    sizes = sorted({int(size) for _, entry in stages for size in entry})
    rows = [
        [f"{size:,}", *(_written_size(entry.get(str(size))) for _, entry in stages)]
        for size in sizes
    ]
    title = "How the cost grows with the pictures trained on (and a fifth as many to test):\n\n"
    return title + markdown(["pictures", *(f"stage {number}, s" for number, _ in stages)], rows)


def _written_size(values: list[float] | None) -> str:
    return written((statistics.median(values), min(values), max(values)), 2) if values else ABSENT


def fill(text: str, content: str) -> str:
    """``text`` with ``content`` between the two markers in place of what was there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise StudyError(f"no place for the tables; put the lines {BEGIN} and {END} back")
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def fill_readme(path: Path, results: dict[str, Any]) -> None:
    """Write the tables into the README beside the results; where there is none, do nothing."""
    if not path.exists():
        return
    try:
        text = fill(path.read_text(encoding="utf-8"), section(results))
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None
    write_whole(path, text.encode())


def main() -> int:
    """Fill the README from the results; the exit status: 0 done, 2 an error named on one line."""
    try:
        fill_readme(FOLDER / "README.md", read_results(FOLDER.parent / RESULTS))
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
