"""Tables and stages as Markdown."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown

from cifar_study.report.numbers import escaped
from cifar_study.stages import Stage


def markdown(
    rows: Any, columns: Sequence[str] | None = None, numeric: Collection[str] = ()
) -> Markdown:
    """A table as Markdown, the ``numeric`` columns to the right.

    ``rows`` are what pandas makes a frame of, with these ``columns`` where it does not know
    them. What comes from data must be escaped.
    """
    frame = pd.DataFrame(rows, columns=columns, dtype=object).map(str)  # a Number stays one
    align = ["right" if name in numeric else "left" for name in frame.columns]
    return Markdown(frame.to_markdown(index=False, colalign=align, disable_numparse=True))


def named(stage: Stage) -> str:
    """A stage's number and title, for Markdown."""
    return f"{stage.number} {escaped(stage.title)}"
