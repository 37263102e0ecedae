"""What the recipes share: a server of processes, one that runs elsewhere, waiting until it answers, telling why it does not."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from adapters.ports import LOOPBACK
from bench.errors import ServerError, UsageError
from bench.guard import Guard
from bench.servers.base import Health, Leaders, Node, Product, Request
from bench.watchdog import start_time

LOG_LINES = 15
POLL_S = 0.02
FRAME = re.compile(r"\s+(at \S+\(.*\)|\.\.\. \d+ (more|common frames omitted))")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # RabbitMQ writes them into files too
STOP_TIMEOUT_S = 15.0
PAUSE_TIMEOUT_S = 10.0
PAUSE_POLL_S = 0.0005
DATA = Path(__file__).resolve().parent.parent / "data"  # templates that ship with the package

T = TypeVar("T")


def tail(log: Path | None, lines: int = LOG_LINES) -> str:
    """The last lines of a log, indented for a message, without what pushes the reason out of sight.

    That is a stack trace's frames, and the forty lines of report that RabbitMQ writes after "BOOT FAILED".
    """
    if log is None or not log.is_file():
        return "  (no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024))  # a log can be huge, its last lines are not
        text = file.read().decode(errors="replace")
    said = [line for line in COLOURS.sub("", text).splitlines() if line.strip()]
    boot = next((index for index, line in enumerate(said) if "BOOT FAILED" in line), len(said))
    said = said[: boot + 3]
    last = [line for line in said if not FRAME.match(line)][-lines:] or said[-lines:]
    return "\n".join(f"  {line[:500]}" for line in last) or "  (its log is empty)"


def failure(name: str, reason: str, log: Path | None) -> ServerError:
    """A ServerError that ends with the server's own last words."""
    return ServerError(f"{name} {reason}; its last log lines ({log or 'none'}):\n{tail(log)}")


def ended(popen: subprocess.Popen[bytes]) -> str | None:
    """None while a process lives, else how it ended."""
    code = popen.poll()
    if code is None:
        return None
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def wait_ready(name: str, popen: subprocess.Popen[bytes], log: Path | None, probe: Callable[[], T | None], timeout_s: float) -> T:
    """Call ``probe`` until it gives something; raises ServerError when the process ends or after ``timeout_s``.

    OSError and ValueError of a probe mean "not yet". Also looks whether *our* process lives: somebody else's server on
    the same port would answer as well.
    """
    deadline = time.monotonic() + timeout_s
    last = "nothing answered"
    while True:
        reason = ended(popen)
        if reason is not None:
            raise failure(name, f"did not come up: it {reason}", log)
        try:
            answer = probe()
        except (OSError, ValueError) as error:
            last = str(error)
            answer = None
        if answer is not None and ended(popen) is None:
            return answer
        if time.monotonic() >= deadline:
            raise failure(name, f"was not ready within {timeout_s:g} s ({last})", log)
        time.sleep(POLL_S)


def advertised(request: Request, node: str, address: str) -> str:
    """What clients are told: a proxy's address where wiring["advertise"] names the node, else the address itself."""
    chosen = request.wiring.get("advertise", {})
    return str(chosen.get(node, address))


def proxied(request: Request, node: str) -> str:
    """The address of the proxy before a node, "" where there is none: wiring["proxied"], known before the server starts.

    Only a server that tells clients where its nodes are needs it: it keeps a second listener for those that come by the proxy.
    """
    return str(request.wiring.get("proxied", {}).get(node, ""))


def local(port: int) -> str:
    """host:port on this machine."""
    return f"{LOOPBACK}:{port}"


def node_folder(request: Request, node: str) -> Path:
    """The folder of one node's data and settings, emptied: a server always starts with nothing.

    The log of an earlier start in the same folder is set aside as NODE.log.1, .2 and so on.
    """
    log = request.folder / f"{node}.log"
    if log.exists():
        number = next(n for n in itertools.count(1) if not (request.folder / f"{node}.log.{n}").exists())
        log.rename(request.folder / f"{node}.log.{number}")
    folder = request.folder / node
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def address_variable(system: str) -> str:
    """The environment variable that names a server which is there already."""
    return f"BROKERBENCH_{system.upper()}_ADDRESS"


def external_address(system: str, request: Request) -> str:
    """The address of an external server: the request's, else the environment's. Raises ServerError where there is none."""
    address = request.address or os.environ.get(address_variable(system), "")
    if not address:
        raise ServerError(f"{system}: no address; say server=external:HOST:PORT, or set {address_variable(system)}=HOST:PORT")
    return address


def host_ports(system: str, text: str) -> list[tuple[str, int]]:
    """``host:port[,host:port...]`` ([v6]:port too). Raises UsageError that names the part that is none."""
    found = []
    for part in text.split(","):
        host, colon, port = part.strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65_536:
            raise UsageError(
                f"{system}: {part.strip()!r} is not an address; it is HOST:PORT, such as {LOOPBACK}:9092 (several with commas between)"
            )
        found.append((host, int(port)))
    return found


