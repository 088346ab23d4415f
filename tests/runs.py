"""Small runs on drawn pictures, as ``SMALL`` asks for them, and what they leave."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from cifar_study import datasets
from cifar_study.results import store
from cifar_study.results.run import Run
from cifar_study.results.status import status
from cifar_study.results.store import Checkpoint
from cifar_study.stages import STAGES, Stage, scale_width
from cifar_study.training import hardware, trainer

CPU = torch.device("cpu")
# Where it is missing, an epoch that takes seconds takes minutes.
BFLOAT16 = hardware.has_bfloat16(CPU) or hardware.emulates_bfloat16(CPU)
needs_bfloat16 = pytest.mark.skipif(not BFLOAT16, reason="no bfloat16 on this processor")
SMALL = ("--data", "synthetic", "--limit", "100", "--width", "0.25")
SMALL += ("--device", "cpu", "--precision", "float32")
ONE_JOB = (*SMALL, "--jobs", "1")
HARDWARE = trainer.Hardware("cpu", "float32", 1)
GOES_ON = "train the stage again: it goes on from its last finished epoch"


@functools.cache
def drawn() -> datasets.Dataset:
    """The drawn set, which takes longer than all else that a command line does."""
    return datasets.synthetic()


def of_epochs(stage: Stage, epochs: int) -> Stage:
    """The stage, trained for so many epochs."""
    return replace(stage, recipe=replace(stage.recipe, epochs=epochs))


def small_run(stage: int, epochs: int, folder: Path, seed: int = 0, width: float = 0.25) -> Run:
    """The run that SMALL trains in a working folder."""
    small = scale_width(of_epochs(STAGES[stage], epochs), width)
    return Run(small, seed, 100, "synthetic", root=folder / "cache" / "trial")


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def untimed(history: pd.DataFrame) -> pd.DataFrame:
    return history.drop(columns="seconds")


def same_result(one: Path, other: Path) -> None:
    """Two folders hold the same complete run bit for bit, but for the seconds that it took."""
    left, right = (store.read_result(folder, whole=True) for folder in (one, other))
    assert left.complete
    assert untimed(left.history).equals(untimed(right.history))

    def untimed_record(record: dict) -> dict:
        sums = {name: sum for name, sum in record["files"].items() if name != store.HISTORY}
        return record | {"files": sums, "sessions": [], "restart": ""}

    assert untimed_record(left.record) == untimed_record(right.record)
    for name in (store.MODEL, store.PREDICTIONS):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    # Nothing half written and no checkpoint is left.
    result = {store.HISTORY, store.PREDICTIONS, store.MODEL, store.RECORD}
    assert set(contents(one)) == set(contents(other)) == result


def finished(run: Run) -> pd.DataFrame:
    """The rows of the finished epochs of a run that was stopped, seconds aside.

    Where it was stopped between the files of an epoch, the status says so.
    """
    found = status(run)
    if found.state == "absent":
        return untimed(pd.DataFrame(columns=store.COLUMNS))
    assert found.state == "partial" or (found.state == "damaged" and GOES_ON in found.text), found
    record = store.read_record(run.folder / store.RECORD)
    rows = untimed(Checkpoint.load(run.folder, record).history)
    if found.result:
        assert untimed(found.result.history).equals(rows)
    return rows


def train_here(
    run: Run, restart: str = "", hardware: trainer.Hardware = HARDWARE
) -> list[trainer.Event]:
    """Train in this process; the news, but for the last, which says whether it was trained."""
    *events, trained = trainer.train(run, drawn(), hardware, restart)
    assert trained == bool(events)
    return events


def epochs_told(events: list[trainer.Event]) -> list[int]:
    """The epochs that the news says are finished."""
    return [event.row["epoch"] for event in events if event.row]


def stopped_after(
    run: Run, epoch: int, restart: str = "", hardware: trainer.Hardware = HARDWARE
) -> None:
    """Train and stop as Ctrl-C does once that epoch is finished."""
    news = trainer.train(run, drawn(), hardware, restart)
    next(event for event in news if event.row and event.row["epoch"] == epoch)
    with pytest.raises(KeyboardInterrupt):
        news.throw(KeyboardInterrupt)
