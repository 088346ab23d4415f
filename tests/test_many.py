"""Many runs, here and on a real Dask cluster: each ends with whoever asked, and says how it went.

The commands run in a copy of the project whose trainer writes true files of untrained networks,
an epoch every tenth of a second, so that processes begin and end quickly.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from cifar_study.checkpoints import held
from cifar_study.errors import StudyError
from cifar_study.runs import PROJECT, Run, read, read_record
from cifar_study.training import many, trainer

TRAINER = """
import os
import time
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd

from cifar_study.checkpoints import Checkpoint, training
from cifar_study.runs import COLUMNS

def train(run, data, device, compiled, restart):
    with training(run, restart, data.fingerprint) as result:
        history = result.history if result else pd.DataFrame(columns=COLUMNS)
        names = ("CIFAR_STUDY_SIDE_BY_SIDE", "OMP_NUM_THREADS")
        about = {"sessions": [{name: os.environ.get(name) for name in names}]}
        about["configuration"] = asdict(run.configuration("float32", data.fingerprint))
        for epoch in range(len(history) + 1, run.planned + 1):
            for _ in range(int(float(os.environ.get("PAUSE", 0.1)) * 20)):
                time.sleep(0.05)
            row = dict.fromkeys(COLUMNS, 0.5) | {"epoch": epoch}
            history = pd.DataFrame([*history.to_dict("records"), row])
            weights = {"weight": np.full(3, epoch, np.float32)}
            guesses = np.full((len(data.test_labels), 10), 0.1, np.float16)
            Checkpoint(history, weights, weights).save(run, guesses, data.test_labels, **about)
            yield SimpleNamespace(epochs=epoch, loss=0.5, accuracy=0.5, row=row)
