"""What the report shows of a trained network, measured once its run is complete.

Each function of :data:`MEASURES` takes a run and its data set and returns numbers fit for JSON;
which of them a stage is measured by, its entry in :mod:`cifar_study.stages` says. Pixels are kept
as text, two characters a byte, so that drawing takes neither the data set nor the network.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from cifar_study.checkpoints import write
from cifar_study.data import Dataset
from cifar_study.errors import StudyError, reason
from cifar_study.runs import MEASURED, MODEL, Run, read
from cifar_study.training.predict import as_batch, fresh_network, probabilities, trained_network
from cifar_study.training.sizes import photos, shapes

SHOWN = (310, 1205, 3010, 5400, 6042, 8815)  # test pictures of CIFAR-10 that pages follow
FOLLOWED = 4  # which of them goes through layers
PLACE = (12, 12)  # row and column where a convolution is worked by hand
PERCENTILES = (5, 50, 95)
MAPS = 6  # feature maps that are kept of each block
DROPPED = 255  # in a kept map, a value that dropout set to zero; 0 to 254 are values
MISTAKES = 12


def measure(run: Run, data: Dataset) -> None:
    """Measure what the stage's entry names, into the run's ``measured.json``.

    Nothing where it names nothing. A run without a network, or with one that can't be measured
    so, is a :class:`StudyError`.
    """
    if not run.stage.measures:
        return
    result, values = read(run), {}
    if result is None:
        raise StudyError(f"{run.folder}: holds no result; train it with: {run.command()}")
    for name in (bar := tqdm(run.stage.measures, leave=False, disable=None)):
        bar.set_description(f"measuring {run}: {name}")
        try:
            values[name] = MEASURES[name](run, data)
        except RuntimeError as error:  # as of a picture that the poolings leave no pixel of
            raise StudyError(
                f"{run}: {name!r} can't be measured ({reason(error)}); take out of sources.csv or "
                "of the stage's entry what does not go with its network"
            ) from None
    content = {"of": result.record["files"][MODEL], "values": values}
    write(run.folder / MEASURED, (json.dumps(content, ensure_ascii=False) + "\n").encode())


def shown_places(data: Dataset) -> list[int]:
    """Six places in the test set: those of :data:`SHOWN`, in a smaller set spread over it."""
    pictures = len(data.test_labels)
    return list(SHOWN if max(SHOWN) < pictures else range(0, pictures, pictures // 6 or 1)[:6])


def shown_pictures(run: Run, data: Dataset) -> dict[str, Any]:
    """Six test pictures, and what the network said of them before its first step.

    ``untrained`` holds its accuracy and loss on all test pictures then.
    """
    places, fresh = shown_places(data), fresh_network(run)
    before = probabilities(fresh, data.test_images[places]).tolist()
    untrained = score(fresh, data.test_images, data.test_labels)
    return _kept(places, data) | {"before": before, "untrained": untrained}


def score(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, as a share, and mean cross-entropy, in nats, of a network on pictures."""
    given = probabilities(model, images)
    truth = given[np.arange(len(labels)), labels]
    accuracy, loss = (given.argmax(1) == labels).mean(), -np.log(truth).mean()
    return {"accuracy": float(accuracy), "loss": float(loss)}


def first_filter(run: Run, data: Dataset) -> dict[str, Any]:
    """The trained network's first filter at one place of a test picture.

    ``patch`` (3, 4, 4) holds pixels in [0, 1] from :data:`PLACE` on, ``weights`` (3, 3, 3) and
    ``bias`` are the filter's; ``outputs`` (2, 2) is what the convolution gives there, before the
    activation.
    """
    convolution = trained_network(run).get_submodule("block1.conv1")
    image = data.test_images[shown_places(data)[FOLLOWED]]
    pixels = as_batch(image[None]) / 255
    with torch.inference_mode():
        outputs = convolution(pixels)[0, 0]
    row, column = PLACE
    return {
        "picture": _hex(image),
        "place": [row, column],
        "patch": _rounded(pixels[0, :, row : row + 4, column : column + 4]),
        "weights": _rounded(convolution.weight[0]),
        "bias": float(convolution.bias[0].detach()),
        # The patch's inner 2 × 2 places are the middles of its four windows.
        "outputs": _rounded(outputs[row + 1 : row + 3, column + 1 : column + 3]),
    }


