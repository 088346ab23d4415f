"""Fair times: every stage's epoch measured back to back, in one sitting.

Times taken while training depend on what else ran just then. Here the stages
take turns, each for a part of an epoch, and the medians are scaled to a whole
one; the report's times come from there.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cifar_study import cache
from cifar_study.data import Dataset
from cifar_study.engine import Engine, choose_device, choose_precision, set_up_process
from cifar_study.errors import StudyError
from cifar_study.files import write_json
from cifar_study.runs import Run
from cifar_study.stages import STAGES
from cifar_study.trainer import Hardware

TRAIN_PICTURES, TEST_PICTURES = 3_200, 1_000  # 50 batches; the parts of an epoch that are timed


def measure(runs: list[Run], data: Dataset, hardware: Hardware, repeats: int = 7) -> dict[str, Any]:
    """Seconds an epoch of each run's stage, with least and most: what ``timing.json`` holds.

    The runs alternate, so what slows the machine for a while slows all of
    them; a first round that warms up is left out.
    """
    device = choose_device(hardware.device)
    set_up_process(device, hardware.threads)
    precision = choose_precision(hardware.precision, device)
    some = slice(None, None, len(data.test_labels) // TEST_PICTURES or 1)
    part = replace(data, test_images=data.test_images[some], test_labels=data.test_labels[some])
    engines = {
        run.stage.number: Engine(
            run.network,
            run.stage.recipe,
            part,
            limit=TRAIN_PICTURES,
            device=device,
            precision=precision,
        )
        for run in runs
    }
    times: dict[int, list[float]] = {number: [] for number in engines}
    turns = [(turn, number) for turn in range(repeats + 1) for number in engines]
    for turn, number in tqdm(
        turns, desc="timing", unit=" turns", mininterval=0.1 if sys.stderr.isatty() else 10
    ):
        seconds = _epoch_seconds(engines[number], data, turn + 1)
        if turn:
            times[number].append(seconds)
    return {
        "machine": next(iter(engines.values())).description(),
        "repeats": repeats,
        "stages": {
            str(number): {
                "seconds": round(statistics.median(values), 3),
                "least": round(min(values), 3),
                "most": round(max(values), 3),
            }
            for number, values in times.items()
        },
    }


def save(measured: dict[str, Any], root: Path) -> None:
    """Write what was measured into ``timing.json``; other stages' times of the same machine stay.

    A file with times of another machine, or of a damaged one, is replaced where every
    stage was measured anew, else left alone with a :class:`StudyError`.
    """
    path = root / cache.TIMING
    stages = measured["stages"]
    if not set(map(str, STAGES)) <= set(stages):
        before = cache.read_timing(root) or measured
        if before["machine"] != measured["machine"]:
            raise StudyError(
                f"{path}: holds times of another machine or setting; measure all stages here: "
                "python -m cifar_study.train --timing"
            )
        stages = dict(sorted((before["stages"] | stages).items(), key=lambda item: int(item[0])))
    write_json(path, measured | {"stages": stages})


def _epoch_seconds(engine: Engine, data: Dataset, epoch: int) -> float:
    """Seconds that a whole epoch would take, from a part of its training and of its test."""
    start = time.perf_counter()
    engine.train_epoch(epoch)
    middle = time.perf_counter()
    engine.evaluate()
    end = time.perf_counter()
    train = (middle - start) * len(data.train_labels) / len(engine.train_labels)
    # As many training pictures are evaluated as there are test pictures.
    return train + 2 * (end - middle) * len(data.test_labels) / len(engine.test_labels)
