"""Free ports, and who holds one that is taken."""

from __future__ import annotations

import os
import socket

import pytest

from bench.errors import ServerError
from bench.servers import ports


def test_free_ports_are_different_and_can_be_bound():
    found = ports.free_ports(40)
    assert len(set(found)) == 40
    for port in found:
        with socket.socket() as sock:
            sock.bind((ports.LOOPBACK, port))


def test_free_ports_lie_outside_of_what_outgoing_connections_take(monkeypatch):
    monkeypatch.setattr(ports, "ephemeral_range", lambda: (32768, 60999))
    assert max(ports.free_ports(50)) < 32768
    monkeypatch.setattr(ports, "ephemeral_range", lambda: (1024, 60999))
    assert min(ports.free_ports(50)) > 60999
    monkeypatch.setattr(ports, "ephemeral_range", lambda: (1024, 65535))
    assert len(set(ports.free_ports(5))) == 5


def test_too_many_ports_are_an_error(monkeypatch):
    monkeypatch.setattr(ports, "_candidates", lambda: range(23456, 23458))
    with pytest.raises(ServerError, match="no 3 free ports"):
        ports.free_ports(3)


def test_a_port_that_is_taken_is_named_with_its_holder():
    with socket.socket() as sock:
        sock.bind((ports.LOOPBACK, 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(ServerError, match=rf"port {port} on 127\.0\.0\.1 is taken by .*pid {os.getpid()}"):
            ports.choose_port(port)
    assert ports.choose_port(port) == port


def test_no_port_at_all():
    assert ports.choose_port(0) > 0
    with pytest.raises(ServerError, match="65536 is not a port"):
        ports.choose_port(65536)
    with pytest.raises(ServerError, match="-1 is not a port"):
        ports.choose_port(-1)
