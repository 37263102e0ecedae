"""How surely, and after how long, is a slowdown of known size found? ``make evidence-power``.

Each run measures a variant and the same variant made slower by 20, 10 and 5% (``benchmarks.evidence.slowed``), each with its own
endpoints, at full speed, every round all four in shuffled order. The first 6, 8, 10, 15 and 20 rounds of each run are judged as if it
had ended there. What the slowdown truly came to is measured over all rounds of all runs and printed beside. Effects of exactly 20, 10,
5 and 2% are resampled: rounds drawn from the recorded ones, with these ones' own ratio taken off.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.analysis.compare import Metric
from benchmarks.evidence import common, runs, slowed, verdicts
from benchmarks.evidence.common import Json, Size
from benchmarks.evidence.verdicts import Pair

SLOWER = (20, 10, 5)
"""Injected, percent."""
RESAMPLED = (*SLOWER, 2)
"""Percent; by resampling."""
DRAWS = 200
ROUNDS = (6, 8, 10, 15, 20)
MARGINS = (0.10, 0.02, 0.0)
METRICS = (Metric("rate", True, 0.10), Metric("cpu", False, 0.10))
FULL = Size(runs=15, rounds=max(ROUNDS), warmup_s=0.1, measure_s=0.5)
QUICK = Size(runs=1, rounds=2, warmup_s=0.02, measure_s=0.1)
_SCENARIO = """
name: evidence-power
systems: [{variants}]
topology: {{producers: 1, groups: {{reader: 1}}, partitions: 1, routing: round-robin}}
payload: {{size: 256 B}}
load: {{schedule: max}}
{timing}
batch: {{send: 256, ack_every: 256}}
lanes: {{aa: false, floor: false}}
rounds: {rounds}
seed: {seed}
"""
_METHOD = """
The consumer does a fixed piece of work for each message, so that it is the limit; the slowed one burns its share of the CPU time that it
used: benchmarks/evidence/slowed.py.

*Found*: called "worse" by the comparison on its own. *In a gate*: as one of four metrics of which the other three show nothing (Holm
asks for a quarter of the p, so that at least eight rounds are needed). *Inconclusive*, *same* and *better* are of the comparison on its
own; "better" is false, "same" is false where the slowdown is beyond the margin. Ratio: head / base as measured over all runs (of what was
injected), or as drawn. Seconds: of base and head together, with all that is
around a trial.

A difference is called only where the *estimate* is past the margin. So with a margin of 10% a slowdown of 5% is not found, by design,
and one of 10%, which lies at the margin, in about half of the runs at most, however long they are; 2% with a margin of 2% likewise. The
margin of 0 shows what the rounds themselves can tell.

The three slowdowns of a run share its base, and the rows of 6 to 20 rounds are the same runs, cut: rows depend on each other, runs do not.

