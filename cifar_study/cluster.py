"""The same jobs on a Dask cluster: one task for each stage and seed, the longest first.

Scheduler and workers see the cache and the data under the same paths. A worker
that dies loses the epoch it is in; the scheduler hands its job to another one,
which goes on from the last finished epoch. Nothing else imports Dask.
"""

from __future__ import annotations

import logging
import pickle
import queue
import socket
import sys
import threading
import uuid
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cifar_study import data as datasets
from cifar_study.data import Dataset
from cifar_study.errors import StudyError
from cifar_study.files import first_line, reason
from cifar_study.jobs import Reporter
from cifar_study.runs import Run
from cifar_study.trainer import Event, Hardware, discard, train

try:
    import distributed
    from distributed.scheduler import KilledWorker
    from distributed.worker import WORKER_ANY_RUNNING
except ImportError as error:
    raise StudyError(
        f"--scheduler: Dask can't be used ({error}); "
        "install it with: pip install -r requirements-cluster.txt"
    ) from None

# Seconds to wait for a run that another process holds: NFS keeps the lock of a
# host that is gone for a minute and a half.
PATIENCE = 120
# Torch's threads and random numbers are one process's, whatever threads Dask gives it.
_alone = threading.Lock()


def train_on_cluster(runs: list[Run], data: Dataset, options: Namespace) -> list[Run]:
    """Train every run on the workers of ``options.scheduler``; the runs that failed.

    A scheduler that does not answer is a :class:`StudyError`.
    """
    hardware = Hardware(options.device, options.precision, threads=1)
    source = "synthetic" if data.name == "synthetic" else str(Path(data.source).resolve())
    news: queue.SimpleQueue = queue.SimpleQueue()
    failed, reporters = [], {}
    with _connected(options.scheduler) as client:
        if options.restart:  # here and once: a job that changes its worker must not begin anew
            for run in runs:
                discard(run)
        topic = f"cifar-study-{uuid.uuid4().hex}"
        client.subscribe_topic(topic, lambda stamped: news.put(pickle.loads(stamped[1])))
        indices = range(len(runs))
        futures = client.map(
            _job,
            indices,
            [replace(run, root=run.root.resolve()) for run in runs],
            # The scheduler takes them up in the order of their keys.
            key=[f"{topic}-{index:05}" for index in indices],
            hardware=hardware,
            data=source,
            topic=topic,
        )
        for index, future in enumerate(futures):
            future.add_done_callback(lambda done, index=index: news.put((index, done)))
        working = dict(enumerate(futures))
        del futures, future  # what is done is let go of, or it would be done again if lost
        while working:
            index, message = news.get()
            if index not in working:
                continue
            run = runs[index]
            if index not in reporters:
                reporters[index] = Reporter(run)
            if isinstance(message, Event):
                reporters[index](message)
                continue
            outcome = _outcome(run, working.pop(index))
            if isinstance(outcome, str):
                reporters[index].fail(outcome)
                failed.append(run)
                continue
            reporters[index].finish(outcome)
    return failed


def _job(index: int, run: Run, *, hardware: Hardware, data: str, topic: str) -> bool:
    """On a worker: train, and send events; False where the run already was complete."""
    worker = distributed.get_worker()
    key = worker.get_current_task()

    def tell(event: Event) -> None:
        task = worker.state.tasks.get(key)
        asked_for = task is not None and task.state != "cancelled"
        if not asked_for or worker.status not in WORKER_ANY_RUNNING:
            raise StudyError(f"{run.name}: whoever asked for it, or the scheduler, has gone")
        worker.log_event(topic, pickle.dumps((index, event)))

    with _alone:
        return train(run, datasets.load(data), hardware, tell, patience=PATIENCE)


@contextmanager
def _connected(address: str) -> Iterator[distributed.Client]:
    """A client of the scheduler; closing it makes the workers stop what it asked for."""
    for name in ("distributed", "distributed.client"):  # what goes wrong is said here, once
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _look_for_scheduler(address)
    try:
        client = distributed.Client(address, timeout=10, set_as_default=False)
    except Exception as error:  # of a wrong protocol, of tls:// without its settings, or no answer
        why = f" ({first_line(error)})" if not isinstance(error, OSError) else ""
        raise StudyError(
            f"--scheduler {address}: no scheduler answers there{why}; "
            "start one with: dask scheduler"
        ) from None
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        start = f"dask worker {address} --no-nanny --nthreads 1"
        if any(worker["nthreads"] > 1 for worker in workers):
            raise StudyError(
                f"--scheduler {address}: has workers of several threads, but a job needs a "
                f"process of its own; start them with: {start}"
            )
        if not workers:
            print(f"no worker yet; start some with: {start}", file=sys.stderr)
        yield client


def _look_for_scheduler(address: str) -> None:
    """Whether something listens there; Dask would try for long, and not say what is wrong."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, UnicodeError) as error:  # the latter of a name that no host can have
        raise StudyError(
            f"--scheduler {address}: no scheduler answers there ({reason(error)}); "
            "start one with: dask scheduler"
        ) from None


def _outcome(run: Run, future: distributed.Future) -> bool | str:
    """What came of a job: trained, complete already, or what to say of its failure."""
    again = "run the same command again to go on"
    if future.status == "finished":
        return future.result()
    if future.status != "error":
        return f"{run.name}: the scheduler let go of it; {again}"
    error = future.exception()
    if isinstance(error, StudyError):
        return str(error)
    if isinstance(error, KilledWorker):
        return f"{run.name}: the workers that trained it died one after the other; {again}"
    return f"{run.name}: {type(error).__name__} on its worker ({error}); mend that, then {again}"
