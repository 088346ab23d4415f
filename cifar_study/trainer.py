"""One run from its last finished epoch to its last: the engine and the cache meet here."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
import pandas as pd

from cifar_study import cache
from cifar_study.cache import Checkpoint
from cifar_study.data import Dataset
from cifar_study.errors import StudyError
from cifar_study.files import present, sweep, writing
from cifar_study.runs import Run

if TYPE_CHECKING:
    from cifar_study.engine import Engine


@dataclass(frozen=True)
class Hardware:
    """What a run is trained on: names as on the command line; ``threads`` for the CPU.

    ``side_by_side`` runs share it at a time, which the times of epochs depend on.
    """

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    side_by_side: int = 1


@dataclass(frozen=True)
class Event:
    """News from a run: ``epochs`` done (with a fraction), and figures so far, for a bar.

    ``row`` is a finished epoch's row of the history, by column.
    """

    epochs: float
    loss: float = math.nan
    accuracy: float = math.nan
    row: dict[str, float] | None = None


def train(
    run: Run,
    data: Dataset,
    hardware: Hardware,
    tell: Callable[[Event], None],
    restart: bool = False,
    patience: float = 0,
) -> bool:
    """Train ``run`` to its planned epochs; False where it already was complete.

    Each finished epoch is on the disk before the next begins. Raises
    :class:`StudyError` for a result that is stale, damaged or held by another
    process for more than ``patience`` seconds, for a precision that the
    processor does not have, for a loss that is not a number, and for a disk
    that can't be written.
    """
    with _hold(run, patience):
        record = None if restart else _record(run, data, hardware.precision)
        if record and record["epochs_done"] >= run.planned:
            cache.read_result(run.folder, whole=True)  # damage is said, not passed over
            cache.drop_checkpoints(run.folder, keep=record["files"])  # left by a kill at the end
            return False
        _train(run, data, hardware, tell, record, restart)
    return True


def _record(run: Run, data: Dataset, precision: str) -> dict[str, Any] | None:
    """What an earlier process recorded of this run, or None where it left nothing."""
    path = run.folder / cache.RECORD
    if not present(path):
        cache.read_result(run.folder)  # raises where other files are there
        return None
    record = cache.read_record(path)
    if reason := cache.stale(
        run, record, data.fingerprint, precision if precision != "auto" else ""
    ):
        raise StudyError(
            f"{run.folder}: stale: {reason}; train it anew with: {run.command('--restart')}"
        )
    return record


def _train(
    run: Run,
    data: Dataset,
    hardware: Hardware,
    tell: Callable[[Event], None],
    record: dict[str, Any] | None,
    restart: bool,
) -> None:
    # Here, as it takes seconds: a run that is complete never needs it.
    from cifar_study.engine import Engine, choose_device, choose_precision, set_up_process

    device = choose_device(hardware.device)
    set_up_process(device, hardware.threads)
    chosen = record["configuration"]["precision"] if record else hardware.precision
    precision = choose_precision(chosen, device)
    engine = Engine(
        run.network,
        run.stage.recipe,
        data,
        seed=run.seed,
        limit=run.limit,
        device=device,
        precision=precision,
    )
    checkpoint = Checkpoint.load(run.folder, record) if record else None
    history = pd.DataFrame(columns=cache.COLUMNS)
    sessions: list[dict[str, Any]] = []
    if checkpoint:
        history, sessions = checkpoint.history, checkpoint.sessions
        try:
            engine.load_state(checkpoint.model, checkpoint.momentum)
        except ValueError as error:
            raise StudyError(
                f"{run.folder}: does not fit the network ({error}); train the stage anew with: "
                f"{run.command('--restart')}"
            ) from None
    description = engine.description() | {"side_by_side": hardware.side_by_side}
    configuration = run.configuration(data.fingerprint, description["precision"])
    sessions = _with_session(sessions, len(history) + 1, description)
    for epoch in range(len(history) + 1, run.planned + 1):
        row, probabilities = _epoch(engine, epoch, tell)
        if not np.isfinite(list(row.values())).all():
            kept = f"epochs 1 to {epoch - 1} are kept" if epoch > 1 else "nothing was written"
            raise StudyError(
                f"{run.name}: the loss of epoch {epoch} is not a number; {kept}; "
                "lower the learning rate or look at the data"
            )
        added = pd.DataFrame([row], columns=cache.COLUMNS)
        history = pd.concat([history, added], ignore_index=True) if len(history) else added
        if restart and epoch == 1:  # not before there is something to take its place
            _clear(run)
        Checkpoint(
            history,
            engine.model_state(),
            engine.momentum_state(),
            probabilities,
            data.test_labels,
            sessions,
        ).save(run, configuration, _description_of(data))
        tell(Event(epoch, row["running_loss"], row["running_accuracy"], row))


def _epoch(
    engine: Engine, epoch: int, tell: Callable[[Event], None]
) -> tuple[dict[str, float], np.ndarray]:
    """Train for an epoch and evaluate: the history's row, and the test probabilities."""
    start = time.perf_counter()
    running_loss, running_accuracy = engine.train_epoch(
        epoch, lambda share, loss, accuracy: tell(Event(epoch - 1 + share, loss, accuracy))
    )
    train_loss, train_accuracy = engine.evaluate_training()
    test_loss, test_accuracy, probabilities = engine.evaluate()
    row = {
        "epoch": epoch,
        "running_loss": running_loss,
        "running_accuracy": running_accuracy,
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "seconds": round(time.perf_counter() - start, 3),
    }
    return row, probabilities


def _description_of(data: Dataset) -> dict[str, Any]:
    means = [round(mean, 8) for mean in data.channel_means()]
    return {"name": data.name, "fingerprint": data.fingerprint, "channel_means": means}


def _with_session(
    sessions: list[dict[str, Any]], first_epoch: int, description: dict[str, Any]
) -> list[dict[str, Any]]:
    """Which machine trained from which epoch on; a new entry only where something changed."""
    if sessions and {**sessions[-1], "first_epoch": 0} == {"first_epoch": 0} | description:
        return sessions
    return [*sessions, {"first_epoch": first_epoch} | description]


def discard(run: Run) -> None:
    """Remove what a run has, for it to be trained anew; a run that is held is a StudyError."""
    with _hold(run):
        _clear(run)


def _clear(run: Run) -> None:
    """Remove a run's files, its lock aside."""
    for path in run.folder.iterdir():
        if path.name != LOCK:
            with writing(path):
                path.unlink()


LOCK = "lock"


@contextmanager
def _hold(run: Run, patience: float = 0) -> Iterator[None]:
    """Hold a run so that no second process trains it; a holder that dies lets go."""
    path = run.folder / LOCK
    lock = filelock.FileLock(path, timeout=patience, is_singleton=False)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout:
            holder = path.read_text() or "another process"
            raise StudyError(
                f"{run.name} is being trained by {holder} ({path}); wait for it or stop it"
            ) from None
        path.write_text(f"process {os.getpid()} on {platform.node()}")
    sweep(run.folder)
    try:
        yield
    finally:
        lock.release()
