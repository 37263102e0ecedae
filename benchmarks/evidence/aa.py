"""Do verdicts stay silent where there is nothing to find? ``make evidence-aa``.

Each run measures a variant, the same once more through the same endpoints (the run's A/A lane), and the same through endpoints of
its own (a variant that differs in nothing but the spelling of a default); interleaved in shuffled order, at full speed and at a set
rate. The gate's comparison judges both pairs. Every "better" or "worse" is false; at most two a metric are allowed over all runs for
the lane. The other pair shows what one start of the endpoints is worth: what differs between starts is real, and no fault of the
comparison, but nothing that a variant should be credited with.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from adapters.tcp import BUFFER_BYTES
from bench.analysis import aa as lane
from bench.analysis.compare import Metric
from benchmarks.evidence import common, runs, verdicts
from benchmarks.evidence.common import Json, Size

TWINS = {"tcp": ("tcp", f"tcp,sndbuf={BUFFER_BYTES}"), "zeromq": ("zeromq", "zeromq,sndhwm=1000")}
"""Twice the same: the second names the setting that the first has anyhow."""
RATE = "4 kHz"
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
KINDS = {"same endpoints": 1, "own endpoints": 2}
"""What the base is compared with -> its place among a run's figures."""
PACED = 0.7  # of a window at full speed: 0.28 s at 4,000/s have over 1,000 samples, as a p99 needs
WINDOW_MIN_S = 0.1
FULL = Size(runs=20, rounds=10, warmup_s=0.1, measure_s=0.4)
QUICK = Size(runs=1, rounds=3, warmup_s=0.02, measure_s=0.1)
_SCENARIO = """
name: evidence-aa
systems: ["{twins[0]}", "{twins[1]}"]
topology: {{producers: 1, groups: {{reader: 1}}, partitions: 1, routing: round-robin}}
payload: {{size: 256 B}}
load: {{{load}}}
{timing}
batch: {{send: 256, ack_every: 256}}
reference: "{twins[0]}"
lanes: {{aa: true, floor: false}}
rounds: {rounds}
seed: {seed}
"""
_LOADS = ("schedule: max", f"rate: {RATE}")
_METHOD = """
*False*: better + worse by the gate's comparison (signed-rank interval, margin, Holm over the six metrics). *Confirmed*: the next run of the
same system says the same again, as a gate asks before it fails. *No margin*: the same with margins of 0. *Interval alone*: runs whose
own 95% interval leaves 1 out. *Medians*: the same by the second estimate, the ratio of medians with its bootstrap interval. *Off*: how far
the estimates lie from 1. *Visible from*: the smallest true difference that the rounds would have shown with a probability of 80%. *With the
margins of a report*: each metric judged on its own, as the A/A lane of a run is (one that is called voids the comparisons of its point).

Computed from the figures in aa.json: `python -m benchmarks.evidence.aa --recompute FILE` does it again.
"""


def sizes(size: Size) -> tuple[Size, Size]:
    """At full speed, and at the set rate."""
    return size, replace(size, measure_s=max(PACED * size.measure_s, WINDOW_MIN_S))


def measure(size: Size, number: int, system: str, folder: Path) -> Json:
    """One run: at full speed, then at the set rate."""
    twins = TWINS[system]
    texts = [
        _SCENARIO.format(twins=twins, load=load, timing=part.timing, rounds=size.rounds, seed=number)
        for load, part in zip(_LOADS, sizes(size), strict=True)
    ]
    base, twin = (spec.replace(",", "+") for spec in twins)
    metrics = [metric.name for metric in METRICS]
    return {"system": system} | runs.measure(texts, folder, metrics, [base, f"{base} (aa)", twin], command=f"evidence-aa, run {number}")


def pairs_of(run: Mapping[str, Any], kind: str) -> dict[str, verdicts.Pair]:
    """Base and head of each metric of a recorded run."""
    found = {}
    for metric, by_variant in run["figures"].items():
        sides = list(by_variant.values())
        found[metric] = (sides[0], sides[KINDS[kind]])
    return found


def equal(run: Mapping[str, Any], kind: str) -> bool:
    """Whether a recorded pair is of equal sides: a default that was spelled out and has changed since makes two variants of them."""
    head = list(run["figures"]["rate"])[KINDS[kind]]
    return kind == "same endpoints" or head == TWINS[run["system"]][1].replace(",", "+")


def tables(recorded: Sequence[Json]) -> Json:
    """Counts by kind of pair and system, and each run's verdicts; from the recorded figures alone."""
    made: Json = {"counts": [], "reported": [], "verdicts": []}
    for kind in KINDS:
        all_pairs: list[dict[str, verdicts.Pair]] = []
        confirmed_in_all = dict.fromkeys((metric.name for metric in METRICS), 0)
        for system in TWINS:
            of_system = [run for run in recorded if run["system"] == system and equal(run, kind)]
            if not of_system:
                continue
            pairs = [pairs_of(run, kind) for run in of_system]
            each = [{one.metric.name: one.verdict for one in verdicts.judge_all(pair, METRICS)} for pair in pairs]
            confirmed = {metric.name: verdicts.confirmed([words[metric.name] for words in each]) for metric in METRICS}
            confirmed_in_all = {name: count + confirmed[name] for name, count in confirmed_in_all.items()}
            all_pairs += pairs
            made["counts"].append({"kind": kind, "system": system, "rows": _rows(pairs, confirmed)})
            made["reported"] += [{"kind": kind, "system": system, "point": point} | _lane(pairs, REPORTED[point]) for point in REPORTED]
            made["verdicts"] += [
                {"kind": kind, "run": run["run"], "system": system} | words for run, words in zip(of_system, each, strict=True)
            ]
        made["counts"].append({"kind": kind, "system": "all", "rows": _rows(all_pairs, confirmed_in_all)})
    return made


