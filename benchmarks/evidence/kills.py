"""Are the suite's own processes safe to kill? ``make evidence-kills``: SIGKILL of any of them, at random moments, while it runs.

A sitting is one `brokerbench run` on the fake server, raw TCP and Redis. Endpoints, servers and the watchdog are killed in it, one after
another, and at last the runner. Then: nothing that it had started is left (by the processes that were seen and by command lines, never by
the mark in the environment); the results folder opens and makes a report; no more trials failed than were disturbed; and what journals
and trials say did happen, by the fake server's own log (benchmarks.evidence.truth).
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import environment, report, store
from bench.audit import audit
from bench.calibration.adapter import SYSTEM as FAKE
from bench.clock import now_ns, utc_now
from bench.errors import BenchError
from benchmarks.evidence import common, fake, truth
from benchmarks.evidence.common import Json
from benchmarks.evidence.processes import Identity, family, gone, processes

SYSTEMS = (FAKE, "tcp", "redis_pubsub")
ROLES = ("runner", "endpoint", "server", "watchdog")
WITHIN_S = 5.0  # after the runner's death all has to be gone
APART_S = (0.05, 0.5)  # between two kills
EARLY_S = 1.5  # of a sitting with one kill: within its start-up
KILLS = 10  # of a full sitting
SITTING_S = 8.0  # about
ROOT = Path(__file__).resolve().parents[2]
_SCENARIO = f"""\
name: kills
systems: [{{systems}}]
topology: {{{{producers: 1, groups: {{{{{", ".join(f"{group}: 1" for group in fake.GROUPS)}}}}}, partitions: 2, routing: round-robin}}}}
payload: {{{{size: 128 B}}}}
load: {{{{rate: 2 kHz}}}}
timing: {{{{warmup: 100 ms, measure: 150 ms, drain: 10 s}}}}
rounds: 200
lanes: {{{{aa: false, floor: false}}}}
"""
_MARKS = {"bench.watchdog": "watchdog", "bench.endpoint": "endpoint", "fake_server": "server", "redis-server": "server", "valkey": "server"}
_ENDPOINT = re.compile(r"/\d+-([^/]+)-(?:producer|consumer)-[^/]*\.spec\.json")


@dataclass(frozen=True)
class Kill:
    """One SIGKILL: who, of which system ("" = of none), when."""

    victim: str  # one of ROLES
    system: str
    at_s: float  # since the command was started


def role_of(line: str) -> str:
    """What a process of the suite is, by its command line; "" for one that is not told."""
    return next((role for mark, role in _MARKS.items() if mark in line), "")


def system_of(line: str) -> str:
    """Whose endpoint or server a command line is; "" for neither."""
    match = _ENDPOINT.search(line)
    if match:
        return match[1].replace("-", "_")
    return "" if role_of(line) != "server" else FAKE if "fake_server" in line else "redis_pubsub"


class Sitting:
    """One run of the command in ``folder``, and what is done to it. ``close`` always."""

    def __init__(self, folder: Path, chosen: random.Random, systems: Sequence[str] = SYSTEMS) -> None:
        self.folder = folder
        self.kills: list[Kill] = []
        self.wrong: list[str] = []
        self._random = chosen
        self._results = folder / "results"
        scenario = folder / "kills.yaml"
        scenario.write_text(_SCENARIO.format(systems=", ".join(systems)))
        path = os.pathsep.join([str(fake.distribution(folder / "distribution")), str(ROOT)])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKERBENCH_") or name == "BROKERBENCH_HOME"}
        self._begun = time.monotonic()
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench.cli", "run", scenario, "--results", self._results, "--quiet"],
                cwd=folder, env=kept | {"PYTHONPATH": path}, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def run(self) -> Path | None:
        """The run's folder; None where there is none yet."""
        return next((path.parent for path in self._results.glob("*/run.json")), None)

    def until(self, what: str, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Wait for something; note it where the command ends, or the time does, before it comes about."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.wrong.append(f"{what} did not come about: {(self.folder / 'output').read_text(errors='replace')[-800:]}")
                return
            time.sleep(0.01)

    def go(self, kills: int) -> None:
        """Kill so many, the runner last: one alone while it starts up, several once it measures."""
        if kills == 1:
            self.until("a run's folder", lambda: self.run)
            time.sleep(self._random.uniform(0.0, EARLY_S))
        else:
            self.until("a trial", lambda: list(self._results.glob("*/trials/[0-9]*")))
        while len(self.kills) < kills - 1 and self.process.poll() is None:
            time.sleep(self._random.uniform(*APART_S))
            self._kill_one()
        time.sleep(self._random.uniform(*APART_S))
        before = family(self.process.pid, str(self.folder))
        if self.process.poll() is None:
            self._kill("runner", "", self.process.kill)
        self.process.wait()
        self.wrong += [f"left behind: {line}" for line in self._left(before)]

    def _kill_one(self) -> None:
        """Any process of the run but the runner: of each role as often, whatever its processes are many."""
        by_role: dict[str, list[Identity]] = {}
        for identity in family(self.process.pid, str(self.folder)):
            by_role.setdefault(role_of(identity[2]), []).append(identity)
        by_role.pop("", None)
        if not by_role:
            return
        role = self._random.choice(sorted(by_role))
        pid, born, line = self._random.choice(sorted(by_role[role]))
        try:
            victim = psutil.Process(pid)
            if victim.create_time() == born:
                self._kill(role, system_of(line), victim.kill)
        except psutil.NoSuchProcess:
            return
        if role == "watchdog":
            others = [identity for identity in by_role[role] if identity[0] != pid]
            watching = [*others, (pid, born, line)]
            self.until("a new watchdog", lambda: self._watchdogs() - {one for one, _, _ in watching}, 5.0)

    def _watchdogs(self) -> set[int]:
        return {pid for pid, _, line in family(self.process.pid) if role_of(line) == "watchdog"}

    def _kill(self, role: str, system: str, kill: Callable[[], None]) -> None:
        at_s = time.monotonic() - self._begun
        kill()
        self.kills.append(Kill(role, system, round(at_s, 3)))

    def _left(self, before: Sequence[Identity]) -> list[str]:
        """What outlives the runner: of what was seen, and of what was started after we had looked."""
        deadline = time.monotonic() + WITHIN_S
        left = gone(before, WITHIN_S)
        while (named := processes(str(self.folder))) and time.monotonic() < deadline:
            time.sleep(0.02)
        return [*left, *named.values()]

    def judge(self) -> Counter[str]:
        """Look at what is on disk; return how many trials ended how."""
        run = self.run
        if run is None:
            return Counter()
        try:
            opened = store.open_run(run)
            report.write(run)
        except BenchError as error:
            self.wrong.append(f"unreadable: {error}")
            return Counter()
        ended = "interrupted" if any(kill.victim == "runner" for kill in self.kills) else "complete"
        if opened.status not in (ended, "complete"):  # it may have ended by itself just before
            self.wrong.append(f"the run's status is {opened.status}")
        for trial in opened.trials:
            self.wrong += _odd(trial)
        self.wrong += truth.untrue(run, fake.GROUPS, opened.trials)
        for variant in ("tcp", "redis-pubsub"):
            self.wrong += impossible(run, variant, [trial["trial"] for trial in opened.trials])
        self.wrong += _unexplained(opened.trials, self.kills)
        return Counter(_end_of(trial) for trial in opened.trials)

    def close(self) -> None:
        """End the command where it still runs: it then ends all that it has started."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def _end_of(trial: Mapping[str, Any]) -> str:
    tried = not str(trial["reason"]).startswith("not tried")
    return str(trial["status"]) if tried else "not tried"


def _odd(trial: Mapping[str, Any]) -> list[str]:
    """A whole trial of which the audit says anything but "clean": nothing was done to it."""
    if trial["status"] != "ok":
        return []
    return [
        f"trial {trial['trial']}, {trial['variant']['id']}: {group}: {row['verdict']}: {'; '.join(row['reasons'])}"
        for group, row in trial["audit"].items()
        if row["verdict"] != "clean"
    ]


def _unexplained(trials: Sequence[Mapping[str, Any]], kills: Sequence[Kill]) -> list[str]:
    """More failed trials of a system than kills of its endpoints and servers."""
    failed = Counter(trial["variant"]["system"] for trial in trials if _end_of(trial) == "failed")
    done = Counter(kill.system for kill in kills)
    return [f"{system}: {count} trials failed, {done[system]} were disturbed" for system, count in failed.items() if count > done[system]]


def impossible(run: Path, variant: str, trials: Sequence[int]) -> list[str]:
    """What an audit of a variant's journals says that no kill can cause, by trial; also of the trial that was cut off."""
    held = truth.journals(run, variant, fake.GROUPS)
    wrong = []
    for number in [*trials, max(trials, default=0) + 1]:
        for group, account in audit(held.producers, held.consumers, trial=number, groups=fake.GROUPS).items():
            counts = {name: getattr(account, name) for name in truth.NEVER}
            wrong += [f"trial {number}, {variant}: {group}: {name} {count}, not 0" for name, count in counts.items() if count]
    return wrong


def measure(folder: Path, seed: int, kills: int, systems: Sequence[str] = SYSTEMS) -> Json:
    """One sitting: what was killed, how the trials ended, and all that is wrong, in words."""
    begun, started = now_ns(), utc_now()
    sitting = Sitting(folder, random.Random(seed), systems)
    try:
        sitting.go(kills)
        trials = sitting.judge()
    finally:
        sitting.close()
    return {
        "seed": seed, "started": started, "seconds": round((now_ns() - begun) / 1e9, 1),
        "kills": [asdict(kill) for kill in sitting.kills], "trials": dict(trials), "wrong": sitting.wrong,
    }  # fmt: skip


# ---- the evidence


def tables(runs: Sequence[Json]) -> Json:
    """Kills by victim, trials by end, and what was wrong; from the recorded sittings alone."""
    kills = [kill for run in runs for kill in run["kills"]]
    victims = Counter(f"{kill['victim']} of {kill['system']}" if kill["system"] else kill["victim"] for kill in kills)
    trials: Counter[str] = Counter()
    for run in runs:
        trials.update(run["trials"])
    wrong = [f"sitting {run['run']}: {text}" for run in runs for text in run["wrong"]]
    return {"kills": len(kills), "victims": dict(sorted(victims.items())), "trials": dict(sorted(trials.items())), "wrong": wrong}


def page(made: Json) -> str:
    """kills.md."""
    found = made["tables"]
    seconds = sum(run["seconds"] for run in made["runs"])
    revisions = ", ".join(sorted({str(run["revision"]["revision"] or "unknown")[:12] for run in made["runs"]}))
    verdict = "**Met**: nothing was" if not found["wrong"] else f"**Not met**: {len(found['wrong'])} times something was"
    intro = (
        f"{found['kills']} kills at random moments in {len(made['runs'])} runs of `brokerbench run` on {', '.join(SYSTEMS)}; "
        f"{common.span(seconds)} in all, {made['machine']}, revision {revisions}.\n"
    )
    notes = (
        "\nA trial that a kill met failed, with its reason; none that was whole says anything but clean. A variant that failed twice "
        "in a row is not tried again. What was checked after each sitting: the docstring of benchmarks/evidence/kills.py.\n"
    )
    parts = [
        "# SIGKILL of the suite's own processes\n",
        intro,
        f"{verdict} left behind, unreadable, or said and not true by the fake server's own log.\n",
        *(f"- {text}" for text in found["wrong"]),
        "\n## Who was killed\n",
        common.table(("victim", "kills"), found["victims"].items()),
        "\n## How the trials ended that are on disk\n",
        common.table(("end", "trials"), found["trials"].items()),
        notes,
    ]
    return "\n".join(parts)


def main(words: Sequence[str] | None = None) -> int:
    """Do the sittings that are missing, sum up. 0; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence.kills", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="about so many in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of victims and moments")
    parser.add_argument("--work", type=Path, metavar="DIR", default=common.RESULTS / "evidence" / "kills", help="where sittings are kept")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the summary goes (default: results/reference/<machine>/evidence-kills)"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test that shows nothing: two sittings")
    args = parser.parse_args(words)
    if not 1 <= args.kills <= 100_000:
        parser.error(f"--kills {args.kills}: 1 to 100,000")
    of_each = planned(KILLS + 1 if args.quick else args.kills)
    work_folder = args.work.with_name(f"{args.work.name}-quick") if args.quick else args.work
    out = args.out or (work_folder / "summary" if args.quick else environment.machine_folder(common.RESULTS) / "evidence-kills")
    settings = {"seed": args.seed, "systems": list(SYSTEMS)}
    with common.Work(work_folder, settings) as work:

        def one(number: int, _: str, folder: Path) -> Json:
            return measure(folder, args.seed * 100_000 + number, of_each[number - 1]) | {"revision": environment.capture()["brokerbench"]}

        recorded = common.execute(work, ["kills"] * len(of_each), SITTING_S, one)
    made = common.summary("evidence-kills", settings, recorded, tables(recorded))
    common.conclude(out, "kills", made, page)
    return 1 if made["tables"]["wrong"] else 0


def planned(kills: int) -> list[int]:
    """Kills by sitting: every third is of the runner alone, while it starts up."""
    found: list[int] = []
    while sum(found) < kills:
        found.append(1 if len(found) % 3 == 1 else min(KILLS, kills - sum(found)))
    return found


if __name__ == "__main__":
    sys.exit(common.ended(main))
