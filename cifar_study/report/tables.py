"""The report's tables, as Markdown: captions and references work and no script is needed."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from IPython.display import Markdown

from cifar_study.layers import count_layers, count_parameters
from cifar_study.report import facts, predictions
from cifar_study.report.notices import delivered, incomplete_note, markdown, named
from cifar_study.report.numbers import Number, Percent, Points, escaped, wilson_half_width
from cifar_study.report.style import noted
from cifar_study.stages import CLASSES, PEERS, STAGES

__all__ = ["delivered", "incomplete_note"]
SPACE, TO = "\N{NO-BREAK SPACE}", "\N{WORD JOINER}–\N{WORD JOINER}"  # what stays on one line


@noted
def glance() -> Markdown:
    """All stages at the end of training, a row each."""
    rows = []
    for number in STAGES:
        results, seconds = facts.stage(number), facts.epoch_seconds(number)
        numbers = results.test_accuracy, results.gap.bare, seconds, results.parameters
        rows.append((named(results.stage), *numbers))
    return markdown(rows, ["stage", "test accuracy", "gap, points", "an epoch", "parameters"])


@noted
def compare(*numbers: int) -> Markdown:
    """Stages side by side: outcome with its 95% interval, time and size."""
    rows = []
    for number in numbers:
        results, seconds = facts.stage(number), facts.epoch_seconds(number)
        accuracy = _plus_minus(results.test_accuracy, results.half_width("test_accuracy"))
        gap = _plus_minus(results.gap.bare, results.half_width("gap"))
        size = results.parameters, results.macs.bare
        rows.append((named(results.stage), accuracy, gap, seconds, *size))
    columns = ["stage", "test accuracy", "gap, points", "an epoch", "parameters", "MACs, millions"]
    table = markdown(rows, columns)
    single = any(len(facts.stage(number).results) == 1 for number in numbers)
    of_pictures = "; of one seed it is that of its test pictures" * single
    return Markdown(f"{table.data}\n\n± is the 95% interval over the seeds{of_pictures}.\n")


def _plus_minus(value: Number | str, half: Number) -> str:
    return str(value) if math.isnan(half) else f"{value}{SPACE}±{SPACE}{half.bare}"


@noted
def epoch_times() -> Markdown:
    """Seconds of every stage's epoch, and the one machine that they were measured on."""
    stages = {**STAGES, **PEERS}
    rows = [(named(stage), facts.epoch_seconds(number)) for number, stage in stages.items()]
    about, _ = facts.epoch_times()
    where = f"On {escaped(facts.machine(about))}" if about else "Not measured yet"
    date = f", {about['date']}" if "date" in about else ""
    return Markdown(f"{markdown(rows, ['stage', 'an epoch']).data}\n\n{where}{date}.\n")


def layers(number: int) -> Markdown:
    """A stage's layers: what each yields, its parameters and how they are counted."""
    network = facts.stage(number).stage.network
    rows = []
    for layer in count_layers(network):
        parameters = Number(layer.parameters) if layer.parameters else ""
        rows.append((layer.name, layer.kind, _by(layer.shape), parameters, layer.arithmetic))
    rows.append(("**total**", "", "", f"**{Number(count_parameters(network))}**", ""))
    return markdown(rows, ["layer", "kind", "output", "parameters", "count"], left=3)


def _by(shape: Iterable[int]) -> str:
    return " × ".join(map(str, shape))


def one_hot(labels: Sequence[int], classes: int = len(CLASSES)) -> np.ndarray:
    """Labels (N,) as probability vectors (N, ``classes``): certainty for the right class."""
    vectors = np.zeros((len(labels), classes), dtype=np.float32)
    vectors[np.arange(len(labels)), labels] = 1
    return vectors


def one_hot_examples(labels: Sequence[int]) -> Markdown:
    """A few labels with their class and their one-hot vector."""
    vectors = [" ".join(f"{value:.0f}" for value in vector) for vector in one_hot(labels)]
    rows = zip([CLASSES[label] for label in labels], labels, vectors, strict=True)
    return markdown(list(rows), ["class", "label", "vector"], left=3)


@noted
def photos() -> Markdown:
    """Each photo, how large the network saw it, what it was taken for, and whose it is."""
    rows = []
    for _, photo in predictions.photos().iterrows():
        package = escaped(photo.package.partition(" ")[0])
        source = f"[{package}](<{photo.origin}>)" if photo.origin else package
        seen = f"{photo['class']}: {escaped(photo.shows)}, {photo.width}×{photo.height}"
        guess = f"{'✓' if photo.right else '✗'} {photo.guess}, {Percent(photo.probability)}"
        rows.append((seen, guess, f"{escaped(photo.author)}, {escaped(photo.licence)}, {source}"))
    return markdown(rows, ["photo", "prediction", "author, licence, source"], left=3)


@noted
def shapes() -> Markdown:
    """The accuracy on all test pictures in other shapes, and what it lost, with intervals."""
    rows = []
    for shape, counts in facts.measured("shapes").items():
        lost, gained, total = (counts[name] for name in ("lost", "gained", "pictures"))
        accuracy, mean = Percent(counts["right"] / total), (lost - gained) / total
        half = Points(1.96 * math.sqrt(((lost + gained) / total - mean**2) / total))
        accuracy = _plus_minus(accuracy, Percent(wilson_half_width(accuracy, total)))
        rows.append((shape, accuracy, _plus_minus(Points(mean).bare, half) if half else ""))
    return markdown(rows, ["width × height", "accuracy", "points lost"])


def machines() -> Markdown:
    """Which seeds each machine trained, or which of their epochs."""
    cells: dict[tuple[int, str], list[str]] = defaultdict(list)
    short: dict[str, str] = {}
    for number in (*STAGES, *PEERS):
        for result in facts.stage(number).results:
            sessions = result.record["sessions"]
            ends = [session["first_epoch"] - 1 for session in sessions[1:]] + [result.epochs_done]
            for session, end in zip(sessions, ends, strict=True):
                name = facts.machine(session)
                short[name] = escaped(facts.processor(session))
                part = f"{SPACE}({session['first_epoch']}{TO}{end})" * (len(sessions) > 1)
                cells[number, name].append(f"{result.run.seed}{part}")
    trained = dict.fromkeys(number for number, _ in cells)
    rows = [(number, *(", ".join(cells[number, name]) for name in short)) for number in trained]
    table = markdown(rows, ["stage", *short.values()], left=1 + len(short))
    names = "; ".join(map(escaped, short))
    return Markdown(f"{table.data}\n\nThe machines, in this order: {names}.\n")
