"""redis-py: a pipeline of XADD a batch; XREADGROUP of a batch, then its XACK."""

from __future__ import annotations

from typing import Any

import redis

from bench.overhead.bare.step import Step, payloads


def _client(spec: dict[str, Any]) -> redis.Redis:
    host, _, port = spec["wiring"]["servers"][0].rpartition(":")
    own = spec["settings"]
    return redis.Redis(
        host=host, port=int(port), protocol=own["protocol"], socket_timeout=own["socket_timeout"],
        socket_read_size=own["socket_read_size"], socket_keepalive=own["socket_keepalive"],
    )  # fmt: skip


def producer(spec: dict[str, Any]) -> Step:
    """One pipeline, one round trip a batch."""
    client, stream = _client(spec), spec["wiring"]["streams"][0]
    sending, maxlen = payloads(spec, spec["batch"]), spec["settings"]["maxlen"] or None

    def step() -> int:
        pipeline = client.pipeline(transaction=False)
        for payload in sending:
            pipeline.xadd(stream, {b"p": payload}, maxlen=maxlen)
        return len(pipeline.execute(raise_on_error=False))

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """Waits for at most 10 ms where there is nothing."""
    client, stream, batch = _client(spec), spec["wiring"]["streams"][0], spec["batch"]
    (group,) = spec["wiring"]["groups"]
    noack = spec["settings"]["noack"]

    def step() -> int:
        reply: Any = client.xreadgroup(group, f"{group}-0", {stream: ">"}, count=batch, block=10, noack=noack)
        received = 0
        # RESP3 {stream: [entries]}, RESP2 [[stream, entries]]
        for entries in [found[0] for found in reply.values()] if isinstance(reply, dict) else [found for _, found in reply]:
            ids = [entry_id for entry_id, _ in entries]
            if not noack:
                client.xack(stream, group, *ids)
            received += len(ids)
        return received

    return step
