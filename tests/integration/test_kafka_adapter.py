"""What is Kafka's own: the partition of a key, rebalances, what is committed, what a killed broker leaves."""

from __future__ import annotations

import os
import signal
import time

import pytest
from adapter_parts import Ledger, TestBlock, drain, freeze, id_of, send_all, wait_event
from kafka import KafkaAdminClient
from kafka_parts import PARTITIONS, committed, consuming, log_of, producing, wired

from adapters import kafka
from adapters.base import Group, Options, Status, Topology
from adapters.errors import BadSetting, Refused
from bench.keys import murmur2
from bench.servers import choose, start
from bench.servers.base import Request

pytestmark = pytest.mark.timeout(180)  # a server that starts on a shared machine


@pytest.fixture
def bootstrap(servers):
    return list(servers("kafka").bootstrap)


def keyed(first_id, count):
    """Keys as the harness makes them, with the partition that the harness expects: its own hash, not the client's."""
    keys = [b"customer-%06d" % (row % 97) for row in range(count)]
    return TestBlock(first_id, [(murmur2(key) & 0x7FFFFFFF) % PARTITIONS for key in keys], keys)


@pytest.mark.server
@pytest.mark.parametrize("profile", ["defaults", "tuned"])
def test_a_key_lands_on_the_partition_that_the_harness_expects(bootstrap, profile):
    with wired(bootstrap, profile=profile) as (adapter, wiring), producing(adapter, wiring) as (producer, ledger):
        block = keyed(1000, 300)
        send_all(producer, block)
        assert ledger.count(Status.CONFIRMED) == 300
        assert ledger.twice == []
        assert len(set(block.partitions)) == PARTITIONS, "keys that use every partition"
        assert log_of(wiring, 300) == {1000 + row: (block.partitions[row], block.keys[row]) for row in range(300)}


@pytest.mark.server
def test_defaults_leave_the_choice_to_kafka_where_there_are_keys(bootstrap):
    """Partitions that lie: without partition= Kafka's own partitioner decides, with it (tuned) the block does."""
    for profile, lies in (("defaults", False), ("tuned", True)):
        with wired(bootstrap, profile=profile) as (adapter, wiring), producing(adapter, wiring) as (producer, _):
            honest = keyed(0, 50)
            send_all(producer, TestBlock(0, [(p + 1) % PARTITIONS for p in honest.partitions], honest.keys))
            expected = {row: (honest.partitions[row] + lies) % PARTITIONS for row in range(50)}
            assert {ident: partition for ident, (partition, _) in log_of(wiring, 50).items()} == expected


@pytest.mark.server
def test_without_keys_the_rows_own_partition_counts(bootstrap):
    with wired(bootstrap) as (adapter, wiring), producing(adapter, wiring) as (producer, _):
        send_all(producer, TestBlock(0, [row % PARTITIONS for row in range(40)]))
        assert log_of(wiring, 40) == {row: (row % PARTITIONS, None) for row in range(40)}


@pytest.mark.server
def test_what_the_client_refuses_is_failed_and_the_rest_goes_on(bootstrap):
    with wired(bootstrap, settings={"max_request_size": "4000"}) as (adapter, wiring), producing(adapter, wiring) as (producer, ledger):
        assert producer.send(TestBlock(0, [0, 1], size=5000), 0, 2, 5.0) == 2
        assert ledger.of == {0: Status.FAILED, 1: Status.FAILED}
        assert producer.room() == 10_000
        send_all(producer, TestBlock(10, [0, 1]))
        assert ledger.count(Status.CONFIRMED) == 2
        assert set(log_of(wiring, 2)) == {10, 11}
        with pytest.raises(Refused, match="up to 1000000 bytes"):
            producer.send(TestBlock(20, [0], size=1_000_001), 0, 1, 0)


