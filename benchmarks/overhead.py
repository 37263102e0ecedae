"""What the harness costs: its rate over the rate of a bare loop of the same client. ``python -m benchmarks.overhead``, `make overhead`.

Both sides are one producer and one consumer process on loopback, through the same server, with the same settings (the
bare loop is given what the adapter says is in force), the same batch, one partition. The harness sends and checks real
messages (header, time stamps, journal, body check, histograms, audit); the bare loop (benchmarks/bare) a constant
payload, and counts. Each round measures every size on both sides in random order; a ratio is of the two of one round,
the median over rounds is printed with a bootstrap interval. Rate = messages that arrived in the window. CPU = of the
process, a message, in microseconds: where cores are shared it is the steadier figure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import adapters
from adapters.base import Group, Topology
from adapters.errors import AdapterError
from bench import environment, plan, scenario, servers, spec, trial, units
from bench.clock import now_ns, utc_now
from bench.engine.local import LocalEngine
from bench.errors import BenchError, EnvironmentProblem, Interrupted
from bench.guard import Guard
from bench.servers.base import Request, Server
from bench.session import Session
from bench.workload import Workload
from benchmarks.bare.pair import Pair

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ("tcp", "zeromq", "zeromq,profile=tuned", "kafka", "rabbitmq", "sqs", "redis_pubsub")
SIZES = ("100 B", "1 KiB")
BATCH = 256
WARMUP_S = 1.0  # whole, so that the harness's counts by the second are those of the window
RESAMPLES = 10_000
LOAD_MAX = 0.25  # of each core, by others, before the start
STEAL_MAX = 0.02
_SCENARIO = """
name: overhead
systems: ["{spec}"]
topology: {{producers: 1, groups: {{reader: 1}}, partitions: 1, routing: round-robin}}
sweep: {{size: [{sizes}]}}
load: {{schedule: max}}
timing: {{warmup: {warmup:g} s, measure: {seconds:g} s, drain: 10 s}}
batch: {{send: {batch}, ack_every: {batch}}}
rounds: 1
"""


@dataclass(frozen=True)
class Sample:
    """One side, measured once: messages a second, CPU of producer and consumer in microseconds a message."""

    side: str  # "bare" or "harness"
    size_b: int
    round: int
    position: int
    rate_per_s: float
    producer_us: float
    consumer_us: float
    audit: str = ""  # the harness's verdict on its own trial


@dataclass(frozen=True)
class Interval:
    """A median with its 95% bootstrap interval."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratio(pairs: Sequence[tuple[float, float]], seed: int = 1) -> Interval:
    """The median of harness over bare, of pairs (bare, harness) above 0, on a log scale; percentile bootstrap over pairs.

    Raises ValueError without pairs. With fewer than six the interval is the range of what was seen, or nearly so.
    """
    logs = np.log([harness / bare for bare, harness in pairs])
    if not logs.size:
        raise ValueError("no round measured both sides")
    drawn = np.random.default_rng(seed).integers(0, logs.size, (RESAMPLES, logs.size))
    low, high = np.quantile(np.median(logs[drawn], axis=1), (0.025, 0.975))
    return Interval(float(np.exp(np.median(logs))), float(np.exp(low)), float(np.exp(high)))


def summed_up(samples: Sequence[Sample], size_b: int) -> dict[str, Any]:
    """Medians of both sides and the paired ratio of the rates for one size."""
    of = {side: {s.round: s for s in samples if s.side == side and s.size_b == size_b} for side in ("bare", "harness")}
    rounds = sorted(of["bare"].keys() & of["harness"].keys())
    result: dict[str, Any] = {"size_b": size_b, "rounds": len(rounds)}
    for side, by_round in of.items():
        for name in ("rate_per_s", "producer_us", "consumer_us"):
            result[f"{side}_{name}"] = float(np.median([getattr(by_round[r], name) for r in rounds])) if rounds else None
    pairs = [(of["bare"][r].rate_per_s, of["harness"][r].rate_per_s) for r in rounds]
    result["ratio"] = ratio(pairs) if pairs else None
    return result


