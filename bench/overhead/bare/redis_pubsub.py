"""redis-py: a pipeline of PUBLISH a batch, get_message() a message; `tuned`: RESP blocks on a socket, hiredis.Reader."""

from __future__ import annotations

import select
import socket
from typing import Any

import hiredis
import redis

from adapters.redis_raw import command
from bench.overhead.bare.step import Step, payloads


def _address(spec: dict[str, Any]) -> tuple[str, int]:
    host, _, port = spec["wiring"]["servers"][0].rpartition(":")
    return host, int(port)


def _client(spec: dict[str, Any]) -> redis.Redis:
    host, port = _address(spec)
    own = spec["settings"]
    return redis.Redis(
        host=host, port=port, protocol=own["protocol"], socket_timeout=own["socket_timeout"],
        socket_read_size=own["socket_read_size"], socket_keepalive=own["socket_keepalive"],
    )  # fmt: skip


def producer(spec: dict[str, Any]) -> Step:
    """One pipeline, one round trip a batch."""
    if spec["profile"] == "tuned":
        return _raw_producer(spec)
    client, channel = _client(spec), spec["wiring"]["channel"]
    sending = payloads(spec, spec["batch"])

    def step() -> int:
        pipeline = client.pipeline(transaction=False)
        for payload in sending:
            pipeline.publish(channel, payload)
        return len(pipeline.execute(raise_on_error=False))

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """get_message() until a batch is full or there is none."""
    if spec["profile"] == "tuned":
        return _raw_consumer(spec)
    pubsub: Any = _client(spec).pubsub()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    pubsub.subscribe(spec["wiring"]["channel"])
    pubsub.get_message(timeout=5)
    batch = spec["batch"]

    def step() -> int:
        received: list[bytes] = []
        wait_s = 0.01
        while len(received) < batch:
            message = pubsub.get_message(timeout=wait_s)
            if message is None:
                break
            wait_s = 0.0
            received.append(message["data"])
        return len(received)

    return step


def _raw_producer(spec: dict[str, Any]) -> Step:
    """Blocks of a batch; no more than the adapter's window without a reply."""
    sock = socket.create_connection(_address(spec))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    batch, window = spec["batch"], spec["settings"]["window"]
    channel = spec["wiring"]["channel"].encode()
    block = b"".join(command(b"PUBLISH", channel, payload) for payload in payloads(spec, batch))
    outstanding = 0

    def step() -> int:
        nonlocal outstanding
        sent = 0
        if outstanding + batch <= window:
            sock.sendall(block)
            outstanding += batch
            sent = batch
        if select.select([sock], [], [], 0.0 if sent else 0.01)[0]:
            outstanding -= sock.recv(65536).count(b"\n")
        return sent

    return step


def _subscribed(spec: dict[str, Any]) -> tuple[socket.socket, Any]:
    sock, reader = socket.create_connection(_address(spec)), hiredis.Reader()
    sock.sendall(command(b"SUBSCRIBE", spec["wiring"]["channel"].encode()))
    while reader.gets() is False:
        reader.feed(sock.recv(4096))
    sock.settimeout(0.01)
    return sock, reader


def _raw_consumer(spec: dict[str, Any]) -> Step:
    """Subscribes again where the server cut it off as too slow (client-output-buffer-limit), as the adapter does."""
    sock, reader = _subscribed(spec)
    buffer = bytearray(spec["settings"]["socket_read_size"])

    def step() -> int:
        nonlocal sock, reader
        try:
            received = sock.recv_into(buffer)
        except TimeoutError:
            return 0
        except ConnectionError:
            received = 0
        if not received:
            sock.close()
            sock, reader = _subscribed(spec)
            return 0
        reader.feed(buffer, 0, received)
        bodies: list[bytes] = []
        while (reply := reader.gets()) is not False:
            bodies.append(reply[2])
        return len(bodies)

    return step