@pytest.mark.server
def test_the_broker_refuses_whole_what_is_failed(bootstrap):
    """The broker's own limit, below the client's: an answer that says "not written" is FAILED, not indeterminate."""
    with wired(bootstrap) as (adapter, wiring):
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        admin.delete_topics([wiring["topic"]])
        admin.create_topics(
            {wiring["topic"]: {"num_partitions": PARTITIONS, "replication_factor": 1, "configs": {"max.message.bytes": "2000"}}},
            wait_for_metadata=True,
        )
        admin.close()
        with producing(adapter, wiring) as (producer, ledger):
            assert producer.send(TestBlock(0, [0], size=5000), 0, 1, 5.0) == 1
            assert producer.flush(20.0) == 0
            assert ledger.of == {0: Status.FAILED}


@pytest.mark.server
def test_the_window_bounds_what_is_unresolved(bootstrap):
    settings = {"window": "50", "linger_ms": "300"}
    with wired(bootstrap, settings=settings) as (adapter, wiring), producing(adapter, wiring) as (producer, ledger):
        block = TestBlock(0, [0] * 200)
        assert producer.send(block, 0, 200, 0) == 50
        assert producer.room() == 0
        assert producer.send(block, 50, 200, 0) == 0
        assert producer.send(block, 50, 200, 20.0) > 0, "room comes with the confirms"
        assert producer.flush(20.0) == 0
        assert ledger.count(Status.CONFIRMED) == len(ledger.of) > 50


@pytest.mark.server
def test_a_rebalance_tells_the_whole_assignment_and_fails_old_acks(bootstrap):
    topology = Topology(1, (Group("g", members=2),), PARTITIONS)
    with (
        wired(bootstrap, topology, settings={"heartbeat_interval_ms": "300"}) as (adapter, wiring),
        producing(adapter, wiring) as (producer, _),
    ):
        send_all(producer, TestBlock(0, [row % PARTITIONS for row in range(80)]))
        with consuming(adapter, wiring) as first:
            batches = []
            end = time.monotonic() + 30.0
            while sum(batch.count for batch in batches) < 80 and time.monotonic() < end:
                if (batch := first.poll(100, 0.2)) is not None:
                    batches.append(batch)
            events = first.events()
            # A member whose metadata is older than the topic joins with nothing first, and again when it has learned of it.
            assert {event.kind for event in events} == {"ready", "assigned"}
            assert events[0].kind == "ready"
            assert events[-1].partitions == (0, 1, 2, 3)

            with consuming(adapter, wiring, 1) as second:
                owned = {0: (), 1: ()}
                end = time.monotonic() + 40.0
                while not (owned[0] and owned[1] and len(owned[0] + owned[1]) == PARTITIONS) and time.monotonic() < end:
                    for member, consumer in enumerate((first, second)):
                        consumer.poll(1, 0.05)
                        for event in consumer.events():
                            if event.kind == "assigned":
                                owned[member] = event.partitions
                assert sorted(owned[0] + owned[1]) == [0, 1, 2, 3]
                assert min(len(owned[0]), len(owned[1])) == 2

                first.ack(batches[-1], batches[-1].count)
                assert [event.kind for event in first.events()] == ["ack-failed"]
                first.poll(1, 0.2)
        assert not any(committed(wiring).values()), "nothing that was taken away was committed"


@pytest.mark.server
def test_acks_commit_exactly_what_was_processed(bootstrap):
    """Cumulative over all polls, half a batch, across partitions; close() leaves nothing behind."""
    with wired(bootstrap) as (adapter, wiring), producing(adapter, wiring) as (producer, _):
        send_all(producer, TestBlock(0, [row % PARTITIONS for row in range(100)]))
        with consuming(adapter, wiring) as consumer:
            got = []
            batches = []
            end = time.monotonic() + 30.0
            while len(got) < 100 and time.monotonic() < end:
                if (batch := consumer.poll(30, 0.2)) is not None:
                    batches.append(batch)
                    got += [id_of(payload) for payload in batch.payloads]
            assert len(batches) > 2
            last = batches[-1]
            done = got[: len(got) - last.count + 3]
            consumer.ack(last, 3)
        offsets = dict.fromkeys(range(PARTITIONS), 0)
        for ident in done:
            offsets[ident % PARTITIONS] += 1
        assert {partition: offset for partition, offset in committed(wiring).items() if offset > 0} == {
            partition: offset for partition, offset in offsets.items() if offset
        }
        with consuming(adapter, wiring) as consumer:
            rest = [id_of(payload) for payload in drain(consumer, 100 - len(done))]
        assert sorted(done + rest) == list(range(100))


