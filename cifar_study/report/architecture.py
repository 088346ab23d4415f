"""Networks drawn from their description: what flows through them."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cifar_study.errors import StudyError
from cifar_study.layers import count_layers
from cifar_study.report.facts import stage
from cifar_study.report.style import WIDE, chart, new_axes
from cifar_study.stages import ResNet

# How a kind of layer begins: its name in the legend, and its colour (of a convolution the stage's).
KINDS = {
    "picture": ("picture", "#555555"),
    "conv": ("convolution 3×3", ""),
    "batch": ("batch norm", "#EE9944"),
    "max": ("max pooling", "#868D96"),
    "global": ("global average pooling", "#4A6274"),
    "drop": ("dropout", "#7B5EA7"),
    "dense": ("dense", "#222222"),
}


@chart
def network(number: int) -> Figure:
    """What flows through a stage's network: each layer's output drawn to scale, with its shape.

    A bar is as high as the map's side in pixels, and wider with more channels.
    """
    shown = stage(number).stage
    if isinstance(shown.network, ResNet):
        raise StudyError(f"stage {number}, {shown.title}: is not made of blocks that are drawn")
    layers = count_layers(shown.network)
    figure, axes = new_axes(WIDE, 2.8)
    x, left, shapes, legend = 0.0, 0.0, [], {}
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        start = next(start for start in KINDS if layer.kind.startswith(start))
        name, colour = KINDS[start][0], KINDS[start][1] or shown.colour
        legend[name] = Rectangle((0, 0), 1, 1, color=colour)
        channels, *sides = layer.shape
        width, boxes = 2.2, [(2.6 * place - 12.7, 2) for place in range(channels)]
        if sides:
            width = 1.2 if start in ("batch", "drop") else 2 + 2 * np.log2(channels)
            boxes = [(-sides[0] / 2, sides[0])]
        for bottom, height in boxes:
            axes.add_patch(Rectangle((x, bottom), width, height, facecolor=colour))
        right = x + width
        x = right + 0.6
        if following is None or following.shape != layer.shape:
            shapes.append(((left + right) / 2, layer.shape))
            x = left = right + 4
    crowded = len(shapes) > 6  # then every second label stands lower
    for index, (middle, (channels, *sides)) in enumerate(shapes):
        text = f"{channels}\n{'×'.join(map(str, sides))}".strip()
        low = -30 if crowded and index % 2 else -19
        axes.plot([middle, middle], [-17, low], color="#BBBBBB", linewidth=0.6)
        axes.text(middle, low - 0.5, text, ha="center", va="top", fontsize=8)
    axes.set(xlim=(0, right), ylim=(-38 if crowded else -27, 17))
    axes.axis("off")
    figure.legend(list(legend.values()), list(legend), loc="outside upper left", ncols=2)
    return figure
