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


def test_no_free_port_is_a_server_error(monkeypatch):
    monkeypatch.setattr("adapters.ports.candidates", lambda: range(23456, 23458))
    with pytest.raises(ServerError, match="3 free ports are needed"):
        ports.free_ports(3)


def test_a_port_that_is_taken_is_named_with_its_holder():
    with socket.socket() as sock:
        sock.bind((ports.LOOPBACK, 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(ServerError, match=rf"port {port} on 127\.0\.0\.1 is taken by .*pid {os.getpid()}"):
            ports.choose_port(port)
    assert ports.choose_port(port) == port


def test_a_port_that_was_chosen_is_not_given_to_another(monkeypatch):
    """Else a node of the same server may get it before its first process has bound it."""
    (wanted,) = ports.free_ports(1)
    monkeypatch.setattr("adapters.ports.candidates", lambda: range(wanted, wanted + 1))
    monkeypatch.setattr("adapters.ports._given", set())
    assert ports.choose_port(wanted) == wanted
    with pytest.raises(ServerError, match="1 free ports are needed"):
        ports.free_ports(1)


def test_no_port_at_all():
    assert ports.choose_port(0) > 0
    with pytest.raises(ServerError, match="65536 is not a port"):
        ports.choose_port(65536)
    with pytest.raises(ServerError, match="-1 is not a port"):
        ports.choose_port(-1)
