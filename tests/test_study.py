"""The study from end to end: train, be killed, go on, and show the result in the report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import EDITIONS, copy_project, render, words

TRAIN = [sys.executable, "-m", "cifar_study.train", "--stage", "1"]
TRIAL = [*TRAIN, "--data", "synthetic", "--epochs", "6"]


@pytest.mark.long
@pytest.mark.parametrize("edition", EDITIONS)
def test_train_kill_resume_render(tmp_path: Path, edition: str) -> None:
    project = copy_project(tmp_path / "project")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    history = project / "cache" / "trial" / "stage-1" / "seed-0" / "history.csv"
    record = history.with_name("result.json")  # the last file of an epoch
    first = subprocess.Popen(TRIAL, cwd=project, env=environment, stderr=subprocess.PIPE, text=True)
    while not record.exists():
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.05)
    first.kill()
    first.communicate()
    begun = json.loads(record.read_text())["epochs_done"]
    assert 1 <= begun < 6
    done = subprocess.run(TRIAL, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"epoch {begun + 1}/6" in done.stderr
    assert "epoch 1/6" not in done.stderr

    book = render(project, edition, CIFAR_STUDY_CACHE="cache/trial")
    text = words(book)
    assert "Shown here is the trial in cache/trial, not the study" in text
    accuracy = float(history.read_text().splitlines()[-1].split(",")[6])
    assert re.search(
        rf"After 6 epochs (\(.{{1,20}}\) )?the minimal network names {100 * accuracy:.1f}%", text
    )
