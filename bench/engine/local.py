"""Endpoints as child processes of the runner on this machine, each with a control connection on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.clock import now_ns
from bench.control import PROTOCOL, Channel, Closed, Message
from bench.errors import BenchError, EnvironmentProblem, Incompatible
from bench.guard import Guard, child_env

_LOG_LINES = 8
ENDPOINT = ("-m", "bench.endpoint")
"""What Python is given to be an endpoint, before its SPEC.json."""


@dataclass(frozen=True)
class Interpreter:
    """What an endpoint runs in. ``path``: where its modules are, the suite's own first; None = where this process has them."""

    python: str
    path: tuple[str, ...] | None = None

    def environment(self) -> dict[str, str]:
        """The environment variables of a process of it."""
        if self.path is None:
            return child_env()
        # With -m Python looks into the current folder first, which may hold another revision of the same modules.
        return {**os.environ, "PYTHONPATH": os.pathsep.join(self.path), "PYTHONSAFEPATH": "1"}


HERE = Interpreter(sys.executable)
"""This process's own."""


class EndpointFailed(BenchError):
    """An endpoint ended or did not answer; the text says which and why."""


class Silent(EndpointFailed):
    """It lives and has not answered in the time given."""


@dataclass
class Endpoint:
    """A running endpoint."""

    name: str
    role: str
    process: subprocess.Popen[bytes]
    channel: Channel
    log: Path
    start_up: dict[str, int] = field(default_factory=dict)  # "import_ns", "rest_ns": bench.endpoint

    def send(self, message: Message) -> None:
        """Send one message; EndpointFailed when it has gone."""
        try:
            self.channel.send(message)
        except Closed as error:
            raise EndpointFailed(self.why()) from error

    def expect(self, kind: str, timeout_s: float) -> Message:
        """Return the next message of a kind; EndpointFailed when it fails, ends, or does not answer in time."""
        try:
            message = self.channel.expect((kind, "failed"), timeout_s)
        except Closed as error:
            raise EndpointFailed(self.why()) from error
        if message is None:
            raise Silent(f"{self.name} did not answer within {timeout_s:.0f} s")
        if message["is"] == "failed":
            raise EndpointFailed(f"{self.name}: {message['reason']}")
        return message

    def ask(self, message: Message, kind: str, timeout_s: float = 10.0) -> Message:
        """Send a message and return its answer."""
        self.send(message)
        return self.expect(kind, timeout_s)

    def why(self) -> str:
        """Say how the process ended, with its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        with contextlib.suppress(Closed):  # it may have said why before it went
            failed = self.channel.expect(("failed",), 0.0)
            if failed is not None:
                return f"{self.name}: {failed['reason']}"
        code = self.process.poll()
        how = (
            "closed its control connection"
            if code is None
            else f"was killed by signal {-code}"
            if code < 0
            else f"ended with exit code {code}"
        )
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if self.log.exists() else []
        return f"{self.name} {how}" + ("".join(f"\n    {line}" for line in lines))


class LocalEngine:
    """Starts endpoints through the run's guard and takes up their control connections. A context manager.

    ``endpoint``: what Python is given to be one (bench.calibration's tells more than the ordinary one).
    """

    def __init__(self, guard: Guard, endpoint: Sequence[str] = ENDPOINT) -> None:
        self._guard = guard
        self._endpoint = tuple(endpoint)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._waiting: dict[str, tuple[str, subprocess.Popen[bytes], Path]] = {}
        self._arrived: dict[str, Endpoint] = {}  # said hello before anybody asked for them
        self._silent: list[Channel] = []  # connected, no hello yet: only arrived() waits so
        self._abandoned: set[str] = set()  # ended before they were taken up: their connections may still wait in line

    def start(self, spec: dict[str, Any], folder: Path, interpreter: Interpreter = HERE) -> None:
        """Start an endpoint from its SPEC (``name`` and ``role`` in it); ``arrivals`` takes up its connection."""
        name = spec["name"]
        folder.mkdir(parents=True, exist_ok=True)
        path, log = folder / f"{name}.spec.json", folder / f"{name}.log"
        sys_path = sys.path if interpreter.path is None else []  # this process's packages would show through in another environment
        more = {"control": self._listener.getsockname()[:2], "sys_path": sys_path, "started_ns": now_ns()}
        path.write_text(json.dumps(spec | more))
        env = interpreter.environment() | {"PYTHONUNBUFFERED": "1"}
        env.setdefault("OPENBLAS_NUM_THREADS", "1")  # no linear algebra here: its threads would only cost memory
        process = self._guard.spawn([interpreter.python, *self._endpoint, path], env=env, stdout=log, name=name)
        self._waiting[name] = (spec["role"], process, log)

    def arrivals(self, names: Iterable[str], timeout_s: float) -> list[Endpoint]:
        """Return the endpoints of ``names`` once they have said hello; EndpointFailed when one does not in time."""
        wanted = list(names)
        deadline = now_ns() + int(timeout_s * 1e9)
        while any(name not in self._arrived for name in wanted):
            if select.select([self._listener], [], [], 0.2)[0]:
                endpoint = self._greet(Channel(self._listener.accept()[0]))
                if endpoint is not None:
                    self._arrived[endpoint.name] = endpoint
                continue
            for name in wanted:
                if name in self._waiting and self._waiting[name][1].poll() is not None:
                    role, process, log = self._waiting.pop(name)
                    raise EndpointFailed(Endpoint(name, role, process, Channel(socket.socket()), log).why())
            if now_ns() > deadline:
                missing = ", ".join(name for name in wanted if name not in self._arrived)
                raise EndpointFailed(f"{missing} did not start within {timeout_s:.0f} s")
        return [self._arrived.pop(name) for name in wanted]

    def _greet(self, channel: Channel) -> Endpoint | None:
        """Take up a connection; None where its endpoint has gone, or was given up with the session it belonged to."""
        try:
            hello = channel.expect(("hello", "failed"), 20.0)
        except Closed:
            channel.close()
            return None  # the process has ended: whoever waits for it looks at that
        if hello is None:
            raise EndpointFailed("an endpoint connected and said nothing")
        return self._known(channel, hello)

    def arrived(self, name: str) -> Endpoint | None:
        """Return an endpoint if it has said hello by now, waiting for nothing; EndpointFailed when it ended or said why it cannot run."""
        while select.select([self._listener], [], [], 0)[0]:
            self._silent.append(Channel(self._listener.accept()[0]))
        waiting, self._silent = self._silent, []
        for channel in waiting:
            try:
                hello = channel.expect(("hello", "failed"), 0.0)
            except Closed:
                channel.close()
                continue
            if hello is None:
                self._silent.append(channel)
            elif (endpoint := self._known(channel, hello)) is not None:
                self._arrived[endpoint.name] = endpoint
        if name in self._waiting and name not in self._arrived and self._waiting[name][1].poll() is not None:
            role, process, log = self._waiting.pop(name)
            raise EndpointFailed(Endpoint(name, role, process, Channel(socket.socket()), log).why())
        return self._arrived.pop(name, None)

    def _known(self, channel: Channel, hello: Message) -> Endpoint | None:
        """Take up an endpoint that has said hello, or that it cannot run; None where its session was given up meanwhile."""
        name = hello["name"]
        if name in self._abandoned:
            channel.close()
            return None
        if name not in self._waiting:
            raise EnvironmentProblem(f'an endpoint called "{name[:80]}" connected that this run did not start')
        role, process, log = self._waiting.pop(name)
        if hello["is"] == "failed":
            raise EndpointFailed(f"{name}: {hello['reason']}")
        if hello["protocol"] != PROTOCOL:
            raise Incompatible(f"{name} speaks control protocol {hello['protocol']}, this runner {PROTOCOL}")
        return Endpoint(name, role, process, channel, log, hello.get("start_up", {}))

    def check(self) -> None:
        """See to it that all that was started is still watched: bench.guard.Guard.check."""
        self._guard.check()

    def stop(self, endpoints: Sequence[Endpoint], timeout_s: float = 3.0) -> None:
        """End endpoints: quit, then end of file, then SIGKILL. Idempotent."""
        for endpoint in endpoints:
            with contextlib.suppress(EndpointFailed):
                endpoint.send({"do": "quit"})
        deadline = now_ns() + int(timeout_s * 1e9)
        for endpoint in endpoints:
            with contextlib.suppress(subprocess.TimeoutExpired):
                endpoint.process.wait(max(0.0, (deadline - now_ns()) / 1e9))
            self.check()  # those that hang take seconds, in which somebody may kill the watchdog
            endpoint.channel.close()
            self._guard.stop(endpoint.process, 0.2)

    def abandon(self) -> None:
        """End what was started and has not said hello."""
        for channel in self._silent:
            channel.close()
        self._silent.clear()
        for _, process, _ in self._waiting.values():
            self._guard.stop(process, 0.2)
        self._abandoned |= set(self._waiting)
        self._waiting.clear()
        arrived, self._arrived = list(self._arrived.values()), {}
        self.stop(arrived)

    def close(self) -> None:
        """Listen no more."""
        self.abandon()
        self._listener.close()
