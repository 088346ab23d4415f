"""Which runs stand behind a page: what is not complete, and what is not the study's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from IPython.display import Markdown

from cifar_study.report.facts import StageResults, other_results, stage
from cifar_study.report.markdown import markdown, named
from cifar_study.report.numbers import ABSENT, escaped, listed
from cifar_study.report.stage_results import shown_runs
from cifar_study.report.style import noted
from cifar_study.runs import CACHE, PROJECT, Run, cache, in_project, read_record
from cifar_study.stages import PEERS, STAGES


def incomplete_note(*numbers: int) -> Markdown:
    """What keeps these stages from being complete, each on a line with the command that helps.

    Where the results shown are not the study's, a notice with their numbers stands before that.
    Empty where all is complete and the study's. No numbers mean all stages of the study.
    """
    kind, parts = ("note", [_other(numbers)]) if other_results() else ("warning", [])
    lines = [
        f"- **Stage {named(results.stage)}**: {line}"
        for results in map(stage, numbers or (() if parts else STAGES))
        for line in _wanting(results)
    ]
    parts += ["\n".join(lines)] if lines else []
    if not parts:
        return Markdown("")
    body = "\n\n".join(parts)
    return Markdown(f"::: {{.callout-{kind}}}\n## About the runs behind this page\n\n{body}\n:::\n")


def _other(numbers: tuple[int, ...]) -> str:
    """That these are not the study's results, and what they are."""
    text = f"This page shows the results in {_code(_folder())}, not the study's, so its answer and "
    rows = []
    for results in map(stage, numbers):
        epochs = results.epochs if results.results else ABSENT
        rows.append((named(results.stage), epochs, results.test_accuracy, results.gap.bare))
    if not rows:
        return f"{text}judgements are left out."
    columns = ["stage", "trained for", "test accuracy", "gap, points"]
    table = markdown(rows, columns, columns[1:]).data
    return f"{text}judgements are left out. The numbers:\n\n{table}"


def _wanting(results: StageResults) -> Iterator[str]:
    """What a stage lacks, and the command that helps."""
    yield from map(escaped, results.damage)
    if not results.all_results and not results.damage:
        shown = [run for run in shown_runs() if run.trial][:1]
        run = replace(shown[0] if shown else Run(1), number=results.stage.number, seed=0)
        yield f"not trained yet; {_command(run)} trains it."
    by_state: dict[str, list[Run]] = {}
    for result in results.all_results:
        if not result.complete:
            by_state.setdefault(result.state, []).append(result.run)
    for state, runs in by_state.items():
        seeds = f"seed{'s' * (len(runs) > 1)} {listed(run.seed for run in runs)}"
        more = ["--seeds", ",".join(str(run.seed) for run in runs)]
        run = replace(runs[0], seed=0)
        if not state.startswith("stale"):
            helps = f"{_command(run, *more)} goes on"
        elif other_results():
            helps = f"{_command(run, *more, '--restart')} trains anew"
        else:  # nothing advises to discard the study
            elsewhere = _command(run, *more, root=Path("mine"))
            helps = f"undo that change, or {elsewhere} trains it in a folder of its own"
        yield f"{seeds} {escaped(state)}; {helps}."


def _command(run: Run, *more: str, root: Path | None = None) -> str:
    """The command that trains a run, to be pasted in the project's folder."""
    return _code(replace(run, root=root or _folder()).command(*more))


def _folder() -> Path:
    """The folder of the results shown, as it is called in the project's folder."""
    folder = cache()
    return folder.relative_to(PROJECT) if folder.is_relative_to(PROJECT) else folder


def _code(text: object) -> str:
    return f"`` {text} ``" if "`" in str(text) else f"`{text}`"


@noted
def delivered() -> Markdown:
    """Which runs came with the study and which are one's own, by stage.

    A run in another folder came with the study where the study has the same files.
    """
    rows = []
    for number in (*STAGES, *PEERS):
        seeds: dict[bool, list[int]] = {True: [], False: []}
        for result in stage(number).all_results:
            run = replace(result.run, root=in_project(CACHE))
            record = read_record(run.folder)
            same = bool(record) and record["files"] == result.record["files"]
            seeds[same].append(run.seed)
        if any(seeds.values()):
            cells = [", ".join(map(str, seeds[same])) for same in (True, False)]
            rows.append((named(stage(number).stage), *cells))
    return markdown(rows, ["stage", "delivered seeds", "own seeds"])
