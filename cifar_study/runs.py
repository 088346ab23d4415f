"""Runs on disk: a stage trained from a seed, in a folder of its own.

An epoch writes these files in this order, each replaced whole:

- ``checkpoint-N.safetensors``: network and momentum after epoch N; git ignores it,
- ``predictions.safetensors``: what the network says of every test picture, and the labels,
- ``model.safetensors``: the network; git keeps that of seed 0,
- ``history.csv``: a row an epoch,
- ``result.json``: what was trained, how far, and the SHA-256 of the binary files.

``result.json`` is what finishes an epoch: whatever a kill left of a later one is not looked at.
``seed-N.lock`` and, during a restart, ``seed-N.before`` lie beside the folder. A complete run has
``measured.json`` as well: what the report shows of its network, with the SHA-256 of the model.

This module reads; :mod:`cifar_study.checkpoints` writes.
"""

import hashlib
import json
import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.numpy

from cifar_study.errors import StudyError, reading
from cifar_study.stages import Network, Recipe, ResNet, Stage, get_stage, scale_width

PROJECT = Path(__file__).resolve().parents[1]
VARIABLE = "CIFAR_STUDY_CACHE"
SIDE_BY_SIDE = "CIFAR_STUDY_SIDE_BY_SIDE"  # how many runs share the machine, if several do
CACHE = Path("cache")  # of the study itself, seen from the project
FORMAT = 2  # of result.json
KEYS = {"epochs_done", "configuration", "files"}  # that it has to have
ARITHMETIC = 2  # raised when the engine computes something else from the same stage and seed
HISTORY, RECORD = "history.csv", "result.json"
MODEL, PREDICTIONS, MEASURED = "model.safetensors", "predictions.safetensors", "measured.json"
FIGURES = [f"{of}_{what}" for of in ("running", "train", "test") for what in ("loss", "accuracy")]
COLUMNS = ["epoch", *FIGURES, "seconds"]
OPTIONS = {"number": "stage", "root": "cache"}  # fields of a run that are options of another name
RESTORE = "restore it from git, or move the folder away and train the run again"


def cache() -> Path:
    """The folder of results, of every command and of the report."""
    return in_project(Path(setting(VARIABLE) or CACHE).expanduser())


def setting(name: str) -> str:
    """A variable of the environment, else of ``_environment.local``, as for Quarto; or empty."""
    path = PROJECT / "_environment.local"
    if name not in os.environ and path.exists():
        line = rf"^\s*(?:export\s+)?{name}\s*=[ \t]*[\"']?([^\"'#\r\n]*)"
        with reading(path, "save it as UTF-8"):
            values = re.findall(line, path.read_text("utf-8-sig"), re.MULTILINE)
        return values[-1].strip() if values else ""
    return os.environ.get(name, "")


def in_project(name: str | Path) -> Path:
    """A path of the project, short where the project is the working folder."""
    return Path(name) if Path.cwd() == PROJECT else PROJECT / name


@dataclass(frozen=True)
class Configuration:
    """All that decides what comes out of a run, the hardware aside; its record keeps it."""

    network: Network | ResNet
    recipe: Recipe
    seed: int
    precision: str
    fingerprint: str
    arithmetic: int
    limit: int | None = None
    data: str = "cifar10"


@dataclass(frozen=True)
class Run:
    """A stage and a seed, and what makes it a trial: other epochs, pictures, filters or data.

    Without a ``precision`` the machine of the first epoch chooses.
    """

    number: int
    seed: int = 0
    precision: str | None = None
    epochs: int | None = None
    limit: int | None = None
    width: float = 1
    data: str = "cifar10"
    root: Path = field(default=CACHE, kw_only=True)

    def __str__(self) -> str:
        return f"stage {self.number}, seed {self.seed}"

    @cached_property
    def stage(self) -> Stage:
        """The registered stage with this run's width and number of epochs."""
        stage = scale_width(get_stage(self.number), self.width)
        recipe = replace(stage.recipe, epochs=self.epochs or stage.recipe.epochs)
        return replace(stage, recipe=recipe)

    @property
    def planned(self) -> int:
        return self.stage.recipe.epochs

    @property
    def trial(self) -> bool:
        return (self.stage, self.limit, self.data) != (get_stage(self.number), None, "cifar10")

    @property
    def folder(self) -> Path:
        return self.root / f"stage-{self.number}" / f"seed-{self.seed}"

    @property
    def before(self) -> Path:
        """Where its earlier files lie while a restart has no epoch yet."""
        return self.folder.with_name(f"{self.folder.name}.before")

    def words(self) -> list[str]:
        given = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
        words = ((f"--{OPTIONS.get(name, name)}", str(getattr(self, name))) for name in given)
        return [word for pair in words for word in pair]

    def command(self, *more: str) -> str:
        return shlex.join(["python", "-m", "cifar_study.train", *self.words(), *more])

    def configuration(self, precision: str, fingerprint: str) -> Configuration:
        """What its record is to say, given the precision and the data's fingerprint."""
        stage, more = self.stage, (precision, fingerprint, ARITHMETIC, self.limit, self.data)
        return Configuration(stage.network, stage.recipe, self.seed, *more)

    def stale(self, record: Mapping[str, Any], fingerprint: str = "") -> str:
        """Why a record is not of this run as it is now; empty where it is."""
        recorded = record["configuration"]
        about = self.precision or recorded["precision"], fingerprint or recorded["fingerprint"]
        return "; ".join(_differences(self.configuration(*about), recorded))


