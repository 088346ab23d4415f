"""How fast the engine trains: what ``benchmarks/`` measured, for the report; no torch."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from cifar_study.atomic import present, read_json
from cifar_study.errors import StudyError
from cifar_study.report import comparison, study
from cifar_study.report.numbers import ABSENT, machine, seconds
from cifar_study.report.style import COLOURS, Charts, chart, label_points, new_figure
from cifar_study.results.timing import read_timing
from cifar_study.stages import get_stage

FORMAT = 1
RESULTS = "speed.json"
FLOOR_TARGETS = {2: 1.8, 3: 1.8, 4: 1.8, 5: 1.3, 6: 1.5, 7: 1.5, 8: 1.5}
PLAIN_TARGET, KERAS_TARGET = 3, 2
# Measured in one run on an AMD EPYC for the stages of BOTH; the run itself was not kept.
BOTH = (1, 4, 5, 8)
ON_EPYC = ("1.5 to 1.9", "1.16 to 1.44", "2.6 to 3.4", "1.27, 1.65, 1.61, 1.79")
Times = dict[str, list[float]]


def read_results(path: Path | None = None) -> dict[str, Any]:
    """What ``benchmarks.speed`` wrote; anything else is a :class:`StudyError`."""
    path = path or study.cache() / RESULTS
    if not present(path):
        raise StudyError(f"{path}: nothing was measured yet; run: make bench")
    remedy = "restore it from git, or delete it and measure again with: make bench"
    results = read_json(path, remedy)
    if results.get("format") != FORMAT:
        raise StudyError(f"{path}: not a result of format {FORMAT}; {remedy}")
    return results


def times() -> Markdown:
    """Every stage's epoch as measured in one sitting, and on what."""
    try:
        timing = read_timing(study.cache())
    except StudyError as error:
        return Markdown(f"*{error}*")
    if timing is None:
        return Markdown(
            "*Not measured yet, so the times of the chapters are medians over the epochs as they "
            "were trained. Measure them with:* `python -m cifar_study.train --timing`"
        )
    rows = [
        [
            f"{number} {get_stage(number).title}",
            *(seconds(entry[key]) for key in ("seconds", "least", "most")),
        ]
        for number, entry in in_order(timing["stages"])
    ]
    return Markdown(markdown(["stage", "median", "least", "most"], rows))


def timed_on() -> str:
    """The machine of the sitting, or a dash."""
    timing = comparison.timing()
    return machine(timing["machine"]) if timing else ABSENT


def compared_on(path: Path | None = None) -> str:
    """The machine of the comparison with others, or a dash."""
    try:
        return machine(read_results(path)["machine"])
    except StudyError:  # the table says so
        return ABSENT


def table(path: Path | None = None) -> Markdown:
    """The ratios of every stage, or a line that says why there are none."""
    try:
        results = read_results(path)
    except StudyError as error:
        return Markdown(f"*{error}*")
    # A range stays on one line.
    return Markdown(ratios(results.get("stages", {})).replace("–", "–\N{WORD JOINER}"))


def ratios(stages: dict[str, Any]) -> str:
    """The engine beside the floor and its peers, stage by stage, as a Markdown table."""
    head = [
        "stage",
        "engine ÷ floor, a core",
        "at most",
        "engine ÷ its convolutions alone",
        f"plain loop ÷ engine (at least {PLAIN_TARGET})",
        "plain loop, best threads ÷ engine",
        f"Keras, best threads ÷ engine (at least {KERAS_TARGET})",
    ]
    rows = []
    for number, entry in in_order(stages):
        times = entry["seconds"]
        jobs = times.get("engine-jobs")
        rows.append(
            [
                str(number),
                against(times.get("engine"), times.get("floor")),
                str(FLOOR_TARGETS.get(number, ABSENT)),
                against(times.get("engine"), times.get("convolutions")),
                against(times.get("plain"), jobs),
                against(_quicker(times, "plain", "plain-jobs"), jobs),
                against(_quicker(times, "keras", "keras-jobs"), jobs),
            ]
        )
    return markdown(head, rows)


def processors(path: Path | None = None) -> Markdown:
    """The ratios of some stages on the processor of the table and on another, side by side."""
    try:
        results = read_results(path)
    except StudyError as error:
        return Markdown(f"*{error}*")
    measured = results.get("stages", {})
    if not all(str(number) in measured for number in BOTH):
        return Markdown(f"*Stages {', '.join(map(str, BOTH))} were not all measured.*")
    floor, own, plain, keras = zip(
        *(_medians(measured[str(number)]["seconds"]) for number in BOTH), strict=True
    )
    here = [
        f"{min(floor):.1f} to {max(floor):.1f}",
        f"{min(own):.2f} to {max(own):.2f}",
        f"{min(plain):.1f} to {max(plain):.1f}",
        ", ".join(f"{value:.2f}" for value in keras),
    ]
    names = [
        "engine ÷ floor, a core",
        "engine ÷ its convolutions alone",
        "plain loop, best threads ÷ engine",
        "Keras, best threads ÷ engine",
    ]
    processor = results["machine"]["processor"].split(",")[0].replace("(R)", "")
    rows = [list(row) for row in zip(names, here, ON_EPYC, strict=True)]
    return Markdown(markdown(["ratio", processor, "AMD EPYC"], rows))


