"""The report's tables, as Markdown: captions and references work and no script is needed."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown

from cifar_study.cifar10 import CHANNEL_MEANS, CLASSES
from cifar_study.errors import StudyError
from cifar_study.labels import one_hot
from cifar_study.layers import count_layers, count_macs, count_parameters
from cifar_study.report import pictures, study, summary
from cifar_study.report.comparison import epoch_times
from cifar_study.report.numbers import ABSENT, count, machine, percent, seconds, with_interval
from cifar_study.report.predictions import lost_in_shape
from cifar_study.report.replicates import Replicates, of_epochs, processor, replicates, written
from cifar_study.results.speed import read_speeds
from cifar_study.results.status import Status
from cifar_study.stages import STAGES, get_stage

SPACE, TO = "\N{NO-BREAK SPACE}", "\N{WORD JOINER}–\N{WORD JOINER}"  # what stays on one line
NOT_YET = Markdown("*Known once stage 8 is trained.*")


def markdown(
    rows: Any, columns: Sequence[str] | None = None, numeric: Collection[str] = ()
) -> Markdown:
    """A table of text as Markdown, the ``numeric`` columns to the right.

    ``rows`` are what pandas makes a frame of, with these ``columns`` where it does not know them.
    """
    frame = pd.DataFrame(rows, columns=columns)
    align = ["right" if name in numeric else "left" for name in frame.columns]
    return Markdown(frame.to_markdown(index=False, colalign=align, disable_numparse=True))


def layers(number: int) -> Markdown:
    """A stage's layers: what each yields, its parameters and how they are counted."""
    network = replicates(number).run.stage.network
    rows = [
        (
            layer.name,
            _by(layer.shape),
            count(layer.parameters) if layer.parameters else "",
            layer.arithmetic,
            layer.kind,
        )
        for layer in count_layers(network)
    ]
    rows.append(("**total**", "", f"**{count(count_parameters(network))}**", "", ""))
    return markdown(rows, ["layer", "output", "parameters", "count", "kind"], ["parameters"])


def _by(shape: Iterable[int]) -> str:
    return " × ".join(map(str, shape))


def recipe(number: int) -> Markdown:
    """How a stage is trained, setting by setting."""
    one = replicates(number)
    chosen = one.run.stage.recipe
    precision = one.counted[0].precision if one.counted else ABSENT
    rows = {
        "optimizer": "stochastic gradient descent",
        "learning rate": f"{chosen.learning_rate:g}",
        "momentum": f"{chosen.momentum:g}",
        "loss": "categorical cross-entropy",
        "batch": f"{chosen.batch_size} pictures, the last one of an epoch shorter",
        "epochs": str(chosen.epochs),
        "order": "reshuffled every epoch",
        "starting weights": "Glorot-uniform, biases zero",
        "precision": f"convolutions and dense layer in {precision}, weights in float32",
        "changed pictures (augmentation), weight decay, schedule of the rate": "none",
    }
    return markdown(rows.items(), ["setting", "value"])


def one_hot_examples(labels: Sequence[int]) -> Markdown:
    """A few labels with their class and their one-hot vector."""
    rows = [
        (CLASSES[label], str(label), " ".join(f"{value:.0f}" for value in vector))
        for label, vector in zip(labels, one_hot(np.array(labels)), strict=True)
    ]
    return markdown(rows, ["class", "label", "vector"], ["label"])


def channel_means() -> Markdown:
    """The published channel means beside those stored with the results."""
    stored = summary.stored_data()
    means = [f"{mean:.8f}" for mean in stored[0]["channel_means"]] if stored else [ABSENT] * 3
    published = [f"{mean:.8f}" for mean in CHANNEL_MEANS]
    columns = {"channel": ["red", "green", "blue"], "published": published, "stored": means}
    return markdown(columns, numeric=["published", "stored"])


