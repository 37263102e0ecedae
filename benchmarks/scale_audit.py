"""A billion messages through the accountant, a million of them lost and a million repeated: ``python -m benchmarks.scale_audit``.

The journals are synthesised as an endpoint writes them: an ATTEMPT and an OK for each block that is sent, a PROCESSED for each poll, cut
where a message is missing, one for each repeat. The audit runs in a process of its own, so that its peak of memory (VmHWM) is its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.audit import ConsumerSource, Source, audit
from bench.clock import now_ns
from bench.journal import REDELIVERED, Kind, Writer
from bench.usage import peak_b

LIMIT_B = 1_000_000_000
_BLOCK, _POLL = 512, 1024
_TRIAL = 1


def make(folder: Path, messages: int, holes: int, repeats: int, members: int) -> None:
    """Write the journals of one producer and of one group's members, who take polls in turn; holes and repeats are at random."""
    random = np.random.default_rng(1)
    missing = _some(random, messages, holes)
    again = np.setdiff1d(_some(random, messages, repeats), missing)
    with Writer(folder, "producer") as writer:
        for first in range(0, messages, _BLOCK):
            count = min(_BLOCK, messages - first)
            for kind in (Kind.ATTEMPT, Kind.OK):
                writer.span(kind, trial=_TRIAL, producer=0, first=first, count=count, t_first=first, t_last=first)
    writers = [Writer(folder, f"consumer-{member}") for member in range(members)]
    for poll, first in enumerate(range(0, messages, _POLL)):
        writer, stop = writers[poll % members], min(first + _POLL, messages)
        gone = missing[np.searchsorted(missing, first) : np.searchsorted(missing, stop)].tolist()
        begin = first
        for end in (*gone, stop):
            if end > begin:
                writer.span(Kind.PROCESSED, trial=_TRIAL, producer=0, first=begin, count=end - begin, group=0, t_first=stop, t_last=stop)
            begin = end + 1
        for one in again[np.searchsorted(again, first) : np.searchsorted(again, stop)].tolist():
            writer.span(Kind.PROCESSED, trial=_TRIAL, producer=0, first=one, count=1, group=0, t_first=stop, t_last=stop, flags=REDELIVERED)
    for writer in writers:
        writer.close()
    (folder / "truth.json").write_text(json.dumps({"lost": len(missing), "duplicated": len(again)}))


def _some(random: np.random.Generator, messages: int, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return about ``count`` different numbers, ascending: of so many, choice() would shuffle all."""
    return np.unique(random.integers(0, messages, count))


def account(folder: Path, messages: int, members: int) -> dict[str, Any]:
    """Audit them; what was found, how long it took, what memory."""
    truth = json.loads((folder / "truth.json").read_text())
    begun = now_ns()
    receivers = [ConsumerSource(folder, f"consumer-{member}", member=member) for member in range(members)]
    found = audit([Source(folder, "producer")], receivers, trial=_TRIAL, groups=["g"])["g"]
    right = (found.lost, found.duplicated, found.redelivered) == (truth["lost"], truth["duplicated"], truth["duplicated"])
    right &= (found.sent, found.processed, found.reordered) == (messages, messages - truth["lost"], 0)
    return truth | {"right": right, "s": (now_ns() - begun) / 1e9, "peak_b": peak_b()}


def main(words: Sequence[str] | None = None) -> int:
    """Make the journals, audit them, print both. 1 where a count is wrong or the memory over its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_audit", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000_000)
    parser.add_argument("--holes", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=1_000_000)
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--journals", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.journals:
        print(json.dumps(account(args.journals, args.messages, args.members)))
        return 0
    with tempfile.TemporaryDirectory(prefix="scale-audit-") as name:
        folder = Path(name)
        begun = now_ns()
        make(folder, args.messages, args.holes, args.repeats, args.members)
        made_s, size_b = (now_ns() - begun) / 1e9, sum(path.stat().st_size for path in folder.iterdir())
        print(f"{args.messages:,} messages, {args.members} members: journals of {size_b / 1e6:.0f} MB, made in {made_s:.0f} s", flush=True)
        command = [sys.executable, "-m", "benchmarks.scale_audit", "--journals", name]
        command += ["--messages", str(args.messages), "--members", str(args.members)]
        root = Path(__file__).resolve().parent.parent
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)
    print(
        f"audit: {found['s']:.1f} s, peak {found['peak_b'] / 1e6:.0f} MB; {found['lost']:,} lost, {found['duplicated']:,} repeated; ",
        end="",
    )
    print("every count is right" if found["right"] else "COUNTS ARE WRONG")
    return 0 if found["right"] and found["peak_b"] <= LIMIT_B else 1


if __name__ == "__main__":
    sys.exit(main())
