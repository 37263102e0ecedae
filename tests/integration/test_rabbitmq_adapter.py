"""What is RabbitMQ's own: returns, confirms out of order, coalesced frames, lost connections, queues a partition."""

from __future__ import annotations

import os
import signal
import struct
import time
from contextlib import AbstractContextManager, contextmanager

import pika
import pytest
from adapter_parts import Ledger, Proxy, TestBlock, drain, freeze, id_of, prepared, send_all, wait_event
from hypothesis import given
from hypothesis import strategies as st

from adapters import rabbitmq
from adapters.base import Group, Options, Status, Topology
from adapters.errors import BadSetting, Refused, Unreachable, Unsupported
from bench.servers import choose, start
from bench.servers.base import Request

pytestmark = pytest.mark.timeout(180)  # a server that starts on a shared machine


@pytest.fixture
def rabbit(servers):
    return servers("rabbitmq").bootstrap[0]


def wired(address, topology=None, **options) -> AbstractContextManager[tuple[rabbitmq.RabbitAdapter, dict]]:
    return prepared(rabbitmq.ADAPTER(Options(**options)), topology or Topology(1, (Group("g"),)), "rabbitmq-test", [address])


@contextmanager
def opened(adapter, wiring, *members, group="g"):
    """A producer with its ledger, and the members of the group."""
    ledger = Ledger()
    producer = adapter.producer(wiring, 0, ledger)
    consumers = [adapter.consumer(wiring, group, member) for member in members]
    try:
        yield producer, ledger, *consumers
    finally:
        for part in (producer, *consumers):
            part.close()


@contextmanager
def admin(address):
    host, port = address.rsplit(":", 1)
    connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port)))
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


@pytest.mark.server
def test_what_no_queue_takes_is_failed_though_it_is_confirmed(rabbit):
    topology = Topology(1, (Group("g"),), partitions=2)
    with wired(rabbit, topology) as (adapter, wiring), opened(adapter, wiring, 0) as (producer, ledger, consumer):
        with admin(rabbit) as channel:
            channel.queue_unbind(wiring["groups"]["g"]["queues"][1], wiring["exchange"], "1")
        block = TestBlock(500, [row % 2 for row in range(100)])
        send_all(producer, block)
        assert {ident: ledger.of[ident] for ident in (500, 501, 598, 599)} == {
            500: Status.CONFIRMED,
            501: Status.FAILED,
            598: Status.CONFIRMED,
            599: Status.FAILED,
        }
        assert ledger.count(Status.FAILED) == ledger.count(Status.CONFIRMED) == 50
        assert ledger.twice == []
        assert sorted(map(id_of, drain(consumer, 50))) == list(range(500, 600, 2))


class OneChannel(rabbitmq.RabbitProducer):
    """The accounting of confirms without a connection."""

    def __init__(self, ledger):
        self._outcomes = ledger
        self._forget()


def confirm(producer, tag, *, multiple, nack=False):
    method = pika.spec.Basic.Nack(tag, multiple) if nack else pika.spec.Basic.Ack(tag, multiple)
    producer._on_confirm(pika.frame.Method(1, method))


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 9)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(1, 72), st.booleans(), st.booleans()), max_size=40),
    st.sets(st.integers(1, 72)),
)
def test_confirms_in_any_order_resolve_each_message_once(sends, confirms, returns):
    """Against the plain model: tag -> id, each confirm taken literally, as the protocol has it."""
    ledger = Ledger()
    producer = OneChannel(ledger)
    ids: dict[int, int] = {}
    at = 0
    for gap, count in sends:
        at += gap
        producer._sent(at, count)
        for ident in range(at, at + count):
            ids[len(ids) + 1] = ident
        at += count
    expected: dict[int, Status] = {}
    for tag in returns & set(ids):
        producer._on_return(None, None, None, struct.pack("<Q", ids[tag]))
        expected[ids[tag]] = Status.FAILED
    confirmed: set[int] = set()
    for tag, multiple, nack in confirms:
        tags = {each for each in ids if each <= tag} - confirmed if multiple else {tag} & set(ids) - confirmed
        if tag not in ids or not tags or tag in confirmed:  # the server confirms no tag twice and none that was not sent
            continue
        confirm(producer, tag, multiple=multiple, nack=nack)
        confirmed |= tags
        for each in tags:
            expected.setdefault(ids[each], Status.INDETERMINATE if nack else Status.CONFIRMED)
    assert ledger.of == expected
    assert producer._outstanding() == len(ids) - len(confirmed)
    producer._reset()
    for ident in ids.values():
        expected.setdefault(ident, Status.INDETERMINATE)
    assert ledger.of == expected
    assert ledger.twice == []


