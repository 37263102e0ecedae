"""What a run stands on: its variants' adapters, servers, sessions and endpoints, and one trial at a time on them.

`run` goes through a plan, `capacity` finds its way as it goes; both do their trials here. One system's misfortune is its own: a
trial that fails is recorded with its reason and the rest goes on. Every trial is on disk before the next begins. However the
run ends, the guard sees to it that nothing of it is left running.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import adapters
from adapters import AdapterClass
from adapters.base import Adapter, Wiring
from adapters.errors import AdapterError, BadSetting, NotInstalled, Unsupported
from bench import environment, health, leaders, quotas, servers, trial
from bench.clock import now_ns, utc_now
from bench.deployment import Deployment, Place, options_of, place_of
from bench.engine.local import ENDPOINT, HERE, EndpointFailed, Interpreter, LocalEngine
from bench.errors import BenchError, Interrupted, ServerError, UsageError
from bench.faults import trial as faulted
from bench.faults.inject import Ground
from bench.faults.links import ALL, Links, Ways
from bench.guard import Guard
from bench.histogram import Histogram, Slice
from bench.placement import UNPINNED, Decision, Placement, assign, decide, pin, usable
from bench.plan import Planned
from bench.progress import Progress
from bench.scenario import Scenario
from bench.servers.base import Server
from bench.session import AdapterBug, Raw, Session, own_errors
from bench.spec import Variant
from bench.store import RunWriter
from bench.workload import Workload

_WATCH_NS = 250_000_000
_TRIES = 2  # sessions of a variant that may fail before the rest of its trials is not tried


class NotTried(EndpointFailed):
    """A trial of a variant whose trials have failed too often."""


@dataclass
class Entry:
    """A variant of this run: what it runs through, or why it does not run."""

    variant: Variant
    adapter_class: AdapterClass
    adapter: Adapter  # of default options: for what is printed of a variant that did not run
    place: Place | None
    session: Session | None = None
    failures: int = 0
    interpreter: Interpreter = HERE  # of its endpoints
    client_version: str | None = None  # of its endpoints, where that is not the runner's
    floor: bool = False  # measured beside the systems: the scenario's asks are not put to it
    unsupported: dict[tuple[Any, ...], str] = field(default_factory=dict)  # by wiring key


@contextlib.contextmanager
def opened(
    scenario: Scenario, writer: RunWriter, progress: Progress, endpoint: Sequence[str] = ENDPOINT, *, breaks: bool = False
) -> Iterator[Stage]:
    """A stage for one run, and the run's end in its folder: complete, interrupted (KeyboardInterrupt becomes Interrupted), failed.

    ``endpoint``: what Python is given to be an endpoint (bench.calibration has one of its own). ``breaks``: faults will come that are not
    in this scenario: servers are made for them.
    """
    breaks = breaks or any(point.workload.faults or point.workload.distance_s is not None for point in scenario.points())
    status = "failed"
    not_run: list[dict[str, str]] = []
    try:
        decision = decided(scenario)
        captured = environment.capture()
        writer.save_environment(captured | {"placement": captured["placement"] | decision.described()})
        if not decision.pinned or decision.asked == "on":
            progress.say(f"{'pinned' if decision.pinned else 'not pinned'}: {decision.why}")
        with Guard(writer.run_id) as guard, contextlib.closing(LocalEngine(guard, endpoint)) as engine:
            links = Links(guard, writer.folder / "servers") if breaks else None
            deployment = Deployment(guard, writer.folder / "servers", writer.run_id, links)
            stage = Stage(scenario, writer, progress, deployment, engine, decision=decision, links=links)
            not_run = stage.not_run
            try:
                yield stage
            finally:
                stage.close_sessions()
                deployment.stop()
                if links is not None:
                    links.close()
        status = "complete"
    except KeyboardInterrupt as error:
        status = "interrupted"
        raise Interrupted(f"interrupted; what was measured is kept in {writer.folder}") from error
    finally:
        progress.end()
        writer.update_run(not_run=not_run)
        writer.finish(status)


class Stage:
    """Runs trials of a run's variants. Made by `opened`."""

    def __init__(
        self, scenario: Scenario, writer: RunWriter, progress: Progress, deployment: Deployment, engine: LocalEngine, *,
        decision: Decision, links: Links | None = None,
    ) -> None:  # fmt: skip
        self._scenario = scenario
        self._writer = writer
        self._progress = progress
        self._deployment = deployment
        self._engine = engine
        self._decision = decision
        self._links = links
        self._pinned: dict[int, tuple[int, ...]] = {}  # cores of nodes, by pid
        self._evidence = writer.folder / "evidence"
        self._evidence.mkdir(exist_ok=True)
        self._sessions = last_session(writer.folder)
        self.entries: dict[str, Entry] = {}  # by variant id: those that can be run
        self.not_run: list[dict[str, str]] = []
        self._over: list[quotas.Over] = []
        self.failed = 0
        self.violated = 0

    def exit_code(self) -> int:
        """1 where a trial failed or a promise was broken, 3 where nothing could be run, else 0."""
        return 1 if self.failed or self.violated else self.unavailable()

    def unavailable(self) -> int:
        """3 where nothing could be run, or not all of what was required to, else 0."""
        required = os.environ.get("BROKERBENCH_REQUIRE") == "all"
        return ServerError.exit_code if self.not_run and (required or not self.entries) else 0

    # ---- what runs

    def admit(self, variants: Sequence[Variant], floor: Variant | None = None) -> None:
        """Load adapters and start servers; note what cannot be had. The floor is measured only where there is something above it."""
        ready: list[Entry] = []
        for variant in variants:
            try:
                adapter_class, adapter = made(variant)
                entry = Entry(variant, adapter_class, adapter, place_of(variant))
            except NotInstalled as error:
                self._leave_out(variant, str(error))
            except (AdapterError, AdapterBug) as error:
                self._leave_out(variant, f"{type(error).__name__}: {error}")
                self.failed += 1
            else:
                ready.append(entry)
        self._warn({entry.variant.id: entry.adapter for entry in ready})
        reasons = self._deployment.start([entry.place for entry in ready if entry.place is not None], self._progress.say)
        for entry in ready:
            if entry.place in reasons:
                self._leave_out(entry.variant, reasons[entry.place])
            else:
                self.entries[entry.variant.id] = entry
        if floor is not None and self.entries:
            self.entries[floor.id] = Entry(floor, *made(floor), place_of(floor), floor=True)

    def _warn(self, adapters_: Mapping[str, Adapter]) -> None:
        """Say which quotas of its systems the scenario is over, and keep it with the run."""
        found = list(quotas.over(adapters_, self._scenario.points()))
        for line in quotas.lines(found):
            self._progress.say(line)
        self._over += found  # a search for capacity admits one variant after another
        if found:
            self._writer.update_run(quotas=[one._asdict() for one in self._over])

    def _leave_out(self, variant: Variant, reason: str) -> None:
        first, _, rest = reason.removeprefix(f"{variant.system}: ").partition("\n")
        self.not_run.append({"variant": variant.id, "reason": first, "get": rest.strip()})
        self._writer.update_run(not_run=self.not_run)

    def stop_servers(self) -> None:
        """Stop all servers: the next session or trial starts its own anew."""
        self._deployment.stop()

    def renew_server(self, variant: str) -> None:
        """Stop a variant's server: one that answers may be broken all the same, by what was done to it. The next session starts another."""
        self._deployment.retire(self.entries[variant].place)

    def open_all(self, load: Workload) -> None:
        """Open every variant's endpoints before the first trial, so that each trial finds the others idle alike."""
        for entry in self.entries.values():
            with contextlib.suppress(BenchError, AdapterError, OSError):  # its first trial tries again, and records the reason
                self._open(entry, load)
                self._progress.say(f"{entry.variant.id}: ready")

    def _open(self, entry: Entry, load: Workload) -> Session:
        led = load.distance_s is not None or any(fault.kind == "network" for fault in load.faults)
        if entry.session is not None and led and entry.session.ways is None:
            self._close(entry)  # its endpoints are connected directly
        if entry.failures >= _TRIES:
            raise NotTried(f"not tried: {entry.variant.id} has failed {entry.failures} times in this run")
        if entry.session is not None:
            return entry.session
        if load.wiring_key in entry.unsupported:
            raise Unsupported(entry.unsupported[load.wiring_key])
        self._sessions += 1
        session = Session(
            entry.adapter_class, entry.variant, load, run_id=self._writer.run_id, engine=self._engine, evidence=self._evidence,
            number=self._sessions, payload_bytes_max=self._scenario.payload_bytes_max, interpreter=entry.interpreter,
        )  # fmt: skip
        entry.adapter = session.adapter
        try:
            self._check_asks(entry)
            session.wire()
            calls = self._calls(entry, session.wiring) if led else None
            server = self._server(entry, load, session.wiring if calls is None else calls.told(session.wiring))
            ways = self._ways(server, calls) if led else None
            session.open(server.bootstrap if server is not None else (), self._placement(load), ways)
        except Unsupported as error:
            if not led:  # else it may be the network alone that cannot be broken here
                entry.unsupported[load.wiring_key] = str(error)
            session.close()
            raise
        except BaseException:
            session.close()
            raise
        entry.session = session
        return session

    def _calls(self, entry: Entry, wiring: Wiring) -> Ways | None:
        """Return the ways by which a server calls the session's consumers; None where it calls nobody."""
        calls = entry.place is not None and servers.wired(entry.place.system)
        return self._links.of_peers(wiring) if calls and self._links is not None else None

    def _ways(self, server: Server | None, calls: Ways | None) -> Callable[[Wiring], Ways] | None:
        if self._links is None:
            return None
        links = self._links
        links.heal()  # of a trial that failed
        if server is None:
            return links.of_peers
        return lambda _: links.of_server(server) if calls is None else links.of_server(server).with_calls(calls)

    def _server(self, entry: Entry, load: Workload, session: Wiring | None = None) -> Server | None:
        """Return a variant's server, started anew where it has died, on its cores where the run is pinned."""
        server = self._deployment.server(entry.place, session)
        placement = self._placement(load)
        if server is not None and placement is not None:
            for node in server.nodes:
                if node.pid is not None and self._pinned.get(node.pid) != placement.nodes:
                    pin(node.pid, placement.nodes)
                    self._pinned[node.pid] = placement.nodes
        return server

    def _placement(self, load: Workload) -> Placement | None:
        """Return the cores of any variant's processes at a point; None where the kernel chooses."""
        if not self._decision.pinned:
            return None
        consumers = sum(members for _, members in load.groups)
        return assign(self._decision.cores, producers=load.producers, consumers=consumers, nodes=nodes_of(self._scenario))

    def _check_asks(self, entry: Entry) -> None:
        """Raise Unsupported where the scenario asks for more than the variant's mode promises."""
        asks, mode = self._scenario.asks, entry.adapter.mode
        if self._scenario.load.schedule == "closed" and not entry.adapter.capabilities.confirms:
            raise Unsupported("schedule: closed sends the next message when one is confirmed, and this client confirms none")
        if self._scenario.poison and not entry.adapter.capabilities.settle:
            raise Unsupported(f"poison is given back message by message, which this client cannot do in mode {entry.adapter.mode.name}")
        largest = self._scenario.payload_bytes_max
        if largest > entry.adapter.capabilities.payload_bytes_max:
            raise Unsupported(f"a message of {largest:,} B is over its limit of {entry.adapter.capabilities.payload_bytes_max:,} B")
        if entry.floor:
            return
        order = ["none", "at-most-once", "at-least-once", "exactly-once"]
        if asks.delivery == "at-most-once" and mode.delivery.value == "at-least-once":
            raise Unsupported(f"the scenario asks for at-most-once, and mode {mode.name} may deliver twice")
        if asks.delivery != "any" and order.index(mode.delivery.value) < order.index(asks.delivery):
            raise Unsupported(f"the scenario asks for {asks.delivery}, and mode {mode.name} promises {mode.delivery.value}")
        if asks.ordering == "lane" and not entry.adapter.capabilities.order_delivered:
            raise Unsupported(f"the scenario asks for order within a lane, and mode {mode.name} promises: {mode.ordering}")

    # ---- one trial

    def trial(self, planned: Planned) -> tuple[dict[str, Any], dict[str, Histogram]]:
        """Run one trial and write it; return trial.json and its histograms by tag. A failed one has its reason and no histogram."""
        entry = self.entries[planned.variant.id]
        started = utc_now()
        histograms: dict[str, Histogram] = {}
        rows: list[dict[str, Any]] = []
        slices: dict[str, Iterator[Slice]] | None = None
        status, reason = "ok", None
        measured: dict[str, Any] = {}
        try:
            session = self._open(entry, planned.point.workload)
            server = self._server(entry, planned.point.workload)
            record = self._frame(planned, entry, started)
            with leaders.recorded(server, session.wiring) as seen, health.recorded(server) as told:
                raw = self._raw(planned, entry, session, server)
            raw.leaders = seen.rows(raw.go_ns) if seen is not None else ()
            raw.health = told.rows() if told is not None else ()
            histograms, rows = trial.complete(record, raw, session, planned.point.workload, self._evidence)
            slices = trial.over_time(raw, planned.point.workload)
            measured = record
        except Unsupported as error:
            status, reason = "unsupported", str(error)
        except NotTried as error:  # whatever its server is like by now
            status, reason = "failed", str(error)
            self.failed += 1
        except (BenchError, AdapterError, OSError) as error:
            # A ServerError is the reason itself (faults that cannot be healed stop the server); others may follow from a server's death.
            died = None if isinstance(error, ServerError) else self._deployment.dead(entry.place)
            status, reason = "failed", died or str(error)
            entry.failures += 1
            self.failed += 1
        except KeyboardInterrupt:
            stub = self._frame(planned, entry, started)
            self._writer.save_trial(planned.trial, stub | {"status": "interrupted", "reason": "Ctrl-C"}, {}, [])
            raise
        if not measured:
            measured = self._frame(planned, entry, started) | {"status": status, "reason": reason}
        self._writer.save_trial(planned.trial, measured, histograms, rows, slices)
        self._after(entry, measured)
        return measured, histograms

    def _raw(self, planned: Planned, entry: Entry, session: Session, server: Server | None) -> Raw:
        load, watch, idle = planned.point.workload, self._watcher(entry), self._idle(entry)
        if load.distance_s is not None and session.ways is not None:  # anew for each trial: opening another session heals all links
            session.ways.clear(ALL)
            if load.distance_s:
                session.ways.add(ALL, "latency", attributes={"latency": load.distance_s})
        if load.faults:
            beside = self._links.nodes() if self._links is not None and session.ways is not None else ()
            return faulted.run(session, planned.trial, load, Ground(server, session.ways, beside), watch=watch, idle=idle)
        led = self._links.nodes() if self._links is not None and load.distance_s is not None else ()
        idle += [node.pid for node in led if node.pid is not None]  # the proxy's CPU is the run's own, not a stranger's
        return session.trial(planned.trial, load, server.nodes if server else (), watch, idle)

    def _frame(self, planned: Planned, entry: Entry, started: str) -> dict[str, Any]:
        server = self._deployment.running(entry.place)
        frame = trial.frame(planned, entry.adapter, server, run_id=self._writer.run_id, scenario=self._scenario.name, started=started)
        if entry.client_version is not None:
            frame["variant"]["client_version"] = entry.client_version
        placement = self._placement(planned.point.workload)
        return frame | {"placement": UNPINNED if placement is None else placement.described()}

    def _after(self, entry: Entry, record: Mapping[str, Any]) -> None:
        """Say what went wrong; a session that failed or still holds messages is not used again."""
        if record["status"] in ("failed", "unsupported"):
            self._progress.say(f"{entry.variant.id}: {record['status']}: {record['reason']}")
        broken = trial.broken(record)
        if broken:
            self.violated += 1
            self._progress.say(f"{entry.variant.id}: promise broken: {' · '.join(broken)}")
        worn = record["drained_s"] is None or record["faults"]  # still holds messages, or has lost endpoints
        if record["status"] == "failed" or (record["status"] == "ok" and worn):
            self._close(entry)
        if record["status"] == "ok":
            entry.failures = 0

    def _idle(self, entry: Entry) -> list[int]:
        """Pids of this run's servers and endpoints that have no part in a trial of ``entry``."""
        sessions = [other.session for other in self.entries.values() if other is not entry and other.session is not None]
        return [*self._deployment.pids(without=entry.place), *(pid for session in sessions for pid in session.pids())]

    def _watcher(self, entry: Entry) -> Callable[[], None]:
        last_ns = [now_ns()]

        def watch() -> None:
            self._progress.tick()
            now = now_ns()
            if now - last_ns[0] < _WATCH_NS:
                return
            last_ns[0] = now
            self._engine.check()
            if entry.session is not None:
                entry.session.check()
            reason = self._deployment.dead(entry.place)
            if reason is not None:
                raise ServerError(reason)

        return watch

    def _close(self, entry: Entry) -> None:
        session, entry.session = entry.session, None
        if session is not None:
            session.close()

    def close_sessions(self) -> None:
        """End all endpoints; servers stay. Idempotent."""
        for entry in self.entries.values():
            self._close(entry)


