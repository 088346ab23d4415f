"""What chapters and notebooks call: tables, charts and numbers made from the results.

Nothing here needs torch, the pictures or the half that trains.
"""

import os
import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd

from cifar_study.layers import count_macs, count_parameters
from cifar_study.report.facts import machine, stage
from cifar_study.runs import Result
from cifar_study.stages import PEERS, STAGES

if not os.environ.get("MPLBACKEND", "").startswith("module:"):  # as notebooks set it
    os.environ.pop("MPLBACKEND", None)  # charts need none, and matplotlib refuses an unknown one

RUN = ["stage", "title", "seed", "precision", "state"]
HISTORY = [*RUN, "epoch", "split", "loss", "accuracy", "seconds"]
FINAL = ["train_loss", "train_accuracy", "test_loss", "test_accuracy", "gap"]
RESULT = [*RUN, "epochs", "parameters", "macs", *FINAL, "seconds", "machine"]


def histories() -> pd.DataFrame:
    """Every epoch of every run: a row for each of "train", "test" and "running", as steps saw it.

    ``loss`` is in nats, ``accuracy`` a share in [0, 1], ``seconds`` of the whole epoch.
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
        last, network = result.history.iloc[-1], result.run.stage.network
        row = {
            "epochs": result.epochs_done,
            "parameters": count_parameters(network),
            "macs": count_macs(network),
            "gap": last.train_accuracy - last.test_accuracy,
            "seconds": result.history.seconds.median(),
            "machine": "; ".join(map(machine, result.record["sessions"])),
        }
        rows.append({**last, **run, **row})
    return pd.DataFrame(rows, columns=RESULT)


def _runs() -> Iterator[tuple[dict[str, Any], Result]]:
    for results in map(stage, (*STAGES, *PEERS)):
        for damage in results.damage:
            warnings.warn(f"left out: {damage}", stacklevel=3)
        for result in results.all_results:
            run, precision = result.run, result.record["configuration"]["precision"]
            named = run.number, run.stage.title, run.seed, precision, result.state
            yield dict(zip(RUN, named, strict=True)), result
