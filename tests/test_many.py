"""Many runs, here and on a real Dask cluster: each ends with whoever asked, and says how it went.

The commands run in a copy of the project whose trainer writes true files of untrained networks,
an epoch every tenth of a second, so that processes begin and end quickly.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path

import pytest

from cifar_study.checkpoints import held
from cifar_study.errors import StudyError
from cifar_study.runs import PROJECT, Run, read, read_record
from cifar_study.training import many

STAND_INS = {
    "trainer.py": '''
        """Writes an epoch every PAUSE seconds."""
        import os
        import time
        from collections import namedtuple
        from dataclasses import asdict

        import numpy as np
        import pandas as pd

        from cifar_study.checkpoints import Checkpoint, training
        from cifar_study.runs import COLUMNS

        Progress = namedtuple("Progress", "epochs loss accuracy row")

        def train(run, data, device, compiled, restart):
            with training(run, restart, data.fingerprint) as result:
                history = result.history if result else pd.DataFrame(columns=COLUMNS)
                names = ("CIFAR_STUDY_SIDE_BY_SIDE", "OMP_NUM_THREADS")
                about = {
                    "configuration": asdict(run.configuration("float32", data.fingerprint)),
                    "sessions": [{name: os.environ.get(name) for name in names}],
                }
                for epoch in range(len(history) + 1, run.planned + 1):
                    for _ in range(int(float(os.environ.get("PAUSE", 0.1)) * 20)):
                        time.sleep(0.05)
                    row = dict.fromkeys(COLUMNS, 0.5) | {"epoch": epoch}
                    history = pd.DataFrame([*history.to_dict("records"), row])
                    weights = {"weight": np.full(3, epoch, np.float32)}
                    saved = Checkpoint(history, weights, weights)
                    guesses = np.full((len(data.test_labels), 10), 0.1, np.float16)
                    saved.save(run, guesses, data.test_labels, **about)
                    yield Progress(epoch, 0.5, 0.5, row)
        ''',
    "measure.py": '''
        """Measures nothing."""

        def measure(run, data):
            pass
        ''',
    "hardware.py": '''
        """A processor of two cores."""
        from types import SimpleNamespace

        def choose_device(name, compiled):
            return SimpleNamespace(type="cpu")

        def cores():
            return 2
        ''',
}
started: list[subprocess.Popen] = []


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "cifar_study", folder / "cifar_study")
    for name, text in STAND_INS.items():
        lines = [line.removeprefix("        ") for line in text.strip().splitlines()]
        (folder / "cifar_study" / "training" / name).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(autouse=True)
def leave_no_process() -> Iterator[None]:
    before = len(started)
    yield
    for process in started[before:]:
        stop(process, signal.SIGKILL)


def start(line: list[str], cwd: Path, **environment: str) -> subprocess.Popen:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIFAR_")}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(line, cwd=cwd, env=kept | environment, text=True, **streams)
    started.append(process)
    return process


def stop(process: subprocess.Popen, number: int = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
    process.communicate(timeout=30)


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
    try:
        status = subprocess.run(["ps", "-o", "stat=", str(process)], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs ps")
    return status.stdout.strip()[:1] not in ("", "Z")


def record_of(run: Run) -> bytes:
    return (run.folder / "result.json").read_bytes()


# --- on this machine ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM, signal.SIGKILL]
)
def test_nothing_trains_on_after_the_asker_was_stopped(
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
        status, lines = answer(asker, 20)
        assert status == 130
        assert lines == ["stopped; all that was finished is kept, the same command goes on"]
    wait_for(lambda: not any(map(alive, children)), 5)
    for run in runs:
        with held(run, wait=0):
            assert read(run).state == f"at {epochs(run)}/1000"


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)]
)
def test_a_restart_that_is_stopped_puts_back_what_there_was(
    number: int, project: Path, tmp_path: Path
) -> None:
    assert answer(ask(project, tmp_path, 1))[0] == 0
    runs = two(tmp_path, 1)
    old = [record_of(run) for run in runs]
    asker = ask(project, tmp_path, 5, "--seeds", "0-1", "--restart", pause=60)
    wait_for(lambda: all(run.before.exists() for run in runs))
    children = [holder(run) for run in runs]
    asker.send_signal(number)
    assert ": epoch" not in asker.communicate(timeout=20)[0]  # those of the old run are no news
    wait_for(lambda: not any(map(alive, children)), 5)
    if number == signal.SIGTERM:
        assert [record_of(run) for run in runs] == old
    status, lines = answer(ask(project, tmp_path, 1))
    assert status == 0
    assert [": already complete, " in line for line in lines] == [True, True]
    assert [record_of(run) for run in runs] == old


def test_a_child_that_is_killed_in_a_restart_leaves_its_old_result_and_the_other_run(
    project: Path, tmp_path: Path
) -> None:
    dies, lives = two(tmp_path, 3)
    assert answer(ask(project, tmp_path, 2))[0] == 0
    old = record_of(dies)
    asker = ask(project, tmp_path, 3, "--seeds", "0-1", "--restart", pause=0.5)
    wait_for(dies.before.exists)
    os.kill(holder(dies), signal.SIGKILL)
    status, lines = answer(asker)
    assert status == 2
    assert sorted(lines) == sorted(
        [
            f"{dies}: error: its process died (SIGKILL); run the same command again to go on",
            f"{lives}: complete in {lives.folder}",
        ]
    )
    assert read(lives).complete
    assert record_of(dies) == old
    assert not dies.before.exists()


def test_a_run_that_fails_says_why_in_a_line(project: Path, tmp_path: Path) -> None:
    bad, good = two(tmp_path, 2)
    with held(bad):
        status, lines = answer(ask(project, tmp_path, 2))
    assert status == 2
    assert [line for line in lines if f"{bad}: error" in line] == [
        f"{bad}: error: {bad} is held by process {os.getpid()} on {os.uname().nodename}; "
        "wait for it or stop it"
    ]
    assert read(good).complete
    # Children know how many run beside them, and have their share of the cores.
    [session] = read_record(good.folder)["sessions"]
    assert session == {"CIFAR_STUDY_SIDE_BY_SIDE": "2", "OMP_NUM_THREADS": "1"}


class Ended(Future):
    def __init__(self, result: str) -> None:
        super().__init__()
        self.set_result(result)


def test_the_longest_run_begins_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    submitted = []

    def submit(run: Run, words: list[str], runs: int) -> Future:
        submitted.append((run.number, words, runs))
        return Ended("")

    runs = [Run(1, root=tmp_path), Run(4, root=tmp_path), Run(1, 1, epochs=1000, root=tmp_path)]
    failed = many.train_all(runs, ["--device", "cpu"], nullcontext(submit))
    assert len(failed) == 3  # as none has a result, "complete" is not said
    assert capsys.readouterr().err.count("is without a result; run the same command again") == 3
    assert [number for number, _, _ in submitted] == [4, 1, 1]
    assert "--epochs" in submitted[1][1]
    assert submitted[0][1:] == (
        ["--stage", "4", "--cache", str(tmp_path), "--device", "cpu"], 3
    )  # fmt: skip


@pytest.mark.timeout(200)
def test_real_runs_side_by_side_are_what_they_are_alone(tmp_path: Path) -> None:
    words = ["--stage", "1", "2", "--epochs", "1", "--limit", "100", "--width", "0.25"]
    words += ["--data", "synthetic", "--device", "cpu", "--precision", "float32"]
    line = [sys.executable, "-m", "cifar_study.train", *words, "--cache"]
    status, lines = answer(start([*line, str(tmp_path / "many"), "--jobs", "2"], PROJECT), 180)
    assert status == 0, lines
    alone = [*line[:4], *line[5:], str(tmp_path / "alone")]
    assert answer(start(alone, PROJECT, OMP_NUM_THREADS="1"), 180)[0] == 0
    records = []
    for name in ("many", "alone"):
        path = tmp_path / name / f"stage-{alone[4]}" / "seed-0" / "result.json"
        records.append(json.loads(path.read_text()))
    sessions = [record.pop("sessions")[0] for record in records]
    assert [session["side_by_side"] for session in sessions] == [2, 1]
    assert records[0] == records[1]  # the SHA-256 of network, predictions and momentum are in it


# --- on a cluster -------------------------------------------------------------------------------

DASK = [sys.executable, "-m", "dask"]


class Cluster:
    """A scheduler on the loopback address, and its workers."""

    def __init__(self, folder: Path, program: list[str] = DASK) -> None:
        self.folder, file = folder, folder / "scheduler.json"
        words = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)]
        self.scheduler = start([*program, *words, "--dashboard-address", ":0"], Path("/"))
        self.log = threading.Thread(target=self.scheduler.stdout.read, daemon=True)
        self.log.start()
        wait_for(lambda: file.exists() and file.read_text().endswith("}"))
        described = json.loads(file.read_text())
        self.address = described["address"]
        self.dashboard = described["services"]["dashboard"]

    def worker(
        self, cwd: Path = Path("/"), hidden: tuple[Path, Path | None] | None = None, **more: str
    ) -> subprocess.Popen:
        """Start a worker; for one that is to see something else in a folder, a mount hides it."""
        line = [*DASK, "worker", self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard"]
        if hidden:
            folder, other = hidden
            mount = (
                f"mount --bind '{other}' '{folder}'" if other else f"mount -t tmpfs x '{folder}'"
            )
            line = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", *line]
        before = self.count()
        worker = start([*line, "--local-directory", str(self.folder)], cwd, **more)
        threading.Thread(target=worker.stdout.read, daemon=True).start()
        wait_for(lambda: self.count() > before)
        return worker

    def count(self) -> int:
        """Workers that the scheduler knows."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return len(client.scheduler_info()["workers"])


