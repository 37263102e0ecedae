"""What every evidence has in common: numbered runs that are resumed, how long it takes, where the summary goes.

A run is one file NNN.json in a work folder (results/evidence/NAME, not committed), written whole when the run has ended. Started
again, the command goes on with the first run that is not there; a run that was cut is repeated. The summary of all of them goes to
results/reference/<machine>/evidence-NAME (committed), with every round's figures, so that anybody can compute it again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench import environment
from bench.clock import now_ns
from bench.errors import BenchError, EnvironmentProblem, Incompatible, Interrupted, UsageError
from benchmarks.evidence.runs import BETWEEN_S, START_S

Json = dict[str, Any]
FORMAT = 1
RESULTS = Path(__file__).resolve().parents[2] / "results"
SYSTEMS = ("tcp", "zeromq")


@dataclass(frozen=True)
class Size:
    """How much is measured: runs a system, rounds a run, seconds of a trial."""

    runs: int
    rounds: int
    warmup_s: float
    measure_s: float

    def run_s(self, *, variants: int) -> float:
        """About how long one scenario takes."""
        return START_S + self.rounds * variants * (self.warmup_s + self.measure_s + BETWEEN_S)

    @property
    def timing(self) -> str:
        """As a scenario has it."""
        return f"timing: {{warmup: {self.warmup_s * 1e3:g} ms, measure: {self.measure_s * 1e3:g} ms, drain: 5 s}}"


class Work:
    """The runs of one evidence in a folder that one process writes. ``settings``: what all of its runs have to agree in."""

    def __init__(self, folder: Path, settings: Json) -> None:
        self.folder = folder
        self.settings = settings
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Raises EnvironmentProblem while another process writes here. What a killed one left behind is removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            told = f"{self.folder}: another process measures into this folder; wait for it, or give another --work"
            raise EnvironmentProblem(told) from None
        for left in (*self.folder.glob(".run-*"), *self.folder.glob("*.new")):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        """Let others write."""
        if self._lock is not None:
            os.close(self._lock)

    def load(self, number: int) -> Json | None:
        """Run ``number`` if it was measured; raises UsageError where that was with other settings."""
        path = self._path(number)
        if not path.exists():
            return None
        record = read(path)
        before = record.get("settings", {})
        other = [f"{key} {before.get(key)}, now {value}" for key, value in self.settings.items() if before.get(key) != value]
        if other:
            told = f"{path}: measured with other settings ({'; '.join(other)})"
            raise UsageError(f"{told}: give those again, or another --work, or remove the folder")
        return record

    def save(self, number: int, record: Json) -> None:
        """Write a run that has ended: whole, or not at all."""
        write(self._path(number), json.dumps({"format": FORMAT, "run": number, "settings": self.settings} | record, allow_nan=False) + "\n")

    def set_aside(self, number: int) -> None:
        """Keep a run apart, so that its number is measured again."""
        count = len(list(self.folder.glob(f"{number:03d}-aside-*.json")))
        self._path(number).rename(self.folder / f"{number:03d}-aside-{count + 1}.json")

    def aside(self) -> list[Json]:
        """The runs that were set aside."""
        return [read(path) for path in sorted(self.folder.glob("*-aside-*.json"))]

    def scratch(self, number: int) -> Path:
        """A folder for what a run leaves (journals, logs); removed when the run is done."""
        folder = self.folder / f".run-{number:03d}"
        folder.mkdir()
        return folder

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:03d}.json"


def execute(work: Work, systems: Sequence[str], run_s: float, measure: Callable[[int, str, Path], Json]) -> list[Json]:
    """Measure what is not there yet, one run after another, and return all runs; ``systems``: of each run.

    ``measure`` is given the run's number (from 1), its system and a folder. Says how long it will take, then how long is left.
    """
    done = [work.load(number) for number in range(1, len(systems) + 1)]
    missing = [number for number, record in enumerate(done, 1) if record is None]
    kept = f", {len(done) - len(missing)} of them are there already" if len(missing) < len(done) else ""
    say(f"{len(done)} runs{kept}: about {span(run_s * len(missing))} (the summary takes up to a minute more)")
    for at, number in enumerate(missing):
        folder = work.scratch(number)
        begun = now_ns()
        try:
            record = measure(number, systems[number - 1], folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        work.save(number, record)
        done[number - 1] = work.load(number)
        run_s = (now_ns() - begun) / 1e9 if at == 0 else 0.7 * run_s + 0.3 * (now_ns() - begun) / 1e9
        left = len(missing) - at - 1
        say(f"run {number} of {len(done)}, {systems[number - 1]}: {record['seconds']:.0f} s; about {span(run_s * left)} left")
    return [record for record in done if record is not None]


def summary(kind: str, settings: Json, runs: Sequence[Json], tables: Json) -> Json:
    """What is committed: machine, settings, tables, and what they were computed from."""
    return {
        "format": FORMAT, "kind": kind, "machine": environment.machine_name(), "environment": environment.capture(),
        "settings": settings, "tables": tables, "runs": [{key: value for key, value in run.items() if key != "settings"} for run in runs],
    }  # fmt: skip


def save_summary(folder: Path, name: str, made: Json, page: str) -> None:
    """Write NAME.json (a line a run) and NAME.md."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in made.items() if key != "runs"]
    runs = ",\n".join(json.dumps(run, allow_nan=False) for run in made["runs"])
    write(folder / f"{name}.json", "{" + ",\n".join(parts) + f',\n"runs": [\n{runs}\n]}}\n')
    write(folder / f"{name}.md", page)


