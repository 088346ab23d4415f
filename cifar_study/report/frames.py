"""All results as tidy pandas frames, for notebooks."""

import warnings
from collections.abc import Iterator

import pandas as pd

from cifar_study.layers import count_macs
from cifar_study.report.replicates import Replicates, replicates
from cifar_study.results.status import Status
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
    for run, status in _runs():
        history = status.result.history
        for split in ("train", "test", "running"):
            columns = {f"{split}_loss": "loss", f"{split}_accuracy": "accuracy"}
            part = history[["epoch", *columns, "seconds"]].rename(columns=columns)
            parts.append(part.assign(split=split, **run))
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=HISTORY)
    return frame[HISTORY]


def results() -> pd.DataFrame:
    """Every run after its last finished epoch, a row each.

    ``epochs`` are those done; ``macs`` are multiply-accumulates for one picture;
    losses in nats, accuracies in [0, 1], both as evaluated; ``gap`` is training
    minus test accuracy; ``seconds`` is the median over the epochs of what one
    took on ``machine``, that of most epochs (processor, threads, precision).
    """
    rows = []
    for run, status in _runs():
        result = status.result
        last = result.history.iloc[-1].to_dict()
        seconds = Replicates([status]).seconds
        rows.append(
            {
                **last,
                **run,
                "epochs": result.epochs_done,
                "parameters": result.record["parameters"],
                "macs": count_macs(status.run.stage.network),
                "gap": last["train_accuracy"] - last["test_accuracy"],
                "seconds": seconds.iloc[0],
                "machine": seconds.index[0],
            }
        )
    return pd.DataFrame(rows, columns=RESULT)


def _runs() -> Iterator[tuple[dict[str, str | int], Status]]:
    for number, stage in (STAGES | PEERS).items():
        for status in replicates(number).statuses:
            if status.state == "damaged":
                warnings.warn(f"left out: {status.text}", stacklevel=3)
            if result := status.result:
                named = (number, stage.title, result.seed, result.precision, status.state)
                yield dict(zip(RUN, named, strict=True)), status
