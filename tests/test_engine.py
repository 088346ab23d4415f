"""The engine computes what a plain loop computes, on every picture, in an order it can repeat."""

from __future__ import annotations

import platform
import resource
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command import needs_bfloat16
from torch import nn

from cifar_study.data import Dataset, synthetic
from cifar_study.errors import StudyError
from cifar_study.stages import STAGES, Network, Recipe, scale_width
from cifar_study.training import engine as engines
from cifar_study.training import hardware
from cifar_study.training.engine import Engine, choose_balanced, choose_limited
from cifar_study.training.hardware import (
    choose_precision,
    has_bfloat16,
    set_up_process,
)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return synthetic(train=1_400, test=510)


def without_dropout(network: Network) -> Network:
    return replace(network, blocks=tuple(replace(block, dropout=0.0) for block in network.blocks))


# --- a plain loop, as a tutorial would write it ---------------------------------------------


def block(inputs: int, filters: int, activation: type[nn.Module], norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for channels in (inputs, filters):
        layers.append(nn.Conv2d(channels, filters, 3, padding=1))
        if norm:
            layers.append(nn.BatchNorm2d(filters))
        layers.append(activation())
    return layers


def plain_network(number: int) -> nn.Sequential:
    """The network of a stage, dropout aside, layer by layer from the assignment."""
    if number in (1, 2):
        filters = {1: 5, 2: 20}[number]
        body = [*block(3, filters, nn.Sigmoid, norm=False), nn.MaxPool2d(8)]
        return nn.Sequential(*body, nn.Flatten(), nn.Linear(16 * filters, 10))
    activation = nn.Sigmoid if number == 3 else nn.ReLU
    widths = (20, 40) if number in (3, 4) else (20, 40, 80, 160)
    body, channels = [], 3
    for filters in widths:
        body += [*block(channels, filters, activation, norm=number >= 6), nn.MaxPool2d(2)]
        channels = filters
    if number == 8:
        body[-1] = nn.AdaptiveAvgPool2d(1)
    values = {3: 8 * 8 * 40, 4: 8 * 8 * 40, 8: 160}.get(number, 2 * 2 * 160)
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(values, 10))


