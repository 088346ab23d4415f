"""Many runs, here and on a real Dask cluster: each ends with whoever asked, and says how it went.

The commands run in a copy of the project whose trainer writes true files of untrained networks,
an epoch every tenth of a second, so that processes begin and end quickly.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from command import environment, start
from results_on_disk import leave

from cifar_study.checkpoints import held
from cifar_study.errors import StudyError
from cifar_study.runs import PROJECT, SIDE_BY_SIDE, Run, read, read_record
from cifar_study.training import many

TRAINER = """
import os
import time
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd

from cifar_study.checkpoints import Checkpoint, training
from cifar_study.runs import COLUMNS

def train(run, data, device, restart):
    with training(run, restart, data.fingerprint) as result:
        history = result.history if result else pd.DataFrame(columns=COLUMNS)
        names = ("CIFAR_STUDY_SIDE_BY_SIDE", "OMP_NUM_THREADS")
        about = {"sessions": [{name: os.environ.get(name) for name in names}]}
        about["configuration"] = asdict(run.configuration("float32", data.fingerprint))
        for epoch in range(len(history) + 1, run.planned + 1):
            for _ in range(1000 if run.before.exists() else 2):  # over an old run, nearly a minute
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
    package = tmp_path_factory.mktemp("project") / "cifar_study"
    shutil.copytree(PROJECT / "cifar_study", package)
    for name, text in (("trainer", TRAINER), ("hardware", HARDWARE), ("measure", MEASURE)):
        (package / "training" / f"{name}.py").write_text(text)
    with (package / "data.py").open("a") as file:
        file.write("synthetic.__defaults__ = 20, 10  # quickly drawn\n")
    return package.parent


@pytest.fixture(autouse=True)
def leave_no_process() -> Iterator[None]:
    before = len(started)
    yield
    for process in started[before:]:
        end(process)


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait(20)


def begin(line: list[str], **more: object) -> subprocess.Popen:
    started.append(start(line, env=environment(PYTHONPATH=""), **more))
    return started[-1]


def ask(project: Path, root: Path, epochs: int, *more: str) -> subprocess.Popen:
    """Begin the command for runs of stage 9."""
    line = ["-m", "cifar_study.train", "--stage", "9", "--data", "synthetic"]
    line += ["--cache", str(root), "--epochs", str(epochs), *more]
    return begin(line, cwd=project, stderr=subprocess.STDOUT)


def answer(process: subprocess.Popen, seconds: float = 90) -> tuple[int, list[str]]:
    """Its exit status and the lines that it said, that of its start aside."""
    said = process.communicate(timeout=seconds)[0]
    assert "Traceback" not in said
    return process.returncode, [line for line in said.splitlines() if "starting, the" not in line]


def runs_of(root: Path, count: int, epochs: int) -> list[Run]:
    return [Run(9, seed, epochs=epochs, data="synthetic", root=root) for seed in range(count)]


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
    anew, first = runs_of(tmp_path, 2, 1000)
    leave(tmp_path, 9, 0, [0.1], epochs=1000, data="synthetic")
    old = read_record(anew.folder)
    asker = ask(project, tmp_path, 1000, "--seeds", "0-1", "--restart")
    wait_for(lambda: anew.before.exists() and epochs(first))
    children = [holder(anew), holder(first)]
    assert all(map(alive, children))
    assert asker.pid not in children
    asker.send_signal(number)
    if number == signal.SIGKILL:
        asker.wait(10)
    else:
        status, lines = answer(asker, 20)
        assert status == 130
        assert not [line for line in lines if line.startswith(str(anew))]  # the old is no news
    wait_for(lambda: not any(map(alive, children)), 5)
    with held(anew, wait=0), held(first, wait=0):
        assert read_record(anew.folder) == old
        assert not anew.before.exists()
        assert read(first).state == f"at {epochs(first)}/1000"


