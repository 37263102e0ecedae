"""Loads that a variant was measured under, as rules: what each shows, and what one that failed excludes (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.analysis.compare import ALPHA
from bench.analysis.findings import INVALID, NOTES
from bench.analysis.signed_rank import ROUNDS_MIN, interval
from bench.analysis.summary import RATE_NOT_REACHED, VariantPoint, codes_of
from bench.choosing import promises
from bench.choosing.answers import Condition, Rule
from bench.report import headline, text

Json = Mapping[str, Any]

_STEADY = frozenset({"constant", "poisson", "max"})
_UNSHOWN = {"faults": "faults were injected", "closed": "a closed loop sends less while a system is slow"}
_OVERLOAD = frozenset({RATE_NOT_REACHED, "not-drained"})
_WEIGHED = NOTES - {"saturated", "closed-loop", "client-bound", "server-bound", "too-few-samples", "aa-not-silent"}
_FAILS, _SHOWS = frozenset({"p50", "p90", "p99"}), frozenset({"p99", "p99.9"})
"""Percentiles of a capacity's objective: where one of the first is over the limit p99 is; where one of the others is within it p99 is."""


@dataclass(frozen=True)
class Measured:
    """A load that was borne: up to ``rate_low`` surely, above ``rate_high`` surely not (infinite: nobody knows)."""

    run: str
    name: str
    words: str
    trials: tuple[int, ...]
    size_b: float
    groups: int
    members: int
    order: int
    rate_low: float
    rate_high: float
    p99_low: float | None  # p99 is no less: interval or range over rounds; of a search, its limit, over which p99 is above rate_high
    p99_high: float | None  # and no more; None: not known
    emulated: bool
    steady: bool  # nothing made it harder than it says: its failure is the variant's
    search: bool = False  # of a capacity

    def shows(self, others: Sequence[Measured]) -> Rule:
        """It bears its load and less, within its p99; noted is the load no larger whose p99 was longest, where that was longer."""
        rate = Condition("rate", "unasked") if self.emulated else Condition("rate", "<=", self.rate_low)
        high = None if self.emulated else self.p99_high
        p99 = Condition("p99_ns", "unasked") if high is None else Condition("p99_ns", ">=", high)
        lighter = [one for one in others if high is not None and one.lighter(self) and (one.p99_high or 0) > high]
        notes = (max(lighter, key=lambda one: one.p99_high or 0).note(),) if lighter else ()
        return Rule((rate, p99, *self._demands()), self.words, self.name, self.run, self.trials, notes)

    def lighter(self, other: Measured) -> bool:
        """Whether it is a steady load that asks no more than another."""
        less = self.rate_low <= other.rate_low and self.size_b <= other.size_b and self.groups <= other.groups
        return self is not other and less and self.members == other.members and self.steady and not self.emulated and not self.search

    def note(self) -> Rule:
        """Said where a load no smaller held a budget that this one did not."""
        return Rule((Condition("p99_ns", "<", self.p99_high or 0, must=True),), f"over it at a load no larger: {self.words}")

    def nearly(self) -> Rule | None:
        """What rounds, or an interval, lie on both sides of."""
        if self.emulated:
            return None
        if self.rate_low < self.rate_high < math.inf:
            p99 = Condition("p99_ns", "unasked") if self.p99_high is None else Condition("p99_ns", ">=", self.p99_high)
            within = (Condition("rate", "<=", self.rate_high, must=True), p99)
        elif self.p99_low is not None and self.p99_high is not None and self.p99_low < self.p99_high:
            within = (Condition("rate", "<=", self.rate_low), Condition("p99_ns", ">=", self.p99_low, must=True))
        else:
            return None
        return Rule((*within, *self._demands()), self.words, self.name, self.run, self.trials)

    def limit(self) -> Rule | None:
        """What it did not bear, for whoever asks no less."""
        if self.emulated or not self.steady:
            return None
        if self.rate_high < math.inf:
            held = () if self.p99_low is None else (Condition("p99_ns", "<=", self.p99_low, must=True),)
            over: tuple[Condition, ...] = (Condition("rate", ">", self.rate_high, must=True), *held)
        elif self.p99_low is not None and not self.search:
            over = (Condition("p99_ns", "<", self.p99_low, must=True), Condition("rate", ">=", self.rate_low))
        else:
            return None
        return Rule((*over, *_no_less(self.size_b, self.groups, self.members)), self.words, self.name, self.run, self.trials)

    def _demands(self) -> tuple[Condition, ...]:
        return (
            Condition("payload_b", "<=", self.size_b), Condition("groups", "<=", self.groups), Condition("members", "<=", self.members),
            Condition("order", "<=", self.order),
        )  # fmt: skip


