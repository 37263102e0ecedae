"""What was seen while a group was away or slow, for the needs that promise something about it (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.analysis.absence import Absence
from bench.choosing.answers import Condition, Rule
from bench.choosing.broken import BROKEN
from bench.report import text

HELD_UP = 0.9
"""Other groups whose delivery rate is below this share of that before were held up: a gate's margin of a rate (docs/method.md)."""
_FAULTS = {"late": "away", "replay": "away", "isolation": "slow"}


def told(absences: Sequence[Absence], need: str) -> tuple[str, ...]:
    """What was seen of a need, or that it was not tried; nothing for needs that no such fault tries."""
    if need not in _FAULTS:
        return ()
    found = [_words(one) for one in absences if one.fault == _FAULTS[need]]
    return tuple(found) or (f"not tried with a group that is {_FAULTS[need]}",)


def rules(absences: Sequence[Absence], *, emulated: bool) -> Iterator[Rule]:
    """Others that were held up by a slow group (not on an emulator, whose speed says nothing), and losses of one that was away."""
    for one in absences:
        if one.fault == "slow" and one.others_rate and one.others_rate.median < HELD_UP and not emulated:
            yield Rule((Condition("isolation", ">=", 1, must=True),), f"{BROKEN}, others were held up: {_words(one)}")
        if one.fault == "away" and one.lost:
            for need in ("late", "replay"):
                yield Rule((Condition(need, ">=", 1, must=True),), f"{BROKEN}, what waited was lost: {_words(one)}")


def _words(one: Absence) -> str:
    behind = f", {text.ranged(one.behind, text.count)} messages behind at most" if one.behind else ""
    lost = "losses not known" if one.lost is None else f"{one.lost:,} lost" if one.lost else "none lost"
    shares = [f"{name} {text.times(share)}" for name, share in (("rate", one.others_rate), ("p99", one.others_p99)) if share]
    others = f", the others' {text.listed(shares)} of before" if shares else ""
    return f"seen while a group was {one.fault}{behind}, {lost}{others} ({text.many(one.trials, 'trial')})"
