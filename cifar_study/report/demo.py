"""Trained networks inside the report's pages: their layers as data, their weights as bytes.

``chapters/networks.js`` builds the networks again from the description, with
TensorFlow.js, and runs them in the reader's browser. The library and the weights
are parts that pages name and share: the edition as one file holds one copy of
each, and ``chapters/works_from_file.py`` writes them to files beside Quarto's pages.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from string import Template
from typing import Any

import numpy as np
from IPython.display import Markdown

from cifar_study.cifar10 import CLASSES
from cifar_study.layers import count_layers
from cifar_study.report import study, style, summary
from cifar_study.report.replicates import replicates
from cifar_study.results.status import as_recorded
from cifar_study.results.store import Result
from cifar_study.stages import Network, ResNet

# The free pictures that a reader can try (figures/sample-….jpg), and the class of each.
SAMPLES = {"cat": "cat", "horse": "horse", "rocket": "", "coffee": ""}
SIDES = (32, 128)  # pixels of a square as large as the picture: at the start, and at most
LEVELS = 32_767  # on either side of zero, of a weight in 16 bits
LIBRARY = {
    "core": "tf-core.es2017.min.js",
    "backend": "tf-backend-wasm.es2017.min.js",
    "wasm": "tfjs-backend-wasm-simd.wasm",
}
EPSILON = 1e-5  # what PyTorch's batch normalisation adds to a variance


@study.noted
def photo(number: int) -> Markdown:
    """The widget that runs a stage's network on the reader's pictures, with all that it needs."""
    network = trained(number)
    if not network:
        return Markdown(f"*A picture of yours can be tried here once stage {number} is trained.*")
    start, most = SIDES
    page = Template(chapter_file("photo.html")).substitute(
        epochs=summary.stage(number).epochs,
        samples="\n".join(choice(**sample) for sample in samples()),
        start=start,
        most=most,
    )
    return widget("photo", {"classes": CLASSES, "stage": network}, page)


def widget(name: str, data: dict[str, Any], page: str = "") -> Markdown:
    """A front end, ``chapters/NAME.js``, with its data and the networks that those name.

    It is raw HTML in Markdown, which every edition passes through and a PDF leaves out.
    """
    stages = data.get("stages", [data.get("stage")])
    # In a script element only "<" could end the data early.
    content = json.dumps(data, separators=(",", ":")).replace("<", r"\u003c")
    colours = {
        f"--{name}": f"light-dark({colour}, {style.on_ground(colour)})"
        for name, colour in (("right", style.RIGHT), ("wrong", style.WRONG), ("other", style.OTHER))
    }
    rules = "; ".join(f"{name}: {value}" for name, value in colours.items())
    needed = [*LIBRARY, *(f"stage-{stage['number']}" for stage in stages)]
    named = "\n".join(f'<script type="text/plain" data-once="{part}"></script>' for part in needed)
    return Markdown(
        "```````{=html}\n"
        f'<style data-once="networks-style">\n.net {{ {rules} }}\n'
        f"{chapter_file('networks.css')}</style>\n{page}\n{named}\n"
        f'<script type="application/json" id="{name}-data">{content}</script>\n'
        f'<script data-once="networks">\n{chapter_file("networks.js")}'
        f"{chapter_file('pictures.js')}</script>\n"
        f"<script>\n{chapter_file(f'{name}.js')}</script>\n"
        "```````\n"
    )


def trained(number: int) -> dict[str, Any]:
    """A stage's network for a page; empty where none can be run there.

    It is the network that was trained, which need not be the one that is registered now.
    ``side`` is that of the pictures it takes, None where they may be of any size.
    """
    network, result = _recorded(number)
    if result is None or not isinstance(network, Network):
        return {}
    layers, _ = describe(network, result.model())
    return {"number": number, "side": network.input_size, "layers": layers}


def _recorded(number: int) -> tuple[Network | ResNet, Result | None]:
    status = replicates(number).statuses[0]
    return as_recorded(status.run).stage.network, status.result


def describe(
    network: Network, weights: Mapping[str, np.ndarray]
) -> tuple[list[dict[str, Any]], list[tuple[np.ndarray, np.ndarray]]]:
    """The layers in order, and weights and bias of each that has them.

    They are laid out as TensorFlow wants them, for pictures (N, H, W, C): (3, 3,
    inputs, filters) and (values, classes). Batch normalisation, which is linear
    once training is over, is part of the convolution before it; dropout does
    nothing any more.
    """
    layers: list[dict[str, Any]] = []
    arrays: list[tuple[np.ndarray, np.ndarray]] = []
    for number, block in enumerate(network.blocks, start=1):
        for position in (1, 2):
            weight, bias = _convolution(weights, f"block{number}", position, block.batch_norm)
            layers.append(
                {"kind": "convolution", "shape": weight.shape, "activation": block.activation}
            )
            arrays.append((weight, bias))
        layers.append(
            {"kind": "globalAverage"}
            if block.pool == "global"
            else {"kind": "maxPooling", "size": block.pool}
        )
    # PyTorch flattens channels first, TensorFlow last.
    side = network.input_size or SIDES[0]
    dense = weights["dense.weight"].reshape(-1, *count_layers(network, side, side)[-2].shape)
    dense = dense.transpose(2, 3, 1, 0).reshape(-1, network.classes)
    layers.append({"kind": "dense", "shape": dense.shape})
    arrays.append((dense, weights["dense.bias"]))
    return layers, arrays


def packed(arrays: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Weights and biases as little-endian bytes.

    First, for each layer, a scale and a bias for each filter or class,
    ``float32``; then the weights of each as ``int16``, to be multiplied by those
    scales: of the same size as ``float16``, and closer.
    """
    exact, rounded = b"", b""
    for weight, bias in arrays:
        largest = np.abs(weight).reshape(-1, weight.shape[-1]).max(0)
        scale = np.maximum(largest, np.finfo("<f4").tiny) / LEVELS
        exact += scale.astype("<f4").tobytes() + bias.astype("<f4").tobytes()
        rounded += np.rint(weight / scale).astype("<i2").tobytes()
    return exact + rounded