def plain_epoch(
    model: nn.Sequential, recipe: Recipe, images: np.ndarray, labels: np.ndarray, order: list[int]
) -> tuple[float, float, int]:
    """One epoch in that order: mean loss, accuracy, steps."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, fused=False
    )
    pixels = torch.tensor(images).permute(0, 3, 1, 2).contiguous().float() / 255
    targets = torch.tensor(labels).long()
    loss_sum, right, steps = 0.0, 0, 0
    model.train()
    while order:
        batch, order = order[: recipe.batch_size], order[recipe.batch_size :]
        optimizer.zero_grad()
        logits = model(pixels[batch])
        loss = nn.functional.cross_entropy(logits, targets[batch])
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(batch)
        right += int((logits.argmax(1) == targets[batch]).sum())
        steps += 1
    return loss_sum / len(labels), right / len(labels), steps


# Rounding flips a ReLU or a maximum here and there, and batch normalisation amplifies it: at the
# study's own rate the plain loop in float32 and in float64 end a fifth of their way apart after
# 20 steps of stage 6. So these stages are compared at a rate at which the two stay together.
RATES = {1: 0.01, 2: 0.01, 3: 0.001, 4: 0.001, 5: 0.001, 6: 1e-5, 7: 1e-5, 8: 1e-5}


@pytest.mark.parametrize("number", range(1, 9))
def test_twenty_steps_end_at_the_weights_of_a_plain_loop(number: int, data: Dataset) -> None:
    count = 19 * 16 + 5  # the last batch is a short one
    recipe = Recipe(batch_size=16, learning_rate=RATES[number])
    data = replace(
        data, train_images=data.train_images[:count], train_labels=data.train_labels[:count]
    )
    engine = Engine(without_dropout(STAGES[number].network), recipe, data, seed=5)
    start = engine.model_state()
    plain = plain_network(number)
    names = dict(zip(plain.state_dict(), start, strict=True))  # both in the order of the layers
    plain.load_state_dict({name: torch.from_numpy(start[names[name]]) for name in names})

    loss, accuracy = engine.train_epoch(1)
    expected_loss, expected_accuracy, steps = plain_epoch(
        plain, recipe, data.train_images, data.train_labels, engine._order(1).tolist()
    )

    assert steps == 20
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert accuracy == pytest.approx(expected_accuracy, abs=1.5 / count)
    ended, way, apart = engine.model_state(), {}, {}
    for plain_name, tensor in plain.state_dict().items():
        name = names[plain_name]
        way[name] = np.linalg.norm(ended[name] - start[name])
        apart[name] = np.linalg.norm(ended[name] - tensor.numpy())
        # A bias before batch normalisation has no gradient but rounding.
        assert apart[name] <= 0.03 * way[name] + 1e-7, name
    trained = [name for name, _ in engine.model.named_parameters()]
    assert np.hypot.reduce([apart[name] for name in trained]) <= 0.01 * np.hypot.reduce(
        [way[name] for name in trained]
    )


# --- which pictures, in what order ------------------------------------------------------------


def minimal(data: Dataset, **options: object) -> Engine:
    return Engine(scale_width(STAGES[1], 0.2).network, Recipe(), data, **options)


def test_an_epoch_takes_every_picture_once(data: Dataset) -> None:
    for epoch in (1, 2, 150):
        assert sorted(minimal(data)._order(epoch).tolist()) == list(range(1_400))


def test_the_order_follows_from_seed_and_epoch_alone(data: Dataset) -> None:
    engine = minimal(data, seed=7, limit=100)
    for epoch in (1, 2):
        engine.train_epoch(epoch)
    third = engine._order(3).tolist()
    torch.manual_seed(99)
    np.random.seed(99)
    assert minimal(data, seed=7, limit=100)._order(3).tolist() == third
    assert engine._order(4).tolist() != third
    assert minimal(data, seed=8, limit=100)._order(3).tolist() != third


def test_a_limit_takes_a_sample_that_holds_every_class(data: Dataset) -> None:
    # As CIFAR-10 is stored here: in the order of its classes.
    order = np.argsort(data.train_labels, kind="stable")
    ordered = replace(
        data, train_images=data.train_images[order], train_labels=data.train_labels[order]
    )
    engine = minimal(ordered, limit=100)
    assert sorted(set(engine.train_labels.tolist())) == list(range(10))
    known = {
        (image.tobytes(), int(label))
        for image, label in zip(data.train_images, data.train_labels, strict=True)
    }
    taken = {
        (image.numpy().tobytes(), int(label))
        for image, label in zip(engine.train_images, engine.train_labels, strict=True)
    }
    assert len(taken) == 100
    assert taken <= known
    again = minimal(ordered, limit=100, seed=5)
    assert torch.equal(again.train_images, engine.train_images)


def test_limited_and_balanced_choices_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, 1, 0])
    assert labels[choose_limited(labels, None)].tolist() == labels.tolist()
    assert labels[choose_limited(labels, 10)].tolist() == labels.tolist()
    seven = choose_limited(labels, 7)
    assert seven.tolist() == sorted(set(seven.tolist()))
    assert len(seven) == 7
    # Two of each class, but for the one that has a single picture.
    balanced = choose_balanced(labels, 6)
    assert balanced.tolist() == sorted(set(balanced.tolist()))
    assert Counter(labels[balanced].tolist()) == {0: 2, 1: 2, 2: 1}
    # Eight pictures are no more than two of each.
    assert Counter(labels[choose_balanced(labels, 8)].tolist()) == {0: 2, 1: 2, 2: 1}
    assert choose_balanced(labels, 100).tolist() == list(range(10))


@pytest.mark.parametrize("pictures", [100, 64, 5])
def test_how_an_epoch_goes_is_said_twice_a_second_and_at_its_end(
    pictures: int, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = minimal(data, seed=3, limit=pictures).train_epoch(2)
    now = iter(range(100, 200))  # a second a look at the clock: every batch is told
    monkeypatch.setattr(engines.time, "monotonic", lambda: next(now))
    told = list(minimal(data, seed=3, limit=pictures).train_in_parts(2))
    shares = [share for share, _, _ in told]
    assert shares == {100: [64 / 100, 1], 64: [1], 5: [1]}[pictures]
    assert told[-1][1:] == whole
    for _, loss, accuracy in told:
        assert 2 < loss < 3  # ten classes by chance: the logarithm of 10 is 2.3
        assert 0 <= accuracy < 0.5


# --- evaluation -------------------------------------------------------------------------------


def test_evaluation_agrees_with_its_own_probabilities(data: Dataset) -> None:
    engine = Engine(scale_width(STAGES[8], 0.25).network, Recipe(), data, limit=64)
    engine.train_epoch(1)
    before = engine.model_state()
    loss, accuracy, probabilities = engine.evaluate()
    assert probabilities.shape == (510, 10)
    assert probabilities.dtype == np.float16  # as it is stored
    np.testing.assert_allclose(probabilities.astype(np.float64).sum(1), 1, rtol=1e-3)
    right = sum(
        int(row.argmax() == label)
        for row, label in zip(probabilities, data.test_labels, strict=True)
    )
    assert accuracy == right / 510
    of_the_class = [
        float(row[label]) for row, label in zip(probabilities, data.test_labels, strict=True)
    ]
    assert loss == pytest.approx(-np.log(of_the_class).mean(), rel=1e-3)
    assert all(np.array_equal(before[name], array) for name, array in engine.model_state().items())


@pytest.fixture
def sample_of_200(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluates 200 training pictures after each epoch."""
    monkeypatch.setattr(engines, "TRAIN_SAMPLE", 200)


