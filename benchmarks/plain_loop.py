"""The first peer: what a PyTorch tutorial shows, with nothing done for speed."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import ToTensor

from cifar_study.data import Dataset
from cifar_study.stages import Stage
from cifar_study.training.model import build_model


class Pictures(torch.utils.data.Dataset):
    """Pictures as ``torchvision.datasets.CIFAR10`` hands them out: one by one, through PIL."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels.tolist()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class PlainLoop:
    """Training and test of one stage on one sample, an epoch a call."""

    def __init__(self, stage: Stage, sample: Dataset) -> None:
        recipe = stage.recipe
        # Torch's own layers; scaling to [0, 1] is left out because ToTensor does it.
        self.model = build_model(stage.network)[1:]
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum
        )
        train, test = sample.train_images, sample.test_images
        train, test = Pictures(train, sample.train_labels), Pictures(test, sample.test_labels)
        self.train_loader = DataLoader(train, recipe.batch_size, shuffle=True)
        self.test_loader = DataLoader(test, recipe.batch_size)

    def epoch(self) -> None:
        """Train on every picture once, then test; loss and accuracy gathered step by step."""
        for loader, training in ((self.train_loader, True), (self.test_loader, False)):
            self.model.train(training)
            running_loss = correct = 0
            with torch.set_grad_enabled(training):
                for images, labels in loader:
                    logits = self.model(images)
                    loss = self.loss(logits, labels)
                    if training:
                        self.optimizer.zero_grad()
                        loss.backward()
                        self.optimizer.step()
                    running_loss += loss.item() * len(labels)
                    correct += (logits.argmax(1) == labels).sum().item()
