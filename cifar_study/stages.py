"""What is trained: the registry of stages, as data.

The assignment grows one network step by step, so each entry of :data:`ENTRIES` is one change away
from the one before it. A new stage is one new entry, and nothing else. Nothing here imports torch,
so the registry is free to read from everywhere.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from cifar_study.errors import StudyError

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIDE = 32  # pixels
TRAIN, TEST = 50_000, 10_000  # pictures, as many of each class
TRAIN_SAMPLE = 10_000  # training pictures that are evaluated after each epoch, as many as test ones
SHOWN = (310, 1205, 3010, 5400, 6042, 8815)  # test pictures that pages follow
MEASURES = ("pictures", "convolution", "gradients", "values", "maps", "photos", "shapes", "errors")
# For stages that name no colour, after Paul Tol's schemes.
SPARE_COLOURS = ("#666633", "#AA4499", "#225555", "#994F00", "#5566AA")


@dataclass(frozen=True)
class Block:
    """Two 3×3 convolutions that keep the size, then pooling: the unit that is stacked.

    ``pool`` is the side of the max-pooling window, or ``"global"`` for global average pooling (Lin,
    Chen and Yan 2014). ``batch_norm`` normalises the output of each convolution before its
    activation (Ioffe and Szegedy 2015). ``dropout`` is the share of values zeroed after the pooling
    (Srivastava et al. 2014).
    """

    filters: int
    activation: Literal["sigmoid", "relu"] = "relu"
    pool: int | Literal["global"] = 2
    batch_norm: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class Network:
    """Blocks in order, then one dense layer with a logit for each class.

    ``input_size`` is the side of the pictures that the dense layer expects, or None for any.
    """

    blocks: tuple[Block, ...]
    input_size: int | None = SIDE
    classes: int = len(CLASSES)


@dataclass(frozen=True)
class ResNet:
    """A residual network for CIFAR-10 (He et al. 2016, section 4.2), built from timm's blocks.

    A 3×3 convolution, then a group of ``depth`` two-convolution blocks for each entry of
    ``filters``; every group but the first begins with a stride of 2. ``parameters`` and ``macs``,
    multiply-accumulates for one picture, are declared, as nothing here needs torch; a test counts.
    """

    parameters: int
    macs: int
    filters: tuple[int, ...] = (16, 32, 64)
    depth: int = 3
    classes: int = len(CLASSES)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: stochastic gradient descent on cross-entropy.

    No augmentation, no weight decay and no schedule. ``start`` says how the first weights are
    drawn: ``"glorot"`` (Glorot and Bengio 2010), the default of Keras, or ``"he"``, wider, for ReLU
    (He et al. 2015); uniform, biases zero.
    """

    epochs: int = 150
    batch_size: int = 64
    learning_rate: float = 0.001
    momentum: float = 0.9
    start: Literal["glorot", "he"] = "glorot"


@dataclass(frozen=True)
class Stage:
    """One step of the study; an entry that cannot be trained is a :class:`StudyError`.

    ``measures`` names what is measured of the trained network, of :data:`MEASURES`;
    ``peer`` sets it beside the study, for scale: ``--stage all`` leaves it out.
    """

    number: int
    title: str
    network: Network | ResNet
    recipe: Recipe = Recipe()
    colour: str = ""
    measures: tuple[str, ...] = ()
    peer: bool = False

    def __post_init__(self) -> None:
        try:
            for field, value, holds, wanted in _rules(self):
                if not holds:
                    raise TypeError(f"{field} is {value!r}, and should be {wanted}")
        except (TypeError, AttributeError) as error:  # this, or something of another kind
            raise StudyError(f"cifar_study/stages.py, stage {self.number}: {error}") from None
        if not self.colour:
            spare = SPARE_COLOURS[self.number % len(SPARE_COLOURS)]
            object.__setattr__(self, "colour", spare)


def _rules(stage: Stage) -> Iterator[tuple[str, object, object, str]]:
    """The fields of an entry, each with its value, whether it can be trained, and what can be."""
    recipe, network = stage.recipe, stage.network
    blocks = () if isinstance(network, ResNet) else network.blocks
    size = getattr(network, "input_size", None)
    pooled = isinstance(network, ResNet) or any(block.pool == "global" for block in blocks)
    measures = {*stage.measures}
    of_blocks = bool(blocks) or measures.isdisjoint(("convolution", "maps", "values"))
    of_any_size = not size or measures.isdisjoint(("photos", "shapes"))
    yield from (
        ("number", stage.number, _whole(stage.number), WHOLE),
        ("title", stage.title, len(stage.title.splitlines()) == 1, "a line of text"),
        ("recipe.epochs", recipe.epochs, _whole(recipe.epochs), WHOLE),
        ("recipe.batch_size", recipe.batch_size, _whole(recipe.batch_size), WHOLE),
        ("recipe.learning_rate", recipe.learning_rate, 0 < recipe.learning_rate <= 1, "in (0, 1]"),
        ("recipe.momentum", recipe.momentum, 0 <= recipe.momentum < 1, SHARE),
        ("recipe.start", recipe.start, recipe.start in ("glorot", "he"), "'glorot' or 'he'"),
        ("colour", stage.colour, re.fullmatch("(#[0-9A-Fa-f]{6})?", stage.colour), "as '#0b63a5'"),
        ("network.classes", network.classes, network.classes == len(CLASSES), "10, as CIFAR-10's"),
        (
            "network.input_size",
            size,
            size == SIDE or (size is None and pooled),
            "None after a pooling 'global', else 32",
        ),
        ("measures", stage.measures, measures <= {*MEASURES}, f"a tuple of {', '.join(MEASURES)}"),
        ("measures", stage.measures, of_blocks, "without convolution, maps, values (of blocks)"),
        ("measures", stage.measures, of_any_size, "without photos, shapes (of any size)"),
    )
    side = SIDE
    for place, block in enumerate(blocks):
        name, known = f"blocks[{place}]", block.activation in ("sigmoid", "relu")
        fits = block.pool == "global" or (_whole(block.pool) and block.pool <= side)
        most = f"'global' or a whole number from 1 to {side}, the side that is left"
        yield from (
            (f"{name}.filters", block.filters, _whole(block.filters), WHOLE),
            (f"{name}.activation", block.activation, known, "'sigmoid' or 'relu'"),
            (f"{name}.batch_norm", block.batch_norm, block.batch_norm in (True, False), "a bool"),
            (f"{name}.dropout", block.dropout, 0 <= block.dropout < 1, SHARE),
            (f"{name}.pool", block.pool, fits, most),
        )
        side = 1 if block.pool == "global" else side // block.pool


