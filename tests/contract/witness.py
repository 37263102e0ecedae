"""For each system an independent look at what was sent: another client, an admin's view, a plain socket. No adapter's code.

A witness is opened before the producer (where there is no broker it takes the consumer's place), collects what is
there for one group, and is closed. A system of the registry without one fails the suite.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Protocol

from adapters import canonical
from adapters.base import Wiring

WAIT_S = 30.0
QUIET_S = 0.3  # after the last: more than was sent would show now


class Witness(Protocol):
    def collect(self, count: int) -> list[bytes]:
        """Return the payloads that are there: ``count`` of them, or what came in WAIT_S; and any that follow."""
        ...

    def close(self) -> None: ...


def _members(wiring: Wiring, group: str) -> list[Any]:
    return next(entry["members"] for entry in wiring["groups"] if entry["name"] == group)


class MemoryWitness:
    """The hub's own logs."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        from adapters import memory

        self._hub = memory._hubs[wiring["run_id"]]

    def collect(self, count: int) -> list[bytes]:
        return [payload for log in self._hub.logs for payload in log.messages]

    def close(self) -> None:
        pass


class TcpWitness:
    """A plain listener in the consumer's place; takes the frames apart by itself."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        host, port = _members(wiring, group)[0]
        self._listener = socket.create_server((host, port))
        self._listener.settimeout(WAIT_S)

    def collect(self, count: int) -> list[bytes]:
        rows: list[bytes] = []
        connection, _ = self._listener.accept()
        with connection:
            while True:
                connection.settimeout(WAIT_S if len(rows) < count else QUIET_S)
                try:
                    size, many = struct.unpack("<II", _exactly(connection, 8))
                except (TimeoutError, EOFError):
                    return rows
                body = _exactly(connection, size * many)
                rows += [body[i * size : (i + 1) * size] for i in range(many)]

    def close(self) -> None:
        self._listener.close()


class ZeroMqWitness:
    """A raw PULL socket, bound in the consumer's place."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        import zmq

        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.bind(_members(wiring, group)[0])

    def collect(self, count: int) -> list[bytes]:
        found: list[bytes] = []
        while self._socket.poll((WAIT_S if len(found) < count else QUIET_S) * 1000):
            found.append(self._socket.recv())
        return found

    def close(self) -> None:
        self._context.destroy(linger=0)


class KafkaWitness:
    """A plain consumer without a group: reads every partition from its beginning to its end offset."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        from kafka import KafkaConsumer, TopicPartition

        self._consumer = KafkaConsumer(bootstrap_servers=wiring["servers"], group_id=None, enable_auto_commit=False)
        self._partitions = [TopicPartition(wiring["topic"], p) for p in sorted(self._consumer.partitions_for_topic(wiring["topic"]) or ())]

    def collect(self, count: int) -> list[bytes]:
        ends = self._consumer.end_offsets(self._partitions)
        self._consumer.assign(self._partitions)
        self._consumer.seek_to_beginning(*self._partitions)
        found: list[bytes] = []
        deadline_s = time.monotonic() + WAIT_S
        while len(found) < sum(ends.values()) and time.monotonic() < deadline_s:
            for records in self._consumer.poll(timeout_ms=500).values():
                found += [record.value for record in records]
        return found

    def close(self) -> None:
        self._consumer.close()


class RabbitMqWitness:
    """The queues' message counts by a passive declare, then basic.get on a BlockingConnection."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        import pika

        host, _, port = wiring["servers"][0].rpartition(":")
        self._connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port)))
        self._channel = self._connection.channel()
        self._queues = wiring["groups"][group]["queues"]

    def collect(self, count: int) -> list[bytes]:
        deadline_s = time.monotonic() + WAIT_S
        ready = 0
        while ready < count and time.monotonic() < deadline_s:  # a queue's count lags behind a confirm
            ready = sum(self._channel.queue_declare(queue, passive=True).method.message_count for queue in self._queues)
        found: list[bytes] = []
        for queue in self._queues:
            while (got := self._channel.basic_get(queue, auto_ack=True))[0] is not None:
                found.append(got[2])
        assert ready == len(found), f"the broker counts {ready} messages and hands out {len(found)}"
        return found

    def close(self) -> None:
        self._connection.close()


