"""What the charts say of results."""

from __future__ import annotations

import csv
import json

from cifar_study import figures
from cifar_study.runs import FIGURES, ROOT


def test_curves_that_leave_the_chart_say_where_they_end() -> None:
    expected = []
    for number in (4, 5):
        history = ROOT / f"stage-{number}" / "seed-0" / "history.csv"
        with history.open(newline="") as file:
            losses = [float(row["test_loss"]) for row in csv.DictReader(file)][-10:]
        end = sum(losses) / 10
        assert end > 2.5  # where the axis of losses ends
        expected.append(f"↑ {end:.1f}")
    loss, accuracy = figures.histories(4, 5)
    loss.figure.draw_without_rendering()
    said = loss.figure.axes[0].texts
    assert [text.get_text() for text in said] == expected
    one, other = (text.get_window_extent() for text in said)
    assert not one.overlaps(other)
    assert not accuracy.figure.axes[0].texts


def test_numbers_beside_points_keep_apart() -> None:
    by_parameters, _ = figures.trade_off()
    by_parameters.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in by_parameters.figure.axes[0].texts]
    assert len(boxes) == 8
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_the_chart_of_sizes_shows_what_was_measured() -> None:
    measured = json.loads((FIGURES / figures.SIZES).read_text())
    axes = figures.sizes().figure.axes[0]
    for line, shares in zip(axes.lines, measured.values(), strict=False):
        assert dict(line.get_xydata()) == {float(width): share for width, share in shares.items()}
