"""The verb `capacity`: from arguments to a run and its report."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import runner, scenario, units
from bench.capacity import objective, run
from bench.capacity.run import Capacity, Options
from bench.errors import Interrupted, UsageError
from bench.progress import Progress
from bench.store import open_run

KIND = "capacity"
SCHEDULES = ("constant", "poisson", "bursts", "max")
"""Of a scenario: those that have one rate, which is what is searched. "max" has none, and is searched as constant."""
WARMUP, MEASURE, DRAIN = "500 ms", "3 s", "3 s"
"""Of a probe: many short ones find an edge that no long one finds."""


def main(args: argparse.Namespace, axes: Mapping[str, Sequence[str]] | None) -> int:
    """Search, sweep, write the report, print it; ``axes`` as --set gave them."""
    options = _options(args)
    chosen = _scenario(args, dict(axes or {}))
    progress = Progress(quiet=args.quiet or args.json)
    progress.say(f"{chosen.name}: the highest rate at which {options.objective} · {len(chosen.systems)} variants")
    writer = runner.create(chosen, args.results, command=shlex.join(["brokerbench", *args.argv]), kind=KIND)
    try:
        code = Capacity(chosen, writer, progress, options).run()
    except Interrupted:
        _report(writer.folder, as_json=args.json, interrupted=True)
        raise
    _report(writer.folder, as_json=args.json)
    return code


def _scenario(args: argparse.Namespace, axes: dict[str, Sequence[str]]) -> scenario.Scenario:
    """The scenario with the values of the command line; its rates are only where the search does not begin."""
    if args.producers:
        axes["producers"] = [word.strip() for word in args.producers.split(",")]
    loaded = scenario.load(args.scenario)
    if loaded.load.schedule not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise UsageError(f"{loaded.name}: schedule: {loaded.load.schedule} has a rate of its own; capacity is searched with: {known}")
    return loaded.override(
        systems=args.systems, seed=args.seed, warmup=args.warmup or WARMUP, measure=args.measure or MEASURE, drain=args.drain or DRAIN,
        axes=axes or None,
    )  # fmt: skip


def _options(args: argparse.Namespace) -> Options:
    """Read the options that the search has; raises UsageError that names the option."""
    if not 5 <= args.probes <= 1000:
        raise UsageError(f"--probes {args.probes}: from 5 to 1000")
    if not 0 <= args.sweep <= 100:
        raise UsageError(f"--sweep {args.sweep}: from 0 (no sweep) to 100 rounds")
    estimate, highest = _quantity("--from", getattr(args, "from"), units.rate_per_s), _quantity("--up-to", args.up_to, units.rate_per_s)
    if estimate and highest and estimate > highest:
        raise UsageError(f"--from {getattr(args, 'from')} is above --up-to {args.up_to}")
    return Options(
        objective.parse(args.objective), args.probes, _precision(args.precision), args.sweep, estimate, highest,
        _quantity("--time", args.time, units.duration_s),
    )  # fmt: skip


def _quantity(option: str, text: str | None, read: Callable[[object], float]) -> float | None:
    return None if text is None else units.of_option(option, text, read)


def _precision(text: str) -> float:
    """Read "5%"; raises UsageError."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / 100
    except ValueError:
        value = -1.0
    if not text.strip().endswith("%") or not 0.005 <= value <= run.PRECISION_MAX:
        most = f"{run.PRECISION_MAX:.0%}"
        raise UsageError(f'--precision "{text}": half the width of the interval, from 0.5% to {most}, such as 5%')
    return value


def _report(folder: Path, *, as_json: bool, interrupted: bool = False) -> None:
    """Write the report and print it; of an interrupted run only where a probe was finished."""
    from bench import report  # noqa: PLC0415  # matplotlib: not before the measuring is over

    opened = open_run(folder)
    if interrupted and not any(trial["status"] == "ok" for trial in opened.trials):
        return
    files = report.write(folder)
    if as_json:
        json.dump({"folder": str(folder), "report": str(files.html), **report.capacity.read(opened)}, sys.stdout, indent=1)
        print()
        return
    print(files.markdown.read_text(encoding="utf-8"))
    print(f"report: {files.html}\n        {files.markdown}")
