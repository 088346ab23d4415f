"""Results on disk: how they are written whole, and how they are read and checked.

A run is one stage trained from one seed in one precision. Its folder holds

- ``history.csv``: a row an epoch,
- ``predictions.safetensors``: what the network says of every test picture, and the labels,
- ``model.safetensors``: the network; git keeps that of seed 0,
- ``checkpoint-N.safetensors``: all that going on after epoch N needs, until the run is complete,
- ``result.json``: what was trained, on what, by what, how far, and the SHA-256 of each other file.

An epoch is finished when ``result.json``, the last of them, is replaced. A kill
in between leaves files that the old ``result.json`` does not know, and the old
checkpoint to go on from. Nothing is ever unpickled, and nothing here imports torch.
"""

import hashlib
import io
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import safetensors.numpy

from cifar_study.atomic import (
    present,
    read_json,
    read_whole,
    remove,
    write_json,
    write_whole,
)
from cifar_study.errors import StudyError, reason
from cifar_study.layers import count_parameters
from cifar_study.results.run import Run

FORMAT = 2
SETTLED = 1  # seconds after which nobody is writing an epoch's next file
HISTORY, RECORD = "history.csv", "result.json"
MODEL, PREDICTIONS = "model.safetensors", "predictions.safetensors"
COLUMNS = (
    "epoch",
    "running_loss",
    "running_accuracy",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "seconds",
)
"""Of ``history.csv``: losses in nats, accuracies in [0, 1], wall seconds of a whole epoch.

``train`` and ``test`` are those of the network as it is evaluated after the
epoch; ``running`` is the mean over the epoch's steps, dropout at work.
"""


@dataclass(frozen=True)
class Result:
    """A run as read from its folder: its ``result.json`` and the history that goes with it."""

    folder: Path
    record: Mapping[str, Any]
    history: pd.DataFrame

    @property
    def seed(self) -> int:
        """The seed it was trained from."""
        return self.record["configuration"]["seed"]

    @property
    def precision(self) -> str:
        """What convolutions were computed in, from the first epoch to the last."""
        return self.record["configuration"]["precision"]

    @property
    def epochs_done(self) -> int:
        """Epochs that are finished."""
        return len(self.history)

    @property
    def complete(self) -> bool:
        """Whether all planned epochs are finished."""
        return self.epochs_done >= self.record["configuration"]["recipe"]["epochs"]

    def model(self) -> dict[str, np.ndarray]:
        """The network's parameters and buffers by name."""
        path = self.folder / MODEL
        if self.seed and not present(path):
            raise StudyError(f"{path}: missing; git keeps that of seed 0 alone: train from seed 0")
        return read_tensors(path, self.record["files"].get(MODEL, ""))

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """The test pictures' class probabilities, ``float32`` (N, classes), and labels (N,)."""
        tensors = read_tensors(self.folder / PREDICTIONS, self.record["files"][PREDICTIONS])
        return tensors["probabilities"].astype(np.float32), tensors["labels"].astype(int)


@dataclass
class Checkpoint:
    """All that going on after an epoch needs, its record aside."""

    history: pd.DataFrame
    model: dict[str, np.ndarray]
    momentum: dict[str, np.ndarray]

    def save(self, run: Run, probabilities: np.ndarray, labels: np.ndarray, **about: Any) -> None:
        """Write every file of the run, ``result.json`` last; an older checkpoint goes then.

        ``about`` goes into the record as it is: configuration, sessions, restart and data.
        """
        done, folder = len(self.history), run.folder
        contents = {
            HISTORY: self.history.to_csv(index=False, lineterminator="\n").encode(),
            PREDICTIONS: _tensors(probabilities=probabilities, labels=labels),
            MODEL: _tensors(**self.model),
        }
        if done < run.planned:
            contents[checkpoint_name(done)] = _tensors(
                history=self.history.to_numpy(dtype=np.float64),
                **{f"model.{name}": array for name, array in self.model.items()},
                **{f"momentum.{name}": array for name, array in self.momentum.items()},
            )
        for name, content in contents.items():
            write_whole(folder / name, content)
        record = {
            "format": FORMAT,
            "stage": run.stage.number,
            "title": run.stage.title,
            "width": run.stage.width,
            "parameters": count_parameters(run.stage.network),
            "epochs_done": done,
            **about,
            "files": {
                name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
            },
        }
        write_json(folder / RECORD, record)
        drop_checkpoints(folder, keep=record["files"])

    @classmethod
    def load(cls, folder: Path, record: Mapping[str, Any]) -> Self:
        """The checkpoint that a record names; one that is missing or damaged is a StudyError."""
        name = checkpoint_name(record["epochs_done"])
        tensors = read_tensors(folder / name, record["files"].get(name, ""))

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {
                name.removeprefix(prefix): array
                for name, array in tensors.items()
                if name.startswith(prefix)
            }

        return cls(
            pd.DataFrame(tensors["history"], columns=COLUMNS).astype({"epoch": int}),
            part("model."),
            part("momentum."),
        )


