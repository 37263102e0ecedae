"""Everything that a run starts is started here, so that nothing outlives the run: not after Ctrl-C, not after SIGKILL.

Each process gets a session of its own (the terminal's Ctrl-C reaches the runner alone, which then stops the rest in order),
carries BROKERBENCH_RUN_ID in its environment and is registered with a watchdog process (bench.watchdog).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.errors import EnvironmentProblem
from bench.watchdog import MARK, Identity, end_all, send, start_time

POLL_S = 0.01


class Guard:
    """Starts and ends the processes of one run. Thread-safe; a context manager.

    ``run_id`` marks them: one word, unique on the machine (a second guard of the same id would end this one's processes).
    """

    def __init__(self, run_id: str) -> None:
        if not run_id or any(c.isspace() or c == "\0" for c in run_id):
            raise EnvironmentProblem(f"a run id is one word without spaces, not {run_id!r}")
        self.run_id = run_id
        self._lock = threading.RLock()
        self._registered: set[Identity] = set()
        self._commands: dict[str, list[str]] = {}
        self._children: dict[int, tuple[subprocess.Popen[bytes], Identity | None]] = {}
        self._closed = False
        self._watchdog = self._start_watchdog()

    def spawn(
        self,
        cmd: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: Path | None = None,
        name: str = "",
    ) -> subprocess.Popen[bytes]:
        """Start a process. ``env`` is its whole environment (None = the runner's own); the mark is added to it.

        ``stdout`` is a file that its output and errors are appended to (None = thrown away); standard input is empty.
        ``name`` is for messages. Raises EnvironmentProblem where the command cannot be run.
        """
        words = [str(word) for word in cmd]
        marked_env = {**(os.environ if env is None else env), MARK: self.run_id}
        with self._lock:
            if self._closed:
                raise EnvironmentProblem(f"{name or words[0]}: not started, because this run's guard is closed")
            try:
                with contextlib.ExitStack() as stack:
                    out = subprocess.DEVNULL if stdout is None else stack.enter_context(stdout.open("ab")).fileno()
                    popen = subprocess.Popen(
                        words,
                        env=marked_env,
                        cwd=cwd,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
            except OSError as error:
                raise EnvironmentProblem(f"{name or words[0]} cannot be started: {error}") from error
            born = start_time(popen.pid)
            identity = None if born is None else (popen.pid, born)
            self._children[popen.pid] = (popen, identity)
            if identity is not None:
                self._add(identity)
        return popen

    def register(self, pid: int) -> None:
        """Take up a process that one of ours started (beam.smp, epmd); one that is gone already is no error."""
        born = start_time(pid)
        if born is not None:
            with self._lock:
                self._add((pid, born))

    def at_death(self, key: str, cmd: Sequence[str | Path] | None) -> None:
        """Have the watchdog run a command if the runner dies (docker compose down); None takes it back. Keys are one word."""
        with self._lock:
            if cmd is None:
                self._commands.pop(key, None)
                self._tell(f"! {key}\n")
            else:
                self._commands[key] = [str(word) for word in cmd]
                self._tell(f"! {key} {json.dumps(self._commands[key])}\n")

    def stop(self, popen: subprocess.Popen[bytes], timeout_s: float, signum: int = signal.SIGTERM) -> int:
        """Ask a process of spawn() to end, kill it after ``timeout_s``; its exit code (negative: the signal). Idempotent."""
        with self._lock:
            _, identity = self._children.get(popen.pid, (popen, None))
        if popen.poll() is None:
            popen.send_signal(signum)
            popen.send_signal(signal.SIGCONT)  # one that a fault has paused would never hear it
            try:
                popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                popen.kill()
        code = popen.wait()
        with self._lock:
            self._children.pop(popen.pid, None)
            if identity is not None:
                self._drop(identity)
        return code

    def stop_pid(self, pid: int, timeout_s: float, signum: int = signal.SIGTERM) -> None:
        """The same for a registered process that is no child of the runner. What is not registered is left alone."""
        with self._lock:
            identities = [one for one in self._registered if one[0] == pid]
        for identity in identities:
            send(identity, signum)
            send(identity, signal.SIGCONT)
            if not _gone(identity, timeout_s):
                send(identity, signal.SIGKILL)
                _gone(identity, 5.0)
            with self._lock:
                self._drop(identity)

    def check(self) -> None:
        """Start the watchdog anew where somebody has killed it: without one, the runner's own death would leave everything behind."""
        with self._lock:
            if not self._closed and self._watchdog.poll() is not None:
                self._watchdog = self._start_watchdog()

    def close(self) -> None:
        """Kill whatever is left of marked or registered processes, and end the watchdog. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            end_all(self.run_id, self._registered)
            for popen, _ in self._children.values():
                popen.wait()
            self._children.clear()
            self._registered.clear()
            pipe = self._watchdog.stdin
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.write(b"bye\n")
                    pipe.flush()
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
            self._watchdog.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _add(self, identity: Identity) -> None:
        self._registered.add(identity)
        self._tell(f"+ {identity[0]} {identity[1]}\n")

    def _drop(self, identity: Identity) -> None:
        if identity in self._registered:
            self._registered.discard(identity)
            self._tell(f"- {identity[0]} {identity[1]}\n")

    def _tell(self, line: str) -> None:
        """One line to the watchdog; where somebody has killed it, a new one is told everything anew."""
        if self._closed:
            return
        pipe = self._watchdog.stdin
        assert pipe is not None  # it was asked for below
        try:
            pipe.write(line.encode())
            pipe.flush()
        except BrokenPipeError:
            self._watchdog.wait()
            self._watchdog = self._start_watchdog()

    def _start_watchdog(self) -> subprocess.Popen[bytes]:
        env = {key: value for key, value in child_env().items() if key != MARK}  # or an outer run would end it with ours
        watchdog = subprocess.Popen(
            [sys.executable, "-m", "bench.watchdog", self.run_id],
            env=env,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert watchdog.stdin is not None
        lines = [f"+ {pid} {born}\n" for pid, born in self._registered]
        lines += [f"! {key} {json.dumps(command)}\n" for key, command in self._commands.items()]
        watchdog.stdin.write("".join(lines).encode())
        watchdog.stdin.flush()
        return watchdog


def child_env() -> dict[str, str]:
    """The environment of a Python process that is to find this repository's modules, installed or not."""
    root = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}


def _gone(identity: Identity, timeout_s: float) -> bool:
    """Wait until a process is gone (or a zombie); False where it still lives after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while start_time(identity[0]) == identity[1]:
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
