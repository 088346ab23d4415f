"""What is trained: the registry of stages, as data.

A stage is a network and the recipe it is trained by. The assignment grows one
network step by step, so each entry of :data:`STAGES` is one change away from
the one before it. A new stage is one new entry here and a colour in
``report/style.py``. Nothing here imports torch, so the registry is free to read from
the command line and from every chapter of the report.
"""

from dataclasses import dataclass, replace
from typing import Literal

from cifar_study.cifar10 import CLASSES
from cifar_study.errors import StudyError


@dataclass(frozen=True)
class Block:
    """Two 3×3 convolutions that keep the size, then pooling: the unit that is stacked.

    ``pool`` is the side of the max-pooling window, or ``"global"`` for global
    average pooling (Lin, Chen and Yan 2014). ``batch_norm`` normalises the
    output of each convolution before its activation (Ioffe and Szegedy 2015).
    ``dropout`` is the share of values zeroed after the pooling (Srivastava et
    al. 2014).
    """

    filters: int
    activation: Literal["sigmoid", "relu"] = "relu"
    pool: int | Literal["global"] = 2
    batch_norm: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class Network:
    """Blocks in order, then one dense layer with a logit for each class.

    ``input_size`` is the side of the square pictures that the dense layer
    expects, in pixels, or None where the network takes pictures of any size.
    """

    blocks: tuple[Block, ...]
    input_size: int | None = 32
    classes: int = len(CLASSES)


@dataclass(frozen=True)
class ResNet:
    """A residual network for CIFAR-10 (He et al. 2016, section 4.2), built from timm's blocks.

    A 3×3 convolution, then as many groups of two-convolution blocks as
    ``filters`` has entries, ``depth`` blocks each; every group but the first
    begins with a stride of 2. ``parameters`` and ``macs``, the
    multiply-accumulates for one picture, are declared, as the registry does
    without torch; a test counts them.
    """

    parameters: int
    macs: int
    filters: tuple[int, ...] = (16, 32, 64)
    depth: int = 3
    classes: int = len(CLASSES)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: stochastic gradient descent on cross-entropy.

    No augmentation, no weight decay and no schedule: what differs between two
    stages is the network, and in stage 3 the number of epochs.
    """

    epochs: int = 150
    batch_size: int = 64
    learning_rate: float = 0.001
    momentum: float = 0.9


@dataclass(frozen=True)
class Stage:
    """One step of the study."""

    number: int
    title: str
    network: Network | ResNet
    recipe: Recipe = Recipe()
    width: float = 1  # of a trial: times the filters that are registered


FOUR_BLOCKS = (Block(20), Block(40), Block(80), Block(160))
NORMALISED = tuple(replace(block, batch_norm=True) for block in FOUR_BLOCKS)
DROPPED = tuple(
    replace(block, dropout=rate)
    for block, rate in zip(NORMALISED, (0.1, 0.2, 0.3, 0.4), strict=True)
)

STAGES: dict[int, Stage] = {
    stage.number: stage
    for stage in (
        Stage(
            number=1,
            title="minimal, 5 filters",
            network=Network(blocks=(Block(filters=5, activation="sigmoid", pool=8),)),
        ),
        Stage(
            number=2,
            title="minimal, 20 filters",
            network=Network(blocks=(Block(filters=20, activation="sigmoid", pool=8),)),
        ),
        Stage(
            number=3,
            title="two blocks, sigmoid",
            network=Network(
                blocks=(
                    Block(filters=20, activation="sigmoid"),
                    Block(filters=40, activation="sigmoid"),
                )
            ),
            recipe=Recipe(epochs=15),
        ),
        Stage(
            number=4,
            title="two blocks, ReLU",
            network=Network(blocks=(Block(filters=20), Block(filters=40))),
        ),
        Stage(number=5, title="four blocks", network=Network(blocks=FOUR_BLOCKS)),
        Stage(number=6, title="batch normalisation", network=Network(blocks=NORMALISED)),
        Stage(number=7, title="dropout", network=Network(blocks=DROPPED)),
        Stage(
            number=8,
            title="global average pooling",
            network=Network(
                blocks=(*DROPPED[:-1], replace(DROPPED[-1], pool="global")),
                input_size=None,
            ),
        ),
    )
}

# For scale, by the same recipe: the least that a network can be, a question that stage 3
# leaves open, and a known network of others. "all" leaves them out.
PEERS: dict[int, Stage] = {
    stage.number: stage
    for stage in (
        Stage(number=9, title="linear softmax", network=Network(blocks=())),
        Stage(number=10, title="two blocks, sigmoid, 150 epochs", network=STAGES[3].network),
        Stage(number=11, title="ResNet-20", network=ResNet(parameters=272_474, macs=40_813_184)),
    )
}


def get_stage(number: int) -> Stage:
    """The stage or peer of that number; one in neither registry is a :class:`StudyError`."""
    try:
        return (STAGES | PEERS)[number]
    except KeyError:
        known = ", ".join(map(str, STAGES | PEERS))
        raise StudyError(f"--stage {number}: there is no such stage; choose from {known}") from None


def scale_width(stage: Stage, width: float) -> Stage:
    """The same stage with ``width`` times the filters in every block, at least one each.

    A network without blocks of ours stays as it is.
    """
    if isinstance(stage.network, ResNet):
        return stage
    blocks = tuple(
        replace(block, filters=max(1, round(block.filters * width)))
        for block in stage.network.blocks
    )
    network = replace(stage.network, blocks=blocks)
    return replace(stage, network=network, width=width) if network != stage.network else stage
