"""Sockets: a frame (``u32 bytes a row, u32 rows``) and a batch of rows a call; the reader walks the frames."""

from __future__ import annotations

import select
import socket
import time
from typing import Any

from adapters.tcp import BUFFER_BYTES, FRAME, RECEIVE_BYTES
from bench.overhead.bare.step import Step, payloads


def producer(spec: dict[str, Any]) -> Step:
    """One blocking sendmsg() a batch, in frames as large as the adapter's."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)  # as the adapter's: before connecting, or the window is not of it
    sock.connect(tuple(spec["wiring"]["groups"][0]["members"][0]))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    size, batch = int(spec["size"]), int(spec["batch"])
    head, rows = FRAME.pack(size, batch), memoryview(b"".join(payloads(spec, batch)))

    def step() -> int:
        sent = sock.sendmsg((head, rows))
        if sent < len(head) + len(rows):
            sock.sendall((head + rows)[sent:])
        return batch

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """recv_into() one buffer; counts the rows of the frames that begin in it."""
    host, port = spec["wiring"]["groups"][0]["members"][0]
    listener = socket.create_server((host, port))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    buffer = memoryview(bytearray(RECEIVE_BYTES))
    connections: list[socket.socket] = []
    end = skip = 0

    def step() -> int:
        nonlocal end, skip
        if not connections:
            if not select.select([listener], [], [], 0.01)[0]:
                return 0
            connections.append(listener.accept()[0])
            connections[0].settimeout(0.01)
        try:
            received = connections[0].recv_into(buffer[end:])
        except TimeoutError:
            return 0
        if not received:
            time.sleep(0.01)  # the producer has gone
            return 0
        end += received
        at, count = skip, 0
        while at + FRAME.size <= end:
            size, rows = FRAME.unpack_from(buffer, at)
            at += FRAME.size + size * rows
            count += rows
        if at >= end:
            skip, end = at - end, 0
        else:  # a frame's head was cut
            buffer[: end - at] = buffer[at:end]
            skip, end = 0, end - at
        return count

    return step
