"""Many runs: each is one run's own command, in a process that ends with whoever asked for it."""

import _thread
import asyncio
import hashlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from cifar_study.checkpoints import settle
from cifar_study.errors import StudyError, one_line, reason
from cifar_study.layers import count_macs
from cifar_study.runs import PROJECT, RECORD, Run, read, read_record

# Takes a run, the words of its command and how many runs there are; what went wrong comes of it.
Submit = Callable[[Run, list[str], int], Future]
SIDE_BY_SIDE = "CIFAR_STUDY_SIDE_BY_SIDE"  # tells a child how many runs share the machine
AGAIN = "run the same command again to go on"
INSTALL = "pip install -c requirements.txt -e .[cluster]"


def train_all(runs: Sequence[Run], more: Sequence[str], submitting: Iterator[Submit]) -> list[Run]:
    """Train every run by its command with the options ``more``; those that failed.

    ``submitting`` is :func:`here` or :func:`on_cluster`. The longest begin first.
    """
    failed = []
    runs = [replace(run, root=run.root.resolve()) for run in runs]
    runs.sort(key=lambda run: run.planned * count_macs(run.stage.network), reverse=True)
    # What a restart is to replace is no news of it.
    old = {run: _written(run) if "--restart" in more else 0 for run in runs}
    with submitting as submit:
        _say(f"{len(runs)} runs: starting, the first news takes some seconds")
        waiting = futures = {submit(run, [*run.words(), *more], len(runs)): run for run in runs}
        bars = {run: tqdm(total=run.planned, desc=str(run), disable=None) for run in runs}
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for run in (futures[future] for future in (*done, *waiting)):
                if _written(run) != old[run]:
                    _show(run, bars[run])
            for future in done:
                run = futures[future]
                bars[run].close()
                if problem := _problem(run, future):
                    failed.append(run)
                _say(f"{run}: " + (f"error: {problem}" if problem else f"complete in {run.folder}"))
    return failed


def _say(text: str) -> None:
    tqdm.write(one_line(text), file=sys.stderr)


def _written(run: Run) -> int:
    """When its record was written last, in nanoseconds; 0 where there is none."""
    with suppress(OSError):
        return (run.folder / RECORD).stat().st_mtime_ns
    return 0


def _show(run: Run, bar: tqdm) -> None:
    with suppress(StudyError):  # said when the run has ended
        epochs = (read_record(run.folder) or {"epochs_done": 0})["epochs_done"]
        if bar.disable and epochs > bar.n:
            _say(f"{run}: epoch {epochs}/{run.planned}")
        bar.n = epochs
        bar.refresh()


def _problem(run: Run, future: Future) -> str:
    """Why a run whose command has ended is not complete; empty where it is."""
    try:
        problem = future.result()
        settle(run)
        state = result.state if (result := read(run)) else "without a result"
    except StudyError as error:
        return str(error)
    except (Exception, asyncio.CancelledError) as error:  # whatever Dask raises, as KilledWorker
        return f"{type(error).__name__} ({reason(error)}); {AGAIN}"
    return problem or ("" if state == "complete" else f"{run.folder} is {state}; {AGAIN}")


@contextmanager
def here(jobs: int, threads: int) -> Iterator[Submit]:
    """Commands on this machine: ``jobs`` at a time with ``threads`` each."""
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield lambda _, words, runs: pool.submit(
                command, words, threads, min(jobs, runs), lambda: not stop.is_set()
            )
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


@contextmanager
def on_cluster(address: str, root: Path) -> Iterator[Submit]:
    """Commands on the workers of a Dask scheduler, which see ``root`` and the project as we do."""
    try:
        import cloudpickle
        import distributed
    except ImportError as error:
        raise StudyError(f"--scheduler: {reason(error)}; run: {INSTALL}") from None
    for name in ("distributed", "distributed.client"):  # what goes wrong is said here, once
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no scheduler has this module
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's own has a loop already
            thread.submit(asyncio.run, _reach(address)).result()
        client = distributed.Client(address, timeout=10, set_as_default=False)
    except Exception as error:  # of a wrong protocol, of tls:// without settings, or no answer
        why = f"no scheduler answers ({reason(error)}); start one with: dask scheduler"
        raise StudyError(f"--scheduler {address}: {why}") from None
    with client, tempfile.NamedTemporaryFile(dir=root, prefix=".", suffix=".unfinished") as shared:
        _refuse_versions(client.get_versions(), address)
        start = f"start some with: dask worker {address} --nthreads 1"
        try:
            client.wait_for_workers(1, timeout=15)
        except TimeoutError:
            raise StudyError(f"--scheduler {address}: has no worker; {start}") from None
        watching = threading.Thread(target=_watch, args=(client, start), daemon=True)
        watching.start()
        workers, asked, seen = client.scheduler_info()["workers"], version(), shared.name
        pool, hosts = client.get_executor(pure=False), Counter(w["host"] for w in workers.values())

        def submit(run: Run, words: list[str], runs: int) -> Future:
            path, old = run.folder / RECORD, _written(run)
            beside = {host: min(runs, count) for host, count in hosts.items()}
            # A function without a name is sent with all it takes, one with a name by that.
            return pool.submit(lambda: worker_command(words, path, old, asked, seen, beside))

        yield submit


