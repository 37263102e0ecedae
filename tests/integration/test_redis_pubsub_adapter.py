"""Redis Pub/Sub: what is special about it, on a real redis-server. tests/contract has what all systems share."""

import signal
import socket
import time

import pytest
import redis
from adapter_parts import Ledger, TestBlock, drain, id_of, send_all, wait_event
from redis_own import started
from relay import Relay

from adapters.base import Group, Options, Status, Topology
from adapters.errors import BadSetting, Refused, Unreachable, Unsupported
from adapters.redis_pubsub import RedisPubSub
from adapters.redis_raw import Receivers

pytestmark = pytest.mark.server
PROFILES = ("defaults", "tuned")
TWO = Topology(1, (Group("inventory"), Group("payment")))
ONE = Topology(1, (Group("inventory"),))


@pytest.fixture
def own(tmp_path, servers):
    server = started(tmp_path, servers, "redis_pubsub")
    yield server
    server.kill()


def wired(adapter, topology, address, run_id="run-1"):
    return adapter.prepare({**adapter.wire(topology, run_id), "servers": [address]})


@pytest.mark.parametrize("profile", PROFILES)
def test_receivers_decide_what_a_publish_came_to(own, opened, profile):
    adapter = RedisPubSub(Options(profile=profile))
    wiring = wired(adapter, TWO, own.address)
    ledger = Ledger()
    producer = opened(adapter.producer(wiring, 0, ledger))
    producer.events()

    send_all(producer, TestBlock(0, [0] * 10))
    assert [ledger.of[i] for i in range(10)] == [Status.FAILED] * 10  # nobody: provably not kept
    opened(adapter.consumer(wiring, "inventory", 0))
    send_all(producer, TestBlock(10, [0] * 10))
    assert [ledger.of[i] for i in range(10, 20)] == [Status.INDETERMINATE] * 10  # one of two: Redis does not say which
    opened(adapter.consumer(wiring, "payment", 0))
    send_all(producer, TestBlock(20, [0] * 10))
    assert [ledger.of[i] for i in range(20, 30)] == [Status.CONFIRMED] * 10

    assert {(event.kind, event.detail) for event in producer.events()} == {
        ("error", "10 messages reached 0 of 2 subscribers"),
        ("error", "10 messages reached 1 of 2 subscribers"),
    }
    assert producer.events() == []
    assert not ledger.twice


def test_outcomes_are_reported_in_runs():
    seen = []

    class Seen(Ledger):
        def run(self, first_id, count, status, group=-1, step=1):
            seen.append((first_id, count, status))

    receivers = Receivers(2, Seen())
    receivers.report(100, [2, 2, 3, 1, 0, 0, redis.ResponseError("OOM command not allowed"), 2])
    assert seen == [
        (100, 3, Status.CONFIRMED),
        (103, 1, Status.INDETERMINATE),
        (104, 3, Status.FAILED),
        (107, 1, Status.CONFIRMED),
    ]
    assert [event.detail for event in receivers.events()][-1] == "1 messages refused: OOM command not allowed"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_subscriber_that_was_cut_says_so_and_goes_on(own, opened, profile):
    """Redis cuts a subscriber whose output buffer is over the limit."""
    own.admin.config_set("client-output-buffer-limit", "pubsub 262144 0 0")
    adapter = RedisPubSub(Options(profile=profile))
    wiring = wired(adapter, ONE, own.address)
    ledger = Ledger()
    producer, consumer = opened(adapter.producer(wiring, 0, ledger)), opened(adapter.consumer(wiring, "inventory", 0))
    assert [event.kind for event in consumer.events()] == ["ready"]
    # More than the socket buffers of both sides and the limit can hold, while nobody reads.
    block = TestBlock(0, [0] * 400, size=65536)
    send_all(producer, block)
    got = []

    def turn():
        batch = consumer.poll(100, 0.05)
        got.extend(batch.payloads if batch else ())

    assert wait_event([consumer], "closed", turn).detail
    wait_event([consumer], "reconnected", turn)
    assert 0 < len(got) < 400  # what was in flight is read, the rest is lost
    assert sorted(ledger.of) == list(range(400))
    assert ledger.count(Status.FAILED) > 0  # published after the cut: to nobody
    assert ledger.count(Status.CONFIRMED) >= len(got)  # what sat in the cut buffer was counted as received: that is the promise

    send_all(producer, TestBlock(1000, [0] * 20))
    assert [id_of(payload) for payload in drain(consumer, 20)] == list(range(1000, 1020))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_publisher_that_was_cut_publishes_nothing_twice(own, opened, profile):
    adapter = RedisPubSub(Options(profile=profile))
    wiring = wired(adapter, ONE, own.address)
    ledger = Ledger()
    producer, consumer = opened(adapter.producer(wiring, 0, ledger)), opened(adapter.consumer(wiring, "inventory", 0))
    producer.events()
    send_all(producer, TestBlock(0, [0] * 20))
    own.admin.client_kill_filter(_type="normal", skipme=True)
    events = []

    def turn():
        events.extend(producer.events())
        if len(ledger.of) == 20:
            producer.send(TestBlock(20, [0] * 20), 0, 20, 0.0)
        producer.pump(0.01)

    deadline = time.monotonic() + 20
    while len(ledger.of) < 40 and time.monotonic() < deadline:
        turn()
    events += producer.events()
    wait = time.monotonic() + 20
    while not any(event.kind == "reconnected" for event in events) and time.monotonic() < wait:
        producer.pump(0.01)
        events += producer.events()
    assert any(event.kind == "reconnected" for event in events), events
    assert len(ledger.of) == 40
    assert not ledger.twice
    send_all(producer, TestBlock(40, [0] * 20))
    confirmed = [ident for ident, status in ledger.of.items() if status is Status.CONFIRMED]
    ids = [id_of(payload) for payload in drain(consumer, len(confirmed))]
    assert ids == sorted(set(ids))
    assert set(confirmed) <= set(ids)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_server_killed_mid_send_leaves_indeterminates(own, opened, profile):
    adapter = RedisPubSub(Options(profile=profile, settings={"socket_timeout": "0.5"}))
    wiring = wired(adapter, ONE, own.address)
    ledger = Ledger()
    producer, consumer = opened(adapter.producer(wiring, 0, ledger)), opened(adapter.consumer(wiring, "inventory", 0))
    consumer.events()
    send_all(producer, TestBlock(0, [0] * 10))
    assert len(drain(consumer, 10)) == 10

    own.process.send_signal(signal.SIGSTOP)
    before = time.monotonic()
    assert producer.send(TestBlock(10, [0] * 10), 0, 10, 0.0) == 10
    assert time.monotonic() - before < 3
    own.kill()
    wait_event([producer], "closed", lambda: producer.pump(0.02))
    wait_event([consumer], "closed", lambda: consumer.poll(10, 0.02))
    assert [ledger.of[i] for i in range(10, 20)] == [Status.INDETERMINATE] * 10
    assert producer.room() == 0  # known to be away: nothing more is attempted
    assert producer.send(TestBlock(20, [0] * 10), 0, 10, 0.0) == 0
    assert producer.flush(0.1) == 0

    own.start()
    wait_event([producer], "reconnected", lambda: producer.pump(0.02))
    wait_event([consumer], "reconnected", lambda: consumer.poll(10, 0.02))
    send_all(producer, TestBlock(30, [0] * 10))
    assert [id_of(payload) for payload in drain(consumer, 10)] == list(range(30, 40))
    assert not ledger.twice


