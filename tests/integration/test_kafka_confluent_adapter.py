"""What is confluent-kafka's own: settings by two names, reports of deliveries, rebalances of both protocols, a broker that stands still."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from functools import partial
from pathlib import Path

import confluent_kafka
import pytest
from adapter_parts import TestBlock, drain, freeze, id_of, send_all, wait_event
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka_parts import PARTITIONS, committed, consuming, log_of, outputs_of, polled, producing
from kafka_parts import wired as wired_by

from adapters import kafka_confluent, kafka_confluent_processor
from adapters.base import Group, Options, Status, Topology
from adapters.errors import BadSetting, Refused
from adapters.kafka_confluent_settings import ONLY_HERE, SETTINGS, differing
from bench.keys import murmur2

pytestmark = pytest.mark.timeout(180)  # a server that starts on a shared machine
ROOT = Path(__file__).resolve().parents[2]
ONE = Topology(1, (Group("g"),), 1)
wired = partial(wired_by, adapter=kafka_confluent.ADAPTER)


@pytest.fixture
def bootstrap(servers):
    return list(servers("kafka").bootstrap)


def keyed(first_id, count):
    """Keys as the harness makes them, with the partition that the harness expects: its own hash, not the client's."""
    keys = [b"customer-%06d" % (row % 97) for row in range(count)]
    return TestBlock(first_id, [(murmur2(key) & 0x7FFFFFFF) % PARTITIONS for key in keys], keys)


class OneLarge(TestBlock):
    """Its second message has 5,000 bytes."""

    def messages(self, lo, hi):
        return [row.ljust(5000 if lo + i == 1 else 0) for i, row in enumerate(super().messages(lo, hi))]


def limit_messages(wiring, size):
    """Makes the topic anew, with a limit of its own."""
    admin = KafkaAdminClient(bootstrap_servers=wiring["servers"])
    about = {"num_partitions": wiring["partitions"], "replication_factor": 1, "configs": {"max.message.bytes": str(size)}}
    try:
        admin.delete_topics([wiring["topic"]])
        admin.create_topics({wiring["topic"]: about}, wait_for_metadata=True)
    finally:
        admin.close()


# ---- sending


@pytest.mark.server
@pytest.mark.parametrize("profile", ["defaults", "tuned"])
def test_a_key_lands_on_the_partition_that_the_harness_expects(bootstrap, profile):
    """Without the partition (defaults) Kafka's own partitioner decides, murmur2_random; with it (tuned) the block does, right or wrong."""
    with wired(bootstrap, profile=profile) as (adapter, wiring), producing(adapter, wiring) as (producer, ledger):
        block = keyed(1000, 300)
        said = [(partition + (profile == "tuned")) % PARTITIONS for partition in block.partitions]
        send_all(producer, TestBlock(1000, said, block.keys))
        assert ledger.count(Status.CONFIRMED) == 300
        assert ledger.twice == []
        wanted = said if profile == "tuned" else block.partitions
        assert log_of(wiring, 300) == {1000 + row: (wanted[row], block.keys[row]) for row in range(300)}


@pytest.mark.server
def test_what_the_client_refuses_is_failed_and_the_rest_goes_on(bootstrap):
    """By kafka-python's name of the limit."""
    with wired(bootstrap, settings={"max_request_size": "4000"}) as (adapter, wiring), producing(adapter, wiring) as (producer, ledger):
        assert producer.send(OneLarge(0, [0, 1, 2]), 0, 3, 5.0) == 3
        assert ledger.of == {1: Status.FAILED}
        assert producer.flush(20.0) == 0
        assert ledger.of == {0: Status.CONFIRMED, 1: Status.FAILED, 2: Status.CONFIRMED}
        assert set(log_of(wiring, 2)) == {0, 2}
        with pytest.raises(Refused, match="up to 990000 bytes"):
            producer.send(TestBlock(20, [0], size=990_001), 0, 1, 0)


