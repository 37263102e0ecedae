"""A hundred million messages through the harness's own paths: time, memory, journals. ``python -m benchmarks.scale``.

The producer's trial, the consumer's loop and the audit are the real ones; in place of a client library stands one that takes
everything and hands messages back, so that nothing but the harness is measured. Each side is a process of its own, so that its
peak of memory (VmHWM) is its own. What is held against a limit (issue 4): 500 MB an endpoint, 1 GB and 30 s for the analysis.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import adapters
from adapters.base import Batch, Block, Event, Status
from bench import scenario
from bench.audit import ConsumerSource, Source, audit, verdict
from bench.clock import now_ns, utc_now
from bench.consuming import ConsumerLoop
from bench.histogram import unpack
from bench.journal import Writer
from bench.keys import router_of
from bench.mixed import block_of, pool_of
from bench.outcomes import Outcomes
from bench.producing import ProducerTrial
from bench.usage import keep_memory, peak_b, quiet_collector
from bench.workload import Workload

ENDPOINT_B = 500_000_000
ANALYSIS_B = 1_000_000_000
ANALYSIS_S = 30.0
AT_ONCE = 100_000_000  # messages that the limits are for
_RUN, _TRIAL = 7, 1
_IRREGULAR = (1, 3, 17, 100, 256, 900)  # sizes of polls and of what a client takes, at random
_SCENARIO = """
name: scale
systems: [zeromq]
topology: {{producers: 1, groups: {{readers: {members}}}, partitions: 4, routing: {routing}}}
payload: {{size: 100 B}}
load: {{schedule: max}}
timing: {{warmup: 0 s, measure: 3600 s, drain: 10 s}}
batch: {{send: 256, ack_every: 1024}}
rounds: 1
"""


@dataclass(frozen=True)
class Case:
    """One way for messages to go: what the client confirms, who shares, in which portions."""

    name: str
    confirms: bool = False  # by the client, in the portions that it took: the ledger's way
    members: int = 1  # of the group: each gets every n-th message
    regular: bool = True  # sends are taken whole and polls are 1,024; else of all sizes
    routing: str = "round-robin"

    def workload(self) -> Workload:
        """What both sides are given."""
        text = _SCENARIO.format(members=self.members, routing=self.routing)
        return scenario.parse(text, where="benchmarks/scale.py").points()[0].workload


CASES = (
    Case("accepted, polls of 1,024"),
    Case("accepted, irregular", regular=False),
    Case("confirmed", confirms=True),
    Case("two members, round-robin", members=2),
    Case("two members, keys, irregular", members=2, regular=False, routing="key"),
)


class Taker:
    """adapters.base.Producer: takes what it is offered, whole or in portions; confirms what it took at the next pump()."""

    def __init__(self, case: Case, outcomes: Outcomes) -> None:
        self._outcomes = outcomes if case.confirms else None
        self._random = None if case.regular else random.Random(case.name)
        self.taken = 0
        self._open: list[tuple[int, int]] = []

    def ready(self, timeout_s: float) -> bool:  # noqa: ARG002  # the contract's signatures, here and below
        """At once."""
        return True

    def room(self) -> int:
        """A constant."""
        return 1 << 16

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:  # noqa: ARG002
        """All of it, or a portion."""
        n = hi - lo if self._random is None else min(hi - lo, self._random.choice(_IRREGULAR))
        if self._outcomes is None:
            block.views(lo, lo + n)
        else:
            block.messages(lo, lo + n)
            self._open.append((block.first_id + lo, n))
            if len(self._open) >= 4:
                self.pump(0.0)
        self.taken += n
        return n

    def pump(self, timeout_s: float) -> None:  # noqa: ARG002
        """Confirm what is open."""
        taken, self._open = self._open, []
        for first, n in taken:
            assert self._outcomes is not None
            self._outcomes.run(first, n, Status.CONFIRMED)

    def flush(self, timeout_s: float) -> int | None:
        """Confirm what is open."""
        self.pump(timeout_s)
        return 0

    def events(self) -> Sequence[Event]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing to close."""


