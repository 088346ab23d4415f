"""The command line: what it takes, what it says of it, and the table of --status."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command import environment, obey, refused
from runs import ONE_JOB, contents, small_run, stopped_after, train_here

from cifar_study import train as command
from cifar_study.results import store
from cifar_study.results.run import Run
from cifar_study.results.status import status
from cifar_study.stages import STAGES, get_stage
from cifar_study.train import main


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


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--stage 12", "--stage 12: there is no such stage"),
        ("--stage 9 --width 0.5", "--width 0.5: stage 9 keeps its own width"),
        ("--stage x", "--stage x: give numbers, or all"),
        ("--stage 1 2.5", "--stage 1 2.5: give numbers"),
        ("--stage", "--stage: expected at least one"),
        ("", "--stage N"),
        ("--stage 1 --epochs 0", "--epochs: 0 is not"),
        ("--stage 1 --epochs many", "--epochs: 'many' is not a whole number (--help shows"),
        ("--stage 1 --limit -5", "--limit: -5 is not"),
        ("--stage 1 --jobs 0", "--jobs: 0 is not"),
        ("--stage 1 --width 0", "--width: 0 is not"),
        ("--stage 1 --width nan", "--width: nan is not"),
        ("--stage 1 --seed -1", "--seed: '-1' is not of the form"),
        ("--stage 1 --seed 99999999999999999999", "--seed: 99999999999999999999 is not below"),
        ("--stage 1 --width wide", "--width: 'wide' is not a number"),
        ("--stage 1 --seed x", "--seeds/--seed: 'x' is not of the form"),
        ("--status --cache nowhere", "--cache nowhere: no such folder of results"),
        ("--stage 1 --seeds", "--seed: expected one argument"),
        ("--stage 1 --seeds 4-1", "--seed: 4-1 ends before it begins"),
        ("--stage 1 --seeds 1,,2", "--seed: '1,,2' is not of the form 0-4 or 0,2,5-7"),
        ("--stage 1 --seeds 1.5", "--seed: '1.5' is not of the form"),
        ("--stage 1 --seeds 0-99999999", "--seed: 0-99999999 is more than 10,000 seeds"),
        ("--stage 1 --seeds 99999999999999999999", "--seed: 99999999999999999999 is not below"),
        ("--stage 1 --device tpu", "--device: invalid choice"),
        ("--stage 1 --precision float8", "--precision: invalid choice"),
        ("--stage 1 --data nowhere", "nowhere: no such data folder"),
        ("--stage 1 --data .", ".: holds no CIFAR-10"),
        ("--figures --data synthetic", "is not of the study that figures/ shows"),
        ("--figures --seed 1", "is not of the study that figures/ shows"),
        ("--figures --cache mine", "is not of the study that figures/ shows"),
        ("--stage 1 --epochs 3 --cache cache", "--cache cache: holds the study; give a trial a"),
        ("--stage 1 --limit 9 --cache cache", "--cache cache: holds the study; give a trial a"),
        ("--stage 1 --width 0.5 --cache ./cache/", "--cache cache: holds the study; give a trial"),
        ("--stage 1 --data synthetic --cache cache", "--cache cache: holds the study"),
        ("--status --epochs 3 --cache cache", "--cache cache: holds the study; give a trial a"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(
    options: str, named: str, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named in refused(capsys, *options.split())


def test_the_folder_of_the_study_is_known_however_it_is_spelt(
    capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache" / "trial").mkdir(parents=True)
    (tmp_path / "link").symlink_to("cache")
    spelt = (
        str(tmp_path / "cache"),
        "link",
        f"../{tmp_path.name}/cache",
        "cache/trial/..",
        "./cache/",
    )
    for name in spelt:
        said = refused(capsys, "--stage", "1", "--epochs", "3", "--cache", name)
        assert "--cache cache: holds the study; give a trial a folder of its own" in said
        assert [run.root for run in asked(monkeypatch, "--stage", "1", "--cache", name)] == [
            Path("cache")
        ]


@pytest.mark.parametrize("place", ["a file", "a file/below", "/proc"])
def test_a_cache_that_cannot_be_written_is_one_line_and_status_2(
    place: str, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("no folder")
    options = ("--stage", "1", *ONE_JOB, "--epochs", "1")
    said = f"--cache {place}: is a file" if place == "a file" else f"{place}/"
    assert said in refused(capsys, *options, "--cache", place)


def test_a_device_that_is_not_there_is_one_line_and_status_2(capsys, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    options = ("--stage", "1", *ONE_JOB, "--epochs", "1", "--device", "cuda")
    assert "--device cuda: " in refused(capsys, *options, "--cache", str(tmp_path))


def test_compiling_without_a_gpu_is_one_line_and_status_2(capsys, tmp_path: Path) -> None:
    options = ("--stage", "1", *ONE_JOB, "--epochs", "1", "--device", "cpu", "--compile")
    assert "--compile: is for training on a GPU" in refused(
        capsys, *options, "--cache", str(tmp_path)
    )


# --- which runs the options name ------------------------------------------------------------------


def asked(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[Run]:
    """The runs that would be trained, in the order of the options, on the whole of CIFAR-10."""
    found: list[Run] = []
    monkeypatch.setattr(command, "_train", lambda runs, _options: found.extend(runs) or 0)
    assert main(list(words)) == 0
    return found


def test_all_are_the_stages_of_the_study_and_more_can_be_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = list(range(1, 9))
    for words, numbers in {
        "all": study,
        "all 9": [*study, 9],
        "10 all 2": [*study, 10],
        "4 1 4": [4, 1],
        "9 10 11": [9, 10, 11],
    }.items():
        runs = asked(monkeypatch, "--stage", *words.split())
        assert [run.stage for run in runs] == [get_stage(number) for number in numbers]
        assert {(run.seed, run.trial, run.root) for run in runs} == {(0, False, Path("cache"))}
    runs = asked(monkeypatch, "--stage", "4", "--stage", "1", "4")  # the last is not all there is
    assert [run.stage for run in runs] == [STAGES[4], STAGES[1]]
    runs = asked(monkeypatch, "--stage", "2", "1", "--seeds", "3,0-1")
    assert [(run.stage.number, run.seed) for run in runs] == [
        (2, 0), (2, 1), (2, 3), (1, 0), (1, 1), (1, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "epochs", "filters", "limit", "data"),
    [
        ("--epochs 3", 3, (20, 40), None, "cifar10"),
        ("--limit 5000", 150, (20, 40), 5000, "cifar10"),
        ("--width 0.5", 150, (10, 20), None, "cifar10"),
        ("--data synthetic", 150, (20, 40), None, "synthetic"),
        ("--width 0.001 --epochs 1 --limit 9 --data synthetic", 1, (1, 1), 9, "synthetic"),
    ],
)
def test_an_option_of_trials_leads_to_a_folder_of_their_own(
    words: str, epochs: int, filters: tuple, limit: int | None, data: str, monkeypatch
) -> None:
    [run] = asked(monkeypatch, "--stage", "4", *words.split())
    assert run.trial
    assert run.folder == Path("cache/trial/stage-4/seed-0")
    assert run.planned == run.stage.recipe.epochs == epochs
    assert tuple(block.filters for block in run.stage.network.blocks) == filters
    assert (run.limit, run.data) == (limit, data)
    [elsewhere] = asked(monkeypatch, "--stage", "4", *words.split(), "--cache", "mine")
    assert elsewhere == replace(run, root=Path("mine"))


@pytest.mark.parametrize(
    "words", ["--epochs 150", "--width 1", "--width 1.0", "--data folder", "--data auto", ""]
)
def test_the_stage_as_it_is_registered_is_no_trial(words: str, monkeypatch) -> None:
    [run] = asked(monkeypatch, "--stage", "4", *words.split())
    assert run == Run(STAGES[4], root=Path("cache"))
    assert not run.trial
    [elsewhere] = asked(monkeypatch, "--stage", "4", *words.split(), "--cache", "mine")
    assert elsewhere == Run(STAGES[4], root=Path("mine"))
    [third] = asked(monkeypatch, "--stage", "3", *words.replace("150", "15").split())
    assert third == Run(STAGES[3], root=Path("cache"))


def test_the_variable_names_what_the_option_does(monkeypatch) -> None:
    """Drawn pictures are a trial, however they are asked for, and never lie among the study's."""
    monkeypatch.setenv("CIFAR_STUDY_DATA", "synthetic")
    [run] = asked(monkeypatch, "--stage", "4")
    assert (run.data, run.root) == ("synthetic", Path("cache/trial"))
    [run] = asked(monkeypatch, "--stage", "4", "--data", "folder")
    assert (run.data, run.root) == ("cifar10", Path("cache"))


