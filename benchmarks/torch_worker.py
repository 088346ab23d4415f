"""The workers that need torch: ``python -m benchmarks.torch_worker KIND SAMPLE THREADS PRECISION``.

KIND is ``plain``, ``engine``, ``convolutions`` or ``floor``; THREADS 0 leaves torch its default.
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
from benchmarks.sample import TEST_SHARE, Sample, read_sample
from cifar_study.data import Dataset
from cifar_study.engine import Engine, keep_freed_memory
from cifar_study.layers import count_macs
from cifar_study.model import build_model
from cifar_study.stages import STAGES, Network

Measure = Callable[[int, int], float]
SIDE = 2048  # of the matrices whose product sets the rate: far larger than any cache
LEAST_SECONDS = 0.5  # that products are timed for


def plain(sample: Sample) -> Measure:
    """Seconds of the tutorial's loop."""

    @cache
    def prepared(stage: int, images: int) -> PlainLoop:
        return PlainLoop(STAGES[stage], sample.first(images))

    def measure(stage: int, images: int) -> float:
        loop = prepared(stage, images)
        start = time.perf_counter()
        loop.epoch()
        return time.perf_counter() - start

    return measure


def engine(sample: Sample, precision: torch.dtype) -> Measure:
    """Seconds of the study's engine."""
    epochs = itertools.count(1)

    @cache
    def prepared(stage: int, images: int) -> Engine:
        data = Dataset("sample", "drawn for speed", *sample.first(images), fingerprint="")
        network, recipe = STAGES[stage].network, STAGES[stage].recipe
        return Engine(network, recipe, data, precision=precision)

    def measure(stage: int, images: int) -> float:
        trained = prepared(stage, images)
        start = time.perf_counter()
        trained.train_epoch(next(epochs))
        trained.evaluate()
        return time.perf_counter() - start

    return measure


def convolutions(sample: Sample, precision: torch.dtype) -> Measure:
    """Seconds of the calls of the stage's convolutions and dense layer, forward and backward."""
    keep_freed_memory()  # as the engine has it

    @cache
    def prepared(stage: int) -> tuple[int, list[tuple[nn.Module, Tensor, Tensor]]]:
        recipe, calls = STAGES[stage].recipe, []
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
        pictures = torch.from_numpy(sample.first(recipe.batch_size).train_images)
        model(pictures.permute(0, 3, 1, 2))
        for hook in hooks:
            hook.remove()
        return recipe.batch_size, [(layer.to(precision), *rest) for layer, *rest in calls]

    def measure(stage: int, images: int) -> float:
        batch, calls = prepared(stage)
        start = time.perf_counter()
        for _ in range(0, images, batch):
            for layer, values, gradient in calls:
                layer(values).backward(gradient)
        trained = time.perf_counter() - start
        with torch.inference_mode():
            start = time.perf_counter()
            for _ in range(0, images // TEST_SHARE, batch):
                for layer, values, _ in calls:
                    layer(values)
        return trained + time.perf_counter() - start

    return measure


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
    kind, path, threads, precision = sys.argv[1:]
    if int(threads):
        torch.set_num_threads(int(threads))
    sample, dtype = read_sample(Path(path)), getattr(torch, precision)
    measures = {
        "plain": lambda: plain(sample),
        "engine": lambda: engine(sample, dtype),
        "convolutions": lambda: convolutions(sample, dtype),
        "floor": lambda: floor(dtype),
    }
    serve(measures[kind](), {"torchvision": torchvision.__version__})


if __name__ == "__main__":
    main()
