"""Starts the command line in processes of their own, on one core, away from the real cache."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from cifar_study import datasets
from cifar_study.datasets import shapes
from cifar_study.train import ENDINGS, main

if TYPE_CHECKING:  # forks import this module
    import pytest

PROJECT = Path(__file__).parent.parent

# Forks come from a process that has imported what takes seconds, and done nothing else;
# torch's first optimizer imports its dynamo.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    ["torch", "torch._dynamo", "pandas", "safetensors.numpy", "filelock", "tqdm", "plain.build"]
)


def environment() -> dict[str, str]:
    """That of this process, with one thread, and without a data set that it may name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIFAR_")}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}


def _prepare() -> None:
    """In the new process: one core, so that sums round the same on every machine, and Ctrl-C.

    Whoever started the tests in the background may have had Ctrl-C ignored.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        os.sched_setaffinity(0, {cores[int(worker) % len(cores)]})


def start(folder: Path, *options: str, **more: object) -> subprocess.Popen:
    """Begin ``python -m cifar_study.train`` in ``folder`` with its cache in ``folder/cache``."""
    return subprocess.Popen(
        [sys.executable, "-m", "cifar_study.train", *options],
        cwd=folder,
        env=environment(),
        text=True,
        preexec_fn=_prepare,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        | more,
    )


def train(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    process = start(folder, *options)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def fork(folder: Path, *options: str, log: str = "", few: bool = False) -> BaseProcess:
    """As :func:`start`, without the seconds of imports, in a session of its own.

    It prints to ``folder/out`` and ``folder/err``, after the name of a ``log``. With ``few`` the
    drawn set is a tenth as large, for runs of one job.
    """
    return fork_to(_train, folder, list(options), few, log=log)


def fork_to(
    call: Callable[..., object], folder: Path, *given: object, log: str = ""
) -> BaseProcess:
    """Have a fork call a function and exit with what it returns; it prints as :func:`fork` does."""
    process = _server.Process(target=_forked, args=(call, folder, given, log), daemon=True)
    process.start()
    return process


def _train(options: list[str], few: bool) -> int:
    if few:
        datasets.synthetic = functools.partial(datasets.synthetic, shapes.TRAIN // 10, 50)
    return main(options)


def _forked(call: Callable[..., object], folder: Path, given: tuple, log: str) -> None:
    os.setsid()
    _prepare()
    multiprocessing.current_process().daemon = False  # it may have jobs
    os.environ.clear()
    os.environ.update(environment())
    os.chdir(folder)
    for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
        with Path(log + name).open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    sys.exit(call(*given))


def train_in_fork(
    folder: Path, *options: str, log: str = "", few: bool = False
) -> subprocess.CompletedProcess[str]:
    """As :func:`train`, without the seconds of imports."""
    process = fork(folder, *options, log=log, few=few)
    process.join(timeout=300)
    said = ((folder / f"{log}{name}").read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess(options, process.exitcode, *said)


def obey(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run the command in this process; its exit status, and its error: none, or its last line.

    It takes it that there is one core: two threads on a busy machine wait for each other.
    """
    handlers = {ending: signal.getsignal(ending) for ending in ENDINGS}
    try:
        with patch("os.sched_getaffinity", lambda _process: {0}, create=True):
            status = main(list(words))
    except SystemExit as stop:  # how argparse ends
        status = stop.code
    finally:
        for ending, handler in handlers.items():
            signal.signal(ending, handler)
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in said.err + said.out
    assert status in (0, 2)
    if status == 2 and "damaged" not in said.out:
        assert errors == said.err.splitlines()[-1:]
    else:
        assert not errors
    return status, errors[0] if errors else ""


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of error that the words end in, with exit status 2."""
    status, error = obey(capsys, *words)
    assert status == 2
    return error
