"""The contenders, the workers that stand for them, and how they take turns."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.protocol import Worker
from cifar_study.layers import count_macs
from cifar_study.stages import STAGES

Start = Callable[[str, int], Worker]
"""Starts a worker of a kind, named as in CONTENDERS, with so many threads, 0 its default."""
OVERHEAD_MACS = 2_000_000  # what a picture costs besides its arithmetic, for the time left


@dataclass(frozen=True)
class Contender:
    """A way to train, with ``threads`` a process (0: its default), alone or one process a core."""

    kind: str
    threads: int
    side_by_side: bool = False


CONTENDERS = {
    "plain": Contender("plain", 0),
    "plain-jobs": Contender("plain", 1, side_by_side=True),
    "keras": Contender("keras", 0),
    "keras-jobs": Contender("keras", 1, side_by_side=True),
    "engine": Contender("engine", 1),
    "engine-jobs": Contender("engine", 1, side_by_side=True),
    "convolutions": Contender("convolutions", 1),
    "floor": Contender("floor", 1),
}


class Turn(NamedTuple):
    """One measurement: ``images`` to train on and a fifth of that to test."""

    contender: str
    stage: int
    images: int

    def weight(self) -> int:
        """Roughly how long it takes, in multiply-accumulates, to foretell the time left."""
        return self.images * (count_macs(STAGES[self.stage].network) + OVERHEAD_MACS)


class Crew:
    """The workers of the contenders named, alive until the crew is closed.

    An engine alone is the first of the engines side by side, so there are no
    more processes than needed, and those whose turn it is not wait for input.
    """

    def __init__(self, names: Iterable[str], jobs: int, start: Start) -> None:
        self.jobs = jobs
        self.pools: dict[tuple[str, int], list[Worker]] = {}
        self.versions: dict[str, str] = {}
        try:
            for contender in (CONTENDERS[name] for name in names):
                pool = self.pools.setdefault((contender.kind, contender.threads), [])
                while len(pool) < (jobs if contender.side_by_side else 1):
                    pool.append(start(contender.kind, contender.threads))
            for pool in self.pools.values():
                for worker in pool:
                    self.versions |= worker.versions()
        except BaseException:
            self.close()
            raise

    def seconds(self, turn: Turn) -> float:
        """Elapsed seconds for each finished part of an epoch: of one, or of those side by side."""
        contender = CONTENDERS[turn.contender]
        pool = self.pools[contender.kind, contender.threads]
        team = pool if contender.side_by_side else pool[:1]
        for worker in team:
            worker.ask(turn.stage, turn.images)
        return max([worker.answer() for worker in team]) / len(team)

    def close(self) -> None:
        """End every worker."""
        for pool in self.pools.values():
            for worker in pool:
                worker.close()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Progress:
    """Says after each measurement what it gave and how long the others will take."""

    def __init__(self, turns: Iterable[Turn], repeats: int) -> None:
        self.repeats = repeats
        self.total = sum(turn.weight() for turn in turns) * (repeats + 1)
        self.done = 0
        self.start = time.monotonic()

    def __call__(self, turn: Turn, repeat: int, seconds: float) -> None:
        """Report on one turn; ``repeat`` 0 is the one that warms up."""
        self.done += turn.weight()
        left = (time.monotonic() - self.start) * (self.total / self.done - 1)
        name = f"repeat {repeat} of {self.repeats}" if repeat else "warm-up"
        print(
            f"stage {turn.stage}, {turn.images:,} pictures, {name}, {turn.contender}: "
            f"{seconds:.2f} s, about {left / 60:.0f} min left",
            file=sys.stderr,
        )


def alternate(
    turns: list[Turn], repeats: int, crew: Crew, progress: Callable[[Turn, int, float], None]
) -> dict[Turn, list[float]]:
    """Seconds of every turn, ``repeats`` times, in rounds: what slows the machine slows them all.

    A first round warms up and is left out. Every other round runs backwards,
    so that no one always follows the same contender.
    """
    times: dict[Turn, list[float]] = {turn: [] for turn in turns}
    for repeat in range(repeats + 1):
        for turn in turns[:: 1 if repeat % 2 else -1]:
            seconds = crew.seconds(turn)
            progress(turn, repeat, seconds)
            if repeat:
                times[turn].append(seconds)
    return times
