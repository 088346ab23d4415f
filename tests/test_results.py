"""The committed results: complete, current, and what the saved networks and answers say again."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from runs import BFLOAT16

from cifar_study import datasets
from cifar_study.cifar10 import CLASSES
from cifar_study.datasets.dataset import FINGERPRINT
from cifar_study.report import benchmark, comparison, growth, pictures, replicates, summary
from cifar_study.report import predictions as said
from cifar_study.report.pictures import SHOWN
from cifar_study.report.replicates import processor
from cifar_study.results import store
from cifar_study.results.run import Run
from cifar_study.results.speed import read_speeds
from cifar_study.results.status import Status, status
from cifar_study.stages import PEERS, STAGES
from cifar_study.training import predict

PROJECT = Path(__file__).parent.parent
# The test set is in the order of its labels, a thousand pictures a class.
LABELS = np.repeat(np.arange(10), 1000)
CACHE = PROJECT / "cache"
RUNS = [Run(stage, seed, root=CACHE) for stage in (STAGES | PEERS).values() for seed in (0, 1, 2)]


@pytest.fixture(params=RUNS, ids=lambda run: run.name)
def found(request: pytest.FixtureRequest) -> Status:
    return status(request.param)


def test_is_whole_and_of_these_pictures(found: Status) -> None:
    assert found.text == "complete"
    assert found.result.precision == "bfloat16"  # in every run, from its first epoch to its last
    assert len(found.result.history) == found.run.stage.recipe.epochs
    assert found.result.record["configuration"]["fingerprint"] == FINGERPRINT


def test_counts_the_parameters_of_its_network(found: Status) -> None:
    trained = predict.fresh_network(found.run).parameters()
    assert found.result.record["parameters"] == sum(values.numel() for values in trained)


def test_answers_give_the_last_accuracy(found: Status) -> None:
    answers, labels = found.result.predictions()
    assert answers.shape == (10_000, 10)
    assert np.array_equal(labels, LABELS)
    assert np.allclose(answers.sum(1), 1, atol=2e-3)  # stored with eleven bits
    accuracy = float((answers.argmax(1) == LABELS).mean())
    assert accuracy == found.result.history["test_accuracy"].iloc[-1]


def test_what_the_chapters_conclude_in_words() -> None:
    """Numbers in the prose follow the results by themselves; these words do not."""
    samples = {number: replicates.replicates(number) for number in STAGES | PEERS}
    history = {number: one.history for number, one in samples.items()}
    end = {number: one.final("test_accuracy").mean() for number, one in samples.items()}
    gap = {number: one.final("gap").mean() for number, one in samples.items()}
    assert gap[1] < 0.01  # question 6: too small to learn by heart
    for number in (1, 2):  # 6 and 8: not at their end
        curve = history[number]["test_accuracy"]
        assert curve[-10:].mean() > curve[-20:-10].mean()
    times = comparison.epoch_times((1, 2)).seconds
    long = comparison.epoch_times((7, 8)).seconds
    assert long[8] == pytest.approx(long[7], rel=0.05)  # 12: about as long
    assert 1 < times[2] / times[1] < 7390 / 1180  # 8: less than parameters and arithmetic
    assert end[3] < 0.11  # 9: at the level of chance
    for seed in range(3):  # each has one favourite, and another one
        assert len(np.unique(answers(3, seed).argmax(1))) == 1
    assert len({answers(3, seed)[0].argmax() for seed in range(3)}) == 3
    longer = [curve["test_accuracy"] for curve in curves(10)]
    gained = [curve[-10:].mean() - curve[-20:-10].mean() for curve in longer]
    assert min(curve.iloc[-1] for curve in longer) > 0.3  # later it learns
    assert min(gained) > 0  # and has not stopped
    begun = [int((curve >= 0.2).argmax()) for curve in longer]
    assert begun.index(max(begun)) == gained.index(max(gained))  # the last to begin gains most
    for number in (1, 2):  # 6 and 8: slowly
        assert all(curve["test_loss"].argmin() > 145 for curve in curves(number))
    assert (history[4]["test_accuracy"][:10] > 0.5).any()  # "from the first epochs on"
    for curve in curves(4):  # by the loss it overfits, and is right most often later
        assert curve["test_loss"].argmin() < curve["test_accuracy"].argmax()
    least, last = history[4]["test_loss"].min(), history[4]["test_loss"].iloc[-1]
    assert last > 2 * least  # both get worse
    assert end[4] < history[4]["test_accuracy"].max() - 0.01
    losses = history[5]["test_loss"]
    assert losses.iloc[-1] > 2.5  # far out of the chart
    known = history[5]["running_accuracy"].ge(0.99999)
    assert known.any()
    memorised = known.idxmax()
    assert losses.iloc[-1] > losses[memorised] + 0.1  # still rising once all is known
    accuracies = history[5]["test_accuracy"]
    assert abs(accuracies.iloc[-1] - accuracies[memorised]) < 0.02  # and these hardly change
    assert accuracies.iloc[-1] >= accuracies[losses.idxmin()]  # not wrong more often
    assert history[6]["test_loss"].idxmin() < losses.idxmin()  # 10: learns by heart sooner
    assert end[7] < history[7]["running_accuracy"].iloc[-1]  # 11: a narrower gap with that
    assert history[7]["running_accuracy"].iloc[-1] < samples[7].final("train_accuracy").mean()
    assert gap[2] < 0.05  # 14: the larger of the minimal networks does not, either
    assert min(gap[4], gap[5]) > 0.2  # 14: both learn by heart
    assert "cannot be told apart" in summary.gain(5, 4)  # what two more blocks alone bring
    assert "cannot be told apart" in summary.gain(10, 1)
    for more, less in ((2, 1), (4, 2), (6, 5), (7, 5), (7, 6), (8, 5), (1, 9)):
        assert end[more] > end[less] + 0.05
        assert "cannot be told apart" not in summary.gain(more, less)
    assert max(abs(gap[11] - gap[number]) for number in (4, 5)) < 0.05  # 14: alike
    for run in RUNS:  # 14: what trained which
        if run.stage.number in STAGES:
            kind = "cuda" if run.seed or run.stage.number in (5, 6, 7) else "cpu"
            sessions = store.read_result(run.folder).record["sessions"]
            assert {session["device"] for session in sessions} == {kind}
    slow, quick = ([c["test_accuracy"] for c in curves(number)] for number in (7, 6))
    assert all(c[-10:].mean() - c[10:20].mean() > 0.05 for c in slow)  # 11: longer training pays
    assert abs(np.mean([c[-10:].mean() - c[10:20].mean() for c in quick])) < 0.01  # without: not
    for curve in curves(8):  # 12: levelled off on test pictures alone
        test, train = curve["test_accuracy"], curve["train_accuracy"]
        assert abs(test[-10:].mean() - test[-20:-10].mean()) < 0.002
        assert train[-10:].mean() - train[-20:-10].mean() > 0.002
    assert 0.05 < gap[7] < gap[6]  # 11: narrows the gap and does not close it
    assert end[7] == max(end.values())  # 14: the highest
    assert "cannot be told apart" in summary.gain(8, 7)
    ahead = samples[7].final("test_accuracy") - samples[8].final("test_accuracy")
    assert (ahead > 0).all()  # 12 and 14: with every seed
    error = {number: calibration_error(number) for number in STAGES}
    assert max(error[1], error[2], error[7], error[8]) < 0.1  # 14: calibration
    assert min(error[4], error[5]) > 0.2 > error[6] > 0.1
    assert min(float(said.stated(n)[:-1]) - 100 * end[n] for n in (7, 8)) > 1  # too sure as well
    widest = sorted(STAGES, key=gap.get)[-3:]
    assert widest == sorted(error, key=error.get)[-3:]


def test_what_the_chapters_say_of_values_and_gradients() -> None:
    spans = {
        (number, when): [high - low for low, _, high in layers.values()]
        for number in (5, 6)
        for when, layers in pictures.mechanism(number)["values"].items()
    }
    assert spans[5, "start"] == sorted(spans[5, "start"], reverse=True)  # each layer: smaller
    assert spans[5, "end"][-1] > 100 * spans[5, "start"][-1]
    for when in ("start", "end"):
        assert max(spans[6, when]) < 1.2 * min(spans[6, when])  # much the same in every layer
    sizes = pictures.mechanism(3)["gradients"]
    for when in ("start", "end"):
        assert list(sizes[when].values()) == sorted(sizes[when].values())
    relu = list(pictures.mechanism(4)["gradients"]["start"].values())
    assert max(relu) < 3 * min(relu)


def test_what_the_chapters_say_of_speed() -> None:
    found = {processor(one["machine"]): one for one in read_speeds(CACHE)}
    assert list(found) == ["AMD EPYC", "Intel Xeon"]  # the first and the second
    middle = {
        name: {
            int(number): {peer: np.median(values) for peer, values in entry["seconds"].items()}
            for number, entry in one["stages"].items()
            if len(entry["seconds"]) > 1
        }
        for name, one in found.items()
    }
    for number, epyc in middle["AMD EPYC"].items():
        xeon = middle["Intel Xeon"][number]
        assert epyc["engine"] / epyc["floor"] < xeon["engine"] / xeon["floor"]
        for peer in ("plain", "keras"):
            own, other = (
                min(one[peer], one[f"{peer}-jobs"]) / one["engine-jobs"] for one in (epyc, xeon)
            )
            assert (own < other) == (number != 1)
    shown = pd.concat(benchmark.ratios(one) for one in found.values()).set_index("stage")
    floor, plain, keras = (shown.filter(like=name) for name in ("floor", "plain loop ÷", "Keras"))
    reached = [
        set(shown.index[column.map(lambda cell: cell.startswith("**")).squeeze()])
        for column in (floor, keras, plain)
    ]
    assert not reached[0]  # no stage, on either
    xeon = [f"{number}, Intel Xeon" for number in (2, 4, 5, 6, 7, 8)]
    assert reached[1] == set(xeon)  # but for the smallest network
    assert set(shown.index) - reached[2] == {f"{number}, AMD EPYC" for number in (6, 7, 8)}
    for stages in middle.values():  # batch normalisation is most of what is added, not all
        added = {n: stages[n]["engine"] / stages[n]["convolutions"] - 1 for n in (5, 6)}
        assert 0.1 < added[5] < added[6] / 2
    for stages in middle.values():
        assert all(stages[n]["engine"] > 1.1 * stages[n]["convolutions"] for n in (1, 2, 4))
        for times in stages.values():  # little more than half with two side by side
            assert 0.45 < times["engine-jobs"] / times["engine"] < 0.6
    first = found["AMD EPYC"]
    for times in first["scaling"]["sizes"].values():  # nearly in proportion
        assert np.median(times["12800"]) / np.median(times["1600"]) == pytest.approx(8, rel=0.1)
    macs = {number: first["stages"][number]["macs"] for number in ("1", "8")}
    seconds = {number: middle["AMD EPYC"][int(number)]["engine"] for number in macs}
    assert seconds["8"] / seconds["1"] < macs["8"] / macs["1"]


def curves(number: int) -> list[pd.DataFrame]:
    """The history of each seed."""
    histories = replicates.replicates(number).histories
    return [history for _, history in histories.groupby("seed")]


def calibration_error(number: int) -> float:
    """By its definition, one bin after the other, over the pictures of all seeds."""
    given = np.concatenate([answers(number, seed) for seed in (0, 1, 2)])
    right = given.argmax(1) == np.tile(LABELS, len(given) // len(LABELS))
    edges = np.linspace(0, 1, 16)
    error = 0.0
    for low, high in itertools.pairwise(edges):
        chosen = (given.max(1) >= low) & ((given.max(1) < high) | (high == 1))
        if chosen.any():
            distance = abs(given[chosen].max(1).mean() - right[chosen].mean())
            error += chosen.mean() * distance
    return error


def test_the_calibration_error_in_the_text_is_that_of_its_definition() -> None:
    for number in (1, 5, 8):
        assert said.calibration_error(number) == f"{100 * calibration_error(number):.1f} points"
    for number in (1, 2):  # right more often than they are sure
        assert answers(number).max(1).mean() < (answers(number).argmax(1) == LABELS).mean()


def test_what_the_chapters_say_of_single_pictures() -> None:
    shown = answers(1)[list(SHOWN)].argmax(1)
    expected = ("automobile", "automobile", "dog", "dog", "bird", "ship")  # question 7
    assert [CLASSES[guess] for guess in shown] == list(expected)
    given = answers(8)
    wrong = given.argmax(1) != LABELS
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (LABELS[wrong], given[wrong].argmax(1)), 1)
    most = [divmod(place, 10) for place in np.argsort(counts, axis=None)[-2:]]
    assert {CLASSES[truth] for truth, _ in most} == {CLASSES[guess] for _, guess in most}
    assert {CLASSES[truth] for truth, _ in most} == {"cat", "dog"}
    more = []  # which of the two is taken for the other more often depends on the seed
    for seed in range(3):
        guesses = answers(8, seed).argmax(1)
        counts = [(guesses[one == LABELS] == other).sum() for one, other in ((3, 5), (5, 3))]
        more.append(counts[0] > counts[1])
    assert len(set(more)) == 2
    surest = np.argsort(np.where(wrong, -given.max(1), 0))[:12]  # 14: a frog is labelled a cat
    assert ("frog", "cat") in {(CLASSES[given[n].argmax()], CLASSES[LABELS[n]]) for n in surest}


def test_what_the_chapters_say_of_shapes_and_sizes() -> None:
    counted = pictures.shape_counts()
    share = {shape: entry["right"] / entry["pictures"] for shape, entry in counted.items()}
    square = share["32×32 as they are"]
    assert all(square - 0.05 < value < square for value in share.values() if value != square)
    widths = pictures.size_accuracies()
    assert max(widths["square"], key=widths["square"].get) == 32
    best = sorted(widths["flattened"], key=widths["flattened"].get)[-2:]
    assert best == [40, 36]  # close behind: within the interval of 2,000 pictures
    assert abs(widths["flattened"][36] - widths["flattened"][40]) < 0.018
    assert widths["flattened"][48] > widths["square"][48]
    for side in (20, 32):  # an odd height lost a row
        assert widths["padded"][side] > widths["flattened"][side] + 0.02
    assert widths["padded"][36] < widths["flattened"][36] + 0.01
    assert widths["enlarged"][24] < widths["square"][24]  # blurred
    photos = pictures.photos()
    by_kind = photos.right.groupby(photos.kind).mean()
    assert by_kind["cut-out"] > 0.9  # nearly always
    assert by_kind["scene"] == pytest.approx(1 / 3, abs=0.05)
    assert set(photos["class"][photos.kind == "scene"]) <= set(said.ANIMALS)
    assert photos["class"][photos.kind == "cut-out"].isin(said.ANIMALS).mean() < 0.5
    assert widths["padded"][64] < widths["flattened"][64]
    scenes = photos[photos.kind == "scene"]
    names = [CLASSES[int(np.argmax(given))] for given in scenes.squeezed]
    squeezed = comparison.share_interval(int((scenes["class"] == names).sum()), len(scenes))
    kept = comparison.share_interval(int(scenes.right.sum()), len(scenes))
    assert squeezed[0] < kept[1]  # the intervals overlap
    assert squeezed[1] < square  # harder than test pictures in a square as well


def answers(number: int, seed: int = 0) -> np.ndarray:
    """Those of seed 0 are what the pictures show."""
    return store.read_result(Run(STAGES[number], seed, root=CACHE).folder).predictions()[0]


@pytest.mark.real_data
@pytest.mark.long
def test_network_gives_the_answers_again(found: Status, real_data: datasets.Dataset) -> None:
    if found.run.seed and not (found.run.folder / store.MODEL).exists():
        pytest.skip("git keeps the network of seed 0")
    assert np.array_equal(real_data.test_labels, LABELS)
    model = predict.trained_network(found.run)
    torch.set_num_threads(1)
    # Answers of bfloat16 have three digits; other hardware rounds their sums elsewhere. A
    # processor that lacks bfloat16 would take an hour for them, and answers in float32.
    rough = found.result.record["sessions"][-1]["precision"] == "bfloat16"
    with torch.autocast("cpu", torch.bfloat16, enabled=rough and BFLOAT16):
        parts = np.array_split(real_data.test_images, 20)
        answers = np.concatenate([predict.probabilities(model, part) for part in parts])
    difference = np.abs(answers - found.result.predictions()[0])
    assert difference.max() < (0.3 if rough else 1e-3)
    assert difference.mean() < (0.003 if rough else 1e-5)
    accuracy = float((answers.argmax(1) == LABELS).mean())
    tolerance = 0.003 if rough else 0.0005
    assert accuracy == pytest.approx(found.result.history["test_accuracy"].iloc[-1], abs=tolerance)


def test_four_blocks_know_their_training_pictures_by_heart() -> None:
    assert "100.0% of its training pictures" in growth.notice(5, 4)