def photos() -> Markdown:
    """Each photo, how large the network saw it, what it was taken for, and whose it is."""
    rows = []
    for _, item in pictures.photos().iterrows():
        package = item.package.split()[0]
        source = f"[{package}]({item.origin})" if item.origin else package
        rows.append(
            (
                f"{item['class']}: {item.shows}, {item.width}×{item.height}",
                f"{'✓' if item.right else '✗'} {item.guess}, {percent(item.probability)}",
                f"{item.author}, {item.licence}, {source}",
            )
        )
    return markdown(rows, ["photo", "prediction", "author, licence, source"]) if rows else NOT_YET


def shapes() -> Markdown:
    """The accuracy on all test pictures in other shapes, with its interval, and what it lost."""
    rows = [
        (shape, with_interval(counted["right"], counted["pictures"]), lost_in_shape(shape))
        for shape, counted in pictures.shape_counts().items()
    ]
    if not rows:
        return NOT_YET
    rows[0] = (*rows[0][:2], "")  # as they are, they lose nothing
    columns = ["width × height", "accuracy, 95% interval", "accuracy lost"]
    return markdown(rows, columns, columns[1:])


@study.noted
def saved_parameters(number: int) -> Markdown:
    """The arrays in a stage's saved file by layer, and whether shapes and counts are right."""
    stage = replicates(number)
    if stage.first is None:
        return Markdown("*Nothing is saved yet.*")
    shapes = {name: array.shape for name, array in stage.first.model().items()}
    rows, total = [], 0
    for layer in count_layers(stage.run.stage.network):
        if layer.parameters:
            saved = [shapes.get(f"{layer.name}.{kind}", ()) for kind in ("weight", "bias")]
            found = sum(math.prod(shape) for shape in saved if shape)
            total += found
            agreement = _agreement(found == layer.parameters)
            rows.append((layer.name, *map(_by, saved), count(found), agreement))
    agreement = _agreement(total == stage.first.record["parameters"])
    rows.append(("**total**", "", "", f"**{count(total)}**", agreement))
    columns = ["layer", "weight", "bias", "parameters", "agreement"]
    return markdown(rows, columns, ["parameters"])


def _agreement(holds: bool) -> str:
    return "yes" if holds else "**no**"


def machines(*numbers: int) -> Markdown:
    """Which seeds each machine trained, or which of their epochs, and its median epoch."""
    cells: dict[tuple[int, str], tuple[list[str], list[float]]] = {}
    short: dict[str, str] = {}
    for number in numbers:
        for result in replicates(number).counted:
            short |= {machine(one): processor(one) for one in result.record["sessions"]}
            history = result.history.assign(machine=of_epochs(result, machine))
            moved = history["machine"] != history["machine"].shift()
            for _, part in history.groupby(moved.cumsum()):
                first, last = part["epoch"].iloc[[0, -1]]
                span = str(first) if first == last else f"{first}{TO}{last}"
                epochs = "" if len(part) == len(history) else f"{SPACE}({span})"
                seeds, taken = cells.setdefault((number, part["machine"].iloc[0]), ([], []))
                seeds.append(f"{result.seed}{epochs}")
                taken += part["seconds"].tolist()
    if not cells:
        return Markdown("*Nothing is trained yet.*")
    said = {
        key: f"{', '.join(seeds)}: {seconds(float(np.median(taken))).replace(' ', SPACE)}"
        for key, (seeds, taken) in cells.items()
    }
    rows = [
        (str(number), *(said.get((number, name), "") for name in short))
        for number in dict.fromkeys(number for number, _ in cells)
    ]
    table = markdown(rows, ["stage", *short.values()])
    return Markdown(f"{table.data}\n\nThe machines, in this order: {'; '.join(short)}.\n")


