"""Whether bfloat16 costs accuracy: ``python -m benchmarks.precision``.

Trains one stage on a part of the pictures from several seeds in either precision,
and prints a table. What was trained is kept: the same command goes on with it.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

if not __package__:
    sys.stderr.write("error: run it in the project's folder as: python -m benchmarks.precision\n")
    raise SystemExit(2)

from benchmarks.protocol import DATA
from cifar_study import datasets
from cifar_study.command import Parser, run_command, say
from cifar_study.options import seed_list
from cifar_study.report.comparison import half_width
from cifar_study.results import store
from cifar_study.results.run import Run
from cifar_study.stages import STAGES
from cifar_study.training import trainer
from cifar_study.training.progress import show

STAGE, EPOCHS, LIMIT = 6, 8, 15_000
FOLDER = Path(tempfile.gettempdir()) / "cifar-study-precision"
PRECISIONS = ("bfloat16", "float32")


def main(arguments: list[str] | None = None) -> int:
    """Train and compare; the exit status: 0 done, 2 an error named on one line, 130 stopped."""
    return run_command(
        lambda: _command(arguments), "stopped; the same command goes on", "make bench"
    )


def _command(arguments: list[str] | None) -> int:
    parse = Parser(prog="python -m benchmarks.precision", description=__doc__)
    add = parse.add_argument
    add("--seeds", type=seed_list, default="0-2", metavar="LIST", help="default 0-2")
    add("--data", default=DATA, help="synthetic, or a folder with CIFAR-10 (default %(default)s)")
    add("--folder", type=Path, default=FOLDER, help=f"where runs are kept (default {FOLDER})")
    options = parse.parse_args(arguments)
    figures: dict[str, list[tuple[float, float]]] = {precision: [] for precision in PRECISIONS}
    pictures = datasets.load(options.data)
    for seed in options.seeds:
        for precision in PRECISIONS:  # in turn, so that what is done is done for both
            say(f"{precision}, seed {seed}")
            root = options.folder / f"{pictures.name}-{precision}"
            figures[precision].append(_trained(root, seed, precision, pictures))
    print(table(figures))
    return 0


def _trained(
    root: Path, seed: int, precision: str, pictures: datasets.Dataset
) -> tuple[float, float]:
    """Test accuracy in per cent and test loss of a run, which is trained unless it was before."""
    stage = replace(STAGES[STAGE], recipe=replace(STAGES[STAGE].recipe, epochs=EPOCHS))
    run = Run(stage, seed, LIMIT, pictures.name, root=root)
    hardware = trainer.Hardware("cpu", precision, threads=1)
    show((run, news) for news in trainer.train(run, pictures, hardware))
    last = store.read_result(run.folder).history.iloc[-1]
    return 100 * last["test_accuracy"], last["test_loss"]


def table(figures: dict[str, list[tuple[float, float]]]) -> str:
    """Means over the seeds and the difference seed by seed, with Student's 95 % intervals.

    ``figures`` has, by precision and for each seed, what :func:`_trained` gives.
    """
    half, single = (np.array(figures[precision]) for precision in PRECISIONS)
    lines = ["| | test accuracy, % | test loss |", "| --- | ---: | ---: |"]
    rows = dict(zip(PRECISIONS, (half, single), strict=True)) | {"difference": half - single}
    for name, values in rows.items():
        sign = "+" if name == "difference" else ""
        accuracy, loss = _mean(values[:, 0], sign, ".2f"), _mean(values[:, 1], sign, ".4f")
        lines.append(f"| {name} | {accuracy} | {loss} |")
    return "\n".join(lines)


def _mean(values: np.ndarray, sign: str, form: str) -> str:
    mean = format(values.mean(), sign + form)
    return f"{mean} ± {half_width(values):{form}}" if len(values) > 1 else mean


if __name__ == "__main__":
    sys.exit(main())
