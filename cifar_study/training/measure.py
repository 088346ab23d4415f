"""What the report shows of a trained network, measured once its run is complete.

Each measure is a function of a run and its data set that returns numbers fit for JSON; pixels are
kept as text, two characters a byte.
"""

import json
from collections.abc import ItemsView, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from tqdm import tqdm

from cifar_study.checkpoints import write
from cifar_study.data import Dataset
from cifar_study.errors import reading
from cifar_study.runs import MEASURED, MODEL, Run, in_project, read
from cifar_study.stages import CLASSES, SHOWN, SIDE
from cifar_study.training.engine import load_weights
from cifar_study.training.model import build_model

FOLLOWED = 4  # which of them goes through layers
MAPS = 6  # feature maps that are kept of each block
DROPPED = 255  # in a kept map, a value that dropout set to zero; 0 to 254 are values
# Width, height and how a test picture comes to them: unchanged, then the assignment's own.
SIZES = {"as they are": [(SIDE, SIDE)], "scaled": [(28, 32), (36, 30)], "cut": [(32, 28), (28, 32)]}
SHAPES = [(*size, how) for how, sizes in SIZES.items() for size in sizes]


def measure(run: Run, data: Dataset) -> None:
    """Write ``measured.json`` of a run: what its stage names, and of which network it is."""
    model = read(run).record["files"][MODEL]
    names = tqdm(run.stage.measures, f"measuring {run}", leave=False, disable=None)
    content = {"of": model, "values": {name: MEASURES[name](run, data) for name in names}}
    write(run.folder / MEASURED, (json.dumps(content, ensure_ascii=False) + "\n").encode())


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


