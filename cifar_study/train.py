"""The command line: ``python -m cifar_study.train --stage N``.

Says what is trained and shows how it goes; nothing numeric happens here, and torch is
imported only once there is something to train.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cifar_study.errors import StudyError, missing_package, one_line, run_command, say

try:
    from cifar_study.checkpoints import current
    from cifar_study.layers import count_parameters
    from cifar_study.options import chosen_runs, data_name, parser
    from cifar_study.runs import CACHE, VARIABLE, Run, cache, read, runs_in, unmeasured
except (ImportError, StudyError) as error:  # a package is missing, or an entry can't be trained
    say(f"error: {missing_package(error) if isinstance(error, ImportError) else error}")
    raise SystemExit(2) from None

# What a shutdown or a closed terminal sends is treated as Ctrl-C; Windows has no SIGHUP.
ENDINGS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
STOPPED = "stopped; all that was finished is kept, the same command goes on"
BAR = "{desc}: {bar} {n:.2f}/{total} epochs [{elapsed}<{remaining}{postfix}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status: 0 done, 2 an error on one line, 130 stopped."""
    return run_command(lambda: _command(arguments), STOPPED, "make train STAGE=1")


def _command(arguments: Sequence[str] | None) -> int:
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


def _train(runs: list[Run], options: argparse.Namespace) -> int:
    """Train what is not complete, in this process where it is one run; then measure."""
    if options.measure:
        asked = [run.folder for run in runs]
        runs = [run for run in runs_in(runs[0].root) if run.folder in asked]
        if not runs:
            raise StudyError("--measure: nothing of this is trained yet; leave it out to train")
        return _measure(runs, options)
    # What is stale is refused before any picture is read.
    there = {} if options.restart else {run: current(run) for run in runs}
    complete = [run for run, result in there.items() if result and result.complete]
    for run in complete:
        say(f"{run}: already complete, {_outcome(run)}")
    waiting, failed = [run for run in runs if run not in complete], []
    if len(waiting) == 1 and not options.scheduler:
        _train_here(waiting[0], options)
    elif waiting:
        failed = _train_many(waiting, options)
    if late := [run for run in complete if unmeasured(run)]:
        _measure(late, options)
    return 2 if failed else 0


def _measure(runs: list[Run], options: argparse.Namespace) -> int:
    from cifar_study.data import load
    from cifar_study.training.measure import measure

    data = load(data_name(options))
    for run in runs:
        measure(run, data)
        say(f"{run}: measured, the report shows it")
    return 0


def _train_here(run: Run, options: argparse.Namespace) -> None:
    """Train and measure a run in this process: a bar on a terminal, else a line an epoch."""
    from tqdm import tqdm

    from cifar_study.data import load

    say(f"{run}: starting, the first news takes some seconds")
    data = load(data_name(options))
    from cifar_study.training.measure import measure
    from cifar_study.training.trainer import train

    with tqdm(total=run.planned, desc=str(run), disable=None, bar_format=BAR) as bar:
        for news in train(run, data, options.device, options.restart):
            if not bar.n:
                bar.initial = int(news.epochs)  # where an earlier command stopped
            bar.n = news.epochs
            bar.set_postfix_str(f"loss {news.loss:.3f}, accuracy {news.accuracy:.1%}")
            if (row := news.row) and bar.disable:
                say(
                    f"{run}: epoch {row['epoch']}/{run.planned}, test loss {row['test_loss']:.4f} "
                    f"accuracy {row['test_accuracy']:.1%}, {row['seconds']:.1f} s"
                )
    if unmeasured(run):
        measure(run, data)
    say(f"{run}: complete, {_outcome(run)}")


def _train_many(runs: list[Run], options: argparse.Namespace) -> list[Run]:
    from cifar_study.data import load
    from cifar_study.training import many

    name = data_name(options)
    more = ["--device", options.device, *["--restart"] * options.restart]
    if name not in ("auto", "synthetic"):
        more += ["--data", str(Path(name).expanduser().resolve())]
    if options.scheduler:
        return many.train_all(runs, more, many.on_cluster(options.scheduler, runs[0].root))
    from cifar_study.training.hardware import choose_device, cores

    load(name)  # decoded and checked once, before any job starts
    one_a_core = cores() if choose_device(options.device).type == "cpu" else 1
    jobs = min(options.jobs or one_a_core, len(runs))
    return many.train_all(runs, more, many.here(jobs, max(1, cores() // jobs)))


def _outcome(run: Run) -> str:
    history = read(run).history
    accuracy = f"test accuracy {history.test_accuracy.iloc[-1]:.1%} after epoch {len(history)}"
    if run.root == CACHE:
        return f"{accuracy}; make report shows it, and --cache mine trains one of your own"
    show = "make report" if run.root == cache() else f"{VARIABLE}={run.root} make report"
    return f"{accuracy}; {show} shows it, --epochs goes on for longer"


def _show_status(runs: list[Run], options: argparse.Namespace) -> int:
    from tabulate import tabulate

    root, rows, status = runs[0].root, [], 0
    if not options.seeds:  # the seeds that are there, as they were asked for
        asked = {run.number for run in runs}
        runs = [run for run in runs_in(root) if run.number in asked]
        runs += [Run(number, root=root) for number in asked - {run.number for run in runs}]
    for run in sorted(runs, key=lambda run: (run.number, run.seed)):
        accuracy = precision = "–"
        try:
            state = "absent"
            if result := read(run):
                state, precision = result.state, result.record["configuration"]["precision"]
                accuracy = f"{result.history.test_accuracy.iloc[-1]:.1%}"
        except StudyError as error:
            state, status = one_line(str(error)), 2
        about = run.number, run.stage.title, run.seed, f"{count_parameters(run.stage.network):,}"
        rows.append((*about, precision, accuracy, state))
    titles = ("stage", "network", "seed", "parameters", "precision", "test accuracy", "state")
    align = ("right", "left", "right", "right", "right", "right", "left")
    print(f"results in {root}/")
    print(tabulate(rows, titles, "plain", colalign=align, disable_numparse=True))
    return status


def _interrupt(number: int, frame: object) -> None:
    for ending in ENDINGS:  # the next ones are impatience, or of a closed terminal, which sends two
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # Windows' code pages lack signs of ours
    sys.exit(main())
