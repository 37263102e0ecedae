"""Free TCP ports on the loopback for listeners: systems without a broker, servers, proxies.

They lie below the kernel's range for outgoing connections. A port out of that range can be taken, between the choice
and the bind, by any client's own connection; below it only another listener can.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

from adapters.errors import Unreachable

LOOPBACK = "127.0.0.1"
PORT_MIN = 10_000
EPHEMERAL_MIN_DEFAULT = 32_768  # Linux' own default, for machines without /proc

_given: set[int] = set()  # what this process has handed out: two calls before the first bind must not agree


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Distinct ports that could be bound on ``host`` a moment ago and that this process has not been given before.

    Raises Unreachable where there are not that many; the choice is random, so that several runs on one machine
    seldom meet.
    """
    end = _ephemeral_min()
    candidates = random.sample(range(PORT_MIN, end), k=end - PORT_MIN)
    found: list[int] = []
    with ExitStack() as held:  # all stay bound until the last is found, so that they differ
        for port in candidates:
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
        msg = f"{count} free ports are needed on {host} between {PORT_MIN} and {end - 1}; {len(found)} are left"
        raise Unreachable(msg)
    _given.update(found)
    return found


def _ephemeral_min() -> int:
    """First port that the kernel uses for outgoing connections; ours end below it."""
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    except OSError:
        return EPHEMERAL_MIN_DEFAULT
    first = int(text.split()[0])
    # A machine that gives its clients nearly everything leaves us no range: then any port is as good as another.
    return first if first > PORT_MIN + 1_000 else EPHEMERAL_MIN_DEFAULT
