"""What every stage's network says of the same pictures: in a figure, and in the page itself."""

import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from IPython.display import Markdown
from matplotlib.figure import Figure

from cifar_study.atomic import present
from cifar_study.cifar10 import CLASSES, SIDE
from cifar_study.report import demo, listing, study, summary
from cifar_study.report.numbers import ABSENT, percent
from cifar_study.report.pictures import SHOWN, open_picture
from cifar_study.report.replicates import replicates
from cifar_study.report.style import RIGHT, WIDE, WRONG, chart
from cifar_study.results.store import Result
from cifar_study.stages import STAGES

SHOWN_PICTURES = "shown.png"  # the pictures of SHOWN side by side
KNOWN_BY_HEART = 0.99  # of the training pictures named correctly
BAR = 0.46  # length of a bar at 100%, the place of a picture being 1 wide


@chart
def answers() -> Figure:
    """Six test pictures and, stage by stage, the class that each was given with its probability.

    A bar shows the probability, green where the class is right. The networks are of the first seed.
    """
    path = study.figures() / SHOWN_PICTURES
    trained = {number: result for number in STAGES if (result := _asked(number))}
    if not (trained and present(path)):
        raise study.AbsentError("Drawn once a stage is trained on CIFAR-10.")
    figure = Figure(figsize=(WIDE, 1 + 0.36 * len(trained)))
    heights = [1.6, *[1] * len(trained)]
    grid = figure.subplots(len(trained) + 1, len(SHOWN), height_ratios=heights, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    pictures = np.split(np.asarray(open_picture(path)), len(SHOWN), axis=1)
    for axes, picture, place in zip(grid[0], pictures, SHOWN, strict=True):
        axes.imshow(picture[:SIDE])
        axes.set_title(_truth(place), fontsize=8, loc="center", weight="normal", pad=2)
    for row, (number, result) in zip(grid[1:], trained.items(), strict=True):
        row[0].text(-0.08, 0.6, str(number), ha="right", weight="bold", fontsize=9)
        probabilities, _ = result.predictions()
        for axes, place in zip(row, SHOWN, strict=True):
            guess = int(probabilities[place].argmax())
            share = float(probabilities[place][guess])
            colour = RIGHT if CLASSES[guess] == _truth(place) else WRONG
            axes.set(xlim=(0, 1), ylim=(0, 1))
            axes.barh(0.15, BAR, 0.2, color="#e4e4e4")
            axes.barh(0.15, BAR * share, 0.2, color=colour)
            axes.text(0, 0.5, CLASSES[guess], fontsize=8, color=colour)
            axes.text(1, 0.15, f"{share:.0%}", fontsize=8, ha="right", va="center")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.06, hspace=0.0)
    return figure


@study.noted
def watch(figure: str) -> Markdown:
    """All trained stages, to be run in the page; on screens, in place of the figure so labelled."""
    stages = [
        network | _about(number, before)
        for before, number in pairwise([None, *STAGES])
        if _asked(number) and (network := demo.trained(number))
    ]
    if not (stages and present(study.figures() / SHOWN_PICTURES)):
        return Markdown("")
    choices = [*_test_pictures(), *demo.samples()]
    data = {"figure": figure, "classes": CLASSES, "side": SIDE, "start": _start(stages)}
    return demo.widget("growth", data | {"stages": stages, "choices": choices})


def _asked(number: int) -> Result | None:
    """The stage's result of the first seed, if it is of CIFAR-10, as the pictures are."""
    result = replicates(number).statuses[0].result
    return result if result and result.record["data"]["name"] == "cifar10" else None


def _start(stages: list[dict[str, Any]]) -> int:
    """Which of SHOWN to begin with: the one of which the networks say most different things."""
    given = [_asked(stage["number"]).predictions()[0] for stage in stages]
    different = [len({int(shares[place].argmax()) for shares in given}) for place in SHOWN]
    return different.index(max(different))


def _about(number: int, before: int | None) -> dict[str, Any]:
    """What is said of a stage: its name, its size and outcome, its change, and what to notice."""
    facts = summary.stage(number)
    lines = listing.changed_lines(number, before)
    return {
        "title": facts.stage.title,
        "facts": f"{facts.parameters} parameters; after {facts.epochs}, "
        f"{facts.test_accuracy} of the test pictures named correctly"
        + (" (mean of its seeds; the network here is of the first)" * facts.replicates.several),
        "change": [line for line in lines if before is None or line[0] in "+-"],
        "notice": notice(number, before),
    }


def notice(number: int, before: int | None) -> str:
    """What to look for at a stage, in a few short sentences that its results bear out."""
    one = replicates(number)
    said = []
    # A trial of fewer epochs says nothing about the change.
    same_epochs = before is not None and one.run.planned == replicates(before).run.planned
    if same_epochs and (gain := summary.gain(number, before)) != ABSENT:
        said.append(f"Test accuracy against stage {before}: {gain}.")
    # Of one network, as the pictures show it: another seed has another favourite.
    first = one.statuses[0].result
    given = first.predictions()[0] if first else np.empty((0, 1))
    if len(np.unique(given.argmax(1))) == 1:
        said.append("Try several pictures: what does it say of each?")
    train = one.final("train_accuracy")
    if len(train) and train.mean() > KNOWN_BY_HEART:
        said.append(f"It names {percent(train.mean())} of its training pictures correctly.")
    if getattr(one.run.stage.network, "input_size", SIDE) is None:
        said.append("It takes pictures of any shape: give it one that is not square.")
    return " ".join(said)


def _test_pictures() -> Iterator[dict[str, str]]:
    """The pictures of SHOWN: the name of each, its class, and its address."""
    strip = open_picture(study.figures() / SHOWN_PICTURES)
    for column, place in enumerate(SHOWN):
        buffer = io.BytesIO()
        strip.crop((SIDE * column, 0, SIDE * (column + 1), SIDE)).save(buffer, "PNG")
        address = f"data:image/png;base64,{demo.in_base64(buffer.getvalue())}"
        truth = _truth(place)
        yield {"name": f"{truth}, test picture", "truth": truth, "address": address}


def _truth(place: int) -> str:
    return CLASSES[place // 1_000]  # a thousand test pictures a class, in their order
