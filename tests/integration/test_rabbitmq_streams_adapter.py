"""What is RabbitMQ Streams' own: frames of a bounded size, offsets as acknowledgements, chunks that come whole, links that come back."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import AbstractContextManager, contextmanager

import pytest
from adapter_parts import Ledger, Proxy, TestBlock, drain, id_of, prepared, send_all, wait_event
from hypothesis import given
from hypothesis import strategies as st
from rstream import exceptions, schema

from adapters import rabbitmq_streams
from adapters.base import Group, Options, Status, Topology
from adapters.errors import BadSetting, Refused, Unreachable, Unsupported
from adapters.rabbitmq_streams_link import once, parts_of, shown

pytestmark = pytest.mark.timeout(180)  # a server that starts on a shared machine


@pytest.fixture
def streams(servers):
    return servers("rabbitmq_streams").bootstrap[0]


def wired(address, topology=None, **options) -> AbstractContextManager[tuple[rabbitmq_streams.RabbitStreams, dict]]:
    return prepared(rabbitmq_streams.ADAPTER(Options(**options)), topology or Topology(1, (Group("g"),)), "streams-test", [address])


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


def stored(adapter, wiring, partition=0, group="g"):
    """The offset that the server keeps for the group, asked by a connection of its own."""
    return once(wiring, adapter._settings, lambda client: client.query_offset(wiring["streams"][partition], group))


class OneMember(rabbitmq_streams.StreamConsumer):
    """The accounting of chunks and offsets without a connection: what would be stored goes to ``told``."""

    def __init__(self, partitions):
        self.told = {}
        self.granted = 0
        self._next = dict.fromkeys(range(partitions), 0)
        self._stored, self._inbox, self._held, self._handed = {}, deque(), deque(), 0
        self._closed, self._client, self._streams, self._group = False, self, list(range(partitions)), "g"

    def store_offset(self, stream, _group, offset):
        self.told[stream] = offset

    def credit(self, _partition, count):
        self.granted += count

    def _start(self, work):
        pass

    def _turn(self, timeout_s):
        pass

    def _until(self, done, timeout_s):
        return done()

    def _wake(self):
        pass


def chunk(partition, first, count):
    data = b"".join((12).to_bytes(4, "big") + bytes(8) + bytes((partition,)) + (first + i).to_bytes(3, "big") for i in range(count))
    frame = schema.Deliver.__new__(schema.Deliver)  # without its checksum
    frame.subscription_id, frame.chunk_first_offset, frame.num_entries, frame.data = partition, first, count, data
    return frame


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12), st.integers(0, 3)), max_size=20),
    st.lists(st.tuples(st.integers(1, 15), st.integers(0, 15), st.booleans()), max_size=40),
)
def test_offsets_follow_what_was_acknowledged(chunks, polls):
    """Against the plain model: each stream's messages in order, each once; what is stored is the last that is acknowledged."""
    member = OneMember(3)
    wanted = {partition: [] for partition in range(3)}
    for partition, count, overlap in chunks:
        first = max(0, len(wanted[partition]) - overlap)  # asked for from its middle, a chunk comes whole
        member._on_deliver(chunk(partition, first, count))
        wanted[partition] += range(len(wanted[partition]), first + count)
    came, acknowledged = [], 0
    for most, upto, ack in polls:
        before = len(came)
        batch = member.poll(most, 0)
        if batch is None:
            break
        assert batch.count == len(batch.payloads) <= most
        came += [(body[0], int.from_bytes(body[1:], "big")) for body in batch.payloads]
        assert [offset for _, offset in came[before:]] == list(batch.positions)
        if ack:
            acknowledged = max(acknowledged, before + min(upto, batch.count))
            member.ack(batch, min(upto, batch.count))
            assert member.told == dict(came[:acknowledged])
    for partition in range(3):
        offsets = [offset for where, offset in came if where == partition]
        assert offsets == wanted[partition][: len(offsets)]
    assert member.granted == len(chunks) - len(member._inbox), "as many chunks may come as were taken or brought nothing new"


def test_what_came_for_a_lost_connections_credit_is_no_credit_of_the_next():
    member = OneMember(1)
    for first in (0, 10, 20):
        member._on_deliver(chunk(0, first, 10))
    assert member.poll(15, 0).count == 15
    assert member.granted == 1
    member._reset()
    member._on_deliver(chunk(0, 30, 10))
    assert member.poll(15, 0).count == 15
    assert member.granted == 1
    assert member.poll(15, 0).count == 10
    assert member.granted == 2


@given(st.lists(st.integers(0, 4096 - 33), min_size=1, max_size=60))
def test_no_frame_is_larger_than_the_server_takes(sizes):
    producer = rabbitmq_streams.StreamProducer.__new__(rabbitmq_streams.StreamProducer)
    producer._frame_max = 4096
    messages = [schema.Message(number, None, bytes(8 + size)) for number, size in enumerate(sizes)]
    frames = producer._frames(0, messages)
    assert [message for frame in frames for message in frame.messages] == messages
    assert all(frame.messages for frame in frames)
    for frame in frames:
        assert 4 + 2 + 2 + 1 + 4 + sum(8 + 4 + len(message.data) for message in frame.messages) <= 4096


