"""The study from end to end: train, be killed, go on, and show the result in the report."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from command import fork, train_in_fork
from conftest import EDITIONS, copy_project, render, words
from runs import wait_for

from cifar_study.results import store

SEEDS = range(3)
SMALL = ("--epochs", "6", "--data", "synthetic", "--limit", "100", "--width", "0.25")
SMALL += ("--device", "cpu", "--precision", "float32", "--jobs", "1")
TRIAL = ("--stage", "1", "2", "3", "4", "--seeds", "0-2", *SMALL)


def folder(project: Path, stage: int, seed: int = 0) -> Path:
    return project / "cache" / "trial" / f"stage-{stage}" / f"seed-{seed}"


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose trial was killed and went on; a fifth stage's history is damaged."""
    project = copy_project(tmp_path_factory.mktemp("trial") / "project")
    record = folder(project, 3) / store.RECORD  # the first of the longest; the epoch's last file
    first = fork(project, *TRIAL, few=True)
    wait_for(record.exists, 120)
    first.kill()
    first.join()
    begun = store.read_record(record)["epochs_done"]
    assert 1 <= begun < 6
    done = train_in_fork(project, *TRIAL, few=True)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"^stage 3, seed 0: epoch (\d)/6", done.stderr, re.MULTILINE)
    assert told == [str(epoch) for epoch in range(begun + 1, 7)]
    assert done.stderr.count(": complete, 6 epochs in ") == 12

    done = train_in_fork(project, "--stage", "5", *SMALL, few=True)
    assert done.returncode == 0, done.stderr
    history = folder(project, 5) / store.HISTORY
    history.write_text(history.read_text().replace(",", ";", 3))
    return project


def final(project: Path, stage: int) -> str:
    """The mean of the seeds' last test accuracies, as it is written."""
    results = [store.read_result(folder(project, stage, seed)) for seed in SEEDS]
    finals = [result.history["test_accuracy"].iloc[-1] for result in results]
    return f"{100 * sum(finals) / len(finals):.1f}%"


@pytest.mark.long
@pytest.mark.parametrize("edition", EDITIONS)
def test_a_trial_of_three_seeds_renders_with_bands_and_says_what_is_missing(
    trial: Path, edition: str
) -> None:
    book = render(trial, edition, CIFAR_STUDY_CACHE="cache/trial")
    text = words(book)
    assert "Shown here is the trial in cache/trial, not the study" in text
    for stage, said in ((1, "the minimal network names"), (4, "two blocks with ReLU reach")):
        assert re.search(rf"After 6 epochs (\(.{{1,20}}\) )?{said} {final(trial, stage)}", text)
    # At a glance, and questions 8, 9 and 14.
    assert text.count("test accuracy, 95% interval") == 4
    assert "Each of the eight networks was trained from 3 seeds" in text
    if edition == "plain":  # its page holds the charts
        page = (book / "index.html").read_text()
        charts = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", page)
    else:
        charts = [base64.b64encode(chart.read_bytes()) for chart in book.rglob("*.svg")]
    banded = [chart for chart in charts if b"PolyCollection" in base64.b64decode(chart)]
    assert len(banded) >= 5  # the histories of stages 1, 1 and 2, 3, 3 and 4, 4 and 5
    assert "not trained yet" in text
    # The photo, sizes, confusion, mistakes and filters.
    assert text.count("Drawn once stage 8 is trained.") == 5
    assert "Known once stage 8 is trained." in text  # what it says of the photo
    assert "history.csv: is not the file that result.json was written with" in text