def table(rows: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Markdown for docs/method.md."""
    lines = [
        "| system | size | bare, msg/s | harness, msg/s | harness / bare (95%) | send: bare, harness | receive: bare, harness | n |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows:
        if row["ratio"] is None:
            continue
        rates = f"{row['bare_rate_per_s']:,.0f} | {row['harness_rate_per_s']:,.0f} | {row['ratio']}"
        used = " | ".join(f"{row[f'bare_{side}_us']:.2f}, {row[f'harness_{side}_us']:.2f} us" for side in ("producer", "consumer"))
        lines.append(f"| {name} | {units.show_size(row['size_b'])} | {rates} | {used} | {row['rounds']} |")
    return "\n".join(lines)


class Case:
    """One variant, made ready on both sides: its server, the harness's endpoints, what a bare loop is given."""

    def __init__(self, text: str, args: argparse.Namespace, *, guard: Guard, engine: LocalEngine, folder: Path) -> None:
        self.name = text
        given = _SCENARIO.format(spec=text, sizes=", ".join(args.sizes), warmup=WARMUP_S, seconds=args.seconds, batch=BATCH)
        load = scenario.parse(given, where="benchmarks/overhead.py")
        self._variant = load.variants()[0]
        self._points = {point.size_b: point for point in load.points()}
        self._planned = plan.make(load.points(), load.variants(), rounds=1)[0]
        self._guard = guard
        self._evidence = folder / "evidence"
        self._evidence.mkdir(parents=True)
        self._trials = 0
        workload = load.points()[0].workload
        self._session = Session(
            adapters.load(self._variant.system), self._variant, workload, run_id=guard.run_id, engine=engine, evidence=self._evidence,
            number=1, payload_bytes_max=load.payload_bytes_max,
        )  # fmt: skip
        self._topology = Topology(1, (Group("reader", 1),), 1)
        self._server: Server | None = None
        self._session.wire()
        if servers.recipe(self._variant.system) is not None:
            request = Request(self._variant.server_kind, folder / "server", guard.run_id, guard, address=self._variant.server_address)
            self._server = servers.start(self._variant.system, request)
        self._session.open(self._server.bootstrap if self._server else ())

    @property
    def sizes(self) -> list[int]:
        """Bytes of a message, header included: those that are measured."""
        return list(self._points)

    def measure(self, side: str, size_b: int) -> dict[str, Any]:
        """One measurement of one side: the fields of Sample that it fills."""
        return (self._bare if side == "bare" else self._harness)(self._points[size_b].workload)

    def _harness(self, load: Workload) -> dict[str, Any]:
        self._trials += 1
        nodes = self._server.nodes if self._server else ()
        raw = self._session.trial(self._trials, load, nodes, self._session.check)
        record = trial.frame(self._planned, self._session.adapter, self._server, run_id="overhead", scenario="overhead", started=utc_now())
        trial.complete(record, raw, self._session, load, self._evidence)
        sent = sum(int(n) for s, n in raw.producers[0]["seconds"].items() if WARMUP_S <= int(s) < WARMUP_S + load.measure_s)
        return _sample(load, sent, raw.producers[0]["cpu_ns"], raw.consumers[0]["in_window"], raw.consumers[0]["cpu_ns"]) | {
            "audit": record["audit"]["reader"]["verdict"]
        }

    def _bare(self, load: Workload) -> dict[str, Any]:
        adapter = self._session.adapter
        wiring = adapter.wire(self._topology, f"{self._guard.run_id}-bare")
        wiring["servers"] = list(self._server.bootstrap) if self._server else []
        wiring = adapter.prepare(wiring)
        common = {
            "system": self._variant.system, "profile": self._variant.profile, "wiring": wiring, "size": load.size_b, "batch": load.batch,
            "ack_every": load.ack_every, "window": load.window,
        }  # fmt: skip
        try:
            with Pair(self._guard, self._evidence, common, adapter.effective()) as pair:
                producer, consumer = pair.measure(WARMUP_S, load.measure_s)
        finally:
            adapter.cleanup(wiring)
        return _sample(load, producer["messages"], producer["cpu_ns"], consumer["messages"], consumer["cpu_ns"])

    def close(self) -> None:
        """End endpoints and server."""
        self._session.close()
        if self._server is not None:
            self._server.stop()


def _sample(load: Workload, sent: int, producer_ns: int | None, received: int, consumer_ns: int | None) -> dict[str, Any]:
    if not sent or not received or producer_ns is None or consumer_ns is None:
        raise EnvironmentProblem(
            f"{units.show_size(load.size_b)}: {sent} sent, {received} received in {load.measure_s:g} s: nothing to compare"
        )
    return {"rate_per_s": received / load.measure_s, "producer_us": producer_ns / sent / 1e3, "consumer_us": consumer_ns / received / 1e3}


def rounds_of(case: Case, rounds: int, seed: int) -> Iterator[Sample]:
    """Every size on both sides once a round, in random order. A first round is thrown away: it warms servers (JVMs) and caches."""
    shuffle = random.Random(f"{case.name}/{seed}").shuffle
    for number in range(rounds + 1):
        cells = [(side, size_b) for side in ("bare", "harness") for size_b in case.sizes]
        shuffle(cells)
        for position, (side, size_b) in enumerate(cells):
            found = case.measure(side, size_b)
            if number:
                yield Sample(side, size_b, number, position, **found)


# ---- the machine, the file, the command line


def disturbances(*, started: bool, look_s: float = 1.0) -> list[str]:
    """What others do on this machine while nothing is measured: each is a reason to trust the ratios less. Empty = quiet.

    ``started``: something was measured in the last minute, so that the load average would tell of ourselves.
    """
    before = psutil.cpu_times()
    busy = psutil.cpu_percent(look_s) / 100
    after = psutil.cpu_times()
    steal = (after.steal - before.steal) / max(sum(after[:8]) - sum(before[:8]), 1e-9)
    load = psutil.getloadavg()[0] / (psutil.cpu_count() or 1)
    found = []
    if busy > LOAD_MAX:
        found.append(f"others use {busy:.0%} of this machine now (quiet: under {LOAD_MAX:.0%})")
    if not started and load > LOAD_MAX * 2:
        found.append(f"the load of the last minute was {load:.1f} a core")
    if steal > STEAL_MAX:
        found.append(f"the hypervisor takes {steal:.0%} of the machine's time")
    return found


def _steal() -> tuple[float, float]:
    times = psutil.cpu_times()
    return times.steal, sum(times[:8])


def measure(args: argparse.Namespace, record: dict[str, Any], save: Path) -> list[tuple[str, dict[str, Any]]]:
    """Measure all variants; ``record`` is filled and saved after each. What cannot run here is a "not run", with its reason."""
    rows = []
    for text in args.systems:
        print(f"{text}: starting", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="overhead-") as name, contextlib.ExitStack() as stack:
            guard = stack.enter_context(Guard(f"overhead-{now_ns():x}"))
            engine = LocalEngine(guard)
            stack.callback(engine.close)
            samples: list[Sample] = []
            entry: dict[str, Any] = {"variant": text, "not_run": None, "disturbed": disturbances(started=True), "samples": []}
            record["variants"].append(entry)
            try:
                case = Case(text, args, guard=guard, engine=engine, folder=Path(name))
                stack.callback(case.close)
                for sample in rounds_of(case, args.rounds, args.seed):
                    samples.append(sample)
                    entry["samples"].append(asdict(sample))
                    print(f"  {_line(sample)}", file=sys.stderr, flush=True)
            except (BenchError, AdapterError) as error:
                entry["not_run"] = str(error)
                print(f"  not measured to the end: {error}", file=sys.stderr, flush=True)
            found = [(text, summed_up(samples, size_b)) for size_b in sorted({s.size_b for s in samples})]
            entry["summary"] = [row | {"ratio": row["ratio"] and asdict(row["ratio"])} for _, row in found]
            rows += found
        _write(save, record)
    return rows


def _line(sample: Sample) -> str:
    return (
        f"round {sample.round} {units.show_size(sample.size_b):>8} {sample.side:7} {sample.rate_per_s:12,.0f}/s  "
        f"send {sample.producer_us:7.2f} us  receive {sample.consumer_us:7.2f} us  {sample.audit}"
    )


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_suffix(".tmp")
    made.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    made.replace(path)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; ends the process with code 2 and a reason for what is not understood."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), metavar="SPEC", help=f"variants (default: {' '.join(SYSTEMS)})")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="SIZE", help='of a message, header included: "100 B" "1 KiB"')
    parser.add_argument("--rounds", type=int, default=5, help="each measures every size on both sides once (default: 5)")
    parser.add_argument("--seconds", type=int, default=2, help="of the measured window, whole seconds (default: 2)")
    parser.add_argument("--seed", type=int, default=1, help="of the order within the rounds")
    stamp = utc_now().replace(":", "").replace("-", "")[:15]
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "runs" / f"overhead-{stamp}.json", metavar="FILE")
    args = parser.parse_args(words)
    if args.rounds < 1 or args.seconds < 1:
        parser.error(f"--rounds {args.rounds} --seconds {args.seconds}: both are at least 1")
    for text in args.systems:
        if not (ROOT / "benchmarks" / "bare" / f"{_variant(parser, text).system}.py").exists():
            parser.error(f"{text}: there is no bare loop benchmarks/bare/{_variant(parser, text).system}.py to compare with")
    return args


