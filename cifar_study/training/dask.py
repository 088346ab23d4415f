"""Runs on a Dask cluster: one task for each stage and seed, the longest first.

Scheduler and workers see the cache and the data under the same paths. A worker
that dies loses the epoch it is in; the scheduler hands its job to another one,
which goes on from the last finished epoch. Nothing else imports Dask.
"""

import logging
import queue
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from cifar_study import datasets
from cifar_study.errors import StudyError, reason
from cifar_study.results.run import Run
from cifar_study.training.trainer import Event, Hardware, Message, train

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
LOCK_TIMEOUT = 120
# Torch's threads and random numbers are one process's, whatever threads Dask gives it.
_alone = threading.Lock()


def train_on_cluster(
    runs: list[Run], data: str, hardware: Hardware, restart: str, scheduler: str
) -> Iterator[tuple[Run, Message]]:
    """Train every run on the workers of ``scheduler``, yielding what there is to say of each.

    ``data`` is a name for :func:`cifar_study.datasets.load` that every worker
    understands. A scheduler that does not answer is a :class:`StudyError`.
    """
    news: queue.SimpleQueue = queue.SimpleQueue()
    with _connected(scheduler) as client:
        topic = f"cifar-study-{uuid.uuid4().hex}"
        client.subscribe_topic(topic, lambda stamped: news.put(stamped[1]))
        indices = range(len(runs))
        futures = client.map(
            _job,
            indices,
            [replace(run, root=run.root.resolve()) for run in runs],
            # The scheduler takes them up in the order of their keys.
            key=[f"{topic}-{index:05}" for index in indices],
            hardware=hardware,
            data=data,
            restart=restart,
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
            if isinstance(message, dict):
                yield runs[index], Event(**message)
            else:
                yield runs[index], _outcome(runs[index], working.pop(index))


def _job(index: int, run: Run, *, hardware: Hardware, data: str, restart: str, topic: str) -> bool:
    """On a worker: train, and send events; False where the run already was complete."""
    worker = distributed.get_worker()
    key = worker.get_current_task()
    with _alone:
        for message in train(run, datasets.load(data), hardware, restart, LOCK_TIMEOUT):
            if isinstance(message, bool):
                return message
            task = worker.state.tasks.get(key)
            asked_for = task is not None and task.state != "cancelled"
            if not asked_for or worker.status not in WORKER_ANY_RUNNING:
                raise StudyError(f"{run.name}: whoever asked for it, or the scheduler, has gone")
            worker.log_event(topic, (index, asdict(message)))
    raise AssertionError("a run ends with whether it was trained")


@contextmanager
def _connected(address: str) -> Iterator[distributed.Client]:
    """A client of the scheduler; closing it makes the workers stop what it asked for."""
    for name in ("distributed", "distributed.client"):  # what goes wrong is said here, once
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(address, timeout=10, set_as_default=False)
    except Exception as error:  # of a wrong protocol, of tls:// without its settings, or no answer
        why = f" ({reason(error)})" if not isinstance(error, OSError) else ""
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


def look_for_scheduler(address: str) -> None:
    """Whether something listens there; Dask would try for long, and not say what is wrong."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:  # the latter two of no host or port
        raise StudyError(
            f"--scheduler {address}: no scheduler answers there ({reason(error)}); "
            "start one with: dask scheduler, and give the address that it names"
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
