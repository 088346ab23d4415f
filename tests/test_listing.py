"""The code that the report shows is the package's own, and networks are drawn as they are."""

from __future__ import annotations

import re

import pytest

from cifar_study.report import architecture, listing
from cifar_study.report.style import Chart
from cifar_study.runs import PROJECT
from cifar_study.stages import ENTRIES, Stage


def lines(shown: object) -> list[str]:
    return re.fullmatch(r"```python\n(.*)\n```\n", shown.data, re.DOTALL)[1].splitlines()


def test_code_is_shown_from_its_file_without_its_docstring() -> None:
    shown = lines(listing.source("report/tables.py", "one_hot"))
    place = re.fullmatch(r"# cifar_study/report/tables.py, line (\d+)", shown[0])
    file = (PROJECT / "cifar_study" / "report" / "tables.py").read_text().splitlines()
    assert file[int(place[1]) - 1] == shown[1]
    assert shown[1].startswith("def one_hot(")
    assert shown[2].startswith("    vectors = np.zeros(")
    assert shown[-1] == "    return vectors"
    assert set(shown[1:]) <= set(file)


def test_a_method_comes_with_its_decorator_and_without_indent() -> None:
    shown = lines(listing.source("runs.py", "Run.folder"))
    assert shown[1:3] == ["@property", "def folder(self) -> Path:"]


@pytest.mark.parametrize("stage", ENTRIES, ids=lambda stage: str(stage.number))
def test_the_entry_shown_makes_the_stage(stage: Stage) -> None:
    from cifar_study import stages

    code = "\n".join(lines(listing.entry(stage.number))[1:])
    assert eval(code, vars(stages)) == stage


def test_what_is_not_there_is_one_line_in_place() -> None:
    assert listing.source("stages.py", "Nothing").data == (
        r"*cifar\_study/stages.py: there is no Nothing*"
    )
    assert "stage 99 has no entry" in listing.entry(99).data
    assert "restore it from git" in listing.source("nothing.py", "a").data


def test_networks_of_blocks_are_drawn_and_others_say_that_they_are_not() -> None:
    for number in (1, 8, 9):
        assert isinstance(architecture.network(number), Chart)
    assert "stage 11, ResNet" in architecture.network(11).data.replace("\\", "")
