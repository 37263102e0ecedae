"""NATS: what is lost, kept and given again, on real nats-servers. tests/contract has what all systems share."""

import contextlib
import itertools
import shutil
import subprocess
import time

import pytest
from adapter_parts import Ledger, Proxy, TestBlock, drain, id_of, prepared, send_all, wait_event

from adapters.base import Group, Options, Status, Topology
from adapters.capabilities import Persistence
from adapters.errors import BadSetting, Refused, Unreachable
from adapters.nats import Nats
from adapters.nats_jetstream import _numbers
from adapters.ports import free_ports
from bench.servers import start
from bench.servers.base import Request
from bench.servers.nats import wheel_binary
from bench.servers.probe import nats_info

pytestmark = pytest.mark.server
ONE = Topology(1, (Group("inventory"),))
TWO_MEMBERS = Topology(1, (Group("inventory", 2),))
MANY = 120.0  # seconds that a machine which is busy may take


def adapter_of(mode, **settings):
    return Nats(Options(mode=mode, settings={name: str(value) for name, value in settings.items()}))


@pytest.fixture
def wired(servers):
    """wired(mode, topology, **settings): an adapter with its wiring on the shared server, cleaned up at the end."""
    with contextlib.ExitStack() as stack:

        def make(mode, topology=ONE, **settings):
            bootstrap = list(servers("nats").bootstrap)
            return stack.enter_context(prepared(adapter_of(mode, **settings), topology, "run-1", bootstrap))

        yield make


@pytest.fixture
def own(tmp_path, session_guard, servers):
    """A server of this test's own, from the recipe: it may be killed and started again."""
    kind = servers("nats").kind
    server = start("nats", Request(kind, tmp_path, session_guard.run_id, session_guard))
    yield server
    server.stop()


@pytest.fixture
def by_hand(tmp_path, servers):
    """by_hand(text): the address of a nats-server with a configuration of its own."""
    servers("nats")
    processes = []

    def begin(text=""):
        (port,) = free_ports(1)
        settings = tmp_path / "nats.conf"
        settings.write_text(f'listen: "127.0.0.1:{port}"\n{text}\n')
        binary = str(wheel_binary() or shutil.which("nats-server"))
        processes.append(subprocess.Popen([binary, "-c", str(settings)], stderr=subprocess.DEVNULL, start_new_session=True))
        until_s = time.monotonic() + 20
        while time.monotonic() < until_s:
            with contextlib.suppress(OSError):
                nats_info("127.0.0.1", port)
                return f"127.0.0.1:{port}"
            time.sleep(0.02)
        raise AssertionError("nats-server does not come up")

    yield begin
    for process in processes:
        process.kill()
        process.wait()


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


def everything(consumer, wanted):
    """Poll and acknowledge until all of ``wanted`` came, some of it perhaps twice; the ids."""
    got = []
    until_s = time.monotonic() + MANY
    while not set(wanted) <= set(got):
        assert time.monotonic() < until_s, f"{len(set(wanted) & set(got))} of {len(wanted)} came"
        batch = consumer.poll(100, 0.02)
        if batch is not None:
            got += ids([batch])
            consumer.ack(batch, batch.count)
    return got


def nothing(consumer):
    assert [consumer.poll(100, 0.02) for _ in range(5)] == [None] * 5


# ---- core


def test_core_knows_no_past_and_confirms_nothing(wired, opened):
    adapter, wiring = wired("core")
    ledger = Ledger()
    producer = opened(adapter.producer(wiring, 0, ledger))
    send_all(producer, TestBlock(0, [0] * 20))
    late = opened(adapter.consumer(wiring, "inventory", 0))
    send_all(producer, TestBlock(20, [0] * 20))
    assert [id_of(payload) for payload in drain(late, 20)] == list(range(20, 40))
    assert not ledger.of
    assert adapter.depth(wiring, "inventory") is None


