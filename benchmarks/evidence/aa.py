"""Do verdicts stay silent where there is nothing to find? ``make evidence-aa``.

Each run compares a variant with itself: two variants that differ in nothing but the spelling of a default, so each has its own
endpoints (as base and head of a gate have), in a real run, interleaved in shuffled order, at full speed and at a set rate. The gate's
comparison judges it. Every "better" or "worse" is false; at most two a metric are allowed over all runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.analysis import aa as lane
from bench.analysis.compare import Metric
from benchmarks.evidence import common, runs, verdicts
from benchmarks.evidence.common import Json, Size

TWINS = {"tcp": ("tcp", "tcp,sndbuf=0"), "zeromq": ("zeromq", "zeromq,sndhwm=1000")}
"""Twice the same: the second names the setting that the first has anyhow."""
RATE = "2 kHz"
FALSE_MAX = 2
"""False verdicts of a metric that are allowed, over all runs."""
METRICS = (
    Metric("rate", True, 0.10), Metric("p50", False, 0.10), Metric("p99", False, 0.25), Metric("cpu", False, 0.10),
    Metric("cpu at a rate", False, 0.10), Metric("memory", False, 0.10),
)  # fmt: skip
"""A gate's metrics and margins, with CPU and memory."""
REPORTED = {
    "full speed": (Metric("rate", True, lane.RATE.margin), Metric("cpu", False, lane.CPU.margin)),
    f"at {RATE}": (
        Metric("p99", False, lane.P99.margin), Metric("p50", False, lane.P50.margin), Metric("cpu at a rate", False, lane.CPU.margin),
    ),
}  # fmt: skip
"""What a run's own A/A lane looks at, by point: each metric on its own, with the report's margins (bench.analysis.aa)."""
FULL = Size(runs=20, rounds=10, warmup_s=0.1, measure_s=0.55)  # 0.55 s at 2,000/s: over 1,000 samples, as a p99 needs
QUICK = Size(runs=1, rounds=3, warmup_s=0.02, measure_s=0.1)
_SCENARIO = """
name: evidence-aa
systems: ["{twins[0]}", "{twins[1]}"]
topology: {{producers: 1, groups: {{reader: 1}}, partitions: 1, routing: round-robin}}
payload: {{size: 256 B}}
load: {{{load}}}
{timing}
batch: {{send: 256, ack_every: 256}}
lanes: {{aa: false, floor: false}}
rounds: {rounds}
seed: {seed}
"""
_LOADS = ("schedule: max", f"rate: {RATE}")
_METHOD = """
*False*: better + worse by the gate's comparison (signed-rank interval, margin, Holm over the six metrics). *No margin*: the same with
margins of 0. *Interval alone*: runs whose own 95% interval leaves 1 out. *Medians*: the same by the second estimate, the ratio of
medians with its bootstrap interval. *Off*: how far the estimates lie from 1. *Visible from*: the smallest true difference that the
rounds would have shown with a probability of 80%. *With the margins of a report*: each metric judged on its own, as a report of two
systems judges them and as the A/A lane of a run does; *not silent*: at least one metric of the point, so that the run's comparisons there
would have been void.

Computed from the figures in aa.json: `python -m benchmarks.evidence.aa --recompute FILE` does it again.
"""


def measure(size: Size, number: int, system: str, folder: Path) -> Json:
    """One run: at full speed, then at the set rate."""
    twins = TWINS[system]
    texts = [_SCENARIO.format(twins=twins, load=load, timing=size.timing, rounds=size.rounds, seed=number) for load in _LOADS]
    ids = [spec.replace(",", "+") for spec in twins]
    taken = runs.measure(texts, folder, [metric.name for metric in METRICS], ids, command=f"evidence-aa, run {number}")
    return {"system": system} | taken


def pairs_of(run: Mapping[str, Any]) -> dict[str, verdicts.Pair]:
    """Base and head of each metric of a recorded run."""
    found = {}
    for metric, by_variant in run["figures"].items():
        base, head = by_variant.values()
        found[metric] = (base, head)
    return found