Computed from the figures in power.json: `python -m benchmarks.evidence.power --recompute FILE` does it again.
"""


def measure(size: Size, number: int, system: str, folder: Path) -> Json:
    """One run: base and the three heads."""
    slowed.register()
    specs = [spec_of(system, percent) for percent in (0, *SLOWER)]
    variants = ", ".join(f'"{spec}"' for spec in specs)
    text = _SCENARIO.format(variants=variants, timing=size.timing, rounds=size.rounds, seed=number)
    ids = [spec.replace(",", "+") for spec in specs]
    taken = runs.measure([text], folder, [metric.name for metric in METRICS], ids, command=f"evidence-power, run {number}")
    return {"system": system} | taken


def spec_of(system: str, percent: int) -> str:
    """The variant of ``system`` that is slower by ``percent``."""
    return f"{system}_slowed,slow={percent}"


def pair_of(run: Mapping[str, Any], metric: str, percent: int) -> Pair:
    """The base of a recorded run, and its head that was slowed by ``percent``."""
    by_variant = run["figures"][metric]
    base, head = (by_variant[spec_of(run["system"], slower).replace(",", "+")] for slower in (0, percent))
    return base, head


def tables(recorded: Sequence[Json]) -> Json:
    """What was injected and measured, and who found it; from the recorded figures alone."""
    made: Json = {"measured": [], "power": []}
    for system in common.SYSTEMS:
        of_system = [run for run in recorded if run["system"] == system]
        if not of_system:
            continue
        trial_s = statistics.median(run["trial_s"][0] for run in of_system)
        for metric in METRICS:
            made["measured"] += [{"system": system} | row for row in _measured(of_system, metric)]
            made["power"] += [
                {"system": system, "seconds": round(2 * trial_s * row.rounds, 1)} | asdict(row) for row in _found(of_system, metric)
            ]
    return made


def _measured(recorded: Sequence[Json], metric: Metric) -> Iterator[Json]:
    """Each slowdown as injected and as measured over all rounds: Hodges-Lehmann with its interval, and the ratio of medians."""
    for percent in SLOWER:
        pairs = [pair_of(run, metric.name, percent) for run in recorded]
        effect = verdicts.pooled(pairs)
        joined = ([value for base, _ in pairs for value in base], [value for _, head in pairs for value in head])
        # The CPU of the producer and of ZeroMQ's own threads, which nothing slows, is in "CPU a message" too: it rises by less than s.
        expected = truth(metric, percent) if metric.name == "rate" else None
        yield {
            "metric": metric.name, "slower": percent, "expected": expected, "rounds": effect.rounds, "ratio": effect.ratio,
            "low": effect.low, "high": effect.high, "medians": verdicts.medians(joined),
        }  # fmt: skip


def truth(metric: Metric, percent: float) -> float:
    """Head / base that a slowdown means: the rate falls to 1 / (1 + s), CPU a message rises to 1 + s."""
    return 1 / (1 + percent / 100) if metric.higher_is_better else 1 + percent / 100


def _found(recorded: Sequence[Json], metric: Metric) -> Iterator[verdicts.Power]:
    most = max(len(pair_of(run, metric.name, SLOWER[0])[0]) for run in recorded)
    groups = [[pair_of(run, metric.name, percent) for run in recorded] for percent in SLOWER]
    for rounds in (count for count in ROUNDS if count <= most):
        for percent, pairs in zip(SLOWER, groups, strict=True):
            yield from verdicts.power(metric, percent, pairs, rounds, MARGINS)
        for percent in RESAMPLED:
            drawn = verdicts.resample(groups, truth(metric, percent), rounds=rounds, draws=DRAWS, seed=100 * rounds + percent)
            yield from verdicts.power(metric, percent, drawn, rounds, MARGINS, resampled=True)


def page(made: Json) -> str:
    """power.md."""
    found = made["tables"]
    intro = (
        f"{len(made['runs'])} runs of up to {made['settings']['rounds']} rounds. Each measures a variant and the same made slower by "
        f"{', '.join(map(str, SLOWER))}%, at full speed, every round all of them in shuffled order. Rows marked as resampled are "
        f"drawn from the recorded rounds ({DRAWS} draws) for effects of exactly {', '.join(map(str, RESAMPLED))}%, not measured.\n"
    )
    text = ["# Power: which slowdowns are found, after how long\n", intro, common.circumstances(made)]
    text += ["\n## What the injected slowdown truly came to\n", _truths(found["measured"])]
    for system in common.SYSTEMS:
        for metric in METRICS:
            rows = [row for row in found["power"] if (row["system"], row["metric"]) == (system, metric.name)]
            if rows:
                came_to = {
                    row["slower"]: row["ratio"] for row in found["measured"] if (row["system"], row["metric"]) == (system, metric.name)
                }
                text += [f"\n## {system}: {metric.name}\n", _shares(rows, came_to)]
    return "\n".join([*text, _METHOD])


def _truths(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ("system", "metric", "injected", "expected ratio", "measured ratio (95%)", "ratio of medians (95%)", "rounds")
    return common.table(names, map(_truth, rows))


def _truth(row: Mapping[str, Any]) -> list[Any]:
    measured = _interval(row["ratio"], row["low"], row["high"])
    medians = _interval(*(row["medians"] or (None, None, None)))
    return [
        row["system"],
        row["metric"],
        f"{row['slower']}%",
        f"{row['expected']:.3f}" if row["expected"] else "n/a",
        measured,
        medians,
        row["rounds"],
    ]


def _interval(ratio: float | None, low: float | None, high: float | None) -> str:
    if ratio is None or low is None or high is None:
        return "n/a" if ratio is None else f"{ratio:.3f}"
    return f"{ratio:.3f} ({low:.3f}-{high:.3f})"


def _shares(rows: Sequence[Mapping[str, Any]], came_to: Mapping[float, float | None]) -> str:
    """A line a slowdown and number of rounds; the margins side by side. ``came_to``: the measured ratio of each that was injected."""
    shown = [f"margin {margin:.0%}" for margin in MARGINS]
    names = ["slower", "ratio", "rounds", "seconds", *(f"{name}: found, in a gate, inconclusive, same, better" for name in shown)]
    lines: dict[tuple[bool, float, int], list[Any]] = {}
    for row in sorted(rows, key=lambda row: (row["resampled"], -row["slower"], row["rounds"], -row["margin"])):
        percent = f"{row['slower']}%" + (" (resampled)" if row["resampled"] else "")
        metric = next(metric for metric in METRICS if metric.name == row["metric"])
        ratio = truth(metric, row["slower"]) if row["resampled"] else came_to[row["slower"]]
        key = (row["resampled"], row["slower"], row["rounds"])
        line = lines.setdefault(key, [percent, f"{ratio:.3f}" if ratio else "n/a", row["rounds"], f"{row['seconds']:.0f}"])
        counted = ("found", "found_in_family", "inconclusive", "same", "false")
        line.append(", ".join(common.share(row[name], row["runs"]) for name in counted))
    return common.table(names, lines.values())


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is missing, sum up. 0; 1 where a recomputed table differs; else as formats.md."""
    args, size = common.arguments("power", (__doc__ or "").split("\n\n")[0], FULL, QUICK, words)
    if args.recompute:
        return common.recompute(args.recompute, "evidence-power", tables, page)
    settings = {"rounds": size.rounds, "warmup_s": size.warmup_s, "measure_s": size.measure_s, "slower": list(SLOWER)}
    systems = [system for _ in range(size.runs) for system in common.SYSTEMS]
    with common.Work(args.work, settings) as work:
        recorded = common.execute(work, systems, size.run_s(variants=1 + len(SLOWER)), lambda *at: measure(size, *at))
    common.conclude(args.out, "power", common.summary("evidence-power", settings, recorded, tables(recorded)), page)
    return 0


if __name__ == "__main__":
    sys.exit(common.ended(main))
