"""The histories as a chart to explore: their data, and the script and style that show it.

The page gets everything in one piece and loads nothing. Without a script, and
on paper, the static chart that is named stays.
"""

import json
from typing import Any

from IPython.display import Markdown

from cifar_study.report import charts, demo, style
from cifar_study.report.replicates import replicates
from cifar_study.report.style import ACCURACY, LOSS, Scale
from cifar_study.results.store import Result
from cifar_study.stages import STAGES


def explorer(figure: str) -> Markdown:
    """A chart of all histories, on screens in the place of the figure labelled ``figure``."""
    css, script = (demo.chapter_file(f"curves.{kind}") for kind in ("css", "js"))
    # In a script element only "<" could end the data early.
    content = json.dumps(data(figure), separators=(",", ":")).replace("<", r"\u003c")
    return Markdown(
        "````{=html}\n"
        f"<style>\n{css}</style>\n"
        f'<script type="application/json" id="curves-data">{content}</script>\n'
        f"<script>\n{script}</script>\n"
        "````"
    )


def data(figure: str) -> dict[str, Any]:
    """What ``curves.js`` draws: axes, splits and, for each stage, its runs (none, one or more).

    A run's ``history`` has a list of values for each measure and split, digit for digit.
    """
    return {
        "figure": figure,
        "ticks": charts.epoch_ticks(),
        "smoothing": style.SMOOTHING,
        "measures": {"accuracy": _axis(ACCURACY), "loss": _axis(LOSS)},
        "splits": {
            "train": {"title": "training", "dashes": style.TRAINING_DASHES},
            "test": {"title": "test", "dashes": ()},
        },
        "stages": [
            {
                "number": number,
                "title": stage.title,
                "note": charts.progress(one).strip(),
                "colour": style.COLOURS[number],
                "dark": style.on_ground(style.COLOURS[number]),
                "runs": [_run(result) for result in one.counted],
            }
            for number, stage in STAGES.items()
            for one in [replicates(number)]
        ],
    }


def _axis(scale: Scale) -> dict[str, Any]:
    ticks = charts.ticks(scale)
    labels = [scale.form.format(x=tick) for tick in ticks]
    return {"title": scale.title, "label": scale.label, "ticks": ticks, "labels": labels}


def _run(result: Result) -> dict[str, Any]:
    history = {
        column: result.history[column].tolist()
        for split in ("train", "test")
        for column in (f"{split}_loss", f"{split}_accuracy")
    }
    return {"seed": result.seed, "history": history}
