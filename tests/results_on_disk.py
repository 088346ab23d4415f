"""Results as training leaves them, for tests of what reads them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cifar_study.checkpoints import Checkpoint
from cifar_study.runs import COLUMNS, Run

MACHINE = {"processor": "AMD EPYC, 2 cores", "device": "cpu", "threads": 1, "precision": "float32"}
MACHINE |= {"torch": "9", "side_by_side": 1, "first_epoch": 1}


def leave(
    root: Path,
    number: int,
    seed: int,
    test_accuracies: Sequence[float],
    *,
    pictures: int = 10,
    right: Sequence[int] = (),
    probabilities: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    precision: str = "float32",
    seconds: float = 1.0,
    sessions: Sequence[dict[str, Any]] = ({},),
    model: dict[str, np.ndarray] | None = None,
    measured: dict[str, Any] | None = None,
    **trial: Any,
) -> Run:
    """Leave a run in ``root`` with these test accuracies by epoch; it asks for ``trial``.

    The training accuracy is 0.1 above as evaluated and 0.2 below while running; the losses are
    1, 2 and 3 less the accuracy of the test. Of so many test pictures the network is sure: of
    those in ``right`` that they are what they are, of others that they are of the next class.
    """
    run = Run(number, seed, root=root, **trial)
    rows = [
        (epoch, 3 - value, value - 0.2, 1 - value, value + 0.1, 2 - value, value, seconds)
        for epoch, value in enumerate(test_accuracies, start=1)
    ]
    if labels is None:
        labels = np.arange(pictures) % 10
    if probabilities is None:
        wrong = ~np.isin(np.arange(pictures), right)
        probabilities = np.eye(10)[(labels + wrong) % 10]
    model = {"a": np.zeros(1, dtype=np.float32)} if model is None else model
    Checkpoint(pd.DataFrame(rows, columns=COLUMNS), model, {}).save(
        run,
        probabilities.astype(np.float16),
        labels.astype(np.uint8),
        configuration=asdict(run.configuration(precision, "f" * 64)),
        sessions=[MACHINE | {"precision": precision} | session for session in sessions],
        data={"name": run.data, "fingerprint": "f" * 64},
    )
    if measured is not None:
        of = hashlib.sha256((run.folder / "model.safetensors").read_bytes()).hexdigest()
        (run.folder / "measured.json").write_text(json.dumps({"of": of, "values": measured}))
    return run
