"""Lost, or still in flight? Waits after the load until the journals can tell, when everything was healed (docs/guarantees.md, Faults).

Drained is a trial in which every acknowledged message is processed in every group, and the timers have gone by (at most ten seconds of
them) after which a broker may deliver again what was not acknowledged to it: the duplicates of a consumer's death come then. Where
messages are missing, the timers go by whole, counted from the last heal, before anything is lost:
a new consumer of the same group has to claim what may be pending. What does not come even so, and in quiet, the broker is asked for
(bench.faults.depth): what it does not hold either is lost, and what it holds is waited for until the deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.base import Adapter
from bench.clock import now_ns, sleep_until
from bench.faults.cast import Actor, Cast
from bench.faults.depth import Depth, ask_twice
from bench.faults.tally import Fed, Tally

_POLL_NS = 50_000_000
_SOON_NS = 200_000_000  # nothing for so long, and all is there: a repeated delivery that follows closely belongs to this trial
_QUIET_NS = 1_000_000_000  # nothing for so long, and some is missing
_REPEATS_S = 10.0  # longer timers are waited for only where something is missing
_MARGIN_NS = 1_000_000_000  # timers are not exact
_CLAIM_NS = 3_000_000_000  # a new member of a group has its share by then (Kafka: a heartbeat's interval)
_PROGRESS_NS = 10_000_000_000  # at least so long after the timers, whatever the scenario's deadline is


@dataclass(frozen=True)
class Drained:
    """How it ended: when the last message came (None: some never came), and whether they still came at the deadline.

    ``depth``: of each group that misses something, what the broker said it still holds.
    """

    last_ns: int | None
    moving: bool
    depth: Mapping[str, Depth] = field(default_factory=dict)


def redelivery_s(adapter: Adapter) -> float:
    """The longest timer after which what was received and not acknowledged is delivered again, seconds; 0 where a client has none.

    Adapters say so by an optional method ``redelivery_s()``, as their settings have it: a visibility time-out, a session's time-out.
    """
    told = getattr(adapter, "redelivery_s", None)
    return 0.0 if told is None else float(told())


def drain(cast: Cast, tally: Tally | Fed, healed_ns: int, deadline_ns: int, watch: Callable[[], None]) -> Drained:
    """Wait until everything is processed or the rest is lost; at ``deadline_ns``, or later where the timers are longer, give up.

    All faults are healed, the last at ``healed_ns``, and all producers are done.
    """
    adapter = cast.session.adapter
    moved, timer_s = now_ns(), redelivery_s(adapter)
    # Where deliveries go in step, a member that makes room for a new one cuts off what it was being given: that comes after the timer.
    cut_off_ns = int(timer_s * 1e9) if adapter.capabilities.in_step else 0
    patient_ns = healed_ns + (int(timer_s * 1e9) + _MARGIN_NS if timer_s else 0)
    repeats_ns = healed_ns + (int(min(timer_s, _REPEATS_S) * 1e9) + _MARGIN_NS if timer_s else 0)
    deadline_ns = max(deadline_ns, patient_ns + max(_CLAIM_NS, cut_off_ns) + _PROGRESS_NS)
    claimed = not adapter.capabilities.stores
    while True:
        watch()
        now = now_ns()
        if tally.update():
            moved = now
        quiet_ns, missing = now - moved, tally.missing()
        if not any(missing):
            if quiet_ns >= _SOON_NS and now >= repeats_ns:
                return Drained(moved, moving=False)
        elif quiet_ns >= _QUIET_NS and now >= patient_ns:
            if claimed:
                depth = ask_twice(cast.session, _without(cast, missing), watch)
                if tally.update():
                    moved = now_ns()
                elif not any(one.held or one.moving or one.silent for one in depth.values()):
                    return Drained(None, moving=False, depth=depth)
                patient_ns = now_ns() + _QUIET_NS  # what it holds may come yet
            else:
                _claim(cast, _without(cast, missing), watch)
                claimed, moved = True, now_ns()
                patient_ns = moved + max(_CLAIM_NS, cut_off_ns)
        if now > deadline_ns:
            depth = ask_twice(cast.session, _without(cast, missing), watch)
            return Drained(None, moving=quiet_ns < _QUIET_NS or any(one.moving for one in depth.values()), depth=depth)
        sleep_until(now + _POLL_NS)


def _without(cast: Cast, missing: Sequence[int]) -> list[str]:
    """Return the groups that miss something."""
    return [name for (name, _), count in zip(cast.workload.groups, missing, strict=True) if count]


def _claim(cast: Cast, groups: Sequence[str], watch: Callable[[], None]) -> None:
    """Have a new consumer take the place of one member of each group."""
    old: list[Actor] = []
    for group in groups:
        old += [actor for actor in cast.now("consumer") if actor.journal.group == group][:1]
    for task in (cast.leave(old), None):
        under_way = task or cast.start_again(old)
        while not under_way():
            watch()
            sleep_until(now_ns() + _POLL_NS)