"""
HARDWARE = """
from types import SimpleNamespace
def choose_device(*_): return SimpleNamespace(type="cpu")
def cores(): return 2
"""
MEASURE = "def measure(*_): pass"
started: list[subprocess.Popen] = []


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "cifar_study", folder / "cifar_study")
    for name, text in (("trainer", TRAINER), ("hardware", HARDWARE), ("measure", MEASURE)):
        (folder / "cifar_study" / "training" / f"{name}.py").write_text(text)
    return folder


@pytest.fixture(autouse=True)
def leave_no_process() -> Iterator[None]:
    before = len(started)
    yield
    for process in started[before:]:
        if process.poll() is None:
            end(process)


def end(process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.wait(20)


def start(line: list[str], cwd: Path, **environment: str) -> subprocess.Popen:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIFAR_")}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(line, cwd=cwd, env=kept | environment, text=True, **streams)
    started.append(process)
    return process


def ask(project: Path, root: Path, epochs: int, *more: str, pause: float = 0.1) -> subprocess.Popen:
    """Begin the command for two runs of stage 9, or for what ``more`` says."""
    line = [sys.executable, "-m", "cifar_study.train", "--stage", "9", "--data", "synthetic"]
    line += ["--cache", str(root), "--epochs", str(epochs), *(more or ("--seeds", "0-1"))]
    return start(line, project, PAUSE=str(pause))


def answer(process: subprocess.Popen, seconds: float = 90) -> tuple[int, list[str]]:
    """Its exit status and the lines that it said, those of epochs and of its start aside."""
    said = process.communicate(timeout=seconds)[0]
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if ": epoch " not in line and line]
    return process.returncode, [line for line in lines if "starting, the first" not in line]


def two(root: Path, epochs: int) -> list[Run]:
    return [Run(9, seed, epochs=epochs, data="synthetic", root=root) for seed in (0, 1)]


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def epochs(run: Run) -> int:
    record = read_record(run.folder)
    return record["epochs_done"] if record else 0


def holder(run: Run) -> int:
    """The process that trains a run, or trained it last."""
    return int(run.folder.with_name(f"{run.folder.name}.lock").read_text().split()[1])


def alive(process: int) -> bool:
    status = subprocess.run(["ps", "-o", "stat=", str(process)], capture_output=True, text=True)
    return status.stdout.strip()[:1] not in ("", "Z")


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM, signal.SIGKILL]
)
def test_nothing_trains_on_after_the_asker_was_stopped_and_a_restart_puts_back_what_there_was(
    number: int, project: Path, tmp_path: Path
) -> None:
    runs = two(tmp_path, 1000)
    asker = ask(project, tmp_path, 1000)
    wait_for(lambda: all(epochs(run) >= 1 for run in runs))
    children = [holder(run) for run in runs]
    assert all(map(alive, children))
    assert asker.pid not in children
    asker.send_signal(number)
    if number == signal.SIGKILL:
        asker.wait(10)
    else:
        assert answer(asker, 20)[0] == 130
    wait_for(lambda: not any(map(alive, children)), 5)
    for run in runs:
        with held(run, wait=0):
            assert read(run).state == f"at {epochs(run)}/1000"
    old = [read_record(run.folder) for run in runs]
    asker = ask(project, tmp_path, 1000, "--seeds", "0-1", "--restart", pause=60)
    wait_for(lambda: all(run.before.exists() for run in runs))
    children = [holder(run) for run in runs]
    asker.send_signal(number)
    assert ": epoch" not in asker.communicate(timeout=20)[0]  # those of the old run are no news
    wait_for(lambda: not any(map(alive, children)), 5)
    assert [read_record(run.folder) for run in runs] == old


def test_a_run_that_fails_says_why_in_a_line_and_the_others_go_on(
    project: Path, tmp_path: Path
) -> None:
    dies, lives, bad = (Run(9, n, epochs=3, data="synthetic", root=tmp_path) for n in range(3))
    assert answer(ask(project, tmp_path, 2))[0] == 0
    old = read_record(dies.folder)
    with held(bad):
        asker = ask(project, tmp_path, 3, "--seeds", "0-2", "--restart", pause=0.5)
        wait_for(dies.before.exists)
        os.kill(holder(dies), signal.SIGKILL)
        status, lines = answer(asker)
    assert status == 2
    assert set(lines) == {
        f"{dies}: error: its process died (SIGKILL); run the same command again to go on",
        f"{lives}: complete in {lives.folder}",
        f"{bad}: error: {bad} is held by process {os.getpid()} on {os.uname().nodename}; "
        "wait for it or stop it",
    }
    assert read_record(dies.folder) == old
    assert not dies.before.exists()
    # Children know how many run beside them, and have their share of the cores.
    [session] = read_record(lives.folder)["sessions"]
    assert session == {trainer.SIDE_BY_SIDE: "2", "OMP_NUM_THREADS": "1"}


def test_the_longest_run_begins_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submitted = []

    def submit(_: Run, words: list[str]) -> Future:
        submitted.append(words)
        return ThreadPoolExecutor(1).submit(str)  # nothing went wrong

    runs = [Run(1, root=tmp_path), Run(4, root=tmp_path), Run(1, 1, epochs=1000, root=tmp_path)]
    failed = many.train_all(runs, ["--device", "cpu"], nullcontext(submit))
    assert [words[1] for words in submitted] == ["4", "1", "1"]
    assert "--epochs" in submitted[1]
    assert submitted[0] == ["--stage", "4", "--cache", str(tmp_path), "--device", "cpu"]
    assert len(failed) == 3  # as none has a result, "complete" is not said
    assert capsys.readouterr().err.count("is without a result; run the same command again") == 3


class Cluster:
    """A scheduler on the loopback address, and its workers."""

    def __init__(self, folder: Path) -> None:
        self.folder, file = folder, folder / "scheduler.json"
        line = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0"]
        line += ["--scheduler-file", str(file), "--dashboard-address", ":0"]
        self.scheduler = start(line, Path("/"))
        threading.Thread(target=self.scheduler.stdout.read, daemon=True).start()
        wait_for(lambda: file.exists() and file.read_text().endswith("}"))
        described = json.loads(file.read_text())
        self.address = described["address"]
        self.dashboard = described["services"]["dashboard"]

    def worker(self, mount: str = "") -> subprocess.Popen:
        """Start a worker elsewhere; one that is to see something else has it mounted."""
        line = [sys.executable, "-m", "dask", "worker", self.address, "--no-nanny"]
        line += ["--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder)]
        if mount:
            line = ["unshare", "-rm", "sh", "-c", f'mount {mount} && exec "$@"', "sh", *line]
        before = self.count()
        worker = start(line, Path("/"))
        threading.Thread(target=worker.stdout.read, daemon=True).start()
        wait_for(lambda: self.count() > before)
        return worker

    def count(self) -> int:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return len(client.nthreads())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    yield running
    end(running.scheduler)


def test_a_cluster_that_cannot_be_used_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    async def refused(address: str) -> str:  # in a loop, as a notebook has one
        began = time.monotonic()
        with pytest.raises(StudyError) as caught, many.on_cluster(address, tmp_path):
            pass
        assert time.monotonic() - began < 30
        return str(caught.value)

    def refusal(address: str) -> str:
        with ThreadPoolExecutor(1) as thread:  # a test in a browser leaves a loop in this one
            return thread.submit(asyncio.run, refused(address)).result()

    for address in ("127.0.0.1:1", "a b:1", "tls://127.0.0.1:1", f"127.0.0.1:{cluster.dashboard}"):
        said = refusal(address)
        assert said.startswith(f"--scheduler {address}: no scheduler answers (")
        assert said.endswith("); start one with: dask scheduler")
        assert len(said.splitlines()) == 1
    assert refusal(cluster.address) == (
        f"--scheduler {cluster.address}: has no worker; start some with: dask worker "
        f"{cluster.address} --nthreads 1"
    )


@pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode,
    reason="needs unshare, to hide folders from a worker",
)
def test_a_worker_that_cannot_train_as_we_do_is_one_line(
    cluster: Cluster, project: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(project / "cifar_study", tmp_path / "other" / "cifar_study").parent
    with (other / "cifar_study" / "stages.py").open("a") as file:
        file.write("# another version\n")
    root = tmp_path / "results"
    root.mkdir()
    for mount, expected in (
        (f"--bind '{other}' '{project}'", f"has another {project}, or none; share that folder"),
        (f"-t tmpfs x '{project}'", f"has another {project}, or none; share that folder"),
        (f"-t tmpfs x '{root}'", f"does not see {root}; share that folder"),
    ):
        worker = cluster.worker(mount)
        status, lines = answer(ask(project, root, 1, "--scheduler", cluster.address), 30)
        assert (status, len(lines)) == (2, 1), lines
        assert lines[0].endswith(expected)
        assert not (root / "stage-9").exists()
        end(worker)
        wait_for(lambda: cluster.count() == 0)


def test_runs_on_a_worker_end_when_they_are_no_longer_asked_for(
    cluster: Cluster, project: Path, tmp_path: Path
) -> None:
    worker = cluster.worker()
    options = ("--seeds", "0-1", "--scheduler", cluster.address)
    status, lines = answer(ask(project, tmp_path, 2, *options))
    runs = two(tmp_path, 2)
    assert (status, lines) == (0, [f"{run}: complete in {run.folder}" for run in runs])
    [session] = read_record(runs[0].folder)["sessions"]
    assert session == {"CIFAR_STUDY_SIDE_BY_SIDE": "1", "OMP_NUM_THREADS": "1"}
    for number in (signal.SIGTERM, signal.SIGKILL):
        done = epochs(runs[0])
        asker = ask(project, tmp_path, 1000, *options)
        wait_for(lambda done=done: epochs(runs[0]) > done)
        child = holder(runs[0])
        end(asker, number)
        wait_for(lambda child=child: not alive(child), 20)
    assert epochs(runs[1]) == 2  # what was not begun is not, either
    end(worker)


@pytest.mark.long
def test_another_worker_goes_on_where_one_was_killed_and_none_without_a_scheduler(
    project: Path, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    short, run, seen = Cluster(tmp_path), two(tmp_path, 1000)[0], []
    first = short.worker()
    words = ["--restart", "--seed", "0", "--scheduler", short.address]
    asker = ask(project, tmp_path, 1000, *words)
    wait_for(lambda: epochs(run) >= 2)
    child = holder(run)
    end(first)
    wait_for(lambda: not alive(child), 20)
    kept = epochs(run)
    short.worker()
    wait_for(lambda: seen.append(epochs(run)) or seen[-1] > kept)
    assert min(seen) == kept
    child = holder(run)
    end(short.scheduler)
    status, lines = answer(asker, 40)
    assert status == 2
    assert f"{run}: error: CancelledError" in lines[-1]
    wait_for(lambda: not alive(child), 20)