def _differences(wanted: Any, recorded: Any, name: str = "") -> Iterator[str]:
    """What differs, as ``recipe.momentum 0.8 → 0.9``; a field not recorded has its default."""
    if is_dataclass(wanted) and isinstance(recorded, dict):
        defaults = {each.name: each.default for each in fields(wanted)}
        for key in {**defaults, **recorded}:
            value = recorded.get(key, defaults.get(key))
            now = getattr(wanted, key, MISSING)
            yield from _differences(now, value, f"{name}.{key}".removeprefix("."))
    elif (
        isinstance(wanted, tuple | list)
        and isinstance(recorded, list)
        and len(wanted) == len(recorded)
    ):
        for index, (now, value) in enumerate(zip(wanted, recorded, strict=True)):
            yield from _differences(now, value, f"{name}.{index}")
    elif wanted != recorded and name != "recipe.epochs":  # a run may be trained for longer
        old, new = ("nothing" if each is MISSING else each for each in (recorded, wanted))
        yield f"{name} {old!s:.30} → {new!s:.30}" + " (rename its folder)" * (name == "seed")


@dataclass(frozen=True)
class Result:
    """A run as its folder has it; arrays are read when they are asked for."""

    run: Run
    record: Mapping[str, Any]
    history: pd.DataFrame

    @property
    def epochs_done(self) -> int:
        return self.record["epochs_done"]

    @property
    def complete(self) -> bool:
        return self.state == "complete"

    @property
    def state(self) -> str:
        """``complete``, ``at 3/15``, or ``stale: …`` with the reason."""
        if why := self.run.stale(self.record):
            return f"stale: {why}"
        done, planned = self.epochs_done, self.run.planned
        return "complete" if done >= planned else f"at {done}/{planned}"

    def model(self) -> dict[str, np.ndarray]:
        return load_tensors(self.run.folder, MODEL, f"git keeps that of seed 0 alone; {RESTORE}")

    def measured(self) -> dict[str, Any]:
        """What was measured of the network, by name; empty where it was not, or of another one."""
        path = self.run.folder / MEASURED
        if not path.exists():
            return {}
        with reading(path, f"measure it again with: {self.run.command('--measure')}"):
            measured = json.loads(path.read_bytes())
        current = measured["of"] == self.record["files"].get(MODEL)
        return measured["values"] if current else {}

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities ``float32`` (N, classes) and labels (N,) of the test pictures."""
        tensors = load_tensors(self.run.folder, PREDICTIONS)
        return tensors["probabilities"].astype(np.float32), tensors["labels"].astype(int)


def read(run: Run) -> Result | None:
    """What there is of a run, None before its first epoch; what can't be read is a StudyError."""
    if (record := read_record(run.folder)) is None:
        return None
    path, done = run.folder / HISTORY, record["epochs_done"]
    with reading(path, RESTORE):
        history = pd.read_csv(path, usecols=COLUMNS, dtype=dict.fromkeys(FIGURES, float))[:done]
        if [*history.epoch] != [*range(1, done + 1)]:
            raise ValueError(f"its epochs are not those from 1 to {done}")
    return Result(run, record, history)


def unmeasured(run: Run) -> bool:
    """Whether the complete run of a stage's first seed lacks what the report shows of it."""
    seeds = [other.seed for other in runs_in(run.root) if other.number == run.number]
    if not run.stage.measures or run.seed != min(seeds, default=-1):
        return False
    result = read(run)
    return result.complete and bool(set(run.stage.measures) - set(result.measured()))


def read_record(folder: Path) -> dict[str, Any] | None:
    """The ``result.json`` of a folder, None where there is none."""
    path = folder / RECORD
    with reading(path, RESTORE):
        if not path.exists():
            return None
        record = json.loads(path.read_bytes())
        if not isinstance(record, dict) or record.get("format") != FORMAT or KEYS - {*record}:
            raise ValueError(f"not a result of format {FORMAT}")
    return record


def runs_in(root: Path = CACHE) -> list[Run]:
    """Every run that has a record in ``root``, trials as they were asked for, in order."""
    found = []
    for folder in root.glob("stage-*/seed-*"):
        match = re.fullmatch("stage-([0-9]+)/seed-(0|[1-9][0-9]*)", "/".join(folder.parts[-2:]))
        if match and (folder / RECORD).exists():
            run = Run(int(match[1]), int(match[2]), root=root)
            with suppress(StudyError):  # whoever reads the run says so
                run = replace(run, **read_record(folder).get("trial", {}))
            found.append(run)
    return sorted(found, key=lambda run: (run.number, run.seed))


def load_tensors(folder: Path, name: str, remedy: str = RESTORE) -> dict[str, np.ndarray]:
    """The arrays of a binary file that has the SHA-256 which the record names."""
    with reading(folder / name, remedy):
        for _ in range(4):
            record = read_record(folder) or {"files": {}}
            content = (folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() == record["files"].get(name):
                return safetensors.numpy.load(content)
            time.sleep(0.1)  # a run in training may be between this file and its record
        raise ValueError(f"not the file that {RECORD} names")
