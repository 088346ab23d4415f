"""Whatever is typed, and wherever output goes: success, or one line that says what is wrong.

Command lines run in this process; what would go on to train does so for a moment.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import environment, fork, obey
from runs import drawn, of_epochs, wait_for

from cifar_study import datasets
from cifar_study.errors import StudyError
from cifar_study.report import replicates
from cifar_study.results import lock, store
from cifar_study.results.run import Run
from cifar_study.results.status import status
from cifar_study.stages import STAGES
from cifar_study.train import main
from cifar_study.training import local

TINY = ["--data", "synthetic", "--limit", "8", "--epochs", "1", "--device", "cpu", "--jobs", "1"]


def tiny_run(root: Path) -> Run:
    """The run that TINY trains with stage 1."""
    return Run(of_epochs(STAGES[1], 1), limit=8, data="synthetic", root=root)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder where nothing is downloaded, and training ends as soon as it can begin."""
    tmp_path /= "here"  # ".." is a test's own, too
    (tmp_path / "empty").mkdir(parents=True)
    (tmp_path / "a file").write_text("text")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIFAR_STUDY_DATA", str(tmp_path / "no data"))
    monkeypatch.delenv("CIFAR_STUDY_CACHE", raising=False)

    def begin(run: Run, *_: object) -> Iterator[bool]:
        with lock.hold(run.folder, run.name):
            yield True

    monkeypatch.setattr(local, "train", begin)
    shapes = drawn()
    monkeypatch.setattr(datasets, "synthetic", lambda: shapes)
    return tmp_path


# --- command lines ----------------------------------------------------------------------------

WRONG = [
    *("", " ", "-", "-1", "0", "+0", "nan", "inf", "-inf", "1e400", "1.5.1", "0x10", "1_", "one"),
    *("all of it", "1,2", "1;2", "$(1)", "*", "?", "..", ".", "a file", "empty", "a file/below"),
    *("no data", "/proc", "/proc/self/mem", "/dev/null", "/dev/full", "a\nb", "a\rb", "\x1b[31m"),
    *("–", "١٢", "\udcff", "\u202e", "a" * 256, "a" * 5000, "9" * 30, "9" * 5000, "é" * 200),
    *("x/" * 3000, "tcp://", "tls://h:1", "tcp://h:0", "tcp://h:99999", "h:1:2"),
    *("tcp://" + "h" * 300 + ":1", "tcp://a..b:1", "tcp://no.invalid:1", "tcp://127.0.0.1:1"),
]
OPTIONS = [
    *("--stage", "--seed", "--seeds", "--epochs", "--limit", "--width", "--data", "--device"),
    *("--precision", "--jobs", "--scheduler", "--cache"),
]


@pytest.mark.parametrize("option", OPTIONS)
def test_wrong_values_of_an_option(option: str, elsewhere: Path, capsys) -> None:
    """52 values each: 624 command lines."""
    accepted = []
    for value in WRONG:
        words = [*TINY, option, value] if option == "--stage" else ["--stage", "1", *TINY]
        if option == "--scheduler":
            words = words[:-2]  # --jobs does not go with it
        if option != "--stage":
            words += [f"{option}={value}"]
        status, said = obey(capsys, *words)
        assert len(said) < 7000
        if status == 0:
            accepted.append(value)
    right = {
        "--seed": {"0", "1,2"},
        "--seeds": {"0", "1,2"},
        "--epochs": {"١٢"},
        "--limit": {"١٢"},
        "--jobs": {"١٢"},
        "--stage": set(),
        "--width": set(),
    }
    if option in right:
        assert set(accepted) <= right[option]
    if option == "--cache":  # any name of a folder will do
        assert not {"", "a" * 256, "a" * 5000, "a file", "/proc", "/dev/null"} & set(accepted)


@pytest.mark.parametrize("option", OPTIONS)
def test_wrong_values_beside_status(option: str, elsewhere: Path, capsys) -> None:
    """As many again, where nothing is trained."""
    for value in WRONG:
        words = ["--status", f"{option}={value}"]
        obey(capsys, *words)


FLAGS = [
    *("--status", "--figures", "--restart", "--stage 1", "--seed 1", "--seeds 0-1"),
    *("--epochs 1", "--limit 9", "--width 0.5", "--device cpu", "--precision float32"),
    *("--jobs 2", "--scheduler 127.0.0.1:1", "--cache c", "--data nowhere"),
]


