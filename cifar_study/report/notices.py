"""Which runs stand behind a page: what is not complete, and what is not the study's."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Markdown

from cifar_study.report.facts import other_results, shown_runs, stage
from cifar_study.report.numbers import ABSENT, escaped
from cifar_study.runs import CACHE, PROJECT, Run, cache, in_project, read_record
from cifar_study.stages import PEERS, STAGES, Stage


def markdown(rows: Any, columns: Sequence[str], left: int = 1) -> Markdown:
    """A table as Markdown, all but the first ``left`` columns to the right.

    ``rows`` hold a value for each column; what comes from data must be escaped.
    """
    frame = pd.DataFrame(rows, columns=columns, dtype=object).map(str)  # a Number stays one
    align = ["left"] * left + ["right"] * (len(columns) - left)
    return Markdown(frame.to_markdown(index=False, colalign=align, disable_numparse=True))


def named(stage: Stage) -> str:
    """A stage's number and title, for Markdown."""
    return f"{stage.number} {escaped(stage.title)}"


def incomplete_note(*numbers: int) -> Markdown:
    """What keeps these stages from being complete, each on a line with the command that helps.

    Where the results shown are not the study's, a notice with their numbers stands before that.
    Empty where all is complete and the study's. No numbers mean all stages of the study.
    """
    other = other_results()
    stages = [stage(number) for number in numbers or (() if other else STAGES)]
    text = ""
    if other:
        rows = [
            (named(s.stage), s.epochs if s.results else ABSENT, s.test_accuracy, s.gap.bare)
            for s in stages
        ]
        table = markdown(rows, ["stage", "trained for", "test accuracy", "gap, points"])
        text = (
            f"This page shows the results in `{_folder()}`, not the study's, so its answer and "
            "judgements are left out.\n\n"
        )
        text += f"{table.data}\n\n" if rows else ""
    for results in stages:
        for line in _wanting(results.stage.number):
            text += f"- **Stage {named(results.stage)}**: {line}\n"
    kind = "note" if other else "warning"
    head = f"::: {{.callout-{kind}}}\n## About the runs behind this page\n\n"
    return Markdown(f"{head}{text}:::\n" if text else "")


def _wanting(number: int) -> Iterator[str]:
    """What a stage lacks, and the command that helps."""
    results = stage(number)
    yield from map(escaped, results.damage)
    if not results.all_results and not results.damage:
        trials = [run for run in shown_runs() if run.trial]
        run = replace([*trials, Run(1)][0], number=number, seed=0, root=_folder())
        yield f"not trained yet; `{run.command()}` trains it."
    for result in results.all_results:
        run, helps = replace(result.run, root=_folder()), "goes on"
        if result.state.startswith("stale"):
            run, helps = replace(run, root=Path("mine")), "trains it in another folder"
        if not result.complete:
            yield f"seed {run.seed} is {escaped(result.state)}; `{run.command()}` {helps}."


def _folder() -> Path:
    """The folder of the results shown, as it is called in the project's folder."""
    folder = cache()
    return folder.relative_to(PROJECT) if folder.is_relative_to(PROJECT) else folder


def delivered() -> Markdown:
    """Which runs came with the study and which are one's own, by stage.

    A run in another folder came with the study where the study has the same files.
    """
    rows = []
    for number in (*STAGES, *PEERS):
        seeds: dict[bool, list[str]] = {True: [], False: []}
        for result in stage(number).all_results:
            record = read_record(replace(result.run, root=in_project(CACHE)).folder)
            same = record is not None and record["files"] == result.record["files"]
            seeds[same].append(str(result.run.seed))
        if stage(number).all_results:
            rows.append((named(stage(number).stage), *map(", ".join, seeds.values())))
    return markdown(rows, ["stage", "delivered seeds", "own seeds"])