@pytest.mark.server
def test_the_broker_refuses_whole_what_is_failed(bootstrap):
    """The broker's own limit, below the client's: of what one send() took each is told for itself, and the producer goes on."""
    with wired(bootstrap, settings={"linger.ms": "0"}) as (adapter, wiring):
        limit_messages(wiring, 2000)
        with producing(adapter, wiring) as (producer, ledger):
            assert producer.send(OneLarge(0, [0, 1, 2]), 0, 3, 5.0) == 3  # each in a request of its own: a partition each
            assert producer.flush(20.0) == 0
            assert ledger.of == {0: Status.CONFIRMED, 1: Status.FAILED, 2: Status.CONFIRMED}
            assert [event.kind for event in producer.events()] == ["ready", "error"]
            send_all(producer, TestBlock(10, [1, 2]))
            assert ledger.count(Status.CONFIRMED) == 4
            assert ledger.twice == []


@pytest.mark.server
@pytest.mark.parametrize("mode", ["acks-all", "acks-all-plain"])
def test_a_send_that_goes_in_many_requests_is_told_once_and_whole(bootstrap, mode):
    """With the order of reports promised (idempotence, one partition) what came until now is told at each look; else the send() as one."""
    settings = {"batch.num.messages": "10", "linger_ms": "0"}
    with wired(bootstrap, ONE, mode=mode, settings=settings) as (adapter, wiring), producing(adapter, wiring) as (producer, ledger):
        assert producer.send(TestBlock(0, [0] * 3000), 0, 3000, 0) == 3000
        seen = set()
        end = time.monotonic() + 20.0
        while len(ledger.of) < 3000 and time.monotonic() < end:
            producer.pump(0.001)
            seen.add(len(ledger.of))
            assert producer.room() == 10_000 - 3000 + len(ledger.of)
            assert ledger.of.keys() == set(range(len(ledger.of)))
        assert ledger.count(Status.CONFIRMED) == 3000
        assert ledger.twice == []
        assert len(seen - {0}) == 1 or mode == "acks-all"


@pytest.mark.server
def test_the_window_bounds_what_is_unresolved(bootstrap):
    settings = {"window": "50", "linger_ms": "300"}
    with wired(bootstrap, settings=settings) as (adapter, wiring), producing(adapter, wiring) as (producer, ledger):
        block = TestBlock(0, [0] * 200)
        assert producer.send(block, 0, 200, 0) == 50
        assert producer.room() == 0
        assert producer.send(block, 50, 200, 0) == 0
        assert producer.send(block, 50, 200, 20.0) > 0, "room comes with the reports"
        assert producer.flush(20.0) == 0
        assert ledger.count(Status.CONFIRMED) == len(ledger.of) > 50


@pytest.mark.server
def test_a_broker_that_stands_still_leaves_indeterminate_messages_and_the_producer_goes_on(servers, bootstrap):
    broker = servers("kafka").nodes[0].pid
    settings = {"delivery_timeout_ms": "1500", "request_timeout_ms": "1000"}
    with wired(bootstrap, ONE, settings=settings) as (adapter, wiring), producing(adapter, wiring) as (producer, ledger):
        send_all(producer, TestBlock(0, [0] * 10))
        freeze(broker)
        try:
            assert producer.send(TestBlock(100, [0] * 50), 0, 50, 0) == 50
            wait_event([producer], "error", lambda: producer.pump(0.05))
        finally:
            os.killpg(broker, signal.SIGCONT)
        assert producer.flush(20.0) == 0
        assert ledger.count(Status.INDETERMINATE) == 50
        send_all(producer, TestBlock(200, [0] * 20))
        assert ledger.count(Status.CONFIRMED) == 30
        assert ledger.twice == []


