"""Several runs side by side, one process each, and the bars that show how they go."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import Connection, wait

from tqdm import tqdm

from cifar_study import data as datasets
from cifar_study.data import Dataset
from cifar_study.errors import StudyError, missing_package
from cifar_study.layers import count_macs
from cifar_study.runs import ROOT, Run
from cifar_study.trainer import Event, Hardware, train


def train_all(runs: list[Run], options: argparse.Namespace) -> int:
    """Train every run, the longest first; the exit status of the command."""
    data = datasets.load(options.data)  # decoded and checked once, before any job starts
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    runs = sorted(runs, key=lambda run: run.planned * count_macs(run.network), reverse=True)
    jobs = min(options.jobs or (1 if _on_gpu(options.device) else cores), len(runs))
    hardware = Hardware(options.device, options.precision, max(1, cores // jobs), jobs)
    if options.scheduler:
        from cifar_study.cluster import train_on_cluster

        failed = train_on_cluster(runs, data, options)
    elif jobs == 1:
        failed = []
        for run in runs:
            reporter = Reporter(run, 0)
            try:
                reporter.finish(train(run, data, hardware, reporter, options.restart))
            except StudyError as error:
                reporter.fail(str(error))
                failed.append(run)
    else:
        failed = _side_by_side(runs, hardware, options, jobs)
    _draw([run for run in runs if run not in failed], data)
    if failed and len(runs) > 1:
        print(f"failed: {', '.join(run.name for run in failed)}", file=sys.stderr)
    return 2 if failed else 0


def _draw(runs: list[Run], data: Dataset) -> None:
    """Draw the pictures of the study's runs that are not drawn yet, also of earlier commands."""
    study = [run for run in runs if run.root == ROOT and not run.trial]
    if not study:
        return
    from cifar_study import pictures  # here, as it loads matplotlib

    # One seed is shown where only one can be.
    undrawn = [run for run in study if run.seed == 0 and pictures.is_undrawn(run)]
    for run in undrawn:
        print(f"drawing the pictures of {run.name}", file=sys.stderr)
        pictures.draw_run(run, data)
    pictures.draw_result()


def _on_gpu(device: str) -> bool:
    if device != "auto":
        return device != "cpu"
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


class Reporter:
    """Shows one run: a bar on a terminal, else a line an epoch."""

    def __init__(self, run: Run, position: int | None = None) -> None:
        self.run = run
        self.start: float | None = None
        self.began = time.monotonic()
        self.bar = tqdm(
            total=run.planned,
            desc=run.name,
            position=position,
            disable=not sys.stderr.isatty(),
            bar_format="{desc}: {percentage:3.0f}% {bar} {n:.1f}/{total} epochs "
            "[{elapsed}<{remaining}{postfix}]",
            dynamic_ncols=True,
        )

    def __call__(self, event: Event) -> None:
        """Show what an event of the run says."""
        if self.start is None:
            # Where it began: news of an epoch's end is of one that was under way.
            self.start = math.ceil(event.epochs) - 1
            self.bar.initial = self.bar.n = self.start
        self.bar.update(event.epochs - self.bar.n)
        self.bar.set_postfix_str(f"loss {event.loss:.3f}, accuracy {event.accuracy:.1%}")
        if event.row and self.bar.disable:
            row, epoch = event.row, round(event.epochs)
            speed = (time.monotonic() - self.began) / (epoch - self.start)
            left = tqdm.format_interval(speed * (self.run.planned - epoch))
            self._print(
                f"epoch {epoch}/{self.run.planned}, "
                f"train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:.1%}, "
                f"test loss {row['test_loss']:.4f} accuracy {row['test_accuracy']:.1%}, "
                f"{row['seconds']:.1f} s, {left} left"
            )

    def finish(self, trained: bool) -> None:
        """Close the bar and say that the run is complete."""
        self.bar.close()
        done = "complete" if trained else "already complete"
        self._print(f"{done}, {self.run.planned} epochs in {self.run.folder}")

    def fail(self, message: str) -> None:
        """Close the bar and say why the run stopped."""
        self.bar.close()
        tqdm.write(f"error: {message}", file=sys.stderr)

    def _print(self, text: str) -> None:
        tqdm.write(f"{self.run.name}: {text}", file=sys.stderr)


def _side_by_side(
    runs: list[Run], hardware: Hardware, options: argparse.Namespace, jobs: int
) -> list[Run]:
    """Keep ``jobs`` processes busy until every run has had its turn; the runs that failed."""
    context = multiprocessing.get_context("spawn")
    # A pipe for each job: one that is killed while it writes can't hold up the others.
    waiting, working, failed = list(runs), {}, []
    free = list(range(jobs))
    try:
        while waiting or working:
            while waiting and free:
                run = waiting.pop(0)
                news, told = context.Pipe(duplex=False)
                process = context.Process(
                    target=_job,
                    args=(run, hardware, options.data, options.restart, told),
                    daemon=True,  # ends with this process, however that comes about
                )
                _start(process)
                told.close()  # the job's own end is the last: it closes when the job dies
                working[news] = (run, process, Reporter(run, free.pop(0)))
            for news in wait(list(working)):
                run, process, reporter = working[news]
                try:
                    message = news.recv()
                except (EOFError, OSError):  # killed, or out of memory
                    message = f"{run.name}: its process died; run the same command again to go on"
                if isinstance(message, Event):
                    reporter(message)
                    continue
                if isinstance(message, str):
                    reporter.fail(message)
                    failed.append(run)
                else:
                    reporter.finish(message)
                process.join()
                free.append(-reporter.bar.pos if not reporter.bar.disable else 0)
                del working[news]
    finally:
        for _, process, _ in working.values():
            process.terminate()
    return failed


def _start(process: multiprocessing.process.BaseProcess) -> None:
    """Start a job deaf to Ctrl-C from its first moment: the parent ends the jobs.

    A Ctrl-C that comes meanwhile takes effect once the job has started.
    """
    came: list[int] = []
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    handler = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    if masks:  # handed down to the job
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt


def _job(run: Run, hardware: Hardware, data: str, restart: bool, news: Connection) -> None:
    """In the job's own process: train, and send events; last a bool (done) or a str (an error)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows does not hand that down
    if hasattr(signal, "SIGHUP"):  # sent to all of a closed terminal; the parent ends the jobs
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def tell(event: Event) -> None:
        try:
            news.send(event)
        except OSError:
            os._exit(1)  # the parent died, and an orphan would train on unseen

    try:
        news.send(train(run, datasets.load(data), hardware, tell, restart))
    except StudyError as error:
        news.send(str(error))
    except ImportError as error:
        news.send(f"{run.name}: {missing_package(error)}")
