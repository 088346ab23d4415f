"""The command line: ``python -m benchmarks.speed``.

Measures the engine beside its peers and the floor, stage by stage, and keeps
what it measured after every stage; ``--scaling`` measures how the cost grows
instead. ``benchmarks/README.md`` says what is measured and why.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from benchmarks.crew import CONTENDERS, Crew, Progress, Start, Turn, alternate
from benchmarks.protocol import PROJECT, Worker
from benchmarks.sample import TEST_SHARE, read_sample, write_sample
from cifar_study import data as datasets
from cifar_study.cache import write_json
from cifar_study.data import TEST, TRAIN, Dataset
from cifar_study.engine import Engine, choose_precision
from cifar_study.errors import StudyError
from cifar_study.layers import count_macs
from cifar_study.speed import FORMAT, RESULTS, read_results
from cifar_study.stages import STAGES

SIZES = (1_600, 3_200, 6_400, 12_800)
SIZE_STAGES = (2, 8)  # small and large: what an epoch costs besides its pictures shows in one
KERAS_PYTHON = PROJECT / ".venv-bench" / "bin" / "python"
Save = Callable[[dict[str, Any]], None]


def parser() -> argparse.ArgumentParser:
    """The options, with what each does."""
    parse = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description="Measure the engine beside a plain loop, Keras and the floor.",
    )
    add = parse.add_argument
    add("--stages", nargs="+", type=int, choices=STAGES, metavar="N", help="stages to measure")
    add("--repeats", type=int, default=5, help="measurements of each after a warm-up (default 5)")
    add("--images", type=int, default=3_200, metavar="K", help="train on K pictures, test on K/5")
    add(
        "--contenders",
        nargs="+",
        choices=CONTENDERS,
        default=list(CONTENDERS),
        metavar="NAME",
        help=f"some of: {', '.join(CONTENDERS)} (default all)",
    )
    add("--scaling", action="store_true", help="measure how the cost grows instead")
    add("--sizes", nargs="+", type=int, default=SIZES, metavar="K", help="pictures for --scaling")
    add("--jobs", type=int, default=_cores(), help="processes side by side (default one a core)")
    add("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    add("--data", default="auto", help="auto (default), synthetic, or a folder with CIFAR-10")
    add("--keras-python", type=Path, help="the Python that has Keras (default: .venv-bench's)")
    add("--output", type=Path, default=PROJECT / RESULTS)
    add("--readme", type=Path, default=report.FOLDER / "README.md", help="where the tables go")
    return parse


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status: 0 done, 2 an error named on one line, 130 stopped."""
    options = parser().parse_args(arguments)
    try:
        for name in ("repeats", "jobs"):
            if getattr(options, name) < 1:
                raise StudyError(f"--{name} {getattr(options, name)}: give 1 or more")
        names = _contenders(options)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sample.npz"
            _draw(path, options)
            precision, machine = _machine(path, options)
            with Crew(names, options.jobs, _starter(path, precision, options)) as crew:
                results = _earlier(options.output, machine)

                def save(entries: dict[str, Any]) -> None:
                    results.update(entries)
                    write_json(options.output, results)
                    report.fill_readme(options.readme, results)

                measure = measure_scaling if options.scaling else measure_stages
                measure(crew, names, options, results, save)
        print(report.section(results))
        return 0
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the stages that were finished are kept", file=sys.stderr)
        return 130


def measure_stages(
    crew: Crew, names: list[str], options: argparse.Namespace, results: dict, save: Save
) -> None:
    """Every contender on every stage; seconds scaled to a whole epoch."""
    stages = options.stages or [1, 2, 4, 5, 6, 7, 8]  # 3 is 4 with sigmoids, for 15 epochs only
    whole = _whole_epoch(options.images)
    plan = {stage: [Turn(name, stage, options.images) for name in names] for stage in stages}
    progress = Progress([turn for turns in plan.values() for turn in turns], options.repeats)
    for stage, turns in plan.items():
        facts = _facts(crew, options)
        times = alternate(turns, options.repeats, crew, progress)
        facts["macs"] = count_macs(STAGES[stage].network)
        facts["seconds"] = {
            turn.contender: [round(whole * value, 4) for value in values]
            for turn, values in times.items()
        }
        save({"stages": results.get("stages", {}) | {str(stage): facts}})


