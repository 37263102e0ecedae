"""Redis Streams: who gets what was not acknowledged, on a real redis-server. tests/contract has what all systems share."""

import time
from threading import Thread

import pytest
from adapter_parts import Ledger, TestBlock, id_of, send_all
from redis_own import started

from adapters.base import Group, Options, Status, Topology
from adapters.errors import BadSetting, Refused
from adapters.redis_streams import RedisStreams
from bench.servers import choose, start
from bench.servers.base import Request

pytestmark = pytest.mark.server
TWO_MEMBERS = Topology(1, (Group("inventory", 2),))
MANY = 120.0  # seconds that a machine which is busy may take


@pytest.fixture
def own(tmp_path, servers):
    server = started(tmp_path, servers, "redis_streams")
    yield server
    server.kill()


def wired(own, topology=TWO_MEMBERS, mode="", **settings):
    adapter = RedisStreams(Options(mode=mode, settings={name: str(value) for name, value in settings.items()}))
    return adapter, adapter.prepare({**adapter.wire(topology, "run-1"), "servers": [own.address]})


def taken(consumer, count, most=100):
    """Poll until ``count`` messages are there; the batches."""
    batches = []
    until_s = time.monotonic() + MANY
    while sum(batch.count for batch in batches) < count:
        assert time.monotonic() < until_s, f"{sum(batch.count for batch in batches)} of {count} came"
        batch = consumer.poll(most, 0.02)
        if batch is not None:
            assert batch.count <= most
            batches.append(batch)
    return batches


def ids(batches):
    return [id_of(payload) for batch in batches for payload in batch.payloads]


def nothing(consumer):
    assert [consumer.poll(100, 0.02) for _ in range(5)] == [None] * 5


def pending(own, wiring):
    return sum(own.admin.xpending(stream, group)["pending"] for stream in wiring["streams"] for group in wiring["groups"])


def test_what_a_dead_member_held_goes_to_another_and_is_flagged(own, opened):
    adapter, wiring = wired(own, min_idle_time=50)
    producer = opened(adapter.producer(wiring, 0, Ledger()))
    send_all(producer, TestBlock(0, [0] * 30))
    dead, other = adapter.consumer(wiring, "inventory", 0), opened(adapter.consumer(wiring, "inventory", 1))
    first = taken(dead, 10, most=10)
    dead.ack(first[0], 4)
    dead.close()
    rest = taken(other, 26)
    assert sorted(ids(rest)) == list(range(4, 30))
    again = [flag for batch in rest for flag in (batch.redelivered or [False] * batch.count)]
    assert [ident for ident, flag in zip(ids(rest), again, strict=True) if flag] == ids(first)[4:]
    other.ack(rest[-1], rest[-1].count)
    assert pending(own, wiring) == 0


def test_what_a_live_member_holds_for_long_is_not_taken_from_it(own, opened):
    adapter, wiring = wired(own, min_idle_time=1000)
    producer = opened(adapter.producer(wiring, 0, Ledger()))
    send_all(producer, TestBlock(0, [0] * 5))
    slow, other = opened(adapter.consumer(wiring, "inventory", 0)), opened(adapter.consumer(wiring, "inventory", 1))
    held = taken(slow, 5)
    for stream, entries in ((name, own.admin.xpending_range(name, "inventory", "-", "+", 9)) for name in wiring["streams"]):
        # As if it had held them for an hour; its idle() claims them anew before the other looks.
        own.admin.xclaim(stream, "inventory", "inventory-0", 0, [entry["message_id"] for entry in entries], idle=3_600_000, justid=True)
    until_s = time.monotonic() + 0.6
    while time.monotonic() < until_s:
        slow.idle(0.05)
    idle_ms = [entry["time_since_delivered"] for entry in own.admin.xpending_range(wiring["streams"][0], "inventory", "-", "+", 9)]
    assert max(idle_ms) < 3_600_000
    assert all(entry["consumer"] == b"inventory-0" for entry in own.admin.xpending_range(wiring["streams"][0], "inventory", "-", "+", 9))
    del other
    slow.ack(held[-1], 5)
    assert pending(own, wiring) == 0


