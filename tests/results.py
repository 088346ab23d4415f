"""Results as training leaves them, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cifar_study.results.run import Run
from cifar_study.results.store import COLUMNS, Checkpoint

MACHINE = {"processor": "a chip", "precision": "float32", "threads": 1, "torch": "9"}


def leave(
    run: Run,
    test_accuracies: Sequence[float],
    *,
    fingerprint: str = "f",
    precision: str = "float32",
    seconds: float = 1.0,
    sessions: Sequence[dict] | None = None,
    shift: int = 0,
    model: dict[str, np.ndarray] | None = None,
) -> None:
    """Leave a run in its folder with these test accuracies by epoch.

    The training accuracy is 0.1 above as evaluated and 0.2 below while running;
    the losses are 1, 2 and 3 less the accuracy of the test. Of ten test pictures,
    one a class, the network is sure that each is of the class ``shift`` further on.
    """
    rows = [
        (epoch, 3 - value, value - 0.2, 1 - value, value + 0.1, 2 - value, value, seconds)
        for epoch, value in enumerate(test_accuracies, start=1)
    ]
    Checkpoint(
        pd.DataFrame(rows, columns=COLUMNS),
        {"a": np.zeros(1, dtype=np.float32)} if model is None else model,
        {},
    ).save(
        run,
        np.eye(10, dtype=np.float16)[(np.arange(10) + shift) % 10],
        np.arange(10, dtype=np.uint8),
        configuration=run.configuration(fingerprint, precision),
        sessions=list(sessions or [MACHINE | {"first_epoch": 1, "precision": precision}]),
        data={"name": run.data, "fingerprint": fingerprint, "channel_means": [0.1, 0.2, 0.3]},
    )
