"""Our own gate, the last step of .ci/run: this revision's harness against the one that it comes from, over tcp and zeromq.

A delivery promise that head breaks fails the build. Speed informs: CI machines are shared, and a build that fails for their noise is one
that people learn to ignore. Whatever keeps it from comparing (no git, a shallow clone, another protocol) is said, and the build goes on.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ("tcp", "zeromq")
ALL_S = 55.0  # for all of it
_END_S = 5.0  # from Ctrl-C to SIGKILL
_QUICK = ("--metrics", "rate,cpu", "--max-time", "12s", "--quiet")


def git(repository: Path, *words: str) -> str | None:
    """Return what git says; None where it refuses or is not there."""
    try:
        done = subprocess.run(["git", "-C", repository, *words], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def base_of(repository: Path) -> tuple[str | None, str]:
    """The commit to compare with, and how it was found, or why there is none."""
    head = git(repository, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None:
        return None, "no git here, or no commit"
    main = git(repository, "rev-parse", "--verify", "--quiet", "origin/main^{commit}")
    forked = git(repository, "merge-base", "HEAD", "origin/main") if main is not None else None
    if forked is not None and forked != head:
        return forked, "the merge base with origin/main"
    before = git(repository, "rev-parse", "--verify", "--quiet", "HEAD~1^{commit}")
    if before is not None:
        return before, "HEAD~1"
    shallow = git(repository, "rev-parse", "--is-shallow-repository") == "true"
    return None, "a shallow clone has no HEAD~1" if shallow else "there is one commit only"


def blocks(gate: Mapping[str, Any]) -> bool:
    """Whether gate.json has what fails a build: promises that head broke."""
    return bool(gate["delivery"]["head"]["broken_groups"])


def measured(system: str, base: str, results: Path, left_s: float) -> tuple[int | None, Mapping[str, Any] | None]:
    """Run one gate: its exit code (None: out of time) and gate.json (None: it did not come so far). Its page goes to our output."""
    command = [sys.executable, "-m", "bench.cli", "gate", "order-events", "--base", f"{system},rev={base}", "--head", system, *_QUICK]
    with subprocess.Popen([*command, "--results", str(results)], cwd=ROOT) as process:
        try:
            code: int | None = process.wait(max(left_s - _END_S, 0.0))
        except subprocess.TimeoutExpired:
            code = None
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
    written = sorted(results.glob("*/gate.json"))
    return code, json.loads(written[-1].read_text(encoding="utf-8")) if written else None


def main() -> int:
    """Gate each system; return 1 where head breaks a promise, else 0."""
    began = time.monotonic()
    base, how = base_of(ROOT)
    if base is None:
        print(f"own gate: no base, nothing to compare with: {how}", flush=True)
        return 0
    print(f"own gate: base {base[:12]}, {how}", flush=True)
    broken = []
    for system in SYSTEMS:
        left_s = ALL_S - (time.monotonic() - began)
        folder = Path(tempfile.mkdtemp(prefix="own-gate-"))
        code, gate = measured(system, base, folder, left_s) if left_s > _END_S else (None, None)
        said = {None: "out of time", 0: "passed", 1: "failed, which informs only"}.get(code, f"exit code {code}: could not tell")
        if gate is not None and blocks(gate):
            broken.append(system)
            said = f"head breaks its promise: {'; '.join(gate['delivery']['head']['reasons'][:3])}"
        print(f"own gate: {system}: {said}", flush=True)
    print(f"own gate: {time.monotonic() - began:.0f} s", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
