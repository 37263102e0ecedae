"""A hundred thousand schedules through the accountant, each in three ways. ``python -m benchmarks.evidence.audit``.

Every example is a schedule of losses, repeats, displacements, damage, crashes and restarts, written as real journals and accounted by
the accountant, by a naive one that knows neither journals nor bitmaps, and, in every second example, by who planted the anomalies. All
have to agree in every count, also by injection of a fault. The examples are those of tests/unit/test_audit.py, with seeds of their own.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench import environment
from bench.clock import now_ns, utc_now
from benchmarks.evidence import common
from benchmarks.evidence.common import Json

EXAMPLES = 100_000
AT_ONCE = 2_500  # examples of one run: what a Ctrl-C costs at most
PROCESSES = 2  # each gets a half of a run
_RUN_S = 60.0  # of a run on two idle cores, before one was measured
_COMMITTED = "results/reference/<machine>/evidence-audit"
_TESTS = Path(__file__).resolve().parents[2] / "tests" / "unit"


def example(seed: int) -> tuple[Counter[str], list[str], Json]:
    """One example: what it was about, where accounts differ, how to see it again."""
    import audit_examples  # noqa: PLC0415  # of tests/unit, which is no package: main() and the workers put it on the path

    rng = random.Random(seed)
    kind, sizes = audit_examples.KINDS[seed % 2], audit_examples.sizes_of(rng)
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        found = audit_examples.accounts(kind, seed, sizes, Path(folder))
    counts = Counter({kind: 1, "accounts": len(found["real"]), "injections": sum(map(len, found["by injection"]))})
    for account in found["real"]:
        counts.update({name: value for name, value in account.items() if isinstance(value, int) and name != "reordered_max"})
    return counts, audit_examples.differences(found), {"seed": seed, "kind": kind, "sizes": sizes}


def examples(seeds: Sequence[int]) -> tuple[dict[str, int], list[Json]]:
    """Many: what they were about in all, and those that differ (or that raised), at most ten."""
    counts: Counter[str] = Counter()
    failed: list[Json] = []
    for seed in seeds:
        try:
            found, told, where = example(seed)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is kept as a failure and the others go on
            found, told, where = Counter({"raised": 1}), [f"{type(error).__name__}: {error}"], {"seed": seed}
        counts += found
        if told and len(failed) < 10:
            failed.append(where | {"differences": told[:20]})
    return dict(counts), failed


def measure(number: int, at_once: int) -> Json:
    """One run: its examples, shared out among processes."""
    begun, started = now_ns(), utc_now()
    seeds = range((number - 1) * at_once, number * at_once)
    # Not forked: a child would have the parent's threads' locks, and nothing of ours needs its memory.
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn"), initializer=on_path) as pool:
        parts = list(pool.map(examples, [seeds[: at_once // 2], seeds[at_once // 2 :]]))
    counts: Counter[str] = Counter()
    for part, _ in parts:
        counts.update(part)
    failed = [one for _, some in parts for one in some]
    for one in failed:
        common.say(f"seed {one['seed']}: {one['differences'][0]}")
    return {
        "started": started, "seconds": (now_ns() - begun) / 1e9, "revision": environment.capture()["brokerbench"],
        "examples": at_once, "counts": dict(sorted(counts.items())), "failed": failed,
    }  # fmt: skip


def on_path() -> None:
    """Make the tests' own modules importable."""
    sys.path.insert(0, str(_TESTS))


def tables(runs: Sequence[Json]) -> Json:
    """All runs together."""
    counts: Counter[str] = Counter()
    for run in runs:
        counts.update(run["counts"])
    failed = [one for run in runs for one in run["failed"]]
    return {"examples": sum(run["examples"] for run in runs), "counts": dict(sorted(counts.items())), "failed": failed}


def page(made: Json) -> str:
    """For people."""
    table, runs, counts = made["tables"], made["runs"], Counter(made["tables"]["counts"])
    machine = made["environment"]["machine"]
    revisions = sorted({f"{(run['revision'] or {}).get('revision') or 'unknown'}"[:12] for run in runs})
    about = ("planted", "chaos", "accounts", "injections")
    rows = [(name.replace("_", " "), f"{count:,}") for name, count in counts.items() if name not in about]
    took = common.span(sum(run["seconds"] for run in runs))
    where = f"{made['machine']} ({machine['cpu']}, {machine['cores']} cores)"
    failed = table["failed"]
    told = "All accounts agree in every count." if not failed else f"**{len(failed)} examples differ** (at most ten a process are kept):"
    lines = [
        "# Evidence: the accountant",
        "",
        f"Machine: {where}. Revision {', '.join(revisions)}, {took} in {len(runs)} runs.",
        "",
        f"{table['examples']:,} schedules: {counts['planted']:,} with planted, counted anomalies, {counts['chaos']:,} at random.",
        f"{counts['accounts']:,} accounts of groups, {counts['injections']:,} of injections. {told}",
        "",
        *(f"- seed {one['seed']} ({one.get('kind', 'raised')}): {one['differences'][0]}" for one in failed),
        "Messages and deliveries in all of them, as reported:",
        "",
        common.table(("count", "in all accounts"), rows),
        "",
    ]
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is missing, write the summary. 1 where accounts differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence.audit", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--examples", type=int, default=EXAMPLES, metavar="N", help=f"in all (default: {EXAMPLES:,})")
    parser.add_argument("--quick", action="store_true", help="a smoke test: 200 examples")
    parser.add_argument("--seed", type=int, metavar="N", help="only this example: say where its accounts differ")
    fill = common.placed(parser, "audit")
    parser.add_argument(
        "--recompute", type=Path, metavar="FILE", help="run nothing: compute the tables of an audit.json again, and compare"
    )
    args = parser.parse_args(words)
    if args.recompute:
        return common.recompute(args.recompute, "evidence-audit", tables, page)
    on_path()
    if args.seed is not None:
        _, told, where = example(args.seed)
        print(json.dumps(where), *(told or ["all accounts agree"]), sep="\n")
        return 1 if told else 0
    at_once = 100 if args.quick else AT_ONCE
    total = 200 if args.quick else args.examples
    if total < at_once or total % at_once:
        parser.error(f"--examples {total}: a multiple of {at_once:,}")
    fill(args)
    return run(args.work, args.out, total // at_once, at_once)


def run(folder: Path, out: Path, runs: int, at_once: int) -> int:
    """Measure what is not there yet; write the summary of all to ``out``."""
    settings: dict[str, Any] = {"examples": at_once}
    with common.Work(folder, settings) as work:
        done = common.execute(work, ["audit"] * runs, _RUN_S * at_once / AT_ONCE, lambda number, _, __: measure(number, at_once))
    made = common.summary("evidence-audit", settings | {"processes": PROCESSES}, done, tables(done))
    common.save_summary(out, "audit", made, page(made))
    print(page(made))
    return 1 if made["tables"]["failed"] else 0


if __name__ == "__main__":
    sys.exit(common.ended(main))
