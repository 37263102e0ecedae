"""Frames of the TCP floor: rows of one size and of several come out as they went in, however the bytes are cut on their way."""

import socket
import struct
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import tcp
from adapters.tcp import FRAME, Inlet, TcpConsumer

sizes_of = st.lists(st.one_of(st.integers(1, 200), st.sampled_from([1, 70_000])), min_size=1, max_size=30)
blocks = st.lists(st.tuples(st.booleans(), sizes_of), min_size=1, max_size=4)  # (of several sizes, sizes)


def block_of(sizes, *, mixed):
    sizes = sizes if mixed else [sizes[0]] * len(sizes)
    rows = [bytes([i % 251]) * size for i, size in enumerate(sizes)]
    return SimpleNamespace(size=max(sizes), sizes=sizes if mixed else None, rows=rows, raw=lambda lo, hi: b"".join(rows[lo:hi]))


def frames_of(block):
    lo, text = 0, b""
    while lo < len(block.rows):
        for end in tcp._ends(block, lo, len(block.rows)):
            text += tcp._front(block, lo, end) + block.raw(lo, end)
            lo = end
    return text


def rows_of(batch):
    sizes = batch.sizes or [batch.size] * batch.count
    assert len(sizes) == batch.count
    at, rows = 0, []
    for size in sizes:
        rows.append(bytes(batch.buffer[at : at + size]))
        at += size
    assert at == len(batch.buffer)
    return rows


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    yield near, Inlet(far)
    near.close()
    far.close()


@given(blocks, st.lists(st.integers(1, 90_000), min_size=1, max_size=20), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_rows_come_out_as_they_went_in(sent, cuts, most):
    near, far = socket.socketpair()
    with near, far:
        inlet = Inlet(far)
        made = [block_of(sizes, mixed=mixed) for mixed, sizes in sent]
        text = b"".join(map(frames_of, made))
        got, at, turn = [], 0, 0
        while at < len(text):
            step = cuts[turn % len(cuts)] if turn < 200 else 90_000
            near.sendall(text[at : at + step])
            at, turn = at + step, turn + 1
            inlet.receive()
            while (batch := TcpConsumer._rows_of(inlet, most)) is not None:
                assert batch.count <= most
                got += rows_of(batch)
        while len(got) < sum(len(block.rows) for block in made):
            inlet.receive()
            while (batch := TcpConsumer._rows_of(inlet, most)) is not None:
                got += rows_of(batch)
        assert got == [row for block in made for row in block.rows]
        assert not inlet.broken


@pytest.mark.parametrize(
    "front", [FRAME.pack(0, tcp.ROWS_MOST + 1), FRAME.pack(100, 0), FRAME.pack(0, 0), FRAME.pack(0, 2) + struct.pack("<2I", 5, 0)]
)
def test_what_is_no_frame_ends_the_connection(pair, front):
    near, inlet = pair
    near.sendall(front)
    inlet.receive()
    assert inlet.rows() == 0
    assert inlet.ended
    assert inlet.broken.startswith("no frame of ours")
