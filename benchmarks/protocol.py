"""The line protocol between the measuring process and its workers, both ends of it.

A worker stays alive, so that contenders can take turns without paying for
their imports each time. It first says ``ready`` and its versions as JSON; then
it answers every line ``stage images`` by the seconds that this part of an
epoch took, until its standard input ends. Nothing here needs more than the
standard library: the Keras worker lives in an environment without torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cifar_study.errors import StudyError

PROJECT = Path(__file__).parent.parent
DATA = os.environ.get("CIFAR_STUDY_DATA") or str(PROJECT / "data")  # as for training
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def serve(measure: Callable[[int, int], float], versions: dict[str, str]) -> None:
    """In the worker: answer ``stage images`` by ``measure(stage, images)`` until input ends."""
    # What libraries print goes to standard error and can't be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    print(f"ready {json.dumps(versions)}", file=answers)
    for line in sys.stdin:
        stage, images = map(int, line.split())
        print(measure(stage, images), file=answers)


class Worker:
    """In the measuring process: one worker, started from its command line.

    ``threads`` is how many threads its libraries may use, 0 for as many as
    they choose themselves.
    """

    def __init__(self, name: str, command: list[str], threads: int = 0) -> None:
        self.name, self.command = name, command[0]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, open as long as the worker lives
        environment = {k: value for k, value in os.environ.items() if k not in THREAD_VARIABLES}
        if threads:
            environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
        try:
            self.process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
            )
        except OSError as error:
            raise StudyError(f"{command[0]}: cannot be started ({error.strerror})") from None

    def versions(self) -> dict[str, str]:
        """Wait until the worker is ready; the versions that it measures with."""
        while not (line := self._line()).startswith("ready "):
            pass  # said by a library while it was imported
        return json.loads(line.removeprefix("ready "))

    def ask(self, stage: int, images: int) -> None:
        """Have the worker begin; several workers asked one after another run side by side."""
        try:
            print(stage, images, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise self._died() from None

    def answer(self) -> float:
        """Wait for the seconds that were asked for."""
        return float(self._line())

    def _line(self) -> str:
        if line := self.process.stdout.readline():
            return line
        raise self._died()

    def _died(self) -> StudyError:
        self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        why = said[-1] if said else "without a word"
        return StudyError(
            f"the worker {self.name} died: {why}; mend its environment: {self.command}"
        )

    def close(self) -> None:
        """End the worker; one in the middle of a measurement is not waited for."""
        self.process.kill()
        self.process.communicate()
