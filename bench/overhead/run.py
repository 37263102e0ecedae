"""Measures every variant on the harness and on its bare loops, block by block; what is measured is on disk before the next block.

Both sides are one producer and one consumer process on loopback, fresh for each lane of a block, through the same server,
with the same settings (the bare loop is given what the adapter says is in force), the same batch, one partition. The
harness sends and checks real messages (header, time stamps, journal, body check, histograms, audit); the bare loop
(bench/overhead/bare) a constant payload, and counts. Rate = messages that arrived in the window. CPU = of the process, a
message that it sent or received. Memory = the most it ever had resident.
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

import adapters
from adapters.base import Adapter, Group, Topology
from adapters.errors import AdapterError
from bench import environment, plan, scenario, spec, trial, units
from bench.clock import utc_now
from bench.deployment import Deployment, Place, options_of, place_of
from bench.engine.local import LocalEngine
from bench.errors import BenchError, EnvironmentProblem, Interrupted, UsageError
from bench.guard import Guard
from bench.overhead.figures import BARE, DISTINCT, HARNESS, PUBLIC
from bench.overhead.pair import Pair
from bench.overhead.record import FILE, KIND, Asked, Measured, Record, read, same_machine
from bench.scenario import Scenario
from bench.servers.base import Server
from bench.session import Session
from bench.store import RunWriter
from bench.usage import peak_b
from bench.workload import Point, Workload

SYSTEMS = (
    "tcp", "zeromq", "zeromq,profile=tuned", "kafka", "kafka,profile=tuned", "kafka,client=confluent-kafka",
    "kafka,client=confluent-kafka,profile=tuned", "rabbitmq", "rabbitmq,profile=tuned", "rabbitmq_streams",
    "sqs", "sqs,profile=tuned", "redis_pubsub", "redis_pubsub,profile=tuned", "redis_streams", "kinesis",
    "nats", "nats,mode=core",
)  # fmt: skip
"""Every adapter in every profile it has."""
SIZES = ("100 B", "1 KiB")
ROUNDS = 10
BATCH = 256
WARMUP_S = 0.5
PAYLOADS = 256  # that differ, of the lane "distinct": as many bodies as the harness has
FAILURES_MAX = 3  # of one variant: then it is left
LOAD_MAX = 0.25  # of each core, by others
STEAL_MAX = 0.02
_OTHER_S = 1.6  # of a lane, beside warm-up and window: processes, readiness, audit
_SCENARIO = """
name: overhead
title: "What the harness costs: each client against a bare loop"
systems: [{systems}]
topology: {{producers: 1, groups: {{reader: 1}}, partitions: 1, routing: round-robin}}
sweep: {{size: [{sizes}]}}
load: {{schedule: max}}
timing: {{warmup: {warmup:g} s, measure: {seconds:g} s, drain: 10 s}}
batch: {{send: {batch}, ack_every: {batch}}}
rounds: {rounds}
seed: {seed}
"""

Told = Callable[[str], None]


# ---- what is asked


def described(asked: Asked) -> Scenario:
    """The workload as a scenario: what is kept as scenario.yaml. Raises UsageError for what cannot be measured."""
    for text in asked.systems:
        bare = adapters.module(spec.parse(text).system, spec.parse(text).client)
        if importlib.util.find_spec(f"bench.overhead.bare.{bare}") is None:
            raise UsageError(f"{text}: there is no bare loop to compare with; bench/overhead/bare/{bare}.py would be one")
    given = _SCENARIO.format(
        systems=", ".join(f'"{text}"' for text in asked.systems), sizes=", ".join(units.show_size(size) for size in asked.sizes_b),
        warmup=asked.warmup_s, seconds=asked.window_s, batch=asked.batch, rounds=asked.rounds, seed=asked.seed,
    )  # fmt: skip
    return scenario.parse(given, where="brokerbench overhead")


def lanes_of(variant: spec.Variant, *, distinct: bool) -> list[str]:
    """What is measured in each block. The public API's bare loop stands beside the variant that goes around pyzmq's wrapper."""
    public = [PUBLIC] if (variant.system, variant.profile) == ("zeromq", "tuned") else []
    return [HARNESS, BARE, *public, *([DISTINCT] if distinct else [])]


def expected_s(record: Record) -> float:
    """About how long what is missing takes."""
    asked, lanes = record.asked, 0
    for variant in record.variants:
        blocks = sum(len(record.missing(variant, number)) for number in range(1, asked.rounds + 1))
        lanes += len(lanes_of(spec.parse(variant.variant), distinct=asked.distinct)) * blocks
    return lanes * (asked.warmup_s + asked.window_s + _OTHER_S)


# ---- one variant


class Case:
    """One variant: measures a lane at a size, with processes of its own each time. ``server`` runs meanwhile; None = broker-less."""

    def __init__(
        self, variant: spec.Variant, load: Scenario, *, guard: Guard, engine: LocalEngine, folder: Path, server: Server | None
    ) -> None:
        self.variant = variant
        self._load = load
        self._points: Mapping[int, Point] = {point.size_b: point for point in load.points()}
        self._guard = guard
        self._engine = engine
        self._folder = folder
        self._server = server
        self._nodes = server.nodes if server else ()
        self._count = 0

    def measure(self, lane: str, size_b: int) -> dict[str, Any]:
        """One lane of a block: a sample of overhead.json, but for its position. Raises BenchError, AdapterError, OSError."""
        self._count += 1
        point = self._points[size_b]
        evidence = self._folder / f"{self._count:04d}"
        evidence.mkdir(parents=True)
        try:
            if lane == HARNESS:
                return self._harness(point, evidence)
            return self._bare(point.workload, evidence, public=lane == PUBLIC, distinct=PAYLOADS if lane == DISTINCT else 0)
        finally:
            shutil.rmtree(evidence, ignore_errors=True)

    def _harness(self, point: Point, evidence: Path) -> dict[str, Any]:
        load = point.workload
        session = Session(
            adapters.load(self.variant.system, self.variant.client), self.variant, load, run_id=self._guard.run_id, engine=self._engine,
            evidence=evidence, number=self._count, payload_bytes_max=self._load.payload_bytes_max,
        )  # fmt: skip
        try:
            session.open(self._server.bootstrap if self._server else ())
            raw = session.trial(1, load, self._nodes, session.check)
            planned = replace(plan.make([point], [self.variant], rounds=1)[0], trial=1)
            record = trial.frame(planned, session.adapter, self._server, run_id=KIND, scenario=KIND, started=utc_now())
            trial.complete(record, raw, session, load, evidence)
            producer, consumer = raw.producers[0], raw.consumers[0]
            peaks = [peak_b(endpoint.process.pid) for endpoint in (session.producers[0], session.consumers[0])]
            start_up = {"producer": session.producers[0].start_up, "consumer": session.consumers[0].start_up}
        finally:
            session.close()
        sample = _sample(
            HARNESS, load, (producer["metered"], producer["cpu_ns"]), (consumer["in_window"], consumer["cpu_ns"]), load.measure_s
        )
        audit = record["audit"]["reader"]
        more = {"audit": audit["verdict"], "reasons": audit["reasons"], "start_up": start_up}
        return sample | {"send_peak_b": peaks[0], "receive_peak_b": peaks[1]} | more

    def _bare(self, load: Workload, evidence: Path, *, public: bool, distinct: int) -> dict[str, Any]:
        profile = "defaults" if public else self.variant.profile
        adapter = self._adapter(profile, load)
        wiring = adapter.wire(Topology(1, (Group("reader", 1),), 1), f"{self._guard.run_id}-bare")
        wiring["servers"] = list(self._server.bootstrap) if self._server else []
        wiring = adapter.prepare(wiring)
        common = {
            "bare": adapters.module(self.variant.system, self.variant.client), "profile": profile, "wiring": wiring,
            "size": load.size_b, "batch": load.batch, "ack_every": load.ack_every, "window": load.window, "distinct": distinct,
        }  # fmt: skip
        try:
            with Pair(self._guard, evidence, common, adapter.effective()) as pair:
                sent, received = pair.measure(load.warmup_s, load.measure_s)
        finally:
            with contextlib.suppress(AdapterError, OSError):  # why the pair failed is what is to be told
                adapter.cleanup(wiring)
        lane = PUBLIC if public else DISTINCT if distinct else BARE
        counts = [(side["messages"], side["cpu_ns"]) for side in (sent, received)]
        sample = _sample(lane, load, counts[0], counts[1], received["took_ns"] / 1e9)
        return sample | {"send_peak_b": sent["peak_b"], "receive_peak_b": received["peak_b"], "audit": None, "reasons": [], "start_up": {}}

    def _adapter(self, profile: str, load: Workload) -> Adapter:
        options = options_of(self.variant, batch=load.batch, ack_every=load.ack_every, payload_bytes_max=self._load.payload_bytes_max)
        return adapters.load(self.variant.system, self.variant.client)(replace(options, profile=profile))


def _sample(
    lane: str, load: Workload, sent: tuple[int | None, int | None], received: tuple[int | None, int | None], window_s: float
) -> dict[str, Any]:
    """Rate and CPU; ``sent`` and ``received`` are messages and the CPU time that they took, ns."""
    if not (sent[0] and received[0]) or sent[1] is None or received[1] is None:
        raise EnvironmentProblem(
            f"{units.show_size(load.size_b)}: {sent[0]} sent, {received[0]} received in {load.measure_s:g} s: nothing to compare"
        )
    return {"lane": lane, "rate_per_s": received[0] / window_s, "send_ns": sent[1] / sent[0], "receive_ns": received[1] / received[0]}


# ---- all of them


class Overhead:
    """One sitting: measures what the record lacks into the writer's folder."""

    def __init__(self, record: Record, writer: RunWriter, told: Told) -> None:
        self.record = record
        self.folder = writer.folder
        self._writer = writer
        self._told = told
        self._scenario = described(record.asked)

    def run(self) -> None:
        """Measure it all; raises Interrupted on Ctrl-C. The folder is let go of in any case."""
        started, before = utc_now(), psutil.cpu_times()
        disturbed = disturbances()
        for word in disturbed:
            self._told(f"warning: {word}: trust ratios and CPU a message, not rates")
        here = environment.capture()
        sitting: dict[str, Any] = {"started": started, "ended": None, "environment": here, "disturbed": disturbed, "steal": None}
        status = "failed"
        try:
            same_machine(self.record.sittings, here)
            self.record.sittings.append(sitting)
            self._writer.save_environment(here)
            self._all()
            status = "complete"  # what could not be measured is in the record, with its reason
        except KeyboardInterrupt as error:
            status = "interrupted"
            folder = self._writer.folder
            raise Interrupted(f"interrupted; go on with: brokerbench overhead --resume {folder}") from error
        finally:
            sitting |= {"ended": utc_now(), "steal": environment.stolen(before, psutil.cpu_times())}
            if sitting in self.record.sittings:
                self._save()
            self._writer.finish(status)

    def _save(self) -> None:
        self._writer.save_data(FILE, self.record.to_json())

    def _all(self) -> None:
        folder = self._writer.folder / "servers" / f"sitting-{len(self.record.sittings)}"
        with (
            Guard(f"{self._writer.run_id}-{len(self.record.sittings)}") as guard,
            contextlib.closing(LocalEngine(guard)) as engine,
            tempfile.TemporaryDirectory(prefix="overhead-") as evidence,
        ):
            deployment = Deployment(guard, folder, guard.run_id)
            place: Place | None = None
            try:
                for measured in self.record.variants:
                    if not any(self.record.missing(measured, number) for number in self._rounds()):
                        continue
                    variant = spec.parse(measured.variant)
                    here = place_of(variant)
                    if place != here:  # one server at a time: an idle one takes its share of a small machine too
                        deployment.stop()
                        place = here
                    case = self._ready(measured, variant, here, deployment=deployment, guard=guard, engine=engine, evidence=Path(evidence))
                    if case is not None:
                        self._variant(measured, case)
            finally:
                deployment.stop()

    def _rounds(self) -> range:
        return range(1, self.record.asked.rounds + 1)

    def _ready(
        self, measured: Measured, variant: spec.Variant, place: Place | None, *, deployment: Deployment, guard: Guard, engine: LocalEngine,
        evidence: Path,
    ) -> Case | None:  # fmt: skip
        """The server started and one block thrown away (it warms JVMs and caches); None, with the reason kept, where it does not run."""
        measured.not_run = None
        reason = deployment.start([place], self._told).get(place) if place else None
        if reason is None:
            case = Case(variant, self._scenario, guard=guard, engine=engine, folder=evidence / variant.id, server=deployment.running(place))
            for _ in range(2):  # a first one may find a server that only just answers
                try:
                    for lane in lanes_of(variant, distinct=False):
                        case.measure(lane, self.record.asked.sizes_b[0])
                except (BenchError, AdapterError, OSError) as error:
                    reason = str(error)
                else:
                    return case
        measured.not_run = reason
        self._told(f"{measured.variant}: not run: {reason}")
        self._save()
        return None

    def _variant(self, measured: Measured, case: Case) -> None:
        failed = 0
        for number in (*self._rounds(), *self._rounds()):  # twice: a block that failed is tried again at the end
            sizes = self.record.missing(measured, number)
            order = random.Random(f"{measured.variant}/{self.record.asked.seed}/{number}")
            order.shuffle(sizes)
            for size_b in sizes:
                lanes = lanes_of(case.variant, distinct=self.record.asked.distinct)
                order.shuffle(lanes)
                failed += not self._block(measured, case, number, size_b, lanes)
                self._save()
                if failed >= FAILURES_MAX:
                    self._told(f"{measured.variant}: left after {failed} failures")
                    return

    def _block(self, measured: Measured, case: Case, number: int, size_b: int, lanes: list[str]) -> bool:
        """Measure one block; False where a lane of it failed, the reason kept."""
        at = {"round": number, "size_b": size_b, "sitting": len(self.record.sittings)}
        samples = []
        for position, lane in enumerate(lanes):
            where = f"{measured.variant} · {units.show_size(size_b)} · round {number}/{self.record.asked.rounds} · {lane}"
            try:
                sample = case.measure(lane, size_b) | {"position": position}
            except (BenchError, AdapterError, OSError) as error:
                measured.failures.append({**at, "lane": lane, "reason": str(error)})
                self._told(f"{where}: failed: {error}")
                return False
            samples.append(sample)
            self._told(f"{where}: {sample['rate_per_s']:,.0f}/s, send {sample['send_ns']:,.0f} ns, receive {sample['receive_ns']:,.0f} ns")
        measured.blocks.append({**at, "samples": samples})
        return True


def begin(asked: Asked, results: Path | None, *, command: str, resume: Path | None, told: Told) -> Overhead:
    """A new run's folder, or that of one to go on with (what it was asked decides then). Raises UsageError, EnvironmentProblem."""
    if resume is None:
        load = described(asked)
        return Overhead(Record.of(asked), RunWriter.create(results, load, command=command, kind=KIND), told)
    return Overhead(read(resume), RunWriter.reopen(resume), told)


# ---- the machine


def disturbances(look_s: float = 1.0) -> list[str]:
    """What others do on this machine while nothing is measured: each is a reason to trust the ratios less. Empty = quiet."""
    before = psutil.cpu_times()
    busy = psutil.cpu_percent(look_s) / 100
    steal = environment.stolen(before, psutil.cpu_times())
    load = psutil.getloadavg()[0] / (psutil.cpu_count() or 1)
    found = []
    if busy > LOAD_MAX:
        found.append(f"others use {busy:.0%} of this machine now (quiet: under {LOAD_MAX:.0%})")
    if load > LOAD_MAX * 2:
        found.append(f"the load of the last minute was {load:.1f} a core")
    if steal > STEAL_MAX:
        found.append(f"the hypervisor takes {steal:.0%} of the machine's time")
    return found
