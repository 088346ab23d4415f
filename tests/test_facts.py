"""What sentences say of results: means, intervals and differences counted by hand, and times."""

import html
import json
import math
import re

import pypandoc
import pytest
from results_on_disk import leave

from cifar_study import report
from cifar_study.report import facts, numbers
from cifar_study.runs import VARIABLE

COMPLETE = {0: [0.30, 0.50, 0.60], 1: [0.20, 0.60, 0.62], 2: [0.10, 0.70, 0.70]}
GPU = {"processor": "NVIDIA H200", "device": "cuda"}


@pytest.fixture
def three(folder):
    """Stage 4 from three seeds with three epochs each."""
    for seed, accuracies in COMPLETE.items():
        leave(folder, 4, seed, accuracies, epochs=3)
    return facts.stage(4)


def test_numbers_are_means_over_the_seeds_at_the_end(three):
    # (0.60 + 0.62 + 0.70) / 3, at the end and at best: the third seed is at its best in epoch 2.
    assert str(three.test_accuracy) == str(three.best_accuracy) == "64.0%"
    assert (str(three.train_accuracy), str(three.running_accuracy)) == ("74.0%", "44.0%")
    assert (str(three.gap), str(three.test_loss)) == ("10.0 points", "1.360")
    assert three.ends == "60.0%, 62.0% and 70.0%"
    assert three.epochs == "3 epochs"
    assert str(three.accuracy_at(1)) == "20.0%"
    assert math.isnan(three.accuracy_at(4))
    assert str(three.lowest_loss_epoch) == "3"  # of 3, 3 and 2: losses are 2 less the accuracy
    assert three.first_epoch_above(0.55) == "epochs 2 to 3"
    assert three.first_epoch_above(0.1) == "epoch 1"
    assert three.first_epoch_above(0.65) == "epoch –"  # one seed of three alone
    assert three.first.run.seed == 0


def test_intervals_are_over_seeds_or_else_over_the_pictures_of_the_one_there_is(three, folder):
    # 4.3027 · √(0.0056 / 2) / √3 = 0.131, as Student's tables have it.
    assert three.half_width("test_accuracy").bare == "13.1"
    assert three.half_width("gap").bare == "0.0"
    leave(folder, 1, 0, [0.67], pictures=500, right=range(335), limit=64, epochs=1)
    assert facts.stage(1).half_width("test_accuracy").bare == "4.1"  # 1.96 · √(0.67 · 0.33 / 500)
    assert math.isnan(facts.stage(1).half_width("gap"))
    for seed in (1, 2):  # the pictures are those of one seed, not of all three
        leave(folder, 1, seed, [0.67], pictures=500, right=range(335), limit=64, epochs=1)
    assert str(facts.sampling_error(1)) == "4.1 points"


ALIKE = "the two cannot be told apart"


@pytest.mark.parametrize(
    ("gains", "mean", "interval"),
    [
        # t of 2 degrees: 4.3027 · 0.01 / √3 = 0.0248, once beside 0.05 and once beside 0.02.
        ([0.04, 0.05, 0.06], "5.0", "2.5 to 7.5 points, 3 pairs of seeds"),
        ([0.01, 0.02, 0.03], "2.0", f"−0.5 to 4.5 points, 3 pairs of seeds: {ALIKE}"),
        # Of 1 degree: 12.706 · 0.00707 / √2 = 0.0635.
        ([0.05, 0.06], "5.5", "−0.9 to 11.9 points, 2 pairs of seeds, too few to tell them apart"),
    ],
)
def test_a_difference_rests_on_pairs_of_seeds(folder, gains, mean, interval):
    for seed, gain in enumerate(gains):
        leave(folder, 4, seed, [0.5], epochs=1)
        leave(folder, 5, seed, [0.5 + gain], epochs=1)
    leave(folder, 5, 7, [0.9], epochs=1)  # has no counterpart
    assert facts.stage(5) - facts.stage(4) == f"{mean} points (95% interval {interval})"