@pytest.mark.server
def test_small_frames_carry_large_batches(streams):
    with wired(streams, settings={"frame_max": "4096"}) as (adapter, wiring), opened(adapter, wiring, 0) as (producer, ledger, consumer):
        send_all(producer, TestBlock(0, [0] * 200, size=1000))
        assert ledger.count(Status.CONFIRMED) == 200
        assert list(map(id_of, drain(consumer, 200))) == list(range(200))
        with pytest.raises(Refused, match=r"no frame of 4096 bytes \(frame_max\) holds a message of 4064"):
            producer.send(TestBlock(200, [0], size=4064), 0, 1, 0)


@pytest.mark.server
def test_an_acknowledgement_stores_an_offset_of_each_stream(streams):
    topology = Topology(1, (Group("g"), Group("h")), partitions=2)
    with wired(streams, topology) as (adapter, wiring), opened(adapter, wiring, 0) as (producer, _, consumer):
        send_all(producer, TestBlock(0, [int(row > 50) for row in range(60)]))
        assert sorted(map(id_of, drain(consumer, 60))) == list(range(60))
        consumer.close()
        assert [stored(adapter, wiring, partition) for partition in (0, 1)] == [50, 8]
        with opened(adapter, wiring, 0, group="h") as (_, _, other):
            assert sorted(map(id_of, drain(other, 60))) == list(range(60)), "another group reads from the beginning"


@pytest.mark.server
def test_a_cut_connection_comes_back_with_events_and_reads_on(streams):
    proxy = Proxy(streams)
    try:
        with wired(streams) as (adapter, wiring):
            wiring["servers"] = [proxy.address]
            with opened(adapter, wiring, 0) as (producer, ledger, consumer):
                send_all(producer, TestBlock(0, [0] * 20))
                batches = [consumer.poll(5, 10.0) for _ in range(4)]
                assert [id_of(payload) for batch in batches for payload in batch.payloads][:4] == list(range(4))
                acknowledged = consumer._handed  # of what is polled until the link is seen to be closed nothing is
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
                consumer.ack(batches[-1], batches[-1].count)
                assert [event.kind for event in consumer.events()] == ["ack-failed"]
                handed = consumer._handed
                proxy.refuse(False)
                wait_event([producer], "reconnected", lambda: producer.pump(0.05))
                wait_event([consumer], "reconnected", lambda: consumer.idle(0.05))
                assert stored(adapter, {**wiring, "servers": [streams]}) == acknowledged - 1, "acknowledged meanwhile"
                send_all(producer, TestBlock(300, [0] * 5))
                got: list[int] = []
                while got[-1:] != [304]:
                    got += map(id_of, drain(consumer, 1))
                assert got == sorted(set(got)), "nothing that was handed out comes again"
                assert got[-5:] == list(range(300, 305))
                assert [ident for ident in got if ident < 100] == list(range(handed, 20))
        assert ledger.twice == []
    finally:
        proxy.close()


@pytest.mark.server
@pytest.mark.slow
def test_a_server_that_says_nothing_is_given_up(streams):
    proxy = Proxy(streams)
    try:
        with wired(streams, settings={"heartbeat": "1"}) as (adapter, wiring):
            wiring["servers"] = [proxy.address]
            with opened(adapter, wiring, 0) as (producer, ledger, consumer):
                for number in range(16):  # the producer's server only confirms all the time, the consumer's sends heartbeats only
                    producer.send(TestBlock(1000 + number, [0]), 0, 1, 0)
                    consumer.idle(0.2)
                    producer.pump(0.05)
                assert not producer.flush(10.0)
                assert [event for part in (producer, consumer) for event in part.events() if event.kind == "closed"] == []
                proxy.hold(True)
                assert producer.send(TestBlock(0, [0] * 3), 0, 3, 0) == 3
                wait_event([producer], "closed", lambda: producer.pump(0.05))
                assert ledger.count(Status.INDETERMINATE) == 3
                assert ledger.count(Status.CONFIRMED) == 16
                wait_event([consumer], "closed", lambda: consumer.poll(1, 0.05))
                proxy.hold(False)
                wait_event([consumer], "reconnected", lambda: consumer.poll(1, 0.05), timeout_s=30.0)
    finally:
        proxy.close()


@pytest.mark.server
def test_a_stream_that_goes_away_closes_the_link_until_it_is_back(streams):
    """As when its leader moves: the server says so on a connection that stays open, and forgets what was declared on it."""
    with wired(streams) as (adapter, wiring), opened(adapter, wiring, 0) as (producer, ledger, consumer):
        send_all(producer, TestBlock(0, [0] * 5))
        assert len(drain(consumer, 5)) == 5
        adapter.cleanup(wiring)
        for part, turn in ((producer, lambda: producer.pump(0.05)), (consumer, lambda: consumer.idle(0.05))):
            assert "moved" in wait_event([part], "closed", turn).detail
        assert producer.room() == 0
        adapter.prepare(wiring)
        wait_event([producer], "reconnected", lambda: producer.pump(0.05))
        send_all(producer, TestBlock(10, [0] * 5))
        assert ledger.count(Status.CONFIRMED) == 10
        assert ledger.twice == []


