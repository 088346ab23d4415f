"""The command line: ``python -m cifar_study.train --stage N``.

Says what is trained and shows how it goes; nothing numeric happens here. What
may be missing from an environment (all that is not of Python itself) is imported
once it is needed, so that ``main`` can say what to install, and torch only once
there is something to train.
"""

import argparse
import os
import signal
import sys
import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

if not __package__:
    sys.stderr.write("error: run it in the project's folder as: python -m cifar_study.train\n")
    raise SystemExit(2)

from cifar_study.atomic import check_writable, present
from cifar_study.cifar10 import TRAIN
from cifar_study.command import run_command, say
from cifar_study.errors import StudyError, one_line
from cifar_study.layers import count_macs, count_parameters
from cifar_study.options import parser, refuse_idle_options
from cifar_study.results.run import CACHE, LOCK, Run
from cifar_study.stages import PEERS, STAGES, get_stage, scale_width

TRIAL, FIGURES, DATA = CACHE / "trial", Path("figures"), Path("data")
FOLDER_VARIABLE = "CIFAR_STUDY_DATA"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status: 0 done, 2 an error on one line, 130 stopped."""
    stopped = "stopped; all that was finished is kept, the same command goes on"
    return run_command(lambda: _command(arguments), stopped, "make train STAGE=1")


def _command(arguments: list[str] | None) -> int:
    parse = parser()
    options = parse.parse_args(arguments)
    refuse_idle_options(parse, options)
    if options.data == "auto":  # the variable names whatever --data does, synthetic as well
        options.data = os.environ.get(FOLDER_VARIABLE) or "auto"
    runs = _runs(options)
    if options.status:
        return _show_status(runs)
    if options.figures:
        return _draw_figures(runs, options)
    # What a shutdown, a scheduler or a closed terminal sends is treated as Ctrl-C.
    for ending in ENDINGS:
        if signal.getsignal(ending) != signal.SIG_IGN:  # as nohup wants it
            signal.signal(ending, _interrupt)
    return _train(runs, options)


def _data(options: argparse.Namespace) -> tuple[str, bool]:
    """The name of the data set, and whether it is downloaded where there is none."""
    return (str(DATA), True) if options.data == "auto" else (options.data, False)


def _train(runs: list[Run], options: argparse.Namespace) -> int:
    """Train every run, the longest first, then draw what is not drawn yet."""
    # Threads spin less than a millisecond before they sleep: as fast on an idle machine, and
    # 2.5 times as fast beside another busy process, which spinning would keep from the cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from cifar_study import datasets
    from cifar_study.training import local
    from cifar_study.training.progress import show
    from cifar_study.training.trainer import Hardware

    if not options.restart:
        _refuse_stale(runs, options.precision)
    if options.scheduler:
        from cifar_study.training.dask import look_for_scheduler

        look_for_scheduler(options.scheduler)
    elif options.device in ("cuda", "mps") or options.compile or options.precision == "bfloat16":
        _on_gpu(options)  # where it lacks what was asked for, that is said now
    check_writable(runs[0].root / LOCK)
    name, fill = _data(options)
    data = datasets.load(name, fill)  # decoded and checked once, before any job starts
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    runs = sorted(runs, key=lambda run: run.planned * count_macs(run.stage.network), reverse=True)
    jobs = threads = 1
    if not options.scheduler:  # whose workers have one job and one thread each
        say("starting: the first news takes some seconds")
        jobs = min(options.jobs or (1 if _on_gpu(options) else cores), len(runs))
        threads = max(1, cores // jobs)
    hardware = Hardware(options.device, options.precision, threads, jobs, options.compile)
    restart = uuid.uuid4().hex if options.restart else ""
    if options.scheduler:
        from cifar_study.training.dask import train_on_cluster

        source = name if name == "synthetic" else str(Path(name).resolve())
        messages = train_on_cluster(runs, source, hardware, restart, options.scheduler)
    elif jobs == 1:
        messages = local.train_one_by_one(runs, data, hardware, restart)
    else:
        messages = local.train_side_by_side(runs, name, hardware, restart, jobs)
    failed, undrawn = show(messages), False
    if runs[0].root == CACHE and not runs[0].trial:
        from cifar_study import illustrations  # here, as it loads matplotlib

        trained = [run for run in runs if run not in failed]
        with _drawing():
            undrawn = _said(illustrations.draw(trained, data, FIGURES))
    if failed and len(runs) > 1:
        print(f"failed: {', '.join(run.name for run in failed)}", file=sys.stderr)
    return 2 if failed or undrawn else 0


def _said(errors: Iterable[str]) -> bool:
    """Print errors as they come; whether there was one."""
    said = False
    for error in errors:
        say(f"error: {one_line(error)}")
        said = True
    return said


def _on_gpu(options: argparse.Namespace) -> bool:
    """Whether this machine trains on a GPU; one that lacks what is asked for is a StudyError."""
    from cifar_study.training.hardware import choose_device, choose_precision

    device = choose_device(options.device, options.compile)
    choose_precision(options.precision, device)
    return device.type != "cpu"


def _refuse_stale(runs: list[Run], precision: str) -> None:
    """End the command where a run is of something else, before pictures are read for any."""
    from cifar_study.results.status import refuse_stale
    from cifar_study.results.store import RECORD, read_record

    for run in runs:
        try:
            record = read_record(run.folder / RECORD)
        except StudyError:  # missing, or damaged, which is said in its turn
            continue
        refuse_stale(run, record, precision)


# SIGHUP is not on Windows.
ENDINGS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def _interrupt(number: int, frame: object) -> None:
    for ending in ENDINGS:  # the next ones are impatience, or of a closed terminal, which sends two
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


def _runs(options: argparse.Namespace) -> list[Run]:
    """The runs that the options name, those of trials with what makes them one."""
    from cifar_study.datasets import shapes

    pictures = shapes.TRAIN if options.data == "synthetic" else TRAIN
    if (options.limit or 0) > pictures:
        raise StudyError(
            f"--limit {options.limit}: the data set has {pictures:,} training pictures; "
            "give no more than that"
        )
    wanted = options.stage or ["all"]
    numbers = list(STAGES) if "all" in wanted else []
    if options.status and not options.stage and options.width == 1:
        numbers += PEERS
    try:
        numbers += [int(number) for number in wanted if number != "all"]
    except ValueError:
        raise StudyError(f"--stage {' '.join(wanted)}: give numbers, or all") from None
    stages = [get_stage(number) for number in dict.fromkeys(numbers)]
    if options.width != 1 and (peers := [stage for stage in stages if stage.number in PEERS]):
        raise StudyError(
            f"--width {options.width:g}: stage {peers[0].number} keeps its own width; "
            "leave the option or the stage out"
        )
    if options.epochs:
        stages = [
            replace(stage, recipe=replace(stage.recipe, epochs=options.epochs)) for stage in stages
        ]
    data = "synthetic" if options.data == "synthetic" else "cifar10"
    runs = [
        Run(scale_width(stage, options.width), limit=options.limit, data=data, root=CACHE)
        for stage in stages
    ]
    trial, root = any(run.trial for run in runs), options.cache and Path(options.cache)
    if root and os.path.realpath(root) == os.path.realpath(CACHE):  # however it is spelt
        root = CACHE
    if trial and root == CACHE:
        raise StudyError(f"--cache {CACHE}: holds the study; give a trial a folder of its own")
    if options.cache and (present(root) or options.status) and not root.is_dir():
        kind = "is a file, no" if present(root) else "no such"
        raise StudyError(f"--cache {root}: {kind} folder of results; name another")
    root = root or (TRIAL if trial else CACHE)
    runs = [replace(run, root=root) for run in runs]
    if not options.status:
        return [replace(run, seed=seed) for run in runs for seed in options.seeds or [0]]
    from cifar_study.results.status import as_recorded, seeds

    found = [replace(run, seed=seed) for run in runs for seed in options.seeds or seeds(run)]
    return found if trial or root == CACHE else [as_recorded(run) for run in found]


def _show_status(runs: list[Run]) -> int:
    """Print where each run stands; 2 where one is damaged."""
    from cifar_study.results.status import status

    statuses = [status(run) for run in runs]
    width = max(len(run.stage.title) for run in runs)
    digits = max(4, *(len(str(run.seed)) for run in runs))
    print(
        f"stage  {'network':<{width}}  {'seed':>{digits}}  parameters  precision  "
        "test accuracy  state"
    )
    for run, found in zip(runs, statuses, strict=True):
        result = found.result
        accuracy = f"{result.history['test_accuracy'].iloc[-1]:.1%}" if result else "–"
        print(
            f"{run.stage.number:>5}  {run.stage.title:<{width}}  {run.seed:>{digits}}  "
            f"{count_parameters(run.stage.network):>10,}  "
            f"{result.precision if result else '–':>9}  {accuracy:>13}  {one_line(found.text)}"
        )
    return 2 if any(found.state == "damaged" for found in statuses) else 0


def _draw_figures(runs: list[Run], options: argparse.Namespace) -> int:
    from cifar_study import datasets, illustrations

    if other := [run for run in runs if run.trial or run.seed or run.root != CACHE]:
        raise StudyError(
            f"--figures: {other[0].folder} is not of the study that {FIGURES}/ shows; "
            "leave the options of trials, --seed and --cache out"
        )
    check_writable(FIGURES / LOCK)
    data = datasets.load(*_data(options))
    with _drawing():
        return 2 if _said(illustrations.draw(runs, data, FIGURES, anew=True)) else 0


def _drawing() -> AbstractContextManager:
    """Holds figures/, where what is noted of others' pictures is read, then written."""
    from cifar_study.report.study import VARIABLE
    from cifar_study.results.lock import hold

    os.environ.pop(VARIABLE, None)  # what the report is pointed at: this shows the study
    return hold(CACHE, f"{FIGURES}/ is being drawn", timeout=-1)


if __name__ == "__main__":
    sys.exit(main())
