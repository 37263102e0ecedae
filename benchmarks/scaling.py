"""What millions of messages a second would take, computed from a run of scenarios/copies.yaml: ``python -m benchmarks.scaling [RUN]``.

Prints the tables of docs/scale.md; with --write PAGE they take the place of those between its markers (`make evidence-scaling`, which
measures first). Nothing is guessed: what is not of the run is a parameter, and stands above the table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import environment, scenario, store
from bench.analysis import scaling
from bench.analysis.scaling import Costs, Measured, Wanted
from bench.errors import UsageError
from benchmarks.evidence import runs
from benchmarks.evidence.common import RESULTS, between, ended, table

BEGIN, END = "<!-- begin: python -m benchmarks.scaling -->", "<!-- end: python -m benchmarks.scaling -->"
SCENARIO = "copies"
RATES = (100_000.0, 1_000_000.0, 5_000_000.0)
FACTORS = (1, 3)


def page(run: store.Run) -> str:
    """What the run measured, what follows for a message, and what the rates of RATES take."""
    by_variant: dict[str, list[scaling.Json]] = {}
    for trial in run.trials:
        by_variant.setdefault(trial["variant"]["spec"], []).append(trial)
    found = {spec: scaling.measured(trials) for spec, trials in by_variant.items()}
    ones = [one for one in found.values() if one.factor == 1]
    copied = [one for one in found.values() if one.factor > 1]
    if not ones or not copied:
        raise UsageError(f"{run.run['id']}: needs a variant with one copy and one with several, as scenarios/copies.yaml has them")
    # As many brokers as the copies are on, where that was measured: then only the copies differ.
    known = scaling.costs(max(ones, key=lambda one: one.nodes), copied[0])
    return "\n\n".join([_measured(found), _costs(known), _plans(known)])


def _measured(found: dict[str, Measured]) -> str:
    rows = [
        (f"`{spec}`", one.nodes, one.factor, f"{one.rates[0]:,.0f} to {one.rates[-1]:,.0f}", f"{one.brokers.standing / one.nodes:.3f}",
         _us(one.brokers.each_s), _us(one.producer.each_s), _us(one.consumer.each_s))
        for spec, one in found.items()
    ]  # fmt: skip
    head = ("variant", "brokers", "copies", "messages/s", "cores of a broker at rest", "all brokers", "producer", "consumer")
    first = next(iter(found.values()))
    about = f"Measured: {first.size_b:,} B, {first.groups} group, \u00b5s of CPU a message by a line through the rates."
    return f"{about}\n\n{table(head, rows)}"


def _costs(known: Costs) -> str:
    return (
        f"So a message costs its leader {_us(known.lead_s)} \u00b5s, each follower {_us(known.follow_s)} \u00b5s, a broker "
        f"{known.standing:.3f} cores before the first; a partition was seen to carry {known.partition_per_s:,.0f}/s, which is what was "
        "tried and no limit."
    )


def _plans(known: Costs) -> str:
    rows = []
    for rate in RATES:
        for factor in FACTORS:
            wanted = Wanted(rate, factor)
            made = scaling.plan(known, wanted)
            rows.append(
                (f"{rate:,.0f}", factor, made.brokers, made.by, f"{made.broker_cores:,.0f}", _gigabits(made.in_b_per_s),
                 _gigabits(made.out_b_per_s), made.producers, made.members, f"{made.partitions:,}")
            )  # fmt: skip
    usual = Wanted(1.0)
    card = usual.network_b_per_s * 8 / 1e9
    about = (
        f"Computed, for brokers of {usual.broker_cores} cores as fast as the measured ones and a card of {card:g} Gbit/s each way, both "
        f"planned to be {usual.busy:.0%} busy while one broker is away; no work on a message beside consuming it:"
    )
    head = (
        "messages/s",
        "copies",
        "brokers",
        "decided by",
        "broker cores in use",
        "Gbit/s in",
        "Gbit/s out",
        "producers",
        "members",
        "partitions",
    )
    return f"{about}\n\n{table(head, rows)}"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.1f}"


def _gigabits(b_per_s: float) -> str:
    return f"{b_per_s * 8 / 1e9:.3g}"


def measure(out: Path) -> Path:
    """Run the scenario here and keep it in ``out``, without evidence and logs; ``out``."""
    with tempfile.TemporaryDirectory() as folder:
        runs.keep(scenario.load(SCENARIO), Path(folder), out, command=f"brokerbench run {SCENARIO}")
    return out


def main(words: Sequence[str] | None = None) -> int:
    """Measure where no run is given, then print or write; 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="a run's folder (default: measure, into results/reference)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="a page with markers, such as docs/scale.md")
    args = parser.parse_args(words)
    made = page(store.open_run(args.run or measure(environment.machine_folder(RESULTS) / SCENARIO)))
    if args.write is None:
        print(made)
    else:
        args.write.write_text(between(args.write.read_text(encoding="utf-8"), BEGIN, END, made), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(ended(main))
