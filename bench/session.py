"""One variant made ready: its adapter, its wiring, its endpoints. Lives for a series; runs its trials.

wire -> (servers are up) -> prepare -> consumers -> producers -> canaries until the way is open -> trials -> close.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from adapters import AdapterClass
from adapters.base import DeadLetters, Group, HasDepth, Topology, Wiring, WritesOutputs
from adapters.capabilities import Assignment
from adapters.errors import AdapterError, Unreachable
from bench import sockets
from bench.audit import ConsumerSource
from bench.clock import now_ns, sleep_until
from bench.dead_letters import Letters
from bench.deployment import options_of
from bench.engine.local import HERE, Endpoint, EndpointFailed, Interpreter, LocalEngine, Silent
from bench.errors import BenchError
from bench.faults.links import Ways
from bench.header import run_number
from bench.machine import Nodes, Watch
from bench.outputs import Outputs
from bench.placement import Placement, usable
from bench.spec import Variant
from bench.waiting import settled
from bench.workload import Workload

if TYPE_CHECKING:
    from bench.faults.depth import Depth

_START_S = 40.0
_READY_S = 40.0
_STEADY_NS = 1_000_000_000  # assignments unchanged for so long count as settled
LEAD_NS = 40_000_000  # between "go" and the start: every endpoint has heard of it
FLUSH_SLACK_S = 8.0
_LAST_NS = 2_000_000_000  # at least so long for what comes after the deliveries: refused messages into their queue, outputs
_QUIET_NS = 20_000_000  # a duplicate that follows closely belongs to this trial
_REPEATED_NS = 1_000_000_000
_PROGRESS_NS = 20_000_000


class NotReady(EndpointFailed):
    """Canaries did not come through; the text says from whom to whom."""


class AdapterBug(EndpointFailed):
    """An adapter raised what is no adapters.errors; the text says what and where."""


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Around calls of an adapter in the runner's process: a bug of one adapter is that variant's failure, not the run's."""
    try:
        yield
    except (AdapterError, BenchError, OSError):
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise AdapterBug(f"{type(error).__name__}: {error} (a bug of its adapter, at {last.filename}:{last.lineno})") from error


@dataclass(frozen=True)
class Journal:
    """Whose evidence one journal is. A process that is started again has one of its own: ``epoch`` 1, 2, ..."""

    name: str
    role: str  # "producer", "consumer"
    number: int  # of the producer, or of the member
    group: str = ""
    epoch: int = 0

    @property
    def who(self) -> str:
        """As faults name it: "producer.0", "consumer.inventory.0"."""
        return f"consumer.{self.group}.{self.number}" if self.group else f"producer.{self.number}"


@dataclass
class Raw:
    """What one trial gave, before it is made into figures."""

    go_ns: int
    producers: list[dict[str, Any]]
    consumers: list[dict[str, Any]]
    nodes: list[dict[str, Any]]
    before: dict[str, int]  # journal positions by endpoint name
    after: dict[str, int]
    drained_s: float | None  # None: the deadline passed
    still_moving: bool  # messages were still arriving at the deadline
    machine: dict[str, Any]  # bench.machine.Watch
    journals: list[Journal]  # of ``before`` and ``after``: producers, then consumers
    events: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)  # "faults" of trial.json, as far as the runner saw them
    tick_s: float | None = None  # what was possible of the tick that was asked for; None: not said
    dead: Sequence[ConsumerSource] = ()  # what lay in dead-letter queues: bench.dead_letters
    depth: Mapping[str, Depth] = field(default_factory=dict)  # of groups that miss something
    outputs: Sequence[ConsumerSource] = ()  # what consumers wrote, where that is what counts: bench.outputs
    leaders: Sequence[dict[str, Any]] = ()  # "leaders" of trial.json: bench.leaders
    health: Sequence[dict[str, Any]] = ()  # "health" of trial.json: bench.health


