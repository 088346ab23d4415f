"""What each layer of a network yields and costs, counted from its description.

Counted by arithmetic, not by building the network, so that the report can show
the tables without torch; a test holds both to the same numbers.
"""

from dataclasses import dataclass

from cifar_study.stages import Network, ResNet


@dataclass(frozen=True)
class Layer:
    """One layer: ``shape`` is (channels, height, width) or (values,) of one picture's output.

    ``arithmetic`` spells the count of ``parameters`` out; ``macs`` are the
    multiply-accumulates for one picture.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int = 0
    arithmetic: str = ""
    macs: int = 0


def count_layers(network: Network | ResNet, height: int = 32, width: int = 32) -> list[Layer]:
    """Every layer that computes, in order, for pictures of ``height`` × ``width`` pixels.

    A residual network counts as one layer, with what its description declares.
    """
    if isinstance(network, ResNet):
        shape = (network.classes,)
        return [Layer("network", "residual network", shape, network.parameters, "", network.macs)]
    layers = [Layer("input", "picture", (3, height, width))]
    add, channels = layers.append, 3
    for number, block in enumerate(network.blocks, start=1):
        name, filters = f"block{number}", block.filters
        for place in (1, 2):
            shape, weights = (filters, height, width), 9 * channels * filters
            count, macs = f"3·3·{channels}·{filters} + {filters}", weights * height * width
            parameters, kind = weights + filters, "convolution 3×3"
            add(Layer(f"{name}.conv{place}", kind, shape, parameters, count, macs))
            if block.batch_norm:
                kind, count = "batch normalisation", f"2·{filters}"
                add(Layer(f"{name}.norm{place}", kind, shape, 2 * filters, count))
            channels = filters
        height, width, kind = 1, 1, "global average pooling"
        if block.pool != "global":
            height, width = shape[1] // block.pool, shape[2] // block.pool
            kind = f"max pooling {block.pool}×{block.pool}"
        add(Layer(f"{name}.pool", kind, (filters, height, width)))
        if block.dropout:
            add(Layer(f"{name}.drop", f"dropout {block.dropout}", (filters, height, width)))
    values, classes = channels * height * width, network.classes
    count = f"{values}·{classes} + {classes}"
    add(Layer("dense", "dense", (classes,), values * classes + classes, count, values * classes))
    return layers


def count_parameters(network: Network | ResNet) -> int:
    """Trained parameters; the running means and variances of batch norm are not among them."""
    return sum(layer.parameters for layer in count_layers(network))


def count_macs(network: Network | ResNet) -> int:
    """Multiply-accumulates of convolutions and dense layer for one 32 × 32 picture, forward."""
    return sum(layer.macs for layer in count_layers(network))