def shown_places(data: Dataset) -> list[int]:
    """Six places in the test set: those of :data:`SHOWN`, in a smaller set spread over it."""
    pictures = len(data.test_labels)
    return list(SHOWN if max(SHOWN) < pictures else range(0, pictures, pictures // 6 or 1)[:6])


def shown_pictures(run: Run, data: Dataset) -> dict[str, Any]:
    """Six test pictures, and what the network said of them before its first step.

    ``untrained``: its accuracy, as a share, and loss, in nats, on all test pictures.
    """
    given, places = probabilities(fresh_network(run), data.test_images), shown_places(data)
    labels = data.test_labels
    loss = -np.log(given[np.arange(len(labels)), labels]).mean()
    untrained = {"accuracy": float((given.argmax(1) == labels).mean()), "loss": float(loss)}
    return _kept(places, data) | {"before": given[places].tolist(), "untrained": untrained}


def first_filter(run: Run, data: Dataset) -> dict[str, Any]:
    """The trained network's first filter at one place of a test picture.

    ``patch`` (3, 4, 4) holds pixels in [0, 1] from ``place`` on, ``weights`` is (3, 3, 3),
    ``outputs`` (2, 2) what the convolution gives there, before the activation.
    """
    convolution = trained_network(run).get_submodule("block1.conv1")
    image = data.test_images[shown_places(data)[FOLLOWED]]
    pixels = as_batch(image[None]) / 255
    outputs, row, column = convolution(pixels)[0, 0], 12, 12
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
    return {when: gradient_sizes(model, data, size) for when, model in _start_and_end(run)}


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
    return {when: activation_inputs(model, images) for when, model in _start_and_end(run)}


def activation_inputs(model: nn.Module, images: np.ndarray) -> dict[str, list[float]]:
    """The 5th, 50th and 95th percentile of what reaches each activation, as in a training step."""
    percentiles: dict[str, list[float]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.ReLU | nn.Sigmoid):

            def keep(_: nn.Module, inputs: tuple[Tensor], name: str = name) -> None:
                values = np.percentile(inputs[0].numpy(), (5, 50, 95)).round(4)
                percentiles[name.replace("act", "conv")] = values.tolist()

            layer.register_forward_pre_hook(keep)
    with torch.no_grad():
        model.train()(as_batch(images))
    return percentiles


def feature_maps(run: Run, data: Dataset) -> dict[str, Any]:
    """One picture after each block, as evaluated and under one mask of dropout.

    Of each block the :data:`MAPS` channels that vary most; a byte a value, scaled by the largest
    of the block in either pass to 0 … 254, :data:`DROPPED` where dropout set it to zero.
    """
    image, blocks = data.test_images[shown_places(data)[FOLLOWED]], []
    for whole, thin, gone in block_outputs(trained_network(run), image):
        spread = whole.reshape(len(whole), -1).std(1)
        chosen = np.sort(np.argsort(-spread, kind="stable")[:MAPS])
        largest = max(whole[chosen].max(), thin[chosen].max()) or 1
        scaled = [np.rint(254 * maps[chosen] / largest).astype(np.uint8) for maps in (whole, thin)]
        scaled[1][gone[chosen]] = DROPPED
        maps, thinned = ([_hex(values) for values in each] for each in scaled)
        sides = {"of": len(whole), "side": whole.shape[1]}
        blocks.append(sides | {"maps": maps, "thinned": thinned, "dropped": float(gone.mean())})
    return {"picture": _hex(image), "blocks": blocks}


@torch.inference_mode()
def block_outputs(model: nn.Sequential, image: np.ndarray) -> Iterator[list[np.ndarray]]:
    """What each block passes on of one picture, that under dropout, and where dropout struck.

    All (channels, H, W); batch normalisation keeps to its running statistics.
    """
    torch.manual_seed(0)
    values = thin = model.get_submodule("rescale")(as_batch(image[None]))
    for name, block in model.named_children():
        if name.startswith("block"):
            mask = torch.ones(())
            for layer in block:
                values = layer(values)
                if isinstance(layer, nn.Dropout):
                    mask = nn.functional.dropout(torch.ones_like(thin), layer.p)
                thin = thin * mask if isinstance(layer, nn.Dropout) else layer(thin)
            struck = (mask == 0).expand(values.shape)
            yield [each[0].numpy() for each in (values, thin, struck)]


def photos(run: Run, data: Dataset) -> dict[str, dict[str, Any]]:
    """What the network says of every photo that ``sources.csv`` names, by file."""
    folder, model, answers = in_project("figures/photos"), trained_network(run), {}
    with reading(folder / "sources.csv", "save it with commas, in UTF-8, the class one of the ten"):
        sources = pd.read_csv(folder / "sources.csv", usecols=["file", "class"])
        if not (known := sources["class"].isin(CLASSES)).all():
            raise ValueError(f"the class of {sources.file[~known].iloc[0]}")
    for name in sources.file:
        with reading(folder / name, "save it anew or take its line out of sources.csv"):
            photo = ImageOps.exif_transpose(Image.open(folder / name)).convert("RGB")
        width, height = photo_size(*photo.size)
        given = probabilities(model, resized([photo], (width, height)))[0].tolist()
        answers[name] = {"width": width, "height": height, "probabilities": given}
    return answers


def photo_size(width: int, height: int) -> tuple[int, int]:
    """The sides that keep the proportions and hold about as many pixels as in training."""
    scale = SIDE / (width * height) ** 0.5
    return max(8, round(scale * width)), max(8, round(scale * height))


def resized(pictures: Iterable[Image.Image], size: tuple[int, int]) -> np.ndarray:
    """All of them at one width and height, ``uint8`` (N, height, width, 3)."""
    return np.stack([np.asarray(each.resize(size, Image.Resampling.LANCZOS)) for each in pictures])


def shapes(run: Run, data: Dataset) -> dict[str, dict[str, int]]:
    """How many test pictures are classified correctly in the shapes of :data:`SHAPES`.

    ``gained`` and ``lost`` count those that are in this shape alone, or as they are alone.
    """
    model, counts, unchanged = trained_network(run), {}, None
    for width, height, how in SHAPES:
        top, left = (SIDE - height) // 2, (SIDE - width) // 2
        pictures = data.test_images[:, top : top + height, left : left + width]  # the middle
        if how == "scaled":
            pictures = resized(map(Image.fromarray, data.test_images), (width, height))
        right = probabilities(model, pictures).argmax(1) == data.test_labels
        unchanged = right if unchanged is None else unchanged
        cases = {"right": right, "gained": right & ~unchanged, "lost": unchanged & ~right}
        counted = {case: int(which.sum()) for case, which in cases.items()}
        counts[f"{width}×{height} {how}"] = {"pictures": len(right)} | counted
    return counts


def mistakes(run: Run, data: Dataset) -> dict[str, Any]:
    """The twelve test pictures that the network is surest of and wrong about, surest first."""
    given, labels = read(run).predictions()
    wrong = np.flatnonzero(given.argmax(1) != labels)
    surest = wrong[np.argsort(-given[wrong].max(1), kind="stable")]
    return _kept(surest[:12].tolist(), data)


def _kept(places: list[int], data: Dataset) -> dict[str, Any]:
    return {
        "places": places,
        "labels": data.test_labels[places].tolist(),
        "pixels": [_hex(image) for image in data.test_images[places]],
    }


def _start_and_end(run: Run) -> ItemsView[str, nn.Sequential]:
    return {"start": fresh_network(run), "end": trained_network(run)}.items()


def _rounded(values: Tensor) -> list[Any]:
    return np.round(values.detach().numpy().astype(np.float64), 6).tolist()


def _hex(values: np.ndarray) -> str:
    return np.ascontiguousarray(values, dtype=np.uint8).tobytes().hex()


MEASURES = {
    "pictures": shown_pictures,
    "convolution": first_filter,
    "gradients": gradients,
    "values": values_before_activation,
    "maps": feature_maps,
    "photos": photos,
    "shapes": shapes,
    "errors": mistakes,
}
