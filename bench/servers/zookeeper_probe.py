"""What a ZooKeeper server says of itself (its four-letter words) and what it keeps (a session of its own protocol). Raw sockets.

Sources: ZooKeeper Administrator's Guide 3.8, "The Four Letter Words"; zookeeper.jute of its source for ConnectRequest, RequestHeader,
ReplyHeader and their numbers; Kafka 3.9, kafka.zk.ZkData, for what brokers keep there. Each raises OSError where nobody answers and
ValueError where what answers says something else.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.servers.common import host_ports
from bench.servers.probe import FRAME_MAX_BYTES, TIMEOUT_S, Fields, read_exactly

_SESSION_MS = 4000  # of a look: it is closed at once, and the server bounds it anyhow
_GET_DATA, _GET_CHILDREN, _CLOSE = 4, 8, -11
_NO_NODE = -101

T = TypeVar("T")

FIGURES = {
    # Name of the monitor word's, in our words. Latencies in ms; those and the counts since the server's start, or the last `reset`.
    "zk_server_state": "mode",  # standalone, leader, follower
    "zk_packets_received": "requests",
    "zk_avg_latency": "latency mean ms",
    "zk_max_latency": "latency most ms",
    "zk_avg_fsynctime": "fsync mean ms",
    "zk_max_fsynctime": "fsync most ms",
    "zk_outstanding_requests": "outstanding",
    "zk_num_alive_connections": "connections",
    "zk_znode_count": "znodes",
    "zk_ephemerals_count": "ephemerals",
}


def word(address: str, name: str, timeout_s: float = TIMEOUT_S) -> str:
    """The answer to a four-letter word."""
    ((host, port),) = host_ports("zookeeper", address)
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        sock.sendall(name.encode())
        parts = []
        while part := sock.recv(1 << 16):
            parts.append(part)
    text = b"".join(parts).decode(errors="replace")
    if "not currently serving requests" in text or "is not in the whitelist" in text or not text:
        raise ValueError(f"{address}: {name}: {text.strip() or 'an empty answer'}")
    return text


def health(address: str, timeout_s: float = TIMEOUT_S) -> dict[str, str | float]:
    """FIGURES of a server, by our words; one that is in an ensemble without a quorum serves nobody and raises ValueError."""
    rows = dict(line.split("\t", 1) for line in word(address, "mntr", timeout_s).splitlines() if "\t" in line)
    if "zk_server_state" not in rows:
        raise ValueError(f"{address} does not speak ZooKeeper's protocol")
    return {ours: rows[name] if ours == "mode" else float(rows[name]) for name, ours in FIGURES.items() if name in rows}


def version(address: str) -> str:
    """Its release, such as 3.8.4."""
    first, _, _ = word(address, "srvr").partition("-")
    before, colon, found = first.partition(": ")
    if not colon or before != "Zookeeper version":
        raise ValueError(f"{address} does not speak ZooKeeper's protocol")
    return found


def reset(address: str, timeout_s: float = TIMEOUT_S) -> None:
    """Count anew from now on."""
    word(address, "srst", timeout_s)


@dataclass(frozen=True)
class Registered:
    """What Kafka's brokers keep in ZooKeeper."""

    cluster_id: str
    controller: int  # -1: nobody is
    brokers: dict[int, str]  # node id -> host:port that it tells first


def kafka_registered(addresses: Sequence[str], root: str, timeout_s: float = TIMEOUT_S) -> Registered:
    """Who is registered below ``root`` now, as the first server says that answers; "" and -1 for what is not there (yet)."""
    errors = []
    for address in addresses:
        try:
            return _registered(address, root, timeout_s)
        except (OSError, ValueError) as error:
            errors.append(f"{address}: {error}")
    raise OSError("; ".join(errors))


def _registered(address: str, root: str, timeout_s: float) -> Registered:
    with closing(_Session(address, timeout_s)) as session:
        brokers = {}
        for name in session.children(f"{root}/brokers/ids"):
            about = _json(session.data(f"{root}/brokers/ids/{name}"))
            endpoints = about.get("endpoints") or [""]
            brokers[int(name)] = str(endpoints[0]).rpartition("/")[2]
        cluster, controller = _json(session.data(f"{root}/cluster/id")), _json(session.data(f"{root}/controller"))
    return Registered(str(cluster.get("id", "")), int(controller.get("brokerid", -1)), brokers)


def _json(data: bytes) -> dict[str, Any]:
    found = json.loads(data or b"{}")
    if not isinstance(found, dict):
        raise ValueError(f"ZooKeeper holds something else than a broker writes: {data[:200].decode(errors='replace')}")  # noqa: TRY004  # callers know ValueError
    return found


class _Session:
    """A session that reads. What is not there is empty."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._address = address
        ((host, port),) = host_ports("zookeeper", address)
        self._sock = socket.create_connection((host, port), timeout_s)
        try:
            self._sock.settimeout(timeout_s)
            self._open()
        except BaseException:
            self._sock.close()
            raise

    def _open(self) -> None:
        # Protocol 0, no transaction seen, time-out, no session yet, its password (16 zeros), not read-only.
        self._send(struct.pack(">iqiqi16s?", 0, 0, _SESSION_MS, 0, 16, bytes(16), False))
        answer = self._receive()
        if answer.number("i") != 0 or answer.number("i") <= 0:
            raise ValueError(f"{self._address} does not speak ZooKeeper's protocol, or wants no session")

    def children(self, path: str) -> list[str]:
        """Names of a node's children."""
        return self._asked(_GET_CHILDREN, path, lambda answer: [_text(answer) for _ in range(answer.number("i"))]) or []

    def data(self, path: str) -> bytes:
        """What a node holds."""
        return self._asked(_GET_DATA, path, lambda answer: answer.take(max(0, answer.number("i")))) or b""

    def close(self) -> None:
        """End the session, so that the server need not wait for its time-out."""
        with self._sock:
            self._send(struct.pack(">ii", 0, _CLOSE))
            self._receive()

    def _asked(self, kind: int, path: str, read: Callable[[Fields], T]) -> T | None:
        name = path.encode()
        self._send(struct.pack(">iii", 1, kind, len(name)) + name + b"\0")  # sets no watch
        answer = self._receive()
        answer.number("i")
        answer.number("q")
        error = answer.number("i")
        if error == _NO_NODE:
            return None
        if error:
            raise ValueError(f"{self._address}: {path}: ZooKeeper's error {error}")
        return read(answer)

    def _send(self, body: bytes) -> None:
        self._sock.sendall(struct.pack(">i", len(body)) + body)

    def _receive(self) -> Fields:
        (size,) = struct.unpack(">i", read_exactly(self._sock, 4))
        if not 0 < size < FRAME_MAX_BYTES:
            raise ValueError(f"{self._address} does not speak ZooKeeper's protocol")
        return Fields(read_exactly(self._sock, size))


def _text(answer: Fields) -> str:
    return answer.take(answer.number("i")).decode()