def test_after_a_reconnect_what_is_held_here_does_not_come_twice_and_what_was_lost_on_its_way_comes(own, opened):
    adapter, wiring = wired(own)
    producer = opened(adapter.producer(wiring, 0, Ledger()))
    send_all(producer, TestBlock(0, [0] * 20))
    consumer = opened(adapter.consumer(wiring, "inventory", 0))
    held = taken(consumer, 10, most=10)
    # A reply that is lost on its way: handed out under this member's name, by a connection that is not the member's.
    own.admin.xreadgroup("inventory", "inventory-0", {wiring["streams"][0]: ">"}, count=5)
    own.admin.client_kill_filter(_type="normal", skipme=True)
    rest = taken(consumer, 10)
    assert ids(held) == list(range(10))
    assert sorted(ids(rest)) == list(range(10, 20))
    assert [batch.redelivered for batch in rest if batch.redelivered] == [[True] * 5]
    assert "reconnected" in [event.kind for event in consumer.events()]
    consumer.ack(rest[-1], rest[-1].count)
    assert pending(own, wiring) == 0
    nothing(consumer)


def test_a_server_that_comes_back_empty_gets_its_groups_anew(own, opened):
    adapter, wiring = wired(own)
    ledger = Ledger()
    producer, consumer = opened(adapter.producer(wiring, 0, ledger)), opened(adapter.consumer(wiring, "inventory", 0))
    send_all(producer, TestBlock(0, [0] * 10))
    batch = taken(consumer, 10)[-1]
    own.kill()
    consumer.ack(batch, batch.count)
    assert consumer.poll(10, 0.01) is None
    assert [event.kind for event in consumer.events() if event.kind in ("ack-failed", "closed")] == ["ack-failed", "closed"]
    producer.send(TestBlock(10, [0] * 5), 0, 5, 0.0)
    assert ledger.of[10] is Status.INDETERMINATE
    assert producer.room() == 0
    own.start()
    until_s = time.monotonic() + MANY
    while producer.room() == 0 and time.monotonic() < until_s:
        producer.pump(0.02)
        consumer.poll(10, 0.0)
    send_all(producer, TestBlock(20, [0] * 10))
    assert ids(taken(consumer, 10)) == list(range(20, 30))
    told = [event for event in consumer.events() if event.kind == "error"]
    assert told
    assert told[0].detail.startswith("NOGROUP")


@pytest.mark.parametrize(("synced", "promised"), [("off", "server memory"), ("always", "fsync")])
def test_what_was_acknowledged_is_there_after_a_kill_where_it_was_promised(synced, promised, tmp_path, session_guard, opened):
    folder = tmp_path / "server"
    server = start("redis_streams", Request(choose("redis_streams"), folder, "run-1", session_guard, options={"appendfsync": synced}))
    try:
        assert server.settings["appendonly"] == ("no" if synced == "off" else "yes")
        assert server.settings["appendfsync"] == ("everysec" if synced == "off" else synced)
        adapter = RedisStreams(Options(server={"appendfsync": synced}))
        assert (adapter.mode.persistence.value, adapter.mode.copies) == (promised, 1)
        wiring = adapter.prepare({**adapter.wire(TWO_MEMBERS, "run-1"), "servers": list(server.bootstrap)})
        ledger = Ledger()
        producer, consumer = opened(adapter.producer(wiring, 0, ledger)), opened(adapter.consumer(wiring, "inventory", 0))
        send_all(producer, TestBlock(0, [0] * 100))
        held = taken(consumer, 40, most=40)
        consumer.ack(held[-1], 10)  # 10 are done, 30 pending, 60 nobody has seen
        killed = Thread(target=server.kill, args=("redis_streams.1",))
        killed.start()  # somewhere between these sends
        for first in range(100, 20_000, 100):
            if producer.room() > 0:
                producer.send(TestBlock(first, [0] * 100), 0, 100, 0.0)
        killed.join()
        server.restart("redis_streams.1")
        another = opened(adapter.consumer(wiring, "inventory", 0))
        confirmed = {ident for ident, status in ledger.of.items() if status is Status.CONFIRMED}
        assert len(confirmed) >= 100
        if promised != "fsync":
            nothing(another)
            return
        wanted = confirmed - set(range(10))
        found = ids(taken(another, len(wanted)))
        assert wanted <= set(found)
        assert set(found) <= set(ledger.of) - set(range(10))
        assert found[:30] == list(range(10, 40))  # its own pending ones come first
    finally:
        server.stop()


