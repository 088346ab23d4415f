"""The command, with the real engine on drawn pictures: it trains, goes on, stops and refuses."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from command import PROJECT, SMALL, environment, obey, refused, start

from cifar_study import data, stages
from cifar_study.runs import Run, read
from cifar_study.stages import Block, Network, Stage
from cifar_study.training import hardware
from cifar_study.training.engine import Engine

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "synthetic", drawn)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("CIFAR_STUDY_CACHE", "CIFAR_STUDY_DATA"):
        monkeypatch.delenv(name, raising=False)


drawn = functools.cache(functools.partial(data.synthetic, 200, 50))


def small(root: Path, number: int = 1, epochs: int = 2, **fields: object) -> Run:
    """The run that the options SMALL ask for."""
    fields = {"limit": 100, "width": 0.25, "data": "synthetic"} | fields
    return Run(number, 0, "float32", epochs, root=root, **fields)


def trained(capsys, root: Path, *words: str, number: int = 1, epochs: int = 2) -> str:
    """Train by the command; what it said."""
    options = ["--stage", str(number), "--epochs", str(epochs), "--cache", str(root), *SMALL]
    status, _, err = obey(capsys, *options, *words)
    assert status == 0, err
    return err


def contents(folder: Path) -> dict[str, object]:
    """The files of a run but for the seconds that its epochs took."""
    files: dict[str, object] = {}
    for path in folder.iterdir():
        if path.name == "history.csv":
            files[path.name] = pd.read_csv(path).drop(columns="seconds").to_csv()
        elif path.name == "result.json":
            record = json.loads(path.read_text())
            files[path.name] = record | {"sessions": []}
        else:
            files[path.name] = path.read_bytes()
    return files


def test_a_run_leaves_its_history_its_record_and_what_is_measured(capsys, tmp_path: Path) -> None:
    said = trained(capsys, tmp_path).splitlines()
    assert [line.partition(", test loss")[0] for line in said[1:3]] == [
        "stage 1, seed 0: epoch 1/2",
        "stage 1, seed 0: epoch 2/2",
    ]
    result = read(small(tmp_path))
    last = result.history.iloc[-1]
    assert said[-1] == (
        f"stage 1, seed 0: complete, test accuracy {last.test_accuracy:.1%} after epoch 2; "
        f"CIFAR_STUDY_CACHE={tmp_path} make report shows it, --epochs goes on for longer"
    )
    assert (result.state, list(result.history.epoch)) == ("complete", [1, 2])
    probabilities, labels = result.predictions()
    assert (probabilities.argmax(1) == labels).mean() == last.test_accuracy
    record = result.record
    assert record["title"] == "minimal, 5 filters"
    assert record["trial"] == {"epochs": 2, "limit": 100, "width": 0.25, "data": "synthetic"}
    assert record["configuration"]["network"]["blocks"][0]["filters"] == 1  # a quarter of five
    assert record["data"]["fingerprint"] == drawn().fingerprint
    session = record["sessions"][0]
    assert (session["first_epoch"], session["threads"], session["side_by_side"]) == (1, 1, 1)
    assert (session["precision"], session["torch"]) == ("float32", torch.__version__)
    assert set(result.measured()) == {"pictures", "convolution"}
    assert sorted(path.name for path in result.run.folder.iterdir()) == [
        "checkpoint-2.safetensors",
        "history.csv",
        "measured.json",
        "model.safetensors",
        "predictions.safetensors",
        "result.json",
    ]


def test_going_on_for_longer_gives_the_bits_of_one_go(capsys, tmp_path: Path) -> None:
    trained(capsys, tmp_path / "steps", number=7, epochs=1)
    trained(capsys, tmp_path / "steps", number=7, epochs=3)
    trained(capsys, tmp_path / "once", number=7, epochs=3)
    steps, once = (contents(small(tmp_path / name, 7, 3).folder) for name in ("steps", "once"))
    assert steps.keys() == once.keys()
    assert [name for name in steps if steps[name] != once[name]] == []


def test_a_complete_run_says_so_before_it_looks_for_pictures(capsys, tmp_path: Path) -> None:
    trained(capsys, tmp_path)
    before = contents(small(tmp_path).folder)
    words = ["--stage", "1", "--epochs", "1", "--cache", str(tmp_path), *SMALL]
    status, _, err = obey(capsys, *words)
    assert status == 0
    assert err.startswith("stage 1, seed 0: already complete, test accuracy ")
    assert contents(small(tmp_path).folder) == before
    status, _, err = obey(capsys, "--stage", "4", "--data", "/nowhere")  # of the study
    assert (status, err.count("already complete")) == (0, 1)
    assert "--cache mine trains one of your own" in err


def test_what_is_measured_is_made_again_where_it_is_missing_and_on_demand(
    capsys, tmp_path: Path
) -> None:
    trained(capsys, tmp_path)
    path = small(tmp_path).folder / "measured.json"
    first = path.read_bytes()
    path.unlink()
    trained(capsys, tmp_path)
    assert path.read_bytes() == first
    path.write_text("{")
    trained(capsys, tmp_path, "--measure")
    assert path.read_bytes() == first


DYING = """
import os, signal, sys
at, steps, replace = int(sys.argv.pop(1)), 0, os.replace
def dying(*given, **named):
    global steps
    for before in (True, False):
        steps += 1
        if steps == at: os.kill(os.getpid(), signal.SIGKILL)
        if before: replace(*given, **named)
