"""What is at risk in each peer without a broker that stores: kills them under load, with real processes, and counts.

    python -m benchmarks.at_risk [--results FOLDER] [--systems SPEC ...]

Twice each: while the consumer keeps up, and while it is behind and everything on the way has filled up. Killed are a consumer, the
producer and, where there is one, what stands between them. The counts are those of the audit, by injection (trial.json, "faults").
About seven minutes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import runner, scenario, store
from bench.errors import BenchError
from bench.progress import Progress

_SMALL = "sndbuf=65536,rcvbuf=65536"  # else the kernel's buffers, of megabytes, hide where libzmq's own limits are
SYSTEMS = (
    f"zeromq,{_SMALL}",
    f"zeromq,mode=pub-sub,{_SMALL}",
    f"zeromq,mode=proxy,{_SMALL}",
    "zeromq,mode=acknowledged",
    "redis_pubsub",
)
GROUP = "inventory"
VICTIMS = {"consumer": f"consumer.{GROUP}.0", "producer": "producer.0", "between them": "server.1"}
WORK = {"keeps up": "", "is behind": "processing: 1 ms"}  # of a consumer that is sent two messages a millisecond
TIMES, FIRST_S, EVERY_S, DOWN_S = 3, 2.5, 3, 0.3
COUNTS = ("lost", "duplicated", "unknown", "recovered")
_SCENARIO = """
name: at-risk
title: "{title}"
systems: [{systems}]
topology: {{producers: 1, groups: {{{group}: 1}}, partitions: 1, routing: round-robin}}
payload: {{size: 1 KiB}}
load: {{schedule: constant, rate: 2000/s}}
timing: {{warmup: 500 ms, measure: {measure:g} s, drain: 60 s}}
batch: {{send: 20, ack_every: 20, ack_interval: 20 ms}}
{work}
rounds: 1
lanes: {{aa: false, floor: false}}
faults:
  - {{fault: kill, target: {target}, at: {first:g} s, for: {down:g} s, times: {times}, every: {every:g} s}}
"""


@dataclass(frozen=True)
class Row:
    """All injections of one variant, victim and condition: messages an injection."""

    variant: str
    victim: str
    work: str
    in_flight: tuple[int, ...]
    counts: Mapping[str, tuple[int, ...]]
    reason: str = ""  # why there is none


def described(victim: str, work: str, systems: Sequence[str]) -> scenario.Scenario:
    """The workload in which ``victim`` is killed TIMES times."""
    text = _SCENARIO.format(
        title=f"{victim} killed, the consumer {work}", systems=", ".join(f'"{spec}"' for spec in systems), group=GROUP,
        measure=FIRST_S + TIMES * EVERY_S, work=WORK[work], target=VICTIMS[victim], first=FIRST_S, down=DOWN_S, times=TIMES, every=EVERY_S,
    )  # fmt: skip
    return scenario.parse(text, where="benchmarks.at_risk")


def row_of(trial: Mapping[str, Any], victim: str, work: str) -> Row:
    """What one trial.json says."""
    faults = trial.get("faults") or []
    if trial["status"] != "ok":
        return Row(trial["variant"]["spec"], victim, work, (), {}, trial["reason"] or trial["status"])
    return Row(
        trial["variant"]["spec"], victim, work, tuple(fault["in_flight"][GROUP] for fault in faults),
        {name: tuple(fault["counts"][GROUP][name] for fault in faults) for name in COUNTS},
    )  # fmt: skip


def table(rows: Iterable[Row]) -> str:
    """Markdown: medians of the injections, with the most in brackets."""
    lines = [
        "| variant | killed | the consumer | n | in flight | lost | repeated | unknown | recovered |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        about = f"| {row.variant} | {row.victim} | {row.work} |"
        if row.reason:
            lines.append(f"{about} 0 | {row.reason} |||||")
            continue
        cells = [row.in_flight, *(row.counts[name] for name in COUNTS)]
        lines.append(f"{about} {len(row.in_flight)} | " + " | ".join(_middle(values) for values in cells) + " |")
    return "\n".join(lines)


def _middle(values: Sequence[int]) -> str:
    if not values:
        return "n/a"
    return "0" if not any(values) else f"{statistics.median(values):,.0f} ({max(values):,})"


def measured(folder: Path, systems: Sequence[str], progress: Progress) -> Iterator[Row]:
    """Run all; one scenario for each victim and condition. A failed trial is a row with its reason."""
    for victim in VICTIMS:
        for work in WORK:
            chosen = described(victim, work, systems)
            writer = runner.create(chosen, folder, command="python -m benchmarks.at_risk")
            runner.Runner(chosen, writer, progress).run()
            rows = [row_of(trial, victim, work) for trial in store.open_run(writer.folder).trials]
            yield from sorted(rows, key=lambda row: row.variant)  # each run has an order of its own


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.at_risk", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, help="keep the runs there (else they are removed)")
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, metavar="SPEC")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="brokerbench-at-risk-") as scratch:
            rows = list(measured(args.results or Path(scratch), args.systems, Progress()))
    except BenchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
