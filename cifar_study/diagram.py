"""What flows through a network, drawn to scale from its description."""

from __future__ import annotations

import numpy as np
from matplotlib import style
from matplotlib.patches import Rectangle

from cifar_study.figures import COLOURS, STYLE, Chart, new_figure
from cifar_study.layers import Layer, count_layers
from cifar_study.seeds import sample


def network(number: int) -> Chart:
    """What flows through a stage's network: each layer's output drawn to scale, with its shape.

    Height is the side in pixels, of the dense layer the number of its values; width grows
    with the number of channels.
    """
    layers = count_layers(sample(number).run.network)
    with style.context(STYLE):
        figure = new_figure(5.8, 2.5)
        axes = figure.subplots()
        x, left, shapes = 0.0, 0.0, []
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            width, height = _layer_size(layer)
            axes.add_patch(
                Rectangle((x, -height / 2), width, height, facecolor=_layer_colour(layer, number))
            )
            x += width
            if following is None or following.shape != layer.shape:
                shapes.append(((left + x) / 2, layer.shape))
                x += 4
                left = x
            else:
                x += 0.6
        for index, (middle, shape) in enumerate(shapes):
            channels, *sides = shape
            text = f"{channels}\n{sides[0]}×{sides[1]}" if sides else f"{channels}"
            low = -19 - 8 * (index % 2 if len(shapes) > 6 else 0)
            axes.plot([middle, middle], [-17, low], color="#BBBBBB", linewidth=0.6)
            axes.text(middle, low - 0.5, text, ha="center", va="top", fontsize=7.5)
        axes.set(xlim=(-2, max(x, 62)), ylim=(-34, 17))
        figure.set_figwidth(5.8 * min(1, max(x, 62) / 110))  # no empty half beside a small one
        axes.axis("off")
        kinds = dict.fromkeys(_kind(layer) for layer in layers)
        colours = {_kind(layer): _layer_colour(layer, number) for layer in layers}
        handles = [Rectangle((0, 0), 1, 1, color=colours[kind]) for kind in kinds]
        figure.legend(handles, list(kinds), loc="outside upper left", ncols=4 if x > 80 else 2)
    return Chart(figure)


def _layer_size(layer: Layer) -> tuple[float, float]:
    """Width and height of a layer's drawing, in pixels of the input."""
    kind = _kind(layer)
    thin = kind in ("batch norm", "dropout")
    width = 1.2 if thin else 2 + 2 * np.log2(layer.shape[0])
    height = layer.shape[1] if len(layer.shape) == 3 else layer.shape[0]
    return width, max(height, 1)


def _kind(layer: Layer) -> str:
    for start, name in (("max", "max pooling"), ("batch", "batch norm"), ("drop", "dropout")):
        if layer.kind.startswith(start):
            return name
    return layer.kind


def _layer_colour(layer: Layer, number: int) -> str:
    return {
        "picture": "#8A8F98",
        "convolution 3×3": COLOURS[number],
        "batch norm": "#EE9944",
        "max pooling": "#C3C8CE",
        "global average pooling": "#4A6274",
        "dropout": "#7B5EA7",
        "dense": "#222222",
    }[_kind(layer)]
