"""What the harness costs, for the record: ``python -m benchmarks.evidence.overhead``, `make evidence-overhead`.

`brokerbench overhead` of every adapter in every profile, 100 B and 1 KiB, ten rounds. Started again, it goes on with the
newest run in the work folder that was cut off on this machine with this revision of the code and was asked the same.
What is committed is overhead.json, every round, and overhead.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import environment
from bench.errors import BenchError
from bench.overhead import record, run, verb
from bench.overhead.record import Asked
from bench.progress import Progress
from benchmarks.evidence import common

FULL = Asked(run.SYSTEMS, (100, 1024), 10, 1.0, run.WARMUP_S, run.BATCH, 1, distinct=False)
QUICK = Asked(("tcp",), (100,), 1, 0.2, 0.2, run.BATCH, 1, distinct=False)


def unfinished(work: Path, asked: Asked) -> Path | None:
    """The newest run of ``work`` that is not whole and can be gone on with."""
    here = environment.capture()
    kept = sorted(work.glob(f"*/{record.FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in (path.parent for path in kept):
        try:
            found = record.read(folder)
            record.same_machine(found.sittings, here)
        except BenchError:
            continue  # damaged, of another revision or machine: begun anew
        if found.asked == asked and not found.whole:
            return folder
    return None


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is missing, then copy the result; the exit code of `brokerbench overhead`."""
    args = common.of_verb("overhead", (__doc__ or "").split("\n\n")[0], "tcp, one round", words)
    asked = QUICK if args.quick else FULL
    progress = Progress()
    begun = run.begin(asked, args.work, command="make evidence-overhead", resume=unfinished(args.work, asked), told=progress.say)
    code = verb.measured(begun, progress, as_json=False)
    common.keep(begun.folder, (record.FILE, verb.MARKDOWN), args.out)
    return code


if __name__ == "__main__":
    sys.exit(common.ended(main))
