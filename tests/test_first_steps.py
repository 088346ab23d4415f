"""A newcomer's steps: make and the modules say what is missing, and recover from a kill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import PROJECT, environment

OLD_PYTHONS = sorted((Path.home() / ".pyenv/versions").glob("3.[6-9].*/bin/python")) + [
    Path(found) for name in ("python3.9", "python3.10") if (found := shutil.which(name))
]


def run(folder: Path, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment() | more,
        capture_output=True,
        text=True,
        timeout=300,
    )


def one_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    [line] = done.stderr.splitlines()
    return line


# --- packages that are missing --------------------------------------------------------------------

COMMANDS = {
    "train": ["cifar_study.train", "--stage", "1", "--data", "synthetic", "--limit", "8"],
    "status": ["cifar_study.train", "--status"],
    "figures": ["cifar_study.train", "--figures"],
    "plain": ["plain"],
    "speed": ["benchmarks.speed"],
    "precision": ["benchmarks.precision"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_without_any_package(command: str) -> None:
    done = run(PROJECT, sys.executable, "-S", "-m", *COMMANDS[command])
    said = one_error(done)
    assert "is not installed; run: make " in said
    assert "pip install -r requirements.txt" in said


@pytest.mark.parametrize("missing", ["numpy", "pandas", "tqdm", "filelock", "safetensors", "torch"])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_without_one_package(missing: str, jobs: str, tmp_path: Path) -> None:
    """As after ``make report``, which installs what rendering needs alone; in each process."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        f"import sys\nsys.modules[{missing!r}] = None  # an import of it fails\n"
    )
    words = "-m cifar_study.train --stage 1 2 --data synthetic --limit 8 --epochs 1 --device cpu"
    path = os.pathsep.join([str(hidden), str(PROJECT)])
    done = run(
        tmp_path, sys.executable, *words.split(), "--jobs", jobs, PYTHONPATH=path, TQDM_DISABLE="1"
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == (2 if (missing, jobs) == ("torch", "2") else 1)  # one a job
    for line in errors:
        assert f"the package {missing} is not installed; run: make train STAGE=1" in line


def test_the_options_are_shown_without_any_package() -> None:
    done = run(PROJECT, sys.executable, "-S", "-m", "cifar_study.train", "--help")
    assert done.returncode == 0
    assert "--stage" in done.stdout


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("cifar_study/train.py", "cifar_study.train"),
        ("plain", "plain"),
        ("benchmarks/speed.py", "benchmarks.speed"),
        ("benchmarks/precision.py", "benchmarks.precision"),
    ],
)
def test_a_command_run_as_a_file_says_how_to_run_it(file: str, module: str) -> None:
    done = run(PROJECT, sys.executable, file, "--help", PYTHONPATH="")
    assert one_error(done).endswith(f"project's folder as: python -m {module}")


@pytest.mark.parametrize("module", COMMANDS.values(), ids=COMMANDS)
def test_a_wrong_option_is_a_line(module: list[str]) -> None:
    said = one_error(run(PROJECT, sys.executable, "-m", module[0], "--nonsense"))
    assert said == "error: unrecognized arguments: --nonsense (--help shows the options)"


@pytest.mark.skipif(not OLD_PYTHONS, reason="no Python older than 3.11 here")
@pytest.mark.parametrize("module", ["cifar_study.train", "plain", "benchmarks.speed"])
def test_an_older_python_says_so(module: str, tmp_path: Path) -> None:
    ran = 0
    for python in OLD_PYTHONS:
        if run(tmp_path, python, "-c", "").returncode:  # a shim without a version behind it
            continue
        ran += 1
        assert "needs Python 3.11 or newer, and this is 3." in one_error(
            run(PROJECT, python, "-m", module)
        )
    if not ran:
        pytest.skip("no Python older than 3.11 works here")