def gives_up_and_goes_on(producer, ledger, pid):
    """Kafka-python sends nothing more with an idempotent producer that gave up a batch: another one has to take its place."""
    freeze(pid)
    assert producer.send(TestBlock(1000, [0] * 50), 0, 50, 0) == 50
    assert "replaced" in wait_event([producer], "error", lambda: producer.pump(0.05)).detail
    assert producer.room() == 0
    os.killpg(pid, signal.SIGCONT)
    wait_event([producer], "reconnected", lambda: producer.pump(0.05))
    assert ledger.count(Status.INDETERMINATE) == 50
    send_all(producer, TestBlock(2000, [0] * 20))
    assert ledger.count(Status.CONFIRMED) == 120


@pytest.mark.server
@pytest.mark.slow
def test_a_killed_broker_leaves_indeterminate_messages_and_no_exception(session_guard, tmp_path):
    server = start("kafka", Request(choose("kafka"), tmp_path, session_guard.run_id, session_guard))
    try:
        if server.nodes[0].pid is None:
            pytest.skip("only a server of our own can be killed")
        with_timers = {"request_timeout_ms": "1500", "delivery_timeout_ms": "3000"}
        adapter = kafka.ADAPTER(Options(settings=with_timers))
        wiring = {**adapter.wire(Topology(1, (Group("g"),), PARTITIONS), "kill"), "servers": list(server.bootstrap)}
        adapter.prepare(wiring)
        patient = kafka.ADAPTER(Options())  # its delivery time-out is two minutes: close() has to give up
        with producing(adapter, wiring) as (producer, ledger), producing(patient, wiring) as (other, others):
            send_all(producer, TestBlock(0, [0] * 100))
            send_all(other, TestBlock(0, [0] * 10))
            with consuming(adapter, wiring) as consumer:
                drain(consumer, 110)
                consumer.events()
                producer.events()
                gives_up_and_goes_on(producer, ledger, server.nodes[0].pid)
                freeze(server.nodes[0].pid)  # so that what follows is certainly on its way
                assert producer.send(TestBlock(100, [0] * 200), 0, 200, 0) == 200
                assert other.send(TestBlock(100, [0] * 50), 0, 50, 0) == 50
                assert producer.flush(0.3) == 200
                os.killpg(server.nodes[0].pid, signal.SIGKILL)
                wait_event([producer], "closed", lambda: producer.pump(0.05))
                wait_event([consumer], "closed", lambda: consumer.poll(10, 0.05))
                assert consumer.poll(10, 0.1) is None
                end = time.monotonic() + 30.0
                while ledger.count(Status.INDETERMINATE) == 50:  # delivery_timeout_ms
                    assert time.monotonic() < end, "the delivery time-out resolves nothing"
                    producer.pump(0.05)
                producer.close()  # in the middle of being replaced
                assert ledger.count(Status.CONFIRMED) == 120
                assert ledger.count(Status.INDETERMINATE) == 250
                assert producer.flush(0.0) == 0
                before = time.monotonic()
                other.close()
                assert time.monotonic() - before < 10.0
                assert others.count(Status.INDETERMINATE) == 50
            assert ledger.twice == others.twice == []
    finally:
        server.stop()