def conclude(folder: Path, name: str, made: Json, page: Callable[[Json], str]) -> None:
    """Save a summary, print its page, and say where it is."""
    save_summary(folder, name, made, page(made))
    print(page(made))
    say(f"Kept in {folder}")


def read(path: Path, kind: str = "") -> Json:
    """A file of ours. Raises UsageError where it is none (or not of ``kind``), Incompatible where it is of a newer format."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("format"), int) or (kind and data.get("kind") != kind):
        raise UsageError(f"{path}: not a file of {kind or 'an evidence'}")
    if data["format"] > FORMAT:
        raise Incompatible(f"{path}: format {data['format']}; this revision reads up to format {FORMAT}")
    return data


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    made = path.with_name(path.name + ".new")
    with made.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    made.replace(path)


def between(text: str, begin: str, end: str, made: str) -> str:
    """A page with ``made`` between its markers; UsageError where it has none."""
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UsageError(f"the page has no {begin} ... {end}")
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


# ---- words


def say(text: str) -> None:
    """Progress, apart from what is printed."""
    print(text, file=sys.stderr, flush=True)


def span(seconds: float) -> str:
    """For people: "95 s", "12 min"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Markdown; None as "n/a"."""
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join("n/a" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def factor(ratio: float | None) -> str:
    """A ratio for a table: 1.04x."""
    return "n/a" if ratio is None else f"{ratio:.3g}x" if ratio >= 2 else f"{ratio:.3f}x"


def share(count: int, of: int) -> str:
    """A share for a table: 85%."""
    return f"{count / of:.0%}" if of else "n/a"


def circumstances(made: Mapping[str, Any]) -> str:
    """Where and when the runs were measured and what disturbed them, for a page."""
    runs = made["runs"]
    revisions = sorted({f"{(run['revision'] or {}).get('revision') or 'unknown'}"[:12] for run in runs})
    others = sorted(run["others_cores"] for run in runs if run["others_cores"] is not None)
    audits: dict[str, int] = {}
    for run in runs:
        for word, count in run["audit"].items():
            audits[word] = audits.get(word, 0) + count
    machine = made["environment"]["machine"]
    lost = sum(len(run["not_ok"]) for run in runs)
    where = f"{made['machine']} ({machine['cpu']}, {machine['cores']} cores, {machine['os']}, {machine['kernel']})"
    started = sorted(run["started"] for run in runs)
    took = span(sum(run["seconds"] for run in runs))
    by_others = f"{others[len(others) // 2]} cores (median of the runs' medians), at most {others[-1]}" if others else "an unknown share"
    stolen = max(run["steal"] for run in runs)
    said = ", ".join(f"{count} {word}" for word, count in sorted(audits.items()))
    return (
        f"Machine: {where}. Measured from {started[0]} to {started[-1]}, {took} in all, revision {', '.join(revisions)}.\n"
        f"Disturbance: others used {by_others}; the hypervisor took at most {stolen:.2%}. Trials that failed: {lost}. Audits: {said}."
    )


# ---- the command


def placed(parser: argparse.ArgumentParser, name: str) -> Callable[[argparse.Namespace], None]:
    """Add --work and --out of an evidence that has --quick; return what fills in where they go by default, once they are parsed."""
    committed = f"results/reference/<machine>/evidence-{name}"
    parser.add_argument("--work", type=Path, metavar="DIR", help=f"where the runs are kept (default: results/evidence/{name})")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where the summary goes (default: {committed})")

    def fill(args: argparse.Namespace) -> None:
        args.work = args.work or RESULTS / "evidence" / (f"{name}-quick" if args.quick else name)
        args.out = args.out or (args.work / "summary" if args.quick else environment.machine_folder(RESULTS) / f"evidence-{name}")

    return fill


def of_verb(name: str, what: str, quick: str, words: Sequence[str] | None, *, systems: bool = False) -> argparse.Namespace:
    """The command line of an evidence that is a verb's long run: --quick, --work, --out; ``systems``: those to try, by name."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.evidence.{name}", description=what)
    parser.add_argument("--quick", action="store_true", help=f"a smoke test that shows nothing: {quick}")
    if systems:
        parser.add_argument("systems", nargs="*", metavar="SYSTEM", help="only of these, kept in a folder named after them (default: all)")
    fill = placed(parser, name)
    args = parser.parse_args(words)
    fill(args)
    return args