@pytest.mark.server
def test_the_window_bounds_what_is_unconfirmed(rabbit):
    with wired(rabbit, settings={"window": "30"}) as (adapter, wiring), opened(adapter, wiring) as (producer, ledger):
        assert producer.room() == 30
        assert producer.send(TestBlock(0, [0] * 100), 0, 100, 0) == 30
        assert producer.send(TestBlock(100, [0] * 100), 0, 100, 20.0) > 0, "room comes with the confirms"
        assert producer.flush(20.0) == 0
        assert ledger.count(Status.CONFIRMED) == len(ledger.of) > 30


@pytest.mark.server
def test_tuned_writes_a_batch_at_once_and_the_same_bytes(rabbit, monkeypatch):
    """Pins pika's private method: three frames a message through it, one write for the whole batch with ours."""
    writes: dict[str, list[bytes]] = {}
    plain = pika.SelectConnection._adapter_emit_data

    for profile in ("defaults", "tuned"):
        with wired(rabbit, profile=profile) as (adapter, wiring), opened(adapter, wiring, 0) as (producer, ledger, consumer):
            wiring_name = wiring["exchange"].encode()
            seen = writes[profile] = []
            monkeypatch.setattr(
                pika.SelectConnection,
                "_adapter_emit_data",
                lambda self, data, seen=seen: (seen.append(bytes(data)), plain(self, data))[1],
            )
            send_all(producer, TestBlock(7, [0] * 50))
            monkeypatch.undo()
            assert ledger.count(Status.CONFIRMED) == 50
            assert [id_of(payload) for payload in drain(consumer, 50)] == list(range(7, 57))
            writes[profile + " bytes"] = [b"".join(seen).replace(wiring_name, b"EXCHANGE")]
    assert len(writes["defaults"]) == 150, "pika's own: method, header and body, one write each"
    assert len(writes["tuned"]) == 1
    assert writes["tuned bytes"] == writes["defaults bytes"]


@pytest.mark.server
def test_partitions_are_queues_with_a_fixed_member_each(rabbit):
    topology = Topology(1, (Group("g", members=2),), partitions=3)
    with wired(rabbit, topology) as (adapter, wiring), opened(adapter, wiring, 0, 1) as (producer, _, first, second):
        assert [event.partitions for event in first.events() if event.kind == "assigned"] == [(0, 2)]
        assert [event.partitions for event in second.events() if event.kind == "assigned"] == [(1,)]
        send_all(producer, TestBlock(0, [row % 3 for row in range(90)]))
        assert {ident % 3 for ident in map(id_of, drain(first, 60))} == {0, 2}
        assert {ident % 3 for ident in map(id_of, drain(second, 30))} == {1}


