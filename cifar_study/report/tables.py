"""The report's tables, as Markdown: captions and references work and no script is needed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
from IPython.display import Markdown

from cifar_study.cifar10 import CHANNEL_MEANS, CLASSES
from cifar_study.errors import StudyError
from cifar_study.labels import one_hot
from cifar_study.layers import count_layers, count_macs, count_parameters
from cifar_study.report import pictures, predictions, study, summary
from cifar_study.report.comparison import epoch_times
from cifar_study.report.numbers import ABSENT, count, machine, percent, seconds, with_interval
from cifar_study.report.replicates import Replicates, replicates, written
from cifar_study.results.status import Status
from cifar_study.results.timing import read_timing
from cifar_study.stages import STAGES, get_stage


def _markdown(frame: pd.DataFrame, numeric: Iterable[str] = ()) -> Markdown:
    align = ["right" if name in set(numeric) else "left" for name in frame.columns]
    return Markdown(frame.to_markdown(index=False, colalign=align, disable_numparse=True))


def layers(number: int) -> Markdown:
    """A stage's layers: what each yields, its parameters and how they are counted."""
    network = replicates(number).run.stage.network
    rows = [
        {
            "layer": layer.name,
            "output": " × ".join(map(str, layer.shape)),
            "parameters": count(layer.parameters) if layer.parameters else "",
            "count": layer.arithmetic,
            "kind": layer.kind,
        }
        for layer in count_layers(network)
    ]
    total = count(count_parameters(network))
    rows.append(
        {
            "layer": "**total**",
            "output": "",
            "parameters": f"**{total}**",
            "count": "",
            "kind": "",
        }
    )
    return _markdown(pd.DataFrame(rows), ["parameters"])


def recipe(number: int) -> Markdown:
    """How a stage is trained, setting by setting."""
    chosen = STAGES[number].recipe
    rows = {
        "optimizer": "stochastic gradient descent",
        "learning rate": f"{chosen.learning_rate:g}",
        "momentum": f"{chosen.momentum:g}",
        "loss": "categorical cross-entropy",
        "batch": f"{chosen.batch_size} pictures, the last one of an epoch shorter",
        "epochs": str(replicates(number).run.planned),
        "order": "reshuffled every epoch",
        "starting weights": "Glorot-uniform, biases zero",
        "augmentation, weight decay, schedule": "none",
    }
    return _markdown(pd.DataFrame(rows.items(), columns=["setting", "value"]))


def one_hot_examples(labels: Iterable[int]) -> Markdown:
    """A few labels with their class and their one-hot vector."""
    chosen = np.array(list(labels))
    rows = [
        {
            "class": CLASSES[label],
            "label": str(label),
            "vector": " ".join(f"{value:.0f}" for value in vector),
        }
        for label, vector in zip(chosen, one_hot(chosen), strict=True)
    ]
    return _markdown(pd.DataFrame(rows), ["label"])


def channel_means() -> Markdown:
    """The published channel means beside those stored with the results."""
    stored = summary.stored_data()
    means = stored[0]["channel_means"] if stored else [None] * 3
    rows = [
        {
            "channel": name,
            "published": f"{published:.8f}",
            "stored": f"{mean:.8f}" if mean is not None else ABSENT,
        }
        for name, published, mean in zip(
            ("red", "green", "blue"), CHANNEL_MEANS, means, strict=True
        )
    ]
    return _markdown(pd.DataFrame(rows), ["published", "stored"])


def photos() -> Markdown:
    """Each photo, how large the network saw it, what it was taken for, and whose it is."""
    frame = pictures.photos()
    if not len(frame):
        return Markdown("*Known once stage 8 is trained.*")
    rows = []
    for _, item in frame.iterrows():
        package = item.package.split()[0]
        source = f"[{package}]({item.origin})" if item.origin else package
        mark = "✓" if item.right else "✗"
        rows.append(
            {
                "photo": f"{item['class']}: {item.shows}, {item.width}×{item.height}",
                "prediction": f"{mark} {item.guess}, {percent(item.probability)}",
                "author, licence, source": f"{item.author}, {item.licence}, {source}",
            }
        )
    return _markdown(pd.DataFrame(rows))


def shapes() -> Markdown:
    """The accuracy on all test pictures in other shapes, with its interval, and what it lost."""
    rows = [
        {
            "width × height": shape,
            "accuracy, 95% interval": with_interval(counted["right"], counted["pictures"]),
            "loss": predictions.lost_in_shape(shape) if place else "",
        }
        for place, (shape, counted) in enumerate(pictures.shape_counts().items())
    ]
    if not rows:
        return Markdown("*Known once stage 8 is trained.*")
    return _markdown(pd.DataFrame(rows), ["accuracy, 95% interval", "loss"])