def test_a_run_that_fails_says_why_in_a_line_and_the_others_go_on(
    project: Path, tmp_path: Path
) -> None:
    dies, lives, bad = runs_of(tmp_path, 3, 3)
    leave(tmp_path, 9, 0, [0.1, 0.2], epochs=3, data="synthetic")
    old = read_record(dies.folder)
    with held(bad):
        asker = ask(project, tmp_path, 3, "--seeds", "0-2", "--restart")
        wait_for(dies.before.exists)
        os.kill(holder(dies), signal.SIGKILL)
        status, lines = answer(asker)
    assert status == 2
    assert {line for line in lines if ": epoch " not in line} == {
        f"{dies}: error: its process died (SIGKILL); see to that, then run the same command "
        "again to go on",
        f"{lives}: complete in {lives.folder}",
        f"{bad}: error: {bad} is held by process {os.getpid()} on {os.uname().nodename}; "
        "wait for it or stop it",
    }
    assert read_record(dies.folder) == old
    assert not dies.before.exists()
    # Children know how many run beside them, and have their share of the cores.
    [session] = read_record(lives.folder)["sessions"]
    assert session == {SIDE_BY_SIDE: "2", "OMP_NUM_THREADS": "1"}


def test_the_longest_run_begins_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submitted = []

    def submit(_: Run, words: list[str]) -> Future:
        submitted.append(words)
        return ThreadPoolExecutor(1).submit(str)  # nothing went wrong

    runs = [Run(1, root=tmp_path), Run(4, root=tmp_path), Run(1, 1, epochs=1000, root=tmp_path)]
    failed = many.train_all(runs, ["--device", "cpu"], nullcontext((submit, str)))
    assert [words[1] for words in submitted] == ["4", "1", "1"]
    assert "--epochs" in submitted[1]
    assert submitted[0] == ["--stage", "4", "--cache", str(tmp_path), "--device", "cpu"]
    assert len(failed) == 3  # as none has a result, "complete" is not said
    assert capsys.readouterr().err.count("is without a result; run the same command again") == 3


class Cluster:
    """A scheduler on the loopback address, and its workers."""

    def __init__(self, folder: Path) -> None:
        from distributed import Client

        self.folder, file = folder, folder / "scheduler.json"
        line = ["-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0"]
        line += ["--scheduler-file", str(file), "--dashboard-address", ":0"]
        self.scheduler = begin(line, cwd="/", stdout=None, stderr=None)
        wait_for(lambda: file.exists() and file.read_text().endswith("}"))
        described = json.loads(file.read_text())
        self.address = described["address"]
        self.dashboard = described["services"]["dashboard"]
        self.client = Client(self.address, set_as_default=False)

    def worker(self, mount: str = "") -> subprocess.Popen:
        """Start a worker elsewhere; one that is to see something else has it mounted."""
        line = ["-m", "dask", "worker", self.address, "--no-nanny", "--nthreads", "1"]
        line += ["--no-dashboard", "--local-directory", str(self.folder)]
        hiding = ["unshare", "-rm", "sh", "-c", f'mount {mount} && exec "$@"', "sh"]
        before = len(self.client.nthreads())
        worker = begin(line, before=hiding if mount else (), cwd="/", stdout=None, stderr=None)
        wait_for(lambda: len(self.client.nthreads()) > before)
        return worker

    def end(self, worker: subprocess.Popen) -> None:
        end(worker)
        wait_for(lambda: not self.client.nthreads())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    yield running
    running.client.close()
    end(running.scheduler)


