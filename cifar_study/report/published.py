"""What others report of CIFAR-10: figures from outside, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from IPython.display import Markdown

from cifar_study.report import summary
from cifar_study.report.numbers import percent

HUMAN = 0.94  # Ho-Phuoc 2018, sixty people, rounded


@dataclass(frozen=True)
class Published:
    """A test accuracy that a paper reports, and what its training had that this study's has not."""

    who: str
    accuracy: float
    besides: str
    source: str


DECAY = "weight decay, lowered learning rate"
RESULTS = (
    Published("stochastic pooling, three convolutions", 0.8487, DECAY, "zeiler2013"),
    Published("Network in Network", 0.8959, f"whitened pictures, {DECAY}", "lin2014"),
    Published("All-CNN", 0.9092, f"whitened pictures, {DECAY}", "springenberg2015"),
    Published(
        "ResNet-20",
        0.9125,
        f"shifted and mirrored pictures, {DECAY}",
        "he2016",
    ),
)


def human() -> str:
    """The share of test pictures that people name rightly: about 94%."""
    return f"about {HUMAN:.0%}"


def results(number: int = 8) -> Markdown:
    """A stage of this report beside published networks and people."""
    own = summary.stage(number)
    rows = [(f"{own.stage.title} (this report)", own.test_accuracy_interval, "none")]
    rows += [(f"{one.who} [@{one.source}]", percent(one.accuracy), one.besides) for one in RESULTS]
    rows.append(("people [@hophuoc2018]", human(), ""))
    columns = ["network", "test accuracy", "additions to the recipe"]
    frame = pd.DataFrame(rows, columns=columns)
    align = ("left", "right", "left")
    return Markdown(frame.to_markdown(index=False, colalign=align, disable_numparse=True))