def test_with_one_seed_each_a_difference_rests_on_the_test_pictures(folder):
    # Of 20 pictures both are right about 0–9, one alone about 10–15, the other alone about 16, 17.
    leave(folder, 4, 0, [0.6], pictures=20, right=[*range(10), 16, 17], epochs=1)
    leave(folder, 5, 0, [0.8], pictures=20, right=range(16), epochs=1)
    # Mean 4 / 20; variance 8 / 20 − 0.2² = 0.36: 1.96 · 0.6 / √20 = 0.263.
    difference = facts.stage(5) - facts.stage(4)
    interval = "−6.3 to 46.3 points, of the test pictures alone, one seed each"
    assert difference == f"20.0 points (95% interval {interval}: {ALIKE})"
    leave(folder, 6, 3, [0.8], pictures=20, right=range(16), epochs=1)  # of another seed
    assert facts.stage(6) - facts.stage(4) == difference
    leave(folder, 7, 0, [0.8], pictures=30, epochs=1)  # of other pictures
    assert facts.stage(7) - facts.stage(4) == facts.stage(8) - facts.stage(4) == "–"


def test_without_a_result_all_is_a_dash(folder):
    nothing = facts.stage(4)
    for name in ("test_accuracy", "gap", "best_accuracy", "lowest_loss_epoch", "ends"):
        assert str(getattr(nothing, name)) == "–", name
    assert nothing.first_epoch_above(0.5) == "epoch –"
    assert str(nothing.half_width("test_accuracy")) == str(nothing.accuracy_at(1)) == "–"
    assert str(facts.sampling_error(4)) == "–"
    assert str(facts.points_gained(4, 3)) == str(nothing.epoch_seconds) == "–"
    assert (nothing.first, nothing.epochs) == (None, "0 of 150 epochs")
    assert facts.epoch_line(4, 3) == "How long an epoch takes is not measured yet."
    assert facts.fingerprints() == "–"


def test_runs_of_one_kind_count(folder):
    def counted():
        return [result.run.seed for result in facts.stage(4).results]

    leave(folder, 4, 0, [0.1], epochs=3)
    leave(folder, 4, 1, [0.1, 0.2], epochs=3)
    assert counted() == [1]  # the one that got furthest
    assert facts.stage(4).epochs == "2 of 3 epochs"
    leave(folder, 4, 2, [0.1, 0.2, 0.3], epochs=3, precision="bfloat16")
    assert counted() == [2]  # the complete one
    for seed in (3, 4):
        leave(folder, 4, seed, [0.1, 0.2, 0.3], epochs=3)
    assert counted() == [3, 4]  # of the most common precision
    leave(folder, 4, 5, [0.1, 0.2, 0.3], epochs=3, limit=64)
    leave(folder, 4, 6, [0.1, 0.2, 0.3, 0.4], epochs=4)
    assert counted() == [3, 4]  # of as many pictures and epochs


def test_a_damaged_run_is_left_out_and_named(three, folder):
    assert facts.stage(4) is three  # read once, until a file changes
    history = folder / "stage-4" / "seed-0" / "history.csv"
    history.write_text(history.read_text().replace(",", ";"))  # as a spreadsheet may save it
    [line] = facts.stage(4).damage
    assert line.startswith(f"{history}: can't be read (Usecols do not match columns, ")
    assert facts.stage(4).ends == "62.0% and 70.0%"
    with pytest.warns(UserWarning, match=f"^left out: {re.escape(line)}"):
        assert report.results().seed.tolist() == [1, 2]


def test_results_elsewhere_are_not_the_studys(folder, monkeypatch):
    assert facts.other_results()
    for name in ("", "cache"):
        monkeypatch.setenv(VARIABLE, name)
        assert not facts.other_results()


