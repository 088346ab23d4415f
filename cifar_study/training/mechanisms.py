"""What happens inside the networks, as small numbers that the report draws: no chart, no file.

Each stage of :data:`MEASURES` shows one mechanism. Its numbers are fit for JSON.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cifar_study.datasets import Dataset
from cifar_study.results.run import Run
from cifar_study.training.predict import as_batch, fresh_network, probabilities, trained_network

PICTURE = 6042  # the test picture that is followed through layers
PLACE = (12, 12)  # row and column where a convolution is worked by hand
PERCENTILES = (5, 50, 95)
MAPS = 6  # feature maps that are kept of each block
DROPPED = 255  # in a kept map, a value that dropout set to zero; 0 to 254 are values


def first_network(run: Run, data: Dataset) -> dict[str, Any]:
    """The network as PyTorch prints it, and the first filter at one place of a test picture.

    ``untrained`` holds its accuracy and loss on all test pictures before the first step.
    ``patch`` (3, 4, 4) holds pixels in [0, 1] from :data:`PLACE` on, ``weights`` (3, 3, 3) and
    ``bias`` are the filter's; ``outputs`` (2, 2) is what the trained network's convolution gives
    there, before the activation.
    """
    model = trained_network(run)
    convolution = model.get_submodule("block1.conv1")
    pixels = as_batch(data.test_images[PICTURE : PICTURE + 1]) / 255
    with torch.inference_mode():
        outputs = convolution(pixels)[0, 0]
    row, column = PLACE
    return {
        "print": str(model),
        "untrained": score(fresh_network(run), data.test_images, data.test_labels),
        "picture": _hex(data.test_images[PICTURE]),
        "place": [row, column],
        "patch": _rounded(pixels[0, :, row : row + 4, column : column + 4], 6),
        "weights": _rounded(convolution.weight[0], 6),
        "bias": float(convolution.bias[0].detach()),
        # The patch's inner 2 × 2 places are the middles of its four windows.
        "outputs": _rounded(outputs[row + 1 : row + 3, column + 1 : column + 3], 6),
    }


def score(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, as a share, and mean cross-entropy, in nats, of a network on pictures."""
    given = probabilities(model, images)
    truth = given[np.arange(len(labels)), labels]
    return {
        "accuracy": float((given.argmax(1) == labels).mean()),
        "loss": float(-np.log(truth).mean()),
    }


def gradients(run: Run, data: Dataset) -> dict[str, Any]:
    """:func:`gradient_sizes` before the first step and after the last one."""
    size = run.stage.recipe.batch_size
    return {"gradients": _start_and_end(run, lambda model: gradient_sizes(model, data, size))}


def _start_and_end(run: Run, measured: Callable[[nn.Sequential], Any]) -> dict[str, Any]:
    return {"start": measured(fresh_network(run)), "end": measured(trained_network(run))}


def gradient_sizes(
    model: nn.Module, data: Dataset, batch_size: int, batches: int = 20
) -> dict[str, float]:
    """Root mean square gradient of each layer's weights over some batches, by layer name."""
    random = np.random.RandomState(0)
    squares = {name: 0.0 for name, values in model.named_parameters() if values.dim() > 1}
    for _ in range(batches):
        chosen = random.choice(len(data.train_labels), batch_size, replace=False)
        labels = torch.from_numpy(data.train_labels[chosen]).long()
        model.zero_grad()
        logits = model(as_batch(data.train_images[chosen]))
        nn.functional.cross_entropy(logits, labels).backward()
        for name in squares:
            squares[name] += model.get_parameter(name).grad.square().mean().item() / batches
    return {name.removesuffix(".weight"): square**0.5 for name, square in squares.items()}


def values_before_activation(run: Run, data: Dataset, pictures: int = 500) -> dict[str, Any]:
    """:func:`activation_inputs` for evenly spaced test pictures, before and after training."""
    images = data.test_images[:: len(data.test_images) // pictures or 1]
    return {"values": _start_and_end(run, lambda model: activation_inputs(model, images))}


def activation_inputs(model: nn.Module, images: np.ndarray) -> dict[str, list[float]]:
    """Percentiles of what reaches each activation, over all pictures, channels and places.

    As in a training step: batch normalisation takes the mean and variance of these
    pictures. Its running statistics in ``model`` change.
    """
    names = {
        layer: name.replace("act", "conv")
        for name, layer in model.named_modules()
        if isinstance(layer, nn.ReLU | nn.Sigmoid)
    }
    found: dict[str, list[float]] = {}

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = np.percentile(inputs[0].detach().numpy(), PERCENTILES)
        found[names[layer]] = values.round(4).tolist()

    hooks = [layer.register_forward_pre_hook(keep) for layer in names]
    training = model.training
    model.train()
    with torch.no_grad():
        model(as_batch(images))
    model.train(training)
    for hook in hooks:
        hook.remove()
    return found


def feature_maps(run: Run, data: Dataset) -> dict[str, Any]:
    """One picture after each block, as evaluated and under one mask of dropout.

    Of each block the :data:`MAPS` channels that vary most over the picture, in their order,
    as evaluated; one byte a value, scaled by the largest of the block in either pass to
    0 … 254, :data:`DROPPED` where dropout set a value to zero.
    """
    model, image = trained_network(run), data.test_images[PICTURE : PICTURE + 1]
    plain, _ = block_outputs(model, image)
    thinned, dropped = block_outputs(model, image, seed=0)
    blocks = []
    for whole, thin, gone in zip(plain, thinned, dropped, strict=True):
        spread = whole.reshape(len(whole), -1).std(1)
        chosen = np.sort(np.argsort(-spread, kind="stable")[:MAPS])
        largest = max(whole[chosen].max(), thin[chosen].max())
        scaled = [np.rint(254 * maps[chosen] / largest).astype(np.uint8) for maps in (whole, thin)]
        scaled[1][gone[chosen]] = DROPPED
        blocks.append(
            {
                "of": len(whole),
                "side": whole.shape[1],
                "maps": [_hex(one) for one in scaled[0]],
                "thinned": [_hex(one) for one in scaled[1]],
                "dropped": float(gone.mean()),
            }
        )
    return {"picture": _hex(image[0]), "blocks": blocks}


@torch.inference_mode()
def block_outputs(
    model: nn.Sequential, image: np.ndarray, seed: int | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What each block passes on of one picture (channels, H, W), and where dropout struck.

    Without a ``seed`` dropout is off. With one it draws its masks from it; batch normalisation
    keeps to its running statistics in both cases.
    """
    values = model.get_submodule("rescale")(as_batch(image))
    given, struck = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        for name, block in model.named_children():
            if not name.startswith("block"):
                continue
            mask = torch.ones(())
            for layer in block:
                if isinstance(layer, nn.Dropout):
                    off = nn.functional.dropout(
                        torch.ones_like(values), layer.p, training=seed is not None
                    )
                    mask, values = off, values * off
                else:
                    values = layer(values)
            given.append(values[0].numpy())
            struck.append((mask.expand(values.shape)[0] == 0).numpy())
    return given, struck


def _rounded(values: Tensor, digits: int) -> list[Any]:
    return np.round(values.detach().numpy().astype(np.float64), digits).tolist()


def _hex(values: np.ndarray) -> str:
    """Bytes as text, two characters each."""
    return np.ascontiguousarray(values, dtype=np.uint8).tobytes().hex()


MEASURES: dict[int, Callable[[Run, Dataset], dict[str, Any]]] = {
    1: first_network,
    3: gradients,
    4: gradients,
    5: values_before_activation,
    6: values_before_activation,
    7: feature_maps,
}
