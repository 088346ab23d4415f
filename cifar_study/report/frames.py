"""All results as tidy pandas frames, for notebooks."""

import warnings
from collections.abc import Iterator
from typing import Any

import pandas as pd

from cifar_study.layers import count_macs, count_parameters
from cifar_study.report.stage_results import stage
from cifar_study.report.times import machine, sessions
from cifar_study.runs import Result
from cifar_study.stages import PEERS, STAGES

RUN = ["stage", "title", "seed", "precision", "state"]
HISTORY = [*RUN, "epoch", "split", "loss", "accuracy", "seconds"]
RESULT = [
    *RUN, "epochs", "parameters", "macs", "train_loss", "train_accuracy", "test_loss",
    "test_accuracy", "gap", "seconds", "machine",
]  # fmt: skip


def histories() -> pd.DataFrame:
    """Every epoch of every run: a row for each split of "train", "test" and "running".

    ``stage``, ``title``, ``seed``, ``precision`` and ``state`` say of which run;
    ``epoch`` counts from 1; ``loss`` is in nats, ``accuracy`` a share in [0, 1],
    ``seconds`` what the whole epoch took. "train" and "test" are of the network
    as it is evaluated after the epoch, "running" the mean over its steps.
    """
    parts = []
    for run, result in _runs():
        for split in ("train", "test", "running"):
            columns = {f"{split}_loss": "loss", f"{split}_accuracy": "accuracy"}
            part = result.history[["epoch", *columns, "seconds"]].rename(columns=columns)
            parts.append(part.assign(split=split, **run))
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=HISTORY)
    return frame[HISTORY]


def results() -> pd.DataFrame:
    """Every run after its last finished epoch, a row each.

    ``epochs`` are those done; ``macs`` are multiply-accumulates for one picture;
    losses in nats, accuracies in [0, 1], both as evaluated; ``gap`` is training
    minus test accuracy; ``seconds`` is the median over the epochs of what one
    took on ``machine``, that of most epochs.
    """
    rows = []
    for run, result in _runs():
        last = result.history.iloc[-1].to_dict()
        session, part = max(sessions(result), key=lambda each: len(each[1]))
        row = {
            "epochs": result.epochs_done,
            "parameters": count_parameters(result.run.stage.network),
            "macs": count_macs(result.run.stage.network),
            "gap": last["train_accuracy"] - last["test_accuracy"],
            "seconds": part.seconds.median(),
            "machine": machine(session),
        }
        rows.append({**last, **run, **row})
    return pd.DataFrame(rows, columns=RESULT)


def _runs() -> Iterator[tuple[dict[str, Any], Result]]:
    for number in (*STAGES, *PEERS):
        results = stage(number)
        for damage in results.damage:
            warnings.warn(f"left out: {damage}", stacklevel=3)
        for result in results.all_results:
            title, precision = result.run.stage.title, result.record["configuration"]["precision"]
            named = (number, title, result.run.seed, precision, result.state)
            yield dict(zip(RUN, named, strict=True)), result
