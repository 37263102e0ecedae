"""The endpoints of a trial with faults, and those that are started in their place: killed, frozen, sent away, started again.

A process that is gone, or does not answer, fails nothing here: what it did is in its journal. A restarted producer has the next epoch
in its headers and goes on where the schedule is; a restarted consumer is a new consumer with its name. Both write journals of their
own.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.clock import now_ns
from bench.engine.local import Endpoint, EndpointFailed
from bench.faults.model import Target
from bench.journal import Kind, read
from bench.session import Journal, Session
from bench.workload import Workload

Task = Callable[[], bool]
"""Something under way: called until it says True, never waits."""

_START_NS = 40_000_000_000
_READY_NS = 20_000_000


@dataclass
class Actor:
    """One endpoint process in a trial."""

    journal: Journal
    endpoint: Endpoint
    before: int  # position in its journal when the trial began for it
    first_id: int = 0  # of a producer: the trial's first
    state: str = "runs"  # "runs", "frozen", "leaves", "gone"
    report: dict[str, Any] | None = None  # None of one that was killed


class Cast:
    """All that take part, or have taken part, in one trial."""

    def __init__(self, session: Session, trial: int, workload: Workload, follow: Callable[[Journal, int], None]) -> None:
        """``follow`` is told of each journal and where the trial begins in it."""
        self.session, self.trial, self.workload = session, trial, workload
        self._follow = follow
        self.go_ns = self.end_ns = 0
        self.actors: list[Actor] = []

    def prepare(self) -> None:
        """Tell everybody about the trial; it begins with `go`."""
        endpoints = [*self.session.producers, *self.session.consumers]
        for endpoint in endpoints:
            endpoint.send({"do": "prepare", "trial": self.trial, "workload": self.workload.to_json()})
        for journal, endpoint in zip(self.session.journals(), endpoints, strict=True):
            self.enter(journal, endpoint, endpoint.expect("prepared", 30.0))

    def go(self, at_ns: int) -> None:
        """Start the load at monotonic ``at_ns``."""
        self.go_ns = at_ns
        self.end_ns = at_ns + int((self.workload.warmup_s + self.workload.measure_s) * 1e9)
        for actor in self.actors:
            actor.endpoint.send({"do": "go", "at": at_ns})

    def now(self, role: str) -> list[Actor]:
        """Return those of a role whose processes are there, frozen ones too."""
        return [actor for actor in self.actors if actor.journal.role == role and actor.state != "gone"]

    def named(self, target: Target) -> list[Actor]:
        """Return the latest of each that a target names, gone or not."""
        latest: dict[tuple[str, int, str], Actor] = {}
        for actor in self.actors:
            one = actor.journal
            if one.role == target.part and one.group == target.group and target.number in (None, one.number):
                latest[one.role, one.number, one.group] = actor
        return list(latest.values())

    # ---- what can be done to them

    def kill(self, actors: Sequence[Actor]) -> None:
        """SIGKILL; returns when they are gone."""
        for actor in actors:
            if actor.state != "gone":
                actor.endpoint.process.kill()
        for actor in actors:
            if actor.state != "gone":
                actor.endpoint.process.wait()
                self.session.note(actor.journal.name, [_killed(actor.journal)])
                self._gone(actor)

    def freeze(self, actors: Sequence[Actor]) -> None:
        """SIGSTOP."""
        for actor in actors:
            if actor.state == "runs":
                actor.endpoint.process.send_signal(signal.SIGSTOP)
                actor.state = "frozen"

    def thaw(self, actors: Sequence[Actor]) -> None:
        """SIGCONT, where they stand still."""
        for actor in actors:
            if actor.state == "frozen":
                actor.endpoint.process.send_signal(signal.SIGCONT)
                actor.state = "runs"

    def slow(self, actors: Sequence[Actor], processing_s: float) -> None:
        """Give consumers another time for each message."""
        for actor in actors:
            if actor.state == "runs":
                actor.endpoint.send({"do": "slow", "processing_s": processing_s})

    def leave(self, actors: Sequence[Actor]) -> Task:
        """Have consumers finish what they hold and close in order."""
        leaving = [actor for actor in actors if actor.state == "runs"]
        for actor in leaving:
            actor.endpoint.send({"do": "leave"})
            actor.state = "leaves"
        return lambda: all(self._left(actor) for actor in leaving)

    def start_again(self, actors: Sequence[Actor]) -> Task:
        """Start a process in place of each that is gone: it takes part as soon as it can."""
        starts = [_Start(self, actor) for actor in actors if actor.state == "gone"]
        return lambda: all(start.done() for start in starts)

    def _left(self, actor: Actor) -> bool:
        if actor.state == "gone":
            return True
        message = actor.endpoint.channel.expect(("left", "failed"), 0.0)
        if message is None:
            return False
        if message["is"] == "failed":
            raise EndpointFailed(f"{actor.journal.name}: {message['reason']}")
        actor.report = message
        self.session.note(actor.journal.name, message.pop("events"))
        self._gone(actor)
        return True

    def _gone(self, actor: Actor) -> None:
        """Take an endpoint out of the session, which fails where one of its own has ended."""
        actor.state = "gone"
        for living in (self.session.producers, self.session.consumers):
            with contextlib.suppress(ValueError):
                living.remove(actor.endpoint)
        self.session.engine.stop([actor.endpoint])

    def enter(self, journal: Journal, endpoint: Endpoint, prepared: dict[str, Any]) -> None:
        """Take up an endpoint that is prepared for the trial."""
        self.actors.append(Actor(journal, endpoint, prepared["position"], prepared.get("first_id", 0)))
        self._follow(journal, prepared["position"])

    def attempted(self, actor: Actor) -> int:
        """How many messages of the trial's schedule a producer and those before it have come to, by its journal."""
        rows = read(self.session.evidence, actor.journal.name, actor.before).rows
        rows = rows[(rows["kind"] == Kind.ATTEMPT) & (rows["trial"] == self.trial)]
        return int((rows["first"] + rows["count"]).max()) - actor.first_id if len(rows) else 0

    # ---- the end

    def reports(self, role: str) -> None:
        """Have all of a role that run report."""
        for actor in self.now(role):
            actor.report = actor.endpoint.ask({"do": "report"}, "report", 30.0)
            self.session.note(actor.journal.name, actor.report.pop("events"))

    def after(self, actor: Actor) -> int:
        """Where the trial ends in an actor's journal."""
        if actor.report is not None:
            return int(actor.report["position"])
        return actor.before + len(read(self.session.evidence, actor.journal.name, actor.before).rows)


