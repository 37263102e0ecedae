"""What Kafka's modes are: their settings, a transaction as a whole, a commit that ends before processing, a member thrown out."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from adapter_parts import TestBlock, drain, freeze, id_of, send_all
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, MemberToRemove
from kafka_parts import committed, consuming, log_of, outputs_of, polled, producing, wired

from adapters import kafka, kafka_confluent, kafka_receiver
from adapters.base import Group, Options, Status, Topology

pytestmark = pytest.mark.timeout(180)  # a server that starts on a shared machine
ONE = Topology(1, (Group("g"),), 1)
EACH_CLIENT = pytest.mark.parametrize("client", [kafka.ADAPTER, kafka_confluent.ADAPTER], ids=["kafka-python", "confluent-kafka"])


@pytest.mark.parametrize(
    ("mode", "sets", "declares"),
    [
        ("acks-all", ("all", True, "read_uncommitted"), (True, False)),
        ("acks-all-plain", ("all", False, "read_uncommitted"), (True, False)),
        ("acks-1", (1, False, "read_uncommitted"), (True, False)),
        ("acks-0", (0, False, "read_uncommitted"), (False, False)),
        ("transactional", ("all", True, "read_committed"), (True, False)),
        ("commit-before", ("all", True, "read_uncommitted"), (True, True)),
        ("consume-process-produce", ("all", True, "read_committed"), (True, False)),
    ],
)
def test_a_mode_is_what_it_sets(mode, sets, declares):
    adapter = kafka.ADAPTER(Options(mode=mode, settings={"replication_factor": "3"}))
    effective = adapter.effective()
    producer, consumer = effective["producer"], effective["consumer"]
    assert (producer["acks"], producer["enable_idempotence"], consumer["isolation_level"]) == sets
    assert (adapter.capabilities.confirms, adapter.capabilities.ack_first) == declares
    assert adapter.capabilities.acks
    assert adapter.mode.copies == (2 if producer["acks"] == "all" else 1), (
        "min.insync.replicas of three copies: the fewest that a reply means"
    )
    assert (
        producer["acknowledged"]
        == {"all": "on every replica in sync, at least 2 of 3", 1: "on the leader, of 3", 0: "nobody answers"}[sets[0]]
    )
    assert ("transaction" in producer) == (mode == "transactional")
    assert ("before processing" in consumer["commit"]) == (mode == "commit-before")
    assert adapter.capabilities.judged_on_outputs == (mode == "consume-process-produce")
    assert ("transactional_id" in consumer) == (mode == "consume-process-produce")


def test_the_longest_timer_is_the_session_or_the_transaction():
    settings = {"session_timeout_ms": "6000", "transaction_timeout_ms": "7000"}
    assert kafka.ADAPTER(Options(settings=settings)).redelivery_s() == 6.0
    assert kafka.ADAPTER(Options(mode="transactional", settings=settings)).redelivery_s() == 17.0
    assert kafka.ADAPTER(Options(mode="consume-process-produce", settings=settings)).redelivery_s() == 17.0


class OneLarge(TestBlock):
    """Its second message has 5,000 bytes."""

    def messages(self, lo, hi):
        return [row.ljust(5000 if lo + i == 1 else 0) for i, row in enumerate(super().messages(lo, hi))]


def limit_messages(wiring, size):
    """Makes the topic anew, with a limit of its own."""
    admin = KafkaAdminClient(bootstrap_servers=wiring["servers"])
    about = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": str(size)}}
    try:
        admin.delete_topics([wiring["topic"]])
        admin.create_topics({wiring["topic"]: about}, wait_for_metadata=True)
    finally:
        admin.close()


def visible(wiring, want):
    """Ids that a reader of committed messages gets, in any order."""
    return sorted(log_of(wiring, want, isolation_level="read_committed"))


@pytest.mark.server
def test_a_transaction_with_a_refused_message_is_failed_as_a_whole(servers):
    """The broker refuses one of three: none is seen, each is FAILED, and the next transaction is made by another producer."""
    with wired(list(servers("kafka").bootstrap), ONE, mode="transactional") as (adapter, wiring):
        limit_messages(wiring, 2000)
        with producing(adapter, wiring) as (producer, ledger):
            send_all(producer, TestBlock(0, [0] * 5))
            assert producer.send(OneLarge(10, [0] * 3), 0, 3, 5.0) == 3
            assert producer.flush(20.0) == 0
            assert {ident: ledger.of[ident] for ident in (10, 11, 12)} == dict.fromkeys((10, 11, 12), Status.FAILED)
            end = time.monotonic() + 30.0
            while not producer.room():
                assert time.monotonic() < end, "the producer was not replaced"
                producer.pump(0.01)
            assert [event.kind for event in producer.events()][-2:] == ["error", "reconnected"]
            send_all(producer, TestBlock(20, [0] * 5))
        assert ledger.twice == []
        assert ledger.count(Status.CONFIRMED) == 10
        assert visible(wiring, 10) == [*range(5), *range(20, 25)]
        assert adapter.depth(wiring, "g") == 10, "neither the ends of transactions nor what was aborted is a message"
        with consuming(adapter, wiring) as consumer:
            drain(consumer, 10)
        assert adapter.depth(wiring, "g") == 0


@pytest.mark.server
def test_a_producer_that_starts_again_ends_what_its_predecessor_left_open(servers):
    """The predecessor, of the same transactional_id, has sent and not committed: a crash. Nobody waits for its time-out of 60 s."""
    with wired(list(servers("kafka").bootstrap), ONE, mode="transactional") as (adapter, wiring):
        dead = KafkaProducer(bootstrap_servers=wiring["servers"], transactional_id=f"{wiring['topic']}.0")
        try:
            dead.init_transactions()
            dead.begin_transaction()
            for payload in TestBlock(0, [0] * 5).messages(0, 5):
                dead.send(wiring["topic"], payload)
            dead.flush()
            with producing(adapter, wiring) as (producer, ledger):
                send_all(producer, TestBlock(10, [0] * 5))
                assert ledger.count(Status.CONFIRMED) == 5
            assert sorted(log_of(wiring, 10)) == [*range(5), *range(10, 15)], "both are in the log"
            assert visible(wiring, 5) == list(range(10, 15))
        finally:
            dead.close(timeout=1)


@pytest.mark.server
def test_a_transaction_that_does_not_end_is_given_up_and_the_next_one_is_made(servers):
    """The broker stands still: kafka-python's commit_transaction() has no time limit (of a broker that died, it never returned)."""
    found = servers("kafka")
    broker = found.nodes[0].pid
    settings = {"transaction_timeout_ms": "1500"}
    with wired(list(found.bootstrap), ONE, mode="transactional", settings=settings) as (adapter, wiring):
        with producing(adapter, wiring) as (producer, ledger):
            send_all(producer, TestBlock(0, [0] * 5))
            freeze(broker)
            try:
                assert producer.send(TestBlock(10, [0] * 3), 0, 3, 1.0) == 3
                assert producer.flush(10.0) == 0
            finally:
                os.killpg(broker, signal.SIGCONT)
            assert {ident: ledger.of[ident] for ident in (10, 11, 12)} == dict.fromkeys((10, 11, 12), Status.INDETERMINATE)
            end = time.monotonic() + 30.0
            while not producer.room():
                assert time.monotonic() < end, "the producer was not replaced"
                producer.pump(0.01)
            assert any("had not ended after 1.5 s (transaction_timeout_ms)" in event.detail for event in producer.events())
            send_all(producer, TestBlock(20, [0] * 5))
        assert ledger.twice == []
        assert ledger.count(Status.CONFIRMED) == 10
        assert set(visible(wiring, 10)) >= {*range(5), *range(20, 25)}, "whether the one given up was committed, nobody knows"


