"""Starts the command line in processes of their own, on one core, away from the real cache."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

PROJECT = Path(__file__).parent.parent

# Forks come from a process that has imported what takes seconds, and done nothing else.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["torch", "pandas", "safetensors.numpy"])


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
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


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


def fork(folder: Path, *options: str) -> BaseProcess:
    """As :func:`start`, without the seconds of imports; it prints to ``folder/out`` and ``err``."""
    process = _server.Process(target=_forked, args=(folder, options), daemon=True)
    process.start()
    return process


def _forked(folder: Path, options: tuple[str, ...]) -> None:
    _prepare()
    os.environ.clear()
    os.environ.update(environment())
    os.chdir(folder)
    for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
        with Path(name).open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    from cifar_study.train import main

    sys.exit(main(list(options)))


def train_in_fork(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """As :func:`train`, without the seconds of imports."""
    process = fork(folder, *options)
    process.join(timeout=300)
    said = ((folder / name).read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess(options, process.exitcode, *said)
