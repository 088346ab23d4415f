"""This loop beside two others, on one thread each: ``python -m benchmarks.compare``.

They take turns with an epoch of a sample; printed are the medians of the ratios, least and most.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.plain_loop import PlainLoop
from cifar_study import data
from cifar_study.errors import Parser, run_command
from cifar_study.runs import PROJECT
from cifar_study.stages import STAGES
from cifar_study.training.engine import Engine
from cifar_study.training.hardware import choose_precision, set_up_process

TRAIN, TEST, ROUNDS = 3_200, 640, 5
KERAS = PROJECT / ".venv-bench" / "bin" / "python"


def compare() -> int:
    """Measure and print, stage by stage."""
    parser = Parser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--stages", nargs="+", type=int, choices=STAGES, default=[1, 5, 8])
    options = parser.parse_args()
    set_up_process(torch.device("cpu"))
    torch.set_num_threads(1)
    sample = data.synthetic(TRAIN, TEST)  # what the pictures show makes no difference
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.npz"
        np.savez(path, *list(vars(sample).values())[:4])
        for number in options.stages:
            loops = contenders(number, sample, path)
            rounds = [{name: epoch() for name, epoch in loops.items()} for _ in range(ROUNDS + 1)]
            for name in loops.keys() - {"ours"}:
                ratios = sorted(times[name] / times["ours"] for times in rounds[1:])
                spread = f"{ratios[ROUNDS // 2]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
                print(f"stage {number}, {name}: {spread} times as long", flush=True)
    return 0


def contenders(number: int, sample: data.Dataset, path: Path) -> dict[str, Callable[[], float]]:
    """By name, what trains and tests for an epoch and gives its seconds."""
    stage, precision = STAGES[number], choose_precision("auto", torch.device("cpu"))
    engine = Engine(stage.network, stage.recipe, sample, precision=precision)
    plain = PlainLoop(stage, sample)

    def timed(*parts: Callable[[], object]) -> float:
        began = time.perf_counter()
        for part in parts:
            part()
        return time.perf_counter() - began

    def keras() -> float:
        command = [KERAS, "-m", "benchmarks.keras_loop", path, str(number)]
        return float(subprocess.check_output(command, cwd=PROJECT).split()[-1])

    loops = {"ours": lambda: timed(lambda: [*engine.train_in_parts(1)], engine.evaluate)}
    loops["a plain loop"] = lambda: timed(plain.epoch)
    return loops | {"Keras": keras} if KERAS.exists() else loops


if __name__ == "__main__":
    sys.exit(run_command(compare, "stopped", "make bench"))