@pytest.mark.server
def test_closing_gives_up_what_no_broker_answers(servers, bootstrap):
    """Its delivery time-out is five minutes: close() has to end it."""
    broker = servers("kafka").nodes[0].pid
    with (
        wired(bootstrap, ONE) as (adapter, wiring),
        producing(adapter, wiring) as (producer, ledger),
        consuming(adapter, wiring) as consumer,
    ):
        send_all(producer, TestBlock(0, [0] * 10))
        drain(consumer, 10)
        freeze(broker)
        try:
            assert producer.send(TestBlock(100, [0] * 50), 0, 50, 0) == 50
            before = time.monotonic()
            producer.close()
            consumer.close()
            assert time.monotonic() - before < 15.0
        finally:
            os.killpg(broker, signal.SIGCONT)
        assert ledger.count(Status.INDETERMINATE) == 50
        assert producer.flush(0.0) == 0


# ---- receiving


@pytest.mark.server
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_rebalance_tells_the_whole_assignment_and_fails_old_acks(bootstrap, protocol):
    """``consumer``: KIP-848, where a member keeps what it is left, and the acks of that hold."""
    topology = Topology(1, (Group("g", members=2),), PARTITIONS)
    settings = {"group.protocol": protocol} | ({"heartbeat_interval_ms": "300"} if protocol == "classic" else {})
    with wired(bootstrap, topology, settings=settings) as (adapter, wiring), producing(adapter, wiring) as (producer, _):
        send_all(producer, TestBlock(0, [row % PARTITIONS for row in range(80)]))
        with consuming(adapter, wiring) as first:
            batches = []
            end = time.monotonic() + 30.0
            while sum(batch.count for batch in batches) < 80 and time.monotonic() < end:
                if (batch := first.poll(100, 0.2)) is not None:
                    batches.append(batch)
            events = first.events()
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
                assert len(owned[0]) == len(owned[1]) == 2

                assert not first.ack(batches[-1], batches[-1].count)
                assert [event.kind for event in first.events()] == ["ack-failed"]
                first.poll(1, 0.2)
        kept = set(owned[0]) if protocol == "consumer" else set()
        assert {partition for partition, offset in committed(wiring).items() if offset > 0} <= kept, "what was taken away is not committed"


@pytest.mark.server
def test_acks_commit_exactly_what_was_processed(bootstrap):
    """Cumulative over all polls, half a batch, across partitions; close() leaves nothing behind."""
    with wired(bootstrap) as (adapter, wiring), producing(adapter, wiring) as (producer, _):
        send_all(producer, TestBlock(0, [row % PARTITIONS for row in range(100)]))
        with consuming(adapter, wiring) as consumer:
            got, batches = [], []
            end = time.monotonic() + 30.0
            while len(got) < 100 and time.monotonic() < end:
                if (batch := consumer.poll(30, 0.2)) is not None:
                    batches.append(batch)
                    got += [id_of(payload) for payload in batch.payloads]
            assert len(batches) > 2
            done = got[: len(got) - batches[-1].count + 3]
            consumer.ack(batches[-1], 3)
        offsets = [sum(ident % PARTITIONS == partition for ident in done) for partition in range(PARTITIONS)]
        assert {partition: max(offset, 0) for partition, offset in committed(wiring).items()} == {
            partition: offset for partition, offset in enumerate(offsets) if partition in committed(wiring)
        }
        with consuming(adapter, wiring) as consumer:
            rest = [id_of(payload) for payload in drain(consumer, 100 - len(done))]
        assert sorted(done + rest) == list(range(100))


@pytest.mark.server
def test_a_commit_before_processing_that_gets_no_answer_makes_its_messages_come_again(servers, bootstrap, monkeypatch):
    monkeypatch.setattr("adapters.kafka_confluent_receiver.BEFORE_S", 0.5)
    broker = servers("kafka").nodes[0].pid
    with wired(bootstrap, ONE, mode="commit-before") as (adapter, wiring), producing(adapter, wiring) as (producer, _):
        send_all(producer, TestBlock(0, [0] * 20))
        with consuming(adapter, wiring) as consumer:
            batch = None
            end = time.monotonic() + 30.0
            while batch is None and time.monotonic() < end:
                batch = consumer.poll(20, 0.2)
            freeze(broker)
            try:
                assert consumer.ack(batch, batch.count) is False
            finally:
                os.killpg(broker, signal.SIGCONT)
            assert [id_of(payload) for payload in drain(consumer, 20)] == list(range(20))


