"""What each mode does under each fault, for the record: ``python -m benchmarks.evidence.guarantees``, `make evidence-guarantees`.

`brokerbench guarantees` over every system: the core cells with twenty counted injections each, of the others those of FAULTS with
three. Cells take turns, so that wherever it ends each has been tried. Started again, it goes on with the newest run in the work
folder that was cut off on this machine and was asked the same. Systems that are named are tried alone, into a folder of their own.
What is committed is guarantees.json, every injection, with guarantees.md and guarantees.csv; journals of surprises stay in the work
folder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import spec, stage, store
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


def with_mode(system: str) -> str:
    """A SPEC that names its mode: without it, `guarantees` means all modes of the system."""
    variant = spec.parse(system)
    return system if variant.mode else spec.parse(f"{system},mode={stage.made(variant)[1].mode.name}").spec


def unfinished(work: Path, asked: Asked) -> Path | None:
    """The newest run of ``work`` that was asked the same and lacks injections, also of cells that were given up."""
    kept = sorted(work.glob(f"*/{FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in (path.parent for path in kept):
        try:
            data = store.read_data(folder, FILE)
        except BenchError:
            continue  # damaged: begun anew
        same = Asked.from_json(data["asked"]) == asked
        if same and any(cell["status"] in ("waiting", "failed") for cell in data["cells"]):
            return folder
    return None


def tried(name: str, what: str, full: Asked, quick: Asked, words: Sequence[str] | None) -> int:
    """The command of an evidence that is a run of the verb: ``full`` or ``quick`` is asked, of the systems or SPECs that are named.

    Its first paragraph of ``what`` says what it is about; results go to folders called ``name``. Returns the verb's exit code.
    """
    args = common.of_verb(name, what.split("\n\n", maxsplit=1)[0], "one injection of each cell", words, systems=True)
    asked = quick if args.quick else full
    asked = replace(asked, specs=tuple(args.systems) or asked.specs)
    out = args.out / "-".join(args.systems) if args.systems else args.out
    progress = Progress()
    before = unfinished(args.work, asked)
    record, writer, plan = run.resumed(before) if before else (*run.begin(asked, args.work, command=f"make evidence-{name}"), [])
    code = command.tried(Guarantees(record, writer, progress, plan, time_s=LIMIT_S), progress, as_json=False)
    common.keep(writer.folder, KEPT, out)
    return code


def main(words: Sequence[str] | None = None) -> int:
    """Try what is missing, then copy the result; the exit code of `brokerbench guarantees`."""
    return tried("guarantees", __doc__ or "", FULL, QUICK, words)


if __name__ == "__main__":
    sys.exit(common.ended(main))