def end(process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.wait(20)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    yield running
    end(running.scheduler)


def refusal(address: str, root: Path) -> str:
    """The one line, within 30 s, of a cluster that can't be used."""
    began = time.monotonic()
    with pytest.raises(StudyError) as caught, many.on_cluster(address, root):
        pass
    assert time.monotonic() - began < 30
    message = str(caught.value)
    assert message.startswith(f"--scheduler {address}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"--scheduler {address}: ")


@pytest.mark.parametrize("address", ["here", "tcp://127.0.0.1:1", "a b:1", "tls://127.0.0.1:1"])
def test_no_scheduler_is_one_line(address: str, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    said = refusal(address, tmp_path)
    assert said.startswith("no scheduler answers (")
    assert said.endswith("start one with: dask scheduler")


def test_the_dashboards_port_is_no_scheduler(cluster: Cluster, tmp_path: Path) -> None:
    host = cluster.address.rpartition(":")[0]
    assert refusal(f"{host}:{cluster.dashboard}", tmp_path).startswith("no scheduler answers (")


def test_a_cluster_without_workers_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    way = f"start some with: dask worker {cluster.address} --nthreads 1"
    assert refusal(cluster.address, tmp_path) == f"has no worker; {way}"


def test_a_scheduler_of_another_dask_is_one_line(tmp_path: Path) -> None:
    """As another release says of itself; one that old may not even answer what is asked."""
    pytest.importorskip("distributed")
    code = "import sys, distributed.versions as v; old = v._version_cached\n"
    code += "v._version_cached = lambda name: '2024.1.0' if name == 'distributed' else old(name)\n"
    code += "from dask.__main__ import main; sys.argv[0] = 'dask'; main()"
    other = Cluster(tmp_path, [sys.executable, "-c", code])
    assert re.fullmatch(
        r"the scheduler has distributed 2024\.1\.0, and we [\d.]+; there and here: "
        r"pip install -c requirements\.txt -e \.\[cluster\]",
        refusal(other.address, tmp_path),
    )


namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0
    if shutil.which("unshare")
    else True,
    reason="needs unshare, to hide folders from a worker",
)


@namespaces
@pytest.mark.timeout(200)
def test_a_worker_that_cannot_train_as_we_do_is_one_line(
    cluster: Cluster, project: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(project / "cifar_study", tmp_path / "other" / "cifar_study")
    with (other / "stages.py").open("a") as file:
        file.write("# another version\n")
    root = tmp_path / "results"
    root.mkdir()
    share = "share that folder"
    for hidden, expected in (
        (
            (project, other.parent),
            f"another version of the project, or none, in {project}; {share}",
        ),
        ((project.parent, None), f"another version of the project, or none, in {project}; {share}"),
        ((root, None), f"does not see {root}; {share}"),
    ):
        worker = cluster.worker(hidden=hidden)
        began = time.monotonic()
        status, lines = answer(ask(project, root, 1, "--scheduler", cluster.address))
        assert time.monotonic() - began < 30
        assert (status, len(lines)) == (2, 1), lines
        assert expected in lines[0]
        assert not (root / "stage-9").exists()
        end(worker)
        wait_for(lambda: cluster.count() == 0)


@pytest.mark.timeout(300)
def test_runs_on_a_worker_end_when_they_are_no_longer_asked_for(
    cluster: Cluster, project: Path, tmp_path: Path
) -> None:
    worker = cluster.worker()  # started elsewhere, and without the project in its path
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
@pytest.mark.timeout(300)
def test_another_worker_goes_on_where_one_was_killed_and_restarts_once(
    cluster: Cluster, project: Path, tmp_path: Path
) -> None:
    run = two(tmp_path, 12)[0]
    assert answer(ask(project, tmp_path, 12, "--seed", "0", pause=0))[0] == 0
    old, first = read_record(run.folder), cluster.worker()
    options = ("--seed", "0", "--scheduler", cluster.address, "--restart")
    asker = ask(project, tmp_path, 12, *options, pause=0.5)
    wait_for(lambda: 2 <= epochs(run) < 12 and not run.before.exists())
    child = holder(run)
    end(first)
    wait_for(lambda: not alive(child), 20)
    kept = epochs(run)
    second = cluster.worker()
    least = kept
    while asker.poll() is None:
        least = min(least, epochs(run))
    status, lines = answer(asker)
    assert status == 0
    assert least == kept
    assert any(re.fullmatch("worker tcp://[0-9.:]+ has left; its run .*", line) for line in lines)
    assert any(re.fullmatch("worker tcp://[0-9.:]+ is there", line) for line in lines)
    assert lines[-1] == f"{run}: complete in {run.folder}"
    assert read_record(run.folder)["files"] == old["files"]  # SHA-256 of what is kept
    end(second)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_scheduler_that_is_gone_ends_its_runs(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    short = Cluster(tmp_path)
    short.worker()
    run = two(tmp_path, 1000)[0]
    asker = ask(project, tmp_path, 1000, "--seed", "0", "--scheduler", short.address)
    wait_for(lambda: epochs(run) >= 1)
    child = holder(run)
    end(short.scheduler)
    began = time.monotonic()
    status, lines = answer(asker)
    assert time.monotonic() - began < 40
    assert status == 2
    assert f"{run}: error: CancelledError" in lines[-1]
    assert lines[-1].endswith("; run the same command again to go on")
    wait_for(lambda: not alive(child), 20)
