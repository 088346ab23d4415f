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
from typing import Any

from tqdm import tqdm

from cifar_study.datasets import Dataset
from cifar_study.stages import Stage
from cifar_study.training.engine import Engine
from cifar_study.training.hardware import (
    choose_device,
    choose_precision,
    describe,
    set_up_process,
)
from cifar_study.training.trainer import Hardware

TRAIN_PICTURES, TEST_PICTURES = 3_200, 1_000  # 50 batches; the parts of an epoch that are timed


def measure(
    stages: list[Stage], data: Dataset, hardware: Hardware, repeats: int = 7
) -> dict[str, Any]:
    """Seconds an epoch of each stage, with least and most: what ``timing.json`` holds.

    The stages alternate, so what slows the machine for a while slows all of
    them; a first round that warms up is left out.
    """
    device = choose_device(hardware.device)
    set_up_process(device, hardware.threads)
    precision = choose_precision(hardware.precision, device)
    some = slice(None, None, len(data.test_labels) // TEST_PICTURES or 1)
    part = replace(data, test_images=data.test_images[some], test_labels=data.test_labels[some])
    engines = {
        stage.number: Engine(
            stage.network,
            stage.recipe,
            part,
            limit=TRAIN_PICTURES,
            device=device,
            precision=precision,
        )
        for stage in stages
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
        "machine": describe(device, precision),
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
