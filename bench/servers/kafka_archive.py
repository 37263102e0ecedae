"""Gets a release of Kafka: its jars, and an archive of its classes that halves the time until a broker answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.servers import java
from bench.servers.base import Request
from bench.servers.common import ProcessServer
from bench.servers.home import locked
from bench.servers.kafka_release import Release

Start = Callable[[Request, Sequence[str]], ProcessServer]
"""Starts a server of the release; the texts are flags of its brokers' JVMs."""


def install(release: Release, start: Start) -> None:
    """Jars and class archive, each where it is not there. Raises ServerError."""
    with locked("kafka"):
        java.fetch_jars("kafka", release.version)
        target = java.archive_file("kafka", release.version)
        if not target.is_file():
            _build(target, start)


def _build(target: Path, start: Start) -> None:
    """Run a broker once, use it a little, and have its JVM write the classes that it loaded. The caller holds the lock."""
    with java.archiving("kafka", target) as (folder, guard, flags):
        server = start(Request("native", folder, guard.run_id, guard), flags)
        try:
            _exercise(server.bootstrap[0])
        finally:
            server.stop_timeout_s = java.ARCHIVE_STOP_S
            server.stop()


def _exercise(address: str) -> None:
    """Make a topic, write and read it, so that the archive holds those classes too; without the client, only the start's."""
    try:
        from kafka import KafkaConsumer, KafkaProducer  # noqa: PLC0415  # an extra: not there on every machine
        from kafka.admin import KafkaAdminClient, NewTopic  # noqa: PLC0415  # as above
    except ImportError:
        return
    admin = KafkaAdminClient(bootstrap_servers=address)
    admin.create_topics([NewTopic("warm", 1, 1)])
    producer = KafkaProducer(bootstrap_servers=address, acks="all")
    for _ in range(500):
        producer.send("warm", b"x" * 100)
    producer.flush(30)
    producer.close()
    consumer = KafkaConsumer("warm", bootstrap_servers=address, group_id="warm", auto_offset_reset="earliest", consumer_timeout_ms=5000)
    for index, _ in enumerate(consumer):
        if index == 400:
            break
    consumer.close()
    admin.close()