@pytest.mark.server
def test_a_topic_that_is_missing_is_never_ready_and_never_blocks(bootstrap):
    adapter = kafka.ADAPTER(Options())
    wiring = {**adapter.wire(Topology(1, (Group("g"),), PARTITIONS), "never"), "servers": bootstrap}
    ledger = Ledger()
    producer = adapter.producer(wiring, 0, ledger)
    try:
        assert not producer.ready(0.3)
        before = time.monotonic()
        assert producer.send(TestBlock(0, [0]), 0, 1, 0.0) == 0
        assert time.monotonic() - before < 2.0, "kafka-python waits a minute for metadata by itself"
        assert producer.flush(0.1) == 0
        assert ledger.of == {}
    finally:
        producer.close()
    with pytest.raises(BadSetting, match="no group 'h'"):
        adapter.consumer(wiring, "h", 0)


@pytest.mark.server
def test_more_copies_than_brokers_are_a_bad_setting(bootstrap):
    adapter = kafka.ADAPTER(Options(settings={"replication_factor": "3"}))
    assert adapter.mode.copies == 2
    wiring = {**adapter.wire(Topology(1, (Group("g"),)), "copies"), "servers": bootstrap}
    with pytest.raises(BadSetting, match="too few brokers"):
        adapter.prepare(wiring)


def test_more_copies_in_sync_than_there_are_would_take_no_message():
    assert kafka.ADAPTER(Options(settings={"replication_factor": "3", "min_insync_replicas": "1"})).mode.copies == 1
    assert kafka.ADAPTER(Options(server={"nodes": "3"})).mode.copies == 2
    assert kafka.ADAPTER(Options(server={"nodes": "3"}, settings={"replication_factor": "1"})).mode.copies == 1
    with pytest.raises(BadSetting, match=r"replication_factor = 3 is more than the server has brokers \(1\)"):
        kafka.ADAPTER(Options(server={"nodes": "1"}, settings={"replication_factor": "3"}))
    with pytest.raises(BadSetting, match="min_insync_replicas = 2 is more than replication_factor = 1"):
        kafka.ADAPTER(Options(settings={"min_insync_replicas": "2"}))


@pytest.mark.server
def test_settings_that_contradict_each_other_are_bad_settings(bootstrap):
    with (
        wired(bootstrap, settings={"delivery_timeout_ms": "5"}) as (adapter, wiring),
        pytest.raises(BadSetting, match="delivery_timeout_ms"),
    ):
        adapter.producer(wiring, 0, Ledger())


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"linger_msec": "5"}, "did you mean 'linger_ms'"),
        ({"linger_ms": "soon"}, "takes a number"),
        ({"check_crcs": "perhaps"}, "true or false"),
        ({"enable_idempotence": "false"}, "acks-all-plain has not"),
        ({"acks": "1"}, "the mode decides"),
        ({"partitioner": "sticky"}, "Python object"),
        ({"window": "0"}, "at least 1"),
    ],
)
def test_bad_settings_say_what_would_be_right(settings, match):
    with pytest.raises(BadSetting, match=match):
        kafka.ADAPTER(Options(settings=settings))


def test_a_setting_goes_to_whoever_knows_it():
    settings = {"linger_ms": "7", "fetch_min_bytes": "9", "request_timeout_ms": "11000", "retries": "3", "compression_type": "gzip"}
    effective = kafka.ADAPTER(Options(settings=settings)).effective()
    producer, consumer = effective["producer"], effective["consumer"]
    assert (producer["linger_ms"], producer["request_timeout_ms"], producer["retries"], producer["compression_type"]) == (
        7,
        11000,
        3,
        "gzip",
    )
    assert (consumer["fetch_min_bytes"], consumer["request_timeout_ms"]) == (9, 11000)
    assert "linger_ms" not in consumer
    assert "fetch_min_bytes" not in producer
    assert (producer["acks"], producer["enable_idempotence"], consumer["enable_auto_commit"]) == ("all", True, False)
