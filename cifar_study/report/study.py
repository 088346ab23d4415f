"""Which results the report shows, and where the files beside it lie.

The report shows the study in ``cache/``; the environment variable
CIFAR_STUDY_CACHE points it at another folder, of a trial or of somebody else's
study, whose runs are then shown as they were recorded.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.display import Markdown

from cifar_study.errors import StudyError, reason
from cifar_study.results.run import Run
from cifar_study.results.status import as_recorded
from cifar_study.stages import get_stage

VARIABLE = "CIFAR_STUDY_CACHE"
PROJECT = Path(__file__).resolve().parents[2]


class AbsentError(StudyError):
    """What a chart or a number is made of is not there yet, as its text says in a sentence."""


def project_path(name: str) -> Path:
    """A file or folder of the project, with a short name where the project is the working one."""
    return Path(name) if Path.cwd() == PROJECT else PROJECT / name


def cache() -> Path:
    """The folder of the results that are shown; one that is named and not there is an error."""
    named = os.environ.get(VARIABLE)
    if not named:
        return project_path("cache")
    try:
        os.scandir(named).close()
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{VARIABLE}={named[:100]}: {reason(error)}; name a folder that holds results"
        ) from None
    if not next(Path(named).glob("stage-*/seed-*"), None):
        raise StudyError(f"{VARIABLE}={named[:100]}: holds no results; name a folder that does")
    return Path(named)


def figures() -> Path:
    """The folder of the pictures that were drawn while training."""
    return project_path("figures")


def reported_run(number: int, seed: int = 0) -> Run:
    """The run of a stage that the report shows: as registered, or in a trial as recorded."""
    run = Run(get_stage(number), seed, root=cache())
    return as_recorded(run) if os.environ.get(VARIABLE) else run


def noted(show: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function of chapters show, in the place of what it can't read, why it can't."""

    @functools.wraps(show)
    def shown(*given: Any, **named: Any) -> Any:
        try:
            return show(*given, **named)
        except StudyError as error:
            return Markdown(f"*{error}*")
        except OSError as error:  # of a file that came with the project
            return Markdown(f"*{error.filename}: {reason(error)}; restore it from git*")

    return shown
