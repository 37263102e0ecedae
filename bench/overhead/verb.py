"""`brokerbench overhead`: the command line's part, and the report of a folder of that kind."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from pathlib import Path

from bench import units
from bench.errors import EnvironmentProblem, UsageError
from bench.overhead import record, run, table
from bench.progress import Progress
from bench.spec import parse_all

MARKDOWN = "overhead.md"


def overhead(args: argparse.Namespace) -> int:
    """Measure, write the tables, print them. 1 where a promise was broken or nothing was measured."""
    if args.resume is not None and args.spec:
        raise UsageError(f"--resume {args.resume}: what is measured there was settled when it was begun; leave out {' '.join(args.spec)}")
    progress = Progress(quiet=args.json)
    begun = run.begin(_asked(args), args.results, command=shlex.join(["brokerbench", *args.argv]), resume=args.resume, told=progress.say)
    return measured(begun, progress, as_json=args.json)


def measured(begun: run.Overhead, progress: Progress, *, as_json: bool) -> int:
    """Measure what is missing, write the tables and print them; return the exit code."""
    folder = begun.folder
    progress.say(f"{folder}: about {max(1.0, run.expected_s(begun.record) / 60):.0f} min")
    try:
        begun.run()
    finally:
        if (folder / record.FILE).is_file():
            write(folder, None)
    _say(folder, begun.record, None, as_json=as_json)
    found = table.figures(begun.record).cells
    return 1 if not found or any(cell.promises_broken for cell in found) else 0


def report(folder: Path, out: Path | None, *, as_json: bool) -> int:
    """Write overhead.md again, from overhead.json alone."""
    found = record.read(folder)
    write(folder, out)
    _say(folder, found, out, as_json=as_json)
    return 0


def write(folder: Path, out: Path | None) -> Path:
    """Write overhead.md into ``out`` (None: the folder itself). Raises EnvironmentProblem."""
    path = (out or folder) / MARKDOWN
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table.markdown(record.read(folder)), encoding="utf-8")
    except OSError as error:
        raise EnvironmentProblem(f"{path}: {error.strerror or error}") from error
    return path


def _say(folder: Path, found: record.Record, out: Path | None, *, as_json: bool) -> None:
    path = (out or folder) / MARKDOWN
    if as_json:
        wanting = [one for one in found.variants if one.not_run or one.failures]
        left = [{"variant": one.variant, "not_run": one.not_run, "failures": one.failures} for one in wanting]
        data = {"folder": str(folder), "markdown": str(path), **table.figures(found).to_json(), "left": left}
        print(json.dumps(data, indent=1))
        return
    print(table.markdown(found))
    print(f"kept in {folder}: every round in {record.FILE}, these tables in {path.name}")


def _asked(args: argparse.Namespace) -> record.Asked:
    sizes = []
    for text in args.sizes.split(","):
        try:
            sizes.append(units.size_b(text.strip()))
        except ValueError as error:
            raise UsageError(f"--sizes {args.sizes}: {error}") from error
    if len(set(sizes)) < len(sizes):
        raise UsageError(f"--sizes {args.sizes}: each size once")
    if args.rounds < 1:
        raise UsageError(f"--rounds {args.rounds}: at least 1; an interval needs 6, a figure to publish 10")
    if not (math.isfinite(args.seconds) and 0.2 <= args.seconds <= 600):
        raise UsageError(f"--seconds {args.seconds:g}: from 0.2 to 600")
    systems = tuple(variant.spec for variant in parse_all(args.spec or run.SYSTEMS))
    asked = record.Asked(systems, tuple(sizes), args.rounds, args.seconds, run.WARMUP_S, run.BATCH, args.seed, args.distinct)
    run.described(asked)  # raises what the scenario says of it
    return asked
