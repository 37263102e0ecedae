"""Protocol exchanges that tell whether a server answers, and which one it is. Raw sockets: no client library is needed.

Each raises OSError where nobody answers and ValueError where what answers speaks something else.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 2.0
FRAME_MAX_BYTES = 1 << 20  # what answers with more is not the protocol that was asked for


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """So many bytes; OSError where the other side ends before."""
    data = bytearray()
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ConnectionResetError("the connection was closed in the middle of an answer")
        data += part
    return bytes(data)


class Fields:
    """Big-endian fields, one after the other; ValueError where they end early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, form: str) -> int:
        """The next number, as struct names its form."""
        try:
            (value,) = struct.unpack_from(">" + form, self._data, self._at)
        except struct.error as error:
            raise ValueError("the answer is too short") from error
        self._at += struct.calcsize(">" + form)
        return int(value)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count < 0 or self._at + count > len(self._data):
            raise ValueError("the answer is too short")
        value = self._data[self._at : self._at + count]
        self._at += count
        return value

    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._data)


# --- Kafka: https://kafka.apache.org/protocol, requests Metadata (3) and ApiVersions (18)


@dataclass(frozen=True)
class KafkaPartition:
    """Who has a partition, by node id; ``leader`` is -1 while nobody leads it. Of two answers that with the higher ``epoch`` is newer."""

    leader: int
    epoch: int
    replicas: tuple[int, ...]
    synced: tuple[int, ...]


@dataclass(frozen=True)
class KafkaCluster:
    """What a broker says of its cluster; ``controller`` is -1 while there is none, and with KRaft any broker (who controls, it hides)."""

    cluster_id: str
    controller: int
    brokers: dict[int, str]  # node id -> advertised host:port
    partitions: dict[tuple[str, int], KafkaPartition]  # of the topics that were asked for, as far as there are such


def kafka_metadata(host: str, port: int, timeout_s: float = TIMEOUT_S, topics: Sequence[str] | None = ()) -> KafkaCluster:
    """Ask a broker for its cluster and these topics, None = all (Metadata version 7, of Kafka 2.1 and later)."""
    body = struct.pack(">hhih", 3, 7, 1, 5) + b"probe" + struct.pack(">i", -1 if topics is None else len(topics))
    body += b"".join(struct.pack(">h", len(name.encode())) + name.encode() for name in topics or ()) + b"\0"  # creates no topic
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        sock.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", read_exactly(sock, 4))
        if not 0 < size < FRAME_MAX_BYTES:
            raise ValueError(f"{host}:{port} does not speak Kafka's protocol")
        answer = Fields(read_exactly(sock, size))
    if answer.number("i") != 1:
        raise ValueError(f"{host}:{port} does not speak Kafka's protocol")
    answer.number("i")  # for how long it throttles
    brokers: dict[int, str] = {}
    for _ in range(answer.number("i")):
        node = answer.number("i")
        name = _kafka_text(answer)
        brokers[node] = f"{name}:{answer.number('i')}"
        _kafka_text(answer)  # the rack
    cluster_id, controller = _kafka_text(answer), answer.number("i")
    return KafkaCluster(cluster_id, controller, brokers, dict(_kafka_partitions(answer)))


def _kafka_text(answer: Fields) -> str:
    """A text, "" where it is null."""
    length = answer.number("h")
    return answer.take(length).decode() if length > 0 else ""


def _kafka_partitions(answer: Fields) -> Iterator[tuple[tuple[str, int], KafkaPartition]]:
    for _ in range(answer.number("i")):
        answer.number("h")  # why there is no such topic: then it has no partitions
        topic = _kafka_text(answer)
        answer.number("b")  # whether it is Kafka's own
        for _ in range(answer.number("i")):
            answer.number("h")  # a missing leader, or a replica that is: the ids say it too
            number, leader, epoch = (answer.number("i") for _ in range(3))
            replicas, synced, _ = (tuple(answer.number("i") for _ in range(answer.number("i"))) for _ in range(3))
            yield (topic, number), KafkaPartition(leader, epoch, replicas, synced)


# --- AMQP 0-9-1: the protocol header, answered by Connection.Start with the server's properties


