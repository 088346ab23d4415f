"""Numbers that know their unit: floats to compute with, text in a sentence; NaN is a dash."""

import functools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from cifar_study.errors import StudyError, one_line

ABSENT = "–"
# What Pandoc would take for markup, or for a dash, an ellipsis or a curly quote.
MARKUP = re.compile(r"""[\\`*_{}\[\]<>|~^$@&"']|-(?=-)|\.(?=\.)|^[-+#:]""")


class Number(float):
    """A float that prints in its unit, 464,750; NaN prints as a dash."""

    form, scale, unit = ",.0f", 1.0, ""

    def __str__(self) -> str:
        return ABSENT if math.isnan(self) else self.bare + self.unit

    @property
    def bare(self) -> str:
        if math.isnan(self):
            return ABSENT
        return f"{self.scale * float(self):z{self.form}}".replace("-", "\N{MINUS SIGN}")

    __repr__ = _repr_markdown_ = __str__


class Percent(Number):
    """A share in [0, 1]: 73.4%."""

    form, scale, unit = ".1f", 100, "%"


class Points(Number):
    """A difference of shares, in percentage points: 12.3 points."""

    form, scale, unit = ".1f", 100, " points"


class Loss(Number):
    """In nats: 0.672."""

    form = ".3f"


class Millions(Number):
    """A count: 20.8 million, 0.37 million."""

    scale, unit = 1e-6, " million"
    form = property(lambda self: ".1f" if self >= 1e7 else ".2f")


class Times(Number):
    """A ratio: 6.3 times, 40 times."""

    unit = " times"
    form = property(lambda self: ".0f" if self >= 20 else ".1f")


class Seconds(Number):
    """A time: 7.4 s, 93 s."""

    unit = " s"
    form = property(lambda self: ".0f" if self >= 10 else ".1f")


def listed(words: Iterable[object]) -> str:
    """Words as one phrase: 10, 5 and 2; a dash for none."""
    *most, last = [str(word) for word in words] or [ABSENT]
    return f"{', '.join(most)} and {last}" if most else last


def word(count: int) -> str:
    """A count of things as a word up to nine, then in figures: eight."""
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return words[count] if count < len(words) else str(count)


def half_width(values: pd.Series) -> float:
    """Half of Student's 95% interval of a mean; NaN for fewer than two values."""
    return float(stdtrit(len(values) - 1, 0.975) * pd.Series(values, dtype=float).sem())


def wilson_half_width(share: float, of: int) -> float:
    """Half of Wilson's 95% interval of a share counted on ``of`` pictures (Wilson 1927)."""
    z2 = 1.96**2
    return math.sqrt(z2 * (share * (1 - share) / of + z2 / (4 * of**2))) / (1 + z2 / of)


def dashed(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function for sentences, with a dash where a file of results can't be read."""

    @functools.wraps(call)
    def tried(*given: Any) -> Any:
        try:
            return call(*given)
        except StudyError:  # charts and notes say why
            return Number("nan")

    return tried


def escaped(text: object) -> str:
    """Text that comes from data, for Markdown: it is shown as it was typed, on one line."""
    return MARKUP.sub(r"\\\g<0>", one_line(" ".join(str(text).split())))
