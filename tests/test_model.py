"""The built networks, held against the tables that are made without torch."""

import math

import pytest
import torch
from torch import nn

from cifar_study.layers import count_layers
from cifar_study.stages import PEERS, STAGES, Block, get_stage
from cifar_study.training.model import build_model, conv_block

torch.set_num_threads(1)
NUMBERS = list(range(1, 11))  # the networks of blocks


def pictures(count: int, height: int = 32, width: int = 32) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, height, width), generator=random, dtype=torch.uint8)


def count_places(model: nn.Module, taken: torch.Tensor) -> dict[str, tuple[torch.Size, int]]:
    """The shape that each layer gives, and its multiply-accumulates: a use of each weight a place.

    ``taken`` is one picture.
    """
    found = {}

    def count(name: str, layer: nn.Module, given: torch.Tensor) -> None:
        weighs = isinstance(layer, nn.Conv2d | nn.Linear)
        macs = layer.weight.numel() * given.shape[2:].numel() if weighs else 0
        found[name] = given.shape[1:], macs

    for name, layer in model.named_modules():
        layer.register_forward_hook(
            lambda layer, _inputs, given, name=name: count(name, layer, given)
        )
    model.eval()(taken)
    return found


@pytest.mark.parametrize(
    ("number", "height", "width"), [*((number, 32, 32) for number in NUMBERS), (8, 48, 40)]
)
def test_the_layer_table_is_that_of_the_built_network(number: int, height: int, width: int) -> None:
    network = get_stage(number).network
    model = build_model(network)
    found = count_places(model, pictures(1, height, width))

    table = count_layers(network, height, width)
    assert table[0].shape == (3, height, width)
    assert len({layer.name for layer in table}) == len(table)
    for layer in table[1:]:
        assert (layer.shape, layer.macs) == found[layer.name], layer.name
        own = model.get_submodule(layer.name).parameters()
        assert sum(parameter.numel() for parameter in own) == layer.parameters, layer.name
    trained = sum(parameter.numel() for parameter in model.parameters())
    assert trained == sum(layer.parameters for layer in table)
    assert sum(macs for _, macs in found.values()) == sum(layer.macs for layer in table)


@pytest.mark.parametrize(("height", "width"), [(36, 30), (100, 67), (8, 8)])
def test_global_average_pooling_takes_pictures_of_any_size(height: int, width: int) -> None:
    logits = build_model(STAGES[8].network).eval()(pictures(3, height, width))
    assert logits.shape == (3, 10)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("number", [1, 6, 9])
def test_weights_start_glorot_uniform_with_biases_at_zero(number: int) -> None:
    checked = 0
    for layer in build_model(get_stage(number).network, seed=3).modules():
        if isinstance(layer, nn.Conv2d):
            outputs, inputs, height, width = layer.weight.shape
            bound = math.sqrt(6 / ((inputs + outputs) * height * width))
        elif isinstance(layer, nn.Linear):
            bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        else:
            continue
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        # A uniform distribution's standard deviation is its bound over the root of 3.
        spread = (bound / math.sqrt(3)) / math.sqrt(layer.weight.numel())
        assert abs(layer.weight.mean()) < 5 * spread
        assert not layer.bias.any()
        checked += 1
    assert checked == 2 * len(get_stage(number).network.blocks) + 1


def test_hes_start_draws_wider_from_the_same_seed() -> None:
    glorot, he = (
        [layer for layer in build_model(STAGES[5].network, 3, start).modules()
         if isinstance(layer, nn.Conv2d | nn.Linear)]
        for start in ("glorot", "he")
    )  # fmt: skip
    for plain, wide in zip(glorot, he, strict=True):
        inputs = wide.weight[0].numel()  # 3·3·channels, or the values that go into the dense layer
        assert 0.9 * math.sqrt(6 / inputs) < wide.weight.abs().max() <= math.sqrt(6 / inputs)
        ratio = (wide.weight / plain.weight).detach()  # the same draws, on another scale
        torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio.mean())))
        assert not wide.bias.any()


@pytest.mark.parametrize("number", [8, 11])
def test_the_seed_decides_the_weights_and_nothing_else_does(number: int) -> None:
    network = get_stage(number).network
    torch.manual_seed(1)
    first = build_model(network, seed=5).state_dict()
    torch.manual_seed(2)
    again, other = (build_model(network, seed=seed).state_dict() for seed in (5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_scaling_the_pixels_is_part_of_the_network() -> None:
    model = build_model(STAGES[4].network).eval()
    taken = pictures(2)
    torch.testing.assert_close(model(taken), model(taken.float()), rtol=0, atol=0)
    first = model[0](torch.tensor([0, 51, 255], dtype=torch.uint8))
    torch.testing.assert_close(first, torch.tensor([0.0, 0.2, 1.0]))


def test_dropout_zeroes_its_share_in_training_only_and_scales_the_rest() -> None:
    rate = 0.4
    drop = conv_block(3, Block(4, dropout=rate)).drop.train()
    torch.manual_seed(0)
    values = torch.ones(8, 40, 31, 33).to(memory_format=torch.channels_last).requires_grad_()
    dropped = drop(values)
    assert dropped.shape == values.shape
    kept = dropped != 0
    assert 1 - kept.float().mean() == pytest.approx(rate, abs=0.005)
    torch.testing.assert_close(
        dropped[kept], torch.full_like(dropped[kept], 1 / (1 - rate)), rtol=1e-4, atol=0
    )
    assert abs(kept.float().mean((0, 2, 3)) - (1 - rate)).max() < 0.03  # in every channel
    dropped.sum().backward()
    torch.testing.assert_close(values.grad, dropped.detach())
    assert not torch.equal(drop(values), dropped)
    assert torch.equal(drop.eval()(values), values)
    layers = build_model(STAGES[7].network).modules()
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.1, 0.2, 0.3, 0.4]


def test_the_residual_network_has_the_size_that_its_entry_declares() -> None:
    network = PEERS[11].network
    torch.manual_seed(1)
    model, drawn = build_model(network, seed=1), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # building leaves the process's generator alone
    assert sum(parameter.numel() for parameter in model.parameters()) == network.parameters
    found = count_places(model, pictures(1))
    assert found[""] == ((10,), 0)
    assert sum(macs for _, macs in found.values()) == network.macs
    # Twenty layers of weights, the two ways around aside.
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    kernels = [tuple(layer.weight.shape[2:]) for layer in layers]
    assert (kernels.count((3, 3)), kernels.count(()), kernels.count((1, 1))) == (19, 1, 2)
