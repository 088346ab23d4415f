"""Processes: one holds a run, Ctrl-C stops them all, one that dies leaves the others running."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from command import fork, start, train_in_fork
from runs import ONE_JOB, SMALL, contents, finished, small_run, train_here, wait_for

from cifar_study.errors import StudyError
from cifar_study.results import store
from cifar_study.results.status import status


def group(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (
                os.getsid(int(entry.name)) == leader
                and "Z" not in ((entry / "stat").read_text().rsplit(")", 1)[1].split()[0])
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def jobs(leader: int) -> int:
    """How many jobs of a session are alive: a tracker of multiprocessing's may be there, too."""
    found = 0
    for process in group(leader):
        try:
            found += b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
    return found


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., BaseProcess]]:
    """Begins the command, and leaves nothing of it behind."""
    begun: list[BaseProcess] = []

    def begin(*options: str) -> BaseProcess:
        begun.append(fork(tmp_path, *options))
        return begun[-1]

    yield begin
    for process in begun:
        for member in group(process.pid):
            os.kill(member, signal.SIGKILL)
        process.join()


def ended(process: BaseProcess, folder: Path, seconds: float) -> tuple[int | None, str]:
    """How it ended, and what it said as errors."""
    process.join(timeout=seconds)
    return process.exitcode, (folder / "err").read_text()


linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@linux_only
@pytest.mark.timeout(200)
def test_a_second_process_is_told_who_holds_the_run_and_ctrl_c_stops_the_first(
    tmp_path: Path,
) -> None:
    options, run = ("--stage", "1", "--epochs", "5000", *ONE_JOB), small_run(1, 5000, tmp_path)
    first = fork(tmp_path, *options, log="first ")
    wait_for((run.folder / store.RECORD).exists)

    second = train_in_fork(tmp_path, *options)
    assert second.returncode == 2
    assert f"stage 1, seed 0 is being trained by process {first.pid} on " in second.stderr
    assert len(second.stderr.splitlines()) == 2  # the first says that it starts
    assert first.is_alive()

    os.killpg(first.pid, signal.SIGINT)
    first.join(timeout=30)
    assert first.exitcode == 130
    said = (tmp_path / "first err").read_text()
    assert "stopped; all that was finished is kept, the same command goes on" in said
    assert "Traceback" not in said
    assert len(finished(run)) > 0


def test_a_file_system_without_locks_is_named_and_nothing_is_left_to_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in place of the lock would be left by a kill, and keep the next process out."""

    def flock(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    run = small_run(1, 1, tmp_path)
    for restart in ("", "anew"):
        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", flock)
            with pytest.raises(StudyError) as caught:
                train_here(run, restart)
        assert str(caught.value) == (
            f"{run.folder / 'lock'}: this file system has no locks, which keep two processes off "
            "one run; choose another folder with --cache"
        )
        assert contents(run.folder) == {}
    assert len(train_here(run)) == 1


def test_a_lock_that_cannot_be_had_for_another_reason_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    run = small_run(1, 1, tmp_path)
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StudyError, match="No locks available") as caught:
        train_here(run)
    assert str(caught.value).startswith(f"{run.folder / 'lock'}: ")
    assert contents(run.folder) == {}


@linux_only
@pytest.mark.timeout(200)
@pytest.mark.parametrize("moment", ["while jobs start", "while they train"])
def test_ctrl_c_stops_every_job(
    moment: str, begin: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    process = begin("--stage", "1", "2", "--epochs", "5000", *SMALL, "--jobs", "2")
    if moment == "while jobs start":
        wait_for(lambda: jobs(process.pid) == 2)
    else:
        for stage in (1, 2):
            wait_for((small_run(stage, 5000, tmp_path).folder / store.HISTORY).exists)
    os.killpg(process.pid, signal.SIGINT)
    code, said = ended(process, tmp_path, seconds=30)
    assert code == 130
    assert "stopped; all that was finished is kept" in said
    assert "Traceback" not in said
    wait_for(lambda: group(process.pid) == [], seconds=10)


@linux_only
@pytest.mark.timeout(200)
def test_who_presses_ctrl_c_again_and_again_is_told_once(
    begin: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    process = begin("--stage", "1", "2", "--epochs", "5000", *SMALL, "--jobs", "2")
    wait_for(lambda: jobs(process.pid) > 0)
    while process.is_alive():
        os.killpg(process.pid, signal.SIGINT)
        process.join(timeout=0.01)
    code, said = ended(process, tmp_path, seconds=30)
    assert code == 130
    assert said.split("\n", 1)[1].strip() == (
        "stopped; all that was finished is kept, the same command goes on"
    )


@linux_only
@pytest.mark.long
@pytest.mark.timeout(200)
def test_jobs_end_when_their_parent_is_killed(
    begin: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    process = begin("--stage", "1", "2", "--epochs", "5000", *SMALL, "--jobs", "2")
    for stage in (1, 2):
        wait_for((small_run(stage, 5000, tmp_path).folder / store.HISTORY).exists)
    process.kill()
    wait_for(lambda: group(process.pid) == [], seconds=15)


@pytest.mark.timeout(200)
def test_jobs_that_fail_or_die_leave_the_others_running(
    begin: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    fine, fails, dies = (small_run(stage, 20, tmp_path) for stage in (1, 2, 3))
    damaged = fails.folder / store.RECORD
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    process = begin("--stage", "1", "2", "3", "--epochs", "20", *SMALL, "--jobs", "2")
    wait_for((dies.folder / store.HISTORY).exists)
    os.kill(int((dies.folder / "lock").read_text().split()[1]), signal.SIGKILL)
    code, said = ended(process, tmp_path, seconds=120)

    assert code == 2
    assert "Traceback" not in said
    assert re.search(r"^error: .*stage-2/seed-0/result\.json: unreadable", said, re.MULTILINE)
    assert "error: stage 3, seed 0: its process died; run the same command again" in said
    assert re.fullmatch("failed: stage [23], seed 0, stage [23], seed 0", said.splitlines()[-1])
    assert damaged.read_text() == "{"
    assert status(fine).text == "complete"
    [session] = store.read_result(fine.folder).record["sessions"]
    assert session["side_by_side"] == 2
    assert len(finished(dies)) < 20


@pytest.mark.timeout(200)
def test_on_a_terminal_a_bar_shows_how_it_goes(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = start(
        tmp_path, "--stage", "1", "--epochs", "12", *ONE_JOB, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how Linux says that the other side has closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert "\rstage 1, seed 0:" in text
    assert re.search(r"\d+% .*\d+\.\d/12 epochs \[\d\d:\d\d<.*loss \d\.\d{3}, accuracy ", text)
    assert "complete, 12 epochs" in text.splitlines()[-1]


@pytest.mark.timeout(200)
def test_several_seeds_of_several_stages_are_trained(tmp_path: Path) -> None:
    options = ("--stage", "1", "2", "--seeds", "0,3-4", "--epochs", "2", *ONE_JOB)
    done = train_in_fork(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    ends = set()
    for stage in (1, 2):
        for seed in (0, 3, 4):
            found = status(small_run(stage, 2, tmp_path, seed))
            assert found.state == "complete"
            ends.add(found.result.history["test_loss"].iloc[-1])
            assert f"stage {stage}, seed {seed}: complete, 2 epochs in " in done.stderr
    assert len(ends) == 6