@pytest.mark.server
@pytest.mark.parametrize("late_s", [0.0, 0.5])
def test_a_consumer_that_joined_before_it_knew_the_topic_gets_its_partitions(servers, monkeypatch, late_s):
    """kafka-python was seen to leave such a member without any for 40 s."""
    monkeypatch.setattr(kafka_receiver, "ASK_S", 0.1)
    monkeypatch.setattr(kafka_receiver, "JOIN_S", 0.3)
    adapter = kafka.ADAPTER(Options())
    wiring = adapter.wire(ONE, "kafka-test") | {"servers": list(servers("kafka").bootstrap)}
    making = threading.Timer(late_s, adapter.prepare, [wiring])
    making.start()
    try:
        with consuming(adapter, wiring) as consumer:
            owned, end = (), time.monotonic() + 30.0
            while not owned:
                assert time.monotonic() < end, "it was left with nothing"
                consumer.poll(10, 0.02)
                owned = next((event.partitions for event in consumer.events() if event.kind == "assigned" and event.partitions), ())
            assert owned == (0,)
    finally:
        making.join()
        adapter.cleanup(wiring)


def thrown_out(wiring):
    """Removes every member of the group, as the broker does with one whose session ended."""
    admin = KafkaAdminClient(bootstrap_servers=wiring["servers"])
    group = wiring["groups"]["g"]
    try:
        members = [member["member_id"] for member in admin.describe_groups([group])[group]["members"]]
        assert members
        admin.remove_group_members(group, [MemberToRemove(member_id=member) for member in members])
    finally:
        admin.close()