class RabbitMqStreamsWitness:
    """A plain socket that speaks as much of the stream protocol as reading every stream from its beginning takes."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        host, _, port = wiring["servers"][0].rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=WAIT_S)
        self._ask(17, struct.pack(">I", 0))  # PeerProperties
        self._ask(18, b"")  # SaslHandshake
        self._ask(19, self._text("PLAIN") + struct.pack(">I", 12) + b"\0guest\0guest")  # SaslAuthenticate
        key, tune = self._frame()
        assert key == 20
        self._send(20, tune)
        self._ask(21, self._text("/"))  # Open
        for number, stream in enumerate(wiring["streams"]):  # Subscribe: from the first (1), many chunks of credit, no properties
            self._ask(7, struct.pack(">B", number) + self._text(stream) + struct.pack(">HHI", 1, 1000, 0))

    @staticmethod
    def _text(text: str) -> bytes:
        return struct.pack(">H", len(text)) + text.encode()

    def _send(self, key: int, body: bytes) -> None:
        self._socket.sendall(struct.pack(">IHH", len(body) + 4, key, 1) + body)

    def _frame(self) -> tuple[int, bytes]:
        (size,) = struct.unpack(">I", _exactly(self._socket, 4))
        frame = _exactly(self._socket, size)
        return int.from_bytes(frame[:2], "big"), frame[4:]

    def _ask(self, key: int, body: bytes) -> None:
        self._send(key, struct.pack(">I", 1) + body)
        answered, answer = self._frame()
        assert (answered, answer[:6]) == (key | 0x8000, struct.pack(">IH", 1, 1)), f"request {key} was answered with {answered}: {answer!r}"

    def collect(self, count: int) -> list[bytes]:
        found: list[bytes] = []
        while True:
            self._socket.settimeout(WAIT_S if len(found) < count else QUIET_S)
            try:
                key, frame = self._frame()
            except TimeoutError:
                return found
            if key == 8:  # Deliver: subscription, then a chunk, whose entries begin after 48 bytes
                (entries,), at = struct.unpack_from(">H", frame, 3), 49
                for _ in range(entries):
                    (size,) = struct.unpack_from(">I", frame, at)
                    message = frame[at + 4 : at + 4 + size]
                    assert message[:4] == b"\0Su\xb0", "not the data section of an AMQP 1.0 message"
                    assert struct.unpack_from(">I", message, 4) == (size - 8,)
                    found.append(message[8:])
                    at += 4 + size

    def close(self) -> None:
        self._socket.close()


class SqsWitness:
    """Raw boto3: the queue's attribute, then receive and delete."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        import boto3

        address = wiring["servers"][0]
        self._client = boto3.client(
            "sqs",
            endpoint_url=address if "://" in address else f"http://{address}",
            region_name="us-east-1",
            aws_access_key_id="witness",
            aws_secret_access_key="witness",
        )
        self._url = self._client.get_queue_url(QueueName=wiring["queues"][group])["QueueUrl"]

    def collect(self, count: int) -> list[bytes]:
        name = "ApproximateNumberOfMessages"
        ready = int(self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=[name])["Attributes"][name])
        assert ready == count, f"{count} were sent, the queue counts {ready}"
        found: list[bytes] = []
        empty = 0
        while empty < 2:
            messages = self._client.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", [])
            found += [base64.b64decode(message["Body"], validate=True) for message in messages]
            empty = 0 if messages else empty + 1
        return found

    def close(self) -> None:
        self._client.close()


