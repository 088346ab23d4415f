"""Stages 1, 4 and 6 of the study in ordinary PyTorch, from the assignment alone.

Nothing of the package trains here: this is what its results are held against.
``python tests/plain_loop.py FOLDER STAGE PRECISION EPOCHS SEED...`` prints what each epoch gave,
a row of ``plain_loop.csv``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def convolutions(inputs: int, filters: int, activation: type, norm: bool) -> Iterator[nn.Module]:
    """Twice a 3×3 convolution that keeps the size, normalised or not, and its activation."""
    for channels in (inputs, filters):
        yield nn.Conv2d(channels, filters, 3, padding=1)
        if norm:
            yield nn.BatchNorm2d(filters)
        yield activation()


def network(stage: int) -> nn.Sequential:
    """The layers of stage 1, 4 or 6, for pictures of 32 × 32 pixels in [0, 1]."""
    if stage == 1:
        body = [*convolutions(3, 5, nn.Sigmoid, False), nn.MaxPool2d(8)]
        return nn.Sequential(*body, nn.Flatten(), nn.Linear(4 * 4 * 5, 10))
    widths = {4: (20, 40), 6: (20, 40, 80, 160)}[stage]
    body, inputs = [], 3
    for filters in widths:
        body += [*convolutions(inputs, filters, nn.ReLU, stage == 6), nn.MaxPool2d(2)]
        inputs = filters
    side = 32 // 2 ** len(widths)
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(side * side * inputs, 10))


def train(
    stage: int, seed: int, pictures: list[np.ndarray], labels: list[np.ndarray], precision: str
) -> Iterator[dict[str, float]]:
    """Train from that seed, epoch after epoch; what each gives, as columns of a history.

    ``uint8`` pictures (N, 32, 32, 3) and labels (N,), of training and of test.
    """
    torch.manual_seed(seed)
    model = network(stage)
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    half = precision == "bfloat16"
    train_x, test_x = (torch.tensor(part).permute(0, 3, 1, 2) for part in pictures)
    train_y, test_y = (torch.tensor(part).long() for part in labels)

    def logits(part: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return model(part.float() / 255).float()

    while True:
        model.train()
        loss_sum = right = 0.0
        for batch in torch.randperm(len(train_y)).split(64):
            given = logits(train_x[batch])
            loss = functional.cross_entropy(given, train_y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(batch)
            right += (given.argmax(1) == train_y[batch]).sum().item()
        model.eval()
        with torch.no_grad():
            given = torch.cat([logits(part) for part in test_x.split(500)])
        yield {
            "running_loss": loss_sum / len(train_y),
            "running_accuracy": right / len(train_y),
            "test_loss": functional.cross_entropy(given, test_y).item(),
            "test_accuracy": (given.argmax(1) == test_y).float().mean().item(),
        }


if __name__ == "__main__":
    from cifar_study.data import load

    folder, stage, precision, epochs = sys.argv[1:5]
    data = load(folder)
    whole = [data.train_images, data.test_images], [data.train_labels, data.test_labels]
    for seed in map(int, sys.argv[5:]):
        rows = train(int(stage), seed, *whole, precision)
        for epoch, row in zip(range(1, int(epochs) + 1), rows, strict=False):
            values = (f"{value:.5f}" for value in row.values())
            print(stage, precision, seed, epoch, *values, sep=",", flush=True)