WHOLE, SHARE = "a whole number from 1 on", "in [0, 1)"


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


FOUR_BLOCKS = (Block(20), Block(40), Block(80), Block(160))
NORMALISED = tuple(replace(block, batch_norm=True) for block in FOUR_BLOCKS)
DROPPED = tuple(
    replace(block, dropout=rate)
    for block, rate in zip(NORMALISED, (0.1, 0.2, 0.3, 0.4), strict=True)
)
TWO_SIGMOID = Network((Block(20, "sigmoid"), Block(40, "sigmoid")))

# Colours after Paul Tol's schemes, told apart by the colour-blind and on paper; the pale ones are
# darker here, so that each has a contrast of three to one with white.
ENTRIES = (
    Stage(
        number=1,
        title="minimal, 5 filters",
        network=Network((Block(filters=5, activation="sigmoid", pool=8),)),
        colour="#332288",
        measures=("pictures", "convolution"),
    ),
    Stage(
        number=2,
        title="minimal, 20 filters",
        network=Network((Block(filters=20, activation="sigmoid", pool=8),)),
        colour="#2B97C2",
    ),
    Stage(
        number=3,
        title="two blocks, sigmoid",
        network=TWO_SIGMOID,
        recipe=Recipe(epochs=15),
        colour="#748000",
        measures=("gradients",),
    ),
    Stage(
        number=4,
        title="two blocks, ReLU",
        network=Network((Block(20), Block(40))),
        colour="#4A3020",
        measures=("gradients",),
    ),
    Stage(5, "four blocks", Network(FOUR_BLOCKS), colour="#C7830A", measures=("values",)),
    Stage(6, "batch normalisation", Network(NORMALISED), colour="#CC6677", measures=("values",)),
    Stage(7, "dropout", Network(DROPPED), colour="#8B5CE0", measures=("maps",)),
    Stage(
        number=8,
        title="global average pooling",
        network=Network((*DROPPED[:-1], replace(DROPPED[-1], pool="global")), input_size=None),
        colour="#882255",
        measures=("photos", "shapes", "errors"),
    ),
    # For scale: the least that a network can be, a question that stage 3 leaves open, a known
    # network of others, and stage 5 with another start.
    Stage(9, "linear softmax", Network(()), colour="#4477AA", peer=True),
    Stage(10, "two blocks, sigmoid, 150 epochs", TWO_SIGMOID, colour="#D6452B", peer=True),
    Stage(11, "ResNet-20", ResNet(272_474, macs=40_813_184), colour="#808080", peer=True),
    Stage(
        number=12,
        title="four blocks, He's start",
        network=Network(FOUR_BLOCKS),
        recipe=Recipe(epochs=50, start="he"),
        colour="#0E7C7B",
        peer=True,
    ),
)


def register(entries: tuple[Stage, ...]) -> tuple[dict[int, Stage], dict[int, Stage]]:
    """Stages and peers by number; two entries of one number are a :class:`StudyError`."""
    by_number: dict[int, Stage] = {}
    for stage in entries:
        if (other := by_number.setdefault(stage.number, stage)) is not stage:
            both = f"{other.title!r} and {stage.title!r}"
            raise StudyError(f"cifar_study/stages.py: two entries of number {stage.number}: {both}")
    stages = {number: stage for number, stage in by_number.items() if not stage.peer}
    return stages, {number: stage for number, stage in by_number.items() if stage.peer}


STAGES, PEERS = register(ENTRIES)


def get_stage(number: int) -> Stage:
    """The stage or peer of that number; one that is not registered is a :class:`StudyError`."""
    if number not in STAGES | PEERS:
        known = ", ".join(map(str, STAGES | PEERS))
        raise StudyError(f"--stage {number}: there is no such stage; choose from {known}")
    return (STAGES | PEERS)[number]


def scale_width(stage: Stage, width: float) -> Stage:
    """The same stage with ``width`` times the filters in every block, at least one each."""
    if width == 1:
        return stage
    if isinstance(stage.network, ResNet) or not stage.network.blocks:
        why = f"stage {stage.number} keeps its own width; leave the option or the stage out"
        raise StudyError(f"--width {width:g}: {why}")
    blocks = stage.network.blocks
    blocks = tuple(replace(each, filters=max(1, round(each.filters * width))) for each in blocks)
    return replace(stage, network=replace(stage.network, blocks=blocks))
