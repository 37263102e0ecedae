"""What the system itself says it still holds: asked twice, for groups that miss messages when everything else has been tried.

Journals say what was acknowledged and never processed. Whether that is gone, or lies with the broker and nobody gets it, they cannot
say: only the first is lost (docs/guarantees.md, The drain). The answer is a count without names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from adapters.errors import Unreachable
from bench.clock import now_ns, sleep_until
from bench.session import Session

_BETWEEN_NS = 1_000_000_000
_POLL_NS = 50_000_000


class Depth(NamedTuple):
    """Messages that a system held for one group, and a second later; None = it cannot say. ``silent``: it did not answer, so it may."""

    first: int | None
    second: int | None
    silent: bool = False

    @property
    def held(self) -> int:
        """The last answer, 0 where there is none."""
        return self.second or 0

    @property
    def moving(self) -> bool:
        """Whether it changed between the two."""
        return None not in (self.first, self.second) and self.first != self.second

    @property
    def said(self) -> str:
        """A sentence for the events of a trial; "" where nothing is held, or nobody answered (an event has said so)."""
        if not self.held:
            return ""
        if self.moving:
            return f"{self.first:,} and a second later {self.second:,} messages lay with the broker when the drain's deadline passed"
        return f"{self.second:,} messages still lie with the broker: not lost, not delivered"


def ask_twice(session: Session, groups: Iterable[str], watch: Callable[[], None]) -> dict[str, Depth]:
    """Ask for each of ``groups``, and once more a second later; ``watch`` is called meanwhile and may raise to end it."""
    first = {group: _asked(session, group) for group in groups}
    if all(one.first is None for one in first.values()):
        return first
    until_ns = now_ns() + _BETWEEN_NS
    while (now := now_ns()) < until_ns:
        watch()
        sleep_until(min(until_ns, now + _POLL_NS))
    return {group: one if one.first is None else _asked(session, group, one.first) for group, one in first.items()}


def _asked(session: Session, group: str, first: int | None = None) -> Depth:
    try:
        held = session.depth(group)
    except Unreachable:
        return Depth(first, None, silent=True)
    return Depth(held if first is None else first, None if first is None else held)
