"""Protocol exchanges that tell whether a server answers, and which one it is. Raw sockets: no client library is needed.

Each raises OSError where nobody answers and ValueError where what answers speaks something else.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import urllib.parse
from dataclasses import dataclass

TIMEOUT_S = 2.0
FRAME_MAX_BYTES = 1 << 20  # what answers with more is not the protocol that was asked for


def _read(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ConnectionResetError("the connection was closed in the middle of an answer")
        data += part
    return bytes(data)


class _Fields:
    """Big-endian fields, one after the other; struct.error (a ValueError for callers) where they end early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, form: str) -> int:
        try:
            (value,) = struct.unpack_from(">" + form, self._data, self._at)
        except struct.error as error:
            raise ValueError("the answer is too short") from error
        self._at += struct.calcsize(">" + form)
        return int(value)

    def take(self, count: int) -> bytes:
        if count < 0 or self._at + count > len(self._data):
            raise ValueError("the answer is too short")
        value = self._data[self._at : self._at + count]
        self._at += count
        return value

    def more(self) -> bool:
        return self._at < len(self._data)


# --- Kafka: https://kafka.apache.org/protocol, requests Metadata (3) and ApiVersions (18)


@dataclass(frozen=True)
class KafkaCluster:
    """What a broker says of its cluster; ``controller`` is -1 while there is none."""

    cluster_id: str
    controller: int
    brokers: dict[int, str]  # node id -> advertised host:port


def kafka_metadata(host: str, port: int, timeout_s: float = TIMEOUT_S) -> KafkaCluster:
    """Ask a broker for its cluster (Metadata version 2, no topics)."""
    body = struct.pack(">hhih", 3, 2, 1, 5) + b"probe" + struct.pack(">i", 0)
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        sock.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", _read(sock, 4))
        if not 0 < size < FRAME_MAX_BYTES:
            raise ValueError(f"{host}:{port} does not speak Kafka's protocol")
        answer = _Fields(_read(sock, size))
    if answer.number("i") != 1:
        raise ValueError(f"{host}:{port} does not speak Kafka's protocol")
    brokers: dict[int, str] = {}
    for _ in range(answer.number("i")):
        node = answer.number("i")
        name = answer.take(answer.number("h")).decode()
        brokers[node] = f"{name}:{answer.number('i')}"
        rack = answer.number("h")
        if rack > 0:
            answer.take(rack)
    length = answer.number("h")
    cluster_id = answer.take(length).decode() if length > 0 else ""
    return KafkaCluster(cluster_id, answer.number("i"), brokers)


# --- AMQP 0-9-1: the protocol header, answered by Connection.Start with the server's properties


def amqp_start(host: str, port: int, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """Open an AMQP 0-9-1 connection as far as Connection.Start; the server's properties that are texts (product, version, ...)."""
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        sock.sendall(b"AMQP\0\0\x09\x01")
        kind, _, size = struct.unpack(">BHI", _read(sock, 7))
        if kind != 1 or not 0 < size < FRAME_MAX_BYTES:
            raise ValueError(f"{host}:{port} does not speak AMQP 0-9-1")
        frame = _Fields(_read(sock, size))
    if (frame.number("H"), frame.number("H")) != (10, 10):
        raise ValueError(f"{host}:{port} does not speak AMQP 0-9-1: no Connection.Start")
    frame.take(2)  # the protocol's version
    return _amqp_texts(_Fields(frame.take(frame.number("I"))))


_AMQP_SIZES = {"t": 1, "b": 1, "B": 1, "s": 2, "u": 2, "I": 4, "i": 4, "l": 8, "f": 4, "d": 8, "D": 5, "T": 8, "V": 0}


def _amqp_texts(table: _Fields) -> dict[str, str]:
    texts: dict[str, str] = {}
    while table.more():
        name = table.take(table.number("B")).decode()
        kind = chr(table.number("B"))
        if kind == "S":
            texts[name] = table.take(table.number("I")).decode(errors="replace")
        elif kind in {"F", "A", "x"}:
            table.take(table.number("I"))
        elif kind in _AMQP_SIZES:
            table.take(_AMQP_SIZES[kind])
        else:
            raise ValueError(f"an AMQP field of the unknown type {kind!r}")
    return texts


# --- Redis: RESP, https://redis.io/docs/latest/develop/reference/protocol-spec/


def redis_call(host: str, port: int, *words: str, timeout_s: float = TIMEOUT_S) -> str | list[str]:
    """One command, answered by a line, a text or a flat list of texts."""
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        sock.sendall(f"*{len(words)}\r\n".encode() + b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words))
        with sock.makefile("rb") as file:
            line = file.readline()
            if line[:1] == b"*":
                return [_redis_text(file.readline(), file.read, words) for _ in range(int(line[1:]))]
            return _redis_text(line, file.read, words)


def _redis_text(line: bytes, read: object, words: tuple[str, ...]) -> str:
    assert callable(read)  # the file's read
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the connection was closed in the middle of an answer")
    if line[:1] in {b"+", b":"}:
        return line[1:-2].decode()
    if line[:1] == b"$" and line[1:-2].isdigit():
        return bytes(read(int(line[1:]) + 2))[:-2].decode(errors="replace")
    raise ValueError(f"{words[0]} was answered with {line[:200].decode(errors='replace').strip()!r}")


def redis_info(host: str, port: int, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """PING, then INFO server, as a mapping."""
    if redis_call(host, port, "PING", timeout_s=timeout_s) != "PONG":
        raise ValueError(f"{host}:{port} does not answer PING with PONG")
    text = redis_call(host, port, "INFO", "server", timeout_s=timeout_s)
    assert isinstance(text, str)  # a bulk string; a list would be another command's answer
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


# --- SQS: its JSON protocol over HTTP


def sqs_list_queues(url: str, timeout_s: float = TIMEOUT_S) -> list[str]:
    """ListQueues, unsigned: emulators take it. Queue URLs."""
    parts = urllib.parse.urlsplit(url)
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.hostname or "", parts.port, timeout=timeout_s)
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "AmazonSQS.ListQueues",
        # Unsigned requests are refused without it by moto; the words in it mean nothing.
        "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=x",
    }
    try:
        connection.request("POST", parts.path or "/", body=b"{}", headers=headers)
        answer = connection.getresponse()
        body = answer.read(FRAME_MAX_BYTES)
    except http.client.HTTPException as error:
        raise ValueError(f"{url} does not speak HTTP: {error!r}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"{url} answered ListQueues with status {answer.status}: {body[:200].decode(errors='replace')}")
    found = json.loads(body or b"{}")
    if not isinstance(found, dict):
        raise ValueError(f"{url} answered ListQueues with something else: {body[:200].decode(errors='replace')}")  # noqa: TRY004  # callers know ValueError
    return [str(one) for one in found.get("QueueUrls") or []]