def compare(*numbers: int) -> Markdown:
    """Stages side by side: size, cost and outcome; of several seeds their means and intervals."""
    chosen = [summary.stage(number) for number in numbers or STAGES]
    times = epoch_times(numbers or STAGES)
    several = any(one.replicates.several for one in chosen)
    accuracy = "mean test accuracy, 95% interval" if several else "test accuracy"
    frame = pd.DataFrame(
        {
            "stage": f"{one.stage.number} {one.stage.title}",
            accuracy: one.test_accuracy_interval,
            "best (epoch)": one.best,
            "gap, points": one.gap_interval,
            "seeds": one.seeds,
            "epochs": _epochs(one.replicates),
            "time an epoch": seconds(times.seconds.get(one.stage.number, math.nan)),
            "parameters": one.parameters,
            "MACs, millions": _macs(count_macs(one.stage.network) / 1e6),
        }
        for one in chosen
    )
    # The best epoch of a mean says little, and the page is narrow.
    frame = frame.drop(columns="best (epoch)" if several else "seeds")
    table = markdown(frame, numeric=frame.columns[1:])
    single = any(len(one.replicates.counted) == 1 for one in chosen)
    said = (
        "± is Student's 95% interval of the mean over the seeds"
        f"{'; a stage of one seed has none' * single}."
        if several
        else "Best is the highest test accuracy of any epoch, with that epoch."
    )
    return Markdown(f"{table.data}\n\n{said} Times of an epoch are {times.taken}.\n")


def _macs(millions: float) -> str:
    return f"{millions:.1f}" if millions >= 10 else f"{millions:.2f}"


def _epochs(sample: Replicates) -> str:
    done, planned = sample.epochs_done, sample.run.planned
    return str(planned) if done >= planned else f"{done}/{planned}"


def incomplete_note(*numbers: int) -> Markdown:
    """A note that says which of the stages are not complete and current; empty if all are."""
    samples = {number: replicates(number) for number in numbers}
    lines = [
        f"**Stage {number}, {get_stage(number).title}**: {line}"
        for number, one in samples.items()
        for line in _incomplete(one)
    ]
    if any(one.run.trial for one in samples.values()):
        lines.insert(
            0,
            f"Shown here is the trial in `{study.cache()}`, not the study: numbers and charts are "
            "the trial's, all that is said in words alone is of the study.",
        )
    try:
        read_speeds(study.cache())
    except StudyError as error:
        lines.append(f"**Times**: {error}")
    lines += [f"**Pictures**: {line}" for line in pictures.damage()]
    if not lines:
        return Markdown("")
    body = "\n".join(f"- {line}" for line in lines)
    return Markdown(
        f"::: {{.callout-warning}}\n## About the runs behind this page\n\n{body}\n:::\n"
    )


def _incomplete(sample: Replicates) -> list[str]:
    """What keeps a stage from being complete and current, seed by seed where it has several."""
    if len(sample.statuses) == 1:
        [status] = sample.statuses
        return [_state(status)] if status.state != "complete" else []
    wrong = [status for status in sample.statuses if status.state in ("stale", "damaged")]
    lines = [f"seed {status.run.seed}: {_state(status)}" for status in wrong]
    begun = [status.run.seed for status in sample.statuses if status.state in ("partial", "absent")]
    if begun:
        counted = [result.seed for result in sample.counted]
        shown = f"what is shown is of {_seeds(counted)}"
        if not sample.complete:
            shown += f", trained for {sample.epochs_done} of {sample.run.planned} epochs"
        command = replace(sample.run, seed=0).command(f"--seeds {written(begun)}")
        lines.append(f"{_seeds(begun)} not complete, {shown}; `{command}` goes on.")
    return lines


def _seeds(numbers: list[int]) -> str:
    return f"seed{'s' if len(numbers) != 1 else ''} {written(numbers)}"


def _state(status: Status) -> str:
    run = status.run
    if status.state == "absent":
        return f"not trained yet; `{run.command()}` trains it."
    if status.state == "partial":
        done = status.result.epochs_done
        return f"trained for {done} of {run.planned} epochs; `{run.command()}` goes on."
    if status.state == "stale":
        return f"{status.text}; `{run.command('--restart')}` trains it anew."
    return status.text
