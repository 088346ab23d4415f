"""Where a run stands: complete, under way, or of something that is not wanted any more, and why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cifar_study.errors import StudyError
from cifar_study.results.run import Run, recorded_run
from cifar_study.results.store import RECORD, Result, read_record, read_result


def differences(old: Any, new: Any, prefix: str = "") -> Iterator[str]:
    """The fields in which two configurations differ, as ``recipe.momentum 0.9 → 0.8``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            name = f"{prefix}.{key}" if prefix else key
            yield from differences(old.get(key), new.get(key), name)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{prefix}[{index}]")
    elif old != new:
        if prefix == "fingerprint":
            yield "data (another fingerprint)"
        elif prefix == "arithmetic":
            yield "computed by an earlier engine"
        else:
            yield f"{prefix} {old} → {new}"


def stale(run: Run, record: Mapping[str, Any], precision: str = "", fingerprint: str = "") -> str:
    """Why a record is not of what ``run`` would give now; empty where it is.

    Without a ``precision`` or ``fingerprint`` those are taken as recorded.
    """
    recorded = record["configuration"]
    wanted = run.configuration(
        fingerprint or recorded["fingerprint"], precision or recorded["precision"]
    )
    return "; ".join(differences(recorded, wanted))


def refuse_stale(
    run: Run, record: Mapping[str, Any], precision: str = "auto", fingerprint: str = ""
) -> None:
    """Raise a :class:`StudyError` where a record is not of what ``run`` would give now."""
    if reason := stale(run, record, precision if precision != "auto" else "", fingerprint):
        raise StudyError(
            f"{run.folder}: stale: {reason}; --restart trains it anew, another --cache keeps it"
        )


@dataclass(frozen=True)
class Status:
    """Where a run stands: ``state`` is complete, partial, absent, stale or damaged."""

    run: Run
    state: str
    text: str
    result: Result | None = None


def status(run: Run) -> Status:
    """Judge a run by its folder alone; damage is reported, not raised."""
    try:
        result = read_result(run.folder, whole=True)
    except StudyError as error:
        return Status(run, "damaged", str(error))
    if result is None:
        return Status(run, "absent", "absent")
    if reason := stale(run, result.record):
        return Status(run, "stale", f"stale: {reason}", result)
    if result.complete:
        return Status(run, "complete", "complete", result)
    return Status(run, "partial", f"at {result.epochs_done}/{run.planned}", result)


def seeds(run: Run) -> list[int]:
    """The seeds that the stage of ``run`` has a folder for, in order; ``[0]`` where it has none."""
    found = (path.name.removeprefix("seed-") for path in run.folder.parent.glob("seed-*"))
    return sorted(int(seed) for seed in found if seed.isdecimal()) or [0]


def as_recorded(run: Run) -> Run:
    """The run as its own record describes it; as it is where no record can be read."""
    try:
        recorded = recorded_run(read_record(run.folder / RECORD), run.root)
    except (StudyError, KeyError, TypeError, ValueError):  # whoever reads the run says so
        return run
    return recorded if recorded.folder == run.folder else run  # likewise, of a misplaced one
