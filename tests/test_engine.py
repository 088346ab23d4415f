"""The engine computes what a plain loop computes, on every picture, in an order it can repeat."""

import platform
import resource
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import plain_loop
import pytest
import torch
from command import train_epoch

from cifar_study.data import Dataset, synthetic
from cifar_study.errors import StudyError
from cifar_study.stages import STAGES, Network, Recipe, scale_width
from cifar_study.training import engine as engines
from cifar_study.training import hardware
from cifar_study.training.engine import Engine, choose_balanced, choose_limited
from cifar_study.training.hardware import choose_precision, has_bfloat16, set_up_process

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return synthetic(train=700, test=510)


def without_dropout(network: Network) -> Network:
    return replace(network, blocks=tuple(replace(block, dropout=0.0) for block in network.blocks))


# Rounding flips a ReLU or a maximum here and there, and batch normalisation amplifies it: at the
# study's own rate the plain loop in float32 and in float64 end a fifth of their way apart after
# 20 steps of stage 6. So these stages are compared at a rate at which the two stay together.
@pytest.mark.parametrize(
    ("number", "rate", "width"),
    [(1, 0.01, 1), (3, 0.001, 0.5), (4, 0.001, 0.5), (6, 1e-5, 0.5), (8, 1e-5, 0.5)],
)
def test_twenty_steps_end_at_the_weights_of_a_plain_loop(
    number: int, rate: float, width: float, data: Dataset
) -> None:
    count = 19 * 16 + 5  # the last batch is a short one
    recipe = Recipe(batch_size=16, learning_rate=rate)
    pictures, labels = data.train_images[:count], data.train_labels[:count]
    data = replace(data, train_images=pictures, train_labels=labels)
    stage = scale_width(STAGES[number], width)
    engine = Engine(without_dropout(stage.network), recipe, data, seed=5)
    start = engine.model_state()
    plain = plain_loop.network(number, width)
    names = dict(zip(plain.state_dict(), start, strict=True))  # both in the order of the layers
    plain.load_state_dict({name: torch.from_numpy(start[names[name]]) for name in names})

    loss, accuracy = train_epoch(engine, 1)
    optimizer = torch.optim.SGD(plain.parameters(), lr=rate, momentum=recipe.momentum, fused=False)
    batches = torch.tensor(order_of(engine)).split(16)
    expected_loss, expected_accuracy = plain_loop.train_epoch(
        plain, optimizer, torch.tensor(pictures), torch.tensor(labels).long(), batches
    )

    assert len(batches) == 20
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


def minimal(data: Dataset, **options: object) -> Engine:
    return Engine(scale_width(STAGES[1], 0.2).network, Recipe(), data, **options)


def narrow(data: Dataset, **options: object) -> Engine:
    """With everything that tells training from evaluation: dropout and batch normalisation."""
    return Engine(scale_width(STAGES[8], 0.25).network, Recipe(), data, **options)


def order_of(engine: Engine) -> list[int]:
    """The order of the pictures in the epoch that was trained last."""
    return engine.order.flatten()[: len(engine.train_labels)].tolist()


def test_the_order_is_of_every_picture_once_and_follows_from_seed_and_epoch_alone(
    data: Dataset,
) -> None:
    engine, orders = minimal(data, seed=7, limit=100), {}
    for epoch in (1, 2, 3, 150):
        train_epoch(engine, epoch)
        orders[epoch] = order_of(engine)
        assert sorted(orders[epoch]) == list(range(100))
    assert len({tuple(order) for order in orders.values()}) == 4
    torch.manual_seed(99)
    np.random.seed(99)
    for seed in (7, 8):
        other = minimal(data, seed=seed, limit=100)
        train_epoch(other, 3)
        assert (order_of(other) == orders[3]) == (seed == 7)


def test_a_limit_takes_a_sample_that_holds_every_class(data: Dataset) -> None:
    # As CIFAR-10 is stored here: in the order of its classes.
    order = np.argsort(data.train_labels, kind="stable")
    images, labels = data.train_images[order], data.train_labels[order]
    ordered = replace(data, train_images=images, train_labels=labels)

    def pairs(images: np.ndarray, labels: np.ndarray) -> set[tuple[bytes, int]]:
        return {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}

    engine = minimal(ordered, limit=100)
    assert set(engine.train_labels.tolist()) == set(range(10))
    taken = pairs(engine.train_images.numpy(), engine.train_labels.numpy())
    assert len(taken) == 100
    assert taken <= pairs(images, labels)
    again = minimal(ordered, limit=100, seed=5)
    assert torch.equal(again.train_images, engine.train_images)


def test_limited_and_balanced_choices_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, 1, 0])
    for limit in (None, 10):
        assert labels[choose_limited(labels, limit)].tolist() == labels.tolist()
    assert len(set(choose_limited(labels, 7).tolist())) == 7
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
    whole = train_epoch(minimal(data, seed=3, limit=pictures), 2)
    now = iter(range(100, 200))  # a second a look at the clock: every batch is told
    monkeypatch.setattr(engines.time, "monotonic", lambda: next(now))
    told = list(minimal(data, seed=3, limit=pictures).train_in_parts(2))
    shares = [share for share, _, _ in told]
    assert shares == {100: [64 / 100, 1], 64: [1], 5: [1]}[pictures]
    assert told[-1][1:] == whole
    for _, loss, accuracy in told:
        assert 2 < loss < 3  # ten classes by chance: the logarithm of 10 is 2.3
        assert 0 <= accuracy < 0.5


