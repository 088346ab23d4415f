"""What others report of CIFAR-10: figures from outside, each with its source."""

from IPython.display import Markdown

from cifar_study.report import summary
from cifar_study.report.numbers import percent
from cifar_study.report.tables import markdown

HUMAN = "about 94%"  # Ho-Phuoc 2018, sixty people, rounded
DECAY = "weight decay, learning rate lowered while training"
# The test accuracy that a paper reports, what its training had that this study's has not, and
# the key of the paper in chapters/references.bib.
NETWORKS = (
    ("stochastic pooling, three convolutions", 0.8487, DECAY, "zeiler2013"),
    ("Network in Network", 0.8959, f"whitened pictures, {DECAY}", "lin2014"),
    ("All-CNN", 0.9092, f"whitened pictures, {DECAY}", "springenberg2015"),
    ("ResNet-20", 0.9125, f"shifted and mirrored pictures, {DECAY}", "he2016"),
)


def results(number: int = 8) -> Markdown:
    """A stage of this report beside published networks and people."""
    own = summary.stage(number)
    rows = [
        (f"{own.stage.title} (this report)", own.test_accuracy_interval, "none"),
        *((f"{who} [@{key}]", percent(share, 2), more) for who, share, more, key in NETWORKS),
        ("people [@hophuoc2018]", HUMAN, ""),
    ]
    columns = ["network", "test accuracy", "additions to the recipe"]
    return markdown(rows, columns, ["test accuracy"])
