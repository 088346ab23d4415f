"""One run from its last finished epoch to its last: the engine and the files meet here."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from cifar_study.checkpoints import Checkpoint, training
from cifar_study.data import Dataset
from cifar_study.errors import StudyError
from cifar_study.runs import COLUMNS, Run
from cifar_study.training.engine import Engine
from cifar_study.training.hardware import choose_device, choose_precision, describe, set_up_process


@dataclass(frozen=True)
class Progress:
    """How far a run is: ``epochs`` done, with a fraction; loss and accuracy so far.

    ``row`` is a finished epoch's row of the history, by column.
    """

    epochs: float
    loss: float
    accuracy: float
    row: dict[str, float] | None = None


def train(
    run: Run, data: Dataset, device: str = "auto", restart: bool = False
) -> Iterator[Progress]:
    """Train a run to its planned epochs, yielding how it goes; nothing where it is complete.

    Each finished epoch is on the disk before its row is yielded. A result that is stale or held,
    a precision that is not there, and a loss that is no number are a :class:`StudyError`.
    """
    if run.limit and run.limit > (most := len(data.train_labels)):
        raise StudyError(f"--limit {run.limit}: give at most {most}, the set's training pictures")
    with training(run, restart, data.fingerprint) as result:
        if result and result.epochs_done >= run.planned:
            return
        kind = choose_device(device)
        set_up_process(kind)
        recorded = result.record["configuration"]["precision"] if result else None
        precision = choose_precision(recorded or run.precision or "auto", kind)
        options = {"seed": run.seed, "limit": run.limit, "device": kind, "precision": precision}
        engine = Engine(run.stage.network, run.stage.recipe, data, **options)
        history, sessions = pd.DataFrame(columns=COLUMNS), []
        if result:
            checkpoint = Checkpoint.load(result)
            history, sessions = checkpoint.history, result.record["sessions"]
            engine.load_state(checkpoint.model, checkpoint.momentum)
        hardware = describe(kind, precision)
        if not sessions or sessions[-1] != sessions[-1] | hardware:  # another machine, or settings
            sessions = [*sessions, {"first_epoch": len(history) + 1} | hardware]
        about = {
            "configuration": asdict(run.configuration(hardware["precision"], data.fingerprint)),
            "sessions": sessions,
            "data": {"name": data.name, "fingerprint": data.fingerprint},
        }
        for epoch in range(len(history) + 1, run.planned + 1):
            start = time.perf_counter()
            for share, loss, accuracy in engine.train_in_parts(epoch):
                if share < 1:
                    yield Progress(epoch - 1 + share, loss, accuracy)
            on_training = engine.evaluate_training()
            *on_test, probabilities = engine.evaluate()
            seconds = round(time.perf_counter() - start, 3)
            values = (epoch, loss, accuracy, *on_training, *on_test, seconds)
            row = dict(zip(COLUMNS, values, strict=True))
            if not np.isfinite(values).all():
                raise StudyError(
                    f"{run}: the loss of epoch {epoch} is not a number; what was finished before "
                    "it is kept; lower the learning rate or look at the data"
                )
            added = pd.DataFrame([row], columns=COLUMNS)
            history = pd.concat([history, added], ignore_index=True) if len(history) else added
            Checkpoint(history, engine.model_state(), engine.momentum_state()).save(
                run, probabilities, data.test_labels, **about
            )
            yield Progress(epoch, loss, accuracy, row)
