"""The first peer: what a PyTorch tutorial shows, with nothing done for speed."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from benchmarks.sample import Sample
from cifar_study.stages import Network, Stage


class Pictures(Dataset):
    """Pictures as ``torchvision.datasets.CIFAR10`` hands them out: one by one, through PIL."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels.tolist()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def plain_network(network: Network) -> nn.Sequential:
    """The network from torch's own layers, in their own order.

    Written out rather than taken from :mod:`cifar_study.model`, so that no
    layer which the study made faster slips into its peer. Scaling to [0, 1] is
    missing because ``ToTensor`` does it.
    """
    layers: list[nn.Module] = []
    channels, side = 3, network.input_size or 32
    for block in network.blocks:
        for inputs in (channels, block.filters):
            layers.append(nn.Conv2d(inputs, block.filters, 3, padding="same"))
            if block.batch_norm:
                layers.append(nn.BatchNorm2d(block.filters))
            layers.append(nn.Sigmoid() if block.activation == "sigmoid" else nn.ReLU())
        if block.pool == "global":
            layers.append(nn.AdaptiveAvgPool2d(1))
            side = 1
        else:
            layers.append(nn.MaxPool2d(block.pool))
            side //= block.pool
        if block.dropout:
            layers.append(nn.Dropout(block.dropout))
        channels = block.filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side * side, network.classes))


class PlainLoop:
    """Training and test of one stage on one sample, an epoch a call."""

    def __init__(self, stage: Stage, sample: Sample) -> None:
        recipe = stage.recipe
        self.model = plain_network(stage.network)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum
        )
        self.train_loader = DataLoader(
            Pictures(sample.train_images, sample.train_labels),
            batch_size=recipe.batch_size,
            shuffle=True,
        )
        self.test_loader = DataLoader(
            Pictures(sample.test_images, sample.test_labels), batch_size=recipe.batch_size
        )

    def epoch(self) -> tuple[float, float]:
        """Train on every picture once, then test; accuracy on either."""
        self.model.train()
        trained, _ = self._train()
        self.model.eval()
        tested, _ = self._test()
        return trained, tested

    def _train(self) -> tuple[float, float]:
        running_loss, correct, total = 0.0, 0, 0
        for images, labels in self.train_loader:
            self.optimizer.zero_grad()
            logits = self.model(images)
            loss = self.loss(logits, labels)
            loss.backward()
            self.optimizer.step()
            running_loss += loss.item() * len(labels)
            correct += (logits.argmax(1) == labels).sum().item()
            total += len(labels)
        return correct / total, running_loss / total

    @torch.no_grad()
    def _test(self) -> tuple[float, float]:
        running_loss, correct, total = 0.0, 0, 0
        for images, labels in self.test_loader:
            logits = self.model(images)
            running_loss += self.loss(logits, labels).item() * len(labels)
            correct += (logits.argmax(1) == labels).sum().item()
            total += len(labels)
        return correct / total, running_loss / total
