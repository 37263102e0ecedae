"""CPU of a load generator for Kafka, a message: ``python -m benchmarks.kafka_clients [SPEC ...] [--rates 1000,10000,50000,max]``.

One broker, one partition, one producer and one consumer, messages of 100 B, acks=all: the load that OpenMessaging Benchmark (OMB) was given
in ../shared/harness.md, with as much work for each message as it does: a delivery report each, and a commit for each poll that brought
something. Both endpoints with all their threads are counted, within the window, for a delivered message; everything that this
suite does besides (header, journal, audit) is in it. Median over rounds, and the largest memory of both endpoints.

OMB's figures are those of that page, of a machine of the same kind and not of this run: "of OMB" is against the smaller end of each
range, and the limit is what issue 8 asks for. OMB itself is not run here: it is built from its sources, and its pom has no release.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import cli

SPECS = ("kafka,client=confluent-kafka", "kafka,client=confluent-kafka,profile=tuned", "kafka")
OMB_US = {1_000: 265.0, 10_000: 54.0, 50_000: 11.5, None: 1.21}
LIMITS = {1_000: 0.7, 10_000: 0.45, 50_000: 0.65, None: 1.2}
_SCENARIO = """
name: kafka-clients-cpu
systems: [{systems}]
topology: {{producers: 1, groups: {{reader: 1}}, partitions: 1, routing: round-robin}}
payload: {{size: {size}}}
{load}
timing: {{warmup: 2 s, measure: {seconds:g} s, drain: 20 s}}
batch: {{send: {batch}, ack_every: 1, ack_interval: 10 ms}}
tick: {tick}
rounds: {rounds}
lanes: {{aa: false, floor: false}}
"""


def measured(specs: Sequence[str], rates: Sequence[int | None], args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run it; a row a variant and rate."""
    results = folder / "results"
    set_rates = ", ".join(f"{rate}/s" for rate in rates if rate is not None)
    loads = [f"load: {{schedule: constant}}\nsweep: {{rate: [{set_rates}]}}"] if set_rates else []
    for load in loads + ["load: {schedule: max}"] * (None in rates):
        scenario = folder / "kafka-clients-cpu.yaml"
        text = _SCENARIO.format(
            systems=", ".join(f'"{spec}"' for spec in specs), load=load, seconds=args.seconds, rounds=args.rounds, size=args.size,
            batch=args.batch, tick=args.tick,
        )  # fmt: skip
        scenario.write_text(text, encoding="utf-8")
        code = cli.main(["run", str(scenario), "--results", str(results)])
        if code > 1:
            raise SystemExit(code)
    found: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
    for path in sorted(results.glob("*/trials/*/trial.json")):
        trial = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault((trial["variant"]["spec"], trial["point"]["rate_per_s"]), []).append(trial)
    return [_row(spec, rate, trials) for (spec, rate), trials in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] or 1e9))]


def _row(spec: str, rate: int | None, trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds: CPU of each side, us a delivered message; memory, MB; what came through."""
    whole = [trial for trial in trials if trial["status"] == "ok"]
    sides = {side: statistics.median([trial["cost"][f"{side}_ns"] / 1e3 for trial in whole]) for side in ("producers", "consumers")}
    cpu_us = statistics.median([(trial["cost"]["producers_ns"] + trial["cost"]["consumers_ns"]) / 1e3 for trial in whole])
    memory = max(sum(one["rss_b"] for side in ("producers", "consumers") for one in trial[side]) for trial in whole)
    verdicts = sorted({trial["audit"]["reader"]["verdict"] for trial in whole})
    p50 = statistics.median([trial["latency"]["end_to_end_intended"]["p50_ns"] / 1e6 for trial in whole])
    return {
        "spec": spec,
        "rate_per_s": rate,
        "rounds": len(whole),
        "reached_per_s": statistics.median([trial["rates"]["slowest_group_per_s"] for trial in whole]),
        "p50_ms": p50,
        "producer_us": sides["producers"],
        "consumer_us": sides["consumers"],
        "cpu_us": cpu_us,
        "of_omb": cpu_us / OMB_US[rate] if rate in OMB_US else None,
        "limit": LIMITS.get(rate),
        "memory_mb": memory / 1e6,
        "verdicts": verdicts,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """For people."""
    heads = ("variant", "rate", "reached, msg/s", "p50, ms", "producer, us", "consumer, us", "both, us", "of OMB", "limit", "MB", "audit")
    lines = [heads]
    for row in rows:
        rate = "max" if row["rate_per_s"] is None else f"{row['rate_per_s']:,.0f}"
        of_omb = "" if row["of_omb"] is None else f"{row['of_omb']:.2f}"
        figures = [row["p50_ms"], row["producer_us"], row["consumer_us"], row["cpu_us"]]
        told = [f"{row['reached_per_s']:,.0f}", *(f"{figure:.2f}" for figure in figures), of_omb, str(row["limit"] or "")]
        lines.append((row["spec"], rate, *told, f"{row['memory_mb']:.0f}", ", ".join(row["verdicts"])))
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.kafka_clients", description=__doc__.splitlines()[0])
    parser.add_argument("spec", nargs="*", default=SPECS)
    parser.add_argument("--rates", default="1000,10000,50000,max")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="100 B")
    parser.add_argument("--batch", type=int, default=500, help="most messages of one send() or poll()")
    parser.add_argument("--tick", default="500 us")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rates = [None if text == "max" else int(text) for text in args.rates.split(",")]
    with tempfile.TemporaryDirectory(prefix="kafka-clients-") as name:
        rows = measured(args.spec, rates, args, Path(name))
    print(table(rows))
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
