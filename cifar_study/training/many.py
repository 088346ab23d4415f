"""Many runs: each is one run's own command, in a process that ends with whoever asked for it."""

import _thread
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
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
SECONDS = 15  # after which a cluster, a worker or a slow disk is waited for no longer


def train_all(runs: Sequence[Run], more: Sequence[str], submitting: Iterator[Submit]) -> list[Run]:
    """Train every run by its command with the options ``more``; those that failed.

    ``submitting`` is :func:`here` or :func:`on_cluster`. The longest begin first.
    """
    failed, bars = [], {}
    runs = [replace(run, root=run.root.resolve()) for run in runs]
    runs.sort(key=lambda run: run.planned * count_macs(run.stage.network), reverse=True)
    old = {run: written(run.folder / RECORD) for run in runs}
    with submitting as submit:
        tell(f"{len(runs)} runs: starting, the first news takes some seconds")
        waiting = futures = {submit(run, [*run.words(), *more], len(runs)): run for run in runs}
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for run in (futures[future] for future in (*done, *waiting)):
                # What a restart is to replace is no news of it.
                if "--restart" not in more or written(run.folder / RECORD) != old[run]:
                    _show(run, bars)
            for future in done:
                run = futures[future]
                if run in bars:
                    bars[run].close()
                text = f"complete in {run.folder}"
                if problem := _problem(run, future):
                    failed.append(run)
                    text = f"error: {problem}"
                elif written(run.folder / RECORD) == old[run]:
                    text = f"already {text}"
                tell(f"{run}: {text}")
    return failed


def tell(text: str) -> None:
    """Write a line beside the bars."""
    tqdm.write(one_line(text), file=sys.stderr)


def written(path: Path) -> int:
    """When a file was written last, in nanoseconds; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _show(run: Run, bars: dict[Run, tqdm]) -> None:
    """Show the epochs that a run has, in its bar from the first on; else in a line each."""
    with suppress(StudyError):  # said when the run has ended
        if record := read_record(run.folder):
            epochs = record["epochs_done"]
            if run not in bars:
                bars[run] = tqdm(total=run.planned, desc=str(run), initial=epochs, disable=None)
                bars[run].n = 0 if bars[run].disable else epochs
            if bars[run].disable and epochs > bars[run].n:
                tell(f"{run}: epoch {epochs}/{run.planned}")
            bars[run].n = epochs
            bars[run].refresh()


def _problem(run: Run, future: Future) -> str:
    """Why a run whose command has ended is not complete; empty where it is."""
    try:
        problem = future.result()
        settle(run)
        end = time.monotonic() + SECONDS  # in which a shared folder shows what is new
        while not problem:
            state = result.state if (result := read(run)) else "without a result"
            if state == "complete":
                break
            if time.monotonic() > end:
                return f"{run.folder} is {state}; {AGAIN}"
            time.sleep(1)
    except StudyError as error:
        return str(error)
    except CancelledError:
        return f"the scheduler has gone; start it and its workers, and {AGAIN}"
    except Exception as error:  # whatever Dask raises, as KilledWorker
        return f"{type(error).__name__} ({reason(error)}); {AGAIN}"
    return problem


@contextmanager
def here(jobs: int, threads: int) -> Iterator[Submit]:
    """Commands on this machine: ``jobs`` at a time with ``threads`` each."""
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:

        def submit(_: Run, words: list[str], runs: int) -> Future:
            return pool.submit(command, words, threads, min(jobs, runs), lambda: not stop.is_set())

        try:
            yield submit
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def on_cluster(address: str, root: Path) -> AbstractContextManager[Submit]:
    """As :func:`cifar_study.training.cluster.on_cluster`."""
    from cifar_study.training import cluster

    return cluster.on_cluster(address, root)


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
    why = last if status > 0 else signal.Signals(-status).name
    return f"its process died ({why}); {AGAIN}"


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
