"""What the charts say of results."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import results

from cifar_study.errors import StudyError
from cifar_study.report import architecture, charts, pictures, study, style, summary, tables
from cifar_study.results.run import Run
from cifar_study.results.store import HISTORY
from cifar_study.stages import PEERS, STAGES, scale_width


def test_no_curve_leaves_the_axes_that_all_charts_share() -> None:
    greatest = 0.0
    for number in (1, 4, 5):
        history = study.cache() / f"stage-{number}" / "seed-0" / "history.csv"
        with history.open(newline="") as file:
            greatest = max(greatest, *(float(row["test_loss"]) for row in csv.DictReader(file)))
    assert greatest > 2.5  # overfitting: far above chance
    limits = set()
    for stages in ((1,), (4, 5)):
        loss, accuracy = charts.histories(*stages)
        limits.add((loss.figure.axes[0].get_ylim(), accuracy.figure.axes[0].get_ylim()))
    [((low, high), of_accuracy)] = limits
    assert of_accuracy == (0, 1)
    assert low == 0
    assert greatest <= high < greatest + 1


def test_numbers_beside_points_keep_apart() -> None:
    by_parameters, _ = charts.trade_off()
    by_parameters.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in by_parameters.figure.axes[0].texts]
    assert len(boxes) == 8
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_the_chart_of_sizes_shows_what_was_measured() -> None:
    measured = json.loads((study.figures() / pictures.SIZES).read_text())
    axes = pictures.sizes().figure.axes[0]
    for line, kind in zip(axes.lines, ("square", "flattened", "padded"), strict=False):
        shares = measured["values"]["widths"][kind]
        assert dict(line.get_xydata()) == {float(width): share for width, share in shares.items()}


def test_rows_without_a_partner_are_hatched() -> None:
    assert architecture.rows_left(21) == [21, 10, 5, 2]
    odd, even = architecture.pooled_rows(21, 24).figure.axes
    dropped = [bar.get_bbox() for bar in odd.patches if bar.get_hatch()]
    # The 21st row, and the last of five values that stand for four rows each.
    assert [(box.x0, box.y0, box.y1) for box in dropped] == [(0, 20, 21), (2, 16, 20)]
    assert len(odd.patches) == 21 + 10 + 5 + 2
    assert not any(bar.get_hatch() for bar in even.patches)


def test_every_stage_has_a_colour_of_its_own() -> None:
    assert style.COLOURS.keys() == STAGES.keys() | PEERS.keys()
    assert len(set(style.COLOURS.values())) == len(style.COLOURS)


def test_pictures_of_another_run_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(pictures.photos())
    other = SimpleNamespace(record={"files": {HISTORY: "of another history"}})
    monkeypatch.setattr(pictures, "replicates", lambda _number: SimpleNamespace(first=other))
    assert not len(pictures.photos())
    assert not pictures.size_accuracies()
    assert "Not drawn from this run of stage 8" in pictures.saved("photo", 8).data


def leave_trial(folder: Path, *numbers: int, epochs: int, width: float = 1) -> None:
    """Leave the last epoch of these stages in a cache of its own."""
    for number in numbers:
        stage = scale_width(STAGES[number], width)
        stage = replace(stage, recipe=replace(stage.recipe, epochs=epochs))
        results.leave(Run(stage, root=folder), [0.5] * epochs)


def test_a_trial_of_another_width_is_counted_at_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_trial(tmp_path, 1, 2, epochs=3, width=0.5)
    monkeypatch.setenv(study.VARIABLE, str(tmp_path))
    # Two filters: (9·3·2 + 2) + (9·2·2 + 2) + (32·10 + 10) = 424; ten filters: 2,800.
    assert "424" in tables.layers(1).data
    assert summary.ratio("parameters", 2, 1) == "6.6 times"
    assert "| epochs" in tables.recipe(1).data
    assert tables.recipe(1).data.split("| epochs")[1].split("|")[1].strip() == "3"


def test_a_trial_is_named_whichever_stage_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_trial(tmp_path, 3, 4, epochs=15)  # as many as stage 3 has in the study
    monkeypatch.setenv(study.VARIABLE, str(tmp_path))
    assert f"the trial in `{tmp_path}`" in tables.incomplete_note(3, 4).data


def test_a_folder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(study.VARIABLE, "cache/trail")
    with pytest.raises(StudyError, match=r"CIFAR_STUDY_CACHE=cache/trail: No such file"):
        tables.compare()


def test_a_running_mean_begins_with_its_full_window() -> None:
    smooth = style.running_mean(range(30))
    assert np.isnan(smooth[:9]).all()
    assert smooth[9:].tolist() == [4.5 + step for step in range(21)]  # 0 to 9, then 1 to 10, ...
    assert style.running_mean(range(29)).tolist() == list(range(29))  # too few to smooth