# ---- transactions


@pytest.mark.server
def test_a_transaction_with_a_refused_message_is_failed_as_a_whole(bootstrap):
    """The broker refuses one of three: none is seen, each is FAILED, and the next transaction is made by another producer."""
    with wired(bootstrap, ONE, mode="transactional") as (adapter, wiring):
        limit_messages(wiring, 2000)
        with producing(adapter, wiring) as (producer, ledger):
            send_all(producer, TestBlock(0, [0] * 5))
            assert producer.send(OneLarge(10, [0] * 3), 0, 3, 5.0) == 3
            assert producer.flush(20.0) == 0
            assert {ident: ledger.of[ident] for ident in (10, 11, 12)} == dict.fromkeys((10, 11, 12), Status.FAILED)
            wait_event([producer], "reconnected", lambda: producer.pump(0.01))
            send_all(producer, TestBlock(20, [0] * 5))
        assert ledger.twice == []
        assert ledger.count(Status.CONFIRMED) == 10
        assert sorted(log_of(wiring, 10, isolation_level="read_committed")) == [*range(5), *range(20, 25)]
        assert adapter.depth(wiring, "g") == 10, "neither the ends of transactions nor what was aborted is a message"


@pytest.mark.server
@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_stage_goes_on_after_a_transaction_that_got_no_answer(servers, bootstrap, monkeypatch, call):
    """ack() returns while the broker stands still, one producer takes over; whatever became of the transaction, each output is there once.

    By itself send_offsets_to_transaction() came back after 60 s, the session was over, and nothing was read for another.
    """
    broker = servers("kafka").nodes[0].pid
    made = []
    monkeypatch.setattr(kafka_confluent, "Producer", lambda settings: made.append(settings) or confluent_kafka.Producer(settings))
    tried = kafka_confluent_processor._tried

    def tried_in_vain(until, each, *about):
        if each.__name__ == call:
            freeze(broker)
        tried(until, each, *about)

    with (
        wired(bootstrap, ONE, mode="consume-process-produce") as (adapter, wiring),
        producing(adapter, wiring) as (producer, _),
        consuming(adapter, wiring) as consumer,
    ):
        send_all(producer, TestBlock(0, [0] * 40))
        batch = polled(consumer, 10)
        assert consumer.ack(batch, batch.count) is True
        batch, made[:] = polled(consumer, 10), []
        try:
            with monkeypatch.context() as patched:
                patched.setattr(kafka_confluent_processor, "COMMIT_S", 3.0)  # what comes before the call takes its time, too
                patched.setattr(kafka_confluent_processor, "_tried", tried_in_vain)
                before = time.monotonic()
                assert consumer.ack(batch, batch.count) is False
                assert time.monotonic() - before < 30.0
            for _ in range(3):
                assert consumer.poll(10, 0.1) is None, "nothing while nobody knows what became of it"
        finally:
            os.killpg(broker, signal.SIGCONT)
        last = 0
        while last < 39:
            batch = polled(consumer, 40)
            assert consumer.ack(batch, batch.count) is True
            last = id_of(batch.payloads[-1])
        assert len(made) == 1, "the one that began to take over ends it"
        assert outputs_of(adapter, wiring, 40) == list(range(40))


# ---- settings


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"linger_msec": "5"}, "did you mean 'linger_ms'"),
        ({"max_block_ms": "5"}, r"has no setting 'max_block_ms'\. The names"),
        ({"linger.msec": "5"}, "No such configuration property"),
        ({"linger_ms": "soon"}, "queue.buffering.max.ms"),
        ({"enable.idempotence": "false"}, "acks-all-plain has not"),
        ({"acks": "1"}, "the mode decides"),
        ({"partitioner": "random"}, "murmur2_random"),
        ({"window": "0"}, "at least 1"),
        ({"linger_ms": "1", "linger.ms": "2"}, "linger_ms and linger.ms are the same setting"),
        ({"queue.buffering.max.ms": "1", "linger.ms": "2"}, "are the same setting"),
        ({"group.protocol": "consumer", "heartbeat_interval_ms": "300"}, "heartbeat.interval.ms"),
    ],
)
def test_bad_settings_say_what_would_be_right(settings, match):
    with pytest.raises(BadSetting, match=match):
        kafka_confluent.ADAPTER(Options(settings=settings))