def test_a_busy_core_subscriber_loses_what_is_over_the_clients_limit_and_is_told(wired, opened):
    adapter, wiring = wired("core", pending_msgs_limit=10)
    producer, consumer = opened(adapter.producer(wiring, 0, Ledger())), opened(adapter.consumer(wiring, "inventory", 0))
    send_all(producer, TestBlock(0, [0] * 100))
    told = [wait_event([consumer], "error", lambda: consumer.idle(0.02), MANY)]
    got, until_s = [], time.monotonic() + MANY
    while (lost := sum(int(event.detail.split()[0]) for event in told)) + len(got) < 100:
        assert time.monotonic() < until_s, f"{lost} were dropped and {len(got)} came"
        batch = consumer.poll(100, 0.02)
        got += ids([batch]) if batch else []
        told += [event for event in consumer.events() if event.kind == "error"]
    assert {event.detail.partition(" x ")[2] for event in told} == {"dropped by nats-py: the limit of pending messages is reached"}
    assert 0 < len(got) == len(set(got)) == 100 - lost
    nothing(consumer)


def test_a_core_subscriber_reads_no_more_than_it_hands_out(wired, opened):
    """A flood stays in the kernel and the server; else the client's buffer would grow, and messages would be dropped in the end."""
    adapter, wiring = wired("core")
    producer, consumer = opened(adapter.producer(wiring, 0, Ledger())), opened(adapter.consumer(wiring, "inventory", 0))
    send_all(producer, TestBlock(0, [0] * 20_000), MANY)
    got = 0
    while got < 20_000:
        got += sum(batch.count for batch in taken(consumer, 1, most=10))
        (subscription,) = consumer._link.client._subs.values()
        assert subscription.pending_msgs + len(consumer._buffer) <= 2000, "what two reads of 64 KiB bring, some to spare"
    assert [event for event in consumer.events() if event.kind == "error"] == []


def test_a_core_subscriber_that_does_not_read_is_cut_off_by_the_server(by_hand, opened):
    """What waited for it is lost; the producer hears nothing of it."""
    adapter = adapter_of("core", reconnect_time_wait=0.05)
    wiring = {**adapter.wire(ONE, "run-1"), "servers": [by_hand("max_pending: 1MB")]}
    producer, consumer = opened(adapter.producer(wiring, 0, Ledger())), opened(adapter.consumer(wiring, "inventory", 0))
    send_all(producer, TestBlock(0, [0] * 300, size=128 << 10), MANY)  # 38 MB: more than the kernel's buffers and the limit
    got = []

    def turn():
        batch = consumer.poll(100, 0.02)
        got.extend(batch.payloads if batch else ())

    wait_event([consumer], "reconnected", turn, MANY)
    assert len(got) < 300
    send_all(producer, TestBlock(1000, [0] * 10))
    until_s = time.monotonic() + MANY
    while not got or id_of(got[-1]) < 1009:
        assert time.monotonic() < until_s
        turn()
    assert [event.kind for event in producer.events()] == ["ready"]


# ---- JetStream


@pytest.mark.parametrize("mode", ["jetstream-file", "jetstream-memory"])
def test_what_a_killed_server_still_has(own, opened, mode):
    adapter = adapter_of(mode, reconnect_time_wait=0.05, ack_wait=0.5)
    wiring = {**adapter.wire(ONE, "run-1"), "servers": list(own.bootstrap)}
    adapter.prepare(wiring)
    ledger = Ledger()
    producer, consumer = opened(adapter.producer(wiring, 0, ledger)), opened(adapter.consumer(wiring, "inventory", 0))
    send_all(producer, TestBlock(0, [0] * 2000))
    assert ledger.count(Status.CONFIRMED) == 2000
    own.kill("nats.1")
    wait_event([producer], "closed", lambda: producer.pump(0.02))
    assert producer.room() == 0
    own.restart("nats.1")
    wait_event([producer], "reconnected", lambda: (producer.pump(0.02), consumer.poll(1, 0) and None))
    if mode == "jetstream-memory":
        numbers = itertools.count(3000)

        def one_more():
            if producer.room():
                producer.send(TestBlock(next(numbers), [0]), 0, 1, 0.0)
            producer.pump(0.02)

        wait_event([producer], "error", one_more, MANY)
        assert Status.FAILED in ledger.of.values()  # nobody listens on its subject: provably not kept
        adapter.prepare(wiring)
        send_all(producer, TestBlock(90_000, [0] * 10))
        everything(consumer, range(90_000, 90_010))  # after what it had received of the stream that is gone
    else:
        assert adapter.depth(wiring, "inventory") == 2000
        consumer.close()
        everything(opened(adapter.consumer(wiring, "inventory", 0)), range(2000))
    assert not ledger.twice