def point(result: VariantPoint, run: str, label: str = "") -> Measured | None:
    """A variant at a point of a run; None where it is not valid, or was no load that shows how fast it is."""
    rates = result.rate
    if not result.valid or rates is None or _unshown(result) or (result.emulator and result.codes & set(INVALID)):
        return None
    e2e, rate = result.latency.get("e2e"), result.point.get("rate_per_s")
    p99 = e2e.p99_ns if e2e else None
    low, high = between(p99, list(result.p99_by_round.values()))
    name = _name(result, label)
    figure = _rate_words(result) if rate is None else _p99_words(result, low, high)
    return Measured(
        run=run, name=name, words=f"{name}: {figure}{_noted(result)}{_emulated(result)}", trials=result.numbers, **_demand(result),
        rate_low=rates.low if rate is None else float(rate),
        rate_high=math.inf if rate is not None or result.at_least else rates.high,
        p99_low=low, p99_high=high, emulated=result.emulator, steady=_steady(result),
    )  # fmt: skip


def capacity(search: Json, objective: Json, result: VariantPoint, run: str, label: str = "") -> list[Measured]:
    """What a search of capacity.json found: the answer, and each load of its sweep that held in every round.

    ``result``: of a trial of the same variant, for its workload. Empty where there is no answer.
    """
    found, limit_s, percentile = search.get("answer") or {}, objective.get("limit_s"), objective.get("percentile")
    low = found.get("low_per_s") or found.get("rate_per_s")
    if found.get("kind") not in ("found", "at-least") or not low or not isinstance(limit_s, int | float):
        return []
    bounded = found["kind"] == "at-least" or (search.get("limit") or {}).get("by") in ("client", "machine", "search")
    known = found.get("high_per_s")
    size = (search.get("point") or {}).get("size_b", result.point.get("size_b")) or 0
    name = f"{_prefix(label)}capacity at {size:,} B, {_consumers(result)}"
    ends = f"95%: {text.number(low)} to {text.number(known)}/s" if known else "no higher rate was tried"
    rate = f"{'>= ' if bounded else ''}{text.number(found.get('rate_per_s') or low)}/s"
    probes = tuple(one["trial"] for one in search.get("probes") or () if isinstance(one.get("trial"), int))
    told = f"{name}: {objective.get('text')} holds up to {rate} ({ends}; {len(probes)} probes){_emulated(result)}"
    answer = Measured(
        run=run, name=name, words=told, trials=probes,
        **(_demand(result) | {"size_b": float(size)}), rate_low=float(low),
        rate_high=math.inf if bounded or not known or percentile not in _FAILS else float(known),
        p99_low=limit_s * 1e9 if percentile in _FAILS else None, p99_high=limit_s * 1e9 if percentile in _SHOWS else None,
        emulated=result.emulator, steady=_steady(result), search=True,
    )  # fmt: skip
    return [
        answer,
        *(
            _swept(answer, row, _emulated(result))
            for row in search.get("sweep") or ()
            if row.get("rounds") == row.get("held") and row.get("p99_ns") and row.get("rate_per_s")
        ),
    ]


def _swept(answer: Measured, row: Json, where: str) -> Measured:
    """A load of a sweep: its merged p99, of which no spread is kept."""
    rate, p99 = float(row["rate_per_s"]), float(row["p99_ns"])
    name = f"{answer.name}, {text.number(rate)}/s"
    words = f"{name}: p99 {text.duration(p99)} ({text.many(int(row.get('rounds') or 0), 'round')}, n = {int(row.get('n') or 0):,}){where}"
    trials = tuple(int(n) for n in row.get("trials") or ())
    return replace(
        answer, name=name, words=words, trials=trials, rate_low=rate, rate_high=math.inf, p99_low=p99, p99_high=p99, search=False
    )


def not_reached(result: VariantPoint, run: str, label: str = "") -> Rule | None:
    """A rate that no round reached excludes it and more, unless a client was the limit or the sender itself was late."""
    rate, codes = result.point.get("rate_per_s"), result.codes
    rounds = [RATE_NOT_REACHED in codes_of(trial) for trial in result.trials]
    if result.standing != RATE_NOT_REACHED or rate is None or not all(rounds) or result.at_least or result.rate is None:
        return None
    if not _steady(result) or _unshown(result) or codes & (set(INVALID) - _OVERLOAD):
        return None
    name = _name(result, label)
    words = f"{name}: not reached in any of {text.many(len(rounds), 'round')}, delivered {text.ranged(result.rate)}/s"
    demand = _demand(result)
    over = (Condition("rate", ">=", float(rate), must=True), *_no_less(demand["size_b"], demand["groups"], demand["members"]))
    return Rule(over, words, name, run, result.numbers)


