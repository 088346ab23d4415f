"""The workers that need torch: ``python -m benchmarks.torch_worker KIND SAMPLE PRECISION``.

KIND is ``plain``, ``engine``, ``convolutions`` or ``floor``; OMP_NUM_THREADS sets its threads.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.plain_loop import PlainLoop
from benchmarks.protocol import serve
from benchmarks.sample import TEST_SHARE, first, read_sample
from cifar_study.datasets import Dataset
from cifar_study.layers import count_macs
from cifar_study.stages import STAGES, Network, get_stage
from cifar_study.training.engine import Engine
from cifar_study.training.hardware import set_up_process
from cifar_study.training.model import build_model

Measure = Callable[[int, int], float]
SIDE = 2048  # of the matrices whose product sets the rate: far larger than any cache
LEAST_SECONDS = 0.5  # that products are timed for


def timed(prepare: Callable[[int, int], Callable[[], object]]) -> Measure:
    """Seconds of a call of what ``prepare`` makes, once, of a stage and a number of pictures."""
    prepared = cache(prepare)

    def measure(stage: int, images: int) -> float:
        epoch = prepared(stage, images)
        start = time.perf_counter()
        epoch()
        return time.perf_counter() - start

    return measure


def engine(sample: Dataset, precision: torch.dtype) -> Measure:
    """Seconds of the study's engine, which trains and tests as its peers do."""

    def prepare(stage: int, images: int) -> Callable[[], object]:
        data, chosen = first(sample, images), get_stage(stage)
        trained = Engine(chosen.network, chosen.recipe, data, precision=precision)
        epochs = itertools.count(1)
        return lambda: (trained.train_epoch(next(epochs)), trained.evaluate())

    return timed(prepare)


def convolutions(sample: Dataset, precision: torch.dtype) -> Measure:
    """Seconds of the calls of the stage's convolutions and dense layer, forward and backward."""

    def prepare(stage: int, images: int) -> Callable[[], object]:
        batch, calls = STAGES[stage].recipe.batch_size, []
        model = build_model(STAGES[stage].network).to(memory_format=torch.channels_last)

        def keep(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            values = inputs[0].detach().to(precision)
            values.requires_grad_(bool(calls))  # nothing asks for the gradient by the pixels
            calls.append((layer, values, torch.ones_like(output, dtype=precision)))

        hooks = [
            layer.register_forward_hook(keep)
            for layer in model.modules()
            if isinstance(layer, nn.Conv2d | nn.Linear)
        ]
        model(torch.from_numpy(sample.train_images[:batch]).permute(0, 3, 1, 2))
        for hook in hooks:
            hook.remove()
        model.to(precision)

        def epoch() -> None:
            for _ in range(0, images, batch):
                for layer, values, gradient in calls:
                    layer(values).backward(gradient)
            with torch.inference_mode():
                for _ in range(0, images // TEST_SHARE, batch):
                    for layer, values, _ in calls:
                        layer(values)

        return epoch

    return timed(prepare)


def floor(precision: torch.dtype) -> Measure:
    """Seconds of the arithmetic alone, at the rate of a large matrix product just now."""
    left, right = (torch.rand(SIDE, SIDE).to(precision) for _ in range(2))

    def measure(stage: int, images: int) -> float:
        products, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < LEAST_SECONDS:
            left @ right
            products += 1
        rate = products * 2 * SIDE**3 / elapsed
        return epoch_flop(STAGES[stage].network, images, images // TEST_SHARE) / rate

    return measure


def epoch_flop(network: Network, train: int, test: int) -> int:
    """Operations of an epoch's convolutions and dense layer, two for a multiply-accumulate.

    A backward pass counts as two forward passes, one for the gradient by the
    weights and one for that by the inputs.
    """
    return 2 * count_macs(network) * (3 * train + test)


def main() -> None:
    """Serve until standard input ends."""
    kind, path, precision = sys.argv[1:]
    sample, dtype = read_sample(Path(path)), getattr(torch, precision)
    if kind in ("engine", "convolutions"):
        set_up_process(torch.device("cpu"))
    measures = {
        "plain": lambda: timed(lambda n, images: PlainLoop(STAGES[n], first(sample, images)).epoch),
        "engine": lambda: engine(sample, dtype),
        "convolutions": lambda: convolutions(sample, dtype),
        "floor": lambda: floor(dtype),
    }
    serve(measures[kind](), {"torchvision": torchvision.__version__})


if __name__ == "__main__":
    main()
