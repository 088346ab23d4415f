"""Times whole epochs: ``python -m benchmarks.epochs``.

Trains each stage for three epochs, evaluation included, in this process with one thread, and keeps
the seconds in cache/epoch-times.json for the report. The machine should have nothing else to do.
What was measured on it today stays, so the command goes on where it was stopped.
"""

import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:
    sys.stderr.write("error: run it in the project's folder as: python -m benchmarks.epochs\n")
    raise SystemExit(2)

import torch
from tqdm import tqdm

from cifar_study import data
from cifar_study.checkpoints import write
from cifar_study.errors import Parser, reading, run_command, writing
from cifar_study.options import DATA_VARIABLE
from cifar_study.runs import CACHE, in_project, setting
from cifar_study.stages import PEERS, STAGES, Stage, get_stage
from cifar_study.training.engine import Engine
from cifar_study.training.hardware import choose_precision, processor_name, set_up_process

EPOCHS = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status: 0 done, 2 an error named on one line, 130 stopped."""
    return run_command(lambda: _command(arguments), "stopped; finished stages stay", "make bench")


def _command(arguments: list[str] | None) -> int:
    parser = Parser(prog="python -m benchmarks.epochs", description=__doc__)
    add, known = parser.add_argument, STAGES | PEERS
    add("--stages", nargs="+", type=int, choices=known, default=list(known), metavar="N")
    add("--data", help="synthetic, or a folder with CIFAR-10")
    add("--output", type=Path, default=in_project(CACHE / "epoch-times.json"), metavar="FILE")
    options = parser.parse_args(arguments)
    device = torch.device("cpu")
    set_up_process(device)
    torch.set_num_threads(1)
    precision = choose_precision("auto", device)
    times = {
        "machine": processor_name(device),
        "threads": 1,
        "precision": str(precision).removeprefix("torch."),
        "torch": torch.__version__,
        "date": str(datetime.date.today()),
    }
    times["seconds"] = measured_before(options.output, times)
    pictures = None
    for number in map(str, options.stages):
        if number not in times["seconds"]:
            pictures = pictures or data.load(options.data or setting(DATA_VARIABLE) or "auto")
            times["seconds"][number] = epochs(get_stage(int(number)), pictures, precision)
            with writing(options.output):
                write(options.output, (json.dumps(times, indent=1) + "\n").encode())
        print(f"stage {number}: {times['seconds'][number]} s", flush=True)
    return 0


def measured_before(path: Path, times: dict[str, Any]) -> dict[str, list[float]]:
    """The seconds that the file has from this machine and day, by stage."""
    with reading(path, "move it away and measure again"):
        kept = json.loads(path.read_bytes()) if path.exists() else {}
    same = all(kept.get(name) == value for name, value in times.items())
    return kept["seconds"] if same else {}


def epochs(stage: Stage, pictures: data.Dataset, precision: torch.dtype) -> list[float]:
    """Seconds of whole epochs, as a run's history has them: training, and both evaluations."""
    engine, seconds = Engine(stage.network, stage.recipe, pictures, precision=precision), []
    shown = f"stage {stage.number}: {{percentage:3.0f}}% {{bar}} {{remaining}} left"
    interval = 0.1 if sys.stderr.isatty() else 10
    with tqdm(total=EPOCHS, bar_format=shown, mininterval=interval) as bar:
        for epoch in range(1, EPOCHS + 1):
            began = time.perf_counter()
            for share, *_ in engine.train_in_parts(epoch):
                bar.update(epoch - 1 + share - bar.n)
            engine.evaluate_training()
            engine.evaluate()
            seconds.append(round(time.perf_counter() - began, 3))
    return seconds


if __name__ == "__main__":
    sys.exit(main())
