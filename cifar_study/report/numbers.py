"""How numbers are written in the report, each kind in one way; one that is not there is a dash."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cifar_study.report.comparison import share_interval
from cifar_study.report.replicates import hardware
from cifar_study.report.study import AbsentError

ABSENT = "–"  # what is not there yet


def text(say: Callable[..., str]) -> Callable[..., str]:
    """A function that gives text, made to give a dash where what it speaks of is absent."""

    @functools.wraps(say)
    def said(*about: Any) -> str:
        try:
            return say(*about)
        except AbsentError:
            return ABSENT

    return said


def count(value: float) -> str:
    """A whole number with its thousands set apart: 464,750."""
    return ABSENT if math.isnan(value) else f"{value:,.0f}"


def percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage: 73.4%."""
    return ABSENT if math.isnan(share) else f"{100 * share:.{digits}f}%"


def points(share: float) -> str:
    """A difference of two shares, in percentage points: 12.3 points."""
    return ABSENT if math.isnan(share) else f"{signed(100 * share, 1)} points"


def points_within(share: float, half: float) -> str:
    """A difference of two shares and half its interval: 2.3 ± 0.6 points."""
    return f"{signed(100 * share, 1)} ± {100 * half:.1f} points"


def with_interval(right: int, of: int) -> str:
    """A share that was counted, with Wilson's 95% interval: 28.6% (11.7% to 54.6%)."""
    low, high = share_interval(right, of)
    return f"{percent(right / of)} ({percent(low)} to {percent(high)})"


def signed(value: float, digits: int) -> str:
    """A number that may be negative, with so many decimals and a true minus: −0.79."""
    return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def loss(value: float) -> str:
    """A loss in nats with three decimals: 0.672."""
    return ABSENT if math.isnan(value) else f"{value:.3f}"


def seconds(value: float) -> str:
    """A time: 7.4 s, 93 s, 25 min, 3.9 h."""
    if math.isnan(value):
        return ABSENT
    if value < 10:
        return f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def times(ratio: float) -> str:
    """A ratio: 6.3 times."""
    if math.isnan(ratio):
        return ABSENT
    return f"{ratio:.0f} times" if ratio >= 20 else f"{ratio:.1f} times"


def millions(value: float) -> str:
    """A count in millions: 20.8 million."""
    return f"{value / 1e6:.1f} million"


def listed(words: Iterable[str]) -> str:
    """Words as one phrase: 10, 5 and 2; a dash for none."""
    *most, last = list(words) or [ABSENT]
    return f"{', '.join(most)} and {last}" if most else last


def machine(record: Mapping[str, Any]) -> str:
    """A machine as a result records it: the hardware, PyTorch, and whether it compiled."""
    compiled = ", compiled" if record.get("compiled") else ""
    return f"{hardware(record)}, PyTorch {record['torch']}{compiled}"
