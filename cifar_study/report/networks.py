"""What every stage's network makes of the same pictures: as a figure, and run in the page itself.

``chapters/networks.js`` builds the networks again, with TensorFlow.js, from their layers. The
library and the weights are parts that a page names; each edition puts them in its own place.
"""

import io
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from IPython.display import Markdown
from matplotlib.figure import Figure
from PIL import Image

from cifar_study.errors import StudyError
from cifar_study.layers import count_layers
from cifar_study.report import facts, style
from cifar_study.report.style import OTHER, RIGHT, WIDE, WRONG, chart, noted, show_image
from cifar_study.runs import MODEL, Result, in_project
from cifar_study.stages import CLASSES, SHOWN, SIDE, STAGES, TEST, Network

TRUTHS = [CLASSES[place * len(CLASSES) // TEST] for place in SHOWN]  # they are in that order
START = 4  # of SHOWN, which a page begins with: the networks say most different things of it
# The free photographs that a reader can try (figures/sample-….jpg), and the class of each.
SAMPLES = {"cat": "cat", "horse": "horse", "rocket": "", "coffee": ""}
BAR = 0.46  # length of a bar at 100%, the place of a picture being 1 wide
LIBRARY = {
    "core": "tf-core.es2017.min.js",
    "backend": "tf-backend-wasm.es2017.min.js",
    "wasm": "tfjs-backend-wasm-simd.wasm",
}
LEVELS = 32_767  # on either side of zero, of a weight in 16 bits
Weights = Mapping[str, np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]  # weights and biases of a layer


@chart(photographs=True)
def answers() -> Figure:
    """Six test pictures and, stage by stage, the class that each was given with its probability."""
    given = {number: result.predictions()[0] for number, result in _trained().items()}
    if not given:
        raise StudyError("Drawn once a stage is trained on CIFAR-10.")
    figure = Figure(figsize=(WIDE, 1 + 0.36 * len(given)))
    grid = figure.subplots(len(given) + 1, len(SHOWN), height_ratios=[1.6, *[1] * len(given)])
    for axes in grid.flat:
        axes.axis("off")
    for axes, picture, truth in zip(grid[0], _test_pictures(), TRUTHS, strict=True):
        show_image(axes, np.asarray(picture))
        axes.set_title(truth, fontsize=8, loc="center", weight="normal", pad=2)
    for row, (number, probabilities) in zip(grid[1:], given.items(), strict=True):
        row[0].text(-0.08, 0.6, str(number), ha="right", weight="bold", fontsize=9)
        for axes, place, truth in zip(row, SHOWN, TRUTHS, strict=True):
            guess, share = CLASSES[probabilities[place].argmax()], float(probabilities[place].max())
            colour = RIGHT if guess == truth else WRONG
            axes.set(xlim=(0, 1), ylim=(0, 1))
            axes.barh(0.15, BAR, 0.2, color="#e4e4e4")
            axes.barh(0.15, BAR * share, 0.2, color=colour)
            axes.text(0, 0.5, guess, fontsize=8, color=colour)
            axes.text(1, 0.15, f"{share:.0%}", fontsize=8, ha="right", va="center")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.06, hspace=0.0)
    return figure


@noted
def watch(label: str) -> Markdown:
    """All trained stages, to be run in the page; on screens, in place of the figure so labelled."""
    if not (trained := _trained()):
        return Markdown("")
    data = {
        "figure": label,
        "classes": CLASSES,
        "side": SIDE,
        "stages": [_described(result) for result in trained.values()],
        "choices": list(_choices()),
        "start": START,
    }
    head = (
        f"<style>.net {{ --right-colour: {RIGHT}; --wrong-colour: {WRONG}; "
        f"--other-colour: {OTHER} }}</style>"
    )
    for name in (*LIBRARY, *(f"stage-{number}" for number in trained)):
        head += f'\n<script type="text/plain" data-once="{name}"></script>'
    return style.in_page(
        "growth-data", data, "networks.css", "networks.js", "pictures.js", "growth.js", head=head
    )


def _trained() -> dict[int, Result]:
    """The first seed's result of each stage, by number, where a page can run its network."""
    results = filter(None, (facts.stage(number).first for number in STAGES))
    return {
        result.run.number: result
        for result in results
        if not result.state.startswith("stale")
        and result.run.data == "cifar10"
        and isinstance(result.run.stage.network, Network)
        and (result.run.folder / MODEL).exists()  # git keeps that of seed 0 alone
    }


def _described(result: Result) -> dict[str, Any]:
    stage, results = result.run.stage, facts.stage(result.run.number)
    about = (
        f"{results.parameters} parameters. After {results.epochs} it classifies "
        f"{results.test_accuracy} of the test pictures correctly"
    )
    if len(results.results) > 1:
        about += f" (mean of {facts.seeds(stage.number)}; this is the first)"
    if stage.network.input_size is None:
        about += ". It takes pictures of any shape: give it one that is not square"
    return {
        "number": stage.number,
        "title": stage.title,
        "side": stage.network.input_size,
        "layers": [layer for layer, _ in layers(stage.network, result.model())],
        "about": f"{about}.",
    }


def layers(network: Network, weights: Weights) -> Iterator[tuple[dict[str, Any], Pair | None]]:
    """The layers in order, each with its weights and bias where it has them.

    As TensorFlow wants them: (3, 3, inputs, filters) and (values, classes). Batch normalisation,
    linear once training is over, is part of the convolution before it.
    """
    for number, block in enumerate(network.blocks, start=1):
        for place in (1, 2):
            weight, bias = _convolution(weights, f"block{number}", place, block.batch_norm)
            about = {"kind": "convolution", "shape": weight.shape, "activation": block.activation}
            yield about, (weight, bias)
        average = block.pool == "global"
        yield {"kind": "average"} if average else {"kind": "pooling", "size": block.pool}, None
    # PyTorch flattens channels first, TensorFlow last.
    dense = weights["dense.weight"].reshape(-1, *count_layers(network)[-2].shape)
    dense = dense.transpose(2, 3, 1, 0).reshape(-1, network.classes)
    yield {"kind": "dense", "shape": dense.shape}, (dense, weights["dense.bias"])


def _convolution(weights: Weights, block: str, place: int, normalised: bool) -> Pair:
    weight = weights[f"{block}.conv{place}.weight"].transpose(2, 3, 1, 0)
    bias = weights[f"{block}.conv{place}.bias"]
    if not normalised:
        return weight, bias
    gain, shift, mean, variance = (
        weights[f"{block}.norm{place}.{name}"].astype(np.float64)
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / np.sqrt(variance + 1e-5)  # as PyTorch does
    return weight * scale, (bias - mean) * scale + shift


def packed(arrays: Iterable[Pair]) -> bytes:
    """Weights and biases as little-endian bytes.

    First each layer's scales and biases, ``float32``; then all weights, ``int16``, to be scaled.
    """
    exact, rounded = b"", b""
    for weight, bias in arrays:
        largest = np.abs(weight).reshape(-1, weight.shape[-1]).max(0)
        scale = np.maximum(largest, np.finfo("<f4").tiny) / LEVELS
        exact += scale.astype("<f4").tobytes() + bias.astype("<f4").tobytes()
        rounded += np.rint(weight / scale).astype("<i2").tobytes()
    return exact + rounded


def part(name: str) -> str:
    """The text of what a page names: a file of the library, or a stage's weights in base64."""
    if file := LIBRARY.get(name):
        content = (in_project("chapters") / "tensorflow" / file).read_bytes()
        return b64encode(content).decode() if file.endswith(".wasm") else content.decode()
    result = facts.stage(int(name.removeprefix("stage-"))).first
    described = layers(result.run.stage.network, result.model())
    return b64encode(packed(arrays for _, arrays in described if arrays)).decode()


def _choices() -> Iterator[dict[str, str]]:
    for picture, truth in zip(_test_pictures(), TRUTHS, strict=True):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        address = f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
        yield {"name": f"{truth}, test picture", "truth": truth, "address": address}
    for name, truth in SAMPLES.items():
        content = (in_project("figures") / f"sample-{name}.jpg").read_bytes()
        address = f"data:image/jpeg;base64,{b64encode(content).decode()}"
        yield {"name": name, "truth": truth, "address": address}


def _test_pictures() -> list[Image.Image]:
    strip = Image.open(in_project("figures") / "shown.png").convert("RGB")
    return [strip.crop((left, 0, left + SIDE, SIDE)) for left in range(0, SIDE * len(SHOWN), SIDE)]