def test_a_server_that_syncs_each_message_says_so_and_so_does_the_mode(tmp_path, session_guard, needs):
    needs("nats", "embedded")
    synced = {"sync_interval": "always"}
    server = start("nats", Request("embedded", tmp_path, session_guard.run_id, session_guard, options=synced))
    try:
        assert server.settings["jetstream.sync_always"] is True
    finally:
        server.stop()
    assert Nats(Options(server=synced)).mode.persistence is Persistence.FSYNC
    assert Nats(Options(mode="jetstream-memory", server=synced)).mode.persistence is Persistence.MEMORY
    assert Nats(Options(server={"sync_interval": "2m"})).mode.persistence is Persistence.PAGE_CACHE


def test_what_a_dead_member_held_goes_to_another_flagged_and_at_the_same_position(wired, opened):
    adapter, wiring = wired("jetstream-memory", TWO_MEMBERS, ack_wait=0.2)
    producer = opened(adapter.producer(wiring, 0, Ledger()))
    dead = adapter.consumer(wiring, "inventory", 0)
    send_all(producer, TestBlock(0, [0] * 30))
    first = []
    while len(set(ids(first))) < 30:  # some come again already on a machine that is busy
        first += taken(dead, 1, most=10)
    dead.ack(first[0], 4)
    dead._link.close()  # without giving back
    other = opened(adapter.consumer(wiring, "inventory", 1))
    rest = []
    while len(set(ids(rest))) < 26:
        rest += taken(other, 1)
    at = dict(zip(ids(first), [place for batch in first for place in batch.positions], strict=True))
    assert sorted(set(ids(rest))) == list(range(4, 30))
    assert all(all(batch.redelivered) for batch in rest)
    assert all(at[ident] == place for batch in rest for ident, place in zip(ids([batch]), batch.positions, strict=True))
    other.ack(rest[-1], rest[-1].count)
    until_s = time.monotonic() + MANY
    while adapter.depth(wiring, "inventory"):
        assert time.monotonic() < until_s
        batch = other.poll(100, 0.05)
        if batch is not None:  # what came again meanwhile
            other.ack(batch, batch.count)


def test_a_member_that_works_for_long_says_so(wired, opened):
    adapter, wiring = wired("jetstream-memory", ack_wait=0.2)
    producer, consumer = opened(adapter.producer(wiring, 0, Ledger())), opened(adapter.consumer(wiring, "inventory", 0))
    send_all(producer, TestBlock(0, [0] * 5))
    held = taken(consumer, 5, most=3)
    client, seen = consumer._link, []

    async def listen(message):
        seen.append((message.subject, message.data))

    client.run(client.client.subscribe(f"$JS.ACK.{wiring['name']}.>", cb=listen))
    until_s = time.monotonic() + MANY
    while len({subject for subject, _ in seen}) < 5:
        assert time.monotonic() < until_s
        consumer.idle(0.05)
    assert {word for _, word in seen} == {b"+WPI"}
    seen.clear()
    consumer.ack(held[-1], held[-1].count)
    while [word for _, word in seen].count(b"+ACK") < 5:
        assert time.monotonic() < until_s
        consumer.idle(0.02)
    assert adapter.depth(wiring, "inventory") == 0


def test_members_share_and_a_close_gives_back_at_once(wired, opened):
    adapter, wiring = wired("jetstream-memory", TWO_MEMBERS, ack_wait=3600, fetch_batch=1000)
    producer = opened(adapter.producer(wiring, 0, Ledger()))
    first, second = adapter.consumer(wiring, "inventory", 0), opened(adapter.consumer(wiring, "inventory", 1))
    send_all(producer, TestBlock(0, [0] * 100))
    held = taken(first, 10, most=10)
    first.ack(held[0], 3)
    first.events()
    first.close()  # with what it has fetched and nobody has polled
    first.ack(held[0], 3)  # done already
    assert first.events() == []
    first.ack(held[0], 4)
    assert [event.kind for event in first.events()] == ["ack-failed"]
    rest = taken(second, 97)
    assert sorted(ids(rest)) == sorted(set(range(100)) - set(ids(held)[:3]))


