"""A run: one stage trained from one seed, and what tells it from every other."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cifar_study.errors import StudyError
from cifar_study.stages import Network, ResNet, Stage, scale_width

ROOT = Path("cache")
FIGURES = Path("figures")
PAGES = Path("chapters")  # scripts and styles of the interactive parts lie there as well
# Raised when the engine computes something else from the same stage and seed
# (another order of batches, other starting weights), not when it gets faster.
ARITHMETIC = 2
TRIAL_VARIABLE = "CIFAR_STUDY_TRIAL"


@dataclass(frozen=True)
class Run:
    """What is to be trained: a stage, a seed, and whatever makes it a trial.

    A trial (fewer epochs, some of the pictures, another width, another data
    set) has a folder of its own below ``trials`` and can't replace a result.
    """

    stage: Stage
    seed: int = 0
    epochs: int | None = None
    limit: int | None = None
    width: float = 1.0
    data: str = "cifar10"
    root: Path = ROOT

    @property
    def planned(self) -> int:
        """Epochs that the run is to have."""
        return self.epochs or self.stage.recipe.epochs

    @property
    def network(self) -> Network | ResNet:
        """The network, at the width of the run."""
        return scale_width(self.stage, self.width).network

    @property
    def trial(self) -> str:
        """The name of the trial, empty for the study itself."""
        parts = []
        if self.limit is not None:
            parts.append(f"limit-{self.limit}")
        if self.width != 1:
            parts.append(f"width-{self.width:g}")
        if self.data != "cifar10":
            parts.append(f"data-{self.data}")
        if self.epochs and (parts or self.epochs != self.stage.recipe.epochs):
            parts.insert(0, f"epochs-{self.epochs}")
        return "_".join(parts)

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        trial = self.trial
        root = self.root / "trials" / trial if trial else self.root
        return root / f"stage-{self.stage.number}" / f"seed-{self.seed}"

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"stage {self.stage.number}, seed {self.seed}"

    def command(self, *more: str) -> str:
        """The command that trains this run, for messages that name a remedy."""
        words = ["python -m cifar_study.train", f"--stage {self.stage.number}"]
        if self.seed:
            words.append(f"--seed {self.seed}")
        if self.planned != self.stage.recipe.epochs:
            words.append(f"--epochs {self.planned}")
        if self.limit is not None:
            words.append(f"--limit {self.limit}")
        if self.width != 1:
            words.append(f"--width {self.width:g}")
        if self.data != "cifar10":
            words.append(f"--data {self.data}")
        return " ".join([*words, *more])

    def configuration(self, fingerprint: str, precision: str) -> dict[str, Any]:
        """All that decides what comes out, the hardware aside; JSON types only."""
        stage = scale_width(self.stage, self.width)
        return json.loads(
            json.dumps(
                {
                    "network": asdict(stage.network),
                    "recipe": asdict(stage.recipe) | {"epochs": self.planned},
                    "seed": self.seed,
                    "precision": precision,
                    "limit": self.limit,
                    "fingerprint": fingerprint,
                    "arithmetic": ARITHMETIC,
                }
            )
        )


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def _width(text: str) -> float:
    if not 0 < float(text) <= 4:
        raise ValueError(text)
    return float(text)


def _data(text: str) -> str:
    if text != "synthetic":
        raise ValueError(text)
    return text


def reported_run(stage: Stage, seed: int = 0, root: Path = ROOT) -> Run:
    """The run that the report shows: the study's own, or one of the trial asked for.

    The environment variable CIFAR_STUDY_TRIAL names a folder of ``cache/trials``;
    a name that is not one of a trial is a :class:`StudyError`.
    """
    name = os.environ.get(TRIAL_VARIABLE, "")
    kinds = {"epochs": _count, "limit": _count, "width": _width, "data": _data}
    try:
        settings = dict(part.split("-", 1) for part in name.split("_") if part)
        return Run(
            stage, seed, root=root, **{key: kinds[key](value) for key, value in settings.items()}
        )
    except (KeyError, ValueError):
        known = sorted(path.name for path in (root / "trials").glob("*"))
        raise StudyError(
            f"{TRIAL_VARIABLE}={name[:100]}: no such trial; there are: {', '.join(known) or 'none'}"
        ) from None