def nodes_of(scenario: Scenario) -> int:
    """How many server nodes are at work at a time: of the variant that has most."""
    return max(int(variant.server_options.get("nodes", "1")) if place_of(variant) else 0 for variant in scenario.variants())


def decided(scenario: Scenario) -> Decision:
    """Whether a run of this scenario is pinned here, by its largest point."""
    loads = [point.workload for point in scenario.points()]
    endpoints = max(load.producers + sum(members for _, members in load.groups) for load in loads)
    return decide(scenario.pin, usable(), endpoints=endpoints, nodes=nodes_of(scenario), quota=environment.quota())


def made(variant: Variant) -> tuple[AdapterClass, Adapter]:
    """Return a variant's adapter class and an adapter of its profile, mode and settings; UsageError where it knows them not."""
    adapter_class = adapters.load(variant.system, variant.client)
    try:
        with own_errors():
            return adapter_class, adapter_class(options_of(variant))
    except BadSetting as error:
        raise UsageError(f'"{variant.spec}": {error}') from error


def absent(not_run: Sequence[Mapping[str, str]]) -> ServerError:
    """What to raise where nothing is worth measuring without all variants: the first that cannot be had, and how to get it."""
    first = not_run[0]
    return ServerError(f"{first['variant']}: {first['reason']}" + (f"\n{first['get']}" if first["get"] else ""))


def last_session(folder: Path) -> int:
    """The number of the last session of a run that goes on: one that was cut off has journals and no trial."""
    trials = sum(1 for _ in (folder / "trials").glob("[0-9]*"))
    numbers = (path.name.partition("-")[0] for path in (folder / "evidence").iterdir())
    return max([trials, *(int(number) for number in numbers if number.isdigit())])
