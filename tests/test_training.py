"""Training as the user starts it: real processes that are killed, stopped, and go on."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command import environment, start, train

from cifar_study import cache, data, trainer
from cifar_study.errors import StudyError
from cifar_study.runs import Run
from cifar_study.stages import STAGES
from cifar_study.train import main

torch.set_num_threads(1)
SMALL = ("--data", "synthetic", "--limit", "100", "--width", "0.25")
SMALL += ("--device", "cpu", "--precision", "float32")
ONE_JOB = (*SMALL, "--jobs", "1")


def small_run(stage: int, epochs: int, root: Path) -> Run:
    return Run(STAGES[stage], 0, epochs, 100, 0.25, "synthetic", root / "cache")


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def same_result(one: Path, other: Path) -> None:
    """Two folders hold the same run bit for bit, but for the seconds that it took."""
    timed = {"median_seconds", "sessions", "history_sha256", "record_sha256"}
    left, right = (cache.read_result(folder) for folder in (one, other))
    assert [row[:5] for row in left.history] == [row[:5] for row in right.history]
    assert {k: v for k, v in left.record.items() if k not in timed} == {
        k: v for k, v in right.record.items() if k not in timed
    }
    for name in (cache.MODEL, cache.PROBABILITIES):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    (arrays, _), (others, _) = (cache.read_tensors(f / cache.RESUME) for f in (one, other))
    assert arrays.keys() == others.keys()
    for name in arrays.keys() - {"history"}:
        assert arrays[name].tobytes() == others[name].tobytes(), name
    assert set(files(one)) == set(files(other))  # and nothing half written is left


# --- killed and resumed -------------------------------------------------------------------------


def kill_once(folder: Path, options: tuple[str, ...], run: Run, chance: random.Random) -> None:
    """Start training and kill it: at any moment, after an epoch, or while a file is written."""

    def rows() -> int:
        history = run.folder / cache.HISTORY
        return history.read_text().count("\n") if history.exists() else 0

    before, moment = rows(), chance.choice(["any time", "an epoch", "a write", "a write"])
    process = start(folder, *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if moment == "any time":
        end = time.monotonic() + chance.uniform(0, 2)
        wait_for(lambda: time.monotonic() > end or rows() > before + 2)
    else:
        wait_for(lambda: rows() > before or process.poll() is not None)
        time.sleep(chance.uniform(0, 0.1))
    if moment == "a write":
        which = chance.choice([cache.HISTORY, cache.RECORD, cache.MODEL, cache.RESUME])
        end = time.monotonic() + 1
        while not list(run.folder.glob(f".{which}.*")) and time.monotonic() < end:
            pass
    alive = process.poll() is None
    process.kill()
    process.wait()
    assert alive, "it ended before it was killed"


def kill_and_resume(folder: Path, stage: int, epochs: int, kills: int, seed: int) -> None:
    """Train through ``kills`` kills to the end, which is that of the run in ``straight``.

    Each process goes on at once, so a holder that was killed holds nothing.
    """
    run, straight = (small_run(stage, epochs, root) for root in (folder, folder / "straight"))
    options = ("--stage", str(stage), "--epochs", str(epochs), *ONE_JOB)
    reference = [row[:5] for row in cache.read_result(straight.folder).history]
    chance = random.Random(seed)
    for _ in range(kills):
        kill_once(folder, options, run, chance)
        stand = cache.status(run)
        assert stand.state in ("absent", "partial"), stand.text
        if stand.result:
            done = [row[:5] for row in stand.result.history]
            assert done == reference[: len(done)]
    last = train(folder, *options)
    assert last.returncode == 0, last.stderr
    same_result(run.folder, straight.folder)


def train_straight(folder: Path, stage: int, epochs: int) -> subprocess.CompletedProcess[str]:
    (folder / "straight").mkdir(parents=True)
    done = train(folder / "straight", "--stage", str(stage), "--epochs", str(epochs), *ONE_JOB)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """A run of 25 epochs that nothing interrupts, and what it printed."""
    folder = tmp_path_factory.mktemp("kill")
    return folder, train_straight(folder, 8, 25)


@pytest.mark.timeout(300)
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(straight) -> None:
    folder, _ = straight
    kill_and_resume(folder, stage=8, epochs=25, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_fifty_times_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    train_straight(tmp_path, 8, 300)
    kill_and_resume(tmp_path, stage=8, epochs=300, kills=50, seed=2)


def test_output_to_a_log_is_lines(straight) -> None:
    _, done = straight
    assert done.stdout == ""
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 26
    assert re.fullmatch(
        r"stage 8, seed 0: epoch 7/25, train loss \d\.\d{4} accuracy \d+\.\d%, "
        r"test loss \d\.\d{4} accuracy \d+\.\d%, \d+\.\d s, \d\d:\d\d left",
        lines[6],
    )
    assert lines[-1].startswith("stage 8, seed 0: complete, 25 epochs in cache/trials/")


def test_the_record_says_what_was_trained(straight) -> None:
    folder, _ = straight
    run = small_run(8, 25, folder / "straight")
    record = cache.read_result(run.folder).record
    assert (record["stage"], record["seed"], record["title"]) == (8, 0, "global average pooling")
    assert (record["epochs_done"], record["epochs_planned"]) == (25, 25)
    assert record["parameters"] == (
        (27 * 5 + 5) + (45 * 5 + 5) + (45 * 10 + 10) + (90 * 10 + 10)
        + (90 * 20 + 20) + (180 * 20 + 20) + (180 * 40 + 40) + (360 * 40 + 40)
        + 2 * 2 * (5 + 10 + 20 + 40) + (40 * 10 + 10)
    )  # fmt: skip
    assert record["data"]["name"] == "synthetic"
    assert record["data"]["fingerprint"] == data.synthetic().fingerprint
    [session] = record["sessions"]
    assert (session["device"], session["precision"], session["threads"]) == ("cpu", "float32", 1)
    assert session["first_epoch"] == 1
    assert session["torch"] == torch.__version__


def test_a_complete_run_says_so_and_touches_nothing(straight) -> None:
    folder, _ = straight
    before = files(small_run(8, 25, folder / "straight").folder)
    again = train(folder / "straight", "--stage", "8", "--epochs", "25", *ONE_JOB)
    assert again.returncode == 0
    assert "stage 8, seed 0: already complete, 25 epochs in " in again.stderr
    assert files(small_run(8, 25, folder / "straight").folder) == before


# --- in this process: what a run does with what it finds ------------------------------------------


def train_here(run: Run, restart: bool = False) -> list[trainer.Event]:
    """Train in this process; the news."""
    news: list[trainer.Event] = []
    trainer.train(
        run, data.synthetic(), trainer.Hardware("cpu", "float32", 1), news.append, restart
    )
    return news


def test_a_kill_after_the_state_was_saved_is_made_good(tmp_path: Path) -> None:
    run = small_run(1, 3, tmp_path)
    earlier: dict[str, bytes] = {}

    def keep_the_second(event: trainer.Event) -> None:
        if event.row and event.row.epoch == 2:
            earlier.update(files(run.folder))

    trainer.train(run, data.synthetic(), trainer.Hardware("cpu", "float32", 1), keep_the_second)
    final = files(run.folder)
    for name in earlier.keys() - {cache.RESUME}:
        (run.folder / name).write_bytes(earlier[name])
    assert cache.status(run).text == "at 2/3"
    assert train_here(run) == []  # nothing is trained again
    assert cache.status(run).text == "complete"
    assert files(run.folder) == final


def test_without_the_resume_file_it_goes_on_from_the_model_with_a_note(tmp_path: Path) -> None:
    run = small_run(1, 4, tmp_path)
    stopped_after(run, 2)
    (run.folder / cache.RESUME).unlink()
    before = cache.read_result(run.folder)
    news = train_here(run)
    assert news[0].note.endswith(
        f"going on from {cache.MODEL} with the optimizer's momentum at zero"
    )
    assert [event.row.epoch for event in news if event.row] == [3, 4]
    after = cache.read_result(run.folder)
    assert after.history[:2] == before.history
    assert [(s["first_epoch"], s["momentum_restarted"]) for s in after.record["sessions"]] == [
        (1, False),
        (3, True),
    ]


def test_two_kills_in_a_row_before_the_record_leave_a_result_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(1, 4, tmp_path)
    stopped_after(run, 1)
    record = (run.folder / cache.RECORD).read_bytes()
    stopped_after(run, 2)
    (run.folder / cache.RECORD).write_bytes(record)  # the first kill

    def killed_at_the_third(path: Path, value: dict, write=cache.write_json) -> None:
        if value["epochs_done"] == 3:
            raise KeyboardInterrupt
        write(path, value)

    with monkeypatch.context() as patched:
        patched.setattr(cache, "write_json", killed_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            train_here(run)
    assert cache.status(run).text == "at 2/4"
    train_here(run)
    assert cache.status(run).text == "complete"


def stopped_after(run: Run, epoch: int) -> None:
    """Train and stop as Ctrl-C does once that epoch is finished."""

    def stop(event: trainer.Event) -> None:
        if event.row and event.row.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.train(run, data.synthetic(), trainer.Hardware("cpu", "float32", 1), stop)


def test_precision_is_measured_once_on_the_same_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cifar_study import engine

    asked = []

    def choose(name: str, device: torch.device) -> torch.dtype:
        """As on a machine that was idle the first time, and busy ever after."""
        asked.append(name)
        fast = name == "bfloat16" or (name == "auto" and asked.count("auto") == 1)
        return torch.bfloat16 if fast else torch.float32

    def stop(event: trainer.Event) -> None:
        if event.row:
            raise KeyboardInterrupt

    monkeypatch.setattr(engine, "choose_precision", choose)
    run, automatic = small_run(1, 4, tmp_path), trainer.Hardware("cpu", "auto", 1)

    def train_one_epoch() -> list[tuple[int, str]]:
        with pytest.raises(KeyboardInterrupt):
            trainer.train(run, data.synthetic(), automatic, stop)
        sessions = cache.read_result(run.folder).record["sessions"]
        return [(session["first_epoch"], session["precision"]) for session in sessions]

    assert train_one_epoch() == [(1, "bfloat16")]
    assert train_one_epoch() == [(1, "bfloat16")]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(engine, "processor_name", lambda _device: "another processor")
        assert train_one_epoch() == [(1, "bfloat16"), (3, "float32")]
    assert train_one_epoch() == [(1, "bfloat16"), (3, "float32"), (4, "bfloat16")]
    assert asked == ["auto", "bfloat16", "auto", "bfloat16"]


def test_a_model_of_another_epoch_is_not_gone_on_from(tmp_path: Path) -> None:
    run = small_run(1, 4, tmp_path)
    stopped_after(run, 1)
    first = (run.folder / cache.MODEL).read_bytes()
    stopped_after(run, 2)
    (run.folder / cache.RESUME).unlink()
    (run.folder / cache.MODEL).write_bytes(first)
    with pytest.raises(StudyError, match=rf"{cache.MODEL}: belongs to another run \(epoch differs"):
        train_here(run)


def test_published_results_that_are_further_on_are_not_overwritten(tmp_path: Path) -> None:
    run = small_run(1, 3, tmp_path)
    stopped_after(run, 1)
    mine = (run.folder / cache.RESUME).read_bytes()
    train_here(run)
    complete = files(run.folder)
    (run.folder / cache.RESUME).write_bytes(mine)  # as if the others had come from git
    assert train_here(run) == []
    assert files(run.folder) == complete | {cache.RESUME: mine}


@pytest.mark.parametrize("other", [cache.MODEL, cache.PROBABILITIES])
def test_another_file_in_the_place_of_the_resume_file_is_named(other: str, tmp_path: Path) -> None:
    run = small_run(1, 2, tmp_path)
    train_here(run)
    (run.folder / cache.RESUME).write_bytes((run.folder / other).read_bytes())
    with pytest.raises(StudyError) as caught:
        train_here(run)
    assert str(run.folder / cache.RESUME) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_resume_file_costs_no_finished_epoch(tmp_path: Path) -> None:
    run = small_run(1, 3, tmp_path)
    stopped_after(run, 2)
    path = run.folder / cache.RESUME
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StudyError, match=rf"damaged .*; delete it to go on from {cache.MODEL}$"):
        train_here(run)
    path.unlink()
    assert [event.row.epoch for event in train_here(run) if event.row] == [3]


def test_restart_trains_anew_to_the_same_end(tmp_path: Path) -> None:
    run = small_run(7, 2, tmp_path)
    train_here(run)
    first = files(run.folder)
    (run.folder / cache.HISTORY).write_text("damaged")
    news = train_here(run, restart=True)
    assert [event.row.epoch for event in news if event.row] == [1, 2]
    assert files(run.folder)[cache.MODEL] == first[cache.MODEL]
    assert cache.status(run).text == "complete"


def test_a_restart_that_cannot_begin_loses_nothing(tmp_path: Path) -> None:
    run = small_run(1, 1, tmp_path)
    train_here(run)
    before = files(run.folder)
    with pytest.raises(StudyError, match="--device mps"):
        trainer.train(run, data.synthetic(), trainer.Hardware("mps"), print, restart=True)
    assert files(run.folder) == before


def test_a_loss_that_is_not_a_number_stops_with_the_last_good_state_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cifar_study.engine import Engine

    run = small_run(1, 5, tmp_path)
    stopped_after(run, 2)
    good = files(run.folder)
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "train_epoch", lambda *_: (float("nan"), 0.1))
        with pytest.raises(
            StudyError, match=r"stage 1, seed 0: .* epoch 3 .*epochs 1 to 2 are kept"
        ):
            train_here(run)
    assert files(run.folder) == good
    train_here(run)
    assert cache.status(run).text == "complete"


def test_a_recipe_that_diverges_is_stopped_in_its_first_epoch(tmp_path: Path) -> None:
    wild = replace(STAGES[4], recipe=replace(STAGES[4].recipe, learning_rate=1e30))
    run = replace(small_run(4, 3, tmp_path), stage=wild)
    with pytest.raises(StudyError, match="stage 4, seed 0: the loss of epoch 1 is not a number"):
        train_here(run)
    assert files(run.folder) == {}


def test_a_stage_whose_files_fill_the_disk_goes_on_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, whole = small_run(8, 3, tmp_path), small_run(8, 3, tmp_path / "whole")
    train_here(whole)
    stopped_after(run, 1)
    kept = files(run.folder)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StudyError, match="No space left on device"):
            train_here(run)
    assert files(run.folder) == kept
    train_here(run)
    same_result(run.folder, whole.folder)


# --- stopped, held, side by side ------------------------------------------------------------------


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


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts the command in a session of its own, and leaves nothing of it behind."""
    begun: list[subprocess.Popen] = []

    def begin(*options: str) -> subprocess.Popen:
        begun.append(start(tmp_path, *options, start_new_session=True))
        return begun[-1]

    yield begin
    for process in begun:
        for member in group(process.pid):
            os.kill(member, signal.SIGKILL)
        process.communicate()


linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@linux_only
@pytest.mark.timeout(200)
def test_a_second_process_is_told_who_holds_the_run_and_ctrl_c_stops_the_first(
    started: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    options = ("--stage", "1", "--epochs", "5000", *ONE_JOB)
    history = small_run(1, 5000, tmp_path).folder / cache.HISTORY
    first = started(*options)
    wait_for(history.exists)

    second = train(tmp_path, *options)
    assert second.returncode == 2
    assert f"stage 1, seed 0 is being trained by process {first.pid} on " in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert first.poll() is None

    os.killpg(first.pid, signal.SIGINT)
    _, said = first.communicate(timeout=30)
    assert first.returncode == 130
    assert "stopped; every finished epoch is kept, the same command goes on" in said
    assert "Traceback" not in said
    assert cache.status(small_run(1, 5000, tmp_path)).state == "partial"


@linux_only
@pytest.mark.timeout(200)
@pytest.mark.parametrize("moment", ["while jobs start", "while they train"])
def test_ctrl_c_stops_every_job(
    moment: str, started: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    process = started("--stage", "1", "2", "--epochs", "5000", *SMALL, "--jobs", "2")
    if moment == "while jobs start":
        wait_for(lambda: len(group(process.pid)) >= 4)  # with multiprocessing's own tracker
    else:
        for stage in (1, 2):
            wait_for((small_run(stage, 5000, tmp_path).folder / cache.HISTORY).exists)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped; every finished epoch is kept" in said
    assert "Traceback" not in said
    wait_for(lambda: group(process.pid) == [], seconds=10)


@linux_only
@pytest.mark.long
@pytest.mark.timeout(200)
def test_jobs_end_when_their_parent_is_killed(
    started: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    process = started("--stage", "1", "2", "--epochs", "5000", *SMALL, "--jobs", "2")
    for stage in (1, 2):
        wait_for((small_run(stage, 5000, tmp_path).folder / cache.HISTORY).exists)
    process.kill()
    wait_for(lambda: group(process.pid) == [], seconds=15)


@pytest.mark.timeout(200)
def test_jobs_that_fail_or_die_leave_the_others_running(
    started: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    fine, fails, dies = (small_run(stage, 20, tmp_path) for stage in (1, 2, 3))
    damaged = fails.folder / cache.HISTORY
    damaged.parent.mkdir(parents=True)
    damaged.write_text("epoch,nothing\n")
    process = started("--stage", "1", "2", "3", "--epochs", "20", *SMALL, "--jobs", "2")
    wait_for((dies.folder / cache.HISTORY).exists)
    os.kill(int((dies.folder / "lock").read_text().split()[1]), signal.SIGKILL)
    _, said = process.communicate(timeout=120)

    assert process.returncode == 2
    assert "Traceback" not in said
    assert re.search("^error: .*stage-2/seed-0/history.csv: line 1 is not", said, re.MULTILINE)
    assert "error: stage 3, seed 0: its process died; run the same command again" in said
    assert re.fullmatch("failed: stage [23], seed 0, stage [23], seed 0", said.splitlines()[-1])
    assert damaged.read_text() == "epoch,nothing\n"
    assert cache.status(fine).text == "complete"
    assert cache.status(dies).state in ("absent", "partial")


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
    options = ("--stage", "1", "2", "--seeds", "0,3-4", "--epochs", "2", *SMALL, "--jobs", "2")
    done = train(tmp_path, *options)
    assert done.returncode == 0, done.stderr
    ends = set()
    for stage in (1, 2):
        for seed in (0, 3, 4):
            stand = cache.status(replace(small_run(stage, 2, tmp_path), seed=seed))
            assert stand.state == "complete"
            ends.add(stand.result.history[-1].test_loss)
            assert f"stage {stage}, seed {seed}: complete, 2 epochs in " in done.stderr
    assert len(ends) == 6


# --- the command line -------------------------------------------------------------------------


def test_help_answers_at_once_and_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['train', '--help']\n"
        "from cifar_study.train import main\n"
        "try: main()\n"
        "except SystemExit as done: print(done.code, 'torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.stderr == "0 False\n"
    for option in ("--stage", "--seed", "--epochs", "--limit", "--width", "--device", "--data",
                   "--jobs", "--restart", "--status", "--precision"):  # fmt: skip
        assert option in done.stdout

    def used() -> float:
        """Seconds of computing that --help takes: as on a machine that does nothing else."""
        before = os.times()
        command = [sys.executable, "-m", "cifar_study.train", "--help"]
        subprocess.run(command, env=environment(), check=True, capture_output=True)
        after = os.times()
        return (
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )

    assert min(used() for _ in range(3)) < 0.5


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line of error that the options end in, with exit status 2."""
    try:
        code = main(list(options))
    except SystemExit as stop:  # how argparse ends
        code = stop.code
    assert code == 2
    said = capsys.readouterr().err
    errors = [line for line in said.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert said.splitlines()[-1] == errors[0]
    assert "Traceback" not in said
    return errors[0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--stage 12", "--stage 12: there is no such stage"),
        ("--stage 9 --width 0.5", "--width 0.5: stage 9 has the width that timm gives it"),
        ("--stage x", "--stage x: give numbers, or all"),
        ("--stage 1 2.5", "--stage 1 2.5: give numbers"),
        ("--stage", "--stage: expected at least one"),
        ("", "--stage N"),
        ("--stage 1 --epochs 0", "--epochs: 0 is not"),
        ("--stage 1 --epochs many", "--epochs: invalid"),
        ("--stage 1 --limit -5", "--limit: -5 is not"),
        ("--stage 1 --jobs 0", "--jobs: 0 is not"),
        ("--stage 1 --width 0", "--width: 0 is not"),
        ("--stage 1 --width nan", "--width: nan is not"),
        ("--stage 1 --seed -1", "--seed: -1 is not"),
        ("--stage 1 --seed 99999999999999999999", "--seed: 99999999999999999999 is not"),
        ("--stage 1 --seed 1 --seeds 2", "--seeds: not allowed with argument --seed"),
        ("--stage 1 --seeds", "--seeds: expected one argument"),
        ("--stage 1 --seeds 4-1", "--seeds: 4-1 ends before it begins"),
        ("--stage 1 --seeds 1,,2", "--seeds: '1,,2' is not of the form 0-4 or 0,2,5-7"),
        ("--stage 1 --seeds 1.5", "--seeds: '1.5' is not of the form"),
        ("--stage 1 --seeds 0-99999999", "--seeds: 0-99999999 is more than 10,000 seeds"),
        ("--stage 1 --seeds 99999999999999999999", "--seeds: 99999999999999999999 is not between"),
        ("--stage 1 --device tpu", "--device: invalid choice"),
        ("--stage 1 --precision float8", "--precision: invalid choice"),
        ("--stage 1 --data nowhere", "nowhere: no such data folder"),
        ("--stage 1 --data .", ".: holds no CIFAR-10"),
        ("--figures --data synthetic", "is not of the study that figures/ shows"),
        ("--figures --seed 1", "is not of the study that figures/ shows"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(
    options: str, named: str, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named in refused(capsys, *options.split())


@pytest.mark.parametrize("place", ["a file", "/proc"])
def test_a_cache_that_cannot_be_written_is_one_line_and_status_2(
    place: str, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("no folder")
    options = ("--stage", "1", *ONE_JOB, "--epochs", "1")
    assert f"{place}/" in refused(capsys, *options, "--cache", place)


def test_a_device_that_is_not_there_is_one_line_and_status_2(capsys, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    options = ("--stage", "1", *ONE_JOB, "--epochs", "1", "--device", "cuda")
    assert "--device cuda: " in refused(capsys, *options, "--cache", str(tmp_path))


def test_the_table_of_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--cache", str(tmp_path / "cache"))
    small = ("--limit", "100", "--width", "0.25", "--data", "synthetic", "--epochs", "3")
    train_here(small_run(1, 3, tmp_path))
    stopped_after(small_run(4, 3, tmp_path), 1)
    other = replace(STAGES[5], recipe=replace(STAGES[5].recipe, momentum=0.8))
    stopped_after(replace(small_run(5, 3, tmp_path), stage=other), 1)
    capsys.readouterr()
    assert main(["--status", *where, *small]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[1].endswith("complete")
    accuracy = cache.read_result(small_run(1, 3, tmp_path).folder).history[-1].test_accuracy
    assert f" {100 * accuracy:.1f}%  complete" in lines[1]
    assert lines[2].endswith("absent")
    assert lines[4].endswith("at 1/3")
    assert lines[5].endswith("stale: recipe.momentum 0.8 → 0.9")

    damaged = small_run(4, 3, tmp_path).folder / cache.RECORD
    damaged.write_text("{")
    assert main(["--status", *where, *small]) == 2
    assert str(damaged) in capsys.readouterr().out.splitlines()[4]

    train_here(replace(small_run(1, 3, tmp_path), seed=12))
    damaged.unlink()
    capsys.readouterr()
    assert main(["--status", "--stage", "1", *where, *small]) == 0  # every seed that is there
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[4] for line in lines] == ["0", "12"]
    assert main(["--status", "--stage", "1", "4", "--seeds", "1-2,12", *where, *small]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[4] for line in lines[:3]] == ["1", "2", "12"]
    assert [line.split()[-1] for line in lines] == ["absent", "absent", "complete"] + ["absent"] * 3

    assert main(["--status", *where]) == 0  # the study itself: nothing yet
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["absent"] * 11  # the eight and the peers