@pytest.mark.parametrize("mode", ["jetstream-file", "core"])
def test_a_connection_that_is_cut_is_told_and_comes_back(servers, opened, mode):
    proxy = Proxy(servers("nats").bootstrap[0])
    with prepared(adapter_of(mode, reconnect_time_wait=0.05), ONE, "run-1", [proxy.address]) as (adapter, wiring):
        ledger = Ledger()
        producer, consumer = opened(adapter.producer(wiring, 0, ledger)), opened(adapter.consumer(wiring, "inventory", 0))
        proxy.hold(True)
        assert producer.send(TestBlock(0, [0] * 50), 0, 50, 0.0) == 50
        producer.pump(0.05)
        assert not ledger.of
        proxy.refuse(True)
        proxy.cut()
        proxy.hold(False)
        wait_event([producer], "closed", lambda: producer.pump(0.02))
        wait_event([consumer], "closed", lambda: consumer.poll(10, 0.02))
        assert producer.room() == 0
        assert ledger.count(Status.INDETERMINATE) == (50 if mode == "jetstream-file" else 0)
        proxy.refuse(False)
        wait_event([producer], "reconnected", lambda: producer.pump(0.02))
        seen = []
        wait_event([consumer], "reconnected", lambda: seen.append(consumer.poll(10, 0.02)))
        send_all(producer, TestBlock(100, [0] * 20))
        everything(consumer, set(range(100, 120)) - set(ids([batch for batch in seen if batch])))
        assert not ledger.twice
        assert ledger.count(Status.CONFIRMED) == (20 if mode == "jetstream-file" else 0)
        for part in (producer, consumer):
            part.close()
    proxy.close()


def test_what_a_stream_refuses_is_failed_and_told_once(wired, opened):
    adapter, wiring = wired("jetstream-memory")
    ledger = Ledger()
    producer = opened(adapter.producer(wiring, 0, ledger))
    adapter.cleanup(wiring)
    send_all(producer, TestBlock(0, [0] * 10))
    assert ledger.count(Status.FAILED) == 10
    (told,) = [event for event in producer.events() if event.kind == "error"]
    assert told.detail == "10 x refused: no stream takes this subject"


# ---- what is refused


def test_a_server_without_jetstream_says_what_to_do(by_hand):
    address = by_hand()
    adapter = adapter_of("jetstream-file")
    with pytest.raises(Refused, match=r"JetStream does not: start the server with -js"):
        adapter.prepare({**adapter.wire(ONE, "run-1"), "servers": [address]})


def test_a_password_is_used_and_not_shown(by_hand):
    address = by_hand("authorization { user: me, password: secret }")
    without, right = adapter_of("core"), adapter_of("core", user="me", password="secret")
    with pytest.raises(Refused, match="Authorization Violation"):
        without.prepare({**without.wire(ONE, "run-1"), "servers": [address]})
    right.prepare({**right.wire(ONE, "run-1"), "servers": [address]})
    assert right.effective()["producer"]["password"] == "(set)"
    assert "secret" not in str(right.effective())


def test_addresses_groups_and_settings_that_are_none(wired):
    adapter, wiring = wired("core")
    with pytest.raises(Refused, match="no group 'audit'"):
        adapter.consumer(wiring, "audit", 0)
    with pytest.raises(BadSetting, match="server address 'here' is not host:port"):
        adapter.prepare({**wiring, "servers": ["here"]})
    with pytest.raises(BadSetting, match=r"ack_wait = 0\.0 is out of range"):
        adapter_of("jetstream-file", ack_wait=0)
    with pytest.raises(BadSetting, match="no setting 'ack_wait'"):
        adapter_of("core", ack_wait=1)
    closed = adapter.producer(wiring, 0, Ledger())
    closed.close()
    with pytest.raises(Unreachable, match="the connection is closed"):
        closed.send(TestBlock(0, [0]), 0, 1, 0.0)


def test_the_place_in_the_stream_is_read_from_both_forms_of_the_reply():
    assert _numbers("$JS.ACK.stream.group.2.17.5.1669000000000000000.3") == (2, 17)
    assert _numbers("$JS.ACK._.acchash.stream.group.1.18.6.1669000000000000000.3.token") == (1, 18)
