"""The command line: ``python -m benchmarks.sweep``.

What a sweep of all stages over many seeds costs, from the epochs that the
cache has times of, and what limits it besides the arithmetic: how fast the
cache takes a finished epoch, and what Dask's scheduler costs a job. Prints
the tables of ``benchmarks/README.md``; nothing is kept.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster, get_worker

from cifar_study import cache, trainer
from cifar_study.cache import Epoch
from cifar_study.layers import count_layers
from cifar_study.runs import Run
from cifar_study.seeds import sample
from cifar_study.stages import STAGES

EPOCHS = 150
WRITTEN = (1, 5, 8)  # small, and the largest without and with batch normalisation


def parser() -> argparse.ArgumentParser:
    """The options, with what each does."""
    parse = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    add = parse.add_argument
    add("--seeds", type=int, default=100, help="seeds of each stage (default 100)")
    add("--folder", type=Path, help="where to measure writing: a folder of the shared cache")
    add("--writers", type=int, nargs="+", default=(1, 4), help="writers at once (default 1 4)")
    add("--repeats", type=int, default=20, help="epochs that each writer writes (default 20)")
    add("--tasks", type=int, default=2_000, help="tasks for the scheduler; 0 leaves it out")
    return parse


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print one table after the other."""
    options = parser().parse_args(arguments)
    _print("what", "hours", costs(options.seeds))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = write_rates(Path(folder), options.writers, options.repeats)
        _print("an epoch's files", "measured", rows)
    if options.tasks:
        _print("the scheduler", "measured", scheduler_costs(options.tasks))


def costs(seeds: int) -> Iterable[tuple[str, str]]:
    """Hours of the whole sweep, from the seconds an epoch that the report shows."""
    jobs = []
    for number, stage in STAGES.items():
        seconds = sample(number).epoch_seconds
        if seconds is None:
            raise SystemExit(f"stage {number}: no time of an epoch in cache/; train an epoch of it")
        jobs += [seconds * stage.recipe.epochs / 3600] * seeds
        yield f"stage {number}, one seed ({seconds:.1f} s an epoch)", f"{jobs[-1]:.1f}"
    yield f"all stages × {seeds} seeds, core-hours", f"{sum(jobs):,.0f}"
    for workers in (2, 100):
        yield f"on {workers} workers of one core", f"{makespan(jobs, workers):,.0f}"


def makespan(jobs: Iterable[float], workers: int) -> float:
    """When the last job is done if each free worker takes the longest that is left."""
    free = [0.0] * workers
    for job in sorted(jobs, reverse=True):
        heapq.heapreplace(free, free[0] + job)
    return max(free)


def write_rates(folder: Path, writers: Iterable[int], repeats: int) -> Iterable[tuple[str, str]]:
    """Seconds and bytes of what is written after an epoch, at the end of a whole run."""
    for number in WRITTEN:
        for count in writers:
            runs = [Run(STAGES[number], seed, root=folder / str(count)) for seed in range(count)]
            with ThreadPoolExecutor(count) as pool:  # hashing and writing let go of the GIL
                start = time.perf_counter()
                seconds = list(chain(*pool.map(partial(_write, repeats=repeats), runs)))
                elapsed = time.perf_counter() - start
            size = sum(path.stat().st_size for path in runs[0].folder.iterdir())
            yield (
                f"stage {number}, {count} at once",
                f"{size / 1e6:.2f} MB in {statistics.median(seconds):.3f} s, "
                f"{len(seconds) / elapsed:.1f} epochs a second",
            )
        seconds = [_seconds(partial(cache.status, runs[0])) for _ in range(repeats)]
        yield f"stage {number}, read for the report", f"{statistics.median(seconds):.3f} s"


def _write(run: Run, repeats: int) -> list[float]:
    """Write an epoch's files as training does; seconds of each time."""
    random = np.random.default_rng(run.seed)
    state = {
        layer.name: random.random(layer.parameters, np.float32)
        for layer in count_layers(run.network)
        if layer.parameters
    }
    history = [Epoch(epoch, *random.random(4).tolist(), 1.0) for epoch in range(1, EPOCHS + 1)]
    answers = random.random((10_000, 10), np.float32)
    saved = trainer._Saved(history, state, state, answers, [{"first_epoch": 1}])
    configuration = run.configuration("")

    def write() -> None:
        saved.write(run, configuration)
        saved.publish(run, configuration, {"sessions": [], "data": {}})

    return [_seconds(write) for _ in range(repeats)]


def _seconds(what: Callable[[], object]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def scheduler_costs(tasks: int) -> Iterable[tuple[str, str]]:
    """What a scheduler and two workers on this machine take for tasks that do nothing."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(_nothing, range(10), pure=False))
        yield "a task that does nothing", _both(lambda: _many(client, tasks), tasks)
        yield "an event, from worker to bar", _both(lambda: _hear(client, tasks), tasks)


def _both(what: Callable[[], object], times: int) -> str:
    """Elapsed time, and that of this process alone, which another load does not change."""
    before = time.process_time()
    elapsed = _seconds(what)
    own = time.process_time() - before
    return (
        f"{1000 * elapsed / times:.2f} ms, of which scheduler and client {1000 * own / times:.2f}"
    )


def _many(client: Client, tasks: int) -> None:
    client.gather(client.map(_nothing, range(tasks), pure=False))


def _hear(client: Client, events: int) -> None:
    heard: list[int] = []
    client.subscribe_topic("sweep", lambda _: heard.append(1))
    client.submit(_talk, events).result()
    while len(heard) < events:
        time.sleep(0.01)


def _nothing(index: int) -> int:
    return index


def _talk(events: int) -> None:
    for _ in range(events):
        get_worker().log_event("sweep", bytes(300))  # about what the news of an epoch takes


def _print(what: str, measured: str, rows: Iterable[tuple[str, str]]) -> None:
    print(f"\n| {what} | {measured} |\n| --- | ---: |")
    for name, value in rows:
        print(f"| {name} | {value} |", flush=True)


if __name__ == "__main__":
    main()
