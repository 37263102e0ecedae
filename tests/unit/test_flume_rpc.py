"""Flume's Thrift service over sockets, without an agent: what goes in comes out, in whatever pieces; who sends nonsense is named."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thriftpy2.protocol.binary import TBinaryProtocol
from thriftpy2.thrift import TMessageType
from thriftpy2.transport import TMemoryBuffer

from adapters import flume_rpc as rpc
from adapters.flume import FlumeConsumer, FlumeProducer
from bench.servers.probe import flume_append


class Pieces:
    """A socket that takes and gives a few bytes at a time."""

    def __init__(self, sizes):
        self.sizes = sizes
        self.turns = {"send": 0, "recv": 0}  # apart: else one of them could get all the zeros
        self.waiting = bytearray()

    def setblocking(self, blocking):
        assert not blocking

    def setsockopt(self, *option):
        pass

    def _next(self, what):
        self.turns[what] += 1
        size = self.sizes[self.turns[what] % len(self.sizes)]
        if not size:
            raise BlockingIOError
        return size

    def send(self, data):
        took = bytes(data[: self._next("send")])
        self.waiting += took
        return len(took)

    def recv(self, most):
        given = bytes(self.waiting[: min(most, self._next("recv"))])
        if not given:
            raise BlockingIOError
        del self.waiting[: len(given)]
        return given


def arrived(line):
    while not line.whole():
        line.push()
        line.receive()


@given(
    st.lists(st.lists(st.binary(max_size=300), max_size=9), min_size=1, max_size=4),
    st.lists(st.integers(0, 90), min_size=1, max_size=9).filter(any),
)
def test_calls_and_answers_arrive_whole_in_any_pieces(batches, sizes):
    line = rpc.Line(Pieces(sizes))  # what it sends comes back to it
    for i, rows in enumerate(batches):
        rpc.send_batch(line, rows)
        arrived(line)
        call = rpc.read_call(line)
        assert (call.name, call.bodies) == ("appendBatch", rows)
        rpc.reply(line, call, i % 4)
        arrived(line)
        assert rpc.read_status(line) == i % 4


def answered(data):
    line = rpc.Line(Pieces([1 << 20]))
    line._socket.waiting += data
    arrived(line)
    return line


def framed(data):
    return len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0....", b"\xff" * 40])
def test_what_is_no_frame_is_named(data):
    with pytest.raises(rpc.Gone, match="no Thrift frame"):
        answered(data)


@pytest.mark.parametrize("read", [rpc.read_call, rpc.read_status])
@pytest.mark.parametrize("data", [b"x", b"\x80\1\0\1\0\0\0\3abc\0\0\0\0\0", b"\x80\1\0\2\0\0\0\x0bappendBatch\0\0\0\0\0", bytes(40)])
def test_what_is_no_call_of_this_service_is_named(data, read):
    with pytest.raises(rpc.Gone, match="no message of Flume's"):
        read(answered(framed(data)))


def test_a_refusal_is_quoted():
    buffer = TMemoryBuffer()
    protocol = TBinaryProtocol(buffer)
    protocol.write_message_begin("appendBatch", TMessageType.EXCEPTION, 0)
    rpc.TApplicationException(rpc.TApplicationException.INTERNAL_ERROR, "no room in the inn").write(protocol)
    with pytest.raises(rpc.Gone, match="no room in the inn"):
        rpc.read_status(answered(framed(buffer.getvalue())))


# ---- the consumer, with this test as its sink


@pytest.fixture
def consumer():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = FlumeConsumer("127.0.0.1", port)
    made.port = port
    yield made
    made.close()


def sink(consumer):
    return rpc.Line(socket.create_connection(("127.0.0.1", consumer.port), timeout=5))


def polled(consumer, most=100):
    for _ in range(200):
        batch = consumer.poll(most, 0.02)
        if batch is not None:
            return batch
    raise AssertionError("nothing came")


def has_answer(line):
    line.receive()
    return line.whole()


def test_a_call_is_answered_when_all_of_it_is_acknowledged(consumer):
    line = sink(consumer)
    rpc.send_batch(line, [b"a", b"b", b"c"])
    first, second = polled(consumer, 2), polled(consumer, 2)
    assert (first.payloads, second.payloads) == ([b"a", b"b"], [b"c"])
    assert consumer.poll(2, 0.02) is None
    for batch, upto in ((first, 1), (first, 2), (second, 0)):
        consumer.ack(batch, upto)
        assert not has_answer(line)
    consumer.ack(second, 1)  # and with it all before
    for _ in range(100):
        if has_answer(line):
            break
        consumer.poll(1, 0.02)
    assert rpc.read_status(line) == rpc.OK
    assert [event.kind for event in consumer.events()] == ["ready", "assigned"]


def test_an_acknowledgement_covers_what_was_polled_before(consumer):
    lines = [sink(consumer), sink(consumer)]
    for i, line in enumerate(lines):
        rpc.send_batch(line, [b"%d" % i])
    batches = [polled(consumer), polled(consumer)]
    assert sorted(batch.payloads for batch in batches) == [[b"0"], [b"1"]]
    consumer.ack(batches[1], 1)
    assert all(has_answer(line) and rpc.read_status(line) == rpc.OK for line in lines)


def test_a_call_of_nothing_is_answered_at_once(consumer):
    line = sink(consumer)
    rpc.send_batch(line, [])
    for _ in range(100):
        assert consumer.poll(1, 0.02) is None
        if has_answer(line):
            break
    assert rpc.read_status(line) == rpc.OK


def test_the_stock_probe_is_answered_too(consumer):
    """bench.servers.probe writes and reads the bytes by hand: both must mean the same by them."""
    import threading

    said = []
    caller = threading.Thread(target=lambda: said.append(flume_append("127.0.0.1", consumer.port, [b"\0" * 5, b""])))
    caller.start()
    batch = polled(consumer)
    consumer.ack(batch, 2)
    caller.join(5)
    assert batch.payloads == [b"\0" * 5, b""]
    assert said == [True]


def test_what_a_sink_gave_up_is_told_and_not_handed_over(consumer):
    line = sink(consumer)
    rpc.send_batch(line, [b"a", b"b", b"c"])
    batch = polled(consumer, 1)
    line.close()
    for _ in range(100):
        told = [event for event in consumer.events() if event.kind == "closed"]
        if told:
            break
        consumer._serve(0.02)
    assert "3 messages without an answer come again" in told[0].detail
    assert consumer.poll(10, 0.02) is None
    consumer.ack(batch, 1)
    assert [event.kind for event in consumer.events()] == ["ack-failed"]


def test_a_stranger_disturbs_nobody(consumer):
    with socket.create_connection(("127.0.0.1", consumer.port), timeout=5) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        line = sink(consumer)
        rpc.send_batch(line, [b"a"])
        assert polled(consumer).payloads == [b"a"]


# ---- the producer, with this test as its agent


class Rows:
    def __init__(self, *rows, sizes=None, size=0):
        self.first_id = 1000
        self.rows = rows
        self.sizes = sizes
        self.size = size or max(map(len, rows))

    def messages(self, lo, hi):
        return self.rows[lo:hi]


class Told:
    def __init__(self):
        self.said = []

    def run(self, *what):
        self.said.append(what)


def test_failed_is_sent_again_and_anything_else_is_unknown():
    with socket.create_server(("127.0.0.1", 0)) as agent:
        told = Told()
        producer = FlumeProducer(f"127.0.0.1:{agent.getsockname()[1]}", told, 2, 3)
        line = rpc.Line(agent.accept()[0])
        block = Rows(b"a", b"b", b"c", b"d")
        assert (producer.room(), producer.send(block, 0, 4, 0)) == (2, 2)
        assert (producer.room(), producer.send(block, 2, 4, 0)) == (0, 0)
        for status in (rpc.FAILED, rpc.FAILED, rpc.OK):
            arrived(line)
            call = rpc.read_call(line)
            assert call.bodies == [b"a", b"b"]
            rpc.reply(line, call, status)
            producer.pump(1.0)
        assert told.said == [(1000, 2, 1)]
        assert [event.kind for event in producer.events()] == ["ready", "error", "error"]
        assert producer.send(block, 2, 4, 0) == 2
        arrived(line)
        rpc.reply(line, rpc.read_call(line), 2)
        assert producer.flush(5.0) == 0
        assert told.said[1:] == [(1002, 2, 3)]
        assert "ERROR" in producer.events()[-1].detail
        assert producer.send(block, 0, 1, 0) == 1
        line.close()
        assert producer.flush(5.0) == 0
        assert told.said[2:] == [(1000, 1, 3)]
        assert [event.kind for event in producer.events()] == ["closed"]
        producer.close()


def test_a_call_holds_what_a_frame_can():
    fitting = FlumeProducer._fitting
    assert fitting(Rows(b"x" * 10), 0, 1) == 1
    block = Rows(b"x", size=7_000_000)
    assert fitting(block, 0, 5) == 2
    mixed = Rows(b"x", size=16_000_000, sizes=[9_000_000, 7_000_000, 1, 16_000_000, 5])
    assert [fitting(mixed, lo, 5) for lo in range(5)] == [2, 2, 1, 1, 1]


@pytest.mark.parametrize("size", [8, 240, 16_000_000])
def test_no_frame_is_larger_than_the_source_takes(size):
    """Whatever transactionCapacity allows: small messages have a frame of more than their bodies."""
    with socket.create_server(("127.0.0.1", 0)) as agent:
        producer = FlumeProducer(f"127.0.0.1:{agent.getsockname()[1]}", Told(), 65_536, 3)
        assert producer.send(Rows(*[b"x" * size] * (1 if size > 240 else 65_536)), 0, 65_536, 0) > 0
        assert len(producer._line.frame) - rpc.LENGTH_BYTES <= 16_384_000
        producer.close()
