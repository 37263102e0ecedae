"""The proxy's process between real sockets. Times are only ever asked to be at least what was asked for."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time

import psutil
import pytest

from bench.errors import EnvironmentProblem
from bench.faults.proxy import Proxies, Toxic
from bench.guard import Guard
from bench.servers.ports import free_ports


class Upstream:
    """Sends back what it is sent; keeps its connections, the newest last."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                self.connections.append(connection)
                threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection):
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def proxies(tmp_path_factory):
    with Guard(f"pytest-proxy-{os.getpid()}") as guard, Proxies(guard, tmp_path_factory.mktemp("proxy")) as made:
        yield made
        assert made.dead() is None


@pytest.fixture
def upstream():
    made = Upstream()
    yield made
    made.listener.close()
    for connection in made.connections:
        connection.close()


@pytest.fixture
def link(proxies, upstream, request):
    """Name and address of a link of this test's own."""
    name = request.node.name
    address = proxies.open(name, 0, upstream.address)
    yield name, address
    with contextlib.suppress(EnvironmentProblem):
        proxies.clear(name)


def connect(address):
    host, port = address.rsplit(":", 1)
    made = socket.create_connection((host, int(port)), 20)
    made.settimeout(20)
    return made


def talk(sock, data):
    """Sends, and reads as many bytes back."""
    sock.sendall(data)
    return read(sock, len(data))


def read(sock, count):
    got = b""
    while len(got) < count:
        part = sock.recv(count - len(got))
        if not part:
            break
        got += part
    return got


def silent(sock, seconds=0.15):
    return not select.select([sock], [], [], seconds)[0]


def test_bytes_pass_both_ways_and_so_does_the_end(proxies, link):
    name, address = link
    with connect(address) as sock:
        data = os.urandom(1 << 20)
        threading.Thread(target=sock.sendall, args=(data,)).start()
        assert read(sock, len(data)) == data
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    stats = proxies.stats()
    assert stats["links"][name] == {"connections": 1, "open": 0, "up_b": 1 << 20, "down_b": 1 << 20, "held_b": 0, "toxics": []}
    assert stats["cpu_ns"] > 0


def test_latency_one_way_and_both(proxies, link):
    name, address = link
    with connect(address) as sock:
        for direction, at_least in (("up", 0.03), ("down", 0.03), ("both", 0.06)):
            proxies.add(name, Toxic("latency", direction, {"latency": 0.03}))
            started = time.monotonic()
            assert talk(sock, b"ping") == b"ping"
            assert time.monotonic() - started >= at_least
            proxies.clear(name)


def test_a_black_hole_holds_the_connection_and_its_bytes(proxies, link):
    name, address = link
    with connect(address) as sock:
        talk(sock, b"one")
        at_ns = proxies.add(name, Toxic("timeout"))
        sock.sendall(b"two")
        assert silent(sock)
        with connect(address) as later:
            later.sendall(b"new")
            assert silent(later)
            assert proxies.clear(name) > at_ns
            assert (read(sock, 3), read(later, 3)) == (b"two", b"new")


def test_a_black_hole_one_way(proxies, link, upstream):
    name, address = link
    with connect(address) as sock:
        talk(sock, b"one")
        proxies.add(name, Toxic("timeout", "up"))
        sock.sendall(b"two")
        upstream.connections[-1].sendall(b"from the server")
        assert read(sock, 15) == b"from the server"
        assert silent(sock)
        proxies.heal()
        assert read(sock, 3) == b"two"


def test_a_black_hole_holds_a_bounded_amount(proxies, link):
    name, address = link
    with connect(address) as sock:
        talk(sock, b"one")
        proxies.add(name, Toxic("timeout"))
        sock.setblocking(False)
        sent = 0
        while select.select([], [sock], [], 0.2)[1]:
            sent += sock.send(b"x" * 65536)
            assert sent < 64 << 20
        assert proxies.stats()["links"][name]["held_b"] <= 1 << 20
        proxies.clear(name)
        sock.settimeout(20)
        assert read(sock, sent) == b"x" * sent


def test_a_timeout_closes(proxies, link):
    name, address = link
    with connect(address) as sock:
        talk(sock, b"one")
        started = time.monotonic()
        proxies.add(name, Toxic("timeout", "up", {"timeout": 0.05}))
        sock.sendall(b"two")
        with contextlib.suppress(ConnectionResetError):  # bytes that nobody read: the kernel says so
            assert sock.recv(1) == b""
        assert time.monotonic() - started >= 0.05


