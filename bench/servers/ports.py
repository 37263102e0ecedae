"""Ports for servers on 127.0.0.1, and who holds one that is not free."""

from __future__ import annotations

import socket

import psutil

from adapters import ports
from adapters.errors import Unreachable
from adapters.ports import LOOPBACK
from bench.errors import ServerError


def free_ports(n: int) -> list[int]:
    """``n`` different ports that nothing listens on at this moment. Raises ServerError where there are not that many."""
    try:
        return ports.free_ports(n)
    except Unreachable as error:
        raise ServerError(str(error)) from error


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
    """``wanted``, or a free one for 0; free_ports() gives neither again.

    Raises ServerError that names who holds it, or why it is no port.
    """
    if wanted == 0:
        return free_ports(1)[0]
    if not 0 < wanted < 65_536:
        raise ServerError(f"{wanted} is not a port: 1 to 65535, or 0 for any free one")
    who = holder(wanted)
    if who is not None:
        raise ServerError(f"port {wanted} on {LOOPBACK} is taken by {who}: stop it, give another port, or none to get a free one")
    ports.keep(wanted)
    return wanted