@pytest.mark.server
@pytest.mark.parametrize("mode", ["acks-all", "commit-before"])
def test_a_member_that_was_thrown_out_cannot_commit(servers, mode):
    """A zombie's late commit: refused and told; nothing is skipped. Before processing, it also says so at once."""
    with (
        wired(list(servers("kafka").bootstrap), ONE, mode=mode) as (adapter, wiring),
        producing(adapter, wiring) as (producer, _),
        consuming(adapter, wiring) as consumer,
    ):
        send_all(producer, TestBlock(0, [0] * 40))
        batch = polled(consumer, 10)
        assert consumer.ack(batch, batch.count) is not False
        done = batch.count
        if mode == "commit-before":
            assert committed(wiring) == {0: done}, "ack() ends with the commit"
        late = polled(consumer, 10)
        consumer.events()
        thrown_out(wiring)
        taken = consumer.ack(late, late.count)
        told = []
        end = time.monotonic() + 30.0
        got = []
        while len(got) < 40 - done and time.monotonic() < end:
            more = consumer.poll(100, 0.05)
            told += [event.kind for event in consumer.events()]
            if more is not None and consumer.ack(more, more.count) is not False:
                got += [id_of(payload) for payload in more.payloads]
        assert "ack-failed" in told
        assert got[-1] == 39
        if mode == "commit-before":
            assert taken is False
            assert got == list(range(done, 40)), "what was not committed comes again, and nothing twice"


@pytest.mark.server
@EACH_CLIENT
def test_what_was_processed_twice_is_in_the_output_once(servers, client):
    """A predecessor that died within its transaction, and a zombie that acknowledges after another member took over: neither shows."""
    mode = "consume-process-produce"
    with (
        wired(list(servers("kafka").bootstrap), ONE, client, mode=mode) as (adapter, wiring),
        producing(adapter, wiring) as (producer, _),
    ):
        send_all(producer, TestBlock(0, [0] * 40))
        output = wiring["outputs"]["g"]
        dead = KafkaProducer(bootstrap_servers=wiring["servers"], transactional_id=f"{wiring['groups']['g']}.0")
        try:
            dead.init_transactions()
            dead.begin_transaction()
            for payload in TestBlock(100, [0] * 5).messages(0, 5):
                dead.send(output, payload)
            dead.flush()
            with consuming(adapter, wiring) as zombie:
                done = polled(zombie, 10)
                assert zombie.ack(done, done.count - 1) is True, "a part of a batch"
                assert zombie.ack(done, done.count) is True
                late = polled(zombie, 10)
                thrown_out(wiring)
                with consuming(adapter, wiring, member=1) as heir:
                    left, seen = 40 - done.count, []
                    while len(seen) < left:
                        more = polled(heir, 100)
                        seen += [id_of(payload) for payload in more.payloads]
                        assert heir.ack(more, more.count) is True
                    assert seen == list(range(done.count, 40)), "what the zombie had processed came again"
                    assert zombie.ack(late, late.count) is False
                    assert [event.kind for event in zombie.events()][-1:] == ["ack-failed"]
                    assert outputs_of(adapter, wiring, 40) == list(range(40))
            log = log_of(wiring | {"topic": output}, 45)
            assert set(log) >= {*range(40), *range(100, 105)}, "what was aborted is in the log"
        finally:
            dead.close(timeout=1)


def limit_outputs(wiring, size):
    admin = KafkaAdminClient(bootstrap_servers=wiring["servers"])
    try:
        admin.alter_configs([ConfigResource("topic", wiring["outputs"]["g"], {"max.message.bytes": str(size)})])
    finally:
        admin.close()


@pytest.mark.server
@EACH_CLIENT
def test_what_was_not_committed_comes_again(servers, client):
    """Once a transaction failed, and once partitions were shared out anew: nothing is skipped, and nothing is in the output twice.

    kafka-python keeps the position of a partition that its member keeps: what was read there and not committed would be lost.
    """
    mode, settings = "consume-process-produce", {"heartbeat_interval_ms": "100"}
    two = Topology(1, (Group("g", 2),), 2)
    with (
        wired(list(servers("kafka").bootstrap), two, client, mode=mode, settings=settings) as (adapter, wiring),
        producing(adapter, wiring) as (producer, _),
        consuming(adapter, wiring) as first,
    ):
        send_all(producer, TestBlock(0, [0, 1] * 20))
        limit_outputs(wiring, 100)
        batch = polled(first, 40)
        assert first.ack(batch, batch.count) is False, "the output topic takes nothing"
        limit_outputs(wiring, 100_000)
        again = polled(first, 40)
        assert min(id_of(payload) for payload in again.payloads) < 2, "it stands where it began"
        told = [event.kind for event in first.events()]
        assert "ack-failed" in told
        assert "reconnected" in told, "another producer"
        with consuming(adapter, wiring, member=1) as second:
            seen, held, shared = [], [], False
            end = time.monotonic() + 30.0
            while len(seen) < 40:
                assert time.monotonic() < end, sorted(seen)
                for consumer in (first, second):
                    batch = consumer.poll(40, 0.02)
                    shared = shared or any(event.partitions and len(event.partitions) == 1 for event in second.events())
                    held += [] if batch is None else [(consumer, batch)]  # the first may have its share before the second knows of its own
                    while shared and held:
                        its, batch = held.pop(0)
                        if its.ack(batch, batch.count):
                            seen += [id_of(payload) for payload in batch.payloads]
        assert sorted(outputs_of(adapter, wiring, 40)) == list(range(40))
