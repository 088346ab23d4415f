"""What is trained: the registry of stages, as data.

A stage is a network and the recipe it is trained by. The assignment grows one
network step by step, so each entry of :data:`STAGES` is one change away from
the one before it. A new stage is one new entry here and a colour in
``figures.py``. Nothing here imports torch, so the registry is free to read from
the command line and from every chapter of the report.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from cifar_study.errors import StudyError

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


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
class Peer:
    """A network of timm (Wightman 2019) by its name and options there, without pretrained weights.

    It takes 32 × 32 pictures. ``parameters`` and ``macs``, the multiply-accumulates
    for one picture, are declared, as the registry does without torch; a test
    counts them.
    """

    model: str
    parameters: int
    macs: int
    options: tuple[tuple[str, int], ...] = ()
    classes: int = len(CLASSES)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: stochastic gradient descent on cross-entropy.

    No augmentation, no weight decay and no schedule: what differs between two
    stages is the network and nothing else.
    """

    epochs: int = 150
    batch_size: int = 64
    learning_rate: float = 0.001
    momentum: float = 0.9


@dataclass(frozen=True)
class Stage:
    """One step of the study: ``questions`` are those of the assignment it answers."""

    number: int
    title: str
    questions: str
    network: Network | Peer
    recipe: Recipe = Recipe()


FOUR_BLOCKS = (Block(20), Block(40), Block(80), Block(160))
NORMALISED = tuple(replace(block, batch_norm=True) for block in FOUR_BLOCKS)
DROPPED = tuple(
    replace(block, dropout=rate)
    for block, rate in zip(NORMALISED, (0.1, 0.2, 0.3, 0.4), strict=True)
)

STAGES: dict[int, Stage] = {
    stage.number: stage
    for stage in (
        Stage(1, "minimal, 5 filters", "3–7", Network((Block(5, "sigmoid", pool=8),))),
        Stage(2, "minimal, 20 filters", "8", Network((Block(20, "sigmoid", pool=8),))),
        Stage(
            3,
            "two blocks, sigmoid",
            "9",
            Network((Block(20, "sigmoid"), Block(40, "sigmoid"))),
            Recipe(epochs=15),
        ),
        Stage(4, "two blocks, ReLU", "9", Network((Block(20), Block(40)))),
        Stage(5, "four blocks", "9", Network(FOUR_BLOCKS)),
        Stage(6, "batch normalisation", "10", Network(NORMALISED)),
        Stage(7, "dropout", "11", Network(DROPPED)),
        Stage(
            8,
            "global average pooling",
            "12–13",
            Network(
                (*DROPPED[:-1], replace(DROPPED[-1], pool="global")),
                input_size=None,
            ),
        ),
    )
}

# For scale: others' networks of about the size of stages 5 to 8, trained by the same
# recipe. No question of the assignment asks for them, and "all" leaves them out.
PEERS: dict[int, Stage] = {
    stage.number: stage
    for stage in (
        Stage(9, "timm test_resnet", "", Peer("test_resnet", 373_658, 4_099_008)),
        Stage(10, "timm test_convnext2", "", Peer("test_convnext2", 350_090, 2_028_288)),
        Stage(
            11,
            "timm test_vit2",
            "",
            Peer("test_vit2", 349_130, 6_063_744, (("img_size", 32), ("patch_size", 8))),
        ),
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

    A peer has no blocks and stays as it is.
    """
    if isinstance(stage.network, Peer):
        return stage
    blocks = tuple(
        replace(block, filters=max(1, round(block.filters * width)))
        for block in stage.network.blocks
    )
    return replace(stage, network=replace(stage.network, blocks=blocks))
