"""Stages of the study in ordinary PyTorch, dropout aside, from the assignment alone.

Nothing of the package trains here: this is what its results are held against.
``python tests/plain_loop.py FOLDER STAGE PRECISION EPOCHS SEED...`` prints what each epoch gave,
a row of ``plain_loop.csv``.
"""

import sys
from collections.abc import Iterable, Iterator

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


def network(stage: int, width: float = 1) -> nn.Sequential:
    """The layers of stage 1, 3, 4, 6 or 8, for pictures of 32 × 32 pixels in [0, 1]."""
    if stage == 1:
        body = [*convolutions(3, 5, nn.Sigmoid, False), nn.MaxPool2d(8)]
        return nn.Sequential(*body, nn.Flatten(), nn.Linear(4 * 4 * 5, 10))
    activation = nn.Sigmoid if stage == 3 else nn.ReLU
    widths = (20, 40) if stage in (3, 4) else (20, 40, 80, 160)
    body, inputs = [], 3
    for filters in (int(width * filters) for filters in widths):
        body += [*convolutions(inputs, filters, activation, stage >= 6), nn.MaxPool2d(2)]
        inputs = filters
    side = 32 // 2 ** len(widths)
    if stage == 8:
        body[-1], side = nn.AdaptiveAvgPool2d(1), 1
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(side * side * inputs, 10))


def logits(model: nn.Module, pictures: torch.Tensor, half: bool = False) -> torch.Tensor:
    """What the network says of ``uint8`` pictures (N, 32, 32, 3), computed in bfloat16 or not."""
    pixels = pictures.permute(0, 3, 1, 2).float() / 255
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        return model(pixels).float()


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pictures: torch.Tensor,
    labels: torch.Tensor,
    batches: Iterable[torch.Tensor],
    half: bool = False,
) -> tuple[float, float]:
    """Train on these batches of all the pictures; mean loss and accuracy on the way."""
    model.train()
    loss_sum = right = 0.0
    for batch in batches:
        given = logits(model, pictures[batch], half)
        loss = functional.cross_entropy(given, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(batch)
        right += (given.argmax(1) == labels[batch]).sum().item()
    return loss_sum / len(labels), right / len(labels)


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
    train_x, test_x = map(torch.tensor, pictures)
    train_y, test_y = (torch.tensor(part).long() for part in labels)
    while True:
        batches = torch.randperm(len(train_y)).split(64)
        loss, accuracy = train_epoch(model, optimizer, train_x, train_y, batches, half)
        model.eval()
        with torch.no_grad():
            given = torch.cat([logits(model, part, half) for part in test_x.split(500)])
        yield {
            "running_loss": loss,
            "running_accuracy": accuracy,
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
