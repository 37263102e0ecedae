"""What each mode does under each fault, for the record: ``python -m benchmarks.evidence.guarantees``, `make evidence-guarantees`.

`brokerbench guarantees` over every system: the core cells with twenty counted injections each, of the others those of FAULTS with
three. Cells take turns, so that wherever it ends each has been tried. Started again, it goes on with the newest run in the work
folder that was cut off on this machine and was asked the same. What is committed is guarantees.json, every injection, with
guarantees.md and guarantees.csv; journals of surprises stay in the work folder.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import environment, store
from bench.errors import BenchError
from bench.guarantees import cells, command, run
from bench.guarantees.record import FILE, Asked
from bench.guarantees.run import Guarantees
from bench.progress import Progress
from benchmarks.evidence import common

FAULTS = ("baseline", "consumer-kill", "producer-kill", "server-kill", "black-hole-long", "zombie-consumer")
"""Of the cells that are not core: what fits into the time."""
FULL = Asked((), FAULTS, cells.INJECTIONS, cells.CORE_INJECTIONS)
QUICK = Asked(("redis_pubsub",), ("consumer-kill",), 1, 1)
LIMIT_S = 100 * 60.0
KEPT = (FILE, "guarantees.md", "guarantees.csv")


def unfinished(work: Path, asked: Asked) -> Path | None:
    """The newest run of ``work`` that was asked the same and lacks injections."""
    kept = sorted(work.glob(f"*/{FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in (path.parent for path in kept):
        try:
            data = store.read_data(folder, FILE)
        except BenchError:
            continue  # damaged: begun anew
        same = Asked.from_json(data["asked"]) == asked
        if same and any(cell["status"] == "waiting" for cell in data["cells"]):
            return folder
    return None


def main(words: Sequence[str] | None = None) -> int:
    """Try what is missing, then copy the result; the exit code of `brokerbench guarantees`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence.guarantees", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test that shows nothing: one injection")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the runs are kept (default: results/evidence/guarantees)")
    committed = "results/reference/<machine>/evidence-guarantees"
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where the result goes (default: {committed})")
    args = parser.parse_args(words)
    asked = QUICK if args.quick else FULL
    work = args.work or common.RESULTS / "evidence" / ("guarantees-quick" if args.quick else "guarantees")
    out = args.out or (work / "summary" if args.quick else environment.machine_folder(common.RESULTS) / "evidence-guarantees")
    progress = Progress()
    before = unfinished(work, asked)
    record, writer, plan = run.resumed(before) if before else (*run.begin(asked, work, command="make evidence-guarantees"), [])
    code = command.tried(Guarantees(record, writer, progress, plan, time_s=LIMIT_S), progress, as_json=False)
    out.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copy(writer.folder / name, out / name)
    common.say(f"Kept in {out}")
    return code


if __name__ == "__main__":
    sys.exit(common.ended(main))