def _rows(pairs: Sequence[Mapping[str, verdicts.Pair]], confirmed: Mapping[str, int]) -> list[Json]:
    return [asdict(row) | {"false": row.false, "confirmed": confirmed[row.metric]} for row in verdicts.silence(pairs, METRICS)]


def _lane(pairs: Sequence[Mapping[str, verdicts.Pair]], metrics: Sequence[Metric]) -> Json:
    """How often each metric alone is called with the report's margin, and how many runs have one that is."""
    called = [[verdicts.called(pair[metric.name], metric) for metric in metrics] for pair in pairs]
    by_metric = {metric.name: sum(one[i] for one in called) for i, metric in enumerate(metrics)}
    return {"runs": len(pairs), "not_silent": sum(any(one) for one in called)} | by_metric


def most_false(made: Json, kind: str) -> int:
    """False verdicts of the worst metric over all runs."""
    (rows,) = (one["rows"] for one in made["counts"] if (one["kind"], one["system"]) == (kind, "all"))
    return max(int(row["false"]) for row in rows)


def silent(made: Json) -> bool:
    """Whether no metric of the lane has more false verdicts than are allowed."""
    return most_false(made, "same endpoints") <= FALSE_MAX


def page(made: Json) -> str:
    """aa.md."""
    rounds, count, found = made["settings"]["rounds"], len(made["runs"]), made["tables"]
    same, own = (most_false(found, kind) for kind in KINDS)
    intro = (
        f"{count} runs of {rounds} rounds. Each compares a variant with itself, through the same endpoints (the run's A/A lane) and "
        f"through endpoints of its own, at full speed (rate, cpu, memory) and at {RATE} (p50, p99, cpu at a rate). Every "
        f'"better" or "worse" is false; {FALSE_MAX} a metric are allowed for the lane.\n'
    )
    verdict = (
        f"**{'Met' if silent(found) else 'Not met'}**: through the same endpoints the worst metric has {same} false verdicts in {count} "
        f"runs; through endpoints of its own {own}.\n"
    )
    unequal = sorted({list(run["figures"]["rate"])[2] for run in made["runs"] if not equal(run, "own endpoints")})
    if unequal:
        verdict += f"\nLeft out, as no pair of equal sides: endpoints of its own with {', '.join(unequal)}, which is not the default.\n"
    text = ["# A/A: verdicts on two equal sides\n", intro, verdict, common.circumstances(made)]
    for one in found["counts"]:
        text += [f"\n## {one['kind'].capitalize()}: {one['system']}\n", _counted(one["rows"])]
    return "\n".join([*text, "\n## With the margins of a report\n", _reported(found["reported"]), _METHOD])


def _counted(rows: Sequence[Mapping[str, Any]]) -> str:
    names = (
        "metric", "margin", "runs", "false", "confirmed", "same", "inconclusive", "false: no margin", "interval alone", "medians",
        "off: median, most", "visible from: median, most",
    )  # fmt: skip
    counted = ("runs", "false", "confirmed", "same", "inconclusive", "without_margin", "interval_alone", "medians_alone")
    return common.table(
        names,
        (
            (
                row["metric"],
                f"{row['margin']:.0%}",
                *(row[name] for name in counted),
                f"{common.factor(row['off_median'])}, {common.factor(row['off_most'])}",
                f"{common.factor(row['visible_median'])}, {common.factor(row['visible_most'])}",
            )
            for row in rows
        ),
    )


def _reported(rows: Sequence[Mapping[str, Any]]) -> str:
    shown = []
    for row in rows:
        by_metric = ", ".join(f"{one.name} ({one.margin:.0%}) {row[one.name]}" for one in REPORTED[row["point"]])
        shown.append((row["kind"], row["system"], row["point"], row["runs"], row["not_silent"], by_metric))
    return common.table(("pair", "system", "point", "runs", "runs with a false one", "by metric (margin)"), shown)


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is missing, sum up. 0; 1 where verdicts were not silent or a recomputed table differs; else as formats.md."""
    args, size = common.arguments("aa", (__doc__ or "").split("\n\n")[0], FULL, QUICK, words)
    if args.recompute:
        return common.recompute(args.recompute, "evidence-aa", tables, page)
    settings = {"rounds": size.rounds, "warmup_s": size.warmup_s, "measure_s": [part.measure_s for part in sizes(size)], "rate": RATE}
    systems = [system for _ in range(size.runs) for system in common.SYSTEMS]
    run_s = sum(part.run_s(variants=1 + len(KINDS)) for part in sizes(size))
    with common.Work(args.work, settings) as work:
        recorded = common.execute(work, systems, run_s, lambda *at: measure(size, *at))
    made = common.summary("evidence-aa", settings, recorded, tables(recorded))
    common.conclude(args.out, "aa", made, page)
    return 0 if silent(made["tables"]) else 1


if __name__ == "__main__":
    sys.exit(common.ended(main))