def _convolution(
    weights: Mapping[str, np.ndarray], block: str, position: int, normalised: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Filters (3, 3, inputs, filters) and bias, the batch normalisation after them included."""
    weight = weights[f"{block}.conv{position}.weight"].transpose(2, 3, 1, 0)
    bias = weights[f"{block}.conv{position}.bias"]
    if not normalised:
        return weight, bias
    gain, shift, mean, variance = (
        weights[f"{block}.norm{position}.{name}"].astype(np.float64)
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / np.sqrt(variance + EPSILON)
    return weight * scale, (bias - mean) * scale + shift


def samples() -> Iterator[dict[str, str]]:
    """The free pictures: the name of each, its class or nothing, and its address."""
    for name, of_class in SAMPLES.items():
        content = (study.figures() / f"sample-{name}.jpg").read_bytes()
        address = f"data:image/jpeg;base64,{in_base64(content)}"
        yield {"name": name, "truth": of_class, "address": address}


def choice(name: str, truth: str, address: str) -> str:
    """A button that takes a picture; without a class it shows none of the ten."""
    return f'<button type="button" data-class="{truth}"><img src="{address}" alt="">{name}</button>'


def in_base64(content: bytes) -> str:
    """Bytes as text, for a page."""
    return base64.b64encode(content).decode()


def chapter_file(name: str) -> str:
    """A script, style or fragment that lies with the chapters."""
    return (study.project_path("chapters") / name).read_text(encoding="utf-8")


def part(name: str) -> str:
    """The text of what a page names: a file of the library, or a stage's weights in base64."""
    if file := LIBRARY.get(name):
        content = (study.project_path("chapters") / "tensorflow" / file).read_bytes()
        return in_base64(content) if file.endswith(".wasm") else content.decode()
    network, result = _recorded(int(name.removeprefix("stage-")))
    _, arrays = describe(network, result.model())
    return in_base64(packed(arrays))