def void(result: VariantPoint, label: str = "") -> str:
    """What was measured and is not counted, with the reason; "" where it counts."""
    why = _unshown(result)
    if not why and result.valid and result.rate is not None:
        why = ", ".join(sorted(result.codes & set(INVALID))) if result.emulator else ""
        return f"{_name(result, label)}: not counted ({why} on an emulator)" if why else ""
    told = headline.STANDING.get(result.standing, result.standing) + (f": {text.shortened(result.why)}" if result.why else "")
    return f"{_name(result, label)}: not counted ({why or told})"


def between(p99: float | None, rounds: Sequence[float]) -> tuple[float | None, float | None]:
    """Where the p99 lies: 95% by the exact signed-rank interval of the rounds' own from six on, their range below; the merged p99 within.

    Of one round, or of none with a p99 of its own, that is the merged p99 alone: it is known no better.
    """
    if p99 is None:
        return None, None
    found = interval([math.log(one) for one in rounds if one > 0], ALPHA) if len(rounds) >= ROUNDS_MIN else None
    ends = [math.exp(found.low), math.exp(found.high)] if found else list(rounds)
    return min([p99, *ends]), max([p99, *ends])


def _p99_words(result: VariantPoint, low: float | None, high: float | None) -> str:
    """With where it lies, as between() has it."""
    e2e = result.latency.get("e2e")
    if e2e is None or e2e.p99_ns is None:
        return "no p99"
    rounds, n = len(result.p99_by_round), f"n = {e2e.n:,}"
    if rounds < 2:
        return f"p99 {text.duration(e2e.p99_ns)} (one round, {n})"
    what = "95%, " if rounds >= ROUNDS_MIN else ""
    return f"p99 {text.duration(e2e.p99_ns)} ({text.duration(low)} to {text.duration(high)}, {what}{rounds} rounds, {n})"


def _rate_words(result: VariantPoint) -> str:
    rate = result.rate
    assert rate is not None  # point() looked
    rounds = f"{text.number(rate.low)} to {text.number(rate.high)}, {rate.rounds} rounds" if rate.rounds > 1 else "one round"
    return f"{'>= ' if result.at_least else ''}{text.number(rate.median)}/s ({rounds})"


def _name(result: VariantPoint, label: str) -> str:
    """2,000/s, 256 B, 3 groups; and what else makes it another load."""
    words = [text.point_name(result.point)]
    words += [_consumers(result)] if not {"groups", "members"} & set(result.point) else []
    working = _processing_s(result)
    words += [f"each message worked on for {text.duration(working * 1e9)}"] if working else []
    return _prefix(label) + ", ".join(words)


def _noted(result: VariantPoint) -> str:
    """What was found of the trials that count all the same, and that a reader has to weigh."""
    found = sorted(result.codes & _WEIGHED)
    return f", noted: {', '.join(found)}" if found else ""


def _emulated(result: VariantPoint) -> str:
    return f" (on {(result.server or {}).get('product')}, an emulator: its speed is not counted)" if result.emulator else ""


def _prefix(label: str) -> str:
    return f"{label}: " if label else ""


def _consumers(result: VariantPoint) -> str:
    shared = promises.members(result.workload)
    groups = text.many(promises.groups(result.workload), "group")
    return f"{groups} of {shared}" if shared > 1 else groups


def _demand(result: VariantPoint) -> dict[str, Any]:
    size = result.point.get("size_b")
    return {
        "size_b": float(size) if isinstance(size, int | float) else 0.0,
        "groups": promises.groups(result.workload), "members": promises.members(result.workload),
        "order": promises.order(result.variant.get("mode") or {}, result.workload) or 0,
    }  # fmt: skip


def _no_less(size_b: float, groups: int, members: int) -> tuple[Condition, ...]:
    """Of members as many: more of them may bear more."""
    return Condition("payload_b", ">=", size_b), Condition("groups", ">=", groups), Condition("members", "=", members)


def _unshown(result: VariantPoint) -> str:
    """Why a trial that may well be valid says nothing of speed."""
    if result.workload.get("faults"):
        return _UNSHOWN["faults"]
    return _UNSHOWN["closed"] if result.workload.get("schedule") == "closed" else ""


def _steady(result: VariantPoint) -> bool:
    return str(result.workload.get("schedule")) in _STEADY and not _processing_s(result) and not result.point.get("distance_s")


def _processing_s(result: VariantPoint) -> float:
    """How long the slowest group works on a message."""
    found = result.workload.get("processing_s")
    return max((s for s in found.values() if isinstance(s, int | float)), default=0.0) if isinstance(found, Mapping) else 0.0
