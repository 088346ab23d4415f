"""Several seeds in the report: what counts, means and intervals counted by hand, what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cifar_study import cache, data, facts, figures, seeds, tables, trainer
from cifar_study.cache import Epoch
from cifar_study.runs import TRIAL_VARIABLE, Run
from cifar_study.stages import STAGES
from cifar_study.train import _seeds

DATA = data.synthetic(train=20, test=10)
# Test accuracies by epoch; the training accuracy is 0.1 above, the losses are 1 and 2 less it.
COMPLETE = {0: [0.30, 0.50, 0.60], 1: [0.20, 0.60, 0.62], 2: [0.10, 0.70, 0.70]}


def leave(stage: int, seed: int, accuracies: list[float]) -> None:
    """Leave a run in the cache as training does, with these test accuracies."""
    run = Run(STAGES[stage], seed, epochs=3, data="synthetic")
    history = [
        Epoch(epoch, 1 - value, value + 0.1, 2 - value, value, 1.0 + seed)
        for epoch, value in enumerate(accuracies, start=1)
    ]
    answers = np.eye(10, dtype=np.float32)[(np.arange(10) + seed) % 10]
    state = trainer._Saved(history, {}, {}, answers, [{"first_epoch": 1}])
    state.publish(run, run.configuration(DATA.fingerprint), trainer._facts(state.sessions, DATA))


@pytest.fixture(autouse=True)
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report on a trial of three epochs, of which nothing is there yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRIAL_VARIABLE, "epochs-3_data-synthetic")


@pytest.fixture
def three() -> seeds.Sample:
    for seed, accuracies in COMPLETE.items():
        leave(4, seed, accuracies)
    return seeds.sample(4)


def shown(*stages: int) -> list[str]:
    """All that the report says of these stages: bytes of charts, tables, notes, numbers."""
    charts = [*figures.histories(*stages), figures.all_test_curves(), *figures.trade_off()]
    fact = facts.stage(stages[0])
    numbers = [fact.test_accuracy, fact.gap, fact.best, fact.least_loss, fact.seconds, fact.epochs]
    return [
        *(chart._repr_mimebundle_()["image/svg+xml"] for chart in charts),
        tables.compare(*stages).data,
        *numbers,
    ]


def test_numbers_are_those_of_the_mean_history(three: seeds.Sample) -> None:
    fact = facts.stage(4)
    # (0.60 + 0.62 + 0.70) / 3; epoch 2 has (0.5 + 0.6 + 0.7) / 3
    assert fact.test_accuracy == "64.0%"
    assert fact.best == "64.0% (3)"
    assert fact.gap == "10.0 points"
    assert fact.least_loss == "1.360"
    assert fact.first_epoch_above(0.55) == "2"
    assert fact.seconds == "2.0 s"
    assert facts.time_ratio(4, 4) == "1.0 times"
    assert fact.epochs == "3 epochs"
    assert three.history[0] == pytest.approx((1, 0.8, 0.3, 1.8, 0.2, 2.0))


def test_the_interval_is_students(three: seeds.Sample) -> None:
    # Deviations −0.04, −0.02, 0.06: variance 0.0056 / 2; t of 2 degrees is 4.3027 in the tables.
    assert seeds.half_width([0.60, 0.62, 0.70]) == pytest.approx(
        4.3027 * (0.0056 / 2) ** 0.5 / 3**0.5, rel=1e-4
    )
    # 1.9842 is the tables' value for 99 degrees.
    values = [0.0, 1.0] * 50
    assert seeds.half_width(values) == pytest.approx(1.9842 * (25 / 99) ** 0.5 / 10, rel=1e-4)
    lines = tables.compare(4, 5).data.splitlines()
    assert "| seeds | " in " ".join(lines[0].split())
    assert "test accuracy, 95% interval" in lines[0]
    cells = [" ".join(cell.split()) for cell in lines[2].split("|")]
    assert cells[2:5] == ["64.0% ± 13.1", "10.0 ± 0.0", "3"]
    assert [cell.strip() for cell in lines[3].split("|")][2:5] == ["–", "–", "0"]


def test_charts_show_the_mean_in_a_band(three: seeds.Sample) -> None:
    charts = figures.histories(4)
    both = [chart.figure.axes[0] for chart in charts]
    assert [len(axes.collections) for axes in both] == [2, 2]  # training and test
    accuracy = both[1]
    edges = accuracy.collections[1].get_paths()[0].vertices
    at_end = edges[edges[:, 0] == 3][:, 1]
    # The running means of the seeds at their end: 1.4 / 3, 1.42 / 3, 1.5 / 3.
    assert (at_end.min(), at_end.max()) == pytest.approx((1.4 / 3, 1.5 / 3))
    mean = accuracy.lines[3].get_ydata()
    assert mean == pytest.approx([0.2, (0.2 + 0.6) / 2, (0.2 + 0.6 + 0.64) / 3])
    said = [text.get_text() for text in charts[1].figure.legends[0].get_texts()]
    assert said == ["4 two blocks, ReLU (3 seeds)", "training", "test", "range of seeds"]

    figure = figures.all_test_curves().figure
    assert len(figure.axes[0].collections) == 1
    assert figure.legends[0].get_texts()[0].get_text() == "least to greatest of 3 seeds"

    bars = figures.trade_off()[0].figure.axes[0].collections[0].get_segments()
    assert bars[0][:, 1] == pytest.approx([0.60, 0.70])


def test_the_confusion_is_that_of_all_seeds(three: seeds.Sample) -> None:
    # Seed 0 is always right; seeds 1 and 2 say the class one and two further on.
    cells = [text.get_text() for text in figures.confusion(4).figure.axes[0].texts]
    assert cells[:4] == ["33", "33", "33", "·"]


def test_a_half_trained_seed_changes_nothing_but_is_named() -> None:
    leave(4, 0, COMPLETE[0])
    alone, nothing = shown(4, 5), tables.standing(4).data
    assert "seed" not in " ".join(alone[5:])
    assert nothing.count("\n- ") == 1  # that it is a trial
    leave(4, 1, COMPLETE[1][:2])
    assert shown(4, 5) == alone
    assert (
        "**Stage 4, two blocks, ReLU**: seed 1 not complete, what is shown is of seed 0; "
        "`python -m cifar_study.train --stage 4 --epochs 3 --data synthetic --seeds 1` goes on."
    ) in tables.standing(4).data
    leave(4, 2, COMPLETE[2])
    assert facts.stage(4).test_accuracy == "65.0%"  # of seeds 0 and 2
    assert facts.stage(4).seeds == "2 of 3"
    assert "seed 1 not complete, what is shown is of seeds 0,2; " in tables.standing(4).data


def test_where_no_seed_is_complete_those_that_got_furthest_count() -> None:
    leave(4, 0, COMPLETE[0][:1])
    leave(4, 1, COMPLETE[1][:2])
    leave(4, 2, COMPLETE[2][:2])
    fact = facts.stage(4)
    assert (fact.test_accuracy, fact.epochs, fact.seeds) == ("65.0%", "2 of 3 epochs", "2 of 3")
    said = [text.get_text() for text in figures.histories(4)[0].figure.legends[0].get_texts()]
    assert said[0] == "4 two blocks, ReLU (2 of 3 epochs, 2 seeds)"
    assert (
        "seeds 0-2 not complete, what is shown is of seeds 1-2, trained for 2 of 3 epochs; "
    ) in tables.standing(4).data


def test_stale_and_damaged_seeds_do_not_count_and_are_named(three: seeds.Sample) -> None:
    folder = three.stands[1].run.folder
    (folder / cache.HISTORY).write_text("epoch\n")
    assert facts.stage(4).test_accuracy == "65.0%"
    assert f"seed 1: {folder / cache.HISTORY}: line 1 is not" in tables.standing(4).data
    leave(4, 1, COMPLETE[1])
    wide = Run(STAGES[5], 3, epochs=3, data="synthetic")
    leave(4, 3, COMPLETE[0])
    record = cache.read_record(Run(STAGES[4], 3, epochs=3, data="synthetic").folder / cache.RECORD)
    record["configuration"]["network"] = wide.configuration("")["network"]
    record["record_sha256"] = cache._seal(record)
    answers = {"probabilities": np.eye(10, dtype=np.float32)}
    stamp = cache.identity(record) | {"epoch": "3"}
    other = Run(STAGES[4], 3, epochs=3, data="synthetic").folder
    cache.write_json(other / cache.RECORD, record)
    cache.write_tensors(other / cache.MODEL, {}, stamp)
    cache.write_tensors(other / cache.PROBABILITIES, answers, stamp)
    assert facts.stage(4).test_accuracy == "64.0%"
    assert facts.stage(4).seeds == "3 of 4"
    assert "seed 3: stale: network.blocks" in tables.standing(4).data


def test_a_stage_without_the_first_seed_is_shown_by_those_it_has() -> None:
    leave(1, 7, COMPLETE[1])
    assert facts.stage(1).test_accuracy == "62.0%"
    assert tables.standing(1).data.count("\n- ") == 1  # that it is a trial
    assert "(not trained)" not in figures.histories(1)[0]._repr_mimebundle_()["image/svg+xml"]


def test_stages_may_have_different_numbers_of_seeds(three: seeds.Sample) -> None:
    assert facts.trained() == "from 3 seeds"
    leave(1, 0, COMPLETE[0])
    assert facts.trained() == "from 1 to 3 seeds"
    assert seeds.how_many([seeds.sample(1)]) == "1 seed"
    rows = [
        [" ".join(cell.split()) for cell in line.split("|")][2:5:2]
        for line in tables.compare(1, 4).data.splitlines()[2:]
    ]
    assert rows == [["60.0%", "1"], ["64.0% ± 13.1", "3"]]


@pytest.mark.parametrize("numbers", [[0], [1, 3], [0, 1, 2, 5], [2, 7, 8, 9, 12]])
def test_written_seeds_are_read_back(numbers: list[int]) -> None:
    assert _seeds(seeds.written(numbers)) == numbers


def test_seeds_are_written_short() -> None:
    assert seeds.written([5, 0, 1, 2]) == "0-2,5"