def test_another_trial_in_the_same_folder_is_stale_and_named(
    capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train_here(small_run(1, 1, tmp_path))
    before = contents(small_run(1, 1, tmp_path).folder)
    options = ("--stage", "1", *ONE_JOB, "--epochs", "2")
    assert refused(capsys, *options) == (
        "error: cache/trial/stage-1/seed-0: stale: recipe.epochs 1 → 2; "
        "--restart trains it anew, another --cache keeps it"
    )
    assert contents(small_run(1, 1, tmp_path).folder) == before
    assert obey(capsys, *options, "--restart") == (0, "")
    assert status(small_run(1, 2, tmp_path)).text == "complete"


# --- the table of --status ------------------------------------------------------------------------


def test_the_table_of_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--cache", str(tmp_path / "cache" / "trial"))
    small = ("--limit", "100", "--width", "0.25", "--data", "synthetic", "--epochs", "3")
    train_here(small_run(1, 3, tmp_path))
    stopped_after(small_run(4, 3, tmp_path), 1)
    fifth = small_run(5, 3, tmp_path)
    slower = replace(fifth.stage, recipe=replace(fifth.stage.recipe, momentum=0.8))
    stopped_after(replace(fifth, stage=slower), 1)
    capsys.readouterr()
    assert main(["--status", *where, *small]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[0].split() == [
        "stage", "network", "seed", "parameters", "precision", "test", "accuracy", "state"
    ]  # fmt: skip
    assert lines[1].endswith("complete")
    history = store.read_result(small_run(1, 3, tmp_path).folder).history
    assert f" {100 * history['test_accuracy'].iloc[-1]:.1f}%  complete" in lines[1]
    assert lines[2].endswith("absent")
    assert lines[4].endswith("at 1/3")
    assert lines[5].endswith("stale: recipe.momentum 0.8 → 0.9")

    damaged = small_run(4, 3, tmp_path).folder / store.RECORD
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


def test_a_name_with_line_breaks_stays_on_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = replace(small_run(1, 1, tmp_path), root=tmp_path / "a\nb")
    run.folder.mkdir(parents=True)
    (run.folder / store.RECORD).write_text("{")
    where = ("--stage", "1", "--cache", str(run.root))
    assert rf"a\nb{os.sep}stage-1" in refused(capsys, *where, *ONE_JOB, "--epochs", "1")
    assert main(["--status", *where]) == 2
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_status_of_a_folder_without_options_of_trials_is_that_of_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train_here(small_run(1, 2, tmp_path))
    stopped_after(small_run(4, 3, tmp_path), 1)
    monkeypatch.chdir(tmp_path)
    assert main(["--status", "--cache", "cache/trial"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["complete", *["absent"] * 2, "1/3"] + [
        "absent"
    ] * 7  # the eight and the peers
    history = store.read_result(small_run(1, 2, tmp_path).folder).history
    assert lines[0].split()[-4:] == [
        # 27·1 + 1 + 9·1 + 1 of convolutions, 16·10 + 10 of the dense layer; one filter is left
        "208", "float32", f"{100 * history['test_accuracy'].iloc[-1]:.1f}%", "complete"
    ]  # fmt: skip
    assert main(["--status"]) == 0  # the study itself: nothing yet
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["absent"] * 11
    assert {line.split()[-2] for line in lines} == {"–"}