def test_a_cluster_that_cannot_be_used_is_one_line(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    within, wait_for_workers = asyncio.timeout, distributed.Client.wait_for_workers
    delays: list[float] = []

    def within_seconds(delay: float) -> asyncio.Timeout:
        delays.append(delay)
        return within(delay / 4)  # Dask's own, too

    def wait_shortly(client: distributed.Client, count: int, timeout: float) -> None:
        assert timeout <= 15
        wait_for_workers(client, count, timeout=timeout / 10)

    monkeypatch.setattr(many.asyncio, "timeout", within_seconds)
    monkeypatch.setattr("distributed.Client.wait_for_workers", wait_shortly)

    async def refusal(address: str) -> str:  # in a loop, as a notebook has one
        with pytest.raises(StudyError) as caught, many.on_cluster(address, tmp_path):
            pass
        return str(caught.value)

    no_schedulers = "127.0.0.1:1", "a b:1", "tls://127.0.0.1:1", f"127.0.0.1:{cluster.dashboard}"
    addresses = [*no_schedulers, cluster.address]
    with ThreadPoolExecutor(5) as threads:  # a test in a browser leaves a loop in this one
        *said, of_no_worker = threads.map(lambda each: asyncio.run(refusal(each)), addresses)
    assert delays.count(10) >= len(no_schedulers)  # each is said in far less than 30 s
    for address, line in zip(no_schedulers, said, strict=True):
        assert line.startswith(f"--scheduler {address}: no cluster for this environment answers (")
        assert line.endswith("); start one from it with: python -m dask scheduler")
        assert len(line.splitlines()) == 1
    assert of_no_worker == (
        f"--scheduler {cluster.address}: has no worker; start some with: python -m dask worker "
        f"{cluster.address} --nthreads 1"
    )


def test_a_cluster_of_other_releases_is_one_line(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    here = distributed.versions.get_versions()
    here["host"]["python"], here["packages"]["distributed"] = "3.9.20.final.0", "2020.12.0"
    monkeypatch.setattr(distributed.versions, "get_versions", lambda: here)
    with pytest.raises(StudyError) as caught, many.on_cluster(cluster.address, tmp_path):
        pass
    assert f"the scheduler has Python 3.{sys.version_info[1]} with distributed " in str(
        caught.value
    )
    assert ", and here is Python 3.9 with distributed 2020.12.0); start one" in str(caught.value)


@pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode,
    reason="needs unshare, to hide folders from a worker",
)
@pytest.mark.long
def test_a_worker_that_cannot_train_as_we_do_is_one_line(
    cluster: Cluster, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(project / "cifar_study", tmp_path / "other" / "cifar_study").parent
    with (other / "cifar_study" / "stages.py").open("a") as file:
        file.write("# another version\n")
    monkeypatch.setattr(many, "PROJECT", project)
    [run] = runs_of(tmp_path / "results", 1, 1)
    run.root.mkdir()
    for mount, expected in (
        (f"--bind '{other}' '{project}'", f"has another {project}, or none; share that folder"),
        (f"-t tmpfs x '{run.root}'", f"does not see {run.root}; share that folder"),
    ):
        worker = cluster.worker(mount)
        with many.on_cluster(cluster.address, run.root) as (submit, _):
            said = submit(run, run.words()).result(30)
        assert said.startswith("worker tcp://")
        assert said.endswith(expected)
        assert not run.folder.parent.exists()
        cluster.end(worker)


@pytest.mark.long
def test_runs_on_a_worker_end_when_they_are_no_longer_asked_for(
    cluster: Cluster, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(many, "PROJECT", project)
    worker, runs = cluster.worker(), runs_of(tmp_path, 2, 2)
    assert many.train_all(runs, [], many.on_cluster(cluster.address, tmp_path)) == []
    said = capsys.readouterr().err.splitlines()
    assert {f"{run}: complete in {run.folder}" for run in runs} <= set(said)
    [session] = read_record(runs[0].folder)["sessions"]
    assert session == {SIDE_BY_SIDE: "1", "OMP_NUM_THREADS": "1"}
    asker = ask(project, tmp_path, 1000, "--seeds", "0-1", "--scheduler", cluster.address)
    wait_for(lambda: epochs(runs[0]) > 2)
    child = holder(runs[0])
    end(asker)
    wait_for(lambda: not alive(child), 20)
    assert epochs(runs[1]) == 2  # what was not begun is not, either
    cluster.end(worker)


@pytest.mark.long
def test_another_worker_goes_on_where_one_was_killed_and_none_without_a_scheduler(
    project: Path, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    short, [run], seen = Cluster(tmp_path), runs_of(tmp_path, 1, 1000), []
    first = short.worker()
    asker = ask(project, tmp_path, 1000, "--restart", "--scheduler", short.address)
    wait_for(lambda: epochs(run) >= 2)
    child = holder(run)
    end(first)
    wait_for(lambda: not alive(child), 20)
    kept = epochs(run)
    time.sleep(1.5)  # the asker looks once a second
    short.worker()
    wait_for(lambda: seen.append(epochs(run)) or seen[-1] > kept)
    assert min(seen) == kept
    child = holder(run)
    short.client.close()
    end(short.scheduler)
    status, lines = answer(asker, 40)
    assert status == 2
    assert f"{run}: error: the scheduler is gone; start it anew" in lines[-1]
    left = f"no worker is left; start some with: python -m dask worker {short.address} --nthreads 1"
    assert lines.index("a worker is there again, the runs go on") > lines.index(left)
    wait_for(lambda: not alive(child), 20)
