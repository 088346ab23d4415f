"""Runs on the workers of a Dask cluster, which see the project and the results as we do.

Jobs are sent whole, so that scheduler and workers may have been started anywhere; each is one
run's own command again, for as long as the asker, the scheduler and the worker live. Nothing
else imports Dask.
"""

import hashlib
import logging
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_study.errors import StudyError, reason
from cifar_study.runs import PROJECT, RECORD, Run
from cifar_study.training import many
from cifar_study.training.many import SECONDS, Submit, command, tell, written

if TYPE_CHECKING:
    from distributed import Client

INSTALL = "pip install -r requirements-cluster.txt"


@contextmanager
def on_cluster(address: str, root: Path) -> Iterator[Submit]:
    """Commands on the workers of a Dask scheduler, which see ``root`` and the project as we do.

    Whatever of that is not so is a :class:`StudyError` before any run begins.
    """
    try:
        import cloudpickle
        import distributed
    except ImportError as error:
        raise StudyError(f"--scheduler: {reason(error)}; run: {INSTALL}") from None
    for name in ("distributed", "distributed.client"):  # what goes wrong is said here, once
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for module in (many, sys.modules[__name__]):  # which no scheduler has
        cloudpickle.register_pickle_by_value(module)
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=root, prefix=".", suffix=".unfinished") as shared:
        asked, seen = version(), shared.name
        try:
            with warnings.catch_warnings(action="ignore"):
                client = distributed.Client(address, timeout=SECONDS, set_as_default=False)
        except Exception as error:  # of a wrong protocol, of tls:// without settings, or no answer
            why = f"no scheduler answers ({reason(error)})"
            way = "start one with: dask scheduler, and give the address that it names"
            raise StudyError(f"--scheduler {address}: {why}; {way}") from None
        with client:
            if problem := _cluster_problem(client, address, asked, seen):
                raise StudyError(f"--scheduler {address}: {problem}")
            workers, pool = client.scheduler_info()["workers"], client.get_executor(pure=False)
            hosts = Counter(worker["host"] for worker in workers.values())
            beside = {name: hosts[worker["host"]] for name, worker in workers.items()}

            def submit(run: Run, words: list[str], runs: int) -> Future:
                path, shares = (
                    run.folder / RECORD,
                    {name: min(runs, beside[name]) for name in beside},
                )
                old = written(path)
                # A function without a name is sent with all it takes, one with a name by that.
                return pool.submit(lambda: worker_command(words, path, old, asked, seen, shares))

            ended = threading.Event()
            watching = threading.Thread(target=_watch, args=(client, address, ended), daemon=True)
            watching.start()
            try:
                yield submit
            finally:
                ended.set()


def _cluster_problem(client: "Client", address: str, asked: str, shared: str) -> str:
    """What keeps a cluster from training as this process would, with the remedy."""
    from distributed import wait

    versions = client.get_versions()
    nodes = {f"worker {name}": node for name, node in versions["workers"].items()}
    ours = _versions(versions["client"])
    for name, node in {"the scheduler": versions["scheduler"], **nodes}.items():
        if (theirs := _versions(node)) != ours:
            return f"{name} has {theirs}, and we {ours}; there and here: {INSTALL}"
    try:
        client.wait_for_workers(1, timeout=SECONDS)
    except TimeoutError:
        return f"has no worker; start some with: dask worker {address} --nthreads 1"
    checks = [
        client.submit(lambda: worker_problem(asked, shared), workers=[name], pure=False)
        for name in client.scheduler_info()["workers"]
    ]
    with suppress(TimeoutError):  # a busy worker is asked once it takes up a run
        wait(checks, timeout=SECONDS)
    return next((check.result() for check in checks if check.done() and check.result()), "")


def _versions(node: dict[str, Any]) -> str:
    packages = node["packages"]
    python = ".".join(packages["python"].split(".")[:2])
    return f"distributed {packages['distributed']} on Python {python}"


def _watch(client: "Client", address: str, ended: threading.Event) -> None:
    """Say which workers leave, or are not heard of for a while, and which come."""
    heard: dict[str, tuple[float, float]] = {}
    known = None
    while not ended.wait(2):
        with suppress(Exception):  # the runs' futures say what is wrong with the scheduler
            for name, worker in (workers := client.scheduler_info()["workers"]).items():
                if heard.get(name, (0, 0))[0] != worker["last_seen"]:
                    heard[name] = worker["last_seen"], time.monotonic()
            there = {name for name in workers if time.monotonic() - heard[name][1] < SECONDS}
            for name in (known or there) - there:
                tell(f"worker {name} has left or does not answer; its run goes on at another one")
            for name in there - (there if known is None else known):
                tell(f"worker {name} is there")
            if known and not there:
                tell(f"no worker is left; start some with: dask worker {address} --nthreads 1")
            known = there


def worker_problem(asked: str, shared: str) -> str:
    """On a worker: what keeps it from training as the asker would; empty where nothing does."""
    from distributed import get_worker

    name = f"worker {get_worker().address}"
    if version() != asked:
        what = "another version of the project" if PROJECT.exists() else "no project"
        return f"{name} has {what} in {PROJECT}; share that folder, or stop the worker"
    end = time.monotonic() + SECONDS / 3  # in which a shared folder shows what is new
    while not Path(shared).exists():
        if time.monotonic() > end:
            return f"{name} does not see {Path(shared).parent}; share that folder with --cache"
        time.sleep(0.2)
    return ""


def worker_command(
    words: list[str], path: Path, old: int, asked: str, shared: str, shares: dict[str, int]
) -> str:
    """On a worker: the command for as long as client and worker live; what went wrong."""
    from distributed import get_worker
    from distributed.worker import WORKER_ANY_RUNNING

    worker = get_worker()
    key = worker.get_current_task()
    if problem := worker_problem(asked, shared):
        return problem
    if written(path) not in (0, old):  # a worker that died began anew
        words = [word for word in words if word != "--restart"]

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        asked_for = task is not None and task.state == "executing"
        return asked_for and worker.status in WORKER_ANY_RUNNING

    return command(words, 1, shares.get(worker.address, 1), wanted)


def version() -> str:
    """A digest of the package's sources."""
    sources = sorted((PROJECT / "cifar_study").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
