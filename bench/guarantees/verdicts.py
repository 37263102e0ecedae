"""What the injections of one cell add up to: verdict, observed class, bounds, surprises (pure).

n is the number of *counted injections*: losses within one crash are correlated, so messages are no trials. An injection counts when
something was in flight as it struck; without that it is vacuous. Zero events in n independent trials bound their probability below
1 - 0.05^(1/n) at 95% (Hanley, Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983; about 3/n); of m > 0 events
the exact two-sided interval is given (Clopper, Pearson, Biometrika 1934). Never "kept": absence in n tries is luck with a bound.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from scipy import stats

ANOMALIES = ("lost", "duplicated", "reordered", "corrupted", "unexpected", "failed_delivered")
"""What an expectation names: counts of the audit (docs/guarantees.md). Unknown and recovered messages are no anomalies."""

NO_VIOLATION, VIOLATED, VACUOUS, UNDETERMINED = "no violation", "violated", "vacuous", "undetermined"
OBSERVED = {
    (False, False): "exactly-once",
    (False, True): "at-least-once",
    (True, False): "at-most-once",
    (True, True): "best effort",
}
"""By (something lost, something duplicated): the class that was seen is consistent with; nothing is proved by it."""

_MEANT_TO_SHOW = 3  # counted injections, from which on a loss that must show is missed, where nobody knows what was at risk
_ALWAYS = frozenset({"corrupted", "unexpected", "failed_delivered"})
_FORBIDDEN: Mapping[str, frozenset[str]] = {
    "none": _ALWAYS,
    "at-most-once": _ALWAYS | {"duplicated"},
    "at-least-once": _ALWAYS | {"lost"},
    "exactly-once": _ALWAYS | {"lost", "duplicated"},
}


@dataclass(frozen=True)
class Expectation:
    """What the documentation predicts for one system, mode and fault. ``unsupported``: why the fault cannot be had there."""

    may_show: frozenset[str] = frozenset()
    must_show: frozenset[str] = frozenset()
    source: str = ""
    why: str = ""
    timer: str = ""  # the setting that decides recovery: "session_timeout_ms"; "" = none
    unsupported: str = ""


@dataclass(frozen=True)
class Injection:
    """One carried-out fault, and what is attributed to it over the groups that it struck. Times in seconds."""

    trial: int
    target: str
    in_flight: int  # messages attempted and not processed as it struck
    at_risk: int | None = None  # of them received and not processed: what a consumer's death loses where nothing is kept for it
    counts: Mapping[str, int] = field(default_factory=dict)  # ANOMALIES, unknown, recovered
    recovery_s: float | None = None  # from the heal to the first message that was processed; None = never, or not known
    publish_gap_s: float | None = None  # longest time without a confirmation around it
    deliver_gap_s: float | None = None  # and without a processed message
    undetermined: bool = False  # messages still arrived at the deadline of its trial: nobody can say "lost"

    @property
    def vacuous(self) -> bool:
        """Whether nothing was there for it to harm; what it harmed was there."""
        return not self.in_flight and not any(self.counts.get(name) for name in (*ANOMALIES, "unknown", "recovered"))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``asdict``."""
        return cls(**data)


@dataclass(frozen=True)
class Share:
    """In how many of the counted injections it happened, and the 95% interval of its probability (see the module)."""

    events: int
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Judged:
    """A cell's verdict, and what it rests on."""

    verdict: str  # one of the four words above
    n: int  # counted injections
    vacuous: int
    undetermined: int
    observed: str  # of OBSERVED; "" where nothing counted
    counts: Mapping[str, int]  # messages, all injections and what was attributed to none of them
    shares: Mapping[str, Share]  # of lost, duplicated, reordered
    violations: tuple[str, ...]
    surprises: tuple[str, ...]  # what the documentation does not predict
    recovery_s: tuple[float, float] | None  # median and longest
    publish_gap_s: tuple[float, float] | None
    deliver_gap_s: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """`judged` of guarantees.json."""
        return asdict(self)

    @property
    def words(self) -> str:
        """Never more than was tried: "no violation in 20", "violated"."""
        return f"{self.verdict} in {self.n}" if self.verdict == NO_VIOLATION else self.verdict


def judge(delivery: str, expected: Expectation, injections: Sequence[Injection], rest: Mapping[str, int] | None = None) -> Judged:
    """Judge one cell by the ``delivery`` that its mode promises and what is ``expected`` of it.

    ``rest``: anomalies of its trials that no injection accounts for; they are judged too, but make no injection count.
    Raises ValueError for a delivery that is none.
    """
    if delivery not in _FORBIDDEN:
        raise ValueError(f"delivery {delivery!r}: one of {', '.join(_FORBIDDEN)}")
    open_ = [one for one in injections if one.undetermined]
    counted = [one for one in injections if not one.undetermined and not one.vacuous]
    counts = {name: (rest or {}).get(name, 0) for name in (*ANOMALIES, "unknown", "recovered")}
    for one in injections:
        for name in counts:
            counts[name] += one.counts.get(name, 0)
    n = len(counted)
    violations = tuple(
        told(name, counts[name])
        for name in ANOMALIES
        if counts[name] and (name in _FORBIDDEN[delivery] or (name == "reordered" and name not in expected.may_show))
    )
    vacuous = len(injections) - len(open_) - n
    return Judged(
        verdict=VIOLATED if violations else NO_VIOLATION if n else UNDETERMINED if open_ else VACUOUS,
        n=n,
        vacuous=vacuous,
        undetermined=len(open_),
        observed=OBSERVED[bool(counts["lost"]), bool(counts["duplicated"])] if n or violations else "",
        counts=counts,
        shares={name: share(sum(1 for one in counted if one.counts.get(name)), n) for name in ANOMALIES[:3]} if n else {},
        violations=violations,
        surprises=_surprises(expected, counted, counts),
        recovery_s=_spread([one.recovery_s for one in counted]),
        publish_gap_s=_spread([one.publish_gap_s for one in counted]),
        deliver_gap_s=_spread([one.deliver_gap_s for one in counted]),
    )


def told(name: str, count: int) -> str:
    """An anomaly in words: "3 lost"."""
    return f"{count:,} {name.replace('failed_delivered', 'delivered though reported as failed')}"


def _surprises(expected: Expectation, counted: Sequence[Injection], counts: Mapping[str, int]) -> tuple[str, ...]:
    seen = [
        f"{told(name, counts[name])}, which the documentation does not predict"
        for name in ANOMALIES
        if counts[name] and name not in expected.may_show | expected.must_show
    ]
    known = sum(1 for one in counted if one.at_risk)
    blind = [one for one in counted if one.at_risk is None]
    if known or len(blind) >= _MEANT_TO_SHOW:
        missed = f"in {len(counted)}, which the documentation predicts: a blind accountant, or another mode than it says"
        seen += [f"nothing {name} {missed}" for name in sorted(expected.must_show) if not counts[name]]
    return tuple(seen)


def share(events: int, n: int) -> Share:
    """The 95% interval of a probability of which ``events`` were seen in ``n`` trials; n >= 1."""
    if not 0 <= events <= n or n < 1:
        raise ValueError(f"{events} events in {n} trials")
    if events == 0:
        return Share(0, n, 0.0, 1 - 0.05 ** (1 / n))
    low = float(stats.beta.ppf(0.025, events, n - events + 1))
    high = 1.0 if events == n else float(stats.beta.ppf(0.975, events + 1, n - events))
    return Share(events, n, low, high)


def _spread(values: Sequence[float | None]) -> tuple[float, float] | None:
    known = [value for value in values if value is not None]
    return (statistics.median(known), max(known)) if known else None
