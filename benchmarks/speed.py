"""The command line: ``python -m benchmarks.speed``.

Measures the engine beside its peers and the floor, stage by stage, and keeps
what it measured after every stage; ``--scaling`` measures how the cost grows
with the number of pictures instead. ``benchmarks/README.md`` says what is measured and why.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

if not __package__:
    sys.stderr.write("error: run it in the project's folder as: python -m benchmarks.speed\n")
    raise SystemExit(2)

from benchmarks.crew import CONTENDERS, Crew, Turn, alternate
from benchmarks.protocol import DATA, PROJECT, Worker
from benchmarks.sample import TEST_SHARE, write_sample
from cifar_study import datasets
from cifar_study.atomic import check_writable, write_json
from cifar_study.cifar10 import TEST, TRAIN
from cifar_study.command import Parser, run_command
from cifar_study.errors import StudyError
from cifar_study.layers import count_macs
from cifar_study.options import positive
from cifar_study.results.speed import FORMAT, REMEDY, read_speed, speed_file
from cifar_study.stages import PEERS, STAGES, get_stage

FULLY = (1, 2, 4, 5, 6, 7, 8)  # 3 is 4 with sigmoids; of it and of the peers the engine alone
SIZE_STAGES = (2, 8)  # small and large: what an epoch costs besides its pictures shows in one
KERAS_PYTHON = PROJECT / ".venv-bench" / "bin" / "python"


def parser() -> Parser:
    """The options, with what each does."""
    parse = Parser(prog="python -m benchmarks.speed", description=__doc__)
    add = parse.add_argument
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    add("--stages", nargs="+", type=int, choices=STAGES | PEERS, metavar="N", help="some stages")
    add("--repeats", type=positive, default=5, help="of each, after a warm-up (default 5)")
    add("--images", type=positive, default=3_200, metavar="K", help="train on K, test on K/5")
    add("--scaling", action="store_true", help="measure how the cost grows instead")
    add("--jobs", type=positive, default=cores, help="processes side by side (default one a core)")
    add("--data", default=DATA, help="synthetic, or a folder with CIFAR-10 (default %(default)s)")
    add("--keras-python", type=Path, help="default: that of .venv-bench")
    add("--output", type=Path, help="default: cache/speed-….json, named after the processor")
    return parse


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status: 0 done, 2 an error named on one line, 130 stopped."""
    return run_command(
        lambda: _command(arguments), "stopped; finished stages are kept", "make bench"
    )


def _command(arguments: list[str] | None) -> int:
    options = parser().parse_args(arguments)
    machine = _machine()
    remedy = "give another --output" if options.output else REMEDY
    options.output = options.output or speed_file(PROJECT / "cache", machine["processor"])
    check_writable(options.output)
    keras = options.keras_python or KERAS_PYTHON
    if options.keras_python and not keras.exists():
        raise StudyError(f"--keras-python {keras}: no such file; name a Python that has Keras")
    results = _earlier(options.output, machine, remedy)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.npz"
        _draw(path, options)
        start = partial(_start, path, results["machine"]["precision"], keras)
        with Crew(options.jobs, start) as crew:
            if options.scaling:
                measure_scaling(crew, options, results)
            else:
                measure_stages(crew, options, results, _contenders(keras))
    from cifar_study.report.benchmark import ratios  # here, as it loads matplotlib

    print(ratios(results).to_markdown(index=False, disable_numparse=True))
    return 0


def measure_stages(
    crew: Crew, options: argparse.Namespace, results: dict[str, Any], names: list[str]
) -> None:
    """Every contender on every stage; seconds scaled to a whole epoch."""
    stages = options.stages or STAGES | PEERS
    plan = {stage: names if stage in FULLY else ["engine"] for stage in stages}
    with _bar(sum(map(len, plan.values())), options) as bar:
        for stage, names in plan.items():
            turns = [Turn(name, stage, options.images) for name in names]
            facts = _facts(options) | {"macs": count_macs(get_stage(stage).network)}
            measured = alternate(turns, options.repeats, crew, bar).items()
            seconds = {turn.contender: _whole_epoch(values, options) for turn, values in measured}
            facts |= {"seconds": seconds, "versions": crew.versions}
            results.setdefault("stages", {})[str(stage)] = facts
            write_json(options.output, results)