def tables(recorded: Sequence[Json]) -> Json:
    """Counts by system and over all, and each run's verdicts; from the recorded figures alone."""
    by_system = {system: [pairs_of(run) for run in recorded if run["system"] == system] for system in TWINS}
    counted = {
        name: [asdict(row) | {"false": row.false} for row in verdicts.silence(pairs, METRICS)]
        for name, pairs in {**by_system, "all": [pair for pairs in by_system.values() for pair in pairs]}.items()
        if pairs
    }
    each = [
        {"run": run["run"], "system": run["system"]} | {one.metric.name: one.verdict for one in verdicts.judge_all(pairs_of(run), METRICS)}
        for run in recorded
    ]
    reported = [
        {"system": system, "point": point, "runs": len(pairs)}
        | {metric.name: sum(verdicts.called(run[metric.name], metric) for run in pairs) for metric in metrics}
        | {"voided": sum(any(verdicts.called(run[metric.name], metric) for metric in metrics) for run in pairs)}
        for system, pairs in by_system.items()
        for point, metrics in REPORTED.items()
    ]
    return {"counts": counted, "reported": reported, "verdicts": each}


def silent(made: Json) -> bool:
    """Whether no metric has more false verdicts than are allowed."""
    return all(row["false"] <= FALSE_MAX for row in made["counts"]["all"])


def page(made: Json) -> str:
    """aa.md."""
    rounds, count, found = made["settings"]["rounds"], len(made["runs"]), made["tables"]
    most = max(row["false"] for row in found["counts"]["all"])
    intro = (
        f"{count} runs of {rounds} rounds. Each compares a variant with itself (two sets of endpoints, equal settings), at full speed "
        f'(rate, cpu, memory) and at {RATE} (p50, p99, cpu at a rate). Every "better" or "worse" is false; {FALSE_MAX} a metric are '
        "allowed.\n"
    )
    verdict = f"**{'Met' if silent(found) else 'Not met'}**: the worst metric has {most} false verdicts in {count} runs.\n"
    text = ["# A/A: verdicts on two equal sides\n", intro, verdict, common.circumstances(made)]
    for system, rows in found["counts"].items():
        text += [f"\n## {system}\n", _counted(rows)]
    return "\n".join([*text, "\n## With the margins of a report\n", _reported(found["reported"]), _METHOD])


def _counted(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ("metric", "margin", "runs", "false", "same", "inconclusive", "false: no margin", "interval alone", "medians",
             "off: median, most", "visible from: median, most")  # fmt: skip
    return common.table(
        names,
        (
            (
                row["metric"], f"{row['margin']:.0%}", row["runs"], row["false"], row["same"], row["inconclusive"], row["without_margin"],
                row["interval_alone"], row["medians_alone"], f"{common.factor(row['off_median'])}, {common.factor(row['off_most'])}",
                f"{common.factor(row['visible_median'])}, {common.factor(row['visible_most'])}",
            )
            for row in rows
        ),
    )  # fmt: skip


def _reported(rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [
        (
            row["system"],
            row["point"],
            row["runs"],
            row["voided"],
            ", ".join(f"{one.name} ({one.margin:.0%}) {row[one.name]}" for one in metrics),
        )
        for row in rows
        for metrics in (REPORTED[row["point"]],)
    ]
    return common.table(("system", "point", "runs", "A/A lane not silent", "false, by metric (margin)"), shown)


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is missing, sum up. 0; 1 where verdicts were not silent or a recomputed table differs; else as formats.md."""
    args, size = common.arguments("aa", (__doc__ or "").split("\n\n")[0], FULL, QUICK, words)
    if args.recompute:
        return common.recompute(args.recompute, "evidence-aa", tables, page)
    settings = {"rounds": size.rounds, "warmup_s": size.warmup_s, "measure_s": size.measure_s, "rate": RATE}
    systems = [system for _ in range(size.runs) for system in common.SYSTEMS]
    with common.Work(args.work, settings) as work:
        recorded = common.execute(work, systems, size.run_s(variants=2, scenarios=2), lambda *at: measure(size, *at))
    made = common.summary("evidence-aa", settings, recorded, tables(recorded))
    common.save_summary(args.out, "aa", made, page(made))
    print(page(made))
    common.say(f"Kept in {args.out}")
    return 0 if silent(made["tables"]) else 1


if __name__ == "__main__":
    sys.exit(common.ended(main))