@pytest.mark.server
def test_a_cut_connection_comes_back_with_events_and_redelivers(rabbit):
    proxy = Proxy(rabbit)
    try:
        with wired(rabbit) as (adapter, wiring):
            wiring["servers"] = [proxy.address]
            with opened(adapter, wiring, 0) as (producer, ledger, consumer):
                send_all(producer, TestBlock(0, [0] * 20))
                while (batch := consumer.poll(20, 1.0)) is None or batch.count < 20:
                    assert batch is None, "20 small messages come together or in a second poll: keep the test simple"
                producer.events()
                consumer.events()
                proxy.refuse(True)
                assert producer.send(TestBlock(100, [0] * 10), 0, 10, 0) == 10
                proxy.cut()
                assert wait_event([producer], "closed", lambda: producer.pump(0.05)).detail
                assert len(ledger.of) == 30, "each message has an outcome, confirmed before the cut or indeterminate"
                assert producer.room() == 0
                assert producer.send(TestBlock(200, [0] * 10), 0, 10, 0.1) == 0, "a dead connection accepts nothing"
                wait_event([consumer], "closed", lambda: consumer.poll(1, 0.05))
                consumer.ack(batch, 20)
                assert [event.kind for event in consumer.events()] == ["ack-failed"]

                with admin(rabbit) as channel:  # as a server that is killed may forget it
                    channel.queue_unbind(wiring["groups"]["g"]["queues"][0], wiring["exchange"], "0")
                proxy.refuse(False)
                wait_event([producer], "reconnected", lambda: producer.pump(0.05))
                send_all(producer, TestBlock(300, [0] * 5))
                wait_event([consumer], "reconnected", lambda: consumer.idle(0.05))
                assert all(ledger.of[ident] is Status.CONFIRMED for ident in range(300, 305))
                again = consumer.poll(20, 10.0)
                assert again is not None
                assert [id_of(payload) for payload in again.payloads] == list(range(again.count))
                assert all(again.redelivered), "they were delivered before the cut"
        assert ledger.twice == []
    finally:
        proxy.close()


@pytest.mark.server
@pytest.mark.slow
def test_a_killed_server_leaves_indeterminate_messages_and_no_exception(session_guard, tmp_path):
    server = start("rabbitmq", Request(choose("rabbitmq"), tmp_path, session_guard.run_id, session_guard))
    try:
        if server.nodes[0].pid is None:
            pytest.skip("only a server of our own can be killed")
        adapter = rabbitmq.ADAPTER(Options())
        wiring = {**adapter.wire(Topology(1, (Group("g"),)), "kill"), "servers": list(server.bootstrap)}
        adapter.prepare(wiring)
        with opened(adapter, wiring, 0) as (producer, ledger, consumer):
            send_all(producer, TestBlock(0, [0] * 100))
            freeze(server.nodes[0].pid)  # so that what follows is certainly on its way
            assert producer.send(TestBlock(100, [0] * 200), 0, 200, 0) == 200
            assert producer.flush(0.2) == 200
            os.killpg(server.nodes[0].pid, signal.SIGKILL)
            wait_event([producer], "closed", lambda: producer.pump(0.05))
            wait_event([consumer], "closed", lambda: consumer.poll(10, 0.05))
            assert ledger.count(Status.CONFIRMED) == 100
            assert ledger.count(Status.INDETERMINATE) == 200
            assert producer.flush(0.1) == 0, "nothing is unresolved"
            assert consumer.poll(10, 0.1) is None
        with pytest.raises(Unreachable):
            adapter.prepare(wiring)
    finally:
        server.stop()


@pytest.mark.server
@pytest.mark.slow
def test_heartbeats_go_on_while_idle(rabbit):
    """And stop without idle(): the server then ends the connection, so that the first half proves something."""
    with wired(rabbit, settings={"heartbeat": "1"}) as (adapter, wiring), opened(adapter, wiring, 0, 0) as (_, _, idle, asleep):
        idle.events()
        asleep.events()
        idle.idle(5.0)
        assert idle.events() == []
        time.sleep(0.5)
        wait_event([asleep], "closed", lambda: asleep.poll(1, 0.0))


@pytest.mark.server
def test_prefetch_bounds_what_is_unacknowledged(rabbit):
    with wired(rabbit, settings={"prefetch_count": "7"}) as (adapter, wiring), opened(adapter, wiring, 0) as (producer, _, consumer):
        send_all(producer, TestBlock(0, [0] * 30))
        got = drain(consumer, 7, ack=False)
        assert consumer.poll(10, 0.5) is None
        assert len(got) == 7


