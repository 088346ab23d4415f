"""Results on disk: where they lie, how they are written whole, how they are read and judged.

A run is one stage trained from one seed. Its folder holds

- ``history.csv``: a row an epoch,
- ``result.json``: what was trained, on what, by what, and how far,
- ``model.safetensors`` and ``probabilities.safetensors``: the network and what
  it says of every test picture,
- ``resume.safetensors``: all that going on needs, ignored by git.

An epoch is finished when ``resume.safetensors`` has been replaced; the other
files are derived from it and written again if a kill came in between. Nothing
is ever unpickled, and nothing here imports torch.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from cifar_study.errors import StudyError
from cifar_study.files import write_whole
from cifar_study.layers import count_layers, count_macs, count_parameters
from cifar_study.runs import ROOT, Run, reported_run
from cifar_study.stages import get_stage

FORMAT = 1


class Epoch(NamedTuple):
    """One row of ``history.csv``: losses in nats, accuracies in [0, 1], wall seconds."""

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """A run as read from its folder: its ``result.json`` and the history that goes with it."""

    folder: Path
    record: Mapping[str, Any]
    history: list[Epoch]

    @property
    def epochs_done(self) -> int:
        """Epochs that are finished."""
        return self.record["epochs_done"]

    @property
    def epochs_planned(self) -> int:
        """Epochs that the run is to have."""
        return self.record["epochs_planned"]

    @property
    def complete(self) -> bool:
        """Whether all planned epochs are finished."""
        return self.epochs_done >= self.epochs_planned

    def probabilities(self) -> np.ndarray:
        """What the network says of every test picture: ``float32`` (N, classes)."""
        path = self.folder / PROBABILITIES
        tensors, _ = read_tensors(path, expect=identity(self.record))
        if set(tensors) != {"probabilities"}:
            raise StudyError(f"{path}: damaged (holds {sorted(tensors)}); {_retrain(self.folder)}")
        return tensors["probabilities"]


HISTORY, RECORD, TIMING = "history.csv", "result.json", "timing.json"
MODEL, PROBABILITIES, RESUME = (
    "model.safetensors",
    "probabilities.safetensors",
    "resume.safetensors",
)


# --- writing: whole or not at all ----------------------------------------------------------


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON that a person can read and compare."""
    write_whole(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write named arrays and ``metadata`` with a checksum over both."""
    tensors = {name: np.ascontiguousarray(array) for name, array in sorted(tensors.items())}
    metadata = metadata | {"sha256": _checksum(tensors, metadata)}
    write_whole(path, _sorted_header(safetensors.numpy.save(tensors, metadata)))


def _sorted_header(content: bytes) -> bytes:
    """The same file with its metadata in order: the library leaves the order to chance."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # arrays start at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _checksum(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def history_csv(history: list[Epoch]) -> str:
    """The text of ``history.csv``; ``repr`` keeps every digit, so reading gives the same floats."""
    lines = [",".join(Epoch._fields)]
    lines += [
        ",".join([str(row.epoch), *map(repr, row[1:5]), f"{row.seconds:.3f}"]) for row in history
    ]
    return "\n".join(lines) + "\n"


def identity(record: Mapping[str, Any]) -> dict[str, str]:
    """What says that a file of tensors belongs to a result."""
    configuration = json.dumps(record["configuration"], sort_keys=True)
    return {
        "stage": str(record["stage"]),
        "seed": str(record["seed"]),
        "configuration": hashlib.sha256(configuration.encode()).hexdigest(),
    }


def publish(
    run: Run,
    configuration: dict[str, Any],
    history: list[Epoch],
    model: Mapping[str, np.ndarray],
    probabilities: np.ndarray,
    facts: dict[str, Any],
) -> None:
    """Write what the report reads: history, network and probabilities, then ``result.json``.

    ``facts`` are the entries of ``result.json`` that only the engine knows:
    ``sessions`` (which machine trained which epochs) and ``data``.
    """
    text = history_csv(history)
    record = {
        "format": FORMAT,
        "stage": run.stage.number,
        "title": run.stage.title,
        "seed": run.seed,
        "configuration": configuration,
        "parameters": count_parameters(run.network),
        "multiply_accumulates": count_macs(run.network),
        "layers": [asdict(layer) for layer in count_layers(run.network)],
        "epochs_done": len(history),
        "epochs_planned": run.planned,
        "median_seconds": round(statistics.median(row.seconds for row in history), 3),
        **facts,
        "history_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    record["record_sha256"] = _seal(record)
    stamp = identity(record) | {"epoch": str(len(history))}
    write_whole(run.folder / HISTORY, text.encode())
    write_tensors(run.folder / MODEL, model, stamp)
    write_tensors(run.folder / PROBABILITIES, {"probabilities": probabilities}, stamp)
    write_json(run.folder / RECORD, record)


def _seal(record: Mapping[str, Any]) -> str:
    """A checksum over a record, so that a damaged or hand-edited number is noticed."""
    rest = {field: value for field, value in record.items() if field != "record_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


# --- reading: the right value or one clear error -------------------------------------------


def _retrain(folder: Path) -> str:
    return f"restore it from git, or delete {folder} and train the stage again"


def read_tensors(
    path: Path, expect: Mapping[str, str] | None = None, remedy: str = ""
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file written by :func:`write_tensors`, checksum verified.

    ``expect`` are metadata entries that must be as given. Whatever is wrong
    with the file is a :class:`StudyError` that names it and the ``remedy``.
    """
    remedy = remedy or _retrain(path.parent)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        whole = metadata.pop("sha256", None) == _checksum(tensors, metadata)
    except FileNotFoundError:
        raise StudyError(f"{path}: missing; {remedy}") from None
    # The reader is Rust code behind several exception types of its own.
    except Exception as error:
        raise StudyError(f"{path}: damaged ({_first_line(error)}); {remedy}") from None
    if not whole:
        raise StudyError(f"{path}: damaged (its checksum differs); {remedy}")
    for field, value in (expect or {}).items():
        if metadata.get(field) != value:
            raise StudyError(f"{path}: belongs to another run ({field} differs); {remedy}")
    return tensors, metadata


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def read_history(path: Path) -> list[Epoch]:
    """The rows of a ``history.csv``, checked: header, epochs in order, every value in its range."""
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except FileNotFoundError:
        raise StudyError(f"{path}: missing; {_retrain(path.parent)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(
            f"{path}: unreadable ({_first_line(error)}); {_retrain(path.parent)}"
        ) from None
    if not rows or tuple(rows[0]) != Epoch._fields:
        raise StudyError(
            f"{path}: line 1 is not the header {','.join(Epoch._fields)}; {_retrain(path.parent)}"
        )
    history = []
    for number, row in enumerate(rows[1:], start=1):
        try:
            entry = Epoch(int(row[0]), *map(float, row[1:]))
            if not text.endswith("\n") or not _plausible(entry, number):
                raise ValueError
        except (ValueError, TypeError, IndexError):
            raise StudyError(
                f"{path}: line {number + 1} is damaged or out of order; {_retrain(path.parent)}"
            ) from None
        history.append(entry)
    return history


def _plausible(row: Epoch, number: int) -> bool:
    return (
        row.epoch == number
        and all(map(math.isfinite, row[1:]))
        and all(0 <= accuracy <= 1 for accuracy in (row.train_accuracy, row.test_accuracy))
        and min(row.train_loss, row.test_loss, row.seconds) >= 0
        and row.seconds == round(row.seconds, 3)
    )


FIELDS: dict[str, type | tuple[type, ...]] = {
    "stage": int,
    "title": str,
    "seed": int,
    "configuration": dict,
    "parameters": int,
    "multiply_accumulates": int,
    "layers": list,
    "epochs_done": int,
    "epochs_planned": int,
    "median_seconds": (int, float),
    "sessions": list,
    "data": dict,
    "history_sha256": str,
    "record_sha256": str,
}


def read_record(path: Path) -> dict[str, Any]:
    """A ``result.json`` with every field present and of its type, and no value changed."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path}: missing; {_retrain(path.parent)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise StudyError(
            f"{path}: unreadable ({_first_line(error)}); {_retrain(path.parent)}"
        ) from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise StudyError(
            f"{path}: not a result of format {FORMAT}, which this version reads; "
            f"{_retrain(path.parent)}"
        )
    for field, kind in FIELDS.items():
        value = record.get(field)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise StudyError(
                f"{path}: field {field!r} is missing or damaged; {_retrain(path.parent)}"
            )
    # A name that got damaged is no field at all.
    unknown = set(record) - {"format", *FIELDS}
    if unknown or record["record_sha256"] != _seal(record):
        raise StudyError(
            f"{path}: a value or a name was changed after it was written; {_retrain(path.parent)}"
        )
    return record


def read_result(folder: Path) -> Result | None:
    """The result in ``folder``, None where there is none; half of one is a :class:`StudyError`."""
    if not (folder / RECORD).exists() and (
        not (folder / HISTORY).exists()
        # The first epoch is being written, or was cut off before its record.
        or len(read_history(folder / HISTORY)) == 1
    ):
        return None
    record = read_record(folder / RECORD)
    if folder.name != f"seed-{record['seed']}" or folder.parent.name != f"stage-{record['stage']}":
        raise StudyError(
            f"{folder / RECORD}: is of stage {record['stage']}, seed {record['seed']} "
            f"and does not belong here; {_retrain(folder)}"
        )
    history = read_history(folder / HISTORY)
    # A run in progress, or cut off, may have written its next row already.
    done = record["epochs_done"]
    shown = history_csv(history[:done])
    if (
        done < 1
        or len(history) not in (done, done + 1)
        or hashlib.sha256(shown.encode()).hexdigest() != record["history_sha256"]
    ):
        raise StudyError(
            f"{folder / HISTORY}: is not the history that {RECORD} was written with "
            f"({len(history)} rows for {done} epochs, or a changed value); {_retrain(folder)}"
        )
    return Result(folder, record, history[:done])


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
        else:
            yield f"{prefix} {old} → {new}"


def stale(run: Run, result: Result, fingerprint: str | None = None) -> str:
    """Why ``result`` is not what ``run`` would give now; empty where it is.

    Without a ``fingerprint`` the data set is taken as the one recorded.
    """
    recorded = result.record["configuration"]
    wanted = run.configuration(fingerprint or recorded.get("fingerprint", ""))
    return "; ".join(differences(recorded, wanted))


@dataclass(frozen=True)
class Status:
    """Where a run stands: ``state`` is complete, partial, absent, stale or damaged."""

    run: Run
    state: str
    text: str
    result: Result | None = None


def status(run: Run, fingerprint: str | None = None) -> Status:
    """Judge a run by its folder alone; damage is reported, not raised."""
    try:
        result = read_result(run.folder)
        if result:
            read_tensors(run.folder / MODEL, identity(result.record))
            result.probabilities()
    except StudyError as error:
        return Status(run, "damaged", str(error))
    if result is None:
        return Status(run, "absent", "absent")
    if reason := stale(run, result, fingerprint):
        return Status(run, "stale", f"stale: {reason}", result)
    if result.complete:
        return Status(run, "complete", "complete", result)
    return Status(run, "partial", f"at {result.epochs_done}/{result.epochs_planned}", result)


def seeds(run: Run) -> list[int]:
    """The seeds that the stage of ``run`` has a folder for, in order; ``[0]`` where it has none."""
    found = (path.name.removeprefix("seed-") for path in run.folder.parent.glob("seed-*"))
    return sorted(int(seed) for seed in found if seed.isdecimal()) or [0]


def reported(number: int, seed: int = 0, root: Path = ROOT) -> Status:
    """The status of a stage's run in the study, or in the trial that is reported on."""
    return status(reported_run(get_stage(number), seed, root))


def read_timing(root: Path = ROOT) -> dict[str, Any] | None:
    """What ``--timing`` measured, or None where it did not yet; damage is a :class:`StudyError`."""
    path = root / TIMING
    if not path.exists():
        return None
    remedy = "measure again with: python -m cifar_study.train --timing"
    try:
        timing = json.loads(path.read_text(encoding="utf-8"))
        whole = timing["format"] == FORMAT and isinstance(timing["machine"]["processor"], str)
        for entry in timing["stages"].values():
            whole = whole and 0 < entry["least"] <= entry["seconds"] <= entry["most"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{path}: damaged ({_first_line(error)}); {remedy}") from None
    if not whole:
        raise StudyError(f"{path}: damaged (a value is out of its range); {remedy}")
    return timing