class Giver:
    """adapters.base.Consumer: makes the messages that were sent, and gives those of one member."""

    def __init__(self, case: Case, load: Workload, member: int, count: int) -> None:
        self._case, self._member, self._count = case, member, count
        router = router_of(load, 0, 0)
        self._block = block_of(load, pool_of(load), router, run=_RUN, trial=_TRIAL, producer=0)
        self._portions = random.Random(case.name)
        self._batches = self._made()
        self.empty = False

    def _made(self) -> Iterator[Sequence[bytes]]:
        rows: list[bytes] = []
        n = 1024
        for first in range(0, self._count, self._block.count):
            self._block.fill(first, None)
            self._block.stamp_intended(0, self._block.count, now_ns())
            end = min(self._block.count, self._count - first)
            rows += self._block.messages(0, end)[self._member :: self._case.members]
            while len(rows) >= n:
                yield rows[:n]
                rows = rows[n:]
                n = 1024 if self._case.regular else self._portions.choice(_IRREGULAR)
        if rows:
            yield rows

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:  # noqa: ARG002
        """The next portion."""
        rows = next(self._batches, None)
        self.empty = rows is None
        return None if rows is None else Batch(payloads=rows, count=len(rows))

    def ack(self, batch: Batch, upto: int) -> None:
        """Nobody to tell."""

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Nobody to tell."""

    def idle(self, seconds: float) -> None:
        """Nothing to keep alive."""

    def events(self) -> Sequence[Event]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing to close."""


def _capabilities(case: Case) -> Any:
    return adapters.load("memory" if case.confirms else "tcp").capabilities


def _packed(report: Any) -> list[Any]:
    """Every histogram of a report (bench.histogram.pack), wherever it stands."""
    if isinstance(report, dict):
        return [report] if "log" in report else [one for value in report.values() for one in _packed(value)]
    return [one for value in report for one in _packed(value)] if isinstance(report, list | tuple) else []


def send(case: Case, folder: Path, messages: int) -> dict[str, Any]:
    """The producer's side: its report, in short."""
    load, outcomes = case.workload(), Outcomes()
    client = Taker(case, outcomes)
    with Writer(folder, "producer", segment_b=16 << 20) as writer:
        trial = ProducerTrial(client, _capabilities(case), outcomes, writer, load, run=_RUN, trial=_TRIAL, index=0, first_id=0)
        quiet_collector()
        trial.go(now_ns())
        while not trial.finished:
            trial.turn()
            if client.taken >= messages:
                trial.stop()
        report = trial.report()
    json.dumps(report)  # as it goes to the runner
    return {"sent": client.taken, "histograms": _packed(report), "confirmed": report["confirmed"]}


def receive(case: Case, folder: Path, messages: int, member: int) -> dict[str, Any]:
    """A member's side: its report, in short."""
    load = case.workload()
    client = Giver(case, load, member, messages)
    with Writer(folder, f"consumer-{member}", segment_b=16 << 20) as writer:
        loop = ConsumerLoop(client, _capabilities(case), writer, load, run=_RUN, group=0, name="readers", member=member)
        loop.prepare(load, _TRIAL)
        quiet_collector()
        loop.go(now_ns())
        while not client.empty:
            loop.turn()
        loop.flush()
        report = loop.report()
    json.dumps(report)
    return {"received": report["received"], "histograms": _packed(report)}


def analyse(case: Case, folder: Path, histograms: Sequence[Any]) -> dict[str, Any]:
    """What the runner does with a trial's evidence: the audit, the histograms."""
    load = case.workload()
    router = router_of(load, 0, 0)
    receivers = [ConsumerSource(folder, f"consumer-{member}", member=member) for member in range(case.members)]
    found = audit(
        [Source(folder, "producer")], receivers, trial=_TRIAL, groups=["readers"],
        lane_of=lambda _, sequences: router.lanes_of(sequences.astype("int64")),
    )["readers"]  # fmt: skip
    for packed in histograms:
        unpack(packed).summary()
    return {"processed": found.processed, "acknowledged": found.acknowledged, "verdict": verdict(found, "exactly-once", ordered=True).word}