@pytest.mark.server
def test_a_deleted_queue_closes_the_consumer(rabbit):
    with wired(rabbit) as (adapter, wiring), opened(adapter, wiring, 0) as (_, _, consumer):
        consumer.events()
        with admin(rabbit) as channel:
            channel.queue_delete(wiring["groups"]["g"]["queues"][0])
        assert "cancelled" in wait_event([consumer], "closed", lambda: consumer.poll(1, 0.05)).detail
        adapter.prepare(wiring)
        wait_event([consumer], "reconnected", lambda: consumer.poll(1, 0.05))


@pytest.mark.server
def test_settling_one_and_acknowledging_all_mix(rabbit):
    """The server closes the channel for a cumulative ack whose own tag is settled: this must not happen."""
    with wired(rabbit) as (adapter, wiring), opened(adapter, wiring, 0) as (producer, _, consumer):
        send_all(producer, TestBlock(0, [0] * 6))
        consumer.events()
        batches = []
        while sum(batch.count for batch in batches) < 6:
            if (batch := consumer.poll(6, 5.0)) is not None:
                batches.append(batch)
        last = batches[-1]
        consumer.settle(last, last.count - 1, "ack")
        consumer.settle(last, last.count - 1, "ack")
        consumer.ack(last, last.count)
        consumer.ack(last, last.count)
        consumer.ack(batches[0], 0)
        consumer.idle(0.3)
        assert consumer.events() == []
        with admin(rabbit) as channel:
            consumer.close()
            assert channel.queue_declare(wiring["groups"]["g"]["queues"][0], passive=True).method.message_count == 0


@pytest.mark.server
def test_quorum_queues_are_what_the_server_made(rabbit):
    with wired(rabbit, mode="quorum") as (adapter, wiring):
        assert adapter.effective()["producer"]["x-queue-type"] == "quorum"
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="inequivalent arg 'x-queue-type'"), admin(rabbit) as channel:
            channel.queue_declare(wiring["groups"]["g"]["queues"][0], durable=True, arguments={"x-queue-type": "classic"})
        with opened(adapter, wiring, 0) as (producer, ledger, consumer):
            send_all(producer, TestBlock(0, [0] * 20))
            assert ledger.count(Status.CONFIRMED) == 20
            assert sorted(map(id_of, drain(consumer, 20))) == list(range(20))


@pytest.mark.server
@pytest.mark.parametrize("profile", ["defaults", "tuned"])
def test_without_confirms_what_is_unwritten_bounds_what_is_taken(rabbit, profile):
    """Pins pika's private method: a server that reads nothing stops a producer that hears nothing."""
    proxy = Proxy(rabbit)
    try:
        with wired(rabbit, mode="transient", profile=profile) as (adapter, wiring):
            wiring["servers"] = [proxy.address]
            with opened(adapter, wiring, 0) as (producer, ledger, consumer):
                send_all(producer, TestBlock(0, [0] * 20))
                assert sorted(map(id_of, drain(consumer, 20))) == list(range(20))
                assert producer.room() == 1000
                proxy.hold(True)
                sent, block = 20, TestBlock(20, [0] * 100, size=200_000)
                while producer.send(block, 0, 10, 0) == 10:
                    sent += 10
                    assert sent < 1000, "200 MB were taken, and nobody reads them"
                assert producer.room() == 0
                assert producer.flush(0.1) is None
                proxy.hold(False)
                assert producer.flush(20.0) is None
                assert producer.room() == 1000
                assert ledger.of == {}, "nothing is known of any"
                drain(consumer, sent - 20)
    finally:
        proxy.close()


