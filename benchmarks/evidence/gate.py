"""Does the gate cry wolf, and does it find what is there? ``make evidence-gate``.

Gates as a user has them (bench.gate.run.run, its own time limit, confirmation and all), one after another: on two equal sides, where
"failed" is false; and on a head whose consumer needs a known share more CPU for each message (``benchmarks.evidence.slowed``), where it is
right. Beside them, from the same rounds, what a stored run would have said: pytest-benchmark's ``--benchmark-compare-fail=median:10%``.
"""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import environment, scenario, store
from bench.clock import utc_now
from bench.gate.asked import METRICS
from bench.gate.figures import median
from bench.gate.run import Options, run
from benchmarks.evidence import common, slowed
from benchmarks.evidence.common import Json
from benchmarks.evidence.runs import told

MAX_TIME_S = 30.0
FALSE_MAX = 1
INCONCLUSIVE_MAX = 0.20
FOUND_MIN = 0.90
BESIDE_CORES = 0.25
"""A gate beside which others used more than this is counted apart, whatever it said, and measured again when the command is run again."""
STORED_MARGIN = 0.10
STORED_METRICS = ("rate", "p50", "cpu")
_SCENARIO = """
name: evidence-gate
systems: [{system}]
topology: {{producers: 1, groups: {{reader: 1}}, partitions: 1, routing: round-robin}}
payload: {{size: 256 B}}
load: {{rate: 4 kHz}}
batch: {{send: 256, ack_every: 256}}
seed: {seed}
"""


@dataclass(frozen=True)
class Case:
    """A kind of gate. ``slower``: percent; 0 = equal sides. ``margin``: of all metrics; None = the gate's own. ``each``: gates a system."""

    name: str
    slower: int
    margin: float | None
    each: int


CASES = (
    Case("equal sides", 0, None, 30), Case("25% slower", 25, None, 10), Case("20% slower", 20, None, 3),
    Case("15% slower", 15, None, 3), Case("5% slower, --margin 2%", 5, 0.02, 4),
)  # fmt: skip
"""60 A/A gates, 20 of 25%; about 95 minutes with confirmations."""
_METHOD = """
*Found*: failed, and by the delivered rate or CPU a message, which is what was slowed. A gate that fails has measured twice, each time for
up to the limit; seconds are of all of it. *Slower by* and *visible from*: the median of the gates' own ratios of rate in the first
measurement, and of the smallest change of rate that it would have shown; what was injected is a share of the consumer's CPU.

*Stored run*: the rule of pytest-benchmark's `--benchmark-compare-fail=median:10%` on base's rounds of the gates on equal sides. The median
of the first gate of a system is stored, that of each later one compared with it; an alarm is over 10% more time a message (rate), latency
or CPU. Computed from the same rounds, not run through pytest.

Computed from the figures in gate.json: `python -m benchmarks.evidence.gate --recompute FILE` does it again.
"""


def plan(each: int | None = None) -> list[tuple[Case, str]]:
    """All gates in their order: the systems in turn. ``each``: gates a case and system, instead of the case's own."""
    return [(case, system) for case in CASES for _ in range(each or case.each) for system in common.SYSTEMS]


def measure(case: Case, system: str, number: int, folder: Path, *, rounds: int | None) -> Json:
    """One gate; what is kept of it is plain data."""
    slowed.register()
    base = head = system
    if case.slower:
        base, head = f"{system}_slowed", f"{system}_slowed,slow={case.slower}"
    margins = {} if case.margin is None else dict.fromkeys(METRICS, case.margin)
    started, before = utc_now(), psutil.cpu_times()
    chosen = scenario.parse(_SCENARIO.format(system=base, seed=number), where="benchmarks/evidence/gate")
    found = run(chosen, Options(base, head, (), margins, MAX_TIME_S, rounds), results=folder, command=f"evidence-gate, run {number}")
    stolen = environment.stolen(before, psutil.cpu_times())
    kept = store.open_run(found.folder)
    names = ("verdict", "reasons", "standings", "rounds", "round_s", "seconds", "measurements")
    return {
        "case": case.name, "system": system, "started": started, **{name: found.data[name] for name in names},
        "steal": round(stolen, 5), "revision": kept.environment["brokerbench"], **told(kept.trials),
    }  # fmt: skip


def tables(recorded: Sequence[Json]) -> Json:
    """Counts by case and system, and what a stored run would have said; from the recorded figures alone."""
    alone = [one for one in recorded if not beside(one)]
    stored = [
        _stored(system, metric, [one for one in alone if one["case"] == CASES[0].name and one["system"] == system])
        for system in common.SYSTEMS
        for metric in STORED_METRICS
    ]
    return {"cases": _cases(alone), "beside": _cases([one for one in recorded if beside(one)]), "stored": stored}


def beside(one: Json) -> bool:
    """Whether others used the machine during a gate."""
    return (one["others_cores"] or 0.0) > BESIDE_CORES


def _cases(recorded: Sequence[Json]) -> list[Json]:
    return [
        _counted(case, system, runs)
        for case in CASES
        for system in (*common.SYSTEMS, "all")
        if (runs := [one for one in recorded if one["case"] == case.name and system in (one["system"], "all")])
    ]