def test_training_is_evaluated_as_test_is_on_as_many_of_each_class(
    data: Dataset, sample_of_200: None
) -> None:
    # Stage 8 has dropout and batch normalisation, which tell training from evaluation.
    engine = Engine(STAGES[8].network, Recipe(learning_rate=0.01), data, limit=700)
    running_loss, running_accuracy = engine.train_epoch(1)
    state = engine.model_state()
    loss, accuracy = engine.evaluate_training()

    plain = plain_network(8).eval()
    names = zip(plain.state_dict(), state, strict=True)
    plain.load_state_dict({name: torch.from_numpy(state[ours]) for name, ours in names})
    images, labels = engine.train_images[engine.sample], engine.train_labels[engine.sample].tolist()
    assert Counter(labels) == dict.fromkeys(range(10), 20)
    with torch.no_grad():
        logits = plain(images.permute(0, 3, 1, 2).float() / 255).double().numpy()
    likelihoods = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = [row.argmax() == label for row, label in zip(likelihoods, labels, strict=True)]
    lost = [-np.log(row[label]) for row, label in zip(likelihoods, labels, strict=True)]
    assert loss == pytest.approx(sum(lost) / 200, rel=1e-5)
    assert accuracy == pytest.approx(sum(right) / 200, abs=0.006)  # rounding may tie one
    assert loss != pytest.approx(running_loss, rel=0.01)
    assert accuracy != running_accuracy
    assert all(np.array_equal(state[name], array) for name, array in engine.model_state().items())


def test_evaluating_leaves_the_next_epoch_as_it_is(data: Dataset, sample_of_200: None) -> None:
    ends = []
    for evaluated in (False, True):
        engine = Engine(scale_width(STAGES[8], 0.25).network, Recipe(), data, limit=100)
        for epoch in (1, 2):
            engine.train_epoch(epoch)
            if evaluated:
                engine.evaluate_training()
                engine.evaluate()
        ends.append(engine.model_state())
    assert all(ends[0][name].tobytes() == ends[1][name].tobytes() for name in ends[0])


# --- states -----------------------------------------------------------------------------------