os.replace = dying
from cifar_study import data
from cifar_study.train import main
data.synthetic.__defaults__ = 200, 50
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
@pytest.mark.parametrize("at", [1, 11, 18, 28])
def test_a_command_killed_between_two_files_goes_on_to_the_same_bits(
    at: int, capsys, tmp_path: Path
) -> None:
    """Five files are replaced in an epoch, so ten steps are an epoch."""
    trained(capsys, tmp_path / "whole", number=2, epochs=3)
    words = ["--stage", "2", "--epochs", "3", "--cache", str(tmp_path / "killed"), *SMALL]
    process = start(["-c", DYING, str(at), *words])
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    run = small(tmp_path / "killed", 2, 3)
    result = read(run)
    assert (result.epochs_done if result else 0) == at // 10
    status, _, _ = obey(capsys, *words)
    assert status == 0
    assert contents(run.folder) == contents(small(tmp_path / "whole", 2, 3).folder)


@pytest.mark.parametrize("ending", ["SIGINT", pytest.param("SIGHUP", marks=pytest.mark.long)])
def test_stopped_it_says_so_in_one_line_and_keeps_what_is_finished(
    ending: str, tmp_path: Path
) -> None:
    words = ["--stage", "9", "--epochs", "9999", "--cache", str(tmp_path)]
    words += ["--data", "synthetic", "--limit", "64", "--restart"]
    process = start(["-m", "cifar_study.train", *words])
    record = tmp_path / "stage-9" / "seed-0" / "result.json"
    end = time.monotonic() + 60
    while not record.exists() and time.monotonic() < end:
        time.sleep(0.2)
    process.send_signal(getattr(signal, ending))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == (
        "stopped; all that was finished is kept, the same command goes on"
    )
    assert "Traceback" not in err
    result = read(Run(9, epochs=9999, limit=64, data="synthetic", root=tmp_path))
    assert result.epochs_done >= 1
    assert result.record["sessions"][0]["threads"] == 1  # as OMP_NUM_THREADS says


def test_the_precision_of_the_first_epoch_is_kept(capsys, tmp_path: Path, monkeypatch) -> None:
    trained(capsys, tmp_path, epochs=1)
    monkeypatch.setattr(hardware, "has_bfloat16", lambda _device: True)
    words = [word for word in SMALL if word not in ("--precision", "float32")]
    options = ["--stage", "1", "--epochs", "2", "--cache", str(tmp_path)]
    assert obey(capsys, *options, *words)[0] == 0
    assert read(small(tmp_path)).record["configuration"]["precision"] == "float32"
    line = refused(capsys, *options, *words, "--precision", "bfloat16")
    assert "stale: precision float32 → bfloat16" in line
    assert line.endswith("another --cache keeps it, --restart trains it anew")