async def _reach(address: str) -> None:
    """Connect within ten seconds; a client would wait for an answer of another port for ever."""
    from distributed import Security
    from distributed.comm import connect

    security = Security().get_connection_args("client")
    (await asyncio.wait_for(connect(address, timeout=10, **security), 10)).abort()


def _refuse_versions(versions: dict, address: str) -> None:
    """Other releases of Dask or Python can't read what they are sent, or never answer."""
    nodes = {"the scheduler": versions["scheduler"], **versions["workers"]}
    named = {name: node["packages"] for name, node in nodes.items()}
    ours = versions["client"]["packages"]
    for name, theirs in named.items():
        for package, length in (("distributed", None), ("python", 2)):
            there, we = (each[package].split(".")[:length] for each in (theirs, ours))
            if there != we:
                what = f"{name} has {package} {'.'.join(there)}, and we {'.'.join(we)}"
                raise StudyError(f"--scheduler {address}: {what}; there and here: {INSTALL}")


def _watch(client, start: str) -> None:
    """Say which workers leave and which come, for as long as the client lives."""
    known = None
    while client.status == "running":
        with suppress(Exception):  # the runs' futures say what is wrong with the scheduler
            there = set(client.scheduler_info()["workers"])
            for name in there ^ (there if known is None else known):
                left = f"has left; its run goes on where another one is; {start}"
                _say(f"worker {name} {'is there' if name in there else left}")
            known = there
        time.sleep(2)


def worker_command(
    words: list[str], path: Path, old: int, asked: str, shared: str, beside: dict[str, int]
) -> str:
    """On a worker: the command for as long as client and worker live; what went wrong."""
    from distributed import get_worker
    from distributed.worker import WORKER_ANY_RUNNING

    worker = get_worker()
    key = worker.get_current_task()
    if version() != asked:
        what = "has another version of the project, or none,"
        return f"worker {worker.address} {what} in {PROJECT}; share that folder"
    if not Path(shared).exists():
        return f"worker {worker.address} does not see {Path(shared).parent}; share that folder"
    if path.exists() and path.stat().st_mtime_ns != old:  # a worker that died began anew
        words = [word for word in words if word != "--restart"]

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        asked_for = task is not None and task.state == "executing"
        return asked_for and worker.status in WORKER_ANY_RUNNING

    return command(words, 1, beside.get(worker.ip, 1), wanted)


def version() -> str:
    """A digest of the package's sources."""
    sources = sorted((PROJECT / "cifar_study").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def command(words: Sequence[str], threads: int, beside: int, wanted: Callable[[], bool]) -> str:
    """Run a command for as long as it is ``wanted``; the last line it said if it failed.

    ``beside`` is how many run on its machine, itself among them.
    """
    given = {"OMP_NUM_THREADS": str(threads), SIDE_BY_SIDE: str(beside), "PYTHONUTF8": "1"}
    environment = os.environ | given
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)  # Dask's nanny sets it: half as fast
    line = [sys.executable, "-m", "cifar_study.training.many", *words]
    streams = {"stdin": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(line, cwd=PROJECT, env=environment, stdout=log, **streams) as child,
    ):
        while child.poll() is None and wanted():
            time.sleep(0.2)
        child.stdin.close()  # it ends with this, as it does when this process dies
        status = child.wait()
        log.seek(0)
        last = log.read().decode(errors="replace").strip().rpartition("\n")[2]
    if status in (0, 2):
        return last.removeprefix("error: ") if status else ""
    return f"its process died ({last if status > 0 else signal.Signals(-status).name}); {AGAIN}"


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    _thread.interrupt_main(signal.SIGTERM)  # a restart puts back what it set aside
    time.sleep(2)
    os._exit(1)


if __name__ == "__main__":  # of a child
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asked
    threading.Thread(target=_end_with_input, daemon=True).start()
    from cifar_study.train import main

    sys.exit(main(sys.argv[1:]))
