"""What chapters and notebooks call: tables, charts and numbers made from the results.

``report.results()`` and ``report.histories()`` are tidy pandas frames. Nothing
here needs torch, the pictures or the half that trains.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd

from cifar_study.layers import count_macs, count_parameters
from cifar_study.report.facts import machine, stage
from cifar_study.runs import Result
from cifar_study.stages import PEERS, STAGES

try:
    import matplotlib  # noqa: F401
except ValueError:  # of a backend in MPLBACKEND that it does not know; charts need none
    os.environ.pop("MPLBACKEND", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        del sys.modules[name]  # half of it is there

RUN = ["stage", "title", "seed", "precision", "state"]
HISTORY = [*RUN, "epoch", "split", "loss", "accuracy", "seconds"]
FINAL = ["train_loss", "train_accuracy", "test_loss", "test_accuracy", "gap"]
RESULT = [*RUN, "epochs", "parameters", "macs", *FINAL, "seconds", "machine"]


def histories() -> pd.DataFrame:
    """Every epoch of every run: a row for each split of "train", "test" and "running".

    ``loss`` is in nats, ``accuracy`` a share in [0, 1], ``seconds`` of the whole epoch. "train" and
    "test" are of the network as it is evaluated after it, "running" the mean over its steps.
    """
    parts = [pd.DataFrame(columns=HISTORY)]
    for run, result in _runs():
        for split in ("train", "test", "running"):
            names = {f"{split}_loss": "loss", f"{split}_accuracy": "accuracy"}
            parts.append(result.history.rename(columns=names).assign(split=split, **run)[HISTORY])
    return pd.concat(parts[1:] or parts, ignore_index=True)


def results() -> pd.DataFrame:
    """Every run after its last finished epoch, a row each, with what it had done by then.

    ``macs`` are multiply-accumulates for one picture, ``gap`` is training minus test accuracy,
    ``seconds`` the median over the epochs, ``machine`` the one or more that trained it.
    """
    rows = []
    for run, result in _runs():
        last, network = result.history.iloc[-1].to_dict(), result.run.stage.network
        row = {
            "epochs": result.epochs_done,
            "parameters": count_parameters(network),
            "macs": count_macs(network),
            "gap": last["train_accuracy"] - last["test_accuracy"],
            "seconds": result.history.seconds.median(),
            "machine": "; ".join(map(machine, result.record["sessions"])),
        }
        rows.append(last | run | row)
    return pd.DataFrame(rows, columns=RESULT)


def _runs() -> Iterator[tuple[dict[str, Any], Result]]:
    for number in (*STAGES, *PEERS):
        for damage in stage(number).damage:
            warnings.warn(f"left out: {damage}", stacklevel=3)
        for result in stage(number).all_results:
            precision = result.record["configuration"]["precision"]
            named = (number, result.run.stage.title, result.run.seed, precision, result.state)
            yield dict(zip(RUN, named, strict=True)), result
