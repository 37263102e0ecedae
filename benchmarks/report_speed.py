"""What `brokerbench report` costs: ``python -m benchmarks.report_speed [--trials 280,1000] [--of FOLDER]``.

A committed reference run is multiplied: its rounds are copied in turn, with their trial files and histograms as they were measured,
until there are as many trials as asked for. The limits (issue 6): five systems in 20 rounds (here 280 trials: two rates, and the lanes)
in 10 s and 500 MB, 1,000 trials in 60 s, on two cores. Wall time is of this machine as it is now; where others use it, look at the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import environment, store
from bench.errors import BenchError, UsageError

LIMITS_S = {280: 10.0, 1000: 60.0}
LIMIT_B = 500 * 10**6


def main(words: Sequence[str] | None = None) -> int:
    """Print a row a size. 1 where a limit was passed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_speed", description="What `brokerbench report` costs.")
    parser.add_argument("--trials", default="280,1000", help="how many, a report each (default: %(default)s)")
    parser.add_argument("--of", type=Path, help="the run to multiply (default: the last committed reference run of this machine)")
    args = parser.parse_args(words)
    try:
        folder = args.of or newest()
        sizes = [int(word) for word in args.trials.split(",")]
        print(f"| trials of {folder.name} | wall, s | CPU, s | peak memory, MB | page, MB |\n|---|---|---|---|---|")
        return max(_row(folder, size) for size in sizes)
    except (BenchError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, BenchError) else UsageError.exit_code


def newest() -> Path:
    """The committed run of this machine that was begun last; raises UsageError where there is none."""
    found = sorted(environment.machine_folder().glob("*/run.json"), key=lambda path: str(store.read_json(path).get("started")))
    if not found:
        raise UsageError("no reference run of this machine is committed: name a run with --of")
    return found[-1].parent


def multiply(source: Path, folder: Path, trials: int) -> None:
    """Write a run of at least ``trials`` trials into ``folder``, in whole rounds: those of ``source`` again and again."""
    run = store.open_run(source)
    rounds: dict[int, list[dict[str, Any]]] = {}
    for trial in run.trials:
        rounds.setdefault(int(trial["round"]), []).append(trial)
    (folder / "trials").mkdir(parents=True)
    for name in ("environment.json", "scenario.yaml"):
        shutil.copy(source / name, folder / name)
    turns, plan = list(rounds.values()), []
    while len(plan) < trials:
        turn = len(plan) and plan[-1]["round"] + 1
        for original in turns[turn % len(turns)]:
            number = len(plan) + 1
            kept = folder / "trials" / f"{number:04d}"
            shutil.copytree(source / "trials" / f"{original['trial']:04d}", kept)
            trial = original | {"trial": number, "round": turn, "series": 0}
            (kept / "trial.json").write_text(json.dumps(trial, indent=1), encoding="utf-8")
            shown = {name: trial[name] for name in ("point", "series", "round", "position", "lane")}
            plan.append({"trial": number, "variant": trial["variant"]["id"], **shown})
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(run.run | {"id": folder.name}), encoding="utf-8")


def cost(folder: Path) -> tuple[float, float, int]:
    """Write a run's report in a process of its own; return its wall time and CPU in s, and its peak resident memory in bytes."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "bench.cli", "report", str(folder)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UsageError(f"brokerbench report {folder}: exit code {process.returncode}")
    return wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def _row(source: Path, trials: int) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        multiply(source, folder, trials)
        wall_s, cpu_s, peak_b = cost(folder)
        page_b = (folder / "report.html").stat().st_size
    over_s = next((limit for size, limit in sorted(LIMITS_S.items()) if trials <= size), float("inf"))
    over = wall_s > over_s or peak_b > LIMIT_B
    print(
        f"| {trials:,} | {wall_s:.1f} | {cpu_s:.1f} | {peak_b / 1e6:.0f} | {page_b / 1e6:.2f} |{' over the limit' if over else ''}",
        flush=True,
    )
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
