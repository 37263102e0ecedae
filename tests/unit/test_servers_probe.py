"""The protocol probes against what is no such server. (Against real ones: tests/integration/test_servers.py.)"""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from bench.servers import kafka_leaders, probe

ASK = {
    "kafka": lambda port: probe.kafka_metadata("127.0.0.1", port, 1.0),
    "amqp": lambda port: probe.amqp_start("127.0.0.1", port, 1.0),
    "redis": lambda port: probe.redis_info("127.0.0.1", port, 1.0),
    "nats": lambda port: probe.nats_info("127.0.0.1", port, 1.0),
    "flume": lambda port: probe.flume_append("127.0.0.1", port, [b"x"], 1.0),
    "sqs": lambda port: probe.sqs_list_queues(f"http://127.0.0.1:{port}", 1.0),
    "kinesis": lambda port: probe.kinesis_list_streams(f"http://127.0.0.1:{port}", 1.0),
}


@pytest.fixture
def answering():
    """answering(data): the port of a server that reads a little, writes ``data`` and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        replies: list[bytes] = []

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(replies[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def port(data):
            replies[:] = [data]
            return listener.getsockname()[1]

        yield port
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize("system", sorted(ASK))
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"AMQP\0\0\x09\x01",
        b"-NOAUTH Authentication required.\r\n",
        b"\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x05",
        b"\x01\x00\x00\x00\x00\x00\x06\x00\x0a\x00\x0a\x00\x09",
        b"\x7f" * 64,
    ],
)
def test_what_is_no_such_server_is_told_as_an_error_that_callers_know(answering, system, data):
    with pytest.raises((OSError, ValueError)):
        ASK[system](answering(data))


@pytest.mark.parametrize("system", sorted(ASK))
def test_nobody_there(system):
    with pytest.raises(OSError, match="refused"):
        ASK[system](1)


def test_a_refusal_is_quoted(answering):
    with pytest.raises(ValueError, match="NOAUTH Authentication required"):
        probe.redis_info("127.0.0.1", answering(b"-NOAUTH Authentication required.\r\n"), 1.0)


def metadata(topics):
    """What a broker of two answers to Metadata, version 7; ``topics``: (name, [(partition, leader, epoch, replicas, in sync)])."""

    def text(word):
        return struct.pack(">h", len(word)) + word.encode()

    def ids(numbers):
        return struct.pack(f">i{len(numbers)}i", len(numbers), *numbers)

    brokers = b"".join(
        struct.pack(">i", i) + text("h") + struct.pack(">i", 9000 + i) + rack for i, rack in ((1, text("r")), (2, b"\xff\xff"))
    )
    found = struct.pack(">i", len(topics))
    for name, partitions in topics:
        found += struct.pack(">h", 0) + text(name) + b"\0" + struct.pack(">i", len(partitions))
        for number, leader, epoch, replicas, synced in partitions:
            found += struct.pack(">hiii", 0, number, leader, epoch) + ids(replicas) + ids(synced) + ids(())
    answer = struct.pack(">iii", 1, 0, 2) + brokers + text("cluster") + struct.pack(">i", 2) + found
    return struct.pack(">i", len(answer)) + answer


def test_who_leads_what_is_read_of_kafka_and_told_by_the_nodes_names(answering):
    topics = [
        ("t", [(1, 2, 7, (1, 2), (2,)), (0, -1, 3, (1,), ())]),
        (kafka_leaders.OFFSETS, [(0, 1, 0, (1,), (1,)), (1, 2, 0, (2,), (2,))]),
    ]
    port = answering(metadata(topics))
    cluster = probe.kafka_metadata("127.0.0.1", port, topics=["t"])
    assert (cluster.cluster_id, cluster.controller, cluster.brokers) == ("cluster", 2, {1: "h:9001", 2: "h:9002"})
    assert cluster.partitions["t", 1] == probe.KafkaPartition(leader=2, epoch=7, replicas=(1, 2), synced=(2,))
    wiring = {"topic": "t", "groups": {"even": "b", "odd": "a"}}  # of one letter: its code is the hash
    led = kafka_leaders.Leaders(["127.0.0.1:1", f"127.0.0.1:{port}"], lambda found: found.controller)(wiring)
    groups = {"coordinator of even": "kafka.1", "coordinator of odd": "kafka.2"}
    assert led == {"partition 0": "", "partition 1": "kafka.2", "controller": "kafka.2"} | groups
    assert next(iter(led)) == "partition 0", "the first is what server.leader means"
    with pytest.raises(OSError, match="refused"):
        kafka_leaders.Leaders(["127.0.0.1:1"])(wiring)


@pytest.mark.parametrize(
    ("text", "value"),
    [("", 0), ("a", 97), ("hello", 99162322), ("polygenelubricants", 0), ("order-events", 782987144), ("\U0001f600", 1772899)],
)
def test_java_hash(text, value):
    """By the JDK's own String.hashCode(): "polygenelubricants" has the smallest number, which Kafka makes 0; an emoji is two units."""
    assert kafka_leaders.java_hash(text) == value


def test_the_controller_is_the_leader_of_the_latest_epoch(tmp_path):
    for name, state in (("1", '{"leaderId":1,"leaderEpoch":4}'), ("2", '{"leaderId":3,"leaderEpoch":5}'), ("3", '{"lea')):
        (tmp_path / name / "__cluster_metadata-0").mkdir(parents=True)
        (tmp_path / name / "__cluster_metadata-0" / "quorum-state").write_text(state)
    cluster = probe.KafkaCluster("c", 1, {}, {})
    assert kafka_leaders.raft_leader([tmp_path / name for name in "123"])(cluster) == 3
    assert kafka_leaders.raft_leader([tmp_path / "4"])(cluster) is None