# ---- each step in a process of its own


def _child(words: Sequence[str]) -> None:
    """Do one step; its result, time and peak of memory as JSON on standard output."""
    step, name, folder, rest = words[0], words[1], Path(words[2]), words[3:]
    case = next(case for case in CASES if case.name == name)
    keep_memory()
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "send": lambda: send(case, folder, int(rest[0])),
        "receive": lambda: receive(case, folder, int(rest[0]), int(rest[1])),
        "analyse": lambda: analyse(case, folder, json.loads(sys.stdin.read())),
    }
    before = now_ns()
    result = steps[step]()
    print(json.dumps(result | {"s": (now_ns() - before) / 1e9, "peak_b": peak_b()}))


def _step(case: Case, folder: Path, step: str, *rest: object, given: str = "") -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale", "--step", step, case.name, str(folder), *map(str, rest)]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, cwd=root, env=os.environ)
    if done.returncode:
        raise SystemExit(f"{case.name}, {step}: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(case: Case, messages: int) -> dict[str, Any]:
    """All steps of one case, and what was over its limit."""
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        sender = _step(case, folder, "send", messages)
        receivers = [_step(case, folder, "receive", sender["sent"], member) for member in range(case.members)]
        journal_b = {path.name.partition(".")[0]: 0 for path in sorted(folder.iterdir())}
        for path in folder.iterdir():
            journal_b[path.name.partition(".")[0]] += path.stat().st_size
        histograms = [one for side in (sender, *receivers) for one in side.pop("histograms")]
        analysis = _step(case, folder, "analyse", given=json.dumps(histograms))
    over = [f"an endpoint took {side['peak_b'] / 1e6:.0f} MB" for side in (sender, *receivers) if side["peak_b"] > ENDPOINT_B]
    share = sender["sent"] / AT_ONCE
    if analysis["peak_b"] > ANALYSIS_B:
        over.append(f"the analysis took {analysis['peak_b'] / 1e6:.0f} MB")
    if analysis["s"] > max(ANALYSIS_S * share, 1.0):
        over.append(f"the analysis took {analysis['s']:.1f} s")
    if analysis["verdict"] != "clean" or analysis["processed"] != sender["sent"]:
        over.append(f"the audit says {analysis['verdict']}, {analysis['processed']:,} of {sender['sent']:,}")
    return asdict(case) | {"send": sender, "receive": receivers, "journal_b": journal_b, "analyse": analysis, "over": over}


def line(row: dict[str, Any]) -> str:
    """One case as a row of the table."""
    n, sides = row["send"]["sent"], row["receive"]
    made = sum(side["s"] for side in sides) / n * 1e9
    journals = ", ".join(f"{size / 1e6:.1f}" for size in row["journal_b"].values())
    peaks = ", ".join(f"{side['peak_b'] / 1e6:.0f}" for side in (row["send"], *sides))
    return (
        f"| {row['name']} | {n:,} | {row['send']['s'] / n * 1e9:.0f} | {made:.0f} | {peaks} | {journals} | "
        f"{row['analyse']['s']:.2f} | {row['analyse']['peak_b'] / 1e6:.0f} | {'; '.join(row['over']) or 'within'} |"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Measure every case, print the table, keep it as JSON. 1 where something is over its limit."""
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["--step"]:
        _child(words[1:])
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--messages", type=int, default=AT_ONCE, help=f"through each case (default: {AT_ONCE:,})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there as well")
    args = parser.parse_args(words)
    if args.messages < 1:
        parser.error(f"--messages {args.messages}: at least 1")
    print("| messages | n | send, ns | make and receive, ns | endpoints' peak, MB | journals, MB | analysis, s | peak, MB | limits |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for case in CASES:
        rows.append(measure(case, args.messages))
        print(line(rows[-1]), flush=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"format": 1, "kind": "scale", "started": utc_now(), "cases": rows}, indent=1) + "\n")
    return 1 if any(row["over"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
