"""What lies between the trials of a run: ``python -m benchmarks.gaps FOLDER``. The limit is 0.5 s (issue 4).

From the end of one trial's drain to the start of the next one's load: reports, audit, results on disk, the next prepare, and 40 ms in
which every endpoint hears of the start. Trials of one series and one wiring only: others start servers or endpoints in between.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from bench import store
from bench.errors import BenchError

LIMIT_S = 0.5


def gaps(trials: Sequence[dict[str, Any]]) -> list[tuple[str, float]]:
    """The variant that was drained and the seconds until the next trial's load began, for each pair of trials that ended well."""
    found = []
    for before, after in pairwise(trials):
        if before["status"] != "ok" or after["status"] != "ok" or before["drained_s"] is None or before["series"] != after["series"]:
            continue
        end_ns = before["go_ns"] + (before["workload"]["warmup_s"] + before["window_s"] + before["drained_s"]) * 1e9
        found.append((before["variant"]["id"], (after["go_ns"] - end_ns) / 1e9))
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Print median and longest gap after each variant. 1 where one was over the limit, 2 for what is not a run."""
    words = sys.argv[1:] if words is None else words
    if len(words) != 1:
        print("usage: python -m benchmarks.gaps FOLDER-OF-A-RUN", file=sys.stderr)
        return 2
    try:
        found = gaps(store.open_run(Path(words[0])).trials)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("| after a trial of | gaps | median, ms | longest, ms |")
    print("|---|---|---|---|")
    for variant in sorted({variant for variant, _ in found}):
        own = [gap * 1e3 for name, gap in found if name == variant]
        print(f"| {variant} | {len(own)} | {median(own):.0f} | {max(own):.0f} |")
    return 1 if any(gap > LIMIT_S for _, gap in found) else 0


if __name__ == "__main__":
    sys.exit(main())
