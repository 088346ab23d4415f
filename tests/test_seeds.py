"""Several seeds in the report: what counts, means and intervals counted by hand, what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import results

from cifar_study import atomic
from cifar_study.options import seed_list
from cifar_study.report import charts, comparison, replicates, study, summary, tables
from cifar_study.results import store
from cifar_study.results.run import Run
from cifar_study.stages import STAGES

# Test accuracies by epoch; the training accuracy is 0.1 above, the losses are 1 and 2 less it.
COMPLETE = {0: [0.30, 0.50, 0.60], 1: [0.20, 0.60, 0.62], 2: [0.10, 0.70, 0.70]}


def run_of(stage: int, seed: int) -> Run:
    chosen = replace(STAGES[stage], recipe=replace(STAGES[stage].recipe, epochs=3))
    return Run(chosen, seed, data="synthetic", root=Path("trial"))


def leave(stage: int, seed: int, accuracies: list[float], precision: str = "float32") -> None:
    """Leave a run in the cache as training does, with these test accuracies."""
    run = run_of(stage, seed)
    results.leave(run, accuracies, precision=precision, seconds=1.0 + seed, shift=seed)


@pytest.fixture(autouse=True)
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report on a trial of three epochs, of which nothing is there yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(study.VARIABLE, "trial")
    (tmp_path / "trial").mkdir()


@pytest.fixture
def three() -> replicates.Replicates:
    for seed, accuracies in COMPLETE.items():
        leave(4, seed, accuracies)
    return replicates.replicates(4)


def shown(*stages: int) -> list[str]:
    """All that the report says of these stages: bytes of charts, tables, notes, numbers."""
    drawn = [*charts.histories(*stages), charts.all_test_curves(), *charts.trade_off()]
    fact = summary.stage(stages[0])
    numbers = [fact.test_accuracy, fact.gap, fact.best, fact.least_loss, fact.seconds, fact.epochs]
    return [
        *(chart._repr_svg_() for chart in drawn),
        tables.compare(*stages).data,
        *numbers,
    ]


def test_words_follow_whether_a_stage_is_trained_and_leaves_the_level_of_chance() -> None:
    leave(2, 0, [0.10, 0.10, 0.12])
    assert summary.stage(4).leaves_chance() == "That run is not trained yet."
    leave(4, 0, [0.10, 0.25, 0.30])
    assert summary.stage(4).leaves_chance() == (
        "Its test accuracy passes two tenths in epoch 2 and stands at 30.0% after 3 epochs."
    )
    assert summary.stage(4).least_loss_accuracy == "30.0%"
    leave(1, 0, [0.10, 0.10, 0.12])
    leave(1, 1, [0.10, 0.20, 0.30])
    assert summary.stage(1).leaves_chance() == (
        "Its test accuracy passes two tenths, seed by seed, in epochs none and 2 "
        "and stands at 12.0% and 30.0% after 3 epochs."
    )


def test_numbers_are_means_and_epochs_reach_from_seed_to_seed(
    three: replicates.Replicates,
) -> None:
    fact = summary.stage(4)
    # (0.60 + 0.62 + 0.70) / 3, at the end and at best: the third seed is at its best in epoch 2.
    assert fact.test_accuracy == "64.0%"
    assert fact.best == "64.0%\N{NO-BREAK SPACE}(2 to 3)"
    assert fact.gap == "10.0 points"
    assert fact.least_loss == "1.360"
    assert fact.least_loss_epoch == "epochs 2 to 3"
    assert fact.first_epoch_above(0.55) == "epochs 2 to 3"
    assert fact.first_epoch_above(0.1) == "epoch 1"
    assert fact.first_epoch_above(0.65) == "epoch –"  # one seed of three alone
    assert fact.seconds == "2.0 s (the middle half 1.0 s to 3.0 s)"
    assert summary.time_ratio(4, 4) == "1.0 times"
    assert fact.epochs == "3 epochs"
    first = {"epoch": 1, "running_loss": 2.8, "running_accuracy": 0.0, "train_loss": 0.8}
    first |= {"train_accuracy": 0.3, "test_loss": 1.8, "test_accuracy": 0.2, "seconds": 2.0}
    assert three.history.iloc[0].to_dict() == pytest.approx(first)


def test_the_interval_is_students(three: replicates.Replicates) -> None:
    # Deviations −0.04, −0.02, 0.06: variance 0.0056 / 2; t of 2 degrees is 4.3027 in the tables.
    assert comparison.half_width([0.60, 0.62, 0.70]) == pytest.approx(
        4.3027 * (0.0056 / 2) ** 0.5 / 3**0.5, rel=1e-4
    )
    # 1.9842 is the tables' value for 99 degrees.
    values = [0.0, 1.0] * 50
    assert comparison.half_width(values) == pytest.approx(1.9842 * (25 / 99) ** 0.5 / 10, rel=1e-4)
    lines = tables.compare(4, 5).data.splitlines()
    assert "| seeds | " in " ".join(lines[0].split())
    assert "test accuracy, 95% interval" in lines[0]
    cells = [" ".join(cell.split()) for cell in lines[2].split("|")]
    assert cells[2:5] == ["64.0% ± 13.1", "10.0 ± 0.0", "3"]
    assert [cell.strip() for cell in lines[3].split("|")][2:5] == ["–", "–", "0"]


def test_charts_show_the_mean_in_a_band(three: replicates.Replicates) -> None:
    drawn = charts.histories(4)
    both = [chart.figure.axes[0] for chart in drawn]
    assert [len(axes.collections) for axes in both] == [2, 2]  # training and test
    accuracy = both[1]
    edges = accuracy.collections[1].get_paths()[0].vertices
    at_end = edges[edges[:, 0] == 3][:, 1]
    assert (at_end.min(), at_end.max()) == pytest.approx((0.60, 0.70))
    mean = accuracy.lines[3].get_ydata()
    assert mean == pytest.approx([0.2, 0.6, 0.64])  # too short to be smoothed
    said = [text.get_text() for text in drawn[1].figure.legends[0].get_texts()]
    assert said == ["4 two blocks, ReLU (3 seeds)", "training", "test", "range of seeds"]

    figure = charts.all_test_curves().figure
    assert len(figure.axes[0].collections) == 1
    assert figure.legends[0].get_texts()[-1].get_text() == "range of seeds"

    bars = charts.trade_off()[0].figure.axes[0].collections[0].get_segments()
    assert bars[0][:, 1] == pytest.approx([0.60, 0.70])


def test_the_confusion_is_that_of_all_seeds(three: replicates.Replicates) -> None:
    # Seed 0 is always right; seeds 1 and 2 say the class one and two further on.
    cells = [text.get_text() for text in charts.confusion(4).figure.axes[0].texts]
    assert cells[:4] == ["33", "33", "33", "·"]


def test_a_half_trained_seed_changes_nothing_but_is_named() -> None:
    leave(4, 0, COMPLETE[0])
    alone, nothing = shown(4, 5), tables.incomplete_note(4).data
    assert "seed" not in " ".join(alone[5:])
    assert nothing.count("\n- ") == 1  # that it is a trial
    leave(4, 1, COMPLETE[1][:2])
    assert shown(4, 5) == alone
    assert (
        "**Stage 4, two blocks, ReLU**: seed 1 not complete, what is shown is of seed 0; "
        "`python -m cifar_study.train --stage 4 --epochs 3 --data synthetic --cache trial "
        "--seeds 1` goes on."
    ) in tables.incomplete_note(4).data
    leave(4, 2, COMPLETE[2])
    assert summary.stage(4).test_accuracy == "65.0%"  # of seeds 0 and 2
    assert summary.stage(4).seeds == "2 of 3"
    assert "seed 1 not complete, what is shown is of seeds 0,2; " in tables.incomplete_note(4).data


def test_where_no_seed_is_complete_those_that_got_furthest_count() -> None:
    leave(4, 0, COMPLETE[0][:1])
    leave(4, 1, COMPLETE[1][:2])
    leave(4, 2, COMPLETE[2][:2])
    fact = summary.stage(4)
    assert (fact.test_accuracy, fact.epochs, fact.seeds) == ("65.0%", "2 of 3 epochs", "2 of 3")
    said = [text.get_text() for text in charts.histories(4)[0].figure.legends[0].get_texts()]
    assert said[0] == "4 two blocks, ReLU (2 of 3 epochs, 2 seeds)"
    assert (
        "seeds 0-2 not complete, what is shown is of seeds 1-2, trained for 2 of 3 epochs; "
    ) in tables.incomplete_note(4).data


def test_stale_and_damaged_seeds_do_not_count_and_are_named(three: replicates.Replicates) -> None:
    folder = three.statuses[1].run.folder
    (folder / store.HISTORY).write_text("epoch\n")
    assert summary.stage(4).test_accuracy == "65.0%"
    assert f"seed 1: {folder / store.HISTORY}: is not the file" in tables.incomplete_note(4).data
    leave(4, 1, COMPLETE[1])
    leave(4, 3, COMPLETE[0])
    path = run_of(4, 3).folder / store.RECORD
    record = store.read_record(path)
    record["configuration"]["network"] = run_of(5, 3).configuration("f", "float32")["network"]
    atomic.write_json(path, record)
    assert summary.stage(4).test_accuracy == "64.0%"
    assert summary.stage(4).seeds == "3 of 4"
    assert "seed 3: stale: network.blocks" in tables.incomplete_note(4).data


def test_another_precision_is_not_mixed_in(three: replicates.Replicates) -> None:
    leave(4, 3, [0.1, 0.1, 0.1], precision="bfloat16")
    assert summary.stage(4).test_accuracy == "64.0%"
    assert summary.stage(4).seeds == "3 of 4"


def test_a_difference_is_paired_by_seed(three: replicates.Replicates) -> None:
    for seed, value in enumerate((0.50, 0.56, 0.58)):
        leave(1, seed, [0.1, 0.2, value])
    # Gains 0.10, 0.06, 0.12: mean 0.28 / 3, deviations 0.02 / 3, -0.1 / 3, 0.08 / 3.
    half = 4.3027 * ((0.0004 + 0.01 + 0.0064) / 9 / 2) ** 0.5 / 3**0.5
    found = comparison.difference(three, replicates.replicates(1))
    assert (found.mean, found.half) == pytest.approx((0.28 / 3, half), rel=1e-4)
    assert summary.gain(4, 1) == "9.3 points (95% interval 1.7 to 16.9 points, 3 pairs of seeds)"
    leave(1, 2, [0.1, 0.2, 0.95])  # now gains 0.10, 0.06, -0.25
    assert summary.gain(4, 1).endswith("3 pairs of seeds: the two cannot be told apart)")


def test_two_pairs_of_seeds_are_too_few_for_a_verdict() -> None:
    for seed, value in enumerate((0.50, 0.56)):
        leave(4, seed, COMPLETE[seed])
        leave(1, seed, [0.1, 0.2, value])
    assert summary.gain(4, 1).endswith(", 2 pairs of seeds, too few to tell them apart)")


def test_one_seed_each_leaves_the_interval_of_the_test_pictures() -> None:
    leave(4, 0, COMPLETE[0])
    leave(1, 1, COMPLETE[1])
    assert summary.gain(4, 1) == "–"  # no seed is in both
    results.leave(run_of(1, 0), COMPLETE[1], shift=1)
    # Ten pictures, of which just the one network names all and the other none.
    said = "100.0 points (95% interval 100.0 to 100.0 points, of the test pictures alone, "
    assert summary.gain(4, 1) == f"{said}seed 0 of each)"


def test_training_pictures_are_known_by_heart_by_a_seed_not_by_a_mean() -> None:
    # The running accuracy is 0.2 below that of the test.
    leave(4, 0, [0.5, 0.6, 1.2])
    leave(4, 1, [0.5, 1.2, 1.1])
    said = "In epochs 2 to 3 the loop for the first time named every training picture correctly"
    assert summary.stage(4).memorised() == f"{said}, at a test loss of 0.800."
    leave(4, 2, [0.5, 0.6, 0.7])
    assert "the loop with 2 of 3 seeds for the first time" in summary.stage(4).memorised()


def test_times_are_of_one_machine(three: replicates.Replicates) -> None:
    leave(1, 0, COMPLETE[0])
    found = comparison.epoch_times([1, 4])
    assert found.seconds == {1: 1.0, 4: 2.0}  # the median of three epochs of 1, 2 and 3 s each
    assert found.taken == "the median while training, on a chip, 1 thread, float32"
    other = results.MACHINE | {"first_epoch": 1, "processor": "another chip"}
    results.leave(run_of(1, 0), COMPLETE[0], sessions=[other])
    assert comparison.epoch_times([1, 4]).seconds == {}
    assert summary.time_ratio(4, 1) == "–"


def test_a_run_that_moved_shows_the_machine_of_most_epochs() -> None:
    """Its second epoch, of 100 s, is of another chip, and so are both of another stage."""
    elsewhere = results.MACHINE | {"processor": "another chip"}
    sessions = [
        machine | {"first_epoch": first}
        for first, machine in enumerate((results.MACHINE, elsewhere, results.MACHINE), start=1)
    ]
    run = run_of(4, 0)
    results.leave(run, COMPLETE[0], seconds=10, sessions=sessions)
    result = store.read_result(run.folder)
    history = result.history.assign(seconds=[10.0, 100.0, 30.0])
    about = {name: result.record[name] for name in ("configuration", "sessions", "data")}
    store.Checkpoint(history, result.model(), {}).save(run, *result.predictions(), **about)
    found = summary.stage(4)
    assert found.seconds == "20 s (the middle half 15 s to 25 s)"  # 10 and 30
    assert found.trained_on == "a chip, 1 thread, float32"
    results.leave(run_of(1, 0), COMPLETE[0], sessions=[elsewhere | {"first_epoch": 1}])
    found = summary.stage(4)  # now the one that trained some of every stage
    assert (found.seconds, found.trained_on) == ("100 s", "another chip, 1 thread, float32")
    times = comparison.epoch_times([1, 4])
    assert times.seconds == {1: 1.0, 4: 100.0}
    assert times.taken == "the median while training, on another chip, 1 thread, float32"


def test_a_stage_without_the_first_seed_is_shown_by_those_it_has() -> None:
    leave(1, 7, COMPLETE[1])
    assert [one.state for one in replicates.replicates(1).statuses] == ["complete"]
    assert summary.stage(1).test_accuracy == "62.0%"
    assert tables.incomplete_note(1).data.count("\n- ") == 1  # that it is a trial
    assert "(not trained)" not in charts.histories(1)[0]._repr_svg_()


def test_stages_may_have_different_numbers_of_seeds(three: replicates.Replicates) -> None:
    assert summary.trained() == "from 3 seeds"
    leave(1, 0, COMPLETE[0])
    assert summary.trained() == "from 1 to 3 seeds"
    assert replicates.how_many([replicates.replicates(1)]) == "1 seed"
    rows = [
        [" ".join(cell.split()) for cell in line.split("|")][2:5:2]
        for line in tables.compare(1, 4).data.splitlines()[2:4]
    ]
    assert rows == [["60.0%", "1"], ["64.0% ± 13.1", "3"]]


@pytest.mark.parametrize("numbers", [[0], [1, 3], [0, 1, 2, 5], [2, 7, 8, 9, 12]])
def test_written_seeds_are_read_back(numbers: list[int]) -> None:
    assert seed_list(replicates.written(numbers)) == numbers


def test_seeds_are_written_short() -> None:
    assert replicates.written([5, 0, 1, 2]) == "0-2,5"
