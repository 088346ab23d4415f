"""The contenders, the workers that stand for them, and how they take turns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from tqdm import tqdm

from benchmarks.protocol import Worker

Start = Callable[[str, int], Worker]
"""Starts a worker of a kind with so many threads, 0 its default."""
CONTENDERS = {
    "plain": ("plain", 0),
    "plain-jobs": ("plain", 1),
    "keras": ("keras", 0),
    "keras-jobs": ("keras", 1),
    "engine": ("engine", 1),
    "engine-jobs": ("engine", 1),
    "convolutions": ("convolutions", 1),
    "floor": ("floor", 1),
}
"""By name, a kind of worker and the threads of each; ``-jobs`` are several side by side."""


class Turn(NamedTuple):
    """One measurement: ``images`` to train on and a fifth of that to test."""

    contender: str
    stage: int
    images: int


class Crew(ExitStack):
    """The workers, each started when it is first needed and alive until the crew is closed.

    An engine alone is the first of the engines side by side, so there are no
    more processes than needed, and those whose turn it is not wait for input.
    """

    def __init__(self, jobs: int, start: Start) -> None:
        super().__init__()
        self.jobs, self.start = jobs, start
        self.pools: defaultdict[tuple[str, int], list[Worker]] = defaultdict(list)
        self.versions: dict[str, str] = {}

    def seconds(self, turn: Turn) -> float:
        """Elapsed seconds for each finished part of an epoch: of one, or of those side by side."""
        kind = CONTENDERS[turn.contender]
        number = self.jobs if turn.contender.endswith("-jobs") else 1
        pool = self.pools[kind]
        while len(pool) < number:
            pool.append(self.start(*kind))
            self.callback(pool[-1].close)
            self.versions |= pool[-1].versions()
        for worker in pool[:number]:
            worker.ask(turn.stage, turn.images)
        return max([worker.answer() for worker in pool[:number]]) / number


def alternate(turns: list[Turn], repeats: int, crew: Crew, bar: tqdm) -> dict[Turn, list[float]]:
    """Seconds of every turn, ``repeats`` times, in rounds: what slows the machine slows them all.

    A first round warms up and is left out. Every other round runs backwards,
    so that no one always follows the same contender.
    """
    times: dict[Turn, list[float]] = {turn: [] for turn in turns}
    for repeat in range(repeats + 1):
        for turn in turns[:: 1 if repeat % 2 else -1]:
            bar.set_description(f"stage {turn.stage}, {turn.contender}", refresh=False)
            seconds = crew.seconds(turn)
            bar.update()
            if repeat:
                times[turn].append(seconds)
    return times
