"""A real scheduler with real workers: all jobs finish, as they would here, whoever is killed."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import filelock
import pytest
from command import fork_to, refused, start, train_in_fork
from runs import SMALL, contents, finished, same_result, small_run, wait_for
from test_processes import group

from cifar_study.results import store
from cifar_study.results.run import Run
from cifar_study.results.status import status
from cifar_study.train import main

STUDY = ("--stage", "1", "2", "--seeds", "0-1", *SMALL)


def test_without_a_scheduler_dask_is_not_needed_and_with_one_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("distributed", "dask"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "cifar_study.training.dask", raising=False)
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    monkeypatch.chdir(tmp_path)
    options = ["--stage", "1", "--epochs", "1", *SMALL, "--jobs", "1"]
    assert main(options) == 0
    capsys.readouterr()
    said = refused(capsys, *options[:-2], "--scheduler", "tcp://127.0.0.1:8786")
    assert said.startswith("error: --scheduler: Dask can't be used")
    assert said.endswith("install it with: pip install -r requirements-cluster.txt")


@pytest.mark.parametrize("address", ["here", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "a b:1"])
def test_an_address_that_is_none_is_one_line(address: str, capsys) -> None:
    pytest.importorskip("distributed")
    said = refused(capsys, "--stage", "1", "--scheduler", address)
    assert said.startswith(f"error: --scheduler {address}: no scheduler answers there (")
    assert said.endswith("start one with: dask scheduler, and give the address that it names")


def test_jobs_and_scheduler_do_not_go_together(capsys) -> None:
    said = refused(capsys, "--stage", "1", "--scheduler", "127.0.0.1:8786", "--jobs", "2")
    assert "--jobs does not go with --scheduler" in said


def _dask(words: list[str]) -> None:
    from dask.__main__ import main as dask  # here, as Dask may be missing

    sys.argv[1:] = words
    dask()


class Cluster:
    """A scheduler on the loopback address, and its workers by process id."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers = folder, {}
        self.file = folder / "scheduler.json"
        self.scheduler = self._dask("scheduler", "--port", "0", "--scheduler-file", self.file)
        wait_for(lambda: self._address() is not None)
        self.address = self._address()

    def _dask(self, *words: object) -> BaseProcess:
        """``python -m dask`` in a fork: each worker would import torch for seconds."""
        name = f"dask {len(self.workers)} {time.monotonic_ns()} "
        return fork_to(_dask, self.folder, [*map(str, words), "--host", "127.0.0.1"], log=name)

    def _address(self) -> str | None:
        """The scheduler's address, once it has written it down."""
        text = self.file.read_text() if self.file.exists() else ""
        found = re.search(r"tcp://[\d.]+:\d+", text)
        return found[0] if found else None

    def add_worker(self, threads: int = 1) -> BaseProcess:
        """Start a worker, without the nanny that would start it again."""
        options = ("--no-nanny", "--no-dashboard", "--nthreads", threads)
        worker = self._dask("worker", self.address, *options)
        self.workers[worker.pid] = worker
        return worker

    def need(self, count: int) -> None:
        """See to it that so many workers at least are there."""
        for _ in range(count - len(self.workers)):
            self.add_worker()
        wait_for(lambda: self.connected() >= count)

    def connected(self) -> int:
        """Workers that the scheduler knows."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return len(client.scheduler_info(n_workers=-1)["workers"])

    def kill(self, pid: int) -> None:
        """Kill a worker as ``kill -9`` does."""
        worker = self.workers.pop(pid)
        worker.kill()
        worker.join()

    def kill_all(self) -> None:
        """Kill every worker, until the scheduler knows of none."""
        for pid in list(self.workers):
            self.kill(pid)
        wait_for(lambda: self.connected() == 0)

    def close(self) -> None:
        """Leave no process behind."""
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
            process.join()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    yield running
    running.close()


def study(root: Path, epochs: int) -> list[Run]:
    """The runs of STUDY with that many epochs."""
    return [small_run(stage, epochs, root, seed) for stage in (1, 2) for seed in (0, 1)]


def epochs_told(said: str) -> Counter[str]:
    """How often the log says of each run and epoch that it is finished."""
    return Counter(re.findall(r"^(stage \d, seed \d: epoch \d+)/", said, re.MULTILINE))


def holder(run: Run) -> int:
    """The process that trains a run, or trained it last."""
    return int((run.folder / "lock").read_text().split()[1])


def free(run: Run) -> bool:
    """Whether nobody trains it."""
    try:
        with filelock.FileLock(run.folder / "lock", timeout=0, is_singleton=False):
            return True
    except filelock.Timeout:
        return False


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_worker_killed_halfway_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    options = (*STUDY, "--epochs", "10")
    local = train_in_fork(here, *options, "--jobs", "1")
    assert local.returncode == 0, local.stderr

    cluster.need(2)
    process = start(tmp_path, *options, "--scheduler", cluster.address)
    longest = study(tmp_path, 10)[2]
    history = longest.folder / store.HISTORY
    wait_for(lambda: history.exists() and history.read_text().count("\n") > 4, 120)
    killed = holder(longest)
    cluster.kill(killed)
    at_kill = store.read_record(longest.folder / store.RECORD)["epochs_done"]
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "Traceback" not in said

    assert 1 <= at_kill < 10
    assert holder(longest) != killed
    for run, same in zip(study(tmp_path, 10), study(here, 10), strict=True):
        same_result(run.folder, same.folder)
        assert f"{run.name}: complete, 10 epochs in cache/trial/" in said
        sessions = store.read_result(run.folder).record["sessions"]
        assert [session["first_epoch"] for session in sessions] == [1]  # the same hardware
    told = epochs_told(said)
    assert set(told.values()) == {1}  # nothing is trained twice
    # The killed worker may have taken the news of its last epoch with it.
    assert len(told) >= 4 * 10 - 1
    first = [line for line in said.splitlines() if " epoch 1/" in line][:2]
    assert sorted(line[:7] for line in first) == ["stage 2", "stage 2"]  # the longest first

    again = train_in_fork(tmp_path, *options, "--scheduler", cluster.address)
    assert again.returncode == 0
    assert again.stderr.count("already complete, 10 epochs in ") == 4


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_whoever_stops_asking_leaves_the_finished_epochs(
    how: signal.Signals, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.need(2)
    runs = study(tmp_path, 5000)
    process = start(tmp_path, *STUDY, "--epochs", "5000", "--scheduler", cluster.address)
    wait_for(lambda: all((run.folder / store.HISTORY).exists() for run in runs[2:]), 120)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "stopped; all that was finished is kept, the same command goes on" in said
        assert "Traceback" not in said
    wait_for(lambda: all(map(free, runs[2:])))
    done = [len(finished(run)) for run in runs[2:]]
    time.sleep(1)
    assert [len(finished(run)) for run in runs[2:]] == done
    assert not runs[0].folder.exists()  # the shorter jobs were not begun
    assert cluster.connected() == len(cluster.workers)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_job_that_fails_leaves_the_others_running(cluster: Cluster, tmp_path: Path) -> None:
    cluster.need(2)
    fails, fine = study(tmp_path, 2)[:2]
    damaged = fails.folder / store.RECORD
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    options = ("--stage", "1", "--seeds", "0-1", "--epochs", "2", *SMALL)
    done = train_in_fork(tmp_path, *options, "--scheduler", cluster.address)
    assert done.returncode == 2
    assert re.search(r"^error: .*seed-0/result\.json: unreadable", done.stderr, re.MULTILINE)
    assert done.stderr.splitlines()[-1] == "failed: stage 1, seed 0"
    assert "Traceback" not in done.stderr
    assert status(fine).text == "complete"

    anew = train_in_fork(tmp_path, *options, "--scheduler", cluster.address, "--restart")
    assert anew.returncode == 0, anew.stderr
    assert set(epochs_told(anew.stderr).values()) == {1}
    assert len(epochs_told(anew.stderr)) == 4
    assert status(fails).text == "complete"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_restart_discards_no_result_before_a_worker_replaces_it_and_survives_that_worker(
    cluster: Cluster, tmp_path: Path
) -> None:
    run, same = small_run(2, 12, tmp_path), small_run(2, 12, tmp_path / "here")
    options = ("--stage", "2", *SMALL, "--epochs", "12")
    for place in (tmp_path, tmp_path / "here"):
        place.mkdir(exist_ok=True)
        local = train_in_fork(place, *options, "--jobs", "1")
        assert local.returncode == 0, local.stderr
    old = contents(run.folder)
    cluster.kill_all()
    process = start(tmp_path, *options, "--scheduler", cluster.address, "--restart")
    assert process.stderr.readline().startswith("no worker yet; start some with: dask worker tcp")
    time.sleep(1)  # in which the scheduler takes the job up
    assert contents(run.folder) == old

    def begun() -> int:
        """Epochs that the command has finished; the old result is whole until its first."""
        try:
            before = contents(run.folder)
        except FileNotFoundError:  # removed meanwhile
            before = old
        found = status(run)
        if found.state == "complete" and not found.result.record["restart"]:
            assert before == old
            return 0
        assert found.state in ("absent", "partial"), found.text  # absent in the first's writing
        return found.result.epochs_done if found.result else 0

    cluster.need(1)
    wait_for(lambda: begun() >= 2, 120)
    cluster.kill(holder(run))
    kept = begun()
    assert 2 <= kept < 12
    cluster.add_worker()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    told = epochs_told(said)
    assert set(told.values()) == {1}  # nothing is trained twice
    # The killed worker may have taken the news of its last epoch with it.
    assert {f"stage 2, seed 0: epoch {epoch}" for epoch in range(1, 13)} - set(told) <= {
        f"stage 2, seed 0: epoch {kept}"
    }
    same_result(run.folder, same.folder)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_workers_of_several_threads_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.connected()
    worker = cluster.add_worker(threads=2)
    wait_for(lambda: cluster.connected() > before)
    refused = train_in_fork(tmp_path, *STUDY, "--scheduler", cluster.address)
    cluster.kill(worker.pid)
    assert refused.returncode == 2
    assert f"dask worker {cluster.address} --no-nanny --nthreads 1" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_scheduler_that_is_gone_is_named_and_its_workers_stop(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    short = Cluster(tmp_path)
    try:
        short.need(1)
        process = start(
            tmp_path, *STUDY, "--epochs", "5000", "--scheduler", short.address,
            start_new_session=True,
        )  # fmt: skip
        longest = study(tmp_path, 5000)[2]
        wait_for((longest.folder / store.HISTORY).exists, 120)
        short.scheduler.kill()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 2
        assert said.count("the scheduler let go of it; run the same command again to go on") == 4
        assert "Traceback" not in said
        assert group(process.pid) == []
        wait_for(lambda: free(longest))
        assert len(finished(longest)) > 0

        again = (*STUDY, "--epochs", "5000", "--scheduler", short.address)
        gone = train_in_fork(tmp_path, *again)
        assert gone.returncode == 2
        assert gone.stderr == (
            f"error: --scheduler {short.address}: no scheduler answers there "
            "(Connection refused); start one with: dask scheduler, "
            "and give the address that it names\n"
        )
    finally:
        short.close()