def measure_scaling(crew: Crew, options: argparse.Namespace, results: dict[str, Any]) -> None:
    """The engine's seconds by the number of pictures."""
    stages = options.stages or SIZE_STAGES
    turns = [Turn("engine", stage, images) for stage in stages for images in _sizes(options)]
    sizes: dict[str, dict[str, list[float]]] = {}
    with _bar(len(turns), options) as bar:
        for turn, values in alternate(turns, options.repeats, crew, bar).items():
            entry = sizes.setdefault(str(turn.stage), {})
            entry[str(turn.images)] = [round(value, 4) for value in values]
    results["scaling"] = _facts(options) | {"sizes": sizes, "versions": crew.versions}
    write_json(options.output, results)


def _sizes(options: argparse.Namespace) -> list[int]:
    """The pictures that are trained on at a time."""
    halves = (1, 2, 4, 8) if options.scaling else (2,)
    return [options.images * number // 2 for number in halves]


def _bar(turns: int, options: argparse.Namespace) -> tqdm:
    shown = "{desc}{n} of {total} turns, {remaining} left"
    interval = 0.1 if sys.stderr.isatty() else 10
    return tqdm(total=turns * (options.repeats + 1), bar_format=shown, mininterval=interval)


def _whole_epoch(values: list[float], options: argparse.Namespace) -> list[float]:
    share = (options.images + options.images // TEST_SHARE) / (TRAIN + TEST)
    return [round(value / share, 4) for value in values]


def _facts(options: argparse.Namespace) -> dict[str, Any]:
    """How and when a measurement was made; the load is that of others, just before it."""
    return {
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "data": options.data if options.data == "synthetic" else "cifar10",
        "images": options.images,
        "repeats": options.repeats,
        "jobs": options.jobs,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _contenders(python: Path) -> list[str]:
    """The names that will be measured: without Keras where it is not."""
    if python.exists():
        return list(CONTENDERS)
    print(f"measuring without Keras: no {python}; make bench sets it up", file=sys.stderr)
    return [name for name in CONTENDERS if not name.startswith("keras")]


def _draw(path: Path, options: argparse.Namespace) -> None:
    """Write the sample, as large as the largest measurement needs."""
    least, most = min(_sizes(options)), max(_sizes(options))
    if not TEST_SHARE <= least <= most <= TRAIN:
        raise StudyError(
            f"--images {options.images}: trains on {least:,} to {most:,} pictures; "
            f"it has to be {TEST_SHARE} to {TRAIN:,}"
        )
    if options.data == "synthetic":
        data = datasets.synthetic(most, most // TEST_SHARE)
    else:
        data = datasets.load(options.data)
    write_sample(path, data, most)


def _machine() -> dict[str, Any]:
    """What the engine runs on, and the precision that it chooses here."""
    from cifar_study.training.hardware import choose_device, choose_precision, describe

    device = choose_device("cpu")
    machine = describe(device, choose_precision("auto", device))
    del machine["threads"]  # differs between the contenders
    return machine


def _start(path: Path, precision: str, keras: Path, kind: str, threads: int) -> Worker:
    """Start a worker on this sample."""
    command = [sys.executable, "-m", "benchmarks.torch_worker", kind, path, precision]
    if kind == "keras":
        command = [keras.absolute(), "-m", "benchmarks.keras_worker", path, threads]
    return Worker(kind, [str(word) for word in command], threads)


def _earlier(path: Path, machine: dict[str, Any], remedy: str = REMEDY) -> dict[str, Any]:
    """What an earlier call measured, if it was on this machine with these versions."""
    if path.exists():
        earlier = read_speed(path, remedy)
        if earlier["machine"] == machine:
            return earlier
        print(f"{path.name} is of another machine or other versions: begun anew", file=sys.stderr)
    return {"format": FORMAT, "machine": machine}


if __name__ == "__main__":
    sys.exit(main())
