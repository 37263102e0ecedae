"""The verb `guarantees`: from arguments to a run and its report."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from bench import progress as progress_
from bench import units
from bench.errors import Interrupted, UsageError
from bench.guarantees import cells, run
from bench.guarantees.record import FILE, Asked
from bench.guarantees.run import Guarantees
from bench.progress import Progress
from bench.store import open_run, read_data

QUICK_INJECTIONS = 1


def main(args: argparse.Namespace) -> int:
    """Try the cells, write the report, print it. 1 where something surprised or failed."""
    time_s = _time(args.time)
    if args.resume is not None:
        if args.spec or args.faults or args.quick or args.injections or args.core:
            raise UsageError(f"--resume {args.resume}: what is tried there was settled when it was begun; leave the rest out")
        record, writer, plan = run.resumed(args.resume)
    else:
        record, writer = run.begin(_asked(args), args.results, command=shlex.join(["brokerbench", *args.argv]))
        plan = []
    progress = Progress(quiet=args.json)
    here = Guarantees(record, writer, progress, plan, time_s=time_s, keep_evidence=args.keep_evidence)
    return tried(here, progress, as_json=args.json)


def tried(here: Guarantees, progress: Progress, *, as_json: bool) -> int:
    """Say how long it takes, try, write the report and print it; return the exit code."""
    there = [one.cell for one in here.record.tried if not one.cell.unsupported]
    wanted = sum(cell.wanted for cell in there)
    progress.say(f"{here.folder}: {len(there)} cells, {wanted} counted injections, about {progress_.span(here.expected_s())}")
    try:
        code = here.run()
    except Interrupted:
        _report(here.folder, as_json=as_json)
        print(f"go on with: brokerbench guarantees --resume {here.folder}", file=sys.stderr)
        raise
    _report(here.folder, as_json=as_json)
    return code


def _asked(args: argparse.Namespace) -> Asked:
    for option, value in (("--injections", args.injections), ("--core", args.core)):
        if value is not None and not 1 <= value <= 1000:
            raise UsageError(f"{option} {value}: from 1 to 1000")
    if args.quick and args.core:
        raise UsageError("--core: --quick has cells of its own; --injections says how many of each")
    others = args.injections or (QUICK_INJECTIONS if args.quick else cells.INJECTIONS)
    return Asked(tuple(args.spec), tuple(args.faults or ()), others, args.core or cells.CORE_INJECTIONS, args.quick)


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return units.duration_s(text)
    except ValueError as error:
        raise UsageError(f"--time: {error}") from error


def _report(folder: Path, *, as_json: bool) -> None:
    from bench import report  # noqa: PLC0415  # templates: not before the trials are over

    files = report.write(folder)
    if as_json:
        json.dump({"folder": str(folder), "report": str(files.html), **read_data(folder, FILE)}, sys.stdout, indent=1)
        print()
        return
    print("\n".join(report.guarantees.said(open_run(folder))))
    print(f"\nreport: {files.html}\n        {files.markdown}")
