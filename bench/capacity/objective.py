"""What a rate has to hold, as `p99 <= 20 ms`, and whether a trial held it (pure).

Held is: every group got at least 99% of what was offered, the backlog was gone soon after the load, the audit found nothing lost and
nothing that the mode forbids, and the percentile of the end-to-end latency, from the intended time, is within the limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench import units
from bench.errors import UsageError
from bench.histogram import BEYOND_MIN

DEFAULT = "p99 <= 50 ms"
DRAIN_S = 1.0  # a backlog that takes longer than that had grown
_PERCENTILES = {"p50": ("p50_ns", 50.0), "p90": ("p90_ns", 90.0), "p99": ("p99_ns", 99.0), "p99.9": ("p999_ns", 99.9)}
_ALIASES = {"p999": "p99.9", "median": "p50"}
_OBJECTIVE = re.compile(r"\s*([^\s<=>≤]+)\s*(<=|≤|<)\s*(.+?)\s*", re.DOTALL)
_LONGEST_S = 600.0
_PUBLISHED = 0.99  # of the offered rate
_OUR_SIDE = ("sender-late", "clock-suspect", "stolen-time")
"""Findings that say of a probe which was not held that it says nothing of the system."""

_LIMITS = {"client-bound": "client", "server-bound": "system", "machine-busy": "machine", "sender-late": "client"}
"""Whose limit it was, the plainest evidence first: a sender wakes late on a machine that is full, whatever it does itself."""


@dataclass(frozen=True)
class Objective:
    """A limit on a percentile of the end-to-end latency."""

    percentile: str  # one of p50, p90, p99, p99.9
    limit_s: float

    @property
    def key(self) -> str:
        """The percentile's name in trial.json."""
        return _PERCENTILES[self.percentile][0]

    @property
    def samples(self) -> int:
        """How many latencies the percentile needs: ten beyond it."""
        return round(BEYOND_MIN / (1 - _PERCENTILES[self.percentile][1] / 100))

    def __str__(self) -> str:
        return f"{self.percentile} <= {units.show_duration(self.limit_s)}"


def parse(text: str) -> Objective:
    """Read `p99 <= 20 ms`; raises UsageError that says what would be right."""
    told = f'--objective "{text[:60]}"'
    match = _OBJECTIVE.fullmatch(text)
    if match is None:
        raise UsageError(f'{told}: write a percentile, <= and a time, such as "p99 <= 20 ms"')
    name = match[1].lower()
    name = _ALIASES.get(name, name)
    if name not in _PERCENTILES:
        raise UsageError(f'{told}: no percentile "{match[1]}" here; {units.did_you_mean(name, _PERCENTILES)}')
    try:
        limit_s = units.duration_s(match[3])
    except ValueError as error:
        raise UsageError(f"{told}: {error}") from error
    if not 0 < limit_s <= _LONGEST_S:
        raise UsageError(f"{told}: the limit is to be above 0 and at most {units.show_duration(_LONGEST_S)}")
    return Objective(name, limit_s)


@dataclass(frozen=True)
class Judgement:
    """``held``: None = the probe says nothing of the system. ``by``: whose limit it was: client, machine, system, "" where held."""

    held: bool | None
    why: str
    by: str


def judge(trial: Mapping[str, Any], objective: Objective) -> Judgement:
    """Whether a trial (trial.json) held; ``why`` names the first thing that it missed."""
    if trial["status"] != "ok":
        return Judgement(False, f"{trial['status']}: {trial['reason']}", "system")
    missed = _missed(trial, objective)
    codes = {finding["code"] for finding in trial["findings"]}
    if not missed:
        return Judgement(True, "", "")
    disturbed = [code for code in _OUR_SIDE if code in codes]
    if "rate-not-reached" in codes and (trial["rates"]["published_per_s"] or 0.0) >= _PUBLISHED * trial["rates"]["offered_per_s"]:
        disturbed = []  # however late it woke, all was sent in time, and did not come out
    latency = trial["latency"]["end_to_end_intended"]
    few = latency is not None and 0 < latency["n"] < objective.samples and latency[objective.key] is None
    by = next((whose for code, whose in _LIMITS.items() if code in codes), "system")
    if disturbed or few:
        return Judgement(None, f"{', '.join(disturbed) or 'too few samples'}: {missed[0]}", by)
    return Judgement(False, missed[0], by)


def _missed(trial: Mapping[str, Any], objective: Objective) -> list[str]:
    rates, latency = trial["rates"], trial["latency"]["end_to_end_intended"]
    found = []
    lost = sum(group["lost"] or 0 for group in trial["audit"].values())
    if lost:
        found.append(f"{lost:,} messages lost")
    broken = [name for name, group in trial["audit"].items() if group["verdict"] not in ("clean", "as promised")]
    if broken and not lost:
        found.append(f"{broken[0]}: {'; '.join(trial['audit'][broken[0]]['reasons'])}")
    if any(finding["code"] == "rate-not-reached" for finding in trial["findings"]):
        found.append(f"{rates['slowest_group_per_s']:,.0f}/s of {rates['offered_per_s']:,.0f}/s reached the slowest group")
    if trial["drained_s"] is None or trial["drained_s"] > DRAIN_S:
        took = "not" if trial["drained_s"] is None else f"only {trial['drained_s']:.1f} s after the load"
        found.append(f"the backlog was {took} gone")
    value_ns = latency[objective.key] if latency else None
    if value_ns is None:
        found.append(f"{objective.percentile} is not known: {latency['n'] if latency else 0:,} latencies")
    elif value_ns > objective.limit_s * 1e9:
        found.append(f"{objective.percentile} {value_ns / 1e6:,.1f} ms")
    return found
