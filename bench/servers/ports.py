"""Free ports on 127.0.0.1, and who holds one that is not free.

They are taken below the range that the kernel gives to outgoing connections: a client's connection would otherwise take
a server's port between the choice and the bind (a run opens hundreds of them).
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench.errors import ServerError

LOOPBACK = "127.0.0.1"
LOWEST = 10_240  # below are the well-known ones, and those that people's own servers use
TRIES = 2_000
_random = random.Random()  # not the scenario's seed: two runs at once must not choose alike


def ephemeral_range() -> tuple[int, int]:
    """First and last port that the kernel gives to outgoing connections."""
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 32_768, 60_999  # Linux's default
    return int(first), int(last)


def _candidates() -> range:
    first, last = ephemeral_range()
    if first - LOWEST >= 1_000:
        return range(LOWEST, first)
    if 65_536 - (last + 1) >= 1_000:
        return range(last + 1, 65_536)
    return range(LOWEST, 65_536)  # the machine leaves nothing outside: any will do


def free_ports(n: int) -> list[int]:
    """``n`` different ports that nothing listens on at this moment. Raises ServerError where there are not that many."""
    candidates = _candidates()
    found: list[int] = []
    with ExitStack() as stack:  # all are held until all are found, so that none comes twice
        for _ in range(TRIES):
            if len(found) == n:
                return found
            port = _random.choice(candidates)
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            found.append(port)
    if len(found) == n:
        return found
    raise ServerError(f"no {n} free ports on {LOOPBACK} between {candidates.start} and {candidates.stop - 1}")


def holder(port: int) -> str | None:
    """None where a server could bind the port now; else who listens there, as far as it may be known."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: connections in TIME_WAIT are no obstacle
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return None
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass  # not our process, and we are not root: the port is what matters
    return f"another process ({reason})"


def choose_port(wanted: int) -> int:
    """``wanted``, or a free one for 0. Raises ServerError that names who holds it, or why it is no port."""
    if wanted == 0:
        return free_ports(1)[0]
    if not 0 < wanted < 65_536:
        raise ServerError(f"{wanted} is not a port: 1 to 65535, or 0 for any free one")
    who = holder(wanted)
    if who is not None:
        raise ServerError(f"port {wanted} on {LOOPBACK} is taken by {who}: stop it, give another port, or none to get a free one")
    return wanted