def test_pairs_and_triples_of_options(elsewhere: Path, capsys) -> None:
    """15 options, two and three at a time: 560 command lines; the data set is missing."""
    for count in (2, 3):
        for chosen in itertools.combinations(FLAGS, count):
            obey(capsys, *" ".join(chosen).split())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--status --restart", "--restart does not go with --status"),
        ("--status --figures", "--figures does not go with --status"),
        ("--status --jobs 2", "--jobs does not go with --status"),
        ("--figures --restart", "--restart does not go with --figures"),
        ("--figures --precision float32", "--precision does not go with --figures"),
        ("--status --data empty", "--data FOLDER does not go with --status"),
        ("--status --cache=", "--cache: is empty"),
        ("--stage 1 --data=", "--data: is empty"),
        ("--stage 1 --limit 50001", "--limit 50001: the data set has 50,000"),
        ("--stage 1 --data synthetic --limit 2001", "--limit 2001: the data set has 2,000"),
        ("--stage 1 --epochs 1000001", "--epochs: 1000001 is not 1 or more, up to 1,000,000"),
        ("--stage 1 --data " + "a" * 5000, "can't be looked at (File name too long)"),
        ("--stage 1 --cache " + "a" * 5000, "can't be looked at (File name too long)"),
        ("--stage 1 --data=a\nb", r"a\nb: no such data folder"),
        ("--stage 1 --data empty", "empty: holds no CIFAR-10"),
        ("--stage 1", "no data: no such data folder"),
    ],
)
def test_what_is_said(words: str, named: str, elsewhere: Path, capsys) -> None:
    status, said = obey(capsys, *words.split(" "))
    assert status == 2
    assert named in said


@pytest.mark.parametrize("address", ["tls://127.0.0.1:1", "tcp://no.invalid:1", "127.0.0.1:1"])
def test_a_scheduler_that_is_not_there(address: str, elsewhere: Path, capsys) -> None:
    pytest.importorskip("distributed")
    words = ["--stage", "1", "--data", "synthetic", "--device", "cpu", "--scheduler", address]
    status, said = obey(capsys, *words)
    assert status == 2
    assert f"--scheduler {address}: no scheduler answers there" in said


def test_tls_without_its_settings(elsewhere: Path, capsys) -> None:
    pytest.importorskip("distributed")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tls://127.0.0.1:{server.getsockname()[1]}"
        words = ["--stage", "1", "--data", "synthetic", "--device", "cpu", "--scheduler", address]
        status, said = obey(capsys, *words)
    assert status == 2
    assert f"--scheduler {address}: no scheduler answers there (TLS" in said


@pytest.mark.parametrize("value", [value for value in WRONG if value])
def test_a_folder_of_results_that_is_none(value: str, elsewhere: Path, monkeypatch) -> None:
    """What the report is pointed at: a folder with a result, or one line."""
    monkeypatch.setenv("CIFAR_STUDY_CACHE", value)
    with pytest.raises(StudyError) as caught:
        replicates.replicates(1)
    said = str(caught.value)
    assert said.startswith(f"CIFAR_STUDY_CACHE={value[:100]}: ")
    assert ("holds no results; name a" in said) == os.path.isdir(value)  # noqa: PTH112


# --- places that are no folder, or that permission lacks for --------------------------------------


def as_nobody(folder: Path, *words: str) -> tuple[int, str]:
    """Run the command as a user without rights, as the superuser has them all.

    In a fork of this process, since Python itself may lie where only this user can read.
    """
    with (folder / "said").open("w+") as said:
        child = os.fork()
        if not child:
            try:
                os.chdir(folder)
                os.environ.pop("CIFAR_STUDY_DATA", None)
                if os.getuid() == 0:
                    os.setgroups([])
                    os.setresgid(65534, 65534, 65534)
                    os.setresuid(65534, 65534, 65534)
                sys.stdout, sys.stderr = open(os.devnull, "w"), said  # noqa: SIM115
                status = main(list(words))
                said.flush()
            except BaseException:
                traceback.print_exc(file=said)
                said.flush()
                status = 1
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return status, said.read()


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that anyone may look into: those of pytest are private."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o777)
        yield Path(name)
        for path in Path(name).rglob("*"):
            if path.is_dir():
                path.chmod(0o777)


SHUT: dict[str, Callable[[Path], list[str]]] = {
    "data": lambda f: ["--stage", "1", "--data", "shut"],
    "data inside": lambda f: ["--stage", "1", "--data", "shut/inside"],
    "batches": lambda f: (f / "d").mkdir() or [*["--stage", "1", "--data", "d"]],
    "cache": lambda f: ["--stage", "1", *TINY, "--cache", "shut"],
    "status": lambda f: ["--status", "--cache", "shut"],
    "stage": lambda f: ["--stage", "1", *TINY, "--cache", "c"],
    "working directory": lambda f: ["--stage", "1", *TINY],
    "default data": lambda f: ["--stage", "1", "--device", "cpu"],
}


