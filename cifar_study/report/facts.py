"""What sentences say of the results: numbers of a stage, of two, of the data, and times."""

import math
from types import SimpleNamespace
from typing import Any

from cifar_study.report.numbers import (
    Loss,
    Number,
    Points,
    Seconds,
    Times,
    WholePoints,
    escaped,
    listed,
    word,
)  # fmt: skip
from cifar_study.report.stage_results import (
    StageResults,
    measured,
    other_results,
    stage,
)  # fmt: skip
from cifar_study.report.times import epoch_times
from cifar_study.stages import CLASSES, SIDE, STAGES, TEST, TRAIN, TRAIN_SAMPLE

__all__ = ["StageResults", "measured", "other_results", "stage"]
CHANCE_LOSS = Loss(math.log(len(CLASSES)))  # of equal probabilities for all classes


def stage_count() -> str:
    """How many stages there are, as a word."""
    return word(len(STAGES))


def seeds(*numbers: int) -> str:
    """How many seeds count of these stages, or of all, in words: three, one to three."""
    counts = sorted({len(stage(number).results) for number in numbers or STAGES} - {0} or {0})
    return " to ".join(dict.fromkeys(map(word, (counts[0], counts[-1]))))


def points_gained(number: int, before: int) -> WholePoints:
    """How many whole points higher a stage's mean test accuracy ends than another's."""
    return WholePoints(stage(number).test_accuracy - stage(before).test_accuracy)


def ratio(of: str, number: int, before: int) -> Times:
    """How many times the "parameters" or the "macs" of one stage are those of another."""
    return Times(getattr(stage(number), of) / getattr(stage(before), of))


def sampling_error(number: int) -> Points:
    """Half of the 95% interval that the number of test pictures leaves a stage's accuracy."""
    return stage(number).sampling_error


def data() -> SimpleNamespace:
    """The numbers of the data set; ``fingerprint`` is how that stored with the results begins."""
    stored = {each["fingerprint"] for each in stored_data()}
    return SimpleNamespace(
        classes=", ".join(CLASSES),
        train=Number(TRAIN),
        test=Number(TEST),
        train_each=Number(TRAIN // len(CLASSES)),
        test_each=Number(TEST // len(CLASSES)),
        side=Number(SIDE),
        sample=Number(TRAIN_SAMPLE),
        fingerprint=listed(f"{fingerprint[:12]}…" for fingerprint in sorted(stored)),
    )


def stored_data() -> list[dict[str, Any]]:
    """What the results that count say of the pictures they were trained on."""
    return [result.record["data"] for number in STAGES for result in stage(number).results]


def epoch_seconds(number: int) -> Seconds:
    """What a stage's epoch takes, evaluation included, of one process on one machine."""
    return epoch_times()[number]


def epoch_ratio(number: int, before: int) -> Times:
    """How many times as long an epoch of one stage takes as that of another."""
    times = epoch_times()
    return Times(times[number] / times[before])


def epoch_line(number: int, before: int | None = None) -> str:
    """What an epoch takes, and where: a sentence, with the ratio to another stage."""
    times = epoch_times()
    if math.isnan(times[number]):
        return "How long an epoch takes is not measured yet."
    longer = Times(times[number] / times[before]) if before else Times("nan")
    as_before = "" if math.isnan(longer) else f", {longer} as long as before"
    return f"An epoch takes {times[number]} on {escaped(times.where)}{as_before}."