def test_words_are_counted(folder):
    assert facts.seeds(4, 5) == "no seeds"
    for seed in range(3):
        leave(folder, 4, seed, [0.5], epochs=1)
    assert facts.seeds(4, 5) == "three seeds"
    leave(folder, 5, 0, [0.514], epochs=1)
    assert (facts.seeds(4, 5), facts.seeds(5)) == ("one to three seeds", "one seed")
    assert facts.points_gained(5, 4).bare == "1"
    # 9·3·20 + 20 + 9·20·20 + 20 + 4·4·20·10 + 10 and 9·3·5 + 5 + 9·5·5 + 5 + 4·4·5·10 + 10.
    assert facts.ratio("parameters", 2, 1) == pytest.approx(7390 / 1180)
    assert str(facts.ratio("macs", 2, 1)) == "11.5 times"


def test_times_are_of_runs_that_had_one_machine_to_themselves(folder):
    leave(folder, 1, 0, [0.1] * 3, epochs=3, seconds=10)
    leave(folder, 2, 0, [0.1] * 3, epochs=3, seconds=34)
    leave(folder, 4, 0, [0.1] * 3, epochs=3, seconds=9, sessions=[GPU])
    leave(folder, 5, 0, [0.1] * 3, epochs=3, seconds=99, sessions=[{"side_by_side": 16}])
    assert facts.epoch_line(1) == "An epoch takes 10 s on one core of an AMD EPYC."
    assert facts.epoch_line(2, 1).endswith(", 3.4 times as long as in stage 1.")
    assert facts.epoch_line(4, 1) == "How long an epoch takes is not measured yet."
    assert str(facts.stage(5).epoch_seconds) == str(facts.ratio("epoch_seconds", 4, 1)) == "–"
    leave(folder, 1, 0, [0.1] * 3, epochs=3, seconds=10, sessions=[GPU])
    assert facts.epoch_line(1) == "An epoch takes 10 s on an NVIDIA H200."  # which has no cores


def test_the_studys_times_are_those_measured_by_themselves(folder, monkeypatch):
    path = folder / "epoch-times.json"
    monkeypatch.setattr(facts, "EPOCH_TIMES", path)
    leave(folder, 1, 0, [0.1] * 150, seconds=10)
    measured = {"machine": "AMD EPYC, 2 cores", "threads": 1, "precision": "bfloat16", "torch": "9"}
    measured["seconds"] = {"1": [14, 13, 15], "2": [47.6, 47, 48]}
    path.write_text(json.dumps(measured))
    assert str(facts.stage(1).epoch_seconds) == "10 s"  # another folder's results are shown
    monkeypatch.setattr(facts, "other_results", lambda: False)
    line = "An epoch takes 48 s on one core of an AMD EPYC, 3.4 times as long as in stage 1."
    assert facts.epoch_line(2, 1) == line


# --- as frames, for notebooks ---------------------------------------------------------------------


def test_frames_have_a_row_for_each_epoch_and_split_and_for_each_run(folder):
    leave(folder, 1, 0, [0.2], epochs=2, pictures=30)
    leave(folder, 4, 0, [0.3, 0.5], epochs=2, pictures=50)
    leave(folder, 4, 7, [0.4, 0.6], epochs=2, pictures=50, seconds=9.0)
    frame = report.histories()
    assert len(frame) == 3 * (1 + 2 + 2)
    [row] = frame.query("stage == 4 and seed == 7 and epoch == 2 and split == 'train'").itertuples()
    # As `leave` has it: 0.1 above the test, and a loss of 1 less the test's accuracy.
    assert (row.accuracy, row.loss) == pytest.approx((0.7, 0.4))
    assert (row.title, row.precision, row.state) == ("two blocks, ReLU", "float32", "complete")
    assert frame.query("stage == 1").state.unique().tolist() == ["at 1/2"]
    frame = report.results().set_index(["stage", "seed"])
    assert frame.index.tolist() == [(1, 0), (4, 0), (4, 7)]
    row = frame.loc[4, 7]
    assert (row.test_accuracy, row.gap) == pytest.approx((0.6, 0.1))
    assert (row.epochs, row.seconds) == (2, 9.0)
    assert row.machine == "AMD EPYC, 2 cores, 1 thread, float32, PyTorch 9"
    # (9·3·20 + 20) + (9·20·20 + 20) + (9·20·40 + 40) + (9·40·40 + 40) + (8·8·40·10 + 10)
    assert row.parameters == 560 + 3_620 + 7_240 + 14_440 + 25_610


