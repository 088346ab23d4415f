"""Runs on disk: whatever is killed, full or in the way, no finished epoch is lost.

The network is two arrays, and what an epoch does to them follows from its number, so that
hundreds of runs take seconds; ``test_train.py`` does the same with the real engine.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cifar_study import checkpoints, runs
from cifar_study.checkpoints import Checkpoint, held, settle, training
from cifar_study.errors import StudyError
from cifar_study.runs import Run, read, runs_in

FINGERPRINT = "0" * 64


def small(root: Path, epochs: int = 3, **fields: object) -> Run:
    return Run(9, epochs=epochs, data="synthetic", root=root, **fields)


def train(run: Run, restart: bool = False, note: str = "new") -> bool:
    """Train to the planned epochs as the trainer does; whether there was anything to train."""
    with training(run, restart, FINGERPRINT) as result:
        if result and result.epochs_done >= run.planned:
            return False
        history, weights, momentum = pd.DataFrame(columns=runs.COLUMNS), np.ones((20, 30)), 0
        weights = weights.astype(np.float32)
        if result:
            checkpoint = Checkpoint.load(result)
            history = checkpoint.history
            weights, momentum = checkpoint.model["w"], checkpoint.momentum["w"]
        for epoch in range(len(history) + 1, run.planned + 1):
            step = np.random.default_rng((run.seed, epoch)).normal(size=weights.shape)
            momentum = (0.9 * momentum + step).astype(np.float32)
            weights = (weights - 0.01 * momentum).astype(np.float32)
            row = [epoch, *(float(weights.astype(np.float64).mean()) / k for k in range(3, 10))]
            added = pd.DataFrame([row], columns=runs.COLUMNS)
            history = pd.concat([history, added], ignore_index=True) if len(history) else added
            Checkpoint(history, {"w": weights, "empty": weights[:0]}, {"w": momentum}).save(
                run,
                np.float16(weights[:10, :10]),
                np.arange(10, dtype=np.uint8),
                note=note,
                configuration=asdict(run.configuration("float32", FINGERPRINT)),
            )
    return True


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(StudyError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where a synchronised write costs nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


def killed(work: Callable[[], object], at: int) -> bool:
    """Do ``work`` in a child that dies before its ``at``-th step on the disk; whether it did.

    A file that is to be synchronised then is torn: half of it is there.
    """
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9), code
        return code == 9
    steps = 0

    def dying(module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*given: object, **named: object) -> object:
            nonlocal steps
            steps += 1
            if steps == at:
                if name == "fsync" and os.fstat(given[0]).st_mode & 0o100000:
                    os.ftruncate(given[0], os.fstat(given[0]).st_size // 2)
                os._exit(9)
            return real(*given, **named)

        setattr(module, name, call)

    for module, name in ((os, "fsync"), (os, "replace"), (Path, "unlink"), (Path, "rmdir")):
        dying(module, name)
    dying(Path, "mkdir")
    try:
        work()
    except BaseException:
        os._exit(3)
    os._exit(0)


def test_killed_at_any_write_and_again_while_it_goes_on_it_ends_with_the_same_bytes(
    disk: Path,
) -> None:
    train(undisturbed := small(disk / "undisturbed", 2))
    wanted, at = contents(undisturbed.folder), 1
    while killed(partial(train, run := small(disk / f"kill-{at}", 2)), at):
        if result := read(run):
            assert result.history.epoch.tolist() == list(range(1, result.epochs_done + 1))
        killed(partial(train, run), 7 * at % 25 + 1)
        train(run)
        assert contents(run.folder) == wanted, at
        at += 1
    assert at > 35  # places in two epochs of five files, each written, synced and renamed


def test_a_restart_killed_at_any_write_keeps_the_old_run_or_goes_on_with_the_new(
    disk: Path,
) -> None:
    old, new = small(disk / "old", 2), small(disk / "new", 2)
    train(old, note="old")
    train(new)
    outcomes, at = [], 1
    while True:
        run = small(disk / f"restart-{at}", 2)
        shutil.copytree(old.folder, run.folder)
        if not killed(partial(train, run, restart=True), at):
            break
        settle(run)
        outcomes.append(note := read(run).record["note"])
        if note == "old":
            assert contents(run.folder) == contents(old.folder), at
            assert not train(run)  # complete, as it was
        else:
            train(run)
            assert contents(run.folder) == contents(new.folder), at
        assert not run.before.exists()
        at += 1
    assert outcomes.count("old") > 5
    assert outcomes.count("new") > 5


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 5)), max_size=4))
def test_runs_interrupted_anywhere_and_prolonged_are_those_of_one_go(
    plan: list[tuple[int, int]], disk: Path
) -> None:
    """Each step kills a run that plans so many epochs at one of its writes."""
    train(one := small(disk / "one", 5))  # by the first example alone
    shutil.rmtree(disk / "steps", ignore_errors=True)
    done = 0
    for at, epochs in plan:
        killed(partial(train, run := small(disk / "steps", epochs)), at)
        before, done = done, result.epochs_done if (result := read(run)) else 0
        assert done >= before
    train(steps := small(disk / "steps", 5))
    assert contents(steps.folder) == contents(one.folder)


def test_a_reader_beside_training_sees_whole_epochs_only(disk: Path) -> None:
    run = small(disk, 25)
    child = os.fork()
    if not child:
        real = checkpoints.write
        checkpoints.write = lambda *given: (time.sleep(0.01), real(*given))
        train(run)
        os._exit(0)
    epochs = set()
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if result := read(run):
            result.predictions()
            result.model()
            epochs.add(result.epochs_done)
    assert len(epochs) > 3


def test_fifteen_epochs_and_then_thirty_are_the_bits_of_thirty(disk: Path) -> None:
    short = small(disk / "steps", 15)
    train(short)
    longer = replace(short, epochs=30)
    assert (read(short).state, read(longer).state) == ("complete", "at 15/30")
    train(longer)
    assert read(short).state == "complete"  # more than it asks for
    assert not train(short)
    train(at_once := small(disk / "at-once", 30))
    assert contents(longer.folder) == contents(at_once.folder)
    assert [path.name for path in longer.folder.glob("checkpoint-*")] == [
        "checkpoint-30.safetensors"
    ]


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="mounts a small disk")
def test_a_restart_on_a_full_disk_puts_the_old_run_back(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        run = small(disk, 2)
        train(run, note="old")
        old = contents(run.folder)
        (disk / "filler").write_bytes(b"x" * (os.statvfs(disk).f_bavail * 4096 - 3 * 4096))
        text = refusal(lambda: train(run, restart=True))
        assert "No space left on device" in text
        assert "no finished epoch is lost" in text
        assert contents(run.folder) == old
        assert not run.before.exists()
        (disk / "filler").unlink()
        train(run, restart=True)
        assert read(run).record["note"] == "new"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_restart_refuses_a_folder_within_the_runs_folder(disk: Path) -> None:
    run = small(disk, 2)
    train(run, note="old")
    (run.folder / ".ipynb_checkpoints").mkdir()
    old = contents(run.folder)
    text = refusal(lambda: train(run, restart=True))
    assert text.startswith(f"{run.folder / '.ipynb_checkpoints'}: is not of this run; move it away")
    assert contents(run.folder) == old
    train(replace(run, epochs=3))  # going on is no harm
    (run.folder / ".ipynb_checkpoints").rmdir()
    train(run, restart=True)
    assert read(run).record["note"] == "new"


def test_a_run_is_held_by_one_process_and_a_holder_that_dies_lets_go(tmp_path: Path) -> None:
    run = small(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from cifar_study.checkpoints import held\n"
        "from cifar_study.runs import Run\n"
        "with held(Run(9, root=Path(sys.argv[1]))): print('held', flush=True); time.sleep(60)"
    )
    line = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        text = refusal(lambda: held(run, wait=0.2).__enter__())
        assert text.startswith(f"stage 9, seed 0 is held by process {holder.pid} on ")
        assert text.endswith("wait for it or stop it")
        holder.kill()
    with held(run, wait=5):
        pass


def test_a_disk_without_locks_says_what_helps(tmp_path: Path, monkeypatch) -> None:
    def acquire(*_given: object, **_named: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(checkpoints.filelock.FileLock, "acquire", acquire)
    text = refusal(lambda: held(small(tmp_path)).__enter__())
    assert "No locks available" in text
    assert "--cache" in text


def test_other_names_than_a_seeds_are_no_seeds(disk: Path) -> None:
    for name in ("seed-00", "seed-1x", "seed-٣", "seed-2.before", "seed-10", "seed--1", "seed-0"):
        train(run := small(disk, 1))
        run.folder.rename(run.folder.with_name(name))
    assert [run.seed for run in runs_in(disk)] == [0, 10]
    run = runs_in(disk)[0]
    assert (run.epochs, run.data, read(run).state) == (1, "synthetic", "complete")


def test_the_words_of_a_run_name_it_again() -> None:
    from cifar_study.options import chosen_runs, parser

    run = Run(4, 3, "float32", 2, 100, 0.5, "synthetic", root=Path("a b's"))
    assert chosen_runs(parser().parse_args(run.words())) == [run]
    assert run.command("--restart").endswith("""--cache 'a b'"'"'s' --restart""")
    assert Run(4).command() == "python -m cifar_study.train --number 4".replace("number", "stage")


def test_what_makes_a_run_another_makes_a_record_stale(disk: Path) -> None:
    train(run := small(disk, 1))
    record = json.loads((run.folder / "result.json").read_text())
    assert not run.stale(record)
    assert not replace(run, epochs=5).stale(record)
    del record["configuration"]["recipe"]["start"], record["configuration"]["limit"]
    assert not run.stale(record)  # fields that came later count as their defaults
    changed = {
        replace(run, seed=1): "seed 0 → 1 (rename its folder)",
        replace(run, precision="bfloat16"): "precision float32 → bfloat16",
        replace(run, limit=5): "limit None → 5",
        replace(run, data="cifar10"): "data synthetic → cifar10",
    }
    for other, why in changed.items():
        assert other.stale(record) == why
    assert "network" in replace(run, number=8).stale(record)
    residual = read(Run(11, root=runs.in_project("cache"))).record
    assert "network.blocks nothing → " in Run(5).stale(residual)
    old = record["configuration"] | {"arithmetic": 1, "extra": True}
    assert run.stale({"configuration": old}) == "arithmetic 1 → 2; extra True → nothing"
    text = refusal(lambda: training(run, fingerprint="1" * 64).__enter__())
    assert text.startswith(f"{run.folder}: stale: fingerprint 0000")
    assert text.endswith("another --cache keeps it, --restart trains it anew")


def test_nothing_advises_to_discard_the_study(monkeypatch) -> None:
    monkeypatch.setattr(runs, "ARITHMETIC", 3)
    assert refusal(lambda: checkpoints.current(Run(1))).endswith("another --cache keeps it")


def test_line_ends_and_rows_beyond_the_record_do_not_matter(disk: Path) -> None:
    train(run := small(disk, 2))
    history = run.folder / "history.csv"
    text = history.read_bytes()
    history.write_bytes(text.replace(b"\n", b"\r\n") + b"3,0,0,0,0,0,0,0\r\n")
    record = run.folder / "result.json"
    record.write_bytes(record.read_bytes().replace(b"\n", b"\r\n"))
    assert read(run).state == "complete"
    train(replace(run, epochs=3))
    assert history.read_bytes().startswith(text)


SORTED = f"{','.join(runs.COLUMNS)}\n2{',1' * 7}\n1{',2' * 7}\n".encode()


@pytest.mark.parametrize(
    ("name", "damage", "use", "helps"),
    [
        ("history.csv", b"epoch\n1\n", lambda run: read(run), "restore it from git"),
        ("history.csv", SORTED, lambda run: read(run), "its epochs are not those from 1 to 2"),
        ("result.json", b"{", lambda run: read(run), "restore it from git"),
        ("result.json", b'{"format": 1}', lambda run: read(run), "not a result of format 2"),
        ("model.safetensors", b"x", lambda run: read(run).model(), "git keeps that of seed 0"),
        ("predictions.safetensors", b"x", lambda run: read(run).predictions(), "train the run"),
        ("measured.json", b"{", lambda run: read(run).measured(), "--measure"),
        ("checkpoint-2.safetensors", b"x", lambda run: train(replace(run, epochs=3)), "--cache"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_helps(
    name: str, damage: bytes, use: Callable[[Run], object], helps: str, disk: Path
) -> None:
    train(run := small(disk, 2))
    (run.folder / name).write_bytes(damage)
    text = refusal(lambda: use(run))
    assert text.startswith(f"{run.folder / name}: can't be read (")
    assert helps in text
    if name == "predictions.safetensors":  # going on does not need them
        train(replace(run, epochs=3))
        assert read(run).predictions()[0].shape == (10, 10)
    train(run, restart=True)  # which works over whatever is there
    assert read(run).state == "complete"


def test_what_was_measured_counts_for_its_network_alone(disk: Path) -> None:
    train(run := small(disk, 2))
    of = read(run).record["files"]["model.safetensors"]
    path = run.folder / "measured.json"
    checkpoints.write(path, json.dumps({"of": of, "values": {"maps": 1}}).encode())
    assert read(run).measured() == {"maps": 1}
    train(replace(run, epochs=3))
    assert read(run).measured() == {}


def test_the_committed_results_are_complete_and_agree_with_their_predictions() -> None:
    study = runs_in(runs.in_project("cache"))
    assert len(study) == 36
    for run in study:
        result = read(run)
        assert result.state == "complete"
        probabilities, labels = result.predictions()
        accuracy = (probabilities.argmax(1) == labels).mean()
        assert accuracy == pytest.approx(result.history.test_accuracy.iloc[-1], abs=1e-12)
        assert run.seed or result.model()
    assert "git keeps that of seed 0 alone" in refusal(
        lambda: read(replace(study[0], seed=1)).model()
    )


def test_the_folder_of_results_is_that_of_the_variable_or_of_the_local_file(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.delenv("CIFAR_STUDY_CACHE", raising=False)
    monkeypatch.setattr(runs, "PROJECT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert runs.cache() == Path("cache")
    (tmp_path / "_environment.local").write_bytes(
        b"\xef\xbb\xbf# mine\r\nCIFAR_STUDY_CACHE = 'mine' # so\r\n"
    )
    assert runs.cache() == Path("mine")
    monkeypatch.setenv("CIFAR_STUDY_CACHE", "other")
    assert runs.cache() == Path("other")
    monkeypatch.chdir("/")
    assert runs.cache() == tmp_path / "other"