def test_states_carried_over_go_on_bit_for_bit(data: Dataset) -> None:
    def fresh() -> Engine:
        return Engine(scale_width(STAGES[8], 0.25).network, Recipe(), data, seed=2, limit=100)

    straight = fresh()
    straight.train_epoch(1)
    model, momentum = straight.model_state(), straight.momentum_state()
    figures = straight.train_epoch(2)
    taken_up = fresh()
    taken_up.load_state(model, momentum)
    assert taken_up.train_epoch(2) == figures
    for name, array in straight.model_state().items():
        assert array.tobytes() == taken_up.model_state()[name].tobytes(), name
    without = fresh()
    without.load_state(model, {name: 0 * array for name, array in momentum.items()})
    assert without.train_epoch(2) != figures


def test_a_state_of_another_network_is_refused(data: Dataset) -> None:
    engine = minimal(data)
    state, momentum = engine.model_state(), engine.momentum_state()
    with pytest.raises(ValueError, match="size mismatch"):
        Engine(STAGES[1].network, Recipe(), data).load_state(state, momentum)
    with pytest.raises(ValueError, match="Missing key"):
        engine.load_state({name: state[name] for name in list(state)[1:]}, momentum)


# --- hardware ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "threads"), [({}, 2), ({"OMP_NUM_THREADS": "1"}, 1)])
def test_a_thread_a_core_unless_the_environment_says_how_many(
    words: dict[str, str], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(hardware, "cores", lambda: 2)
    set_counts = [1]
    monkeypatch.setattr(torch, "set_num_threads", set_counts.append)
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "deterministic", False)
    monkeypatch.setattr(cudnn, "allow_tf32", True)
    set_up_process(torch.device("cpu"))
    assert set_counts[-1] == threads
    assert (cudnn.deterministic, cudnn.allow_tf32) == (True, False)


@pytest.mark.parametrize(
    ("flags", "there"),
    [("avx2", False), ("avx512f avx512_bf16", True), ("bf16", True), ("amx_bf16 amx_tile", True),
     ("avx512f avx512bw", False), ("xbf16", False), ("", False), (None, False)],
)  # fmt: skip
def test_bfloat16_is_chosen_where_the_processor_lists_it_and_refused_where_it_is_missing(
    flags: str | None, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "PROCESSOR", listed)
    if flags is not None:
        listed.write_text(f"model name\t: a chip\nflags\t\t: fpu {flags} sse2\n")
    cpu = torch.device("cpu")
    assert has_bfloat16(cpu) == there
    assert choose_precision("float32", cpu) is torch.float32
    assert choose_precision("auto", cpu) is (torch.bfloat16 if there else torch.float32)
    if there:
        assert choose_precision("bfloat16", cpu) is torch.bfloat16
    else:
        with pytest.raises(StudyError, match=r"^--precision bfloat16: .* not have it; train on"):
            choose_precision("bfloat16", cpu)


