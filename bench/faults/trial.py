"""One trial in which things break: a session's trial (bench.session) with faults in it, and a drain that looks at the journals.

The load, its phases and its figures are the same. What differs: endpoints may be gone or new at the end, so what they did is taken from
their journals where they cannot say it themselves; and nothing is asked of an endpoint while it may be frozen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from bench.clock import now_ns, sleep_until
from bench.faults import account
from bench.faults.cast import Actor, Cast
from bench.faults.drain import drain
from bench.faults.inject import Ground, Injector
from bench.faults.tally import Fed, Tally
from bench.journal import ALL, Writer
from bench.machine import Nodes, Watch
from bench.session import FLUSH_SLACK_S, LEAD_NS, Journal, Raw, Session, expect
from bench.workload import Workload

_TURN_NS = 5_000_000
_MARKS_B = 64 << 10


def run(
    session: Session, number: int, workload: Workload, ground: Ground, *, watch: Callable[[], None], idle: Iterable[int] = ()
) -> Raw:  # fmt: skip
    """Run one trial with the faults of its workload; arguments as Session.trial. The session is not to be used after it.

    Raises Unsupported where a fault cannot be done here; before that nothing has happened.
    """
    ground.check(workload.faults)
    workload = session.settle(workload, nodes=len(ground.server.nodes) if ground.server else 0)
    groups = [name for name, _ in workload.groups]
    tally = Tally(session.evidence, number, len(groups))

    outputs = session.outputs

    def follow(journal: Journal, start: int) -> None:
        if not journal.group or outputs is None:
            tally.follow(journal.name, start, groups.index(journal.group) if journal.group else ALL)

    if outputs is not None:  # in place of the consumers' journals
        for index, (name, position) in enumerate(outputs.begin(number, workload)):
            tally.follow(name, position, index)

    fed = tally if outputs is None else Fed(tally, outputs.take)

    def count(what: str) -> int:
        (fed if what == "processed" else tally).update()
        return tally.count(what)

    cast = Cast(session, number, workload, follow)
    with contextlib.closing(Writer(session.evidence, session.name_of("faults", f"{number:04d}"), segment_b=_MARKS_B)) as marks:
        injector = Injector(workload.faults, cast, ground, count, lambda t, text: marks.mark(number, t, text))
        with contextlib.closing(injector):
            return _Trial(cast, tally, injector).run(ground, watch, idle)


class _Trial:
    """The phases of one trial."""

    def __init__(self, cast: Cast, tally: Tally, injector: Injector) -> None:
        self._cast, self._tally, self._injector = cast, tally, injector
        self._session, self._workload = cast.session, cast.workload

    def run(self, ground: Ground, watch: Callable[[], None], idle: Iterable[int]) -> Raw:
        load, cast, session = self._workload, self._cast, self._session
        cast.prepare()
        go = now_ns() + LEAD_NS
        cast.go(go)
        self._injector.go(go)
        start, end = go + int(load.warmup_s * 1e9), go + int((load.warmup_s + load.measure_s) * 1e9)
        self._until(start, watch)
        used, around = Nodes(ground.nodes()), Watch(idle)
        self._until(end, watch)
        node_rows, machine = used.end(), around.end(load.measure_s)
        self._injector.heal(watch)
        deadline = end + int(load.drain_s * 1e9)
        for actor in cast.now("producer"):
            expect(actor.endpoint, "done", deadline + int((load.drain_s + FLUSH_SLACK_S) * 1e9), watch)
        cast.reports("producer")
        looked = self._tally if session.outputs is None else Fed(self._tally, session.outputs.take)
        drained = drain(cast, looked, self._injector.healed_ns or end, deadline, watch)
        session.events += [
            {"who": f"group {group}", "t_ns": now_ns(), "kind": "depth", "detail": depth.said}
            for group, depth in drained.depth.items()
            if depth.said
        ]
        given_back = dict(zip((name for name, _ in load.groups), self._tally.refused(), strict=True))
        dead = session.dead_letters(cast.trial, given_back, deadline, watch)
        cast.reports("consumer")
        actors = sorted(cast.actors, key=lambda actor: actor.journal.role != "producer")  # producers first
        return Raw(
            go_ns=go,
            producers=[self._report(actor) for actor in actors if actor.journal.role == "producer"],
            consumers=[self._report(actor) for actor in actors if actor.journal.role == "consumer"],
            nodes=node_rows,
            before={actor.journal.name: actor.before for actor in actors},
            after={actor.journal.name: cast.after(actor) for actor in actors},
            drained_s=None if drained.last_ns is None else max(0, drained.last_ns - end) / 1e9,
            still_moving=drained.moving,
            machine=machine,
            events=session.events,
            journals=[actor.journal for actor in actors],
            faults=[one.row(go) for one in self._injector.injections],
            tick_s=load.tick_s,
            dead=dead,
            depth=drained.depth,
            outputs=session.outputs.sources() if session.outputs is not None else (),
        )

    def _until(self, until_ns: int, watch: Callable[[], None]) -> None:
        while (now := now_ns()) < until_ns:
            self._injector.turn()
            watch()
            sleep_until(min(until_ns, now + _TURN_NS))

    def _report(self, actor: Actor) -> dict[str, Any]:
        """What an endpoint said of itself, or what its journal says of one that was killed."""
        if actor.report is not None:
            return actor.report
        cast = self._cast
        return account.of_killed(
            self._session.evidence, actor.journal, actor.before, trial=cast.trial, load=self._workload, go_ns=cast.go_ns,
            first_id=actor.first_id,
        )  # fmt: skip
