"""The committed results: whole, and what the chapters conclude from them in words."""

import numpy as np
import pytest
import torch
from conftest import PROJECT

from cifar_study.report import facts
from cifar_study.report import predictions as said
from cifar_study.report.facts import stage
from cifar_study.runs import Run, read, runs_in
from cifar_study.stages import CLASSES, PEERS, STAGES
from cifar_study.training import measure

CACHE = PROJECT / "cache"
NUMBERS = [*STAGES, *PEERS]
RUNS = runs_in(CACHE)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.number}-{run.seed}")
def test_is_whole_and_its_probabilities_give_its_accuracy(run):
    result = read(run)
    assert result.state == "complete"
    precision = result.record["configuration"]["precision"]
    assert {session["precision"] for session in result.record["sessions"]} == {precision}
    probabilities, labels = result.predictions()
    assert np.array_equal(labels, np.repeat(np.arange(10), 1000))
    assert np.allclose(probabilities.sum(1), 1, atol=2e-3)  # stored with eleven bits
    accuracy = (probabilities.argmax(1) == labels).mean()
    assert accuracy == result.history["test_accuracy"].iloc[-1]


@pytest.mark.real_data
@pytest.mark.long
@pytest.mark.parametrize("number", NUMBERS)
def test_saved_network_gives_its_answers_again(number, real_data):
    run, chosen = Run(number, 0, root=CACHE), slice(0, None, 20)
    torch.set_num_threads(1)
    trained_in = read(run).record["configuration"]["precision"]
    with torch.autocast("cpu", torch.bfloat16, enabled=trained_in == "bfloat16"):
        model = measure.trained_network(run)
        probabilities = measure.probabilities(model, real_data.test_images[chosen])
    difference = np.abs(probabilities - read(run).predictions()[0][chosen])
    assert difference.mean() < 0.003  # other hardware rounds sums of bfloat16 elsewhere
    assert difference.max() < 0.3


# Numbers in the prose follow the results by themselves; these words do not.


def curve(number, column="test_accuracy"):
    return stage(number).histories.groupby("epoch")[column].mean().to_numpy()


def test_which_stages_can_be_told_apart():
    pairs = ((2, 1), (10, 2), (4, 10), (5, 4), (6, 5), (7, 6), (8, 7), (1, 9))
    alike = {pair for pair in pairs if "told apart" in str(stage(pair[0]) - stage(pair[1]))}
    assert alike == {(10, 2), (4, 10), (5, 4), (8, 7)}
    ends = {number: stage(number).final("test_accuracy") for number in (2, 4, 7, 8, 10)}
    assert all(ends[4] > ends[10])  # 9 and 14: with every seed
    assert all(ends[10] < min(ends[2]))  # 9: one block reached more
    assert all(ends[8] < ends[7])  # 12: a little behind with every seed
    best = [stage(n).histories.groupby("seed").test_accuracy.max() for n in (4, 5)]
    assert all(best[0] > best[1])  # 9: two blocks, with every seed
    order = [facts.points_gained(*pair) for pair in ((4, 10), (7, 6), (6, 5))]
    assert order == sorted(order, reverse=True)  # 14
    frames = [stage(number).histories.query("epoch == 50") for number in (5, 12, 6)]
    plain, he, normed = (frame.set_index("seed").test_accuracy for frame in frames)
    assert all(plain < he)  # 10: the start alone brings a part, with every seed
    assert all(he < normed)


def test_what_the_curves_do():
    for number in (1, 2):  # 6 and 8: no gap, still climbing
        assert stage(number).gap < 0.01
        assert curve(number)[-10:].mean() > curve(number)[-20:-10].mean()
    losses = curve(1, "test_loss")
    assert losses[:10].min() > 2.25 > 2.1 > losses[20]  # some ten epochs, then it falls
    assert abs(stage(3).test_loss - facts.CHANCE_LOSS) < 0.005  # 9
    assert (said.guesses(3).groupby("seed").guess.nunique() == 1).all()
    lowest = [stage(number).lowest_loss_epoch for number in (4, 5, 6)]
    assert lowest == sorted(lowest, reverse=True)  # 9 and 10: sooner
    assert min(stage(5).train_accuracy, stage(6).train_accuracy) > 0.999
    after = curve(6, "test_loss").argmin()  # 10: the loss rises, the accuracy does not fall
    assert curve(6, "test_loss")[-1] > 1.3 * curve(6, "test_loss")[after]
    assert curve(6)[-1] > curve(6)[after]
    assert abs(curve(6)[-10:].mean() - curve(6)[20:30].mean()) < 0.01  # 11: stops improving
    assert curve(7)[0] < curve(6)[0]  # 11: slow at first
    assert stage(7).test_loss - stage(7).histories.groupby("seed").test_loss.min().mean() < 0.05
    assert 0.5 < stage(7).gap / stage(6).gap < 0.6  # nearly half
    assert 0 < curve(8)[-10:].mean() - curve(8)[-20:-10].mean() < 0.002  # 12: creeps up
    assert curve(8, "test_loss")[-10:].mean() > curve(8, "test_loss")[-50:-40].mean()


def test_what_is_said_of_photos_and_predictions():
    photos = said.photos()
    assert set(photos["class"][photos.kind == "scene"]) <= set(said.ANIMALS)
    assert photos["class"][photos.kind == "cut-out"].isin(said.ANIMALS).mean() < 0.5
    shapes = ("28×32 scaled", "36×30 scaled", "32×28 cut", "28×32 cut")
    lost = [said.in_shape("32×32 as they are") - said.in_shape(shape) for shape in shapes]
    assert 0.01 < min(lost) < max(lost) < 0.035  # one to three points
    wrong = said.confusion(8).stack().drop([(name, name) for name in CLASSES])
    assert set(wrong.nlargest(2).index) == {("cat", "dog"), ("dog", "cat")}
    wrong = said.guesses(8).query("seed == 0 and not right").nlargest(12, "probability")
    assert (wrong.guess + wrong.truth == "frogcat").any()
    first = said.guesses(1).query("seed == 0 and not right")  # 7
    shown = first[first.picture.isin(facts.measured("pictures", 1)["places"])]
    assert {"airplaneautomobile", "catdog"} <= set(shown.truth + shown.guess)
    errors = [said.calibration_error(number) for number in (1, 8, 6, 5)]
    assert errors == sorted(errors)