def test_evaluation_agrees_with_its_own_probabilities(data: Dataset) -> None:
    engine = narrow(data, limit=64)
    train_epoch(engine, 1)
    before = engine.model_state()
    loss, accuracy, probabilities = engine.evaluate()
    assert probabilities.shape == (510, 10)
    assert probabilities.dtype == np.float16  # as it is stored
    np.testing.assert_allclose(probabilities.astype(np.float64).sum(1), 1, rtol=1e-3)
    rows = list(zip(probabilities, data.test_labels, strict=True))
    assert accuracy == sum(int(row.argmax() == label) for row, label in rows) / 510
    of_the_class = [float(row[label]) for row, label in rows]
    assert loss == pytest.approx(-np.log(of_the_class).mean(), rel=1e-3)
    assert all(np.array_equal(before[name], array) for name, array in engine.model_state().items())


def test_training_is_evaluated_as_test_is_on_as_many_of_each_class(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "TRAIN_SAMPLE", 200)
    network = scale_width(STAGES[8], 0.5).network
    engine = Engine(network, Recipe(learning_rate=0.01), data, limit=500)
    running_loss, running_accuracy = train_epoch(engine, 1)
    state = engine.model_state()
    loss, accuracy = engine.evaluate_training()

    plain = plain_loop.network(8, 0.5).eval()
    names = zip(plain.state_dict(), state, strict=True)
    plain.load_state_dict({name: torch.from_numpy(state[ours]) for name, ours in names})
    images, labels = engine.train_images[engine.sample], engine.train_labels[engine.sample].tolist()
    assert Counter(labels) == dict.fromkeys(range(10), 20)
    with torch.no_grad():
        logits = plain_loop.logits(plain, images).double().numpy()
    likelihoods = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = [row.argmax() == label for row, label in zip(likelihoods, labels, strict=True)]
    lost = [-np.log(row[label]) for row, label in zip(likelihoods, labels, strict=True)]
    assert loss == pytest.approx(sum(lost) / 200, rel=1e-5)
    assert accuracy == pytest.approx(sum(right) / 200, abs=0.006)  # rounding may tie one
    assert loss != pytest.approx(running_loss, rel=0.01)
    assert accuracy != running_accuracy


def test_states_carried_over_go_on_bit_for_bit_evaluated_or_not(data: Dataset) -> None:
    straight = narrow(data, seed=2, limit=100)
    train_epoch(straight, 1)
    model, momentum = straight.model_state(), straight.momentum_state()
    figures = train_epoch(straight, 2)
    ended = straight.model_state()
    taken_up = narrow(data, seed=2, limit=100)
    taken_up.load_state(model, momentum)
    taken_up.evaluate_training()
    taken_up.evaluate()
    assert all(np.array_equal(model[name], array) for name, array in taken_up.model_state().items())
    assert train_epoch(taken_up, 2) == figures
    for name, array in taken_up.model_state().items():
        assert array.tobytes() == ended[name].tobytes(), name
    taken_up.load_state(model, {name: 0 * array for name, array in momentum.items()})
    assert train_epoch(taken_up, 2) != figures


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
    [("avx512f avx512_bf16", True), ("bf16", True), ("amx_bf16 amx_tile", True),
     ("avx512bw xbf16", False), ("", False), (None, False)],
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


def test_bfloat16_of_a_gpu_follows_from_its_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    for capability, there in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda _, of=capability: of)
        assert has_bfloat16(gpu) == there
        assert choose_precision("auto", gpu) is (torch.bfloat16 if there else torch.float32)


def test_bfloat16_trains_the_same_network_nearly_the_same(data: Dataset) -> None:
    data = replace(data, test_images=data.test_images[:50], test_labels=data.test_labels[:50])
    network = without_dropout(scale_width(STAGES[8], 0.25).network)
    losses = []
    for precision in (torch.float32, torch.bfloat16):
        engine = Engine(network, Recipe(), data, limit=128, precision=precision)
        losses.append(train_epoch(engine, 1)[0])
        _, _, probabilities = engine.evaluate()
        assert {str(a.dtype) for a in engine.model_state().values()} == {"float32", "int64"}
        assert probabilities.dtype == np.float16
        np.testing.assert_allclose(probabilities.astype(np.float64).sum(1), 1, rtol=1e-3)
    exact, coarse = losses
    assert coarse == pytest.approx(exact, rel=0.02)
    assert coarse != exact


def test_a_recorded_step_leaves_no_trace_of_its_warming_up(data: Dataset) -> None:
    """The path of a GPU, with a recorder that warms up as a CUDA graph does."""
    recorded = []

    def record(step):
        recorded.append(step)
        for _ in range(3):
            step()
        return step

    network, recipe = scale_width(STAGES[8], 0.25).network, Recipe(batch_size=48)
    ends = []
    for recorder in (None, record):
        engine = Engine(network, recipe, data, limit=200, record=recorder)
        ends.append([train_epoch(engine, epoch) for epoch in (1, 2)])
        ends[-1] += [*engine.model_state().values(), *engine.momentum_state().values()]
    assert len(recorded) == 2  # once for each size of batch: 200 = 4 · 48 + 8
    for plain, warmed in zip(*ends, strict=True):
        assert np.array_equal(plain, warmed)


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
        ends.append([*train_epoch(engine, 1), *engine.model_state().values()])
    for eager, recorded in zip(*ends, strict=True):
        np.testing.assert_allclose(recorded, eager, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_step_reuses_the_memory_of_the_one_before(data: Dataset) -> None:
    set_up_process(torch.device("cpu"))
    engine = Engine(STAGES[2].network, Recipe(), data, limit=256)
    faults = []
    for epoch in range(1, 4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        train_epoch(engine, epoch)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    # One map of the batch, 64 × 20 × 32 × 32 float32, is 1,280 pages; four steps hold dozens.
    # A heap in pieces may need an epoch or two until it has room for all of them.
    assert min(faults[1:]) < 1_280
