"""One run from its last finished epoch to its last: the engine and the cache meet here."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import filelock
import numpy as np

from cifar_study import cache
from cifar_study.cache import MODEL, RESUME, Epoch
from cifar_study.data import Dataset
from cifar_study.errors import StudyError
from cifar_study.files import sweep, writing
from cifar_study.runs import Run


@dataclass(frozen=True)
class Hardware:
    """What a run is trained on: names as on the command line; ``threads`` for the CPU."""

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class Event:
    """News from a run: ``epochs`` done (with a fraction), and figures so far, for a bar."""

    epochs: float
    loss: float = math.nan
    accuracy: float = math.nan
    row: Epoch | None = None
    note: str = ""


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
    process for more than ``patience`` seconds, for a loss that is not a
    number, and for a disk that can't be written.
    """
    with _hold(run, patience):
        configuration = run.configuration(data.fingerprint)
        saved = None if restart else _saved(run, configuration)
        if saved and saved.unpublished:
            # A kill in the last moment left the epoch finished but not published.
            saved.publish(run, configuration, _facts(saved.sessions, data))
        if saved and len(saved.history) >= run.planned:
            return False
        _train(run, data, hardware, tell, configuration, saved, restart)
    return True


def _train(
    run: Run,
    data: Dataset,
    hardware: Hardware,
    tell: Callable[[Event], None],
    configuration: dict[str, Any],
    saved: _Saved | None,
    restart: bool,
) -> None:
    import torch  # here, as it takes seconds: a run that is complete never needs it

    from cifar_study.engine import Engine, choose_device, choose_precision, processor_name

    if hardware.threads:
        torch.set_num_threads(hardware.threads)
    saved = saved or _Saved([], {}, {}, None, [])
    device = choose_device(hardware.device)
    precision = hardware.precision
    if precision == "auto":
        precision = _kept_precision(saved.sessions, device.type, processor_name(device))
    engine = Engine(
        run.network,
        run.stage.recipe,
        data,
        seed=run.seed,
        limit=run.limit,
        device=device,
        precision=choose_precision(precision, device),
    )
    if saved.model:
        try:
            engine.load_state(saved.model, saved.momentum)
        except ValueError as error:
            source = run.folder / (RESUME if saved.momentum else MODEL)
            raise StudyError(
                f"{source}: does not fit the network ({error}); delete {run.folder} "
                "and train the stage again"
            ) from None
        if not saved.momentum:
            tell(
                Event(
                    len(saved.history),
                    note=f"{run.folder / RESUME} is missing or older: going on from {MODEL} "
                    "with the optimizer's momentum at zero",
                )
            )
    history = list(saved.history)
    sessions = _sessions(saved, engine.description())
    for epoch in range(len(history) + 1, run.planned + 1):
        start = time.perf_counter()
        train_loss, train_accuracy = engine.train_epoch(
            epoch, lambda share, loss, right: tell(Event(len(history) + share, loss, right))
        )
        test_loss, test_accuracy, probabilities = engine.evaluate()
        if not (math.isfinite(train_loss) and math.isfinite(test_loss)):
            kept = f"epochs 1 to {epoch - 1} are kept" if epoch > 1 else "nothing was written"
            raise StudyError(
                f"{run.name}: the loss of epoch {epoch} is not a number; {kept}; "
                "lower the learning rate or look at the data"
            )
        seconds = round(time.perf_counter() - start, 3)
        row = Epoch(epoch, train_loss, train_accuracy, test_loss, test_accuracy, seconds)
        history.append(row)
        done = _Saved(
            history, engine.model_state(), engine.momentum_state(), probabilities, sessions
        )
        if restart and epoch == 1:  # not before there is something to take its place
            _clear(run)
        done.write(run, configuration)
        done.publish(run, configuration, _facts(sessions, data))
        tell(Event(epoch, train_loss, train_accuracy, row))


