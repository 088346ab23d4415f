"""From a stage to a network: a block from its parameters, a network from its blocks."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from cifar_study.stages import Block, Network, Peer

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class Rescale(nn.Module):
    """Pixels 0…255 to [0, 1], so that scaling is part of the network and can't be forgotten."""

    def forward(self, pictures: Tensor) -> Tensor:
        """``uint8`` or float pictures (N, 3, H, W) in, float pictures of the same shape out."""
        if not pictures.is_floating_point():
            pictures = pictures.float()
        return pictures / 255


class Dropout(nn.Dropout):
    """Dropout whose random numbers cost a CPU half as much (PyTorch issue 138199).

    Sixteen random bits decide on a value, so the rate is exact to 1/65536.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape in; while training, a share ``p`` of them zero, the rest scaled."""
        if not self.training or values.device.type != "cpu":
            return super().forward(values)
        zeroed = round(self.p * 2**16)
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: values.numel()]
        scale = values.new_tensor(2**16 / (2**16 - zeroed))
        mask = torch.where(bits >= zeroed - 2**15, scale, values.new_zeros(()))
        return values * mask.as_strided(values.shape, values.stride())


def conv_block(channels: int, block: Block) -> nn.Sequential:
    """A whole block: (N, ``channels``, H, W) in, (N, ``block.filters``, H', W') out.

    H' = H // pool; with global average pooling H' = W' = 1.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, inputs in enumerate((channels, block.filters), start=1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, block.filters, kernel_size=3, padding="same")
        if block.batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(block.filters)
        layers[f"act{number}"] = ACTIVATIONS[block.activation]()
    layers["pool"] = nn.AdaptiveAvgPool2d(1) if block.pool == "global" else nn.MaxPool2d(block.pool)
    if block.dropout:
        layers["drop"] = Dropout(block.dropout)
    return nn.Sequential(layers)


def build_model(network: Network | Peer, seed: int = 0) -> nn.Sequential:
    """The network with its starting weights: Glorot-uniform, biases zero, drawn from ``seed``.

    Takes pictures (N, 3, H, W) with values 0…255 and returns logits
    (N, classes); H = W = ``network.input_size``, or any size the poolings
    leave a pixel of where that is None. A peer starts as timm starts it.
    """
    if isinstance(network, Peer):
        return nn.Sequential(OrderedDict(rescale=Rescale(), network=_build_peer(network, seed)))
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
            # Glorot and Bengio 2010; PyTorch's own default keeps the sigmoid networks
            # at chance level for their first epochs.
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
    return model


def _build_peer(peer: Peer, seed: int) -> nn.Module:
    import timm  # here, as it takes seconds and the study's own stages do without

    # On a CPU the fused attention's backward pass is two thirds of a step's time.
    timm.layers.set_fused_attn(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(
            peer.model, pretrained=False, num_classes=peer.classes, **dict(peer.options)
        )