def _medians(times: Times) -> list[float]:
    """Engine over floor and over convolutions, plain loop and Keras over engine, at their best."""
    jobs = times["engine-jobs"]
    pairs = [
        (times["engine"], times["floor"]),
        (times["engine"], times["convolutions"]),
        (_quicker(times, "plain", "plain-jobs"), jobs),
        (_quicker(times, "keras", "keras-jobs"), jobs),
    ]
    return [ratio(*pair)[0] for pair in pairs]


def added(number: int, path: Path | None = None) -> str:
    """What the engine takes on top of a stage's convolutions alone: 69%."""
    try:
        times = read_results(path)["stages"][str(number)]["seconds"]
    except StudyError:  # the table says so
        return ABSENT
    return f"{ratio(times['engine'], times['convolutions'])[0] - 1:.0%}"


def growth(path: Path | None = None) -> Charts:
    """Seconds an epoch against arithmetic, and seconds against pictures, on logarithmic axes.

    Two notes in their places where nothing was measured, so that the page keeps its form.
    """
    try:
        results = read_results(path)
    except StudyError as error:
        return Charts((Markdown(f"*{error}*"), Markdown("*Nothing was measured yet.*")))
    sizes = results.get("scaling", {}).get("sizes", {})
    return Charts((_by_stage(results.get("stages", {})), _by_pictures(sizes)))


@chart
def _by_stage(stages: dict[str, Any]) -> Figure:
    figure = new_figure(3.8, 3.2)
    axes = figure.subplots()
    points = {}
    for number, entry in in_order(stages):
        for name, marker, face in (("engine", "o", None), ("engine-jobs", "s", "white")):
            if name in entry["seconds"]:
                point = entry["macs"] / 1e6, statistics.median(entry["seconds"][name])
                axes.plot(*point, marker, color=COLOURS[number], mfc=face, markersize=7)
                points.setdefault(str(number), point)
    _logarithmic(axes)
    axes.set(xlabel="million MACs for a picture", ylabel="seconds for an epoch")
    axes.margins(y=0.12)  # for the numbers of points that share a place
    label_points(axes, points)
    return figure


@chart
def _by_pictures(sizes: dict[str, Any]) -> Figure:
    figure = new_figure(3.8, 3.2)
    axes = figure.subplots()
    ticks: set[int] = set()
    for number, times in in_order(sizes):
        pictures = [size for size, _ in in_order(times)]
        medians = [statistics.median(values) for _, values in in_order(times)]
        axes.plot(pictures, medians, "o-", color=COLOURS[number], label=f"stage {number}")
        reach = np.array([pictures[0], pictures[-1]])
        axes.plot(reach, reach * medians[-1] / pictures[-1], ":", color=COLOURS[number])
        ticks |= set(pictures)
    _logarithmic(axes)
    axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.set(xlabel="training pictures", ylabel="seconds")
    if ticks:
        axes.legend()
    return figure


def _logarithmic(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_locator(NullLocator())


def ratio(numerator: list[float], denominator: list[float]) -> tuple[float, float, float]:
    """Median, least and most of a ratio over the rounds, each against its own round."""
    values = [over / under for over, under in zip(numerator, denominator, strict=True)]
    return statistics.median(values), min(values), max(values)


def written(numbers: tuple[float, float, float], digits: int) -> str:
    """Median, least and most as text: 1.52 (1.48–1.60)."""
    median, least, most = (f"{number:.{digits}f}" for number in numbers)
    return f"{median} ({least}–{most})"


def against(over: list[float] | None, under: list[float] | None) -> str:
    """A ratio as text, a dash where one side was not measured."""
    return written(ratio(over, under), 2) if over and under else ABSENT


def _quicker(times: Times, *names: str) -> list[float] | None:
    """The times of the quicker setting of a peer, by its median."""
    measured = [times[name] for name in names if name in times]
    return min(measured, key=statistics.median, default=None)


def in_order(entries: dict[str, Any]) -> list[tuple[int, Any]]:
    """Entries by number rather than by name."""
    return sorted((int(number), entry) for number, entry in entries.items())


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right of the first column."""
    lines = [head, [":---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