def test_an_empty_folder_gives_empty_frames_with_the_same_columns(folder):
    empty = report.histories(), report.results()
    leave(folder, 1, 0, [0.2], epochs=2)
    for frame, filled in zip(empty, (report.histories(), report.results()), strict=True):
        assert (len(frame), frame.columns.tolist()) == (0, filled.columns.tolist())


# --- how they print, and intervals ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "text", "bare"),
    [
        ("Number", 464_750, "464,750", "464,750"),
        ("Percent", 0.7344, "73.4%", "73.4"),
        ("Points", -0.0079, "−0.8 points", "−0.8"),
        ("Points", -0.0001, "0.0 points", "0.0"),
        ("Loss", 0.67249, "0.672", "0.672"),
        ("Millions", 369_440, "0.37 million", "0.37"),
        ("Millions", 20_786_944, "20.8 million", "20.8"),
        ("Times", 6.34, "6.3 times", "6.3"),
        ("Times", 40.2, "40 times", "40"),
        ("Seconds", 7.36, "7.4 s", "7.4"),
        ("Seconds", 93.4, "93 s", "93"),
    ],
)
def test_a_number_prints_in_its_unit_or_without(kind, value, text, bare):
    number, missing = (getattr(numbers, kind)(each) for each in (value, math.nan))
    assert (str(number), number.bare, number._repr_markdown_()) == (text, bare, text)
    assert str(missing) == missing.bare == "–"


def test_the_interval_of_a_mean_is_students():
    # Deviations −0.04, −0.02, 0.06: variance 0.0056 / 2; t of 2 degrees is 4.3027 in the tables.
    by_hand = 4.3027 * (0.0056 / 2) ** 0.5 / 3**0.5
    assert numbers.half_width([0.60, 0.62, 0.70]) == pytest.approx(by_hand, rel=1e-4)
    by_hand = 1.9842 * (25 / 99) ** 0.5 / 10  # of 99 degrees
    assert numbers.half_width([0.0, 1.0] * 50) == pytest.approx(by_hand, rel=1e-4)
    assert math.isnan(numbers.half_width([0.5]))
    assert math.isnan(numbers.half_width([]))


def test_the_interval_of_a_share_is_of_as_many_pictures_as_were_counted():
    # 1.96 · √(0.67 · 0.33 / 500), and a square root of twenty less with twenty times the pictures.
    assert numbers.wilson_half_width(0.67, 500) == pytest.approx(0.0412, abs=1e-3)
    assert numbers.wilson_half_width(0.67, 10_000) == pytest.approx(0.0412 / 20**0.5, abs=1e-4)
    # Of few: for 1 of 2 1.96 · √(0.25 / 2 + 0.49²) / (1 + 3.8416 / 2).
    assert numbers.wilson_half_width(0.5, 2) == pytest.approx(0.4055, abs=1e-4)


TYPED = [
    "a|b and `c` and $x$ and @key",
    "<b>bold</b> <script>alert(1)</script> &amp; & &lt;",
    "[a](b) ![a](b) *c* _d_ ~~e~~ x^2^ H~2~O \\ {.class}",
    "--limit 64 … 1... 'x' \"y\" 2---3 🐸",
    *("{{< include x >}}", "# no heading", "- no list", "+ no list", "::: no division"),
]


def test_other_peoples_text_comes_out_of_markdown_as_it_was_typed():
    paragraphs = [numbers.escaped(text) for text in TYPED]
    table = "| text |\n|---|\n" + "".join(f"| {text} |\n" for text in paragraphs)
    markdown = "\n\n".join([*paragraphs, table])
    page = pypandoc.convert_text(markdown, "html", "markdown+smart", extra_args=["--wrap=none"])
    for kind in ("p", "td"):
        assert [html.unescape(each) for each in re.findall(f"<{kind}>(.*)</{kind}>", page)] == TYPED
