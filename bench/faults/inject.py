"""Carries out a trial's faults at their times or on their conditions, and heals them: whatever happens.

Nothing here waits: the load goes on meanwhile, and so do other faults. What takes a while (a server that starts, a consumer that
leaves in order) is a Task that is looked at again and again; what blocks runs in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from adapters.errors import AdapterError, Unsupported
from bench.clock import now_ns, sleep_until
from bench.errors import ServerError
from bench.faults.cast import Cast, Task
from bench.faults.links import ALL, Ways
from bench.faults.model import LEADER, Fault, Target
from bench.leaders import leader
from bench.servers.base import INNER, Node, Server

_HEAL_NS = 120_000_000_000  # a server that has not come back by then does not
_POLL_NS = 5_000_000
_NEVER = 1 << 62
_DOWN = ("kill", "stop", "pause")  # after which a node has to come up, or go on
_GROUND = ("server", "peer", "links")  # parts of a target that are no endpoints


@dataclass
class Ground:
    """What faults can be done to, beside endpoints. None where a system has no server, a scenario no network faults."""

    server: Server | None = None
    links: Ways | None = None
    beside: Sequence[Node] = ()  # processes that are measured with the server's: the proxy

    def node(self, target: Target) -> str:
        """Return the name of the node that a target means, LEADER as it is; raises Unsupported with the reason where there is none."""
        if self.server is None:
            raise Unsupported("no process stands between its producers and consumers: there is no server to break")
        names = [node.name for node in self.server.nodes]
        if target.name == LEADER:
            if getattr(self.server, "leaders", None) is None:
                raise Unsupported(f"it does not say which of its nodes leads; it has {', '.join(names)}")
            return LEADER
        if target.name:
            if target.name not in names:
                raise Unsupported(f"there is no node {target.name}; it has {', '.join(names)}")
            return target.name
        if target.number is None or target.number > len(names):
            raise Unsupported(f"there is no server.{target.number}; it has {len(names)} node{'s' * (len(names) > 1)}")
        return names[target.number - 1]

    def check(self, faults: Iterable[Fault]) -> None:
        """Raise Unsupported where one of the faults cannot be done here."""
        for fault in faults:
            target = fault.on
            if target.part == "server":
                name = self.node(target)
                pids = [node.pid for node in self.server.nodes if name in (node.name, LEADER)] if self.server else []
                if fault.kind != "network" and None in pids:
                    raise Unsupported(f"{name} runs elsewhere: {fault.kind} is for processes that were started here")
            if fault.kind == "network":
                if self.links is None:
                    raise Unsupported(f"there is no link to put toxic {fault.toxic} on")
                self.links.check(ALL if target.name == LEADER else self.link(target))

    def link(self, target: Target) -> str:
        """Return the link that a target means, as bench.faults.links names it."""
        if target.part == "links":
            return ALL
        return f"peer.{target.number}" if target.part == "peer" else self.node(target)

    def nodes(self) -> tuple[Node, ...]:
        """Return the processes whose CPU and memory are measured."""
        return (*(self.server.nodes if self.server else ()), *self.beside)


@dataclass
class Injection:
    """One time that a fault is, or will be, in force. Times: monotonic ns, None = not (yet)."""

    fault: Fault
    number: int  # of its fault, from 0
    asked_ns: int | None
    injected_ns: int | None = None
    healed_ns: int | None = None
    state: str = "waits"  # "waits", "begins", "holds", "heals", "over"
    task: Task | None = None
    detail: str = ""
    node: str = ""  # what it strikes, where that is a node or a link: of LEADER known when it is injected

    def row(self, go_ns: int) -> dict[str, Any]:
        """Return "faults" of trial.json, without what only the journals tell: seconds from go."""

        def since(t_ns: int | None) -> float | None:
            return None if t_ns is None else (t_ns - go_ns) / 1e9

        return {
            "fault": self.fault.kind, "toxic": self.fault.toxic, "target": self.fault.target, "times_index": self.number,
            "asked_s": since(self.asked_ns), "injected_s": since(self.injected_ns), "healed_s": since(self.healed_ns),
            "detail": self.detail, "node": self.node if self.fault.on.part == "server" else "",
        }  # fmt: skip


class Injector:
    """The faults of one trial. ``turn`` often while the load runs, `heal` at its end, ``close`` always."""

    def __init__(
        self, faults: Sequence[Fault], cast: Cast, ground: Ground, count: Callable[[str], int], mark: Callable[[int, str], None]
    ) -> None:  # fmt: skip
        """``count``: how many messages are "acknowledged", "processed", "sent" by now. ``mark`` writes down (time, text)."""
        self._cast, self._ground, self._count, self._mark = cast, ground, count, mark
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="faults")
        self._go_ns = 0
        self.injections = [Injection(fault, number, None) for fault in faults for number in range(fault.times)]

    def go(self, at_ns: int) -> None:
        """Count times from here."""
        self._go_ns = at_ns
        for one in self.injections:
            if one.fault.at_s is not None:
                one.asked_ns = at_ns + int((one.fault.at_s + one.number * one.fault.every_s) * 1e9)

    def turn(self) -> None:
        """Begin and heal what is due; look after what is under way."""
        counted: dict[str, int] = {}
        for i, one in enumerate(self.injections):
            now = now_ns()
            turn = one.state == "waits" and (not one.number or self.injections[i - 1].state == "over")
            if turn and self._due(one, now, counted) and not self._node_is_down(one):
                self._begin(one, now)
            if one.state == "holds" and now >= self._until(one):
                self._heal(one)
            self._look(one)

    def heal(self, watch: Callable[[], None]) -> None:
        """Heal all that is in force and begin nothing more; returns when it is done. Raises ServerError where it cannot be."""
        for one in self.injections:
            if one.state == "waits":
                one.state, one.detail = "over", self._not_met(one)
        deadline = now_ns() + _HEAL_NS
        while any(one.state != "over" for one in self.injections):
            for one in self.injections:
                if one.state == "holds":
                    self._heal(one)
                self._look(one)
            if now_ns() > deadline:
                left = ", ".join(one.fault.label for one in self.injections if one.state != "over")
                raise ServerError(f"not healed within {_HEAL_NS // 1_000_000_000} s: {left}")
            watch()
            sleep_until(now_ns() + _POLL_NS)

    @property
    def healed_ns(self) -> int:
        """When the last of them was healed; 0 where none was."""
        return max((one.healed_ns or 0 for one in self.injections), default=0)

    def close(self) -> None:
        """Leave nothing frozen and no link cut, without waiting for anybody; idempotent."""
        self._cast.thaw(self._cast.actors)
        for one in self.injections:
            if one.state not in ("waits", "over") and one.fault.on.part in _GROUND:
                self._last_aid(one)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _last_aid(self, one: Injection) -> None:
        server, links = self._ground.server, self._ground.links
        try:
            if one.fault.kind == "pause" and server is not None and one.node:
                server.resume(one.node)
            elif one.fault.kind == "network" and links is not None and one.node:
                links.clear(one.node)
            elif one.fault.kind in ("kill", "stop") and server is not None:
                server.stop()  # down on purpose, so nobody would call it dead: the next trial is to start one of its own
        except (ServerError, OSError) as error:
            one.detail = f"not healed: {error}"

    # ---- one injection

    def _due(self, one: Injection, now: int, counted: dict[str, int]) -> bool:
        after = one.fault.after
        if one.asked_ns is None and after is not None and not one.number:
            if after[1] not in counted:
                counted[after[1]] = self._count(after[1])
            if counted[after[1]] >= after[0]:
                one.asked_ns = now
        elif one.asked_ns is None:  # of a condition that was met: from its first on
            first = self.injections[self.injections.index(one) - one.number]
            assert first.injected_ns is not None
            one.asked_ns = first.injected_ns + int(one.number * one.fault.every_s * 1e9)
        return one.asked_ns is not None and now >= one.asked_ns

    def _node_is_down(self, one: Injection) -> bool:
        """Whether another fault has this one's node down: struck while it comes up, it would seem to be a server that does not start."""
        if one.fault.kind not in _DOWN or one.fault.on.part != "server":
            return False
        node = self._ground.node(one.fault.on)
        under_way = (other for other in self.injections if other.state not in ("waits", "over") and other.fault.kind in _DOWN)
        return any(other.fault.on.part == "server" and (other.node or self._ground.node(other.fault.on)) == node for other in under_way)

    def _until(self, one: Injection) -> int:
        return _NEVER if one.fault.for_s is None or one.injected_ns is None else one.injected_ns + int(one.fault.for_s * 1e9)

    def _not_met(self, one: Injection) -> str:
        after = one.fault.after
        if after is None or one.number or one.asked_ns is not None:  # it was due
            return "not injected: the one before it, or another fault of its node, was not healed in time"
        return f"not injected: {self._count(after[1]):,} of {after[0]:,} {after[1]} by the end of the load"

    def _begin(self, one: Injection, now: int) -> None:
        self._mark(now, f"{one.fault.label}: {one.number + 1} of {one.fault.times}")
        one.injected_ns, one.state = now, "begins"
        one.task = self._inject(one)

    def _heal(self, one: Injection) -> None:
        one.state = "heals"
        one.task = self._mend(one)

    def _look(self, one: Injection) -> None:
        """Go on with what is under way."""
        if one.task is None or not one.task():
            return
        one.task = None
        if one.state == "begins":
            one.state = "holds"
        elif one.state == "heals":
            one.state = "over"
            if not one.detail:
                one.healed_ns = now_ns()
                self._mark(one.healed_ns, f"healed: {one.fault.label}: {one.number + 1} of {one.fault.times}")

    def _inject(self, one: Injection) -> Task:
        fault, target, cast = one.fault, one.fault.on, self._cast
        if target.part in _GROUND:
            return self._blocking(self._strike, one)
        actors = cast.named(target)
        if not any(actor.state == "runs" for actor in actors):
            one.detail = f"{fault.target} was not running"
        if fault.kind == "away":
            return cast.leave(actors)
        if fault.kind == "kill":
            cast.kill(actors)
        elif fault.kind == "pause":
            cast.freeze(actors)
        else:
            cast.slow(actors, fault.processing_s)
        return lambda: True

    def _mend(self, one: Injection) -> Task:
        fault, target, cast = one.fault, one.fault.on, self._cast
        if target.part in _GROUND:
            return self._blocking(self._mend_struck, one)
        actors = cast.named(target)
        if fault.kind == "pause":
            cast.thaw(actors)
        elif fault.kind == "slow":
            groups = [name for name, _ in cast.workload.groups]
            usual = cast.workload.processing_s[groups.index(target.group)] if cast.workload.processing_s else 0.0
            cast.slow(actors, usual)
        elif target.part == "producer" and now_ns() >= cast.end_ns:
            one.detail = "not started again: the load was over"
        else:
            return cast.start_again(actors)
        return lambda: True

    def _strike(self, one: Injection) -> None:
        """Find out which node or link is meant, and break it."""
        fault, ground = one.fault, self._ground
        node = ground.link(fault.on)
        if node == LEADER:
            assert ground.server is not None
            node = leader(ground.server, self._cast.session.wiring)
        one.node = node
        if fault.kind == "network":
            assert ground.links is not None
            ground.links.add(node, fault.toxic, fault.direction, dict(fault.attributes))
            return
        server = ground.server
        assert server is not None
        {"kill": server.kill, "pause": server.pause, "stop": server.stop_node}[fault.kind](node)

    def _mend_struck(self, one: Injection) -> None:
        """Heal the node or link that was broken."""
        server, links = self._ground.server, self._ground.links
        if one.fault.kind == "network":
            assert links is not None
            links.clear(one.node)
            return
        assert server is not None
        if one.fault.kind == "pause":
            server.resume(one.node)
        else:
            self._restart(one.node)

    def _restart(self, node: str) -> None:
        """Start a node again; what a server in memory has lost with it (queues, groups) is made again."""
        server = self._ground.server
        assert server is not None
        server.restart(node)
        if any(one.name == node and one.role in INNER for one in server.nodes):
            return  # topics are the brokers'; and with another node down, making them anew may have to wait for its own heal
        try:
            self._cast.session.prepare_again()
        except (AdapterError, OSError) as error:
            raise ServerError(f"{node} was started again, but topics and queues could not be made: {error}") from error

    def _blocking(self, call: Callable[[Injection], None], one: Injection) -> Task:
        future = self._pool.submit(call, one)

        def done() -> bool:
            if not future.done():
                return False
            future.result()
            return True

        return done