class _Start:
    """One process that is started in place of another: launched, connected, ready, told of the trial."""

    def __init__(self, cast: Cast, old: Actor) -> None:
        self._cast, self._old = cast, old
        one = old.journal
        entering = {"workload": cast.workload.to_json(), "entering": {"trial": cast.trial, "at": cast.go_ns}}
        self._journal = cast.session.launch(
            one.role, one.number, one.group, one.epoch + 1, entering if one.role == "consumer" else None
        )  # fmt: skip
        self._endpoint: Endpoint | None = None
        self._deadline_ns = now_ns() + _START_NS
        self._ask_ns = 0
        self._done = False

    def done(self) -> bool:
        """Go on as far as it goes without waiting; True when it takes part."""
        if self._done:
            return True
        if now_ns() > self._deadline_ns:
            raise EndpointFailed(f"{self._journal.name} was not ready {_START_NS // 1_000_000_000} s after its start")
        session = self._cast.session
        if self._endpoint is None:
            self._endpoint = session.engine.arrived(self._journal.name)
            if self._endpoint is None:
                return False
            (session.producers if self._journal.role == "producer" else session.consumers).append(self._endpoint)
        if self._journal.role == "consumer":
            self._cast.enter(self._journal, self._endpoint, {"position": 0})
            self._done = True
        elif self._ready(self._endpoint):
            self._enter(self._endpoint)
            self._done = True
        return self._done

    def _ready(self, endpoint: Endpoint) -> bool:
        now = now_ns()
        if now < self._ask_ns:
            return False
        self._ask_ns = now + _READY_NS
        state = endpoint.ask({"do": "state"}, "state", 30.0)
        self._cast.session.note(self._journal.name, state["events"])
        return bool(state["ready"])

    def _enter(self, endpoint: Endpoint) -> None:
        cast, old = self._cast, self._old
        of_trial = {"trial": cast.trial, "workload": cast.workload.to_json()}
        before = {"epoch": self._journal.epoch, "first_id": old.first_id, "sent_before": cast.attempted(old)}
        prepared = endpoint.ask({"do": "prepare", **of_trial, **before}, "prepared", 30.0)
        endpoint.send({"do": "go", "at": cast.go_ns})
        cast.enter(self._journal, endpoint, prepared)


def _killed(journal: Journal) -> dict[str, Any]:
    lost = f"{journal.who} took its latencies and its usage with it; what it did is in its journal"
    return {"t_ns": now_ns(), "kind": "killed", "detail": lost}