def amqp_start(host: str, port: int, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """Open an AMQP 0-9-1 connection as far as Connection.Start; the server's properties that are texts (product, version, ...)."""
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        sock.sendall(b"AMQP\0\0\x09\x01")
        kind, _, size = struct.unpack(">BHI", read_exactly(sock, 7))
        if kind != 1 or not 0 < size < FRAME_MAX_BYTES:
            raise ValueError(f"{host}:{port} does not speak AMQP 0-9-1")
        frame = Fields(read_exactly(sock, size))
    if (frame.number("H"), frame.number("H")) != (10, 10):
        raise ValueError(f"{host}:{port} does not speak AMQP 0-9-1: no Connection.Start")
    frame.take(2)  # the protocol's version
    return _amqp_texts(Fields(frame.take(frame.number("I"))))


_AMQP_SIZES = {"t": 1, "b": 1, "B": 1, "s": 2, "u": 2, "I": 4, "i": 4, "l": 8, "f": 4, "d": 8, "D": 5, "T": 8, "V": 0}


def _amqp_texts(table: Fields) -> dict[str, str]:
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


# --- RabbitMQ's stream protocol: PeerProperties, the first exchange of a connection
# https://github.com/rabbitmq/rabbitmq-server/blob/main/deps/rabbitmq_stream/docs/PROTOCOL.adoc


def stream_properties(host: str, port: int, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """Tell a stream listener no properties of ours; its own (product, version, ...)."""
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        sock.sendall(struct.pack(">IHHII", 12, 17, 1, 1, 0))
        (size,) = struct.unpack(">I", read_exactly(sock, 4))
        if not 0 < size < FRAME_MAX_BYTES:
            raise ValueError(f"{host}:{port} does not speak RabbitMQ's stream protocol")
        answer = Fields(read_exactly(sock, size))
    head = tuple(answer.number(form) for form in ("H", "H", "I", "H"))
    if head != (0x8011, 1, 1, 1):
        raise ValueError(f"{host}:{port} does not speak RabbitMQ's stream protocol: it answers PeerProperties with {head}")
    texts = [answer.take(answer.number("H")).decode(errors="replace") for _ in range(2 * answer.number("I"))]
    return dict(zip(texts[::2], texts[1::2], strict=True))


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


# --- NATS: INFO, the first line that a server sends; then PING, PONG. https://docs.nats.io/reference/reference-protocols/nats-protocol


def nats_info(host: str, port: int, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """What a NATS server tells of itself (server_name, version, max_payload, jetstream ...), once it has answered a PING.

    One that wants a password is not asked further: the adapter logs in.
    """
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        sock.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
        with sock.makefile("rb") as file:
            line = file.readline(FRAME_MAX_BYTES)
            if not line.startswith(b"INFO {"):
                raise ValueError(f"{host}:{port} does not speak NATS: {line[:200].decode(errors='replace').strip()!r}")
            found: dict[str, Any] = json.loads(line[5:])
            if not found.get("auth_required") and (answer := file.readline(FRAME_MAX_BYTES)) != b"PONG\r\n":
                raise ValueError(f"{host}:{port} answered PING with {answer[:200].decode(errors='replace').strip()!r}")
    return found


# --- Flume: Thrift's strict binary protocol in frames, ThriftSourceProtocol.appendBatch of flume-ng-sdk


def flume_append(host: str, port: int, bodies: Sequence[bytes] = (), timeout_s: float = TIMEOUT_S) -> bool:
    """Call a Thrift source with messages, none to ask whether it answers; whether they are in its channels (Status OK)."""
    empty = b"\x0d\0\1\x0b\x0b\0\0\0\0" + b"\x0b\0\2"  # field 1: a map of strings without entries; field 2: a string
    events = b"".join(empty + struct.pack(">I", len(body)) + body + b"\0" for body in bodies)
    name = b"appendBatch"
    head = struct.pack(">II", 0x80010001, len(name)) + name + struct.pack(">I", 0)
    call = head + b"\x0f\0\1\x0c" + struct.pack(">I", len(bodies)) + events + b"\0"  # field 1: a list of structs
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        sock.sendall(struct.pack(">I", len(call)) + call)
        (size,) = struct.unpack(">I", read_exactly(sock, 4))
        if not 0 < size < FRAME_MAX_BYTES:
            raise ValueError(f"{host}:{port} does not speak Thrift in frames")
        answer = read_exactly(sock, size)
    if not answer.startswith(struct.pack(">II", 0x80010002, len(name)) + name):
        raise ValueError(f"{host}:{port} is no Thrift source of Flume's")
    return answer[len(head) :] == b"\x08\0\0\0\0\0\0\0"  # field 0, an i32: Status.OK; no field more


# --- Amazon's services: their JSON protocol over HTTP


def sqs_list_queues(url: str, timeout_s: float = TIMEOUT_S) -> list[str]:
    """ListQueues, unsigned: emulators take it. Queue URLs."""
    return _listed(url, "AmazonSQS.ListQueues", "1.0", "QueueUrls", timeout_s)


def kinesis_list_streams(url: str, timeout_s: float = TIMEOUT_S) -> list[str]:
    """ListStreams, unsigned: emulators take it. Names of streams."""
    return _listed(url, "Kinesis_20131202.ListStreams", "1.1", "StreamNames", timeout_s)


def _listed(url: str, target: str, json_version: str, field: str, timeout_s: float) -> list[str]:
    parts = urllib.parse.urlsplit(url)
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.hostname or "", parts.port, timeout=timeout_s)
    service, action = "sqs" if "SQS" in target else "kinesis", target.partition(".")[2]
    headers = {
        "Content-Type": f"application/x-amz-json-{json_version}",
        "X-Amz-Target": target,
        "X-Amz-Date": "20260101T000000Z",
        # Emulators refuse a request without it, and moto tells the services apart by it; the other words in it mean nothing.
        "Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=x",
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
        raise ValueError(f"{url} answered {action} with status {answer.status}: {body[:200].decode(errors='replace')}")
    found = json.loads(body or b"{}")
    if not isinstance(found, dict):
        raise ValueError(f"{url} answered {action} with something else: {body[:200].decode(errors='replace')}")  # noqa: TRY004  # callers know ValueError
    return [str(one) for one in found.get(field) or []]
