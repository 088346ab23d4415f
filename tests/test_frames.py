"""The results as frames, for notebooks: a row for each run, for each epoch and split."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from results_on_disk import leave

from cifar_study import report
from cifar_study.runs import VARIABLE


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two seeds of stage 4 with two epochs, one of stage 1 with one, on other test sets."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    leave(tmp_path, 1, 0, [0.2], epochs=2, pictures=30)
    leave(tmp_path, 4, 0, [0.3, 0.5], epochs=2, pictures=50)
    leave(tmp_path, 4, 7, [0.4, 0.6], epochs=2, pictures=50, seconds=9.0)
    return tmp_path


def test_histories_have_a_row_for_each_epoch_and_split() -> None:
    frame = report.histories()
    assert len(frame) == 3 * (1 + 2 + 2)
    [row] = frame.query("stage == 4 and seed == 7 and epoch == 2 and split == 'train'").itertuples()
    # As `leave` has it: 0.1 above the test, and a loss of 1 less the test's accuracy.
    assert (row.accuracy, row.loss) == pytest.approx((0.7, 0.4))
    assert (row.title, row.precision, row.state) == ("two blocks, ReLU", "float32", "complete")
    assert frame.query("stage == 1").state.unique().tolist() == ["at 1/2"]


def test_results_have_a_row_for_each_run() -> None:
    frame = report.results().set_index(["stage", "seed"])
    assert frame.index.tolist() == [(1, 0), (4, 0), (4, 7)]
    row = frame.loc[4, 7]
    assert (row.test_accuracy, row.gap) == pytest.approx((0.6, 0.1))
    assert (row.epochs, row.seconds) == (2, 9.0)
    assert row.machine == "AMD EPYC, 2 cores, 1 thread, float32, PyTorch 9"
    # (9·3·20 + 20) + (9·20·20 + 20) + (9·20·40 + 40) + (9·40·40 + 40) + (8·8·40·10 + 10)
    assert row.parameters == 560 + 3_620 + 7_240 + 14_440 + 25_610


def test_a_damaged_run_is_left_out_with_a_warning(folder: Path) -> None:
    record = folder / "stage-4" / "seed-0" / "result.json"
    record.write_text("{")
    with pytest.warns(UserWarning, match=f"^left out: {re.escape(str(record))}: can't be read "):
        frame = report.results()
    assert list(zip(frame.stage, frame.seed, strict=True)) == [(1, 0), (4, 7)]


def test_an_empty_folder_gives_empty_frames_with_the_same_columns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = report.histories().columns.tolist(), report.results().columns.tolist()
    monkeypatch.setenv(VARIABLE, str(folder / "new"))
    empty = report.histories(), report.results()
    assert [len(frame) for frame in empty] == [0, 0]
    assert (empty[0].columns.tolist(), empty[1].columns.tolist()) == columns