@pytest.mark.server
def test_nothing_turns_in_the_background(streams):
    """No thread, and no loop that runs while nobody waits: the harness counts on it."""
    with wired(streams) as (adapter, wiring), opened(adapter, wiring, 0) as (producer, _, consumer):
        send_all(producer, TestBlock(0, [0] * 5))
        time.sleep(0.3)
        assert consumer._inbox == deque()
        assert not consumer._loop.is_running()
        assert len(drain(consumer, 5)) == 5
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()


@pytest.mark.server
def test_before_prepare_the_missing_stream_is_named(streams):
    adapter = rabbitmq_streams.ADAPTER(Options())
    wiring = {**adapter.wire(Topology(1, (Group("g"),)), "never"), "servers": [streams]}
    for part in (lambda: adapter.producer(wiring, 0, Ledger()), lambda: adapter.consumer(wiring, "g", 0)):
        with pytest.raises(Refused, match="StreamDoesNotExist"):
            part()
    with pytest.raises(Refused, match="no group 'h'"):
        adapter.consumer(wiring, "h", 0)


@pytest.mark.server
def test_whole_urls_work_and_their_passwords_stay_out_of_errors(streams):
    with wired(f"rabbitmq-stream://guest:guest@{streams}/%2F") as (adapter, wiring):
        wrong = {**wiring, "servers": [f"rabbitmq-stream://guest:s3cret@{streams}/%2F"]}
        with pytest.raises(Refused, match="refuses this user") as refused:
            adapter.producer(wrong, 0, Ledger())
        assert "s3cret" not in str(refused.value)


def test_addresses():
    assert parts_of("127.0.0.1:77") == ("127.0.0.1", 77, "guest", "guest", "/")
    assert parts_of("rabbitmq-stream://a:b%40c@host/%2Fv") == ("host", 5552, "a", "b@c", "/v")
    assert shown(["rabbitmq-stream://a:b@host:1/v", "h:2"]) == "host:1/v, h:2"
    with pytest.raises(BadSetting, match="RabbitMQ stream server 'h:x'"):
        parts_of("h:x")


def test_a_stream_that_gets_no_leader_is_named(monkeypatch):
    class Leaderless:
        asked = 0

        async def query_leader_and_replicas(self, _stream):
            self.asked += 1
            raise exceptions.LeaderNotAvailable

    monkeypatch.setattr(rabbitmq_streams, "ELECTED_S", 0.06)
    client = Leaderless()
    with pytest.raises(Unreachable, match=r"stream s\.0 has no leader after 0\.06 s"):
        asyncio.run(rabbitmq_streams._led(client, "s.0"))
    assert client.asked > 1


class Recovering:
    """A server whose coordinator of streams answers at the ``ready``-th try, with ``then``."""

    def __init__(self, ready, then=None):
        self.asked, self.ready, self.then = 0, ready, then

    async def create_stream(self, _stream, _arguments):
        self.asked += 1
        if self.asked < self.ready:
            raise exceptions.InternalError
        if self.then is not None:
            raise self.then


@pytest.mark.parametrize("then", [None, exceptions.StreamAlreadyExists()])
def test_a_stream_is_made_when_the_servers_coordinator_is_back(then):
    """A server that was killed and started again answers InternalError for a while: the trial ended with it."""
    client = Recovering(3, then)
    asyncio.run(rabbitmq_streams._created(client, "s.0", {}))
    assert client.asked == 3


def test_an_internal_error_that_stays_is_told(monkeypatch):
    monkeypatch.setattr(rabbitmq_streams, "ELECTED_S", 0.06)
    with pytest.raises(exceptions.InternalError):
        asyncio.run(rabbitmq_streams._created(Recovering(1000), "s.0", {}))


def test_more_members_than_partitions():
    with pytest.raises(Unsupported, match="3 members need as many partitions, not 2"):
        rabbitmq_streams.ADAPTER(Options()).wire(Topology(1, (Group("g", 3),), partitions=2), "r")


def test_a_majority_of_the_copies_confirms():
    make = rabbitmq_streams.ADAPTER
    assert make(Options()).mode.copies == 1
    assert make(Options(server={"nodes": "3"})).mode.copies == 2
    assert make(Options(server={"nodes": "3"}, settings={"initial-cluster-size": "1"})).mode.copies == 1
    assert make(Options(settings={"initial-cluster-size": "3"})).mode.copies == 2, "of a server of which nothing is known"
    with pytest.raises(BadSetting, match=r"initial-cluster-size = 3 is more than the server's nodes \(1\)"):
        make(Options(server={"nodes": "1"}, settings={"initial-cluster-size": "3"}))
