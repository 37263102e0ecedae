"""pyzmq PUSH and PULL, one message a call: ``Socket.send(payload)``, ``Socket.recv()``; `tuned`: the compiled methods."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import repeat
from typing import Any

import zmq

from bench.overhead.bare.step import Step, payloads


def _methods(spec: dict[str, Any]) -> tuple[Callable[..., Any], Callable[..., bytes]]:
    if spec["profile"] == "defaults":
        return zmq.Socket.send, zmq.Socket.recv
    from zmq.backend.cython._zmq import Socket  # noqa: PLC0415  # only `tuned` needs it

    return Socket.send, Socket.recv


def producer(spec: dict[str, Any]) -> Step:
    """Blocks at the high-water mark, inside libzmq, for at most 100 ms a message: the loop must end when nobody reads."""
    socket = zmq.Context(spec["settings"]["io_threads"]).socket(zmq.PUSH)
    for name in ("sndhwm", "sndbuf", "immediate"):
        socket.set(getattr(zmq, name.upper()), spec["settings"][name])
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.SNDTIMEO, 100)
    socket.connect(spec["wiring"]["groups"][0]["members"][0])
    send, sending = _methods(spec)[0], payloads(spec, spec["batch"])

    def step() -> int:
        try:
            deque(map(send, repeat(socket), sending), maxlen=0)
        except zmq.Again:
            return 0
        return len(sending)

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """Takes what is there up to a batch, waits where there is nothing."""
    socket = zmq.Context(spec["settings"]["io_threads"]).socket(zmq.PULL)
    socket.set(zmq.RCVHWM, spec["settings"]["rcvhwm"])
    socket.set(zmq.RCVBUF, spec["settings"]["rcvbuf"])
    socket.bind(spec["wiring"]["groups"][0]["members"][0])
    recv, batch, noblock = _methods(spec)[1], spec["batch"], int(zmq.NOBLOCK)

    def step() -> int:
        received: list[bytes] = []
        try:
            received.extend(map(recv, repeat(socket, batch), repeat(noblock)))
        except zmq.Again:
            if not received:
                socket.poll(10)
        return len(received)

    return step
