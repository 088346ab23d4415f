"""What is measured inside the networks, and what the report says of it."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT
from torch import nn

from cifar_study import datasets, illustrations
from cifar_study.report import convolution, mechanisms, pictures, study
from cifar_study.results.run import Run
from cifar_study.results.store import HISTORY, read_result
from cifar_study.stages import Block, Network, get_stage
from cifar_study.training import mechanisms as measured
from cifar_study.training.model import Rescale, build_model

STAGES_MEASURED = (1, 3, 4, 5, 6, 7)


def test_every_measurement_is_of_the_result_it_is_shown_with() -> None:
    for number in STAGES_MEASURED:
        run = Run(get_stage(number), root=PROJECT / "cache")
        of = read_result(run.folder).record["files"][HISTORY]
        assert json.loads((PROJECT / f"figures/mechanism-{number}.json").read_text())["of"] == of
        assert pictures.mechanism(number)
    assert set(measured.MEASURES) == set(STAGES_MEASURED)
    with pytest.raises(study.AbsentError):
        pictures.mechanism(2)


def test_a_stage_whose_measurement_is_of_another_run_is_drawn_again(tmp_path: Path) -> None:
    run = Run(get_stage(3), root=PROJECT / "cache")
    result = read_result(run.folder)
    for name in ("drawn.json", "mechanism-3.json"):
        (tmp_path / name).write_bytes((PROJECT / "figures" / name).read_bytes())
    assert illustrations._is_drawn(result, run, tmp_path)
    other = (PROJECT / "figures" / "mechanism-4.json").read_bytes()
    (tmp_path / "mechanism-3.json").write_bytes(other)
    assert not illustrations._is_drawn(result, run, tmp_path)
    (tmp_path / "mechanism-3.json").unlink()
    assert not illustrations._is_drawn(result, run, tmp_path)


def test_the_convolution_by_hand_is_that_of_the_network() -> None:
    found = pictures.mechanism(1)
    patch, weights = np.array(found["patch"]), np.array(found["weights"])
    for row, column in np.ndindex(2, 2):
        total = found["bias"]
        for channel in range(3):
            for down in range(3):
                for right in range(3):
                    pixel = patch[channel][row + down][column + right]
                    total += pixel * weights[channel][down][right]
        assert total == pytest.approx(found["outputs"][row][column], abs=1e-4)
    said, exact = (
        float(text.replace("\N{MINUS SIGN}", "-"))
        for text in (convolution.output_by_hand(), convolution.output_of_network())
    )
    assert said == pytest.approx(exact, abs=27 * 0.01)  # each factor is rounded by 0.005 at most


def test_every_factor_and_sum_is_written() -> None:
    texts = [
        text.get_text().replace("\N{MINUS SIGN}", "-")
        for text in convolution.worked_convolution().figure.axes[0].texts
    ]
    numbers = [float(text) for text in texts if text.replace("-", "").replace(".", "").isdigit()]
    assert len(numbers) == 3 * (16 + 9)
    sums = [float(text.split("→")[1]) for text in texts if "→" in text]
    for channel, total in enumerate(sums):
        table = numbers[25 * channel : 25 * channel + 25]
        patch, weights = np.reshape(table[:16], (4, 4)), np.reshape(table[16:], (3, 3))
        assert (patch[:3, :3] * weights).sum() == pytest.approx(total, abs=5e-5)


def test_gradient_of_a_linear_network_is_the_one_of_the_textbook() -> None:
    """Of softmax regression: the mean of (probability - truth) times pixel."""
    data = datasets.synthetic(train=40, test=10)
    model = build_model(Network(blocks=()))
    sizes = measured.gradient_sizes(model, data, batch_size=8, batches=1)
    chosen = np.random.RandomState(0).choice(40, 8, replace=False)
    pixels = data.train_images[chosen].transpose(0, 3, 1, 2).reshape(8, -1) / 255
    weights, bias = (model.dense.weight.detach().numpy(), model.dense.bias.detach().numpy())
    scores = np.exp(pixels @ weights.T + bias)
    given = scores / scores.sum(1, keepdims=True)
    given[np.arange(8), data.train_labels[chosen]] -= 1
    gradient = given.T @ pixels / 8
    assert sizes == {"dense": pytest.approx(np.sqrt((gradient**2).mean()), rel=1e-4)}


def test_percentiles_are_of_what_reaches_the_activation() -> None:
    layers = OrderedDict(rescale=Rescale(), block1=nn.Sequential(OrderedDict(act1=nn.ReLU())))
    # 0 to 100 in the first channel and nowhere else: of 303 values, the 5th percentile is 0.
    image = np.zeros((1, 101, 1, 3), dtype=np.uint8)
    image[0, :, 0, 0] = np.arange(101)
    low, middle, high = measured.activation_inputs(nn.Sequential(layers), image)["block1.conv1"]
    assert (low, middle) == (0, 0)
    # The value at place 0.95 * 302 = 286.9 of the sorted ones, of which 203 are zeros.
    assert high == pytest.approx((286.9 - 203 + 1) / 255, abs=1e-4)


def test_a_mask_of_dropout_zeroes_and_scales_and_nothing_else() -> None:
    model = build_model(Network(blocks=(Block(4, dropout=0.5),))).eval()
    image = datasets.synthetic(train=10, test=10).test_images[:1]
    [plain], [nothing] = measured.block_outputs(model, image)
    [thin], [gone] = measured.block_outputs(model, image, seed=0)
    assert plain.shape == (4, 16, 16)
    assert not nothing.any()
    assert 0.4 < gone.mean() < 0.6
    assert (thin[gone] == 0).all()
    assert np.allclose(thin[~gone], 2 * plain[~gone])
    with torch.inference_mode():
        batch = torch.from_numpy(image.copy()).permute(0, 3, 1, 2)
        assert np.allclose(model[:2](batch)[0].numpy(), plain)


def test_kept_maps_have_the_size_of_their_block() -> None:
    found = pictures.mechanism(7)
    assert [block["side"] for block in found["blocks"]] == [16, 8, 4, 2]
    assert [block["of"] for block in found["blocks"]] == [20, 40, 80, 160]
    for block, rate in zip(found["blocks"], (0.1, 0.2, 0.3, 0.4), strict=True):
        assert block["dropped"] == pytest.approx(rate, abs=0.05)
        for whole, thin in zip(block["maps"], block["thinned"], strict=True):
            values, struck = np.frombuffer(bytes.fromhex(whole), np.uint8), bytes.fromhex(thin)
            assert len(values) == len(struck) == block["side"] ** 2
            assert values.max() < measured.DROPPED == mechanisms.MASKED


def test_score_counts_pictures_and_takes_the_mean_loss() -> None:
    model = build_model(Network(blocks=()))
    with torch.no_grad():
        model.dense.weight.zero_()
        model.dense.bias[3] = np.log(9)  # nine eighteenths for class 3, one for each other
    images = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    found = measured.score(model, images, np.array([3, 3, 3, 0]))
    assert found["accuracy"] == 0.75
    assert found["loss"] == pytest.approx((3 * np.log(2) + np.log(18)) / 4, rel=1e-5)


def test_the_text_says_what_the_stored_probabilities_say() -> None:
    given, _ = read_result(Run(get_stage(3), root=PROJECT / "cache").folder).predictions()
    names = [illustrations.CLASSES[row.argmax()] for row in given]
    most = max(set(names), key=names.count)
    assert mechanisms.most_named(3) == f"{most}, for {names.count(most):,} of 10,000 pictures"
    widest = max(float(column.max() - column.min()) for column in given.T)
    assert float(mechanisms.widest_range(3).split()[0]) == pytest.approx(100 * widest, abs=0.06)


def test_nothing_measured_is_a_note_or_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "figures", lambda: tmp_path)
    assert "not drawn" in mechanisms.feature_maps(7).data.lower()
    assert "not drawn" in mechanisms.gradients(3, 4).data.lower()
    assert "not drawn" in mechanisms.activations(5, 6).data.lower()
    assert "not drawn" in convolution.worked_convolution(1).data.lower()
    for text in (
        mechanisms.gradient_span(3),
        mechanisms.activation_range(5, "end", "block4.conv2"),
        mechanisms.share_dropped(7),
        mechanisms.untrained_loss(1),
        convolution.output_by_hand(1),
    ):
        assert text == "–"
