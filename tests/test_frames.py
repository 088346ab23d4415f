"""The results as frames, for notebooks: a row for each run, for each epoch and split."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import results

from cifar_study import report
from cifar_study.errors import StudyError
from cifar_study.report import study
from cifar_study.results.run import Run
from cifar_study.results.store import read_result
from cifar_study.stages import STAGES


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds of stage 4 with two epochs, one of stage 1 with one."""
    monkeypatch.setenv(study.VARIABLE, str(tmp_path))
    for number, seed, accuracies in ((1, 0, [0.2]), (4, 0, [0.3, 0.5]), (4, 7, [0.4, 0.6])):
        stage = STAGES[number]
        stage = replace(stage, recipe=replace(stage.recipe, epochs=2))
        results.leave(Run(stage, seed, root=tmp_path), accuracies, seconds=2.0 + seed)


def test_histories_have_a_row_for_each_epoch_and_split() -> None:
    frame = report.histories()
    assert len(frame) == 3 * (1 + 2 + 2)
    assert frame.groupby(["stage", "seed", "split"]).size().to_dict() == {
        (stage, seed, split): epochs
        for stage, seed, epochs in ((1, 0, 1), (4, 0, 2), (4, 7, 2))
        for split in ("train", "test", "running")
    }
    [row] = frame.query("stage == 4 and seed == 7 and epoch == 2 and split == 'train'").itertuples()
    # As results.leave has it: 0.1 above the test, and a loss of 1 less the test's accuracy.
    assert (row.accuracy, row.loss) == pytest.approx((0.7, 0.4))
    assert (row.title, row.precision, row.state) == ("two blocks, ReLU", "float32", "complete")
    assert frame.query("stage == 1").state.unique().tolist() == ["partial"]


def test_results_have_a_row_for_each_run() -> None:
    frame = report.results().set_index(["stage", "seed"])
    assert frame.index.tolist() == [(1, 0), (4, 0), (4, 7)]
    row = frame.loc[4, 7]
    assert (row.test_accuracy, row.gap) == pytest.approx((0.6, 0.1))
    assert (row.epochs, row.seconds, row.machine) == (2, 9.0, "a chip, 1 thread, float32")
    # (9·3·20 + 20) + (9·20·20 + 20) + (9·20·40 + 40) + (9·40·40 + 40) + (8·8·40·10 + 10)
    assert row.parameters == 560 + 3_620 + 7_240 + 14_440 + 25_610


def test_a_damaged_run_is_left_out_with_a_warning(tmp_path: Path) -> None:
    record = tmp_path / "stage-4" / "seed-0" / "result.json"
    record.write_text("{")
    with pytest.warns(UserWarning, match=f"^left out: {re.escape(str(record))}: unreadable "):
        frame = report.results()
    assert list(zip(frame.stage, frame.seed, strict=True)) == [(1, 0), (4, 7)]


def test_the_network_of_another_seed_is_not_said_to_be_in_git(tmp_path: Path) -> None:
    for seed, remedy in ((0, "restore it from git"), (7, "git keeps that of seed 0 alone: train")):
        folder = tmp_path / "stage-4" / f"seed-{seed}"
        (folder / "model.safetensors").unlink()
        with pytest.raises(StudyError, match=remedy) as caught:
            read_result(folder).model()
        assert ("delete" in str(caught.value)) == (seed == 0)


def test_an_empty_folder_gives_empty_frames_with_the_same_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = report.histories().columns.tolist(), report.results().columns.tolist()
    (tmp_path / "new" / "stage-1" / "seed-0").mkdir(parents=True)  # of a run without an epoch
    monkeypatch.setenv(study.VARIABLE, str(tmp_path / "new"))
    empty = report.histories(), report.results()
    assert [len(frame) for frame in empty] == [0, 0]
    assert (empty[0].columns.tolist(), empty[1].columns.tolist()) == columns