@pytest.mark.server
def test_acknowledged_automatically_is_gone_with_its_consumer(rabbit):
    with wired(rabbit, mode="transient") as (adapter, wiring), opened(adapter, wiring, 0) as (producer, _, consumer):
        send_all(producer, TestBlock(0, [0] * 20))
        consumer.idle(0.3)  # they have come, and nobody has polled them
        with admin(rabbit) as channel:
            assert channel.queue_declare(wiring["groups"]["g"]["queues"][0], passive=True).method.message_count == 0
        batch = consumer.poll(20, 5.0)
        assert batch is not None
        consumer.ack(batch, batch.count)
        with pytest.raises(Unsupported, match="automatically"):
            consumer.settle(batch, 0, "requeue")
        consumer.idle(0.2)
        assert [event.kind for event in consumer.events()] == ["ready", "assigned"], "an ack would have closed the channel"


@pytest.mark.server
def test_what_is_given_back_too_often_is_moved_and_what_is_rejected_at_once(rabbit):
    with wired(rabbit, mode="dead-letter", settings={"x-delivery-limit": "3"}) as (adapter, wiring):
        assert adapter.effective()["consumer"]["x-delivery-limit"] == 3
        with opened(adapter, wiring, 0) as (producer, ledger, consumer):
            send_all(producer, TestBlock(0, [0] * 5))
            came = [0] * 5
            end = time.monotonic() + 20
            letters: list[int] = []
            while len(letters) < 2 and time.monotonic() < end:
                batch = consumer.poll(5, 0.1)
                for row, ident in enumerate(map(id_of, batch.payloads) if batch else ()):
                    came[ident] += 1
                    consumer.settle(batch, row, {1: "requeue", 3: "reject"}.get(ident, "ack"))
                letters += map(id_of, adapter.dead_letters(wiring, "g"))
            assert sorted(letters) == [1, 3]
            assert came == [1, 4, 1, 1, 1], "given back three times, it came a fourth: then its limit was passed"
            assert ledger.count(Status.CONFIRMED) == 5


@pytest.mark.server
def test_whole_urls_work_and_their_passwords_stay_out_of_errors(rabbit):
    with wired(f"amqp://guest:guest@{rabbit}/%2F") as (adapter, wiring), opened(adapter, wiring, 0) as (producer, ledger, _):
        send_all(producer, TestBlock(0, [0]))
        assert ledger.of == {0: Status.CONFIRMED}
        wrong = {**wiring, "servers": [f"amqp://guest:s3cret@{rabbit}/%2F"]}
        with pytest.raises(Refused, match="refuses this user") as refused:
            adapter.producer(wrong, 0, Ledger())
        assert "s3cret" not in str(refused.value)


@pytest.mark.server
def test_before_prepare_the_missing_exchange_is_named(rabbit):
    adapter = rabbitmq.ADAPTER(Options())
    wiring = {**adapter.wire(Topology(1, (Group("g"),)), "never"), "servers": [rabbit]}
    with pytest.raises(Refused, match=f"no exchange '{wiring['exchange']}'"):
        adapter.producer(wiring, 0, Ledger())
    with pytest.raises(Refused, match="no queue"):
        adapter.consumer(wiring, "g", 0)
    with pytest.raises(BadSetting, match="no group 'h'"):
        adapter.consumer(wiring, "h", 0)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"prefetch_cuont": "5"}, "did you mean prefetch_count"),
        ({"window": "many"}, "whole number"),
        ({"window": "0"}, "positive"),
        ({"socket_timeout": "-1"}, "positive"),
        ({"x-quorum-initial-group-size": "3"}, "modes quorum"),
        ({"x-delivery-limit": "3"}, "mode dead-letter"),
    ],
)
def test_bad_settings_say_what_would_be_right(settings, match):
    with pytest.raises(BadSetting, match=match):
        rabbitmq.ADAPTER(Options(settings=settings))


def test_a_quorum_queue_has_no_more_copies_than_its_server_has_nodes():
    three = {"x-quorum-initial-group-size": "3"}
    assert rabbitmq.ADAPTER(Options(mode="quorum", server={"nodes": "3"}, settings=three)).mode.copies == 2
    with pytest.raises(BadSetting, match=r"x-quorum-initial-group-size = 3 is more than the server's nodes \(1\)"):
        rabbitmq.ADAPTER(Options(mode="quorum", server={"nodes": "1"}, settings=three))
