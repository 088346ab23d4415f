"""A run: one stage trained from one seed, and what tells it from every other."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cifar_study.stages import PEERS, STAGES, Block, Network, Recipe, ResNet, Stage, get_stage

# Raised when the engine computes something else from the same stage and seed
# (another order of batches, other starting weights), not when it gets faster.
ARITHMETIC = 2
CACHE = Path("cache")  # where the study lies, seen from the project
LOCK = "lock"  # of a folder, while something is written there


@dataclass(frozen=True)
class Run:
    """What is to be trained: a stage, a seed, on which pictures, and the folder of all results.

    A trial is a run of anything but a stage as it is registered, on all of
    CIFAR-10. ``limit`` trains on a sample of that many pictures.
    """

    stage: Stage
    seed: int = 0
    limit: int | None = None
    data: str = "cifar10"
    root: Path = field(kw_only=True)

    @property
    def planned(self) -> int:
        """Epochs that the run is to have."""
        return self.stage.recipe.epochs

    @property
    def trial(self) -> bool:
        """Whether it is something else than the study itself trains."""
        registered = (STAGES | PEERS).get(self.stage.number)
        return self.stage != registered or self.limit is not None or self.data != "cifar10"

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.root / f"stage-{self.stage.number}" / f"seed-{self.seed}"

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"stage {self.stage.number}, seed {self.seed}"

    def command(self, *more: str) -> str:
        """The command that trains this run, for messages that name a remedy."""
        options = {  # by name, the run's own value and the usual one
            "seed": (self.seed, 0),
            "epochs": (self.planned, get_stage(self.stage.number).recipe.epochs),
            "limit": (self.limit, None),
            "width": (self.stage.width, 1),
            "data": (self.data, "cifar10"),
            "cache": (self.root, CACHE),
        }
        words = [
            f"--{name} {shlex.quote(str(value))}"
            for name, (value, usual) in options.items()
            if value != usual
        ]
        return " ".join(
            ["python -m cifar_study.train", f"--stage {self.stage.number}", *words, *more]
        )

    def configuration(self, fingerprint: str, precision: str) -> dict[str, Any]:
        """All that decides what comes out, the hardware aside; JSON types only."""
        return json.loads(
            json.dumps(
                {
                    "network": asdict(self.stage.network),
                    "recipe": asdict(self.stage.recipe),
                    "seed": self.seed,
                    "precision": precision,
                    "limit": self.limit,
                    "fingerprint": fingerprint,
                    "arithmetic": ARITHMETIC,
                }
            )
        )


def recorded_run(record: Mapping[str, Any], root: Path) -> Run:
    """The run that a record in ``root`` is of, whatever the registry says now."""
    configuration = record["configuration"]
    network = dict(configuration["network"])
    if "blocks" in network:
        blocks = tuple(Block(**block) for block in network.pop("blocks"))
        built: Network | ResNet = Network(blocks, **network)
    else:
        built = ResNet(**network | {"filters": tuple(network["filters"])})
    recipe, width = Recipe(**configuration["recipe"]), record.get("width", 1)
    return Run(
        Stage(record["stage"], record["title"], built, recipe, width),
        configuration["seed"],
        configuration["limit"],
        record["data"]["name"],
        root=root,
    )