def one_node(request: Request, system: str) -> None:
    """Refuse a cluster where the recipe has none."""
    if request.nodes != 1:
        raise ServerError(f"{system}: {request.kind} gives one node, not {request.nodes}")


def refuse_version(request: Request, system: str, have: str) -> None:
    """Refuse a version that is not the one that can be had."""
    if request.version and not (have == request.version or have.startswith(request.version + ".")):
        raise ServerError(f"{system}: {request.kind} gives version {have}, not {request.version}")


@dataclass(frozen=True)
class Launch:
    """How a node is started, at first and again: each time in the same folder, on the same ports, with the same settings."""

    spawn: Callable[[], subprocess.Popen[bytes]]  # through the guard
    wait: Callable[[subprocess.Popen[bytes]], Any]  # until its protocol answers; raises ServerError
    before: Callable[[], object] = lambda: None  # before it is started again: waits until it may be; raises ServerError


@contextlib.contextmanager
def launched(guard: Guard, launch: Launch) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    """Start one process, wait for its answer, give both; whatever fails until the block has ended, Ctrl-C too, ends it again."""
    popen = launch.spawn()
    try:
        yield popen, launch.wait(popen)
    except BaseException:
        stop_all(guard, [popen], 1.0)
        raise


@dataclass
class ProcessServer:
    """A server whose nodes are processes of this machine, started through the request's guard. Thread-safe."""

    system: str
    kind: str
    guard: Guard
    product: Product
    nodes: tuple[Node, ...]
    bootstrap: tuple[str, ...]
    settings: Mapping[str, Any]
    processes: Sequence[subprocess.Popen[bytes]]  # one a node, in the order of the nodes
    helpers: Sequence[subprocess.Popen[bytes]] = ()  # stopped after the nodes (epmd)
    scratch: Sequence[Path] = ()  # data, removed when it has stopped; the logs stay
    stop_timeout_s: float = STOP_TIMEOUT_S
    launches: Sequence[Launch] = ()  # one a node; none: a node that is down stays down
    leaders: Leaders | None = None  # as base.Leaders says
    health: Health | None = None  # as base.Health says
    outlive: Sequence[str] = ()  # names of nodes that the others need until they have stopped
    _born: dict[int, int | None] = field(init=False)
    _down: set[str] = field(init=False, default_factory=set)  # names of nodes taken down on purpose
    _cores: dict[str, set[int]] = field(init=False, default_factory=dict)  # where a node that is down was allowed to run
    _lock: threading.RLock = field(init=False, default_factory=threading.RLock)
    _stopped: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.processes = list(self.processes)
        self._born = {node.pid: start_time(node.pid) for node in self.nodes if node.pid is not None}

    def dead(self) -> str | None:
        """None while every node lives or was taken down on purpose; else which does not, how it ended, and its last log lines."""
        with self._lock:
            if self._stopped:
                return f"{self.system} was stopped"
            for node, popen in zip(self.nodes, self.processes, strict=True):
                if node.name in self._down:
                    continue
                reason = ended(popen)
                if reason is None and node.pid is not None and start_time(node.pid) != self._born[node.pid]:
                    # Gone already, and poll() looked a moment too early to say how it ended.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        popen.wait(1.0)
                    reason = ended(popen) or "has died"
                if reason is not None:
                    return f"{node.name} {reason}; its last log lines ({node.log or 'none'}):\n{tail(node.log)}"
            return None

    def kill(self, node: str) -> None:
        """SIGKILL a node; returns when it is gone. Its data stays as it is, and so does what it had not written."""
        self._end(node, signal.SIGKILL)

    def stop_node(self, node: str) -> None:
        """Ask a node to end (SIGTERM) and wait until it has. Raises ServerError where it had to be killed: that was no orderly end."""
        if self._end(node, signal.SIGTERM) == -signal.SIGKILL:
            raise ServerError(f"{node} did not end within {self.stop_timeout_s:g} s of SIGTERM and was killed")

    def pause(self, node: str) -> None:
        """SIGSTOP a node; returns when all its threads stand still. Its connections stay open, and the kernel goes on acknowledging."""
        popen = self.processes[self._index(node)]
        self._must_live(node, popen)
        popen.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + PAUSE_TIMEOUT_S
        # waitpid(2): reported when the whole group of threads has stopped. It does not take the exit code away from Popen.
        while os.waitid(os.P_PID, popen.pid, os.WSTOPPED | os.WNOHANG) is None:
            self._must_live(node, popen)
            if time.monotonic() >= deadline:
                raise ServerError(f"{node} did not stand still within {PAUSE_TIMEOUT_S:g} s of SIGSTOP")
            time.sleep(PAUSE_POLL_S)

    def resume(self, node: str) -> None:
        """SIGCONT a node; one that was not paused goes on as before."""
        popen = self.processes[self._index(node)]
        self._must_live(node, popen)
        popen.send_signal(signal.SIGCONT)

    def restart(self, node: str) -> None:
        """Start a node again, ending it in order first where it lives; returns when its protocol answers.

        Raises ServerError where it does not come up. A server that keeps its data in memory comes back empty.
        """
        index = self._index(node)
        if not self.launches:
            raise ServerError(f"{node} cannot be started again: its recipe does not say how (ProcessServer.launches)")
        if self.processes[index].poll() is None:
            self.stop_node(node)
        self.launches[index].before()
        with self._lock:
            if self._stopped:
                raise ServerError(f"{node} is not started again: {self.system} was stopped")
            self._down.add(node)  # also where it had died by itself: until it answers, it is known to be down
            popen = self.launches[index].spawn()
            if node in self._cores:
                os.sched_setaffinity(popen.pid, self._cores[node])  # it has one thread yet, and the others inherit
            self.processes = [*self.processes[:index], popen, *self.processes[index + 1 :]]
            self.nodes = (*self.nodes[:index], replace(self.nodes[index], pid=popen.pid), *self.nodes[index + 1 :])
            self._born[popen.pid] = start_time(popen.pid)
        try:
            self.launches[index].wait(popen)
        finally:
            with self._lock:
                self._down.discard(node)

    def stop(self) -> None:
        """Ask all nodes to end, kill what does not within the limit, then the helpers; removes the data. Idempotent."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        later = [popen for node, popen in zip(self.nodes, self.processes, strict=True) if node.name in self.outlive]
        stop_all(self.guard, [popen for popen in self.processes if popen not in later], self.stop_timeout_s)
        stop_all(self.guard, later, self.stop_timeout_s)
        stop_all(self.guard, self.helpers, 2.0)
        for folder in self.scratch:
            shutil.rmtree(folder, ignore_errors=True)

    def _index(self, node: str) -> int:
        names = [each.name for each in self.nodes]
        if node not in names:
            raise ServerError(f"{self.system} has no node {node!r}; it has: {', '.join(names)}")
        return names.index(node)

    def _must_live(self, node: str, popen: subprocess.Popen[bytes]) -> None:
        reason = ended(popen)
        if reason is not None:
            raise ServerError(f"{node} is not up: it {reason}")

    def _end(self, node: str, signum: int) -> int:
        """End a node on purpose; its exit code (negative: the signal)."""
        with self._lock:
            popen = self.processes[self._index(node)]
            self._must_live(node, popen)
            self._cores[node] = os.sched_getaffinity(popen.pid)
            self._down.add(node)
        return self.guard.stop(popen, self.stop_timeout_s, signum)


def stop_all(guard: Guard, processes: Sequence[subprocess.Popen[bytes]], timeout_s: float) -> None:
    """Stop several processes at the same time: members of a cluster wait for each other."""
    for popen in processes:
        if popen.poll() is None:
            popen.send_signal(signal.SIGTERM)
            popen.send_signal(signal.SIGCONT)  # one that a fault has paused would never hear it
    deadline = time.monotonic() + timeout_s
    for popen in processes:
        guard.stop(popen, max(0.1, deadline - time.monotonic()))


@dataclass
class RemoteServer:
    """A server that runs elsewhere: somebody's own, or in a container. ``check`` asks it by its protocol."""

    system: str
    kind: str
    product: Product
    nodes: tuple[Node, ...]
    bootstrap: tuple[str, ...]
    settings: Mapping[str, Any]
    check: Callable[[], object]  # raises OSError or ValueError where it does not answer
    on_stop: Callable[[], None] | None = None  # None: it is not ours to stop
    leaders: Leaders | None = None  # as base.Leaders says
    _stopped: bool = field(init=False, default=False)

    def dead(self) -> str | None:
        """None when it answers; takes up to two seconds where it does not."""
        try:
            self.check()
        except (OSError, ValueError) as error:
            return f"{self.system} at {', '.join(self.bootstrap)} does not answer: {error}"
        return None

    def kill(self, node: str) -> None:
        """Raises ServerError: it is no process of ours."""
        self._refuse("killed", node)

    def stop_node(self, node: str) -> None:
        """Raises ServerError, as kill() does."""
        self._refuse("stopped", node)

    def pause(self, node: str) -> None:
        """Raises ServerError, as kill() does."""
        self._refuse("paused", node)

    def resume(self, node: str) -> None:
        """Raises ServerError, as kill() does."""
        self._refuse("resumed", node)

    def restart(self, node: str) -> None:
        """Raises ServerError, as kill() does."""
        self._refuse("restarted", node)

    def _refuse(self, verb: str, node: str) -> None:
        raise ServerError(f"{node} cannot be {verb}: {self.kind} servers are no processes of this run; use server=native or embedded")

    def stop(self) -> None:
        """Stop it where it is ours. Idempotent."""
        if not self._stopped:
            self._stopped = True
            if self.on_stop is not None:
                self.on_stop()


def answer_of(system: str, address: str, ask: Callable[[], T]) -> T:
    """The answer of a server that should be there; ServerError that says what is wrong where it is not."""
    try:
        return ask()
    except (OSError, ValueError) as error:
        raise ServerError(f"{system}: nothing that speaks its protocol answers at {address}: {error}") from error
