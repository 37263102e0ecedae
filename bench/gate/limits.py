"""Limits on what was measured, such as `p99="<= 20 ms"`, `rate=">= 1,900/s"`, `lost=0`, and whether results hold them (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import units
from bench.analysis.summary import AUDIT_COUNTS, VariantPoint
from bench.errors import UsageError

PERCENTILES = {"p50": "p50_ns", "p90": "p90_ns", "p99": "p99_ns", "p999": "p999_ns"}
"""Of the end-to-end latency, from the intended time, merged over rounds."""
NAMES = (*PERCENTILES, "rate", *AUDIT_COUNTS)
_LIMIT = re.compile(r"\s*(<=|>=|≤|≥)\s*(\S.*?)\s*", re.DOTALL)
_EXAMPLES = {"rate": '">= 1,900/s"'} | dict.fromkeys(PERCENTILES, '"<= 20 ms"')


@dataclass(frozen=True)
class Limit:
    """One limit. ``value`` is in ns, messages a second, or messages."""

    name: str  # one of NAMES
    at_most: bool
    value: float
    text: str  # as people read it: "<= 20 ms"

    def holds(self, figure: float) -> bool:
        """Whether a figure is within it."""
        return figure <= self.value if self.at_most else figure >= self.value


def parse(name: str, given: object) -> Limit:
    """Read one limit: a text with <= or >=, or of counts a number (at most so many); raises UsageError that says what would be right."""
    if name not in NAMES:
        raise UsageError(f'no limit or option "{name}"; {units.did_you_mean(name, NAMES)}')
    if name in AUDIT_COUNTS and isinstance(given, int) and not isinstance(given, bool):
        given = f"<= {given}"
    match = _LIMIT.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise UsageError(f"{name}={given!r}: write <= or >= and a value, such as {_EXAMPLES.get(name, '0')}")
    try:
        if name == "rate":
            value, shown = (rate := units.rate_per_s(match[2])), units.show_rate(rate)
        elif name in PERCENTILES:
            value, shown = (time_s := units.duration_s(match[2])) * 1e9, units.show_duration(time_s)
        else:
            value, shown = (number := units.count(match[2])), f"{number:,}"
    except ValueError as error:
        raise UsageError(f"{name}={given!r}: {error}") from error
    at_most = match[1] in ("<=", "≤")
    return Limit(name, at_most, float(value), f"{'<=' if at_most else '>='} {shown}")


def missed(limits: Sequence[Limit], results: Sequence[VariantPoint]) -> list[str]:
    """What does not hold, in words: each limit at each point of one variant; a figure that is not known does not hold.

    A latency is looked at where the load has a rate, and a rate at full speed, where the results have such a point.
    """
    told: list[str] = []
    for limit in limits:
        if not results:
            told.append(f"{limit.name} {limit.text}: nothing was measured")
        for result in _of(limit, results):
            figure = _figure(limit.name, result)
            where = _where(result)
            if figure is None:
                told.append(f"{limit.name} {limit.text}: no figure {where}{_why(limit.name, result)}")
            elif not limit.holds(figure):
                told.append(f"{limit.name} is {_shown(limit.name, figure)} {where}, asked for is {limit.text}")
    return told


def figures(results: Sequence[VariantPoint]) -> dict[str, Mapping[str, float | None]]:
    """{point: {name: figure}}: what the limits are held against, for whoever keeps it."""
    names = (*PERCENTILES, "rate", "lost", "duplicated", "reordered", "corrupted")
    return {_where(result): {name: _figure(name, result) for name in names} for result in results}


def _of(limit: Limit, results: Sequence[VariantPoint]) -> Sequence[VariantPoint]:
    if limit.name in AUDIT_COUNTS:
        return results
    wanted = [one for one in results if (one.point.get("rate_per_s") is None) == (limit.name == "rate")]
    return wanted or results


def _figure(name: str, result: VariantPoint) -> float | None:
    if name == "rate":
        return result.rate.median if result.rate is not None else None
    if name in PERCENTILES:
        merged = result.latency.get("e2e")
        value: float | None = getattr(merged, PERCENTILES[name]) if merged is not None else None
        return value
    known = [group.counts.get(name) for group in result.audit]
    return None if not known or None in known else float(sum(one for one in known if one is not None))


def _why(name: str, result: VariantPoint) -> str:
    if name in PERCENTILES:
        merged = result.latency.get("e2e")
        if merged is None:
            return f" ({result.absent.get('e2e', 'not measured')})"
        return f" (of {merged.n:,} samples too few lie beyond it)"
    return f" ({result.why})" if result.why else ""


def _where(result: VariantPoint) -> str:
    rate, size = result.point.get("rate_per_s"), result.point.get("size_b")
    told = ["at full speed" if rate is None else f"at {units.show_rate(rate)}"]
    told += [units.show_size(size)] if size is not None else []
    told += [f"{name} {value}" for name, value in result.point.items() if name not in ("rate_per_s", "size_b") and value is not None]
    return ", ".join(told)


def _shown(name: str, figure: float) -> str:
    if name == "rate":
        return f"{figure:,.0f}/s"
    if name in PERCENTILES:
        return units.rounded_duration(figure, 4)
    return f"{figure:,.0f}"
