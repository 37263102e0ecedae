"""Whether a trial was steady: its first third compared with its last (pure). Nothing is trimmed, only told.

Rate: deliveries of the slowest group in twelve equal slices of the window. It has drifted where the means of the first and last
four slices differ by over 10% *and* by over six standard errors, these from the scatter within both thirds (Student's t, equal
variances, six degrees of freedom: 1 in 1,000 by chance), *and* by over four times the square root of both counts (what a Poisson
schedule scatters by). Three conditions, because each alone is fooled: by noise, by a scatter that happens to be nil, by small counts.

Latency: p50 of what was due in the first and in the last third. It has drifted where they differ by over a factor of 2 *and*
by over 5 ms: a median that a scheduler's turns move does not move by more than one of them (Linux gives a busy core's tasks a
few ms each), a growing backlog moves it by all that it holds. Only with 100 samples on each side, and not where the schedule is
"max", whose latency is the length of a queue.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

SLICES = 12  # bench.account.SLICES: analysis imports nothing of an endpoint
_THIRD = SLICES // 3
_RATE = 0.10
_ERRORS = 6.0
_COUNTS = 4.0
_P50 = 2.0
_P50_NS = 5_000_000
_SAMPLES = 100


def drift(seen: Mapping[str, Any], *, saturated: bool) -> str:
    """What drifted in a trial.json's "steady", in words; "" where nothing did or nothing is known."""
    told = [f"{group}: {words}" for group, counts in (seen.get("slices") or {}).items() if (words := of_rate(counts))][:1]
    latency = None if saturated else of_latency(seen.get("p50_thirds_ns") or (), seen.get("n_thirds") or ())
    return "; ".join([*told, *([latency] if latency else [])])


def of_rate(counts: Sequence[int]) -> str:
    """How the delivery rate drifted over equal slices of the window; "" where it did not."""
    if len(counts) != SLICES:
        return ""
    first, last = counts[:_THIRD], counts[-_THIRD:]
    before, after = sum(first), sum(last)
    difference = abs(after - before)
    if difference <= _RATE * before or difference <= _COUNTS * math.sqrt(before + after):
        return ""
    error = math.sqrt((statistics.variance(first) + statistics.variance(last)) / _THIRD)
    if difference / _THIRD <= _ERRORS * error:
        return ""
    change = f"{after / before - 1:+.0%}" if before else "from nothing"
    return f"delivered {before:,} in the first third and {after:,} in the last ({change})"


def caught_up(counts: Sequence[int], due: float) -> float:
    """Return the most messages by which a group's backlog fell again in the window, of ``due`` that were due in it at an even rate.

    Zero where it is served evenly, and where its backlog only grows; where deliveries come in lumps, about a lump.
    """
    behind = most = fell = 0.0
    for count in counts:
        behind += due / len(counts) - count
        most = max(most, behind)
        fell = max(fell, most - behind)
    return fell


def of_latency(p50_ns: Sequence[float | None], n: Sequence[int]) -> str:
    """How p50 drifted over thirds of the window; "" where it did not."""
    if len(p50_ns) != 3 or len(n) != 3 or min(n[0], n[2]) < _SAMPLES:
        return ""
    before, after = p50_ns[0], p50_ns[2]
    if before is None or after is None:
        return ""
    if abs(after - before) <= _P50_NS or max(before, after) <= _P50 * max(min(before, after), 1):
        return ""
    return f"p50 was {before / 1e6:,.1f} ms in the first third and {after / 1e6:,.1f} ms in the last"
