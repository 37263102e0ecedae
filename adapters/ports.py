"""Free TCP ports on the loopback for listeners: systems without a broker, servers, proxies.

They lie outside the kernel's range for outgoing connections. A port in that range can be taken, between the choice and
the bind, by any client's own connection (a run opens hundreds of them); outside of it only another listener can.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

from adapters.errors import Unreachable

LOOPBACK = "127.0.0.1"
PORT_MIN = 10_240  # below are the well-known ones, and those that people's own servers use
_ROOM = 1_000  # a range of fewer is no range: then any port will do

_given: set[int] = set()  # what this process has handed out: two calls before the first bind must not agree


def ephemeral_range() -> tuple[int, int]:
    """First and last port that the kernel gives to outgoing connections."""
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 32_768, 60_999  # Linux's default
    return int(first), int(last)


def candidates() -> range:
    """The ports to choose from."""
    first, last = ephemeral_range()
    if first - PORT_MIN >= _ROOM:
        return range(PORT_MIN, first)
    if 65_535 - last >= _ROOM:
        return range(last + 1, 65_536)
    return range(PORT_MIN, 65_536)


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Distinct ports that could be bound on ``host`` a moment ago and that this process has not been given before.

    Raises Unreachable where there are not that many; the choice is random, so that several runs on one machine
    seldom meet.
    """
    among = candidates()
    found: list[int] = []
    with ExitStack() as held:  # all stay bound until the last is found, so that they differ
        for port in random.sample(among, k=len(among)):
            if len(found) == count:
                break
            if port in _given:
                continue
            probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found.append(port)
    if len(found) < count:
        raise Unreachable(f"{count} free ports are needed on {host} between {among.start} and {among.stop - 1}; {len(found)} are left")
    _given.update(found)
    return found


def keep(port: int) -> None:
    """Never give this port: somebody chose it."""
    _given.add(port)