def test_a_reset_is_a_reset_at_both_ends(proxies, link, upstream):
    name, address = link
    with connect(address) as sock:
        talk(sock, b"one")
        server = upstream.connections[-1]
        proxies.add(name, Toxic("reset_peer"))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert select.select([server], [], [], 20)[0]
    with pytest.raises(ConnectionResetError):  # those that come, too
        connect(address).recv(1)


def test_down_refuses_and_cuts_and_comes_back_at_its_port(proxies, link):
    name, address = link
    with connect(address) as sock:
        talk(sock, b"one")
        proxies.add(name, Toxic("down"))
        assert sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(address)
    proxies.clear(name)
    with connect(address) as sock:
        assert talk(sock, b"two") == b"two"


def test_limit_data_and_bandwidth(proxies, link):
    name, address = link
    with connect(address) as sock:
        proxies.add(name, Toxic("limit_data", "down", {"bytes": 5}))
        sock.sendall(b"abcdefgh")
        assert read(sock, 5) == b"abcde"
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    proxies.clear(name)
    with connect(address) as sock:
        proxies.add(name, Toxic("bandwidth", "down", {"rate": 100_000}))
        started = time.monotonic()
        assert len(talk(sock, b"x" * 20_000)) == 20_000
        assert time.monotonic() - started >= 0.19


def test_slices_arrive_whole(proxies, link):
    name, address = link
    proxies.add(name, Toxic("slicer", "both", {"average_size": 64, "size_variation": 32}))
    data = os.urandom(20_000)
    with connect(address) as sock:
        assert talk(sock, data) == data


def test_a_server_that_closes_or_dies_is_seen_by_its_client(proxies, link, upstream):
    _, address = link
    with connect(address) as sock:
        talk(sock, b"one")
        upstream.connections[-1].shutdown(socket.SHUT_RDWR)
        assert sock.recv(1) == b""
    upstream.listener.shutdown(socket.SHUT_RDWR)
    upstream.listener.close()
    with pytest.raises(ConnectionResetError):  # a proxy cannot refuse what the kernel took up; connect() itself may tell it already
        connect(address).recv(1)


def test_nothing_to_do_takes_no_cpu(proxies, link, upstream):
    """A socket that is waited for, has ended and is not read would be reported again and again."""
    name, address = link
    half_closed, left, reset = connect(address), connect(address), connect(address)
    for sock in (half_closed, left, reset):
        talk(sock, b"one")
    half_closed.shutdown(socket.SHUT_WR)
    assert half_closed.recv(1) == b""
    proxies.add(name, Toxic("timeout"))
    left.sendall(b"two")
    left.close()
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset.close()
    upstream.connections[-1].sendall(b"more")
    before = proxies.stats()["cpu_ns"]
    time.sleep(0.3)
    assert proxies.stats()["cpu_ns"] - before < 20_000_000
    proxies.clear(name)
    proxies.add(name, Toxic("latency", "both", {"latency": 30.0}))
    with connect(address) as sock:
        sock.sendall(b"waits")
        before = proxies.stats()["cpu_ns"]
        time.sleep(0.3)
        assert proxies.stats()["cpu_ns"] - before < 20_000_000
        proxies.clear(name)
        assert read(sock, 5) == b"waits"
    half_closed.close()


def test_a_port_that_is_taken_and_a_name_that_is_none(proxies, upstream):
    with pytest.raises(EnvironmentProblem, match=r"the proxy could not open second: .*Address already in use"):
        proxies.open("second", int(upstream.address.rsplit(":", 1)[1]), upstream.address)
    with pytest.raises(EnvironmentProblem, match="there is no proxy named 'nobody'"):
        proxies.add("nobody", Toxic("down"))


def test_the_proxy_ends_with_its_runner_and_says_when_it_died(tmp_path):
    with Guard(f"pytest-proxy-end-{os.getpid()}") as guard:
        made = Proxies(guard, tmp_path)
        pid = made.node.pid
        (port,) = free_ports(1)
        assert made.open("one", port, "127.0.0.1:9") == f"127.0.0.1:{port}"
        psutil.Process(pid).kill()
        with pytest.raises(EnvironmentProblem, match="the proxy"):
            made.stats()
        assert "exit code -9" in made.dead()
        made.close()
        made.close()
        another = Proxies(guard, tmp_path)
        another.close()
        assert not psutil.pid_exists(another.node.pid)
