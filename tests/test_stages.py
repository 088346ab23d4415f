"""The registry of stages: what is trained, and that each stage is one change from the last."""

from dataclasses import asdict, replace

import pytest

from cifar_study.errors import StudyError
from cifar_study.layers import count_layers, count_macs, count_parameters
from cifar_study.stages import (
    CLASSES,
    ENTRIES,
    PEERS,
    STAGES,
    Block,
    Network,
    Recipe,
    ResNet,
    Stage,
    get_stage,
    register,
    scale_width,
)  # fmt: skip

# Counted by hand: a 3×3 convolution has 3·3·in·out weights and out biases.
BLOCK_20 = (3 * 3 * 3 * 20 + 20) + (3 * 3 * 20 * 20 + 20)  # 560 + 3,620
BLOCK_40 = (3 * 3 * 20 * 40 + 40) + (3 * 3 * 40 * 40 + 40)  # 7,240 + 14,440
BLOCK_80 = (3 * 3 * 40 * 80 + 80) + (3 * 3 * 80 * 80 + 80)  # 28,880 + 57,680
BLOCK_160 = (3 * 3 * 80 * 160 + 160) + (3 * 3 * 160 * 160 + 160)  # 115,360 + 230,560
BATCH_NORMS = 2 * (20 + 20 + 40 + 40 + 80 + 80 + 160 + 160)  # a scale and a shift each: 1,200
BY_HAND = {
    # 32 / 8 leaves 4 × 4 places for the dense layer
    1: (3 * 3 * 3 * 5 + 5) + (3 * 3 * 5 * 5 + 5) + (4 * 4 * 5 * 10 + 10),
    2: BLOCK_20 + (4 * 4 * 20 * 10 + 10),
    # 32 / 2 / 2 leaves 8 × 8
    3: BLOCK_20 + BLOCK_40 + (8 * 8 * 40 * 10 + 10),
    4: BLOCK_20 + BLOCK_40 + (8 * 8 * 40 * 10 + 10),
    # 32 / 2 / 2 / 2 / 2 leaves 2 × 2
    5: BLOCK_20 + BLOCK_40 + BLOCK_80 + BLOCK_160 + (2 * 2 * 160 * 10 + 10),
    6: BLOCK_20 + BLOCK_40 + BLOCK_80 + BLOCK_160 + BATCH_NORMS + (2 * 2 * 160 * 10 + 10),
    7: BLOCK_20 + BLOCK_40 + BLOCK_80 + BLOCK_160 + BATCH_NORMS + (2 * 2 * 160 * 10 + 10),
    # the average over all places leaves one value a filter
    8: BLOCK_20 + BLOCK_40 + BLOCK_80 + BLOCK_160 + BATCH_NORMS + (160 * 10 + 10),
    # every pixel's three values
    9: 32 * 32 * 3 * 10 + 10,
    10: BLOCK_20 + BLOCK_40 + (8 * 8 * 40 * 10 + 10),
    # ResNet-20: convolutions without biases, each with batch normalisation; the second and
    # third of three groups halve the side, with a 1 × 1 convolution on the way around
    11: (3 * 3 * 3 * 16 + 2 * 16)
    + 6 * (3 * 3 * 16 * 16 + 2 * 16)
    + (3 * 3 * 16 * 32 + 2 * 32) + 5 * (3 * 3 * 32 * 32 + 2 * 32) + (16 * 32 + 2 * 32)
    + (3 * 3 * 32 * 64 + 2 * 64) + 5 * (3 * 3 * 64 * 64 + 2 * 64) + (32 * 64 + 2 * 64)
    + (64 * 10 + 10),
}  # fmt: skip


def test_parameters_are_those_counted_by_hand_and_the_arithmetic_shown_gives_them() -> None:
    for number, parameters in BY_HAND.items():
        network = get_stage(number).network
        assert count_parameters(network) == parameters
        for layer in () if number == 11 else count_layers(network):
            shown = layer.arithmetic.replace("·", "*") or "0"
            assert eval(shown) == layer.parameters, layer.name


def test_multiply_accumulates_by_hand() -> None:
    macs = {layer.name: layer.macs for layer in count_layers(STAGES[1].network)}
    assert macs["block1.conv1"] == 27 * 5 * 1024
    assert macs["block1.conv2"] == 45 * 5 * 1024
    assert macs["dense"] == 80 * 10
    assert macs["block1.pool"] == 0
    assert count_macs(PEERS[11].network) == (
        1024 * (3 * 3 * 3 * 16 + 6 * 3 * 3 * 16 * 16)
        + 256 * (3 * 3 * 16 * 32 + 5 * 3 * 3 * 32 * 32 + 16 * 32)
        + 64 * (3 * 3 * 32 * 64 + 5 * 3 * 3 * 64 * 64 + 32 * 64)
        + 64 * 10
    )


def test_the_recipe_is_one_for_all_but_for_the_epochs_of_stage_3() -> None:
    for number, stage in STAGES.items():
        assert asdict(stage.recipe) == {
            "epochs": 15 if number == 3 else 150,
            "batch_size": 64,
            "learning_rate": 0.001,
            "momentum": 0.9,
            "start": "glorot",
        }


def changes(old: Stage, new: Stage) -> set[str]:
    """The names of the fields that differ, in blocks both have, network and recipe."""
    one, other = asdict(old), asdict(new)
    pairs = [(one["recipe"], other["recipe"]), (one["network"], other["network"])]
    pairs += zip(one["network"].pop("blocks"), other["network"].pop("blocks"), strict=False)
    found = {field for left, right in pairs for field in left if left[field] != right[field]}
    if len(old.network.blocks) != len(new.network.blocks):
        found.add("number of blocks")
    return found


