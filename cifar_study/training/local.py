"""Runs on this machine: one after the other, or several side by side, a process each."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

from cifar_study import datasets
from cifar_study.datasets import Dataset
from cifar_study.errors import StudyError, missing_package
from cifar_study.results.run import Run
from cifar_study.training.trainer import Hardware, Message, train


def train_one_by_one(
    runs: list[Run], data: Dataset, hardware: Hardware, restart: str
) -> Iterator[tuple[Run, Message]]:
    """Train every run in this process, yielding what there is to say of each."""
    for run in runs:
        try:
            for message in train(run, data, hardware, restart):
                yield run, message
        except StudyError as error:
            yield run, str(error)


def train_side_by_side(
    runs: list[Run], data: str, hardware: Hardware, restart: str, jobs: int
) -> Iterator[tuple[Run, Message]]:
    """Keep ``jobs`` processes busy until every run has had its turn, yielding news of each.

    ``data`` is a name for :func:`cifar_study.datasets.load`.
    """
    context = multiprocessing.get_context("spawn")
    # A pipe for each job: one that is killed while it writes can't hold up the others.
    waiting, working = list(runs), {}
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                run = waiting.pop(0)
                news, told = context.Pipe(duplex=False)
                process = context.Process(
                    target=_job,
                    args=(run, hardware, data, restart, told),
                    daemon=True,  # ends with this process, however that comes about
                )
                _start(process)
                told.close()  # the job's own end is the last: it closes when the job dies
                working[news] = run, process
            for news in wait(list(working)):
                run, process = working[news]
                try:
                    message = news.recv()
                except (EOFError, OSError):  # killed, or out of memory
                    message = f"{run.name}: its process died; run the same command again to go on"
                if isinstance(message, bool | str):
                    process.join()
                    del working[news]
                yield run, message
    finally:
        for _, process in working.values():
            process.terminate()


def _start(process: multiprocessing.process.BaseProcess) -> None:
    """Start a job deaf to Ctrl-C from its first moment: the parent ends the jobs.

    A Ctrl-C that comes meanwhile takes effect once the job has started.
    """
    resource_tracker.ensure_running()  # or it is started meanwhile, which unblocks the signal
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


def _job(run: Run, hardware: Hardware, data: str, restart: str, news: Connection) -> None:
    """In the job's own process: train, and send what there is to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows does not hand that down
    if hasattr(signal, "SIGHUP"):  # sent to all of a closed terminal; the parent ends the jobs
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        for message in train(run, datasets.load(data), hardware, restart):
            _send(news, message)
    except StudyError as error:
        _send(news, str(error))
    except ImportError as error:
        _send(news, f"{run.name}: {missing_package(error)}")


def _send(news: Connection, message: Message) -> None:
    try:
        news.send(message)
    except OSError:
        os._exit(1)  # the parent died, and an orphan would train on unseen
