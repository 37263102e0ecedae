"""Ends what a run started when the runner itself was killed: ``python -m bench.watchdog RUN_ID``, started by bench.guard.

It reads its standard input, a pipe that only the runner holds. One command a line:

    + PID START      a process of the run, START = its start time in clock ticks since boot (field 22 of /proc/PID/stat)
    - PID START      it was stopped
    ! KEY [JSON]     a command to run when the runner has died (a list of words), or none any more
    bye              the runner has ended everything itself

End of file without "bye" means that the runner is dead. Then everything registered (same pid *and* start time: a pid may
have been given to somebody else) and everything whose environment carries the run's mark is killed, until three scans in
a row find nothing. Both ways are needed: some servers blank their environment, some start children that nobody registers.
Standard library only, and nothing of the suite: it must not fail for a reason of ours.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TextIO

MARK = "BROKERBENCH_RUN_ID"
SCANS_EMPTY = 3
SCAN_PAUSE_S = 0.05
SCANS_MAX = 400  # 20 s: a process in uninterruptible sleep cannot be killed, and must not keep the watchdog for ever
COMMAND_TIMEOUT_S = 60.0

Identity = tuple[int, int]
"""A process: pid and start time in clock ticks since boot. Together they never come back."""


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None where it is gone or a zombie (dead, not yet waited for)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # pathlib costs an import here
            stat = file.read()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in brackets may hold spaces and brackets itself
    if len(fields) < 20 or fields[0] in {"Z", "X"}:
        return None
    return int(fields[19])


def marked(run_id: str) -> set[Identity]:
    """Processes whose environment at their start carried the run's mark, without the caller itself."""
    wanted = f"{MARK}={run_id}".encode()
    found: set[Identity] = set()
    for entry in os.listdir("/proc"):  # noqa: PTH208  # as above
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:  # noqa: PTH123  # as above
                environment = file.read()
        except OSError:  # gone, or somebody else's
            continue
        if wanted in environment.split(b"\0"):
            born = start_time(int(entry))
            if born is not None:
                found.add((int(entry), born))
    return found


def send(identity: Identity, signum: int) -> bool:
    """Signal a process if it is still the same one; False where it is gone. By pidfd, so that no pid is hit after its reuse."""
    pid, born = identity
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EPERM, errno.EINVAL}:
            raise
        handle = -1  # a kernel or a sandbox without pidfd: a check and a signal, with a gap between
    try:
        if start_time(pid) != born:
            return False
        if handle >= 0:
            signal.pidfd_send_signal(handle, signum)
        else:
            os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if handle >= 0:
            os.close(handle)
    return True


def end_all(run_id: str, registered: Iterable[Identity]) -> int:
    """SIGKILL everything of the run until three scans find nothing; how many processes it was."""
    known = set(registered)
    killed: set[Identity] = set()
    empty = 0
    for _ in range(SCANS_MAX):
        alive = {one for one in known if start_time(one[0]) == one[1]} | marked(run_id)
        for one in alive:
            if send(one, signal.SIGKILL):
                killed.add(one)
        empty = 0 if alive else empty + 1
        if empty >= SCANS_EMPTY:
            break
        time.sleep(SCAN_PAUSE_S)
    return len(killed)


@dataclass
class Ledger:
    """What the runner has told."""

    registered: set[Identity] = field(default_factory=set)
    commands: dict[str, list[str]] = field(default_factory=dict)
    orderly: bool = False

    def take(self, line: str) -> None:
        """Take one line; one that is cut short (the runner died while writing) counts for nothing."""
        verb, _, rest = line.rstrip("\n").partition(" ")
        if verb == "bye":
            self.orderly = True
        elif verb in {"+", "-"} and line.endswith("\n"):
            pid, _, born = rest.partition(" ")
            identity = (int(pid), int(born))
            (self.registered.add if verb == "+" else self.registered.discard)(identity)
        elif verb == "!" and line.endswith("\n"):
            key, _, command = rest.partition(" ")
            if command:
                self.commands[key] = list(json.loads(command))
            else:
                self.commands.pop(key, None)

    def read(self, stream: TextIO) -> None:
        """Read until the end of file, which comes when the runner closes the pipe or dies."""
        for line in stream:
            self.take(line)


def main() -> int:
    """Wait for the runner's end, then clean up after it."""
    run_id = sys.argv[1]
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # it ends by itself, after the runner, never before
    ledger = Ledger()
    ledger.read(sys.stdin)
    if ledger.orderly:
        return 0
    end_all(run_id, ledger.registered)
    for command in ledger.commands.values():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # nobody is left to be told
            subprocess.run(
                command,
                check=False,
                timeout=COMMAND_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