def keep(folder: Path, names: Iterable[str], out: Path) -> None:
    """Copy what is to be committed of a run's folder."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(folder / name, out / name)
    say(f"Kept in {out}")


def arguments(name: str, what: str, full: Size, quick: Size, words: Sequence[str] | None) -> tuple[argparse.Namespace, Size]:
    """The command line of one evidence; ends the process with code 2 and a reason for what is not understood."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.evidence.{name}", description=what)
    smoke = f"a smoke test that shows nothing: {quick.runs} run of each system, {quick.rounds} rounds"
    parser.add_argument("--quick", action="store_true", help=smoke)
    parser.add_argument("--runs", type=int, metavar="N", help=f"runs of each system (default: {full.runs})")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds of each run (default: {full.rounds})")
    fill = placed(parser, name)
    again = f"measure nothing: compute the tables of a {name}.json again, and compare"
    parser.add_argument("--recompute", type=Path, metavar="FILE", help=again)
    args = parser.parse_args(words)
    size = quick if args.quick else full
    for option, value in (("--runs", args.runs), ("--rounds", args.rounds)):
        if value is not None and not 1 <= value <= 500:
            parser.error(f"{option} {value}: 1 to 500")
    size = Size(args.runs or size.runs, args.rounds or size.rounds, size.warmup_s, size.measure_s)
    fill(args)
    return args, size


def ended(go: Callable[[], int]) -> int:
    """Run a command; errors become one line and an exit code (formats.md)."""
    try:
        return go()
    except KeyboardInterrupt:
        say("interrupted; runs that had ended are kept, the same command goes on")
        return Interrupted.exit_code
    except Interrupted:
        say("interrupted; runs that had ended are kept, the same command goes on")
        return Interrupted.exit_code
    except BenchError as error:
        say(f"error: {error}")
        return error.exit_code


def recompute(path: Path, kind: str, tables: Callable[[Sequence[Json]], Json], page: Callable[[Json], str]) -> int:
    """Compute the tables of a summary again from its runs and print its page; 1 where they are not those that it has."""
    made = read(path, kind)
    again = json.loads(json.dumps(tables(made["runs"])))
    print(page(made | {"tables": again}))
    if again == made["tables"]:
        say(f"{path}: its tables follow from its runs")
        return 0
    say(f"{path}: its tables do not follow from its runs (another revision of bench/analysis/compare.py?)")
    return 1
