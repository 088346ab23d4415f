"""The report's tables, as Markdown: captions and references work and no script is needed."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from IPython.display import Markdown

from cifar_study.layers import count_layers, count_parameters
from cifar_study.report import facts, predictions, times
from cifar_study.report.markdown import markdown, named
from cifar_study.report.notices import delivered, incomplete_note
from cifar_study.report.numbers import ABSENT, Number, Percent, Seconds, escaped, wilson_half_width
from cifar_study.report.style import note, noted
from cifar_study.stages import CHANNEL_MEANS, CLASSES, PEERS, STAGES

__all__ = ["delivered", "incomplete_note"]

SPACE, TO = "\N{NO-BREAK SPACE}", "\N{WORD JOINER}–\N{WORD JOINER}"  # what stays on one line
NOT_YET = note("Known once a network is trained and measured.")


def glance() -> Markdown:
    """All stages at the end of training, a row each."""
    seconds, rows = times.epoch_times(), []
    for number in STAGES:
        results = facts.stage(number)
        numbers = results.test_accuracy, results.gap.bare, seconds[number], results.parameters
        rows.append((named(results.stage), *numbers))
    columns = ["stage", "test accuracy", "gap, points", "an epoch", "parameters"]
    return markdown(rows, columns, columns[1:])


def compare(*numbers: int) -> Markdown:
    """Stages side by side: outcome with its 95% interval, time and size."""
    seconds, rows = times.epoch_times(), []
    compared = [facts.stage(number) for number in numbers or STAGES]
    for results in compared:
        accuracy = _plus_minus(results.test_accuracy, results.half_width("test_accuracy"))
        gap = _plus_minus(results.gap.bare, results.half_width("gap"))
        size = results.parameters, results.macs.bare
        rows.append((named(results.stage), accuracy, gap, seconds[results.stage.number], *size))
    columns = ["stage", "test accuracy", "gap, points", "an epoch", "parameters", "MACs, millions"]
    table = markdown(rows, columns, columns[1:])
    single = any(len(results.results) == 1 for results in compared)
    of_pictures = "; of one seed it is that of its test pictures" * single
    return Markdown(f"{table.data}\n\n± is the 95% interval over the seeds{of_pictures}.\n")


def _plus_minus(value: Number | str, half: Number) -> str:
    return str(value) if math.isnan(half) else f"{value}{SPACE}±{SPACE}{half.bare}"


@noted
def epoch_times() -> Markdown:
    """Seconds of every stage's epoch, and the one machine that they were measured on."""
    if not facts.other_results():
        times.measured()  # what is wrong with that file is said in place
    taken = times.epoch_times()
    stages = {**STAGES, **PEERS}
    table = markdown(
        [(named(stage), taken[number]) for number, stage in stages.items()],
        ["stage", "an epoch"],
        ["an epoch"],
    )
    where = "Not measured yet."
    if taken.machine:
        date = f", {taken.machine['date']}" if "date" in taken.machine else ""
        where = f"On {escaped(times.machine(taken.machine))}{escaped(date)}."
    return Markdown(f"{table.data}\n\n{where}\n")


def layers(number: int) -> Markdown:
    """A stage's layers: what each yields, its parameters and how they are counted."""
    network = facts.stage(number).stage.network
    rows = []
    for layer in count_layers(network):
        parameters = Number(layer.parameters) if layer.parameters else ""
        rows.append((layer.name, _by(layer.shape), parameters, layer.arithmetic, layer.kind))
    rows.append(("**total**", "", f"**{Number(count_parameters(network))}**", "", ""))
    return markdown(rows, ["layer", "output", "parameters", "count", "kind"], ["parameters"])


def _by(shape: Iterable[int]) -> str:
    return " × ".join(map(str, shape))


def recipe(number: int) -> Markdown:
    """How a stage is trained, setting by setting."""
    results = facts.stage(number)
    chosen, first = results.stage.recipe, results.first
    precision = first.record["configuration"]["precision"] if first else ABSENT
    rows = {
        "optimizer": "stochastic gradient descent",
        "learning rate": f"{chosen.learning_rate:g}",
        "momentum": f"{chosen.momentum:g}",
        "loss": "categorical cross-entropy",
        "batch": f"{chosen.batch_size} pictures, the last one of an epoch shorter",
        "epochs": chosen.epochs,
        "order": "reshuffled every epoch",
        "starting weights": f"{chosen.start.capitalize()}-uniform, biases zero",
        "precision": f"convolutions and dense layer in {precision}, weights in float32",
        "changed pictures (augmentation), weight decay, schedule of the rate": "none",
    }
    return markdown(rows.items(), ["setting", "value"])


def one_hot(labels: Sequence[int], classes: int = len(CLASSES)) -> np.ndarray:
    """Labels (N,) as probability vectors (N, ``classes``): certainty for the right class."""
    vectors = np.zeros((len(labels), classes), dtype=np.float32)
    vectors[np.arange(len(labels)), labels] = 1
    return vectors