class KinesisWitness:
    """Raw boto3: every shard from its oldest record, whatever the groups have read."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        import boto3

        address = wiring["servers"][0]
        self._client = boto3.client(
            "kinesis",
            endpoint_url=address if "://" in address else f"http://{address}",
            region_name="us-east-1",
            aws_access_key_id="witness",
            aws_secret_access_key="witness",
        )
        self._stream = wiring["stream"]

    def collect(self, count: int) -> list[bytes]:
        found: list[bytes] = []
        for shard in self._client.list_shards(StreamName=self._stream)["Shards"]:
            asked = {"StreamName": self._stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            iterator = self._client.get_shard_iterator(**asked)["ShardIterator"]
            while records := (answer := self._client.get_records(ShardIterator=iterator))["Records"]:
                found += [record["Data"] for record in records]
                iterator = answer["NextShardIterator"]
        return found

    def close(self) -> None:
        self._client.close()


class RedisPubSubWitness:
    """A subscriber that speaks RESP over a plain socket."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        host, _, port = wiring["servers"][0].rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=WAIT_S)
        self._file = self._socket.makefile("rb")
        channel = wiring["channel"].encode()
        self._socket.sendall(b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%s\r\n" % (len(channel), channel))
        assert self._reply() == [b"subscribe", channel, 1]

    def _reply(self) -> Any:
        """One RESP2 value: an array, a bulk string or an integer, which is all that a subscriber is sent."""
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        kind, value = line[:1], int(line[1:-2])
        if kind == b"*":
            return [self._reply() for _ in range(value)]
        if kind == b"$":
            return self._file.read(value + 2)[:-2]
        assert kind == b":", f"not a reply to a subscriber: {line!r}"
        return value

    def collect(self, count: int) -> list[bytes]:
        found: list[bytes] = []
        while True:
            self._socket.settimeout(WAIT_S if len(found) < count else QUIET_S)
            try:
                what, _, payload = self._reply()
            except TimeoutError:
                return found
            assert what == b"message"
            found.append(payload)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._socket.close()


class RedisStreamsWitness:
    """XRANGE of every stream by another client: all that was added, whoever has read it."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        import redis

        host, _, port = wiring["servers"][0].rpartition(":")
        self._client = redis.Redis(host, int(port))
        self._streams = wiring["streams"]

    def collect(self, count: int) -> list[bytes]:
        return [payload for stream in self._streams for _, fields in self._client.xrange(stream) for payload in fields.values()]

    def close(self) -> None:
        self._client.close()


class NatsWitness:
    """The NATS protocol by hand over a plain socket: JetStream is asked for each message of the stream; core is subscribed to."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        host, _, port = wiring["servers"][0].rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=WAIT_S)
        self._file = self._socket.makefile("rb")
        self._stream = wiring["name"]
        assert self._file.readline().startswith(b"INFO ")
        self._socket.sendall(b'CONNECT {"verbose":false}\r\nSUB witness.answers 1\r\n')
        self._core = "error" in self._ask("INFO", {})
        if self._core:
            self._socket.sendall(f"SUB {self._stream}.* 2\r\n".encode())
            self._ask("INFO", {})  # answered after the subscription is in force

    def _ask(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request of JetStream's API; its answer comes as MSG subject sid size."""
        data = json.dumps(body).encode()
        subject = f"$JS.API.STREAM.{what}.{self._stream}".encode()
        self._socket.sendall(b"PUB %s witness.answers %d\r\n%s\r\n" % (subject, len(data), data))
        answer: dict[str, Any] = json.loads(self._message(b"witness.answers"))
        return answer

    def _message(self, subject: bytes) -> bytes:
        """The next one, of that subject."""
        while not (line := self._file.readline()).startswith(b"MSG "):
            assert line == b"PING\r\n", line
        assert line.startswith(b"MSG " + subject), line
        return self._file.read(int(line.split()[-1]) + 2)[:-2]

    def _published(self, count: int) -> list[bytes]:
        found: list[bytes] = []
        while True:
            self._socket.settimeout(WAIT_S if len(found) < count else QUIET_S)
            try:
                found.append(self._message(self._stream.encode()))
            except TimeoutError:
                return found

    def collect(self, count: int) -> list[bytes]:
        if self._core:
            return self._published(count)
        state = self._ask("INFO", {})["state"]
        assert state["messages"] == state["last_seq"] == count, f"{count} were sent, the stream has {state}"
        rows = [self._ask("MSG.GET", {"seq": seq})["message"] for seq in range(1, count + 1)]
        return [base64.b64decode(row["data"], validate=True) for row in rows]

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class FlumeWitness:
    """A plain listener in the consumer's place: Thrift's strict binary protocol, taken apart by hand; every call is answered OK."""

    def __init__(self, wiring: Wiring, group: str) -> None:
        host, port = _members(wiring, group)[0]
        self._listener = socket.create_server((host, port))
        self._listener.settimeout(WAIT_S)

    def collect(self, count: int) -> list[bytes]:
        found: list[bytes] = []
        connection, _ = self._listener.accept()
        with connection:
            while True:
                connection.settimeout(WAIT_S if len(found) < count else QUIET_S)
                try:
                    (length,) = struct.unpack(">I", _exactly(connection, 4))
                except (TimeoutError, EOFError):
                    return found
                frame = _exactly(connection, length)
                name = struct.pack(">I", 11) + b"appendBatch"
                assert frame[:19] == b"\x80\1\0\1" + name
                assert frame[23:27] == b"\x0f\0\1\x0c", "not a list of structs"
                events = struct.unpack(">I", frame[27:31])[0]
                at = 31
                for _ in range(events):
                    assert frame[at : at + 12] == b"\x0d\0\1\x0b\x0b\0\0\0\0\x0b\0\2", "an event is no headers, and a body"
                    end = at + 16 + struct.unpack(">I", frame[at + 12 : at + 16])[0]
                    found.append(frame[at + 16 : end])
                    assert frame[end] == 0
                    at = end + 1
                answer = b"\x80\1\0\2" + name + frame[19:23] + b"\x08\0\0\0\0\0\0\0"
                connection.sendall(struct.pack(">I", len(answer)) + answer)

    def close(self) -> None:
        self._listener.close()


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(1 << 16, count - len(parts)))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


WITNESSES: dict[str, Callable[[Wiring, str], Witness]] = {
    "memory": MemoryWitness,
    "tcp": TcpWitness,
    "zeromq": ZeroMqWitness,
    "kafka": KafkaWitness,
    "rabbitmq": RabbitMqWitness,
    "rabbitmq_streams": RabbitMqStreamsWitness,
    "sqs": SqsWitness,
    "kinesis": KinesisWitness,
    "redis_pubsub": RedisPubSubWitness,
    "redis_streams": RedisStreamsWitness,
    "nats": NatsWitness,
    "flume": FlumeWitness,
}


def witness_of(system: str) -> Callable[[Wiring, str], Witness] | None:
    """Ours, or that of an installed package (entry point group brokerbench.contract: a module with WITNESS and EXPECTED)."""
    for point in entry_points(group="brokerbench.contract"):
        if canonical(point.name) == system:
            return point.load().WITNESS
    return WITNESSES.get(system)