def checkpoint_name(epoch: int | str) -> str:
    """The file to go on from after ``epoch``."""
    return f"checkpoint-{epoch}.safetensors"


def drop_checkpoints(folder: Path, keep: Collection[str]) -> None:
    """Remove the checkpoints of a run that its record, whose files are ``keep``, does not name."""
    remove(path for path in folder.glob(checkpoint_name("*")) if path.name not in keep)


def _tensors(**arrays: np.ndarray) -> bytes:
    return safetensors.numpy.save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    )


# --- reading: the right value or one clear error -------------------------------------------


def _retrain(folder: Path) -> str:
    return f"restore it from git if it is there, or delete {folder} and train the stage again"


def read_tensors(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """The arrays of a file whose bytes have that checksum; any other is a :class:`StudyError`."""
    return safetensors.numpy.load(_checked(path, sha256))


def _checked(path: Path, sha256: str, remedy: str = "") -> bytes:
    """A file's bytes, read once, if they have that checksum; ``remedy`` says what helps if not."""
    content = read_whole(path, _retrain(path.parent))
    if hashlib.sha256(content).hexdigest() != sha256:
        remedy = remedy or _retrain(path.parent)
        raise StudyError(f"{path}: is not the file that {RECORD} was written with; {remedy}")
    return content


def read_record(path: Path) -> dict[str, Any]:
    """A ``result.json``; one that changed or is of another format is a :class:`StudyError`."""
    record = read_json(path, _retrain(path.parent))
    if record.get("format") != FORMAT:
        raise StudyError(
            f"{path}: not a result of format {FORMAT}, which this version reads; "
            f"{_retrain(path.parent)}"
        )
    return record


def read_result(folder: Path, whole: bool = False) -> Result | None:
    """The result in ``folder``, None where there is none; half of one is a :class:`StudyError`.

    ``whole`` checks the files that are read later as well. A run in training
    replaces its files one by one; a set that does not fit is read again as
    long as the folder changes.
    """
    while True:
        # Without a record, the first epoch is being written or was cut off before it.
        if not present(folder / RECORD) and not _later_files(folder):
            return None
        record = read_record(folder / RECORD)
        if (folder.parent.name, folder.name) != (
            f"stage-{record['stage']}",
            f"seed-{record['configuration']['seed']}",
        ):
            raise StudyError(
                f"{folder / RECORD}: is of stage {record['stage']}, seed "
                f"{record['configuration']['seed']}, and does not belong here; {_retrain(folder)}"
            )
        try:
            result = Result(folder, record, _read_history(folder, record))
            for name, sha256 in record["files"].items() if whole else ():
                if name != MODEL or present(folder / MODEL):  # git keeps that of seed 0
                    _checked(folder / name, sha256)
            return result
        except StudyError:
            if not folder.is_dir() or abs(time.time() - folder.stat().st_mtime) > SETTLED:
                raise
        time.sleep(0.05)


def _later_files(folder: Path) -> bool:
    """Whether files are there that come to be after a record does."""
    try:
        return (folder / HISTORY).read_bytes().count(b"\n") > 2
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StudyError(
            f"{folder / HISTORY}: unreadable ({reason(error)}); {_retrain(folder)}"
        ) from None


def _read_history(folder: Path, record: Mapping[str, Any]) -> pd.DataFrame:
    remedy = ""
    if (folder / checkpoint_name(record["epochs_done"])).exists():
        remedy = "train the stage again: it goes on from its last finished epoch"
    content = _checked(folder / HISTORY, record["files"][HISTORY], remedy)
    return pd.read_csv(io.BytesIO(content))