def test_a_setting_goes_to_whoever_knows_it_by_either_name():
    settings = {"linger_ms": "7", "fetch.min.bytes": "9", "reconnect_backoff_ms": "11", "compression_type": "gzip"}
    effective = kafka_confluent.ADAPTER(Options(settings=settings)).effective()
    producer, consumer = effective["producer"], effective["consumer"]
    assert (producer["linger.ms"], producer["reconnect.backoff.ms"], producer["compression.type"]) == (7, 11, "gzip")
    assert (consumer["fetch.min.bytes"], consumer["reconnect.backoff.ms"]) == (9, 11)
    assert "linger.ms" not in consumer
    assert "fetch.min.bytes" not in producer
    assert (producer["acks"], producer["enable.idempotence"], consumer["enable.auto.commit"]) == ("all", True, False)
    assert (producer["partitioner"], consumer["enable.auto.offset.store"]) == ("murmur2_random", False)


def test_the_window_never_fills_the_clients_own_queue():
    """It would refuse the rest of a send() that goes to several partitions: no prefix of it was taken."""
    small = {"queue.buffering.max.messages": "500"}
    assert kafka_confluent.ADAPTER(Options(settings=small)).effective()["producer"]["window"] == 500
    large = Options(payload_bytes_max=900_000)
    assert kafka_confluent.ADAPTER(large).effective()["producer"]["window"] == (1 << 30) // 900_000


def librdkafka():
    """The library that confluent-kafka has loaded: what it says its defaults are."""
    folder = Path(confluent_kafka.__file__).parent
    found = [*folder.parent.glob("confluent_kafka.libs/librdkafka*"), *folder.glob(".dylibs/librdkafka*")]
    library = ctypes.CDLL(str(found[0]))
    scopes = []
    for scope in ("rd_kafka_conf", "rd_kafka_topic_conf"):
        new, get = getattr(library, f"{scope}_new"), getattr(library, f"{scope}_get")
        new.restype = ctypes.c_void_p
        get.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_size_t)]
        scopes.append((get, new()))

    def default(name):
        text, size = ctypes.create_string_buffer(512), ctypes.c_size_t(512)
        assert any(get(conf, name.encode(), text, ctypes.byref(size)) == 0 for get, conf in scopes), f"librdkafka has no {name}"
        return text.value.decode()

    return default


def test_the_tables_of_defaults_are_those_of_both_libraries():
    default = librdkafka()

    def text(value):
        return str(value).lower() if isinstance(value, bool) else str(value)

    named = {each.other: each.other_default for each in SETTINGS} | {name: value for name, (_, value) in ONLY_HERE.items()}
    assert {name: default(name) for name in named} == {name: text(value) for name, value in named.items()}
    ours = {"producer": KafkaProducer.DEFAULT_CONFIG, "consumer": KafkaConsumer.DEFAULT_CONFIG}
    for each in SETTINGS:
        for side in ours if each.sides == "both" else [each.sides]:
            assert ours[side][each.name] == each.default, (side, each.name)


def test_the_page_lists_the_defaults_that_differ():
    def text(value):
        if isinstance(value, bool | None):
            return "the system's" if value is None else str(value).lower()
        return f"{value:,}" if isinstance(value, int) else value

    page = (ROOT / "docs" / "kafka-clients.md").read_text(encoding="utf-8").splitlines()
    start = page.index("| kafka-python | default | librdkafka | default |") + 2
    listed = page[start : page.index("", start)]
    assert listed == [f"| {s.name} | {text(s.default)} | {s.other} | {text(s.other_default)} |" for s in differing()]
