"""A network from a run's folder, and the probabilities it gives for pictures."""

import numpy as np
import torch
from torch import Tensor, nn

from cifar_study.runs import Run, read
from cifar_study.training.engine import load_weights
from cifar_study.training.model import build_model


def fresh_network(run: Run) -> nn.Sequential:
    """The network of a run as it was before its first step."""
    return build_model(run.stage.network, run.seed, run.stage.recipe.start).eval()


def trained_network(run: Run) -> nn.Sequential:
    """The network of a run as it was last saved."""
    model = fresh_network(run)
    load_weights(model, read(run).model())
    return model


@torch.inference_mode()
def probabilities(model: nn.Module, pictures: np.ndarray) -> np.ndarray:
    """Class probabilities ``float32`` (N, classes) for ``uint8`` pictures (N, H, W, 3)."""
    parts = as_batch(pictures).split(200)  # few enough for any memory
    return torch.cat([model(part).float().softmax(1) for part in parts]).numpy()


def as_batch(pictures: np.ndarray) -> Tensor:
    """Pictures ``uint8`` (N, H, W, 3) as a tensor (N, 3, H, W)."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2)