def gradients(run: Run, data: Dataset) -> dict[str, Any]:
    """:func:`gradient_sizes` before the first step and after the last one."""
    size = run.stage.recipe.batch_size
    return _start_and_end(run, lambda model: gradient_sizes(model, data, size))


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
    return _start_and_end(run, lambda model: activation_inputs(model, images))


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
    percentiles: dict[str, list[float]] = {}

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = np.percentile(inputs[0].detach().numpy(), PERCENTILES)
        percentiles[names[layer]] = values.round(4).tolist()

    hooks = [layer.register_forward_pre_hook(keep) for layer in names]
    training = model.training
    model.train()
    with torch.no_grad():
        model(as_batch(images))
    model.train(training)
    for hook in hooks:
        hook.remove()
    return percentiles


def feature_maps(run: Run, data: Dataset) -> dict[str, Any]:
    """One picture after each block, as evaluated and under one mask of dropout.

    Of each block the :data:`MAPS` channels that vary most over the picture, in their order,
    as evaluated; one byte a value, scaled by the largest of the block in either pass to
    0 … 254, :data:`DROPPED` where dropout set a value to zero.
    """
    model, image = trained_network(run), data.test_images[shown_places(data)[FOLLOWED]]
    plain, _ = block_outputs(model, image)
    thinned, dropped = block_outputs(model, image, seed=0)
    blocks = []
    for whole, thin, gone in zip(plain, thinned, dropped, strict=True):
        spread = whole.reshape(len(whole), -1).std(1)
        chosen = np.sort(np.argsort(-spread, kind="stable")[:MAPS])
        largest = max(whole[chosen].max(), thin[chosen].max()) or 1
        scaled = [np.rint(254 * maps[chosen] / largest).astype(np.uint8) for maps in (whole, thin)]
        scaled[1][gone[chosen]] = DROPPED
        maps, thinner = ([_hex(values) for values in each] for each in scaled)
        sides = {"of": len(whole), "side": whole.shape[1]}
        blocks.append(sides | {"maps": maps, "thinned": thinner, "dropped": float(gone.mean())})
    return {"picture": _hex(image), "blocks": blocks}


@torch.inference_mode()
def block_outputs(
    model: nn.Sequential, image: np.ndarray, seed: int | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What each block passes on of one picture (channels, H, W), and where dropout struck.

    Without a ``seed`` dropout is off. With one it draws its masks from it; batch normalisation
    keeps to its running statistics in both cases.
    """
    values = model.get_submodule("rescale")(as_batch(image[None]))
    outputs, struck = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        for name, block in model.named_children():
            if not name.startswith("block"):
                continue
            mask = torch.ones(())
            for layer in block:
                if isinstance(layer, nn.Dropout):
                    ones = torch.ones_like(values)
                    mask = nn.functional.dropout(ones, layer.p, training=seed is not None)
                    values = values * mask
                else:
                    values = layer(values)
            outputs.append(values[0].numpy())
            struck.append((mask.expand(values.shape)[0] == 0).numpy())
    return outputs, struck


def mistakes(run: Run, data: Dataset) -> dict[str, Any]:
    """The test pictures that the network is surest of and wrong about, the surest first."""
    given, labels = read(run).predictions()
    wrong = np.flatnonzero(given.argmax(1) != labels)
    surest = wrong[np.argsort(-given[wrong].max(1), kind="stable")]
    return _kept(surest[:MISTAKES].tolist(), data)


def _kept(places: list[int], data: Dataset) -> dict[str, Any]:
    pixels = [_hex(image) for image in data.test_images[places]]
    return {"places": places, "labels": data.test_labels[places].tolist(), "pixels": pixels}


def _start_and_end(run: Run, measured: Callable[[nn.Sequential], Any]) -> dict[str, Any]:
    return {"start": measured(fresh_network(run)), "end": measured(trained_network(run))}


def _rounded(values: Tensor, digits: int = 6) -> list[Any]:
    return np.round(values.detach().numpy().astype(np.float64), digits).tolist()


def _hex(values: np.ndarray) -> str:
    return np.ascontiguousarray(values, dtype=np.uint8).tobytes().hex()


MEASURES: dict[str, Callable[[Run, Dataset], dict[str, Any]]] = {
    "pictures": shown_pictures,
    "convolution": first_filter,
    "gradients": gradients,
    "values": values_before_activation,
    "maps": feature_maps,
    "photos": photos,
    "shapes": shapes,
    "errors": mistakes,
}