@study.noted
def saved_parameters(number: int) -> Markdown:
    """The arrays in a stage's saved file by layer, and whether shapes and counts are right."""
    [status, *_] = replicates(number).statuses
    if status.result is None:
        return Markdown("*Nothing is saved yet.*")
    tensors = status.result.model()
    rows, total = [], 0
    for layer in count_layers(status.run.stage.network):
        shapes = {
            kind: tensors[f"{layer.name}.{kind}"].shape
            for kind in ("weight", "bias")
            if f"{layer.name}.{kind}" in tensors
        }
        if layer.parameters:
            found = sum(math.prod(shape) for shape in shapes.values())
            total += found
            rows.append(
                {
                    "layer": layer.name,
                    **{kind: " × ".join(map(str, shape)) for kind, shape in shapes.items()},
                    "parameters": count(found),
                    "agreement": "yes" if found == layer.parameters else "**no**",
                }
            )
    agree = "yes" if total == status.result.record["parameters"] else "**no**"
    rows.append({"layer": "**total**", "parameters": f"**{count(total)}**", "agreement": agree})
    return _markdown(pd.DataFrame(rows).fillna(""), ["parameters"])


def machines(*numbers: int) -> Markdown:
    """Which machine trained the stages, and from which epoch on."""
    rows = [
        (str(number), str(session["first_epoch"]), machine(session))
        for number in numbers
        for result in replicates(number).counted
        for session in result.record["sessions"]
    ]
    if not rows:
        return Markdown("*Nothing is trained yet.*")
    frame = pd.DataFrame(rows, columns=["stage", "first epoch", "machine"]).drop_duplicates()
    return _markdown(frame, ["first epoch"])


def compare(*numbers: int) -> Markdown:
    """Stages side by side: size, cost and outcome; of several seeds their means and intervals."""
    rows = []
    chosen = [summary.stage(number) for number in numbers or STAGES]
    times = epoch_times(numbers or STAGES)
    several = any(fact.replicates.several for fact in chosen)
    for fact in chosen:
        macs = count_macs(fact.replicates.run.stage.network) / 1e6
        rows.append(
            {
                "stage": f"{fact.stage.number} {fact.stage.title}",
                "test accuracy": fact.test_accuracy_interval,
                "best (epoch)": fact.best,
                "gap, points": fact.gap_interval,
                "seeds": fact.seeds,
                "epochs": _epochs(fact.replicates),
                "time an epoch": _seconds(times.seconds.get(fact.stage.number)),
                "parameters": fact.parameters,
                "MACs, millions": f"{macs:.{1 if macs >= 0.1 else 2}f}",
            }
        )
    frame = pd.DataFrame(rows)
    if several:  # the best epoch of a mean says little, and the page is narrow
        frame = frame.drop(columns="best (epoch)")
        frame = frame.rename(columns={"test accuracy": "mean test accuracy, 95% interval"})
    else:
        frame = frame.drop(columns="seeds")
    table = _markdown(frame, frame.columns[1:])
    return Markdown(f"{table.data}\n\nTimes of an epoch are {times.taken}.\n")


def _seconds(value: float | None) -> str:
    return seconds(value) if value else ABSENT


def _epochs(sample: Replicates) -> str:
    done, planned = sample.epochs_done, sample.run.planned
    return str(planned) if done >= planned else f"{done}/{planned}"


def incomplete_note(*numbers: int) -> Markdown:
    """A note that says which of the stages are not complete and current; empty if all are."""
    samples = {number: replicates(number) for number in numbers}
    old = [one for one in samples.values() if one.superseded and one.training_split == "running"]
    lines = [
        f"**Stage {number}, {get_stage(number).title}**: {line}"
        for number, one in samples.items()
        if one not in old
        for line in _incomplete(one)
    ]
    if old:
        lines.append(_earlier(old))
    if any(one.run.trial for one in samples.values()):
        lines.insert(0, f"Shown here is the trial in `{study.cache()}`, not the study.")
    try:
        read_timing(study.cache())
    except StudyError as error:
        lines.append(f"**Times**: {error}")
    lines += [f"**Pictures**: {line}" for line in pictures.damage()]
    if not lines:
        return Markdown("")
    body = "\n".join(f"- {line}" for line in lines)
    return Markdown(
        f"::: {{.callout-warning}}\n## About the runs behind this page\n\n{body}\n:::\n"
    )


def _earlier(samples: list[Replicates]) -> str:
    """What has to be known of results that an earlier engine left, in one sentence for all."""
    numbers = [one.run.stage.number for one in samples]
    mixed = [one.run.stage.number for one in samples if one.counted[0].precision == "mixed"]
    changed = f" ({_stages(mixed)} in float32 first and in bfloat16 later)" if mixed else ""
    train = f"python -m cifar_study.train --stage {' '.join(map(str, numbers))} --restart"
    return (
        f"**{_stages(numbers).capitalize()}**: by an earlier engine, from one seed{changed}. "
        "Training pictures were evaluated after the last epoch only, so their curves show "
        f"training as it ran, dropout at work. `{train}` trains anew."
    )


def _stages(numbers: list[int]) -> str:
    return f"stage{'s' if len(numbers) != 1 else ''} {written(numbers).replace(',', ', ')}"


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
        done, planned = status.result.epochs_done, status.result.epochs_planned
        return f"trained for {done} of {planned} epochs; `{run.command()}` goes on."
    if status.state == "stale":
        return f"{status.text}; `{run.command('--restart')}` trains it anew."
    return status.text
