"""Many runs: each is one run's own command, in a process that ends with whoever asked for it."""

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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from cifar_study.checkpoints import settle
from cifar_study.errors import StudyError, one_line, reason
from cifar_study.layers import count_macs
from cifar_study.runs import PROJECT, RECORD, SIDE_BY_SIDE, Run, read, read_record

# Takes a run and the words of its command; what went wrong comes of it.
Submit = Callable[[Run, list[str]], Future]
AGAIN = "run the same command again to go on"


def train_all(runs: Sequence[Run], more: Sequence[str], submitting: Iterator[Submit]) -> list[Run]:
    """Train every run by its command with the options ``more``; those that failed.

    ``submitting`` is :func:`here` or :func:`on_cluster`. The longest begin first.
    """
    failed = []
    longest_first = sorted(runs, key=lambda run: -run.planned * count_macs(run.stage.network))
    runs = [replace(run, root=run.root.resolve()) for run in longest_first]
    with submitting as submit:
        _say(f"{len(runs)} runs: starting, the first news takes some seconds")
        bars = {}
        for run in runs:  # what there was before is no news
            bars[run] = tqdm(None, str(run), run.planned, initial=_epochs(run), disable=None)
        waiting = futures = {submit(run, [*run.words(), *more]): run for run in runs}
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for run, bar in bars.items():
                epochs = _epochs(run)
                if epochs not in (0, bar.n):
                    bar.n = epochs
                    bar.refresh()
                    if bar.disable:
                        _say(f"{run}: epoch {epochs}/{run.planned}")
            for future in done:
                run = futures[future]
                bars[run].close()
                if problem := _problem(run, future):
                    failed.append(run)
                _say(f"{run}: " + (f"error: {problem}" if problem else f"complete in {run.folder}"))
    return failed


def _say(text: str) -> None:
    tqdm.write(one_line(text), file=sys.stderr)


def _epochs(run: Run) -> int:
    with suppress(StudyError):  # said when the run has ended
        return (read_record(run.folder) or {"epochs_done": 0})["epochs_done"]
    return 0


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
            yield lambda _, words: pool.submit(
                command, words, threads, jobs, lambda: not stop.is_set()
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
        install = "pip install -c requirements.txt -e .[cluster]"
        raise StudyError(f"--scheduler: {reason(error)}; run: {install}") from None
    for name in ("distributed", "distributed.client"):  # what goes wrong is said here, once
        logging.getLogger(name).setLevel(logging.CRITICAL)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no scheduler has this module
    root.mkdir(parents=True, exist_ok=True)
    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's own has a loop already
            thread.submit(asyncio.run, _reach(address)).result()
        client = distributed.Client(address, timeout=10, set_as_default=False)
    except Exception as error:  # of a wrong protocol, of tls:// without settings, or no answer
        why = f"no scheduler answers ({reason(error)}); start one with: dask scheduler"
        raise StudyError(f"--scheduler {address}: {why}") from None
    with client, tempfile.NamedTemporaryFile(dir=root, prefix=".", suffix=".unfinished") as shared:
        try:
            client.wait_for_workers(1, timeout=15)
        except TimeoutError:
            start = f"start some with: dask worker {address} --nthreads 1"
            raise StudyError(f"--scheduler {address}: has no worker; {start}") from None
        pool, asked, seen = client.get_executor(pure=False), _version(), Path(shared.name).resolve()
        beside = sum(client.nthreads().values())  # on all machines: at most as many on each

        def submit(run: Run, words: list[str]) -> Future:
            record = run.folder / RECORD
            old = record.read_bytes() if record.exists() else b""
            # A function without a name is sent with all it takes, one with a name by that.
            return pool.submit(lambda: worker_command(words, record, old, asked, seen, beside))

        yield submit


async def _reach(address: str) -> None:
    """Connect within ten seconds; a client would wait for an answer of another port for ever."""
    from distributed import Security, comm

    security = Security().get_connection_args("client")
    (await asyncio.wait_for(comm.connect(address, timeout=10, **security), 10)).abort()


def worker_command(
    words: list[str], record: Path, old: bytes, asked: str, shared: Path, beside: int
) -> str:
    """On a worker: the command for as long as client and worker live; what went wrong."""
    from distributed.worker import WORKER_ANY_RUNNING, get_worker

    worker = get_worker()
    if _version() != asked:
        return f"worker {worker.address} has another {PROJECT}, or none; share that folder"
    if not shared.exists():
        return f"worker {worker.address} does not see {shared.parent}; share that folder"
    if record.exists() and record.read_bytes() != old:  # a worker that died began anew
        words = [word for word in words if word != "--restart"]

    def wanted() -> bool:
        task = worker.state.tasks.get(worker.get_current_task())
        return bool(task) and task.state == "executing" and worker.status in WORKER_ANY_RUNNING

    return command(words, 1, beside, wanted)


def _version() -> str:
    sources = sorted((PROJECT / "cifar_study").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def command(words: Sequence[str], threads: int, beside: int, wanted: Callable[[], bool]) -> str:
    """Run a command for as long as it is ``wanted``; the last line it said if it failed."""
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
    os.read(0, 1)  # nothing ever comes but its end
    signal.raise_signal(signal.SIGTERM)  # a restart puts back what it set aside
    time.sleep(2)
    os._exit(1)


if __name__ == "__main__":  # of a child
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asked
    threading.Thread(target=_end_with_input, daemon=True).start()
    from cifar_study.train import main

    sys.exit(main(sys.argv[1:]))
