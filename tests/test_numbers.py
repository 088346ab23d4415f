"""Numbers print in their unit, intervals are those of the books, other people's text as typed."""

from __future__ import annotations

import html
import math
import re

import pypandoc
import pytest

from cifar_study.report.numbers import (
    Loss,
    Millions,
    Number,
    Percent,
    Points,
    Seconds,
    Times,
    escaped,
    half_width,
    listed,
    wilson_half_width,
    word,
)


@pytest.mark.parametrize(
    ("number", "text", "bare"),
    [
        (Number(464_750), "464,750", "464,750"),
        (Percent(0.7344), "73.4%", "73.4"),
        (Points(-0.0079), "−0.8 points", "−0.8"),
        (Points(-0.0001), "0.0 points", "0.0"),
        (Loss(0.67249), "0.672", "0.672"),
        (Millions(369_440), "0.37 million", "0.37"),
        (Millions(20_786_944), "20.8 million", "20.8"),
        (Times(6.34), "6.3 times", "6.3"),
        (Times(40.2), "40 times", "40"),
        (Seconds(7.36), "7.4 s", "7.4"),
        (Seconds(93.4), "93 s", "93"),
    ],
)
def test_a_number_prints_in_its_unit_or_without(number: Number, text: str, bare: str) -> None:
    assert (str(number), number.bare, number._repr_markdown_()) == (text, bare, text)
    missing = type(number)(math.nan)
    assert str(missing) == missing.bare == "–"


def test_words_make_a_phrase() -> None:
    assert [listed([10, 5, 2]), listed(["10"]), listed([])] == ["10, 5 and 2", "10", "–"]
    assert [word(8), word(13)] == ["eight", "13"]


def test_the_interval_of_a_mean_is_students() -> None:
    # Deviations −0.04, −0.02, 0.06: variance 0.0056 / 2; t of 2 degrees is 4.3027 in the tables.
    by_hand = 4.3027 * (0.0056 / 2) ** 0.5 / 3**0.5
    assert half_width([0.60, 0.62, 0.70]) == pytest.approx(by_hand, rel=1e-4)
    by_hand = 1.9842 * (25 / 99) ** 0.5 / 10  # of 99 degrees
    assert half_width([0.0, 1.0] * 50) == pytest.approx(by_hand, rel=1e-4)
    assert math.isnan(half_width([0.5]))
    assert math.isnan(half_width([]))


def test_the_interval_of_a_share_is_of_as_many_pictures_as_were_counted() -> None:
    # 1.96 · √(0.67 · 0.33 / 500), and a square root of twenty less with twenty times the pictures.
    assert wilson_half_width(0.67, 500) == pytest.approx(0.0412, abs=1e-3)
    assert wilson_half_width(0.67, 10_000) == pytest.approx(0.0412 / 20**0.5, abs=1e-4)
    # Of few: for 1 of 2 1.96 · √(0.25 / 2 + 0.49²) / (1 + 3.8416 / 2).
    assert wilson_half_width(0.5, 2) == pytest.approx(0.4055, abs=1e-4)


TYPED = [
    "a|b and `c` and $x$ and @key",
    "<b>bold</b> <script>alert(1)</script> &amp; & &lt;",
    "[a](b) ![a](b) *c* _d_ ~~e~~ x^2^ H~2~O \\ {.class}",
    "--limit 64 … 1... 'x' \"y\" 2---3 🐸",
    "{{< include x >}}",
    "# no heading",
    "- no list",
    "+ no list",
    "::: no division",
]


def test_other_peoples_text_comes_out_of_markdown_as_it_was_typed() -> None:
    paragraphs = [escaped(text) for text in TYPED]
    table = "| text |\n|---|\n" + "".join(f"| {text} |\n" for text in paragraphs)
    markdown = "\n\n".join([*paragraphs, table])
    page = pypandoc.convert_text(markdown, "html", "markdown+smart", extra_args=["--wrap=none"])
    for kind in ("p", "td"):
        assert [html.unescape(each) for each in re.findall(f"<{kind}>(.*)</{kind}>", page)] == TYPED
