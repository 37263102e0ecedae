"""The command as a user has it: the installed `brokerbench`, in a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.evidence.processes import alive, gone, line_of, processes  # noqa: F401  # for the tests, which import them from here
from benchmarks.evidence.processes import family as family_of

COMMAND = Path(sys.executable).parent / "brokerbench"
ROOT = Path(__file__).resolve().parents[2]

SMALL = """\
name: small
systems: [{systems}]
topology: {{producers: 1, groups: {{a: 1, b: 1}}, partitions: 2, routing: key}}
keys: {{count: 100}}
payload: {{size: 128 B}}
load: {{rate: 300/s}}
timing: {{warmup: 200 ms, measure: {measure}, drain: 10 s}}
rounds: {rounds}
lanes: {{aa: false, floor: false}}
"""


def small(folder, systems="tcp", rounds=1, measure="500 ms"):
    """A scenario's file."""
    path = folder / "small.yaml"
    path.write_text(SMALL.format(systems=systems, rounds=rounds, measure=measure))
    return path


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKERBENCH_") or name == "BROKERBENCH_HOME"}
    return {**kept, "NO_COLOR": "1", **more}


def brokerbench(*words, cwd, timeout_s=110, **more):
    """Run it to its end; whatever happens, no traceback reaches the user."""
    done = subprocess.run(
        [COMMAND, *map(str, words)], cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr + done.stdout
    return done


def started(*words, cwd, **more):
    """Start it, its output in files: out() and err() read them while it runs."""
    out, err = cwd / f"out-{time.monotonic_ns()}", cwd / f"err-{time.monotonic_ns()}"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [COMMAND, *map(str, words)], cwd=cwd, env=environment(**more), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
    process.out, process.err = out.read_text, err.read_text
    return process


def until(condition, process=None, timeout_s=60.0, what="it"):
    """Wait for something true and return it; fail with the command's own words."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        said = process.err() + process.out() if process is not None else ""
        assert process is None or process.poll() is None, f"the command ended before {what}: {said}"
        assert time.monotonic() < deadline, f"{what} did not come about within {timeout_s} s: {said}"
        time.sleep(0.01)
    return found


def ran(folder, text):
    """Run a scenario's text; the ended command, the run's folder, its trials by variant (the last of each)."""
    (folder / "scenario.yaml").write_text(text)
    done = brokerbench("run", "scenario.yaml", "--results", "results", cwd=folder)
    found = folder_of(folder / "results")
    return done, found, {record["variant"]["id"]: record for record in trials(found)}


def folder_of(results):
    """The one run's folder under ``results``."""
    (folder,) = [path.parent for path in results.glob("*/run.json")]
    return folder


def read(path):
    return json.loads(path.read_text())


def trials(folder):
    return [read(path) for path in sorted(folder.glob("trials/[0-9]*/trial.json"))]


def family(process, *words):
    """All that a command has started: its descendants, and what names ``words``."""
    return family_of(process.pid, *words)
