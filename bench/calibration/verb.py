"""`brokerbench calibrate`: runs, compares, keeps and prints the table; `brokerbench report` of such a run prints it again."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import environment
from bench.calibration import exact, figures, live
from bench.calibration.exact import Case
from bench.calibration.figures import Figure
from bench.errors import EnvironmentProblem, Incompatible, UsageError
from bench.progress import Progress
from bench.store import Run, RunWriter

TABLE: Final = "calibration.json"
PAGE: Final = "calibration.md"
FORMAT: Final = 1
SEED_MAX: Final = 2**32


def calibrate(args: argparse.Namespace) -> int:
    """Run the exact comparison, or the live one, and print its table; 0 where every figure is right, else 1 (a quick live one: 0)."""
    if not 0 <= args.seed < SEED_MAX:
        raise UsageError(f"--seed {args.seed}: a whole number from 0 to {SEED_MAX - 1}")
    command = shlex.join(["brokerbench", *args.argv])
    if args.live:
        out = args.out or (Path("results/evidence/calibration-quick") if args.quick else environment.machine_folder() / "calibration")
        found = live.run(args.results, out, seed=args.seed, quick=args.quick, command=command, progress=Progress(quiet=args.json))
        _print(out / live.PAGE, found, as_json=args.json)
        return 0 if all(figure.right for figure in found) or args.quick else 1
    if args.quick or args.out is not None:
        raise UsageError(f"{'--quick' if args.quick else '--out'} is for live trials: say --live too")
    folder, found = run_exact(
        args.results, exact.cases(args.seed), seed=args.seed, command=command, quiet=args.json, endpoint=exact.ENDPOINT
    )
    _print(folder / PAGE, found, as_json=args.json)
    return 0 if all(figure.right for figure in found) else 1


def run_exact(
    results: Path | None, chosen: Sequence[Case], *, seed: int, command: str, quiet: bool, endpoint: Sequence[str]
) -> tuple[Path, list[Figure]]:
    """Run the cases; return the run's folder and every figure of the comparison. ``endpoint``: what Python is given to be one."""
    writer = RunWriter.create(results, exact.described(chosen, seed), command=command, kind="calibrate")
    exact.run(writer, chosen, seed=seed, progress=Progress(quiet=quiet), endpoint=endpoint)
    found = exact.compare(writer.folder, chosen)
    keep(writer.folder, found, {"seed": seed, "cases": [case.to_json() for case in chosen]})
    return writer.folder, found


def keep(folder: Path, found: Sequence[Figure], about: Mapping[str, Any]) -> None:
    """Write calibration.json and calibration.md."""
    data = {"format": FORMAT, **about, "figures": [figure.to_json() for figure in found]}
    try:
        (folder / TABLE).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(figures.markdown(("case", *figures.HEAD), figures.rows(found, every=True)), encoding="utf-8")
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: the table cannot be written ({error.strerror})") from error


def kept(folder: Path) -> list[Figure]:
    """Read calibration.json; raises UsageError where there is none or it is damaged, Incompatible for a newer one."""
    path = folder / TABLE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] > FORMAT:
            raise Incompatible(f"{path}: format {data['format']}; this brokerbench reads up to format {FORMAT}: update it")
        return [Figure.from_json(row) for row in data["figures"]]
    except FileNotFoundError:
        raise UsageError(f"{folder} is a calibration that was not finished: it has no {TABLE}; run `brokerbench calibrate` again") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a table of `brokerbench calibrate`: {error!r}") from error


def report(opened: Run, args: argparse.Namespace) -> int:
    """Print the table that was kept."""
    _print(opened.folder / PAGE, kept(opened.folder), as_json=args.json)
    return 0


def _print(page: Path, found: Sequence[Figure], *, as_json: bool) -> None:
    wrong = [figure for figure in found if not figure.right]
    if as_json:
        json.dump(
            {"folder": str(page.parent), "wrong": len(wrong), "figures": [figure.to_json() for figure in found]}, sys.stdout, indent=1
        )
        print()
        return
    print(figures.text(figures.HEAD, figures.rows(found, every=False)))
    cases = len({figure.case for figure in found})
    print(f"\n{len(found) - len(wrong)} of {len(found)} figures are right, in {cases} cases.")
    print("A row is the furthest from the truth of all figures of its name (so many).")
    if wrong:
        print("\nwrong:")
        print(figures.text(("case", *figures.HEAD), figures.rows(wrong, every=True)))
    print(f"\ntable: {page}")
