"""What the charts draw of results: curves, bands, marks and words at the curves' ends."""

import numpy as np
import pandas as pd
import pytest
from conftest import PROJECT
from IPython.display import Markdown
from matplotlib.text import Text
from results_on_disk import leave

from cifar_study.report import charts


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty folder of results, which the report shows."""
    monkeypatch.setenv("CIFAR_STUDY_CACHE", str(tmp_path))
    return tmp_path


def axes_of(chart):
    [axes] = chart.figure.axes
    return axes


def texts(chart):
    """The words in a plot, lines joined, spaces plain."""
    written = [text.get_text() for text in axes_of(chart).texts if text.get_text()]
    return [" ".join(text.split()) for text in written]


def test_curves_are_the_raw_means_and_bands_reach_from_the_lowest_seed_to_the_highest(cache):
    leave(cache, 4, 0, [0.3, 0.5, 0.4], epochs=3)
    leave(cache, 4, 1, [0.1, 0.6, 0.5], epochs=3)
    accuracy = axes_of(charts.histories(4)[1])
    train, test = accuracy.lines
    assert test.get_xydata() == pytest.approx(np.array([[1, 0.2], [2, 0.55], [3, 0.45]]))
    assert train.get_ydata() == pytest.approx([0.3, 0.65, 0.55])  # 0.1 above
    assert (test.get_linestyle(), train.get_linestyle()) == ("-", "--")
    corners = accuracy.collections[1].get_paths()[0].vertices
    for epoch, low, high in ((1, 0.1, 0.3), (2, 0.5, 0.6), (3, 0.4, 0.5)):
        heights = corners[corners[:, 0] == epoch, 1]
        assert (heights.min(), heights.max()) == pytest.approx((low, high))


def test_the_lowest_loss_is_marked_at_the_median_of_the_seeds_own_epochs(cache):
    # The loss of the test is 2 less the accuracy: lowest in epochs 2, 4 and 5. The mean curve's
    # own lowest point is in epoch 2.
    leave(cache, 5, 0, [0.1, 0.9, 0.1, 0.1, 0.1, 0.1], epochs=6)
    leave(cache, 5, 1, [0.1, 0.2, 0.2, 0.4, 0.2, 0.1], epochs=6)
    leave(cache, 5, 2, [0.1, 0.2, 0.2, 0.2, 0.5, 0.1], epochs=6)
    loss = axes_of(charts.histories(5)[0])
    dot = next(line for line in loss.lines if line.get_marker() == "o")
    assert dot.get_xydata()[0] == pytest.approx((4, 2 - 0.7 / 3))
    assert "4" in texts(charts.histories(5)[0])
    leave(cache, 4, 0, [0.1, 0.2, 0.3], epochs=3)  # its loss still falls
    assert not any("lowest" in text for text in texts(charts.histories(4)[0]))


def test_the_gap_is_bracketed_at_the_end_of_the_stage_that_is_named(cache):
    leave(cache, 4, 0, [0.2, 0.4], epochs=2)
    leave(cache, 5, 0, [0.3, 0.6], epochs=2)
    loss, accuracy = charts.histories(4, 5, gap=5)
    assert not any("gap" in text for text in texts(loss))
    assert "gap 10.0 points" in texts(accuracy)
    arrows = [text for text in axes_of(accuracy).texts if text.arrow_patch and not text.get_text()]
    [(x, train, test)] = [(arrow.xy[0], arrow.xy[1], arrow.xyann[1]) for arrow in arrows]
    assert (train, test) == pytest.approx((0.7, 0.6))
    assert 1 < x <= 2


def test_curves_are_named_once_with_the_values_that_the_report_prints(cache):
    leave(cache, 4, 0, [0.2, 0.85234], epochs=2)
    leave(cache, 5, 0, [0.3, 0.61], epochs=2)
    accuracy = charts.histories(4, 5)[1]
    assert sorted(texts(accuracy)) == [
        "4 training 95.2%", "4 two blocks, ReLU 85.2%", "5 four blocks 61.0%", "5 training 71.0%",
    ]  # fmt: skip
    assert sorted(texts(charts.histories(4)[1])) == ["test 85.2%", "training 95.2%"]


def test_a_stage_that_is_not_through_or_not_begun_says_so(cache):
    leave(cache, 4, 0, [0.25])
    leave(cache, 3, 0, [0.1] * 15)
    said = texts(charts.histories(3, 4)[1])
    assert "4 two blocks, ReLU 1 of 150 epochs 25.0%" in said
    assert "3 two blocks, sigmoid 15 epochs 10.0%" in said
    one = axes_of(charts.histories(4)[1])
    assert {line.get_marker() for line in one.lines} == {"o"}  # a line of one point is not seen
    assert one.get_xlim() == (1, 150)


def test_without_a_result_a_line_says_how_to_get_one(cache):
    drawn = (*charts.histories(1), charts.all_test_curves(), charts.calibration(1, 5))
    for note in (*drawn, charts.confusion(8)):
        assert isinstance(note, Markdown)
        assert "Nothing of this is trained yet; run: python" in note.data


def test_an_axis_ends_where_the_longest_run_of_a_trial_does(cache):
    leave(cache, 1, 0, [0.2], epochs=1)
    assert axes_of(charts.histories(1)[0]).get_xlim() == (1, 2)
    leave(cache, 9, 0, [0.3] * 7, epochs=7)
    assert axes_of(charts.histories(1)[0]).get_xlim() == (1, 7)


def test_no_curve_of_the_study_leaves_the_axes_that_all_its_histories_share():
    paths = (PROJECT / "cache").glob("stage-*/seed-*/history.csv")
    most = max(pd.read_csv(path)[["train_loss", "test_loss"]].max(axis=None) for path in paths)
    for stages in ((1,), (8, 9, 11)):
        loss, accuracy = map(axes_of, charts.histories(*stages))
        assert loss.get_position().bounds == accuracy.get_position().bounds
        assert loss.get_xlim() == accuracy.get_xlim() == (1, 150)
        assert accuracy.get_ylim() == (0, 1)
        assert loss.get_ylim()[0] == 0
        assert most <= loss.get_ylim()[1] < most + 1


def test_labels_of_all_stages_keep_apart_and_within_the_picture():
    for chart in (charts.all_test_curves(), *charts.histories(8, 9, 11), *charts.histories(6, 7)):
        figure = chart.figure
        figure.draw_without_rendering()
        named = [text for text in axes_of(chart).texts if text.get_text() and text.arrow_patch]
        boxes = [Text.get_window_extent(text) for text in named]  # without its leader
        for number, box in enumerate(boxes):
            assert figure.bbox.x1 >= box.x1, named[number]
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, named[number]
            for other in boxes[:number]:
                assert not box.padded(-2).overlaps(other.padded(-2)), named[number]


def test_calibration_and_confusion_show_what_the_networks_said(cache):
    said = np.full((4, 10), 0.2 / 9)
    said[np.arange(4), [0, 0, 1, 3]] = 0.8  # of pictures 0, 0, 1, 2: three right, one wrong
    leave(cache, 8, 0, [0.5], epochs=1, probabilities=said, labels=np.array([0, 0, 1, 2]))
    curve = axes_of(charts.calibration(8)).lines[1]
    assert curve.get_xydata()[0] == pytest.approx((0.8, 0.75), abs=1e-3)
    shares = np.asarray(axes_of(charts.confusion(8)).images[0].get_array())
    assert (shares[0, 0], shares[1, 1], shares[2, 3], shares[2, 2]) == (1, 1, 1, 0)