@dataclass
class _Saved:
    """All that going on needs, and all that the published files are derived from."""

    history: list[Epoch]
    model: dict[str, np.ndarray]
    momentum: dict[str, np.ndarray]
    probabilities: np.ndarray | None
    sessions: list[dict[str, Any]]
    unpublished: bool = False

    def write(self, run: Run, configuration: dict[str, Any]) -> None:
        tensors = {f"model.{name}": array for name, array in self.model.items()}
        tensors |= {f"momentum.{name}": array for name, array in self.momentum.items()}
        tensors["history"] = np.array(self.history, dtype=np.float64)
        tensors["probabilities"] = self.probabilities
        stamp = _stamp(run, configuration) | {"sessions": json.dumps(self.sessions)}
        cache.write_tensors(run.folder / RESUME, tensors, stamp)

    def publish(self, run: Run, configuration: dict[str, Any], facts: dict[str, Any]) -> None:
        cache.publish(run, configuration, self.history, self.model, self.probabilities, facts)


def _stamp(run: Run, configuration: dict[str, Any]) -> dict[str, str]:
    return cache.identity(
        {"stage": run.stage.number, "seed": run.seed, "configuration": configuration}
    )


def _facts(sessions: list[dict[str, Any]], data: Dataset) -> dict[str, Any]:
    means = [round(mean, 8) for mean in data.channel_means()]
    return {
        "sessions": sessions,
        "data": {"name": data.name, "fingerprint": data.fingerprint, "channel_means": means},
    }


def _kept_precision(sessions: list[dict[str, Any]], device: str, processor: str) -> str:
    """The precision that this hardware has trained the run with, else ``auto``.

    Measured anew on a busy machine, the choice could fall otherwise, and the
    run would not end as if it had never been interrupted.
    """
    here = (device, processor)
    for session in reversed(sessions):
        if (session.get("device"), session.get("processor")) == here:
            return session["precision"]
    return "auto"


def _sessions(saved: _Saved, description: dict[str, Any]) -> list[dict[str, Any]]:
    """Which machine trained from which epoch on; a new entry only where something changed."""
    description = description | {"momentum_restarted": bool(saved.model and not saved.momentum)}
    if saved.sessions and {**saved.sessions[-1], "first_epoch": 0} == description | {
        "first_epoch": 0
    }:
        return saved.sessions
    return [*saved.sessions, {"first_epoch": len(saved.history) + 1} | description]


def _saved(run: Run, configuration: dict[str, Any]) -> _Saved | None:
    """What an earlier process left of this run, or None where it left nothing."""
    stand = cache.status(run, configuration["fingerprint"])
    if stand.state == "stale":
        raise StudyError(
            f"{run.folder}: {stand.text}; train it anew with: {run.command('--restart')}"
        )
    if (run.folder / RESUME).exists():
        saved = _from_resume(run, configuration, stand.result)
        # What was published is further on only where it came from elsewhere, as from git.
        if stand.result is None or stand.result.epochs_done <= len(saved.history):
            return saved
    if stand.state == "damaged":
        raise StudyError(stand.text)
    if stand.result is None:
        return None
    record = stand.result.record
    expect = cache.identity(record) | {"epoch": str(stand.result.epochs_done)}
    model, _ = cache.read_tensors(run.folder / MODEL, expect)
    return _Saved(stand.result.history, model, {}, None, record["sessions"])


def _from_resume(run: Run, configuration: dict[str, Any], published: cache.Result | None) -> _Saved:
    path = run.folder / RESUME
    remedy = f"delete it to go on from {MODEL}"
    tensors, metadata = cache.read_tensors(path, remedy=remedy)
    for field, value in _stamp(run, configuration).items():
        if metadata.get(field) != value:
            raise StudyError(
                f"{path}: belongs to another run or an older configuration ({field} differs); "
                f"train it anew with: {run.command('--restart')}"
            )

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(prefix): array
            for name, array in tensors.items()
            if name.startswith(prefix)
        }

    if "history" not in tensors or "sessions" not in metadata:
        raise StudyError(f"{path}: is not a file that training goes on from; {remedy}")
    history = [Epoch(int(row[0]), *map(float, row[1:])) for row in tensors["history"]]
    return _Saved(
        history,
        part("model."),
        part("momentum."),
        tensors["probabilities"],
        json.loads(metadata["sessions"]),
        unpublished=published is None or published.history != history,
    )


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
