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
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cifar_study.checkpoints import settle
from cifar_study.errors import StudyError, one_line, reason
from cifar_study.layers import count_macs
from cifar_study.runs import PROJECT, RECORD, SIDE_BY_SIDE, Run, read, read_record

# Takes a run and the words of its command, and what went wrong comes of it; the second says what
# all runs wait for, if they do.
Executor = Iterator[tuple[Callable[[Run, list[str]], Future], Callable[[], str]]]
AGAIN = "run the same command again to go on"


def train_all(runs: Sequence[Run], more: Sequence[str], executor: Executor) -> list[Run]:
    """Train every run by its command with the options ``more``; those that failed.

    ``executor`` is :func:`here` or :func:`on_cluster`. The longest begin first.
    """
    failed, trouble = [], ""
    runs = sorted(
        (replace(run, root=run.root.resolve()) for run in runs),
        key=lambda run: -run.planned * count_macs(run.stage.network),
    )
    _say(f"{len(runs)} runs: starting, the first news takes some seconds")
    with executor as (submit, look):
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
            before, trouble = trouble, look()
            if trouble != before:
                _say(trouble or "a worker is there again, the runs go on")
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
    except (CancelledError, asyncio.CancelledError):
        return f"the scheduler is gone; start it anew with its workers and {AGAIN}"
    except Exception as error:  # whatever Dask raises, as KilledWorker
        return f"{type(error).__name__} ({reason(error)}); {AGAIN}"
    return problem or ("" if state == "complete" else f"{run.folder} is {state}; {AGAIN}")


@contextmanager
def here(jobs: int, threads: int) -> Executor:
    """Commands on this machine: ``jobs`` at a time with ``threads`` each."""
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            # There is nothing that all would wait for.
            yield lambda _, words: pool.submit(command, words, threads, jobs, stop.is_set), str
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


@contextmanager
def on_cluster(address: str, root: Path) -> Executor:
    """Commands on the workers of a Dask scheduler, which see ``root`` and the project as we do."""
    try:
        import cloudpickle
        import distributed
    except ImportError as error:
        raise StudyError(
            f"--scheduler: {reason(error)}; run: pip install -c requirements.txt -e .[cluster]"
        ) from None
    for name in ("distributed", "distributed.client"):  # what goes wrong is said here, once
        logging.getLogger(name).setLevel(logging.CRITICAL)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no scheduler has this module
    root.mkdir(parents=True, exist_ok=True)
    start = f"start some with: python -m dask worker {address} --nthreads 1"
    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's own has a loop already
            thread.submit(asyncio.run, _reach(address)).result()
        client = distributed.Client(address, timeout=10, set_as_default=False)
    except Exception as error:  # of a wrong protocol, of tls:// without settings, or no answer
        raise StudyError(
            f"--scheduler {address}: no cluster for this environment answers ({reason(error)}); "
            "start one from it with: python -m dask scheduler"
        ) from None
    with client, tempfile.NamedTemporaryFile(dir=root, prefix=".", suffix=".unfinished") as shared:
        try:
            client.wait_for_workers(1, timeout=15)
        except TimeoutError:
            raise StudyError(f"--scheduler {address}: has no worker; {start}") from None
        pool, asked, seen = client.get_executor(pure=False), _version(), Path(shared.name).resolve()
        beside = sum(client.nthreads().values())  # on all machines: at most as many on each

        def submit(run: Run, words: list[str]) -> Future:
            record = run.folder / RECORD
            old = record.read_bytes() if record.exists() else b""
            # A function without a name is sent with all it takes, one with a name by that.
            return pool.submit(lambda: worker_command(words, record, old, asked, seen, beside))

        def look() -> str:
            with suppress(Exception):  # without a scheduler each run says so itself
                return "" if client.nthreads() else f"no worker is left; {start}"
            return ""

        yield submit, look


async def _reach(address: str) -> None:
    """Raise where no scheduler answers in ten seconds, or one or a worker of other releases."""
    import distributed

    security = distributed.Security().get_connection_args("client")
    async with asyncio.timeout(10), distributed.rpc(address, connection_args=security) as scheduler:
        there = {
            "the scheduler": await scheduler.versions(),
            **await scheduler.broadcast(msg={"op": "versions"}),
        }
    ours = _releases(distributed.versions.get_versions())
    for who, about in there.items():
        if (theirs := _releases(about)) != ours:
            raise ValueError(f"{who} has {theirs}, and here is {ours}")


def _releases(about: dict[str, Any]) -> str:
    python = about["host"]["python"].rsplit(".", 3)[0]  # of 3.11.2.final.0
    return f"Python {python} with distributed {about['packages']['distributed']}"


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

    def ended() -> bool:
        task = worker.state.tasks.get(worker.get_current_task())
        return not (task and task.state == "executing" and worker.status in WORKER_ANY_RUNNING)

    problem = command(words, 1, beside, ended)
    return problem and f"on worker {worker.address}: {problem}"


def _version() -> str:
    sources = sorted((PROJECT / "cifar_study").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def command(words: Sequence[str], threads: int, beside: int, ended: Callable[[], bool]) -> str:
    """Run a command until it or what asked for it has ``ended``; its last line if it failed."""
    given = {"OMP_NUM_THREADS": str(threads), SIDE_BY_SIDE: str(beside), "PYTHONUTF8": "1"}
    environment = os.environ | given
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)  # Dask's nanny sets it: half as fast
    line = [sys.executable, "-m", "cifar_study.training.many", *words]
    streams = {"stdin": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(line, cwd=PROJECT, env=environment, stdout=log, **streams) as child,
    ):
        while child.poll() is None and not ended():
            time.sleep(0.2)
        child.stdin.close()  # it ends with this, as it does when this process dies
        status = child.wait()
        log.seek(0)
        last = log.read().decode(errors="replace").strip().rpartition("\n")[2]
    if status in (0, 2):
        return last.removeprefix("error: ") if status else ""
    why = last if status > 0 else signal.Signals(-status).name
    return f"its process died ({why}); see to that, then {AGAIN}"


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
