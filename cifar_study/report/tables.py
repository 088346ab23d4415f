"""The report's tables and notes, as Markdown: captions and references work without a script."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

from cifar_study.layers import count_layers, count_parameters
from cifar_study.report import facts, predictions
from cifar_study.report.numbers import ABSENT, Number, Percent, Points, escaped, wilson_half_width
from cifar_study.report.style import noted
from cifar_study.runs import CACHE, Run, cache, in_project, read_record
from cifar_study.stages import CLASSES, PEERS, STAGES, Stage

SPACE = "\N{NO-BREAK SPACE}"


def markdown(rows: Sequence[object], columns: Sequence[str], left: int = 1) -> Markdown:
    """A table of escaped values as Markdown, all but the first ``left`` columns to the right."""
    frame = pd.DataFrame(rows, columns=columns, dtype=object).map(str)  # a Number stays one
    align = ["left"] * left + ["right"] * (len(columns) - left)
    return Markdown(frame.to_markdown(index=False, colalign=align, disable_numparse=True))


def named(stage: Stage) -> str:
    """A stage's number and title, for Markdown."""
    return f"{stage.number} {escaped(stage.title)}"


def incomplete_note(*numbers: int) -> Markdown:
    """What keeps these stages, else all, from being complete, each with the command that helps.

    Where the results shown are not the study's, a notice with their numbers stands before that.
    """
    other, text, rows = facts.other_results(), "", []
    stages = [facts.stage(number) for number in numbers or (() if other else STAGES)]
    if other:
        text = (
            f"This page shows the results in `{cache()}`, not the study's, so its answer and "
            "judgements are left out.\n\n"
        )
        for results in stages:
            epochs = results.epochs if results.results else ABSENT
            if results.results and results.first.run.limit:
                epochs += f" on {results.first.run.limit:,} pictures"
            rows.append((named(results.stage), epochs, results.test_accuracy, results.gap.bare))
    if rows:
        text += f"{markdown(rows, ['stage', 'trained', 'test accuracy', 'gap, points']).data}\n\n"
    for results in stages:
        for line in _wanting(results):
            text += f"- **Stage {named(results.stage)}**: {line}\n"
    head = f"::: {{.callout-{'note' if other else 'warning'}}}\n## About the runs behind this page"
    return Markdown(f"{head}\n\n{text}:::\n" if text else "")


def _wanting(results: facts.StageResults) -> Iterator[str]:
    yield from map(escaped, results.damage)
    if not results.all_results and not results.damage:
        shown = [result.run for number in STAGES for result in facts.stage(number).all_results]
        like = next((run for run in shown if run.trial), Run(1))
        run = replace(like, number=results.stage.number, seed=0, root=cache())
        yield f"not trained yet; `{run.command()}` trains it."
    for result in results.all_results:
        run, helps = replace(result.run, root=cache()), "goes on"
        if result.state.startswith("stale"):
            run, helps = replace(run, root=Path("mine")), "trains it in another folder"
        if not result.complete:
            yield f"seed {run.seed} is {escaped(result.state)}; `{run.command()}` {helps}."


def delivered() -> Markdown:
    """Which runs came with the study, as it has the same files, and which are one's own."""
    rows = []
    for results in map(facts.stage, (*STAGES, *PEERS)):
        seeds: dict[bool, list[str]] = {True: [], False: []}
        for result in results.all_results:
            record = read_record(replace(result.run, root=in_project(CACHE)).folder) or {}
            same = record.get("files") == result.record["files"]
            seeds[same].append(str(result.run.seed))
        if results.all_results:
            rows.append((named(results.stage), *map(", ".join, seeds.values())))
    return markdown(rows, ["stage", "delivered seeds", "own seeds"])


@noted
def glance() -> Markdown:
    """All stages at the end of training, a row each."""
    rows = []
    for results in map(facts.stage, STAGES):
        about = results.test_accuracy, results.gap.bare, results.epoch_seconds, results.parameters
        rows.append((named(results.stage), *about))
    return markdown(rows, ["stage", "test accuracy", "gap, points", "an epoch", "parameters"])


@noted
def compare(*numbers: int) -> Markdown:
    """Stages side by side: outcome with its 95% interval, time and size."""
    rows = []
    for number in numbers:
        results = facts.stage(number)
        accuracy = _plus_minus(results.test_accuracy, results.half_width("test_accuracy"))
        gap = _plus_minus(results.gap.bare, results.half_width("gap"))
        cost = results.epoch_seconds, results.parameters, results.macs.bare
        rows.append((named(results.stage), accuracy, gap, *cost))
    columns = ["stage", "test accuracy", "gap, points", "an epoch", "parameters", "MACs, millions"]
    single = any(len(facts.stage(number).results) == 1 for number in numbers)
    basis = "the seeds" + "; of one seed it is that of its test pictures" * single
    return Markdown(f"{markdown(rows, columns).data}\n\n± is the 95% interval over {basis}.\n")


def _plus_minus(value: Number | str, half: Number) -> str:
    return str(value) if math.isnan(half) else f"{value}{SPACE}±{SPACE}{half.bare}"


@noted
def epoch_times() -> Markdown:
    """Seconds of every stage's epoch, and the one machine that they were measured on."""
    stages = map(facts.stage, (*STAGES, *PEERS))
    rows = [(named(results.stage), results.epoch_seconds) for results in stages]
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
        shape = " × ".join(map(str, layer.shape))
        rows.append((layer.name, layer.kind, shape, parameters, layer.arithmetic))
    rows.append(("**total**", "", "", f"**{Number(count_parameters(network))}**", ""))
    return markdown(rows, ["layer", "kind", "output", "parameters", "count"], left=3)


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
    rows = []
    for number in (*STAGES, *PEERS):
        for result in facts.stage(number).results:
            sessions = result.record["sessions"]
            ends = [session["first_epoch"] - 1 for session in sessions[1:]] + [result.epochs_done]
            for session, end in zip(sessions, ends, strict=True):
                part = f"{SPACE}({session['first_epoch']}–{end})" * (len(sessions) > 1)
                rows.append((number, facts.machine(session), f"{result.run.seed}{part}"))
    frame = pd.DataFrame(rows, columns=["stage", "machine", "seeds"])
    seeds = frame.pivot_table("seeds", "stage", "machine", ", ".join, fill_value="", sort=False)
    numbered = [f"{place}. {name}" for place, name in enumerate(seeds, 1)]
    short = [escaped(name.partition(",")[0]) for name in numbered]
    table = markdown(seeds.reset_index().to_numpy(), ["stage", *short], left=1 + len(short))
    return Markdown(f"{table.data}\n\nThe machines: {'; '.join(map(escaped, numbered))}.\n")
