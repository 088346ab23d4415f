"""How runs go, on the terminal: a bar each, or a line an epoch where it is none."""

import math
import sys
import time
from collections.abc import Iterable

from tqdm import tqdm

from cifar_study.errors import one_line
from cifar_study.results.run import Run
from cifar_study.training.trainer import Event, Message


def show(messages: Iterable[tuple[Run, Message]]) -> list[Run]:
    """Show what is heard of runs until all have ended; those that failed."""
    reporters: dict[Run, Reporter] = {}
    failed = []
    for run, message in messages:
        if run not in reporters:
            reporters[run] = Reporter(run)
        if isinstance(message, Event):
            reporters[run](message)
            continue
        reporters.pop(run).bar.close()
        if isinstance(message, str):
            _print(f"error: {message}")
            failed.append(run)
        else:
            done = "complete" if message else "already complete"
            epochs = f"{run.planned} epoch{'s' if run.planned > 1 else ''}"
            _print(f"{run.name}: {done}, {epochs} in {run.folder}")
    return failed


class Reporter:
    """Shows one run: a bar in its own line of the terminal, else a line an epoch."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.start: float | None = None
        self.began = time.monotonic()
        self.bar = tqdm(
            total=run.planned,
            desc=run.name,
            disable=None,
            bar_format="{desc}: {percentage:3.0f}% {bar} {n:.1f}/{total} epochs "
            "[{elapsed}<{remaining}{postfix}]",
            dynamic_ncols=True,
        )

    def __call__(self, event: Event) -> None:
        """Show what an event of the run says."""
        if self.start is None:
            # Where it began: news of an epoch's end is of one that was under way.
            self.start = math.ceil(event.epochs) - 1
            self.bar.initial = self.bar.n = self.start
            if self.bar.disable and not event.row:
                self._say(f"at work on epoch {self.start + 1} of {self.run.planned}")
        self.bar.update(event.epochs - self.bar.n)
        self.bar.set_postfix_str(f"loss {event.loss:.3f}, accuracy {event.accuracy:.1%}")
        if event.row and self.bar.disable:
            row, epoch = event.row, round(event.epochs)
            speed = (time.monotonic() - self.began) / (epoch - self.start)
            left = tqdm.format_interval(speed * (self.run.planned - epoch))
            self._say(
                f"epoch {epoch}/{self.run.planned}, "
                f"train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:.1%}, "
                f"test loss {row['test_loss']:.4f} accuracy {row['test_accuracy']:.1%}, "
                f"{row['seconds']:.1f} s, {left} left"
            )

    def _say(self, text: str) -> None:
        _print(f"{self.run.name}: {text}")


def _print(text: str) -> None:
    tqdm.write(one_line(text), file=sys.stderr)
