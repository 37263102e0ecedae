"""Starts the two processes of a bare loop (bench/overhead/bare/loop.py), lets them begin together, and hears what they counted."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from bench.clock import now_ns
from bench.errors import EnvironmentProblem
from bench.guard import Guard, child_env

ROOT = Path(__file__).resolve().parents[2]
_READY_S = 30.0
_LEAD_NS = 50_000_000
_LOG_LINES = 6
_STACK_S = 0.3  # for a process to write where it is


class Pair:
    """A consumer and a producer; the consumer is ready (bound, subscribed, joined) before the producer is started.

    ``common``: what both are given, as the harness's endpoints are (wiring, batch, size, ...); ``effective``: the settings
    in force on each side, as the adapter tells them. A context manager; nothing outlives it.
    """

    def __init__(self, guard: Guard, folder: Path, common: Mapping[str, Any], effective: Mapping[str, Mapping[str, Any]]) -> None:
        self._guard = guard
        self._folder = folder
        self._common = common
        self._effective = effective
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_READY_S)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()
        self._listener.close()
        for child in self._children.values():
            self._guard.stop(child, 1.0)

    def measure(self, warmup_s: float, window_s: float) -> tuple[dict[str, int], dict[str, int]]:
        """One window after a warm-up: what producer and consumer counted (bare/loop.py, ``measure``). Raises EnvironmentProblem."""
        consumer, producer = self._start("consumer"), self._start("producer")
        start = now_ns() + _LEAD_NS + int(warmup_s * 1e9)
        for control in (consumer, producer):
            print("go", start, start + int(window_s * 1e9), file=control, flush=True)
        return json.loads(self._line(producer, "producer")), json.loads(self._line(consumer, "consumer"))

    def _start(self, side: str) -> IO[str]:
        """Start one side; its control connection, once it has said that it is ready."""
        spec = {**self._common, "side": side, "settings": dict(self._effective[side]), "control": self._listener.getsockname()[:2]}
        path = self._folder / f"bare-{side}.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        log = path.with_suffix(".log")
        log.unlink(missing_ok=True)
        env = child_env()
        env.setdefault("OPENBLAS_NUM_THREADS", "1")
        command = [sys.executable, "-m", "bench.overhead.bare.loop", str(path)]
        self._children[side] = self._guard.spawn(command, env=env, stdout=log, name=f"bare {side}")
        try:
            connection = self._stack.enter_context(self._listener.accept()[0])
        except TimeoutError:
            raise EnvironmentProblem(f"the bare {side} did not start within {_READY_S:.0f} s{self._where(side)}") from None
        connection.settimeout(_READY_S)
        control = self._stack.enter_context(connection.makefile("rw", encoding="utf-8"))
        for word in (side, "ready"):
            self._line(control, side, f'saying "{word}"')
        return control

    def _line(self, control: IO[str], side: str, doing: str = "measuring") -> str:
        try:
            line = control.readline()
        except TimeoutError:
            raise EnvironmentProblem(f"the bare {side} was silent for {_READY_S:.0f} s instead of {doing}{self._where(side)}") from None
        if not line:
            raise EnvironmentProblem(f"the bare {side} ended instead of {doing}{self._last_words(side)}")
        return line

    def _where(self, side: str) -> str:
        """Where each thread of a process that hangs is, by its own word (faulthandler)."""
        self._children[side].send_signal(signal.SIGUSR1)
        time.sleep(_STACK_S)
        return self._last_words(side, _LOG_LINES * 10)

    def _last_words(self, side: str, most: int = _LOG_LINES) -> str:
        log = self._folder / f"bare-{side}.log"
        lines = log.read_text(errors="replace").splitlines()[-most:] if log.exists() else []
        return "".join(f"\n    {line}" for line in lines)
