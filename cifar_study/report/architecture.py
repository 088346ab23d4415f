"""Networks drawn from their description: what flows through them, and which rows get lost."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cifar_study.layers import count_layers
from cifar_study.report.replicates import replicates
from cifar_study.report.style import COLOURS, WIDE, WRONG, chart, new_axes
from cifar_study.stages import STAGES

# How the kind of a layer begins: what the legend calls it, and its colour; that of a convolution
# is the stage's.
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
    """What flows through a stage's network: each layer's output drawn to scale, with its shape."""
    layers = count_layers(replicates(number).run.stage.network)
    figure, axes = new_axes(WIDE, 2.8)
    x, left, right, shapes, legend = 0.0, 0.0, 0.0, [], {}
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        start = next(start for start in KINDS if layer.kind.startswith(start))
        name, colour = KINDS[start]
        colour = colour or COLOURS[number]
        legend[name] = Rectangle((0, 0), 1, 1, color=colour)
        width = 1.2 if start in ("batch", "drop") else 2 + 2 * np.log2(layer.shape[0])
        height = max(layer.shape[1] if len(layer.shape) == 3 else layer.shape[0], 1)
        axes.add_patch(Rectangle((x, -height / 2), width, height, facecolor=colour))
        x = right = x + width
        if following is None or following.shape != layer.shape:
            shapes.append(((left + x) / 2, layer.shape))
            x += 4
            left = x
        else:
            x += 0.6
    crowded = len(shapes) > 6  # then every second label stands lower
    for index, (middle, shape) in enumerate(shapes):
        channels, *sides = shape
        text = f"{channels}\n{sides[0]}×{sides[1]}" if sides else f"{channels}"
        low = -19 - 11 * (index % 2 if crowded else 0)
        axes.plot([middle, middle], [-17, low], color="#BBBBBB", linewidth=0.6)
        axes.text(middle, low - 0.5, text, ha="center", va="top", fontsize=8)
    axes.set(xlim=(0, right), ylim=(-38 if crowded else -27, 17))
    axes.axis("off")
    figure.legend(list(legend.values()), list(legend), loc="outside upper left", ncols=2)
    return figure


def rows_left(height: int) -> list[int]:
    """The rows of a picture of that height, then those after each pooling of the final network."""
    rows = [height]
    for pool in _pools():
        rows.append(rows[-1] // pool)
    return rows


def _pools() -> list[int]:
    return [block.pool for block in STAGES[8].network.blocks if isinstance(block.pool, int)]


@chart
def pooled_rows(*heights: int) -> Figure:
    """Which rows of pictures of some heights reach the last block: a column after each pooling."""
    pools = _pools()
    figure = Figure(figsize=(WIDE, 3.2))
    panels = figure.subplots(1, len(heights), sharey=True, squeeze=False)[0]
    for axes, height in zip(panels, heights, strict=True):
        span = 1
        for place, (rows, pool) in enumerate(zip(rows_left(height), [*pools, 1], strict=True)):
            for row in range(rows):
                left_out = row >= rows // pool * pool
                look = (
                    {"facecolor": "white", "edgecolor": WRONG, "hatch": "/////"}
                    if left_out
                    else {"facecolor": COLOURS[2], "edgecolor": "white", "linewidth": 0.5}
                )
                axes.add_patch(Rectangle((place, row * span), 0.84, span, **look))
            axes.text(place + 0.42, rows * span + 0.4, str(rows), ha="center", va="top")
            span *= pool
        axes.set(xlim=(-0.1, len(pools) + 1), ylim=(max(heights) + 3, 0))
        axes.set_title(f"{height} rows")
        axes.axis("off")
    return figure
