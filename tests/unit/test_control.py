"""The control connection over real sockets: split lines, many at once, silence, end of file, a reset."""

import json
import socket
import struct
import threading
import time

import pytest

from bench.control import Channel, Closed


@pytest.fixture
def pair():
    """(a Channel, the raw other side) over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        raw = socket.create_connection(listener.getsockname())
        channel = Channel(listener.accept()[0])
    yield channel, raw
    channel.close()
    raw.close()


def line(**message):
    return json.dumps(message).encode() + b"\n"


def receive_all(channel, count, timeout_s=5.0):
    found = []
    deadline = time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < deadline:
        found += channel.receive(0.1)
    return found


def test_a_line_in_pieces_is_one_message(pair):
    channel, raw = pair
    text = line(do="prepare", name="Bücher 書")
    for i in range(len(text)):
        raw.sendall(text[i : i + 1])
        if i < len(text) - 1:
            assert channel.receive(0.01) == []
    assert receive_all(channel, 1) == [{"do": "prepare", "name": "Bücher 書"}]


def test_several_in_one_piece_and_the_beginning_of_the_next(pair):
    channel, raw = pair
    raw.sendall(line(n=1) + line(n=2) + b'{"n":')
    assert receive_all(channel, 2) == [{"n": 1}, {"n": 2}]
    raw.sendall(b"3}\n")
    assert receive_all(channel, 1) == [{"n": 3}]


def test_a_message_larger_than_any_buffer(pair):
    channel, raw = pair
    big = {"is": "report", "text": "x" * 5_000_000}
    sender = threading.Thread(target=Channel(raw).send, args=[big])
    sender.start()
    assert receive_all(channel, 1, 20.0) == [big]
    sender.join()


def test_nothing_is_waited_for_as_long_as_asked_and_no_longer(pair):
    channel, _ = pair
    began = time.monotonic()
    assert channel.receive() == []
    assert time.monotonic() - began < 0.5
    assert channel.receive(0.2) == []
    assert 0.19 < time.monotonic() - began < 5


def test_end_of_file_and_what_came_before_it(pair):
    channel, raw = pair
    raw.sendall(line(n=1) + b'{"n": 2')
    raw.close()
    assert receive_all(channel, 1) == [{"n": 1}]
    with pytest.raises(Closed, match="end of file"):
        channel.receive(1.0)


def test_a_reset_ends_reading_and_writing(pair):
    channel, raw = pair
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()
    with pytest.raises(Closed):
        channel.receive(1.0)
    with pytest.raises(Closed):
        channel.send({"n": 1})


def test_expect_keeps_what_was_not_asked_for_in_order(pair):
    channel, raw = pair
    raw.sendall(line(**{"is": "done", "n": 1}) + line(**{"is": "state", "n": 2}) + line(**{"is": "done", "n": 3}))
    assert channel.expect(("state", "failed"), 5.0)["n"] == 2
    assert [channel.expect(("done",), 5.0)["n"] for _ in range(2)] == [1, 3]
    assert channel.expect(("done",), 0.05) is None


def test_expect_without_waiting_looks_at_what_is_there(pair):
    channel, raw = pair
    raw.sendall(line(**{"is": "failed", "reason": "why"}))
    raw.close()
    time.sleep(0.05)
    assert channel.expect(("failed",), 0.0)["reason"] == "why"
    with pytest.raises(Closed):
        channel.expect(("failed",), 0.0)


def test_expect_says_that_the_other_side_has_gone(pair):
    channel, raw = pair
    raw.sendall(line(**{"is": "done"}))
    raw.close()
    with pytest.raises(Closed, match="end of file"):
        channel.expect(("state",), 5.0)
    assert channel.expect(("done",), 0.0) == {"is": "done"}
