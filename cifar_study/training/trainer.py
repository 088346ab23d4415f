"""One run from its last finished epoch to its last: the engine and the results meet here."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cifar_study.atomic import UNFINISHED, present, remove
from cifar_study.datasets import Dataset
from cifar_study.errors import StudyError
from cifar_study.results.lock import hold
from cifar_study.results.run import LOCK, Run
from cifar_study.results.status import refuse_stale
from cifar_study.results.store import (
    COLUMNS,
    RECORD,
    Checkpoint,
    drop_checkpoints,
    read_record,
    read_result,
)


@dataclass(frozen=True)
class Hardware:
    """What a run is trained on: names as on the command line; ``threads`` for the CPU.

    ``side_by_side`` runs share it at a time, which the times of epochs depend on;
    ``compiled`` is for a GPU.
    """

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    side_by_side: int = 1
    compiled: bool = False


@dataclass(frozen=True)
class Event:
    """News from a run: ``epochs`` done (with a fraction), and figures so far, for a bar.

    ``row`` is a finished epoch's row of the history, by column.
    """

    epochs: float
    loss: float = math.nan
    accuracy: float = math.nan
    row: dict[str, float] | None = None


Message = Event | bool | str
"""What is heard of a run; last True (trained), False (it already was complete) or an error."""


def train(
    run: Run, data: Dataset, hardware: Hardware, restart: str = "", lock_timeout: float = 0
) -> Iterator[Event | bool]:
    """Train ``run`` to its planned epochs, yielding news of it; last False if it was complete.

    Each finished epoch is on the disk before its event. What an earlier command
    left is discarded once the first epoch is there, where ``restart`` names this
    command: the same name goes on with what it began. Raises
    :class:`StudyError` for a result that is stale, damaged or held by another
    process for more than ``lock_timeout`` seconds, for a precision that the
    processor does not have, for a loss that is not a number, and for a disk
    that can't be written.
    """
    with hold(run.folder, f"{run.name} is being trained", lock_timeout):
        remove(run.folder.glob(f".*{UNFINISHED}"))  # what a killed process left half written
        record = _restarted(run, restart) if restart else _record(run, data, hardware.precision)
        if record and record["epochs_done"] >= run.planned:
            read_result(run.folder, whole=True)  # damage is said, not passed over
            drop_checkpoints(run.folder, keep=record["files"])  # left by a kill at the end
            yield False
            return
        yield from _train(run, data, hardware, record, restart)
        yield True


def _restarted(run: Run, restart: str) -> dict[str, Any] | None:
    """The record of what the command called ``restart`` began, else None."""
    try:
        record = read_record(run.folder / RECORD)
    except StudyError:  # missing or damaged: begun anew
        return None
    return record if record.get("restart") == restart else None


def _record(run: Run, data: Dataset, precision: str) -> dict[str, Any] | None:
    """What an earlier process recorded of this run, or None where it left nothing."""
    path = run.folder / RECORD
    if not present(path):
        read_result(run.folder)  # raises where other files are there
        return None
    record = read_record(path)
    refuse_stale(run, record, precision, data.fingerprint)
    return record


def _train(
    run: Run, data: Dataset, hardware: Hardware, record: dict[str, Any] | None, restart: str
) -> Iterator[Event]:
    # Here, as it takes seconds: a run that is complete never needs it.
    from cifar_study.training.engine import Engine
    from cifar_study.training.hardware import (
        choose_device,
        choose_precision,
        describe,
        set_up_process,
    )

    device = choose_device(hardware.device, hardware.compiled)
    set_up_process(device, hardware.threads)
    chosen = record["configuration"]["precision"] if record else hardware.precision
    precision = choose_precision(chosen, device)
    engine = Engine(
        run.stage.network,
        run.stage.recipe,
        data,
        seed=run.seed,
        limit=run.limit,
        device=device,
        precision=precision,
        compiled=hardware.compiled,
    )
    history, sessions = pd.DataFrame(columns=COLUMNS), []
    if record:
        checkpoint = Checkpoint.load(run.folder, record)
        history, sessions = checkpoint.history, record["sessions"]
        try:
            engine.load_state(checkpoint.model, checkpoint.momentum)
        except ValueError as error:
            raise StudyError(
                f"{run.folder}: does not fit the network ({error}); --restart trains it anew"
            ) from None
    description = describe(device, precision) | {"side_by_side": hardware.side_by_side}
    if hardware.compiled:
        description["compiled"] = True
    means = [round(mean, 8) for mean in data.channel_means()]
    about = {
        "configuration": run.configuration(data.fingerprint, description["precision"]),
        "sessions": _with_session(sessions, len(history) + 1, description),
        "restart": restart,
        "data": {"name": data.name, "fingerprint": data.fingerprint, "channel_means": means},
    }
    for epoch in range(len(history) + 1, run.planned + 1):
        start = time.perf_counter()
        for share, loss, accuracy in engine.train_in_parts(epoch):
            if share < 1:
                yield Event(epoch - 1 + share, loss, accuracy)
        training = engine.evaluate_training()
        *test, probabilities = engine.evaluate()
        seconds = round(time.perf_counter() - start, 3)
        row = dict(zip(COLUMNS, (epoch, loss, accuracy, *training, *test, seconds), strict=True))
        if not np.isfinite(list(row.values())).all():
            kept = f"epochs 1 to {epoch - 1} are kept" if epoch > 1 else "nothing was written"
            raise StudyError(
                f"{run.name}: the loss of epoch {epoch} is not a number; {kept}; "
                "lower the learning rate or look at the data"
            )
        added = pd.DataFrame([row], columns=COLUMNS)
        history = pd.concat([history, added], ignore_index=True) if len(history) else added
        if restart and epoch == 1:  # not before there is something to take its place
            remove(path for path in run.folder.iterdir() if path.name != LOCK)
        Checkpoint(history, engine.model_state(), engine.momentum_state()).save(
            run, probabilities, data.test_labels, **about
        )
        yield Event(epoch, loss, accuracy, row)


def _with_session(
    sessions: list[dict[str, Any]], first_epoch: int, description: dict[str, Any]
) -> list[dict[str, Any]]:
    """Which machine trained from which epoch on; a new entry only where something changed."""
    if sessions and {**sessions[-1], "first_epoch": 0} == {"first_epoch": 0} | description:
        return sessions
    return [*sessions, {"first_epoch": first_epoch} | description]