@pytest.mark.parametrize("profile", PROFILES)
def test_a_message_in_two_parts_is_not_lost(servers, opened, profile):
    """redis-py's default retry takes half a message for a lost connection, reconnects, and loses it."""
    relay = Relay(servers("redis_pubsub").bootstrap[0])
    adapter = RedisPubSub(Options(profile=profile))
    direct = wired(adapter, ONE, servers("redis_pubsub").bootstrap[0], f"halves-{profile}")
    producer = opened(adapter.producer(direct, 0, Ledger()))
    consumer = opened(adapter.consumer({**direct, "servers": [relay.address]}, "inventory", 0))
    consumer.events()
    try:
        relay.allow(1000)
        send_all(producer, TestBlock(0, [0] * 3, size=600))
        got = []
        for _ in range(5):
            batch = consumer.poll(10, 0.05)
            got += batch.payloads if batch else ()
        assert [id_of(payload) for payload in got] == [0]
        relay.allow(None)
        got += drain(consumer, 2)
        assert [id_of(payload) for payload in got] == [0, 1, 2]
        assert all(len(payload) == 600 for payload in got)
        assert consumer.events() == []
    finally:
        relay.refuse()


def test_members_cannot_share():
    adapter = RedisPubSub(Options())
    with pytest.raises(Unsupported, match="hands every subscriber every message"):
        adapter.wire(Topology(1, (Group("inventory", 2),)), "run-1")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_password_is_used_and_not_shown(own, opened, profile):
    own.admin.config_set("requirepass", "secret-word")
    right = RedisPubSub(Options(profile=profile, settings={"password": "secret-word"}))
    wiring = wired(right, ONE, own.address)
    opened(right.producer(wiring, 0, Ledger()))
    consumer = opened(right.consumer(wiring, "inventory", 0))
    assert [event.kind for event in consumer.events()] == ["ready"]
    assert "secret-word" not in str(right.effective())

    wrong = RedisPubSub(Options(profile=profile, settings={"password": "another"}))
    with pytest.raises(Refused):
        wrong.prepare(wiring)
    with pytest.raises(Refused):
        wrong.producer(wiring, 0, Ledger())
    with pytest.raises(Refused):
        wrong.consumer(wiring, "inventory", 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"socket_timeot": "1"}, "did you mean 'socket_timeout'"),
        ({"socket_timeout": "soon"}, "is not a number"),
        ({"socket_timeout": "0"}, "out of range"),
        ({"socket_keepalive": "maybe"}, "true or false"),
        ({"protocol": "4"}, "out of range"),
        ({"window": "10"}, "no setting 'window'"),  # of tuned only
    ],
)
def test_settings_that_are_wrong_are_named(settings, message):
    with pytest.raises(BadSetting, match=message):
        RedisPubSub(Options(settings=settings))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_server_that_never_answers_is_unreachable_in_time(profile):
    """A listener that accepts and says nothing is worse than a closed port."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        adapter = RedisPubSub(Options(profile=profile, settings={"socket_timeout": "0.5"}))
        before = time.monotonic()
        with pytest.raises(Unreachable, match=address):
            wired(adapter, ONE, address)
        with pytest.raises(Unreachable, match=address):
            adapter.consumer({**adapter.wire(ONE, "run-1"), "servers": [address]}, "inventory", 0)
        assert time.monotonic() - before < 10
