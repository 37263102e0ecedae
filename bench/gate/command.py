"""The verb `gate`: from arguments to a gate, its page, and the exit code."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import scenario, units
from bench.errors import EnvironmentProblem, UsageError
from bench.gate.asked import METRICS, known, percent
from bench.gate.files import Files
from bench.gate.result import FILE, PAGE, page
from bench.gate.run import Options, run
from bench.progress import Progress
from bench.store import read_data


def main(args: argparse.Namespace, axes: Mapping[str, Sequence[str]] | None) -> int:
    """Run a gate and print its page; ``axes`` as --set gave them."""
    options = _options(args)
    files = Files(args.junit, args.github_benchmark, args.summary)
    loaded = scenario.load(args.scenario)
    if axes or args.seed is not None:
        loaded = loaded.override(axes=axes, seed=args.seed)
    progress = Progress(quiet=args.quiet or args.json)
    files.prepare()
    result = run(loaded, options, results=args.results, progress=progress, command=shlex.join(["brokerbench", *args.argv]))
    if args.json:
        json.dump(result.to_json(), sys.stdout, indent=1)
        print()
    else:
        print(page(result.data))
        print(f"kept: {result.folder / PAGE}")
    files.write(result.data)
    return result.exit_code


def report(folder: Path, out: Path | None, *, as_json: bool) -> int:
    """Write gate.md again, from gate.json alone, and print it."""
    data = read_data(folder, FILE)
    try:
        text = page(data)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UsageError(f"{folder / FILE}: not whole: {type(error).__name__}: {error}") from error
    where = (out or folder) / PAGE
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentProblem(f"{where} cannot be written: {error.strerror}") from error
    if as_json:
        json.dump({"folder": str(folder), "markdown": str(where), **data}, sys.stdout, indent=1)
        print()
    else:
        print(text)
        print(f"kept: {where}")
    return 0


def _options(args: argparse.Namespace) -> Options:
    """Read the options; raises UsageError that names the option."""
    limit_s = units.of_option("--max-time", args.max_time, units.duration_s)
    names = read_metrics("--metrics", args.metrics.split(",") if args.metrics else ())
    if args.base is None and args.baseline is None:
        raise UsageError("--base SPEC: what is head to be compared with? (--baseline FILE for the past alone)")
    return Options(
        args.base or args.head, args.head, names, read_margins(args.margin or ()), limit_s, args.rounds, args.on_inconclusive or "",
        args.baseline,
    )  # fmt: skip


def read_margins(texts: Sequence[str]) -> dict[str, float]:
    """Read `rate=5%,p99=50%`, or `5%` for every metric; raises UsageError."""
    found: dict[str, float] = {}
    for part in (one.strip() for text in texts for one in text.split(",")):
        name, sign, value = part.partition("=")
        try:
            share = percent((value if sign else name).strip())
        except ValueError as error:
            raise UsageError(f"--margin {part}: {error}") from error
        if sign:
            read_metrics("--margin", (name,))
        found |= {name.strip(): share} if sign else dict.fromkeys(METRICS, share)
    return found


def read_metrics(option: str, words: Sequence[str]) -> tuple[str, ...]:
    """Names of metrics; raises UsageError that names the option."""
    try:
        return tuple(known(word.strip()) for word in words)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