def _variant(parser: argparse.ArgumentParser, text: str) -> spec.Variant:
    try:
        return spec.parse(text)
    except BenchError as error:
        parser.error(str(error))


def main(words: Sequence[str] | None = None) -> int:
    """Measure, save, print the table. 0, or the exit code of what went wrong (formats.md)."""
    args = arguments(words)
    disturbed, stolen = disturbances(started=False), _steal()
    for word in disturbed:
        print(f"warning: {word}: trust ratios and CPU a message, not rates", file=sys.stderr)
    record: dict[str, Any] = {"format": 1, "kind": "overhead", "started": utc_now(), "ended": None}
    record |= {
        "sizes": args.sizes,
        "rounds": args.rounds,
        "window_s": args.seconds,
        "warmup_s": WARMUP_S,
        "batch": BATCH,
        "seed": args.seed,
    }
    record |= {"disturbed": disturbed, "steal": None, "environment": environment.capture(), "variants": []}
    try:
        rows = measure(args, record, args.json)
    except KeyboardInterrupt:
        print("interrupted; what was measured before is kept", file=sys.stderr)
        return Interrupted.exit_code
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    now = _steal()
    record["steal"] = (now[0] - stolen[0]) / max(now[1] - stolen[1], 1e-9)
    record["ended"] = utc_now()
    _write(args.json, record)
    if record["steal"] > STEAL_MAX:
        print(f"warning: the hypervisor took {record['steal']:.1%} of the machine's time meanwhile", file=sys.stderr)
    print(table(rows))
    print(f"\nKept in {args.json}", file=sys.stderr)
    broken = [entry["variant"] for entry in record["variants"] if any(s["audit"] == "violated" for s in entry["samples"])]
    if broken:
        print(f"a promise was broken in the harness's own trials: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
