"""The histories as a chart to explore: their data, and the script and style that show it.

Without a script, and on paper, the printed chart stays.
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
    element = f'<script type="application/json" id="curves-data">{content}</script>'
    return Markdown(
        f"````{{=html}}\n<style>\n{css}</style>\n{element}\n<script>\n{script}</script>\n````"
    )


def data(label: str) -> dict[str, Any]:
    """What ``curves.js`` draws, its values in the digits that the report prints."""
    measures = {
        measure: {
            "title": measure.capitalize(),
            "label": charts.LABELS[measure],
            "ticks": [round(kind.scale * tick, 6) for tick in charts.ticks(measure)],
            "unit": kind.unit,
            "digits": int(kind.form[1]),  # of ".3f"
        }
        for measure, kind in charts.KINDS.items()
    }
    about = {"figure": label, "epochs": charts.last_epoch(), "ticks": charts.epoch_ticks()}
    return about | {"measures": measures, "stages": [_stage(number) for number in STAGES]}


def _stage(number: int) -> dict[str, Any]:
    """Its name and colour, and by column lists of ``mean``, ``low`` and ``high`` by epoch."""
    results = facts.stage(number)
    curves = {
        f"{split}_{measure}": charts.curve(results, f"{split}_{measure}")
        .map(lambda value, kind=kind: float(kind(value).bare))
        .to_dict("list")
        for measure, kind in charts.KINDS.items()
        for split in charts.SPLITS
    }
    note = results.epochs if results.epochs_done < charts.last_epoch() else ""
    about = {"number": number, "title": results.stage.title, "colour": results.stage.colour}
    return about | {"note": note, "curves": curves}
