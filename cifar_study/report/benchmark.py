"""How fast the engine trains: what ``benchmarks/`` measured, for the report; no torch."""

import statistics
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from cifar_study.report import study
from cifar_study.report.comparison import sittings
from cifar_study.report.numbers import ABSENT, machine
from cifar_study.report.replicates import processor
from cifar_study.report.study import AbsentError, noted
from cifar_study.report.style import COLOURS, Charts, chart, label_points, new_axes
from cifar_study.report.tables import markdown
from cifar_study.results.speed import read_speeds
from cifar_study.stages import STAGES, get_stage

FLOOR_AIMS = {2: 1.8, 3: 1.8, 4: 1.8, 5: 1.3, 6: 1.5, 7: 1.5, 8: 1.5}  # at most
PLAIN_AIM, KERAS_AIM = 3, 2  # at least
Times = dict[str, list[float]]


def _measured() -> list[dict[str, Any]]:
    if found := read_speeds(study.cache()):
        return found
    raise AbsentError(f"{study.cache()}: no speed was measured yet; run: make bench")


def measured_on() -> str:
    """The machines of the measurements, or a dash."""
    return "; ".join(machine(found["machine"]) for found in sittings()) or ABSENT


@noted
def times() -> Markdown:
    """Seconds of every stage's epoch on each processor: the median, with least and most."""
    columns = {}
    for found in _measured():
        columns[processor(found["machine"])] = {
            f"{number} {get_stage(number).title}": spread(entry["seconds"]["engine"], 1)
            for number, entry in in_order(found["stages"])
        }
    frame = pd.DataFrame(columns).fillna(ABSENT).rename_axis("stage").reset_index()
    return markdown(frame, numeric=list(columns))


@noted
def table() -> Markdown:
    """The ratios of every stage, processor by processor."""
    parts = [ratios(found) for found in _measured()]
    frame = pd.concat(parts, ignore_index=True)
    # A narrow column breaks after the number, not within a processor's name.
    frame["stage"] = frame["stage"].str.replace("(?<=[a-zA-Z]) ", "\N{NO-BREAK SPACE}", regex=True)
    return markdown(frame, numeric=frame.columns[1:])


def ratios(found: dict[str, Any]) -> pd.DataFrame:
    """The engine beside the floor and its peers, a row a stage; bold where an aim is reached."""
    names = [
        "stage",
        "engine ÷ floor, a core",
        "at most",
        "engine ÷ its convolutions alone",
        f"plain loop ÷ engine (at least {PLAIN_AIM})",
        "plain loop, best threads ÷ engine",
        f"Keras, best threads ÷ engine (at least {KERAS_AIM})",
    ]
    rows = []
    for number, entry in in_order(found.get("stages", {})):
        times = entry["seconds"]
        if times.keys() == {"engine"}:
            continue
        jobs, aim = times.get("engine-jobs"), FLOOR_AIMS.get(number)
        plain, keras = (_quicker(times, name, f"{name}-jobs") for name in ("plain", "keras"))
        rows.append(
            [
                f"{number}, {processor(found['machine'])}",
                against(times.get("engine"), times.get("floor"), most=aim),
                str(aim or ABSENT),
                against(times.get("engine"), times.get("convolutions")),
                against(times.get("plain"), jobs, least=PLAIN_AIM),
                against(plain, jobs),
                against(keras, jobs, least=KERAS_AIM),
            ]
        )
    return pd.DataFrame(rows, columns=names)


def growth() -> Charts:
    """Seconds an epoch against arithmetic, and seconds against pictures, on logarithmic axes."""
    return Charts((_by_stage(), _by_pictures()))


@chart
def _by_stage() -> Figure:
    figure, axes = new_axes(3.8, 3.2)
    points = {}
    for number, entry in in_order(_measured()[0]["stages"]):
        if number not in STAGES:  # too many points for their numbers
            continue
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
def _by_pictures() -> Figure:
    figure, axes = new_axes(3.8, 3.2)
    ticks: set[int] = set()
    for number, times in in_order(_measured()[0].get("scaling", {}).get("sizes", {})):
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


def spread(values: list[float], digits: int) -> str:
    """Median, least and most as text, which stays on one line: 1.52 (1.48–1.60)."""
    numbers = (statistics.median(values), min(values), max(values))
    median, least, most = (f"{number:.{digits}f}" for number in numbers)
    return f"{median} ({least}–\N{WORD JOINER}{most})"


def against(
    over: list[float] | None,
    under: list[float] | None,
    least: float | None = None,
    most: float | None = None,
) -> str:
    """A ratio, formed in each round, as text: bold where it reaches its aim, a dash without it."""
    if not (over and under):
        return ABSENT
    values = [one / other for one, other in zip(over, under, strict=True)]
    middle = statistics.median(values)
    reached = (least is not None and middle >= least) or (most is not None and middle <= most)
    return f"**{spread(values, 2)}**" if reached else spread(values, 2)


def _quicker(times: Times, *names: str) -> list[float] | None:
    """The times of the quicker setting of a peer, by its median."""
    measured = [times[name] for name in names if name in times]
    return min(measured, key=statistics.median, default=None)


def in_order(entries: dict[str, Any]) -> list[tuple[int, Any]]:
    """Entries by number rather than by name."""
    return sorted((int(number), entry) for number, entry in entries.items())