def one_hot_examples(labels: Sequence[int]) -> Markdown:
    """A few labels with their class and their one-hot vector."""
    rows = [
        (CLASSES[label], label, " ".join(f"{value:.0f}" for value in vector))
        for label, vector in zip(labels, one_hot(labels), strict=True)
    ]
    return markdown(rows, ["class", "label", "vector"], ["label"])


def channel_means() -> Markdown:
    """The published channel means beside those stored with the results."""
    stored = facts.stored_data()
    means = [f"{mean:.8f}" for mean in stored[0]["channel_means"]] if stored else [ABSENT] * 3
    published = [f"{mean:.8f}" for mean in CHANNEL_MEANS]
    columns = {"channel": ["red", "green", "blue"], "published": published, "stored": means}
    return markdown(columns, numeric=["published", "stored"])


@noted
def photos() -> Markdown:
    """Each photo, how large the network saw it, what it was taken for, and whose it is."""
    rows = []
    for _, photo in predictions.photos().iterrows():
        package = escaped(photo.package.partition(" ")[0])
        source = f"[{package}](<{photo.origin.replace('>', '%3E')}>)" if photo.origin else package
        rows.append(
            (
                f"{photo['class']}: {escaped(photo.shows)}, {photo.width}×{photo.height}",
                f"{'✓' if photo.right else '✗'} {photo.guess}, {Percent(photo.probability)}",
                f"{escaped(photo.author)}, {escaped(photo.licence)}, {source}",
            )
        )
    return markdown(rows, ["photo", "prediction", "author, licence, source"]) if rows else NOT_YET


@noted
def shapes() -> Markdown:
    """The accuracy on all test pictures in other shapes, with its interval, and what it lost."""
    rows = []
    for shape, counts in facts.measured("shapes").items():
        share = Percent(counts["right"] / counts["pictures"])
        accuracy = _plus_minus(share, Percent(wilson_half_width(share, counts["pictures"])))
        rows.append((shape, accuracy, predictions.lost_in_shape(shape)))
    if not rows:
        return NOT_YET
    rows[0] = (*rows[0][:2], "")  # as they are, they lose nothing
    columns = ["width × height", "accuracy, 95% interval", "accuracy lost"]
    return markdown(rows, columns, columns[1:])


@noted
def saved_parameters(number: int) -> Markdown:
    """The arrays in a stage's saved file by layer, and whether shapes and counts are right."""
    results = facts.stage(number)
    if results.first is None:
        return note("Nothing is saved yet.")
    saved = {name: array.shape for name, array in results.first.model().items()}
    rows, total = [], 0
    for layer in count_layers(results.stage.network):
        if layer.parameters:
            shapes = [saved.get(f"{layer.name}.{kind}", ()) for kind in ("weight", "bias")]
            count = sum(math.prod(shape) for shape in shapes if shape)
            total += count
            agreement = _agreement(count == layer.parameters)
            rows.append((layer.name, *map(_by, shapes), Number(count), agreement))
    agreement = _agreement(total == results.parameters)
    rows.append(("**total**", "", "", f"**{Number(total)}**", agreement))
    columns = ["layer", "weight", "bias", "parameters", "agreement"]
    return markdown(rows, columns, ["parameters"])


def _agreement(holds: bool) -> str:
    return "yes" if holds else "**no**"


def machines(*numbers: int) -> Markdown:
    """Which seeds each machine trained, or which of their epochs, and its median epoch."""
    cells: dict[tuple[int, str], tuple[list[str], list[float]]] = {}
    short: dict[str, str] = {}
    for number in numbers or (*STAGES, *PEERS):
        for result in facts.stage(number).results:
            for session, rows in times.sessions(result):
                name = times.machine(session)
                short[name] = escaped(times.processor(session))
                first, last = rows.epoch.iloc[[0, -1]]
                span = str(first) if first == last else f"{first}{TO}{last}"
                part = "" if len(rows) == result.epochs_done else f"{SPACE}({span})"
                seeds, seconds = cells.setdefault((number, name), ([], []))
                seeds.append(f"{result.run.seed}{part}")
                seconds += rows.seconds.tolist()
    if not cells:
        return note("Nothing is trained yet.")
    text = {
        key: f"{', '.join(seeds)}: {Seconds(np.median(seconds))}".replace(" s", f"{SPACE}s")
        for key, (seeds, seconds) in cells.items()
    }
    rows = [
        (number, *(text.get((number, name), "") for name in short))
        for number in dict.fromkeys(number for number, _ in cells)
    ]
    table = markdown(rows, ["stage", *short.values()])
    names = "; ".join(map(escaped, short))
    return Markdown(f"{table.data}\n\nThe machines, in this order: {names}.\n")