# --- make -----------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What make needs, and a pip that installs nothing."""
    if not shutil.which("make"):
        pytest.skip("no make here")
    for name in ("Makefile", "requirements.txt", "requirements-cluster.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make with a Python that makes an environment in a second: its pip is not a copy."""
    python = folder / "python"
    quick = '[ "$1 $2" != "-m venv" ] || set -- "$@" --without-pip --system-site-packages\n'
    python.write_text(f'#!/bin/sh\n{quick}exec "{Path(sys.executable).resolve()}" "$@"\n')
    python.chmod(0o755)
    return run(folder, "make", "PIP=true", f"PYTHON={python}", *words, MAKEFLAGS="")


@pytest.mark.parametrize("left", ["no pip", "no python", "a broken python", "nothing"])
def test_make_recovers_from_an_environment_that_was_half_made(left: str, clone: Path) -> None:
    venv = clone / ".venv"
    if left == "no pip":  # killed before pip was there
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    elif left == "a broken python":
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").symlink_to("/nowhere/python3")
    elif left == "no python":
        (venv / "lib").mkdir(parents=True)
    done = make(clone, ".venv/.report")
    assert done.returncode == 0, done.stderr
    pip = run(clone, venv / "bin" / "python", "-m", "pip", "--version")
    assert pip.returncode == 0, pip.stderr
    assert (venv / ".report").exists()


def test_an_environment_that_works_is_kept(clone: Path) -> None:
    venv = clone / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    package = next(venv.glob("lib/python*/site-packages")) / "pip"
    package.mkdir()
    (package / "__main__.py").write_text("print('a pip')\n")
    (venv / "mine").touch()
    assert make(clone, ".venv/.report").returncode == 0
    assert (venv / "mine").exists()


def test_make_train_asks_for_what_was_said(clone: Path) -> None:
    (clone / ".venv").mkdir()
    for stamp in (".works", ".report", ".train"):
        (clone / ".venv" / stamp).touch()
    for words, expected in {
        ("STAGE=4",): "--stage 4",
        ("STAGES=4 5", "ARGS=--epochs 3 --limit 5000"): "--stage 4 5 --epochs 3 --limit 5000",
        ("STAGES=all",): "--stage all",
    }.items():
        said = make(clone, "-n", "train", *words).stdout
        assert f"-m cifar_study.train {expected}" in said
    shutil.rmtree(clone / ".venv")
    done = make(clone, "train")
    assert done.returncode == 2
    assert done.stderr.startswith("say which: make train STAGE=4")
    assert not (clone / ".venv").exists()  # asked before gigabytes are fetched


def test_make_n_runs_nothing(clone: Path) -> None:
    said = make(clone, "-n", "report")
    assert said.returncode == 0
    assert "quarto" in said.stdout
    assert not (clone / ".venv").exists()
    assert not (clone / "_book").exists()


def test_what_training_needs_is_listed() -> None:
    """All that the package imports is in one of the two lists of the Makefile."""
    text = (PROJECT / "Makefile").read_text()
    listed = set(text.partition("REPORT := ")[2].partition("\n\n")[0].split())
    names = {"PIL": "pillow", "skimage": "scikit-image", "IPython": "ipython"}
    found = set()
    for path in (PROJECT / "cifar_study").glob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] in ("import", "from"):
                found.add(words[1].partition(".")[0].rstrip(","))
    found -= set(sys.stdlib_module_names) | {"cifar_study", "distributed"}
    assert {names.get(name, name) for name in found} <= listed


@pytest.mark.parametrize("python", ["nowhere/python3", "an older one"])
def test_make_says_that_python_is_too_old(python: str, clone: Path) -> None:
    if python == "an older one":
        python = next(
            (str(old) for old in OLD_PYTHONS if not run(clone, old, "-c", "").returncode), ""
        )
        if not python:
            pytest.skip("no Python older than 3.11 works here")
    done = make(clone, f"PYTHON={python}", "report")
    assert done.returncode == 2
    first = done.stderr.splitlines()[0]
    assert first.startswith(f"make needs Python 3.11 or newer, and {python} is none: make report")
    assert not (clone / ".venv").exists()


def test_what_a_killed_render_left_is_removed_and_ignored(clone: Path) -> None:
    chapters = clone / "chapters"
    chapters.mkdir()
    shutil.copy(PROJECT / ".gitignore", clone)
    shutil.copy(PROJECT / "chapters" / "fresh.py", chapters)
    kept = [chapters / name for name in ("q01.qmd", "photo.html", "keyboard.html")]
    left = [chapters / "q01.html", clone / "index.html"]
    (clone / "index.qmd").touch()
    subprocess.run(["git", "init", "-q", clone], check=True)
    for command in (["make", "clean"], [sys.executable, "chapters/fresh.py", "before"]):
        for path in (*kept, *left):
            path.touch()
        shown = run(clone, "git", "status", "--short", "--untracked-files=all").stdout
        assert "chapters/photo.html" in shown
        assert "q01.html" not in shown
        assert "index.html" not in shown
        assert run(clone, *command).returncode == 0
        assert all(path.exists() for path in kept)
        assert not any(path.exists() for path in left)
