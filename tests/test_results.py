"""The committed results: complete, current, and what the saved networks and answers say again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cifar_study import cache, predict
from cifar_study import data as datasets
from cifar_study.pictures import SHOWN
from cifar_study.runs import Run
from cifar_study.stages import CLASSES, PEERS, STAGES

PROJECT = Path(__file__).parent.parent
# The test set is in the order of its labels, a thousand pictures a class.
LABELS = np.repeat(np.arange(10), 1000)
ALL = STAGES | PEERS
CAT = CLASSES.index("cat")


@pytest.fixture(params=ALL.values(), ids=lambda stage: f"stage {stage.number}")
def stand(request: pytest.FixtureRequest) -> cache.Status:
    run = Run(request.param, root=PROJECT / "cache")
    return cache.status(run, datasets.FINGERPRINT)


def test_is_complete_and_current(stand: cache.Status) -> None:
    assert stand.state == "complete", stand.text
    assert len(stand.result.history) == stand.run.stage.recipe.epochs


def test_counts_the_parameters_of_its_network(stand: cache.Status) -> None:
    trained = predict.fresh_network(stand.run).parameters()
    assert stand.result.record["parameters"] == sum(values.numel() for values in trained)


def test_answers_give_the_last_accuracy(stand: cache.Status) -> None:
    answers = stand.result.probabilities()
    assert answers.shape == (10_000, 10)
    assert np.allclose(answers.sum(1), 1, atol=1e-5)
    accuracy = float((answers.argmax(1) == LABELS).mean())
    assert accuracy == stand.result.history[-1].test_accuracy


def test_what_the_chapters_conclude_in_words() -> None:
    """Numbers in the prose follow the results by themselves; these words do not."""
    runs = {number: Run(stage, root=PROJECT / "cache") for number, stage in ALL.items()}
    histories = {number: cache.read_result(run.folder).history for number, run in runs.items()}
    last = {number: history[-1] for number, history in histories.items()}
    gap = {number: row.train_accuracy - row.test_accuracy for number, row in last.items()}
    test = {
        number: np.array([row.test_accuracy for row in history])
        for number, history in histories.items()
    }
    end = {number: curve[-1] for number, curve in test.items()}
    assert gap[1] < 0.01  # question 6: too small to learn by heart
    for number in (1, 2):  # 6 and 8: not at their end
        assert test[number][-10:].mean() > test[number][-20:-10].mean()
    assert end[3] < 0.11  # 9: at the level of chance
    assert last[5].test_loss > 2.5  # far out of the chart
    least = min(histories[5], key=lambda row: row.test_loss)
    assert end[5] > least.test_accuracy
    known = [row.train_accuracy == 1 for row in histories[5]]
    assert all(known[known.index(True) :])
    assert gap[5] > gap[4]  # 14: capacity alone
    assert test[5].max() < test[4].max()
    assert end[2] > end[1]
    assert end[6] > end[5]  # the same depth pays
    assert gap[7] < gap[6]
    assert end[7] > end[6]
    assert min(end[6], end[8]) > max(end[peer] for peer in PEERS)  # for scale


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
    surest = np.argmax(np.where(wrong, given.max(1), 0))  # 14: the frog that is labelled a cat
    assert CLASSES[given[surest].argmax()] == "frog"
    assert CLASSES[LABELS[surest]] == "cat"


def test_what_the_chapters_say_of_sizes() -> None:
    saved = {
        name: json.loads((PROJECT / "figures" / f"{name}.json").read_text("utf-8"))
        for name in ("photo", "sizes")
    }
    cats = [size for size, given in saved["photo"].items() if np.argmax(given) == CAT]
    assert cats == ["48×32", "64×43", "96×64"]  # question 13
    square = {int(width): share for width, share in saved["sizes"]["square"].items()}
    assert max(square, key=square.get) == 32
    larger = [share for width, share in square.items() if width >= 32]
    assert larger == sorted(larger, reverse=True)
    assert saved["sizes"]["flattened"]["32"] < square[32]


def answers(number: int) -> np.ndarray:
    return cache.read_result(Run(ALL[number], root=PROJECT / "cache").folder).probabilities()


@pytest.mark.real_data
@pytest.mark.long
def test_network_gives_the_answers_again(stand: cache.Status, real_folder: Path) -> None:
    data = datasets.load(str(real_folder))
    assert np.array_equal(data.test_labels, LABELS)
    model = predict.trained_network(stand.run)
    torch.set_num_threads(1)
    # Answers of bfloat16 have three digits; other hardware rounds their sums elsewhere.
    precision = getattr(torch, stand.result.record["sessions"][-1]["precision"])
    rough = precision != torch.float32
    with torch.autocast("cpu", precision, enabled=rough):
        parts = np.array_split(data.test_images, 20)
        answers = np.concatenate([predict.probabilities(model, part) for part in parts])
    difference = np.abs(answers - stand.result.probabilities())
    assert difference.max() < (0.3 if rough else 1e-3)
    assert difference.mean() < (0.003 if rough else 1e-5)
    accuracy = float((answers.argmax(1) == LABELS).mean())
    tolerance = 0.003 if rough else 0.0005
    assert accuracy == pytest.approx(stand.result.history[-1].test_accuracy, abs=tolerance)
