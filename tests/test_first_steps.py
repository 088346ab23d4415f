"""A newcomer's steps: make and the modules say what is missing, and recover from a kill."""

import os
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from conftest import PROJECT

OLD_PYTHONS = sorted((Path.home() / ".pyenv/versions").glob("3.[6-9].*/bin/python")) + [
    Path(found) for name in ("python3.9", "python3.10") if (found := shutil.which(name))
]
COMMANDS = ["-m cifar_study.train --status", "-m plain", "-m benchmarks.epochs"]


def run(folder, *words, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIFAR_")}
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(PROJECT)} | more,
        capture_output=True,
        text=True,
        timeout=300,
    )


def one_error(*words):
    done = run(PROJECT, *words)
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    return line


def test_without_any_package():
    for command in (*COMMANDS, "chapters/fresh.py check"):
        said = one_error(sys.executable, "-S", *command.split())
        assert re.search("(No module named .+|is not installed); run: make ", said)


@pytest.mark.skipif(not OLD_PYTHONS, reason="no Python older than 3.11 here")
def test_an_older_python_says_so():
    works = [old for old in OLD_PYTHONS if not run(PROJECT, old, "-c", "").returncode]
    for python, command in product(works, COMMANDS):  # a shim without a version does not work
        said = one_error(python, *command.split())
        assert "needs Python 3.11 or newer, and this is 3." in said


@pytest.mark.long
def test_a_clone_with_other_line_ends_finds_all_results_complete(tmp_path):
    if not (PROJECT / ".git").exists():
        pytest.skip("no clone here")
    clone = tmp_path / "clone"
    source = f"file://{PROJECT}"
    words = ["-c", "core.autocrlf=true", "clone", "--quiet", "--depth", "1", source, clone]
    assert run(tmp_path, "git", *words).returncode == 0
    assert run(clone, "git", "status", "--porcelain").stdout == ""
    for path in clone.glob("cache/stage-*/seed-*/*"):  # as editors and archives may leave them
        if path.suffix in (".csv", ".json"):
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    status = run(clone, sys.executable, "-m", "cifar_study.train", "--status", PYTHONPATH="").stdout
    assert len(re.findall("complete", status)) >= 8
    assert not re.search("stale|damaged|at \\d", status)


# --- make -----------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path):
    """What make needs, and a pip that installs nothing."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    return tmp_path


def make(folder, *words):
    """Run make with a Python that makes an environment in a second: its pip is not a copy."""
    python = folder / "python"
    quick = '[ "$1 $2" != "-m venv" ] || set -- "$@" --without-pip --system-site-packages\n'
    python.write_text(f'#!/bin/sh\n{quick}exec "{Path(sys.executable).resolve()}" "$@"\n')
    python.chmod(0o755)
    return run(folder, "make", "PIP=true", f"PYTHON={python}", *words, MAKEFLAGS="")


def test_make_recovers_from_an_environment_without_pip_as_a_kill_leaves_it(clone):
    venv = clone / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    done = make(clone, ".venv/.report")
    assert done.returncode == 0, done.stderr
    assert run(clone, venv / "bin" / "python", "-m", "pip", "--version").returncode == 0
    assert (venv / ".report").exists()


def test_make_train_asks_for_what_was_said(clone):
    (clone / ".venv").mkdir()
    for stamp in (".works", ".report", ".train"):
        (clone / ".venv" / stamp).touch()
    shown = make(clone, "-n", "train", "STAGES=4 5", "ARGS=--epochs 3 --limit 5000").stdout
    assert "-m cifar_study.train --stage 4 5 --epochs 3 --limit 5000" in shown
    shutil.rmtree(clone / ".venv")
    done = make(clone, "train")
    assert done.returncode == 2
    assert done.stderr.startswith("say which: make train STAGE=4")
    assert not (clone / ".venv").exists()  # asked before gigabytes are fetched


def test_make_names_its_targets_and_a_python_that_is_too_old(clone):
    shown = make(clone, "help").stdout
    targets = re.search(r"(?m)^\.PHONY: (.*)$", (clone / "Makefile").read_text())[1]
    for name in set(targets.split()) - {"help", "asked", "browser"}:
        assert f"make {name}" in shown
    done = make(clone, "PYTHON=nowhere/python3", "report")
    assert done.returncode == 2
    assert "Python 3.11 or newer, and nowhere/python3 is none: make report" in done.stderr


def test_what_renders_leave_is_ignored_and_removed(clone):
    (clone / "chapters").mkdir()
    shutil.copy(PROJECT / ".gitignore", clone)
    subprocess.run(["git", "init", "-q", clone], check=True)
    kept = {"chapters/q01.qmd", "chapters/keyboard.html"}
    left = {"chapters/q01.html", "chapters/q01.quarto_ipynb_1", "report.html"}
    for name in kept | left:
        (clone / name).touch()
    shown = run(clone, "git", "status", "--short", "--untracked-files=all").stdout
    assert kept <= {*shown.split()}
    assert not left & {*shown.split()}
    assert make(clone, "clean").returncode == 0
    assert {name for name in kept | left if (clone / name).exists()} == kept
