"""What every stage's network says of the same few test pictures, in one figure."""

from __future__ import annotations

import numpy as np
from IPython.display import Markdown
from matplotlib import style

from cifar_study.atomic import present
from cifar_study.cifar10 import CLASSES, SIDE
from cifar_study.report import study
from cifar_study.report.pictures import SHOWN, open_picture
from cifar_study.report.replicates import replicates
from cifar_study.report.style import RIGHT, STYLE, WIDE, WRONG, Chart, new_figure
from cifar_study.stages import STAGES

SHOWN_PICTURES = "shown.png"  # the pictures of SHOWN side by side
BAR = 0.52  # length of a bar at 100%, the place of a picture being 1 wide


@study.noted
def answers() -> Chart | Markdown:
    """Six test pictures and, stage by stage, the class that each was given with its probability.

    A bar shows the probability, green where the class is right. The networks are of the first seed.
    """
    path = study.figures() / SHOWN_PICTURES
    trained = {
        number: result
        for number in STAGES
        for result in [replicates(number).statuses[0].result]
        if result
    }
    if not (trained and present(path)):
        return Markdown("*Drawn once a stage is trained.*")
    with style.context(STYLE):
        figure = new_figure(WIDE, 1 + 0.36 * len(trained))
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
    return Chart(figure)


def _truth(place: int) -> str:
    return CLASSES[place // 1_000]  # a thousand test pictures a class, in their order
