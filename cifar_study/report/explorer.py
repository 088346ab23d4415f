"""The histories as a chart to explore: their data, and the script and style that show it.

The page gets everything in one piece and loads nothing. Without a script, and
on paper, the printed chart stays.
"""

from typing import Any

from IPython.display import Markdown

from cifar_study.report import charts, facts, networks, style
from cifar_study.stages import STAGES


@style.noted
def explorer(label: str) -> Markdown:
    """A chart of all histories, on screens in the place of the figure of that label."""
    css, script = (networks.chapter_file(f"curves.{kind}") for kind in ("css", "js"))
    content = networks.in_script(data(label))
    return Markdown(
        "````{=html}\n"
        f"<style>\n{css}</style>\n"
        f'<script type="application/json" id="curves-data">{content}</script>\n'
        f"<script>\n{script}</script>\n"
        "````"
    )


def data(label: str) -> dict[str, Any]:
    """What ``curves.js`` draws: axes and, for each stage and column, its curve and band.

    A curve is three lists by epoch, ``mean``, ``low`` and ``high``, in the digits that the report
    prints, accuracies in percent: both say the same number.
    """
    charts.trained(STAGES)
    return {
        "figure": label,
        "epochs": charts.last_epoch(),
        "ticks": charts.epoch_ticks(),
        "measures": {
            measure: {
                "title": measure.capitalize(),
                "label": charts.LABELS[measure],
                "ticks": [round(kind.scale * tick, 6) for tick in charts.ticks(measure)],
                "unit": kind.unit,
                "digits": int(kind.form[1]),  # of ".3f"
            }
            for measure, kind in charts.KINDS.items()
        },
        "splits": {"train": "training", "test": "test"},
        "stages": [_stage(number) for number in STAGES],
    }


def _stage(number: int) -> dict[str, Any]:
    results = facts.stage(number)
    columns = [f"{split}_{measure}" for measure in charts.LABELS for split in charts.SPLITS]
    note = "not trained"
    if results.results:
        note = results.epochs if results.epochs_done < charts.last_epoch() else ""
    curves = {}
    for column in columns if results.results else ():
        kind = charts.KINDS[column.partition("_")[2]]
        values = charts.curve(results, column).map(lambda value, kind=kind: float(kind(value).bare))
        curves[column] = values.to_dict("list")
    about = {"number": number, "title": results.stage.title, "colour": results.stage.colour}
    return {**about, "note": note, "curves": curves}
