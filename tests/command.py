"""The command line in this process, and in processes of its own that can be killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from cifar_study.train import ENDINGS, main
from cifar_study.training import hardware
from cifar_study.training.engine import Engine

PROJECT = Path(__file__).parent.parent
SMALL = ("--data", "synthetic", "--limit", "100", "--width", "0.25", "--precision", "float32")
CPU = torch.device("cpu")
# Where it is missing, an epoch that takes seconds takes minutes.
needs_bfloat16 = pytest.mark.skipif(
    not hardware.has_bfloat16(CPU), reason="no bfloat16 on this processor"
)


def train_epoch(engine: Engine, epoch: int) -> tuple[float, float]:
    """Mean loss and accuracy as they were along the way."""
    *_, (_, loss, accuracy) = engine.train_in_parts(epoch)
    return loss, accuracy


def environment(**more: str) -> dict[str, str]:
    """That of this process, on one thread, and without the folders that it may name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIFAR_")}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)} | more


def start(line: Sequence[str], before: Sequence[str] = (), **more: object) -> subprocess.Popen:
    """Begin a Python with these words; its output is kept, and Ctrl-C reaches it."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(
        [*before, sys.executable, *line],
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **{"cwd": PROJECT, "env": environment()} | streams | more,
    )


def obey(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command in this process; its exit status, its output, and what it said beside it."""
    handlers = {ending: signal.getsignal(ending) for ending in ENDINGS}
    try:
        status = main(list(words))
    except SystemExit as stop:  # how argparse ends
        status = stop.code
    finally:
        for ending, handler in handlers.items():
            signal.signal(ending, handler)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert errors == (captured.err.splitlines()[-1:] if status == 2 and not captured.out else [])
    return status, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of error that the words end in, with exit status 2."""
    status, out, err = obey(capsys, *words)
    assert (status, out) == (2, "")
    return err.splitlines()[-1]