def test_a_loss_that_is_not_a_number_stops_with_the_last_good_epoch_kept(
    capsys, tmp_path: Path, monkeypatch
) -> None:
    trained(capsys, tmp_path, epochs=1)
    monkeypatch.setattr(Engine, "evaluate_training", lambda _self: (float("nan"), 0.1))
    line = refused(capsys, "--stage", "1", "--epochs", "3", "--cache", str(tmp_path), *SMALL)
    assert line.startswith("error: stage 1, seed 0: the loss of epoch 2 is not a number; ")
    assert read(small(tmp_path, 1, 3)).state == "at 1/3"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("", "say what to do"),
        ("--stage x", "--stage x: give numbers, or all"),
        ("--stage 99", "--stage 99: there is no such stage; choose from 1, 2"),
        ("--stage 1 --epochs 0", "'0' is not a whole number from 1 on"),
        ("--stage 1 --width 9", "'9' is not a number between 0 and 4"),
        ("--stage 1 --seeds 3-1", "not of the form 0-4"),
        ("--stage 1 --seeds 0-99999", "not of the form 0-4"),
        ("--stage 1 --precision half", "--precision"),
        ("--stage 1 --epochs 1 --cache {project}/cache/../cache", "--cache cache: holds the study"),
        ("--stage 1 --epochs 1 --cache README.md", "is a file, no folder of results"),
        ("--stage 1 --epochs 1 --cache /proc/x --data synthetic", "can't be written"),
        ("--stage 1 --cache {tmp} --data synthetic --device cuda", "--device cuda: this machine"),
        ("--stage 1 --cache {tmp} --data synthetic --limit 201", "--limit 201: give at most 200"),
        ("--stage 1 --cache {tmp} --data {tmp}", "{tmp}"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(
    words: str, named: str, capsys, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    places = {"project": PROJECT, "tmp": tmp_path}
    assert named.format(**places) in refused(capsys, *words.format(**places).split())


def test_where_a_trial_lies_and_what_the_variable_names(tmp_path: Path, monkeypatch) -> None:
    from cifar_study.options import chosen_runs, parser

    def root(words: str) -> Path:
        return chosen_runs(parser().parse_args(words.split()))[0].root

    monkeypatch.chdir(PROJECT)
    assert root("--stage 1") == Path("cache")
    assert root("--stage 1 --epochs 150") == Path("cache")  # as it is registered: no trial
    assert root("--stage 1 --epochs 3") == Path("cache/trial")
    monkeypatch.setenv("CIFAR_STUDY_CACHE", "mine")
    assert root("--stage 1") == root("--stage 1 --epochs 3") == Path("mine")
    assert root("--stage 1 --cache other") == Path("other")
    chosen = chosen_runs(parser().parse_args(["--stage", "all", "9", "--seeds", "0,2-3"]))
    assert [(run.number, run.seed) for run in chosen][-4:] == [(8, 3), (9, 0), (9, 2), (9, 3)]
    assert len(chosen) == 27


def test_the_status_is_a_table_of_what_is_there(capsys, tmp_path: Path) -> None:
    trained(capsys, tmp_path, epochs=1)
    status, out, _ = obey(capsys, "--status", "--cache", str(tmp_path))
    lines = out.splitlines()
    accuracy = read(small(tmp_path, epochs=1)).history.test_accuracy.iloc[-1]
    assert status == 0
    assert lines[0] == f"results in {tmp_path}/"
    assert lines[2].split() == [
        # (3·3·3 + 1) + (3·3 + 1) + (4·4·10 + 10) parameters of one filter
        "1", "minimal,", "5", "filters", "0", "208", "float32", f"{accuracy:.1%}", "complete",
    ]  # fmt: skip
    assert lines[3].split()[-1] == "absent"
    (tmp_path / "stage-1" / "seed-0" / "history.csv").write_text("")
    status, out, _ = obey(capsys, "--status", "--cache", str(tmp_path))
    assert status == 2
    assert "history.csv: can't be read (" in out.splitlines()[2]


def test_help_and_status_take_no_torch() -> None:
    code = (
        "import sys; from cifar_study.train import main\n"
        "try: main(['--help'])\nexcept SystemExit: main(['--status'])\n"
        "sys.exit('torch' in sys.modules)"
    )
    process = start(["-c", code])
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "--status" in out
    assert "results in cache/" in out


def test_help_shows_titles_as_they_are(capsys, monkeypatch) -> None:
    odd = Stage(4, "50% %(prog)s", Network((Block(4),)))
    monkeypatch.setitem(stages.STAGES, 4, odd)
    _, out, _ = obey(capsys, "--help")
    assert "4 50% %(prog)s;" in " ".join(out.split())


def test_a_package_that_is_missing_is_named_with_what_installs_it(
    capsys, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "cifar_study.training.trainer", None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    line = refused(capsys, "--stage", "1", "--epochs", "1", "--cache", str(tmp_path), *SMALL)
    assert line.startswith(
        "error: import of tqdm halted; None in sys.modules; run: make train STAGE=1"
    )


@pytest.mark.skipif(os.name != "posix", reason="a pipe of a shell")
def test_who_has_read_enough_ends_the_table_without_a_word() -> None:
    line = f"{sys.executable} -m cifar_study.train --status | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=PROJECT, env=environment(), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[0] == "results in cache/"
    assert done.stdout.splitlines()[-1] in ("141", "0")
    assert done.stderr == ""


def test_one_entry_is_a_new_stage_and_a_wrong_one_is_one_line(
    capsys, tmp_path: Path, monkeypatch
) -> None:
    """In a copy of the package, as a student would add it."""
    shutil.copytree(PROJECT / "cifar_study", tmp_path / "cifar_study")
    registry = tmp_path / "cifar_study" / "stages.py"
    text = registry.read_text()
    marker = "    # For scale: "
    mine = '    Stage(15, "mine", Network((Block({filters}), Block(8)))),\n'

    def answer(filters: int, *words: str) -> tuple[int, str, str]:
        registry.write_text(text.replace(marker, mine.format(filters=filters) + marker))
        line = ["-m", "cifar_study.train", *words, "--cache", str(tmp_path)]
        process = start(line, cwd=tmp_path, env=environment(PYTHONPATH=str(tmp_path)))
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    monkeypatch.setitem(stages.STAGES, 15, Stage(15, "mine", Network((Block(4), Block(8)))))
    trained(capsys, tmp_path, number=15, epochs=1)
    status, out, _ = answer(4, "--status")
    assert status == 0
    rows = [line.split() for line in out.splitlines()]
    assert [row[-1] for row in rows if row[:2] == ["15", "mine"]] == ["complete"]
    assert answer(0, "--stage", "15") == (
        2,
        "",
        "error: cifar_study/stages.py, stage 15: blocks[0].filters is 0, and should be a whole "
        "number from 1 on\n",
    )