@pytest.mark.parametrize(("capability", "there"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bfloat16_of_a_gpu_follows_from_its_generation(
    capability: tuple[int, int], there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _device: capability)
    gpu = torch.device("cuda")
    assert has_bfloat16(gpu) == there
    assert choose_precision("auto", gpu) is (torch.bfloat16 if there else torch.float32)


def test_the_compiled_network_takes_full_batches_and_no_others(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def compiled(model: torch.nn.Module, dynamic: bool) -> object:
        assert not dynamic
        return lambda pictures: taken.append(len(pictures)) or model(pictures)

    monkeypatch.setattr(torch, "compile", compiled)
    weights = []
    for asked in (False, True):
        engine = minimal(data, limit=200, compiled=asked)
        engine.train_epoch(1)
        engine.evaluate()
        weights.append(engine.model_state())
    assert taken == [64, 64, 64]  # of 200 pictures eight are left
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_a_network_that_cannot_be_compiled_is_one_line(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(_model: torch.nn.Module, dynamic: bool) -> object:
        def call(_pictures: torch.Tensor) -> None:
            raise RuntimeError("Failed to find C compiler.\nPlease specify one.")

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    engine = minimal(data, limit=200, compiled=True, record=lambda step: step() or step)
    with pytest.raises(StudyError, match=r"^--compile: .*Failed to find C compiler.*leave it out$"):
        engine.train_epoch(1)


def test_bfloat16_trains_the_same_network_nearly_the_same(data: Dataset) -> None:
    losses = {}
    for precision in (torch.float32, torch.bfloat16):
        engine = Engine(
            without_dropout(scale_width(STAGES[8], 0.25).network),
            Recipe(),
            data,
            limit=200,
            precision=precision,
        )
        losses[precision], _ = engine.train_epoch(1)
        _, _, probabilities = engine.evaluate()
        assert {str(a.dtype) for a in engine.model_state().values()} == {"float32", "int64"}
        assert probabilities.dtype == np.float16
        np.testing.assert_allclose(probabilities.astype(np.float64).sum(1), 1, rtol=1e-3)
    assert losses[torch.bfloat16] == pytest.approx(losses[torch.float32], rel=0.02)
    assert losses[torch.bfloat16] != losses[torch.float32]


@pytest.mark.parametrize("number", [2, 8])
def test_a_recorded_step_leaves_no_trace_of_its_warming_up(number: int, data: Dataset) -> None:
    """The path of a GPU, with a recorder that warms up as a CUDA graph does."""
    sizes = []

    def record(step):
        sizes.append(step.args[1])
        for _ in range(3):
            step()
        return step

    network, recipe = scale_width(STAGES[number], 0.25).network, Recipe(batch_size=48)
    ends = []
    for recorder in (None, record):
        engine = Engine(network, recipe, data, limit=200, record=recorder)
        ends.append([engine.train_epoch(epoch) for epoch in (1, 2)])
        ends[-1] += [*engine.model_state().values(), *engine.momentum_state().values()]
    assert sizes == [48, 8]  # once for each size of batch: 200 = 4 · 48 + 8
    for plain, recorded in zip(*ends, strict=True):
        assert np.array_equal(plain, recorded)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("number", [1, 6])
def test_a_step_recorded_on_a_gpu_is_the_eager_one(number: int, data: Dataset) -> None:
    set_up_process(torch.device("cuda"))
    ends = []
    for record in (lambda step: step, None):  # eager, and as a CUDA graph
        gpu = torch.device("cuda")
        engine = Engine(
            STAGES[number].network, Recipe(), data, limit=200, device=gpu, record=record
        )
        ends.append([*engine.train_epoch(1), *engine.model_state().values()])
    for eager, recorded in zip(*ends, strict=True):
        np.testing.assert_allclose(recorded, eager, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_step_reuses_the_memory_of_the_one_before(data: Dataset) -> None:
    set_up_process(torch.device("cpu"))
    engine = Engine(STAGES[2].network, Recipe(), data, limit=640)
    faults = []
    for epoch in range(1, 5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        engine.train_epoch(epoch)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    # One map of the batch, 64 × 20 × 32 × 32 float32, is 1,280 pages; ten steps hold dozens.
    # A heap in pieces may need an epoch or two until it has room for all of them.
    assert min(faults[1:]) < 1_280


@pytest.mark.long
@needs_bfloat16
def test_precision_leaves_the_outcome_alone(data: Dataset) -> None:
    """Final accuracies differ between the precisions by no more than between seeds."""
    network = scale_width(STAGES[6], 0.25).network
    finals = {}
    for precision in (torch.float32, torch.bfloat16):
        finals[precision] = []
        for seed in range(3):
            engine = Engine(network, Recipe(), data, seed=seed, precision=precision)
            for epoch in range(1, 4):
                engine.train_epoch(epoch)
            finals[precision].append(engine.evaluate()[1])
    exact, coarse = (np.array(finals[precision]) for precision in finals)
    assert exact.mean() > 0.5  # far above chance, so that there is something to lose
    noise = exact.std(ddof=1)
    assert abs(exact.mean() - coarse.mean()) <= max(2 * noise, 0.02)