class Session:
    """A variant with its endpoints. ``open`` once, ``trial`` many times, ``close`` always."""

    def __init__(
        self, adapter_class: AdapterClass, variant: Variant, workload: Workload, *,
        run_id: str, engine: LocalEngine, evidence: Path, number: int, payload_bytes_max: int, interpreter: Interpreter = HERE,
    ) -> None:  # fmt: skip
        self.variant = variant
        self._interpreter = interpreter
        options = options_of(variant, batch=workload.batch, ack_every=workload.ack_every, payload_bytes_max=payload_bytes_max)
        with own_errors():
            self.adapter = adapter_class(options)
        self._spec = {
            "adapter": f"{type(self.adapter).__module__}:{type(self.adapter).__qualname__}",
            "options": asdict(options), "run_id": run_id, "evidence": str(evidence), "groups": [name for name, _ in workload.groups],
            "workload": workload.to_json(),
        }  # fmt: skip
        self._workload = workload
        self.engine = engine
        self.evidence = evidence
        self._prefix = f"{number:03d}-{variant.id}"
        self._wiring: Wiring | None = None
        self.ways: Ways | None = None  # proxies before what its endpoints connect to
        self._prepared = False
        self._letters: Letters | None = None
        self.outputs: Outputs | None = None
        self._placement: Placement | None = None
        topology = Topology(workload.producers, tuple(Group(name, members) for name, members in workload.groups), workload.partitions)
        self._topology = topology
        self._run_id = run_id
        self.producers: list[Endpoint] = []
        self.consumers: list[Endpoint] = []
        self.members: list[tuple[str, int]] = [(name, member) for name, count in workload.groups for member in range(count)]
        self.events: list[dict[str, Any]] = []

    # ---- opening

    @property
    def wiring(self) -> Wiring:
        """Addresses and names, as the adapter made them."""
        assert self._wiring is not None
        return self._wiring

    def wire(self) -> None:
        """Ask the adapter for addresses and names; raises Unsupported where the topology is beyond the system."""
        self._wiring = self.adapter.wire(self._topology, self._run_id)

    def open(
        self, servers: Sequence[str], placement: Placement | None = None, ways: Callable[[Wiring], Ways] | None = None
    ) -> None:  # fmt: skip
        """Prepare topics and queues, start the endpoints, wait until canaries of every producer have come through.

        ``placement``: the cores of each endpoint; None = where the kernel puts them. ``ways``: makes the proxies that endpoints are led
        through, where the network will be broken.
        """
        if self._wiring is None:
            self.wire()
        self.wiring["servers"] = list(servers)
        with own_errors():
            self._wiring = self.adapter.prepare(self.wiring)
        self._prepared = True
        names, run = [name for name, _ in self._workload.groups], run_number(self._run_id)
        if self.adapter.capabilities.dead_letters:
            queues = cast("DeadLetters", self.adapter)
            self._letters = Letters(queues, self._wiring, names, run=run, evidence=self.evidence, prefix=self._prefix)
        if self.adapter.capabilities.judged_on_outputs:
            stages = cast("WritesOutputs", self.adapter)
            with own_errors():
                self.outputs = Outputs(stages, self._wiring, names, run=run, evidence=self.evidence, prefix=self._prefix)
        self._placement = placement
        self.ways = None if ways is None else ways(self._wiring)
        for name, member in self.members:
            self.launch("consumer", member, name)
        if self.adapter.capabilities.consumer_listens:  # else both sides start at once
            self.consumers = self._arrivals("consumer")
        for index in range(self._workload.producers):
            self.launch("producer", index)
        self.consumers = self.consumers or self._arrivals("consumer")
        self.producers = self._arrivals("producer")
        self._await_ready()

    def name_of(self, role: str, rest: str) -> str:
        """Return the name of an endpoint, and of its journal."""
        return f"{self._prefix}-{role}-{rest}"

    def launch(self, role: str, number: int, group: str = "", epoch: int = 0, entering: Mapping[str, Any] | None = None) -> Journal:
        """Start an endpoint, also one in place of another that has ended (``epoch`` > 0); return whose journal it writes.

        ``entering``: "workload" and "entering" (trial, at) of a trial that a consumer takes part in from its first poll on.
        """
        placed = self._placement
        more: dict[str, Any]
        if role == "producer":
            cores = [placed.producers[number]] if placed else []
            rest, more = str(number), {"index": number}
        else:
            cores = [placed.consumers[self.members.index((group, number))]] if placed else []
            rest, more = f"{group}-{number}", {"group": group, "member": number}
        name = self.name_of(role, f"{rest}-e{epoch}" if epoch else rest)
        spec = self._spec | {"role": role, "name": name, "wiring": self._told(role), "cores": cores} | more
        self.engine.start(spec | dict(entering or {}), self.evidence, self._interpreter)
        return Journal(name, role, number, group, epoch)

    def _told(self, role: str) -> Wiring | None:
        """Return an endpoint's wiring: through the proxies, but for a peer that listens on its own address."""
        if self._wiring is None or self.ways is None:
            return self._wiring
        listening = "" if self._wiring["servers"] else "consumer" if self.adapter.capabilities.consumer_listens else "producer"
        return self._wiring if role == listening else self.ways.told(self._wiring)

    def _arrivals(self, role: str) -> list[Endpoint]:
        members = [f"{name}-{member}" for name, member in self.members]
        rests = members if role == "consumer" else [str(i) for i in range(self._workload.producers)]
        return self.engine.arrivals([self.name_of(role, rest) for rest in rests], _START_S)

    def _await_ready(self) -> None:
        deadline = now_ns() + int(_READY_S * 1e9)
        while not all(self._state(producer)["ready"] for producer in self.producers):
            if now_ns() > deadline:
                raise NotReady(f"{self.variant.id}: a producer was not connected after {_READY_S:.0f} s{self._last_events()}")
            sleep_until(now_ns() + 20_000_000)
        for endpoint in self.consumers:
            endpoint.send({"do": "canaries", "on": True})
        for endpoint in self.producers:
            endpoint.send({"do": "canaries", "on": True, "workload": self._workload.to_json()})
        watch = _Readiness(self._workload, self.members, self.adapter.capabilities.assignment)
        while not watch.open([self._state(consumer) for consumer in self.consumers], now_ns()):
            if now_ns() > deadline:
                raise NotReady(f"{self.variant.id}: after {_READY_S:.0f} s {watch.missing()}{self._last_events()}")
            sleep_until(now_ns() + 25_000_000)
        for endpoint in (*self.producers, *self.consumers):
            endpoint.send({"do": "canaries", "on": False})

    def _state(self, endpoint: Endpoint) -> dict[str, Any]:
        state = endpoint.ask({"do": "state"}, "state", 30.0)
        self.note(endpoint.name, state["events"])
        return state

    def note(self, who: str, events: Sequence[dict[str, Any]]) -> None:
        """Keep events of a trial; ``who``: an endpoint's name."""
        self.events += [{"who": who.removeprefix(f"{self._prefix}-"), **event} for event in events]

    def _last_events(self) -> str:
        told = [f"{event['who']}: {event['kind']} {event['detail']}".strip() for event in self.events if event["detail"]][-3:]
        return "".join(f"\n    {line}" for line in told)

    # ---- one trial

    def settle(self, workload: Workload, *, nodes: int) -> Workload:
        """Begin the events of a trial, and return what is possible here of what it asks for (bench.waiting)."""
        self.events = []
        workload, why = settled(workload, self.adapter.capabilities, nodes=nodes, cores=len(usable()))
        if why:
            self.events.append({"who": "producers", "t_ns": now_ns(), "kind": "tick", "detail": why})
        return workload

    def trial(self, number: int, workload: Workload, nodes: Sequence[Any], watch: Callable[[], None], idle: Iterable[int] = ()) -> Raw:
        """Run one trial; ``watch`` is called several times a second and may raise to end it (a dead server, Ctrl-C).

        ``idle``: pids of the run's other systems, whose CPU in the window is told apart from strangers'.
        """
        workload = self.settle(workload, nodes=len(nodes))
        everybody = [*self.producers, *self.consumers]
        if self.outputs is not None:
            self.outputs.begin(number, workload)
        before = {}
        for endpoint in everybody:
            endpoint.send({"do": "prepare", "trial": number, "workload": workload.to_json()})
        for endpoint in everybody:
            before[endpoint.name] = endpoint.expect("prepared", 30.0)["position"]
        held = self._sockets()
        go = now_ns() + LEAD_NS
        for endpoint in everybody:
            endpoint.send({"do": "go", "at": go})
        start = go + int(workload.warmup_s * 1e9)
        end = start + int(workload.measure_s * 1e9)
        _sleep(start, watch)
        used, around = Nodes(nodes), Watch(idle)
        _sleep(end, watch)
        node_rows, machine = used.end(), around.end(workload.measure_s)
        deadline = end + int(workload.drain_s * 1e9)
        for producer in self.producers:
            expect(producer, "done", deadline + int((workload.drain_s + FLUSH_SLACK_S) * 1e9), watch)
        reports = [producer.ask({"do": "report"}, "report") for producer in self.producers]
        confirmed, latest_ns = self._confirmed(reports), max(deadline, now_ns() + 500_000_000)
        drained_ns, moving = self._drain(confirmed, latest_ns, watch)
        if self.outputs is not None:  # those of the last come with their acknowledgement, after they were counted
            wanted = dict(zip((name for name, _ in self._workload.groups), confirmed, strict=True))
            drained_ns, moving = self.outputs.collect(wanted, max(latest_ns, now_ns() + _LAST_NS), watch)
        dead = self.dead_letters(number, self._given_back(), deadline, watch)
        received = [consumer.ask({"do": "report"}, "report") for consumer in self.consumers]
        after = {endpoint.name: report["position"] for endpoint, report in zip(everybody, [*reports, *received], strict=True)}
        for endpoint, report in zip(everybody, [*reports, *received], strict=True):
            self.note(endpoint.name, report.pop("events"))
        self._note_silent(held)
        for consumer in self.consumers:
            consumer.send({"do": "rest"})
        drained_s = None if drained_ns is None else max(0, drained_ns - end) / 1e9
        return Raw(
            go, reports, received, node_rows, before, after, drained_s, moving, machine, self.journals(), self.events,
            tick_s=workload.tick_s, dead=dead, outputs=self.outputs.sources() if self.outputs is not None else (),
        )  # fmt: skip

    def journals(self) -> list[Journal]:
        """Return whose journals its endpoints write: producers, then consumers."""
        senders = [Journal(endpoint.name, "producer", index) for index, endpoint in enumerate(self.producers)]
        return senders + [
            Journal(endpoint.name, "consumer", member, group)
            for endpoint, (group, member) in zip(self.consumers, self.members, strict=True)
        ]

    def prepare_again(self) -> None:
        """Make topics and queues once more: those of a server in memory are gone when it was killed. Idempotent (adapters.base)."""
        with own_errors():
            self._wiring = self.adapter.prepare(self.wiring)

    def _sockets(self) -> dict[sockets.Held, frozenset[str]]:
        """Sockets of each endpoint that connects: where consumers listen, theirs come and go with the producers'."""
        capabilities = self.adapter.capabilities
        if capabilities.pooled:
            return {}
        connecting = self.producers if capabilities.consumer_listens else [*self.producers, *self.consumers]
        pids = {endpoint.name.removeprefix(f"{self._prefix}-"): endpoint.process.pid for endpoint in connecting}
        return {(who, pid): sockets.of(pid) for who, pid in pids.items()}

    def _note_silent(self, held: Mapping[sockets.Held, frozenset[str]]) -> None:
        """Note an endpoint whose connections are not those that it had before the trial, and whose adapter did not say so."""
        told = {event["who"] for event in self.events if event["kind"] in ("reconnected", "closed", "error")}
        for who, count in sockets.unannounced(held, self._sockets(), told).items():
            detail = f"{count} of its sockets were replaced, and its adapter told nothing of it"
            self.events.append({"who": who, "t_ns": now_ns(), "kind": "unannounced", "detail": detail})

    def pids(self) -> list[int]:
        """Of its endpoints."""
        return [endpoint.process.pid for endpoint in (*self.producers, *self.consumers)]

    def check(self) -> None:
        """Raise EndpointFailed when one of the endpoints has ended."""
        for endpoint in (*self.producers, *self.consumers):
            if endpoint.process.poll() is not None:
                raise EndpointFailed(endpoint.why())

    def _confirmed(self, reports: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return how many messages were confirmed to each group: what a drain waits for."""
        sums = [sum(column) for column in zip(*(report["confirmed_by_group"] for report in reports), strict=True)]
        return sums if len(sums) > 1 else sums * len(self._workload.groups)

    def _drain(self, confirmed: Sequence[int], deadline_ns: int, watch: Callable[[], None]) -> tuple[int | None, bool]:
        """Wait until every group has received what was confirmed to it, and nothing has come for a moment.

        Return when the last came (None: not by the deadline) and whether messages still came in the last second before the
        deadline. Counts are a hint: a group that has more than was confirmed to it got some twice, and others may still be
        under way; then the moment is a second. The journals decide afterwards.
        """
        moved_ns, last = now_ns(), -1
        while True:
            counts = dict.fromkeys((name for name, _ in self._workload.groups), 0)
            for (group, _), consumer in zip(self.members, self.consumers, strict=True):
                counts[group] += int(consumer.ask({"do": "progress"}, "progress", 30.0)["count"])
            now = now_ns()
            if sum(counts.values()) != last:
                moved_ns, last = now, sum(counts.values())
            more = [count - wanted for count, wanted in zip(counts.values(), confirmed, strict=True)]
            if min(more) >= 0 and now - moved_ns >= (_REPEATED_NS if max(more) else _QUIET_NS):
                return moved_ns, False
            if now > deadline_ns:
                return None, now - moved_ns < 1_000_000_000
            watch()
            sleep_until(now + _PROGRESS_NS)

    def _given_back(self) -> dict[str, int]:
        """How many messages each group's consumers have given back (poison), as they count them."""
        wanted = dict.fromkeys((name for name, _ in self._workload.groups), 0)
        if self._letters is not None:
            for (group, _), consumer in zip(self.members, self.consumers, strict=True):
                told = consumer.ask({"do": "progress"}, "progress", 30.0)
                wanted[group] = max(wanted[group], int(told["poison"]))  # the same message may have come to several members
        return wanted

    def dead_letters(
        self, trial: int, wanted: Mapping[str, int], deadline_ns: int, watch: Callable[[], None]
    ) -> Sequence[ConsumerSource]:  # fmt: skip
        """Journal what the broker has given up; wait until it holds what consumers have given back (poison): ``wanted``, by group."""
        if self._letters is None:
            return ()
        with own_errors():
            return self._letters.collect(trial, wanted, max(deadline_ns, now_ns() + _LAST_NS), watch)

    def depth(self, group: str) -> int | None:
        """Ask the system how many messages it still holds for a group; None where it cannot say. Raises Unreachable: it does not answer."""
        if not isinstance(self.adapter, HasDepth) or self._wiring is None:
            return None
        try:
            with own_errors():
                return self.adapter.depth(self._wiring, group)
        except (AdapterError, AdapterBug, OSError) as error:
            self.events.append({"who": f"group {group}", "t_ns": now_ns(), "kind": "depth", "detail": f"cannot be asked: {error}"})
            if isinstance(error, Unreachable | OSError):
                raise Unreachable(str(error)) from error
            return None

    # ---- closing

    def close(self) -> None:
        """End the endpoints and remove what was made on the server. Idempotent; errors of a dead server are left alone."""
        self.engine.stop([*self.producers, *self.consumers])
        self.engine.abandon()
        self.producers, self.consumers = [], []
        if self._letters is not None:
            self._letters.close()
        if self.outputs is not None:
            with contextlib.suppress(AdapterBug, OSError), own_errors():
                self.outputs.close()
        if self._prepared and self._wiring is not None:
            self._prepared = False
            with contextlib.suppress(AdapterError, AdapterBug, OSError), own_errors():
                self.adapter.cleanup(self._wiring)


def _sleep(until_ns: int, watch: Callable[[], None]) -> None:
    while (now := now_ns()) < until_ns:
        watch()
        sleep_until(min(until_ns, now + 100_000_000))


def expect(endpoint: Endpoint, kind: str, deadline_ns: int, watch: Callable[[], None]) -> None:
    """Wait for a word of an endpoint; raises Silent where it has not come by ``deadline_ns``."""
    while True:
        watch()
        try:
            endpoint.expect(kind, 0.1)
        except Silent:
            if now_ns() >= deadline_ns:
                raise
        else:
            return


class _Readiness:
    """Decides from the consumers' states when the way is open (design.md, Readiness)."""

    def __init__(self, workload: Workload, members: Sequence[tuple[str, int]], assignment: Assignment) -> None:
        self._producers = set(range(workload.producers))
        self._partitions = set(range(workload.partitions))
        self._members = members
        self._assignment = assignment
        self._owned: list[tuple[int, ...] | None] = [None] * len(members)
        self._changed_ns = 0
        self._seen: list[set[tuple[int, int]]] = [set() for _ in members]

    def open(self, states: Sequence[Mapping[str, Any]], now: int) -> bool:
        """Take the members' states; say whether every producer reaches every group as it should."""
        for i, state in enumerate(states):
            self._seen[i] |= {(producer, lane) for producer, lane in state["seen"]}
            for event in state["events"]:
                if event["kind"] == "assigned" and event["partitions"] is not None and self._owned[i] != tuple(event["partitions"]):
                    self._owned[i] = tuple(event["partitions"])
                    self._changed_ns = now
        if self._assignment is Assignment.PARTITIONS:
            return self._owned_well() and now - self._changed_ns > _STEADY_NS and not self.missing()
        return not self.missing()

    def _owned_well(self) -> bool:
        for group in {name for name, _ in self._members}:
            owned = [self._owned[i] for i, (name, _) in enumerate(self._members) if name == group]
            parts = [part for some in owned if some is not None for part in some]
            if None in owned or len(parts) != len(set(parts)) or set(parts) != self._partitions:
                return False
        return True

    def missing(self) -> str:
        """Say what has not come through yet; empty when all has."""
        if self._assignment is Assignment.SHARED:
            for group in dict(self._members):
                seen = {producer for i, (name, _) in enumerate(self._members) if name == group for producer, _ in self._seen[i]}
                if seen != self._producers:
                    return f'group "{group}" has seen canaries of producers {sorted(seen)} of {sorted(self._producers)}'
            return ""
        for i, (group, member) in enumerate(self._members):
            if self._owned[i] == ():
                continue  # more members than partitions: this one has nothing to see
            seen = {producer for producer, _ in self._seen[i]}
            if seen != self._producers:
                return f'member {member} of group "{group}" has seen canaries of producers {sorted(seen)} of {sorted(self._producers)}'
        if self._assignment is Assignment.PARTITIONS and not self._owned_well():
            owned = "; ".join(f"{group}.{member}: {parts}" for (group, member), parts in zip(self._members, self._owned, strict=True))
            return f"the partitions were not shared out, each to one member of a group ({owned})"
        return ""
