"""The command line: ``python -m cifar_study.train --stage N``.

Says what is trained and shows how it goes; nothing numeric happens here. What may be
missing from an environment is imported once it is needed, so that ``main`` can say what to
install, and torch only once there is something to train.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

if not __package__:
    sys.stderr.write("error: run it in the project's folder as: python -m cifar_study.train\n")
    raise SystemExit(2)

from cifar_study.errors import StudyError, one_line, run_command, say

# What a shutdown or a closed terminal sends is treated as Ctrl-C; Windows has no SIGHUP.
ENDINGS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
STOPPED = "stopped; all that was finished is kept, the same command goes on"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status: 0 done, 2 an error on one line, 130 stopped."""
    return run_command(lambda: _command(arguments), STOPPED, "make train STAGE=1")


def _command(arguments: Sequence[str] | None) -> int:
    from cifar_study.options import chosen_runs, parser

    parse = parser()
    options = parse.parse_args(arguments)
    if not (options.stage or options.status):
        parse.error("say what to do: --stage N or --status")
    runs = chosen_runs(options)
    if options.status:
        return _show_status(runs, options)
    for ending in ENDINGS:
        if signal.getsignal(ending) != signal.SIG_IGN:  # as nohup wants it
            signal.signal(ending, _interrupt)
    # Threads spin less than a millisecond before they sleep: as fast on an idle machine, and
    # 2.5 times as fast beside another busy process, which spinning would keep from the cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    return _train(runs, options)


def _train(runs: list, options: argparse.Namespace) -> int:
    """Train what is not complete, in this process where it is one run, and measure it."""
    from cifar_study.checkpoints import current
    from cifar_study.options import data_name
    from cifar_study.runs import unmeasured

    there = (
        {} if options.restart else {run: current(run) for run in runs}
    )  # before pictures are read
    complete = [run for run, result in there.items() if result and result.complete]
    for run in complete:
        say(f"{run}: already complete, {_outcome(run)}")
    unmeasured_runs = [run for run in complete if options.measure or unmeasured(run)]
    waiting = [run for run in runs if run not in complete]
    failed = []
    if len(waiting) == 1 and not options.scheduler:
        _train_here(waiting[0], options)
    elif waiting:
        failed = _train_many(waiting, options)
    if unmeasured_runs:
        from cifar_study.data import load
        from cifar_study.training.measure import measure

        data = load(data_name(options))
        for run in unmeasured_runs:
            measure(run, data)
    if failed and len(runs) > 1:
        say(f"failed: {', '.join(map(str, failed))}")
    return 2 if failed else 0


def _train_here(run, options: argparse.Namespace) -> None:
    """Train a run in this process, with a bar on a terminal and else a line an epoch."""
    from tqdm import tqdm

    from cifar_study.data import load
    from cifar_study.options import data_name
    from cifar_study.runs import unmeasured

    say(f"{run}: starting, the first news takes some seconds")
    data = load(data_name(options))
    from cifar_study.training.measure import measure
    from cifar_study.training.trainer import train

    form = (
        "{desc}: {percentage:3.0f}% {bar} {n:.2f}/{total} epochs [{elapsed}<{remaining}{postfix}]"
    )
    bar = tqdm(total=run.planned, desc=str(run), disable=None, bar_format=form, dynamic_ncols=True)
    with bar:
        for news in train(run, data, options.device, options.compile, options.restart):
            if not bar.n:
                bar.initial = int(news.epochs)
            bar.n = news.epochs
            bar.set_postfix_str(f"loss {news.loss:.3f}, accuracy {news.accuracy:.1%}")
            if news.row and bar.disable:
                row = news.row
                say(
                    f"{run}: epoch {row['epoch']}/{run.planned}, test loss {row['test_loss']:.4f} "
                    f"accuracy {row['test_accuracy']:.1%}, {row['seconds']:.1f} s"
                )
    if unmeasured(run):
        measure(run, data)
    say(f"{run}: complete, {_outcome(run)}")


def _train_many(runs: list, options: argparse.Namespace) -> list:
    """Train each run by a command of its own, here or on a cluster; those that failed."""
    from pathlib import Path

    from cifar_study.data import load
    from cifar_study.options import data_name
    from cifar_study.training import many

    name = data_name(options)
    more = ["--device", options.device, *["--compile"] * options.compile]
    more += ["--restart"] * options.restart
    if name not in ("auto", "synthetic"):
        more += ["--data", str(Path(name).expanduser().resolve())]
    if options.scheduler:
        return many.train_all(runs, more, many.on_cluster(options.scheduler, runs[0].root))
    from cifar_study.training.hardware import choose_device, cores

    load(name)  # decoded and checked once, before any job starts
    one_a_core = cores() if choose_device(options.device, options.compile).type == "cpu" else 1
    jobs = min(options.jobs or one_a_core, len(runs))
    return many.train_all(runs, more, many.here(jobs, max(1, cores() // jobs)))


def _outcome(run) -> str:
    """How far a run came, and what one may do next."""
    from cifar_study.runs import CACHE, VARIABLE, read

    history = read(run).history
    accuracy = f"test accuracy {history.test_accuracy.iloc[-1]:.1%} after {len(history)} epochs"
    if run.root == CACHE:
        return f"{accuracy}; make report shows it, and --cache mine trains one of your own"
    return f"{accuracy}; {VARIABLE}={run.root} make report shows it, --epochs goes on for longer"


def _show_status(runs: list, options: argparse.Namespace) -> int:
    """Print where each run stands; 2 where one can't be read."""
    from cifar_study.layers import count_parameters
    from cifar_study.runs import read, runs_in
    from cifar_study.stages import PEERS

    root, there = runs[0].root, runs_in(runs[0].root)
    numbers = dict.fromkeys(run.number for run in runs)
    if not options.stage:
        numbers |= dict.fromkeys([*PEERS, *(run.number for run in there)])
    rows, status = [], 0
    for number in numbers:
        asked = [run for run in there if run.number == number]
        asked = [run for run in asked if not options.seeds or run.seed in options.seeds]
        for run in asked or [run for run in runs if run.number == number]:
            accuracy, precision = "–", "–"
            try:
                result = read(run)
                state = result.state if result else "absent"
                if result:
                    accuracy = f"{result.history.test_accuracy.iloc[-1]:.1%}"
                    precision = result.record["configuration"]["precision"]
            except StudyError as error:
                state, status = str(error), 2
            parameters = f"{count_parameters(run.stage.network):,}"
            rows.append((number, run.stage.title, run.seed, parameters, precision, accuracy, state))
    print(f"results in {root}/")
    titles = ("stage", "network", "seed", "parameters", "precision", "test accuracy", "state")
    widths = [max(len(str(row[place])) for row in (titles, *rows)) for place in range(6)]
    for row in (titles, *rows):
        cells = [
            f"{cell:<{width}}" if place == 1 else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        print("  ".join([*cells, one_line(row[6])]))
    return status


def _interrupt(number: int, frame: object) -> None:
    for ending in ENDINGS:  # the next ones are impatience, or of a closed terminal, which sends two
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