def test_each_stage_is_one_change_from_the_one_before() -> None:
    found = {number: changes(STAGES[number - 1], STAGES[number]) for number in range(2, 9)}
    assert found == {
        2: {"filters"},
        3: {"number of blocks", "pool", "epochs"},
        4: {"activation", "epochs"},
        5: {"number of blocks"},
        6: {"batch_norm"},
        7: {"dropout"},
        8: {"pool", "input_size"},
    }


def test_the_stages_and_classes_and_the_details_of_the_last_stages() -> None:
    assert list(STAGES) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (len(CLASSES), CLASSES[0], CLASSES[3], CLASSES[9]) == (10, "airplane", "cat", "truck")
    assert [block.filters for block in STAGES[5].network.blocks] == [20, 40, 80, 160]
    assert [block.dropout for block in STAGES[7].network.blocks] == [0.1, 0.2, 0.3, 0.4]
    assert [block.pool for block in STAGES[8].network.blocks] == [2, 2, 2, "global"]


def test_half_the_width_halves_the_filters_and_nothing_else_and_keeps_one() -> None:
    half = scale_width(STAGES[7], 0.5)
    assert [block.filters for block in half.network.blocks] == [10, 20, 40, 80]
    assert changes(STAGES[7], half) == {"filters"}
    assert scale_width(STAGES[7], 1.0) == STAGES[7]
    assert [block.filters for block in scale_width(STAGES[1], 0.001).network.blocks] == [1]


def test_peers_are_apart_from_the_study_and_trained_by_its_recipe() -> None:
    assert list(PEERS) == [9, 10, 11, 12]
    assert not STAGES.keys() & PEERS.keys()
    he = replace(STAGES[4].recipe, epochs=50, start="he")
    for number, peer in PEERS.items():
        assert get_stage(number) is peer
        assert peer.recipe == (he if number == 12 else STAGES[4].recipe)
    assert PEERS[9].network.blocks == ()
    assert changes(STAGES[3], PEERS[10]) == {"epochs"}
    assert (PEERS[11].network.depth, PEERS[11].network.filters) == (3, (16, 32, 64))


def test_a_network_without_blocks_of_ours_has_one_width() -> None:
    for number in (9, 11):
        assert scale_width(PEERS[number], 1) is PEERS[number]
        with pytest.raises(StudyError, match=f"^--width 0.5: stage {number} keeps its own width"):
            scale_width(PEERS[number], 0.5)
    tenth = scale_width(PEERS[10], 0.5)
    assert tenth == replace(tenth, network=scale_width(STAGES[3], 0.5).network)


def entry(*blocks: Block, **fields: object) -> Stage:
    fields = {"number": 20, "title": "mine", "network": Network(blocks or (Block(4),))} | fields
    return Stage(**fields)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: entry(*[Block(4)] * 9), "blocks[5].pool"),  # 32 halved five times is one
        (lambda: entry(Block(4, pool=0)), "blocks[0].pool"),
        (lambda: entry(Block(4), Block(4, activation="tanh")), "blocks[1].activation"),
        (lambda: entry(Block(4, dropout=1.5)), "blocks[0].dropout"),
        (lambda: entry(Block(0)), "blocks[0].filters"),
        (lambda: entry(Block(2.5)), "blocks[0].filters"),
        (lambda: entry(recipe=Recipe(batch_size=0)), "recipe.batch_size"),
        (lambda: entry(recipe=Recipe(epochs=0)), "recipe.epochs"),
        (lambda: entry(recipe=Recipe(learning_rate=0)), "recipe.learning_rate"),
        (lambda: entry(recipe=Recipe(learning_rate=float("inf"))), "recipe.learning_rate"),
        (lambda: entry(recipe=Recipe(momentum=1)), "recipe.momentum"),
        (lambda: entry(recipe=Recipe(start="zeros")), "recipe.start"),
        (lambda: entry(network=Network((Block(4),), classes=100)), "network.classes"),
        (lambda: entry(network=Network((Block(4),), input_size=None)), "network.input_size"),
        (lambda: entry(network=Network(()), measures=("maps",)), "measures"),
        (lambda: entry(measures=("photos",)), "measures"),
        (lambda: entry(measures=("weather",)), "measures"),
        (lambda: entry(number="20"), "number"),
        (lambda: entry(title="two\nlines"), "title"),
        (lambda: entry(colour="brwn"), "colour"),
        (lambda: entry(Block(4, batch_norm="no")), "blocks[0].batch_norm"),
    ],
)
def test_an_entry_that_cannot_be_trained_is_named_with_its_field(build, field: str) -> None:
    with pytest.raises(StudyError) as caught:
        build()
    assert str(caught.value).startswith(f"cifar_study/stages.py, stage 20: {field} is ")


@pytest.mark.parametrize("fields", [{"title": 13}, {"network": (Block(4),)}, {"recipe": {}}])
def test_an_entry_of_other_kinds_of_things_is_one_line(fields: dict) -> None:
    with pytest.raises(
        StudyError, match=r"^cifar_study/stages.py, stage 20: '.*' object has no .*"
    ):
        entry(**fields)


def test_an_entry_needs_no_colour_and_its_number_must_be_its_own() -> None:
    assert len({stage.colour for stage in (*ENTRIES, entry())}) == len(ENTRIES) + 1
    with pytest.raises(StudyError, match="two entries of number 4: 'two blocks, ReLU' and"):
        register((*ENTRIES, entry(number=4)))
    assert entry(network=ResNet(1, 1)).network.depth == 3
    stages, peers = register((*ENTRIES, entry(), entry(number=21, peer=True)))
    assert (20 in stages, 21 in stages, 21 in peers) == (True, False, True)