def _counted(case: Case, system: str, runs: Sequence[Json]) -> Json:
    verdicts = Counter(one["verdict"] for one in runs)
    rates = [row for one in runs for row in one["measurements"][0]["rows"] if row["metric"] == "rate"]
    ratios = [row["ratio"] for row in rates if row["ratio"] is not None]
    visible = [row["visible_from"] for row in rates if row["visible_from"] is not None]
    return {
        "case": case.name, "system": system, "gates": len(runs),
        **{word: verdicts[word] for word in ("passed", "failed", "inconclusive", "base broken")},
        "found": sum(_found(one) for one in runs), "seconds": statistics.median(one["seconds"] for one in runs),
        "seconds_most": max(one["seconds"] for one in runs), "rounds": statistics.median(one["rounds"] for one in runs),
        "ratio": statistics.median(ratios) if ratios else None, "visible": statistics.median(visible) if visible else None,
        "why": dict(Counter(name for one in runs for name, standing in one["standings"].items() if standing != "passes")),
    }  # fmt: skip


def _found(one: Json) -> bool:
    return one["verdict"] == "failed" and "fails" in (one["standings"].get("rate"), one["standings"].get("cpu"))


def _stored(system: str, metric: str, runs: Sequence[Json]) -> Json:
    medians = [median(one["measurements"][0]["figures"][metric]["base"]) for one in runs]
    known = [value for value in medians if value]
    if METRICS[metric].higher_is_better:  # as a time: what pytest-benchmark compares
        known = [1 / value for value in known]
    changes = [value / known[0] for value in known[1:]]
    return {
        "system": system, "metric": metric, "compared": len(changes), "alarms": sum(change > 1 + STORED_MARGIN for change in changes),
        "most": max(changes, default=None), "least": min(changes, default=None),
    }  # fmt: skip


def wanted(made: Json) -> dict[str, bool]:
    """What was to be shown, and whether it was."""
    by_case = {row["case"]: row for row in made["cases"] if row["system"] == "all"}
    shown = {}
    if (equal := by_case.get(CASES[0].name)) is not None:
        every = [row for row in (*made["cases"], *made["beside"]) if row["system"] == "all" and row["case"] == CASES[0].name]
        failed, gates = sum(row["failed"] for row in every), sum(row["gates"] for row in every)
        shown[f"false alarms: {failed} of {gates}, at most {FALSE_MAX}"] = failed <= FALSE_MAX
        shown[f"inconclusive: {equal['inconclusive']} of {equal['gates']}, at most {INCONCLUSIVE_MAX:.0%}"] = (
            equal["inconclusive"] <= INCONCLUSIVE_MAX * equal["gates"]
        )
    if (row := by_case.get(CASES[1].name)) is not None:
        shown[f"{CASES[1].name}: {row['found']} of {row['gates']} found, at least {FOUND_MIN:.0%}"] = (
            row["found"] >= FOUND_MIN * row["gates"]
        )
    return shown


def page(made: Mapping[str, Any]) -> str:
    """gate.md."""
    found = made["tables"]
    shown = "\n".join(f"- **{'Met' if met else 'Not met'}**: {what}" for what, met in wanted(found).items())
    stored = [
        (
            row["system"], METRICS[row["metric"]].title, row["compared"], row["alarms"], common.factor(row["least"]),
            common.factor(row["most"]),
        )
        for row in found["stored"]
    ]  # fmt: skip
    text = ["# The gate: false alarms, and what it finds\n", f"{len(made['runs'])} gates of `--max-time {MAX_TIME_S:.0f}s`.\n", shown, ""]
    text += [common.circumstances(made), "", _table(found["cases"])]
    if found["beside"]:
        told = f"Others used more than {BESIDE_CORES:g} cores meanwhile. Counted apart, whatever they said, and measured again."
        text += ["\n## Gates beside other work\n", told + "\n", _table(found["beside"])]
    text += ["\n## What a stored run would have said of the equal sides\n"]
    text += [common.table(("system", "metric", "compared", "alarms", "least", "most"), stored), _METHOD]
    return "\n".join(text)


def _table(cases: Sequence[Json]) -> str:
    names = ("case", "system", "gates", "passed", "failed", "inconclusive", "found", "slower by", "visible from", "rounds")
    rows = [
        (
            row["case"], row["system"], row["gates"], row["passed"], row["failed"], row["inconclusive"],
            row["found"] if row["case"] != CASES[0].name else "", common.factor(1 / row["ratio"] if row["ratio"] else None),
            common.factor(row["visible"]), f"{row['rounds']:g}", f"{row['seconds']:.0f}, {row['seconds_most']:.0f}",
        )
        for row in cases
    ]  # fmt: skip
    return common.table((*names, "seconds: median, most"), rows)


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is missing, sum up. 0; 1 where something was not shown or a recomputed table differs; else as formats.md."""
    full, quick = common.Size(0, 0, 0.0, 0.0), common.Size(1, 2, 0.0, 0.0)  # 0: as the cases and the limit say
    args, size = common.arguments("gate", (__doc__ or "").split("\n\n")[0], full, quick, words)
    if args.recompute:
        return common.recompute(args.recompute, "evidence-gate", tables, page)
    planned = plan(size.runs or None)
    rounds = size.rounds or None
    settings = {"max_time_s": MAX_TIME_S, "rounds": rounds, "cases": [[case.name, case.slower, case.margin] for case in CASES]}
    with common.Work(args.work, settings) as work:
        names = [f"{case.name}, {system}" for case, system in planned]
        for number in range(1, len(planned) + 1):
            if (before := work.load(number)) is not None and beside(before):
                work.set_aside(number)
        recorded = common.execute(
            work, names, MAX_TIME_S * 1.5, lambda number, _, folder: measure(*planned[number - 1], number, folder, rounds=rounds)
        )
        recorded += work.aside()
    made = common.summary("evidence-gate", settings, recorded, tables(recorded))
    common.conclude(args.out, "gate", made, page)
    return 0 if all(wanted(made["tables"]).values()) or args.quick else 1


if __name__ == "__main__":
    sys.exit(common.ended(main))