@pytest.mark.skipif(os.name != "posix", reason="users and permissions are POSIX's")
@pytest.mark.parametrize("case", SHUT)
def test_folders_without_permission(case: str, open_folder: Path) -> None:
    words = SHUT[case](open_folder)
    shut = open_folder / "shut"
    if case == "batches":
        shut = open_folder / "d" / "cifar-10-batches-py"
    if case == "stage":
        shut = tiny_run(open_folder / "c").folder
    if case in ("working directory", "default data"):
        shut = open_folder
    shut.mkdir(parents=True, exist_ok=True)
    shut.chmod(0o555 if shut == open_folder else 0o000)
    try:
        status, said = as_nobody(open_folder, *words)
    finally:
        shut.chmod(0o777)
    if case == "status":  # a table; each stage is said to be damaged
        assert status == 2
        return
    assert status == 2
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    assert "ermission" in errors[0]
    assert "missing" not in errors[0]
    assert "no such" not in errors[0]


def test_data_that_is_a_file(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CIFAR_STUDY_DATA", raising=False)
    Path("data").write_text("no folder")
    status, said = obey(capsys, "--stage", "1")
    assert status == 2
    assert "data: cannot be written (File exists); a file is in its place: move that away" in said


def test_a_folder_in_a_files_place(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    run = tiny_run(Path("cache/trial"))
    (run.folder / store.HISTORY).mkdir(parents=True)
    status, said = obey(capsys, "--stage", "1", *TINY)
    assert status == 2
    assert store.HISTORY in said
    assert "make room" not in said


# --- streams and signals --------------------------------------------------------------------------


def shell(folder: Path, line: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell in which ``train`` is the command."""
    command = f'train() {{ "{sys.executable}" -m cifar_study.train "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment() | more,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )


TRAINS = "train --stage 1 --data synthetic --limit 64 --epochs 2 --device cpu --jobs 1"


STREAMS = [
    ("train --status | head -1; echo ${PIPESTATUS[0]}", {"0", "141"}),
    ("train --help | true; echo ${PIPESTATUS[0]}", {"0", "141"}),
    ("train --status > /dev/full; echo $?", {"2"}),
    ("train --help > /dev/full; echo $?", {"0", "2"}),
    ("train --stage x 2> /dev/full; echo $?", {"2"}),
    ("train --stage x 2>&-; echo $?", {"2"}),
    ("train --status >&-; echo $?", {"0"}),
    (f"{TRAINS} 2>&1 | head -1; echo ${{PIPESTATUS[0]}}", {"0", "141"}),
    (f"{TRAINS} 2> /dev/full; echo $?", {"0", "2"}),
    (f"{TRAINS} > /dev/full; echo $?", {"0"}),
    (f"{TRAINS} >&- 2>&-; echo $?", {"0"}),
]


# Training itself writes to standard error alone, where nothing is kept back.
@pytest.mark.parametrize(
    ("line", "statuses", "buffered"),
    [(*case, "") for case in STREAMS]
    + [(*case, "1") for case in STREAMS if not case[0].startswith(TRAINS)],
)
def test_streams_that_nobody_reads(
    line: str, statuses: set[str], buffered: str, tmp_path: Path
) -> None:
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = shell(tmp_path, line, PYTHONUNBUFFERED=buffered)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "Exception" not in said
    assert done.stdout.split()[-1] in statuses, said


@pytest.mark.parametrize(
    "setting", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}]
)
def test_an_encoding_that_lacks_signs(setting: dict[str, str], tmp_path: Path) -> None:
    done = shell(tmp_path, "train --status", **setting)
    assert (done.returncode, done.stderr) == (0, "")
    assert "absent" in done.stdout
    done = shell(tmp_path, "train --stage 1 --data 'a–b'", **setting)
    assert done.returncode == 2
    assert done.stderr.startswith("error: a")


@pytest.mark.long
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_is_as_ctrl_c(how: signal.Signals, jobs: str, tmp_path: Path) -> None:
    words = f"--stage 1 2 --data synthetic --limit 64 --epochs 5000 --device cpu --jobs {jobs}"
    process = fork(tmp_path, *words.split())
    root = tmp_path / "cache" / "trial"
    longest = Run(of_epochs(STAGES[2], 5000), limit=64, data="synthetic", root=root)
    wait_for((longest.folder / store.RECORD).exists, 90)
    os.killpg(process.pid, how) if how == signal.SIGHUP else os.kill(process.pid, how)
    process.join(timeout=60)
    said = (tmp_path / "err").read_text()
    assert process.exitcode == 130, said
    assert "stopped; all that was finished is kept, the same command goes on" in said
    assert "Traceback" not in said
    assert "error" not in said
    assert status(longest).state == "partial"


@pytest.mark.long
def test_nohup_goes_on(tmp_path: Path) -> None:
    line = f"nohup {TRAINS.replace('train ', f'{sys.executable} -m cifar_study.train ', 1)}"
    line = line.replace("--epochs 2", "--epochs 20")
    begun = "until ls cache/trial/*/*/result.json; do sleep .1; done"
    done = shell(tmp_path, f"{line} 2> log & {begun} &> /dev/null; kill -HUP $!; wait $!; echo $?")
    assert done.stdout.split()[-1] == "0", (tmp_path / "log").read_text()