def measure_scaling(
    crew: Crew, names: list[str], options: argparse.Namespace, results: dict, save: Save
) -> None:
    """The engine's seconds by pictures, by multiply-accumulates, and side by side."""
    wanted = options.stages or list(STAGES)
    sized = [stage for stage in SIZE_STAGES if stage in wanted] or wanted[:1]
    by_size = [Turn("engine", stage, images) for stage in sized for images in options.sizes]
    by_stage = [Turn(name, stage, options.images) for stage in wanted for name in names]
    progress = Progress(by_size + by_stage, options.repeats)
    scaling = _facts(crew, options)

    times = alternate(by_stage, options.repeats, crew, progress)
    whole = _whole_epoch(options.images)
    scaling["stages"] = {str(stage): {} for stage in wanted}
    for turn, values in times.items():
        entry = scaling["stages"][str(turn.stage)]
        entry["macs"] = count_macs(STAGES[turn.stage].network)
        entry[turn.contender] = [round(whole * value, 4) for value in values]
    save({"scaling": scaling})

    times = alternate(by_size, options.repeats, crew, progress)
    scaling["sizes"] = {str(stage): {} for stage in sized}
    for turn, values in times.items():
        sizes = scaling["sizes"][str(turn.stage)]
        sizes[str(turn.images)] = [round(value, 4) for value in values]
    save({"scaling": scaling})


def _whole_epoch(images: int) -> float:
    return (TRAIN + TEST) / (images + images // TEST_SHARE)


def _facts(crew: Crew, options: argparse.Namespace) -> dict[str, Any]:
    """How and when a measurement was made; the load is that of others, just before it."""
    return {
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "data": options.data if options.data == "synthetic" else "cifar10",
        "images": options.images,
        "repeats": options.repeats,
        "jobs": options.jobs,
        "versions": crew.versions,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _contenders(options: argparse.Namespace) -> list[str]:
    """The names that will be measured: without Keras where it is not and was not asked for."""
    if options.scaling:
        return ["engine", "engine-jobs"]
    python = options.keras_python or KERAS_PYTHON
    if python.exists():
        return options.contenders
    if options.keras_python:
        raise StudyError(f"--keras-python {python}: no such file; give a Python that has Keras")
    print("measuring without Keras: make bench sets it up, or give --keras-python", file=sys.stderr)
    return [name for name in options.contenders if CONTENDERS[name].kind != "keras"]


def _draw(path: Path, options: argparse.Namespace) -> None:
    """Write the sample, as large as the largest measurement needs."""
    most = max([options.images, *(options.sizes if options.scaling else ())])
    least = min([options.images, *(options.sizes if options.scaling else ())])
    if not TEST_SHARE <= least <= most <= TRAIN:
        raise StudyError(f"--images, --sizes: give {TEST_SHARE} to {TRAIN:,} pictures")
    if options.data == "synthetic":
        data = datasets.synthetic(most, most // TEST_SHARE)
    else:
        data = datasets.load(options.data)
    write_sample(path, data, most)


def _machine(path: Path, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The precision that one thread of the engine chooses here, and what it runs on."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    precision = choose_precision(options.precision, cpu)
    few = Dataset("sample", "drawn", *read_sample(path).first(TEST_SHARE), fingerprint="")
    stage = STAGES[1]
    engine = Engine(stage.network, stage.recipe, few, device=cpu, precision=precision)
    machine = engine.description()
    del machine["threads"]  # differs between the contenders
    return machine["precision"], machine


def _starter(path: Path, precision: str, options: argparse.Namespace) -> Start:
    """What starts a worker on this sample."""

    def start(kind: str, threads: int) -> Worker:
        if kind == "keras":
            python = str((options.keras_python or KERAS_PYTHON).absolute())
            command = [python, "-m", "benchmarks.keras_worker", str(path), str(threads)]
        else:
            command = [sys.executable, "-m", "benchmarks.torch_worker", kind, str(path)]
            command += [str(threads), precision]
        return Worker(kind, command, threads)

    return start


def _earlier(path: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """What an earlier call measured, if it was on this machine with these versions."""
    fresh = {"format": FORMAT, "machine": machine}
    if not path.exists():
        return fresh
    earlier = read_results(path)
    if earlier["machine"] != machine:
        print(f"{path.name} is of another machine or other versions: begun anew", file=sys.stderr)
        return fresh
    return earlier


if __name__ == "__main__":
    sys.exit(main())
