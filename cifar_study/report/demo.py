"""The trained network inside the report's page: its layers as data, its weights as bytes.

``chapters/photo.js`` builds the network again from the description, with
TensorFlow.js, and runs it in the reader's browser.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from IPython.display import Markdown

from cifar_study.cifar10 import CLASSES
from cifar_study.layers import count_layers
from cifar_study.report import study, summary
from cifar_study.report.replicates import replicates
from cifar_study.report.style import OTHER, RIGHT
from cifar_study.stages import Network

# The free pictures that a reader can try (figures/sample-….jpg), and the class of each.
SAMPLES = {"cat": "cat", "horse": "horse", "rocket": "", "coffee": ""}
SIDES = (32, 128)  # pixels of the longer side: at the start, and at most
EPSILON = 1e-5  # what PyTorch's batch normalisation adds to a variance


@study.noted
def photo(number: int) -> Markdown:
    """The widget that runs a stage's network on the reader's pictures, with all that it needs."""
    status = replicates(number).statuses[0]
    if status.result is None:
        return Markdown(f"*A picture of yours can be tried here once stage {number} is trained.*")
    layers, values = describe(status.run.stage.network, status.result.model())
    pools = [block.pool for block in status.run.stage.network.blocks if block.pool != "global"]
    network = {"classes": CLASSES, "smallest": math.prod(pools), "layers": layers}
    start, most = SIDES
    library = study.pages() / "tensorflow"
    page = Template((study.pages() / "photo.html").read_text(encoding="utf-8")).substitute(
        epochs=summary.stage(number).epochs,
        samples="\n".join(_sample(study.figures(), name) for name in SAMPLES),
        smallest=network["smallest"],
        start=start,
        most=most,
        right=RIGHT,
        other=OTHER,
        network=json.dumps(network),
        weights=_base64(values),
        wasm=_base64((library / "tfjs-backend-wasm-simd.wasm").read_bytes()),
        core=(library / "tf-core.es2017.min.js").read_text(encoding="utf-8"),
        backend=(library / "tf-backend-wasm.es2017.min.js").read_text(encoding="utf-8"),
        script=(study.pages() / "photo.js").read_text(encoding="utf-8"),
    )
    return Markdown(f"```````{{=html}}\n{page}\n```````\n")


def describe(
    network: Network, weights: Mapping[str, np.ndarray]
) -> tuple[list[dict[str, Any]], bytes]:
    """The layers in order, and their weights as little-endian ``float32`` in that order.

    Weights are laid out as TensorFlow wants them, for pictures (N, H, W, C):
    (3, 3, inputs, filters), then a bias; (values, classes), then a bias. Batch
    normalisation, which is linear once training is over, is part of the
    convolution before it; dropout does nothing any more.
    """
    layers: list[dict[str, Any]] = []
    arrays: list[np.ndarray] = []
    for number, block in enumerate(network.blocks, start=1):
        for position in (1, 2):
            weight, bias = _convolution(weights, f"block{number}", position, block.batch_norm)
            layers.append(
                {"kind": "convolution", "shape": weight.shape, "activation": block.activation}
            )
            arrays += [weight, bias]
        layers.append(
            {"kind": "globalAverage"}
            if block.pool == "global"
            else {"kind": "maxPooling", "size": block.pool}
        )
    # PyTorch flattens channels first, TensorFlow last.
    dense = weights["dense.weight"].reshape(-1, *count_layers(network)[-2].shape)
    dense = dense.transpose(2, 3, 1, 0).reshape(-1, network.classes)
    layers.append({"kind": "dense", "shape": dense.shape})
    arrays += [dense, weights["dense.bias"]]
    return layers, b"".join(array.astype("<f4").tobytes() for array in arrays)


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


def _sample(folder: Path, name: str) -> str:
    picture = _base64((folder / f"sample-{name}.jpg").read_bytes())
    return (
        f'<button type="button" data-class="{SAMPLES[name]}">'
        f'<img src="data:image/jpeg;base64,{picture}" alt="">{name}</button>'
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
