"""From a stage to a network: a block from its parameters, a network from its blocks."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from cifar_study.stages import Block, Network, ResNet

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class Rescale(nn.Module):
    """Pixels 0…255 to [0, 1], so that scaling is part of the network and can't be forgotten."""

    def forward(self, pictures: Tensor) -> Tensor:
        """``uint8`` or float pictures (N, 3, H, W) in, float pictures of the same shape out."""
        return pictures.float() / 255


def conv_block(channels: int, block: Block) -> nn.Sequential:
    """A whole block: (N, ``channels``, H, W) in, (N, ``block.filters``, H', W') out.

    H' = H // pool; with global average pooling H' = W' = 1.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    filters = block.filters
    for number, inputs in enumerate((channels, filters), start=1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, filters, 3, padding="same")
        if block.batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(filters)
        layers[f"act{number}"] = ACTIVATIONS[block.activation]()
    average = block.pool == "global"
    layers["pool"] = nn.AdaptiveAvgPool2d(1) if average else nn.MaxPool2d(block.pool)
    if block.dropout:
        layers["drop"] = nn.Dropout(block.dropout)
    return nn.Sequential(layers)


def build_model(network: Network | ResNet, seed: int = 0, start: str = "glorot") -> nn.Sequential:
    """The network with its starting weights, drawn from ``seed`` as ``Recipe.start`` says.

    Takes pictures (N, 3, H, W) with values 0…255 and returns logits
    (N, classes); H = W = ``network.input_size``, or any size the poolings
    leave a pixel of where that is None. A residual network starts as timm starts it.
    """
    if isinstance(network, ResNet):
        return nn.Sequential(OrderedDict(rescale=Rescale(), network=_build_resnet(network, seed)))
    layers: OrderedDict[str, nn.Module] = OrderedDict(rescale=Rescale())
    channels, side = 3, network.input_size or 1
    for number, block in enumerate(network.blocks, start=1):
        layers[f"block{number}"] = conv_block(channels, block)
        channels = block.filters
        side = 1 if block.pool == "global" else side // block.pool
    layers["flatten"] = nn.Flatten()
    # Softmax is left to the loss, which computes its logarithm without overflow.
    layers["dense"] = nn.Linear(channels * side * side, network.classes)
    model = nn.Sequential(layers)
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if start == "he":
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            else:
                nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
    return model


def _build_resnet(network: ResNet, seed: int) -> nn.Module:
    from timm.models.resnet import BasicBlock  # here, as it takes seconds and few need it
    from timm.models.resnet import ResNet as Residual

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Residual(
            BasicBlock,
            (network.depth,) * len(network.filters),
            num_classes=network.classes,
            channels=network.filters,
            # The deep stem is the one whose width can be chosen; the paper's takes its place.
            stem_type="deep",
            stem_width=network.filters[0] // 2,
            zero_init_last=False,
        )
        model.conv1 = nn.Conv2d(3, network.filters[0], kernel_size=3, padding="same", bias=False)
        model.maxpool = nn.Identity()
        model.layer4 = nn.Identity()  # timm's has four groups
        model.init_weights(zero_init_last=False)
    return model
