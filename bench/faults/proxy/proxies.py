"""The runner's side of the proxy: starts its process through the guard, opens links, puts toxics on them and takes them off."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from adapters.ports import LOOPBACK
from bench.control import PROTOCOL, Channel, Closed, Message
from bench.errors import EnvironmentProblem
from bench.faults.proxy.toxics import Toxic
from bench.guard import Guard, child_env
from bench.servers.base import Node

PROXY: Final = "network"
"""Role of its process among a trial's nodes: no part of the system that is measured."""

_START_S: Final = 20.0
_ANSWER_S: Final = 20.0  # it forwards at full speed meanwhile, on a machine that may be busy


class Proxies:
    """The links of one run. A context manager; thread-safe. A verb that answers is in force: it returns the time at which it was.

    ``folder``: for its log. ``seed``: of jitter and slices, so that they are the same in each run.
    """

    def __init__(self, guard: Guard, folder: Path, seed: int = 0) -> None:
        self._guard = guard
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._log = folder / "proxy.log"
        folder.mkdir(parents=True, exist_ok=True)
        env = child_env()
        env.setdefault("OPENBLAS_NUM_THREADS", "1")
        with socket.create_server((LOOPBACK, 0)) as listener:
            command = [sys.executable, "-m", "bench.faults.proxy", str(listener.getsockname()[1]), str(seed)]
            self._process = guard.spawn(command, env=env, stdout=self._log, name="proxy")
            listener.settimeout(_START_S)
            try:
                self._channel = Channel(listener.accept()[0])
                hello = self._channel.expect(("hello",), _START_S)
            except (OSError, Closed) as error:
                guard.stop(self._process, 0.1)
                raise EnvironmentProblem(f"the proxy did not start: {error}{self._last_words()}") from error
        if hello is None or hello["protocol"] != PROTOCOL:
            guard.stop(self._process, 0.1)
            raise EnvironmentProblem(f"the proxy said {hello}")

    @property
    def node(self) -> Node:
        """Its process, for CPU and memory."""
        return Node("proxy", PROXY, self._process.pid, "", "", self._log)

    def open(self, name: str, listen_port: int, upstream: str) -> str:
        """Listen on a port (0: any free one) and forward to ``upstream`` (host:port); the address for clients.

        Nothing need answer there yet. Raises EnvironmentProblem where the port is taken.
        """
        if name in self._names:
            raise EnvironmentProblem(f"there is a proxy named {name!r} already")
        host, _, port = upstream.rpartition(":")
        answer = self._ask({"do": "open", "name": name, "port": listen_port, "upstream": [host, int(port)]})
        self._names.add(name)
        return f"{LOOPBACK}:{answer['port']}"

    def add(self, name: str, toxic: Toxic) -> int:
        """Put a toxic on a link, beside those that are on it; when (ns, bench.clock)."""
        return self._known(name, {"do": "add", "name": name, "toxic": toxic.to_json()})

    def clear(self, name: str) -> int:
        """Take all toxics off a link; when (ns, bench.clock). What they held goes on its way, in order."""
        return self._known(name, {"do": "clear", "name": name})

    def heal(self) -> int:
        """Take all toxics off all links; when (ns, bench.clock)."""
        return int(self._ask({"do": "heal"})["at_ns"])

    def stats(self) -> dict[str, Any]:
        """CPU so far (ns), peak memory (bytes), and of each link: connections, open, up_b, down_b, held_b, toxics."""
        answer = self._ask({"do": "stats"})
        return {"cpu_ns": answer["cpu_ns"], "peak_b": answer["peak_b"], "links": answer["links"]}

    def dead(self) -> str | None:
        """None while its process lives; else how it ended."""
        code = self._process.poll()
        return None if code is None else f"the proxy ended with exit code {code}{self._last_words()}"

    def close(self) -> None:
        """End the process and with it all connections through it. Idempotent."""
        with contextlib.suppress(OSError):
            self._channel.close()
        self._guard.stop(self._process, 2.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _known(self, name: str, message: Message) -> int:
        if name not in self._names:
            raise EnvironmentProblem(f"there is no proxy named {name!r}; there are: {', '.join(sorted(self._names)) or 'none'}")
        return int(self._ask(message)["at_ns"])

    def _ask(self, message: Message) -> Message:
        with self._lock:
            try:
                self._channel.send(message)
                answer = self._channel.expect(("done", "failed"), _ANSWER_S)
            except Closed as error:
                raise EnvironmentProblem(self.dead() or f"the proxy has closed its control connection{self._last_words()}") from error
        if answer is None:
            raise EnvironmentProblem(f"the proxy did not answer {message['do']} within {_ANSWER_S:g} s")
        if answer["is"] == "failed":
            raise EnvironmentProblem(f"the proxy could not {message['do']} {message.get('name', '')}: {answer['reason']}")
        return answer

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-8:] if self._log.exists() else []
        return "".join(f"\n    {line}" for line in lines)
