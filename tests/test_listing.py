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


@pytest.mark.parametrize("stage", ENTRIES, ids=lambda stage: str(stage.number))
def test_the_entry_shown_makes_the_stage(stage: Stage) -> None:
    from cifar_study import stages

    code = "\n".join(lines(listing.entry(stage.number))[1:])
    assert eval(code, vars(stages)) == stage


def test_networks_of_blocks_are_drawn_and_others_say_that_they_are_not() -> None:
    for number in (1, 8, 9):
        assert isinstance(architecture.network(number), Chart)
    assert "stage 11, ResNet" in architecture.network(11).data.replace("\\", "")