def test_a_late_group_gets_all_and_noack_leaves_nothing_pending(own, opened):
    adapter, wiring = wired(own, mode="noack")
    producer = opened(adapter.producer(wiring, 0, Ledger()))
    send_all(producer, TestBlock(0, [0] * 50))
    consumer = opened(adapter.consumer(wiring, "inventory", 1))
    assert ids(taken(consumer, 50, most=20)) == list(range(50))
    assert pending(own, wiring) == 0
    assert adapter.effective()["consumer"]["noack"] is True
    assert adapter.redelivery_s() == 0


def test_more_partitions_than_a_poll_takes(own, opened):
    adapter, wiring = wired(own, Topology(1, (Group("inventory"),), 5))
    producer, consumer = opened(adapter.producer(wiring, 0, Ledger())), opened(adapter.consumer(wiring, "inventory", 0))
    send_all(producer, TestBlock(0, [i % 5 for i in range(40)]))
    batches = taken(consumer, 40, most=3)
    assert sorted(ids(batches)) == list(range(40))
    consumer.ack(batches[3], 1)  # all before, and one of this
    assert pending(own, wiring) == 40 - sum(batch.count for batch in batches[:3]) - 1
    consumer.ack(batches[1], 1)  # older than that: nothing
    consumer.ack(batches[-1], batches[-1].count)
    assert pending(own, wiring) == 0


def test_what_was_trimmed_before_it_was_processed_is_told(own, opened):
    adapter, wiring = wired(own, maxlen=5)
    producer = opened(adapter.producer(wiring, 0, Ledger()))
    send_all(producer, TestBlock(0, [0] * 10))
    gone = adapter.consumer(wiring, "inventory", 0)
    taken(gone, 10, most=10)
    gone.close()
    own.admin.xtrim(wiring["streams"][0], maxlen=4, approximate=False)
    back = opened(adapter.consumer(wiring, "inventory", 0))
    assert ids(taken(back, 4)) == [6, 7, 8, 9]
    assert sum("trimmed" in event.detail for event in back.events()) == 6


def test_what_the_server_refuses_is_failed_and_told_once(own, opened):
    adapter, wiring = wired(own)
    ledger = Ledger()
    producer = opened(adapter.producer(wiring, 0, ledger))
    own.admin.config_set("maxmemory", "1")
    producer.send(TestBlock(0, [0] * 10), 0, 10, 0.0)
    assert ledger.count(Status.FAILED) == 10
    (told,) = [event for event in producer.events() if event.kind == "error"]
    assert told.detail.startswith("10 messages refused: ")


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols_are_understood(own, opened, protocol):
    adapter, wiring = wired(own, protocol=protocol, min_idle_time=20)
    producer = opened(adapter.producer(wiring, 0, Ledger()))
    dead, other = adapter.consumer(wiring, "inventory", 0), opened(adapter.consumer(wiring, "inventory", 1))
    assert dead.poll(10, 0.0) is None
    send_all(producer, TestBlock(0, [0] * 3))
    taken(dead, 3)
    dead.close()
    (batch,) = taken(other, 3)
    assert batch.redelivered == [True] * 3
    assert batch.positions == sorted(set(batch.positions))


def test_a_group_that_was_not_wired_is_refused(own):
    adapter, wiring = wired(own)
    with pytest.raises(Refused, match="no group 'audit'"):
        adapter.consumer(wiring, "audit", 0)


def test_a_setting_out_of_range_is_named():
    with pytest.raises(BadSetting, match="min_idle_time = 1 is out of range"):
        RedisStreams(Options(settings={"min_idle_time": "1"}))
