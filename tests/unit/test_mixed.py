"""Messages of several sizes: what is made, what is sent and what is accounted are the same bytes; every damage is found."""

from __future__ import annotations

import itertools
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Batch
from bench import corpus, header, journal
from bench.account import FEW
from bench.errors import UsageError
from bench.journal import Kind, Writer
from bench.keys import Router
from bench.mixed import MixedBlock, MixedPool
from bench.mixed_account import MixedAccount
from bench.payload import Block, Pool
from bench.workload import Bodies

RUN, TRIAL = 77, 3
small = st.lists(st.one_of(st.integers(64, 400), st.integers(64, 2500), st.sampled_from([64, 65])), min_size=1, max_size=40)
tables = st.one_of(small, small, small.map(lambda sizes: [*sizes, 70_000]))  # one that is not copied: bench.mixed._COPIED_B


def bodies(sizes: list[int], *, ratio: float = 0.0, distribution: str = "choice") -> Bodies:
    mean = sum(sizes) / len(sizes)
    return Bodies(distribution, min(sizes), mean, max(sizes), () if distribution == "replay" else tuple(sizes), ratio)


def block(pool: MixedPool, *, first: int = 0, partitions: int = 1, **kwargs: object) -> MixedBlock:
    made = MixedBlock(pool, Router("round-robin", partitions), **{"run": RUN, "trial": TRIAL, "producer": 2} | kwargs)  # type: ignore[arg-type]
    made.fill(first, np.arange(made.count, dtype=np.int64) + 1_000_000)
    made.stamp(0, made.count, 2_000_000)
    return made


class Sink:
    def __init__(self, folder: Path, pool: MixedPool) -> None:
        self.writer = Writer(folder, "consumer", segment_b=1 << 20)
        self.folder = folder
        self.account = MixedAccount(run=RUN, trial=TRIAL, group=1, pool=pool, writer=self.writer)
        self.account.window(0, 0, 1 << 60)

    def take(self, payloads: list[bytes], *, as_buffer: bool) -> None:
        batch = Batch(payloads=payloads, count=len(payloads))
        if as_buffer:
            sizes = [len(payload) for payload in payloads]
            batch = Batch(buffer=memoryview(b"".join(payloads)), sizes=sizes, count=len(sizes))
        self.account.take(batch, 5_000_000)

    def processed(self) -> list[int]:
        records = journal.read(self.folder, "consumer")
        rows = [i for i, row in enumerate(records.rows) if row["kind"] == Kind.PROCESSED and row["trial"] == TRIAL and row["group"] == 1]
        return sorted(int(s) for i in rows for s in records.sequences(i))


# ---- what is made


@given(tables, st.integers(0, 1 << 50), st.booleans())
@settings(max_examples=60, deadline=None)
def test_messages_are_header_and_the_pools_body(sizes: list[int], first: int, replayed: bool) -> None:
    sizes = [min(size, 6000) for size in sizes] if replayed else sizes
    pool = MixedPool(1, bodies(sizes, distribution="replay" if replayed else "choice"))
    more = {"table": np.array(sizes), "origin": first} if replayed else {}
    made = block(pool, first=first, **more)
    assert made.sizes is not None
    messages = made.messages(3, 90)
    assert b"".join(messages) == bytes(made.raw(3, 90))
    for i, payload in enumerate(messages, 3):
        words = header.words_of(payload)
        assert header.holds(words)
        assert (words[3], words[6] & 0xFFFFFFFF, words[4]) == (first + i, len(payload), 1_000_000 + i)
        assert len(payload) == made.sizes[i] == sizes[(i if replayed else first + i) % len(sizes)]
        assert payload[64:] == pool.body(first + i, len(payload) - 64)
        assert words[6] >> 32 == zlib.crc32(payload[64:])


def test_restamping_keeps_the_check() -> None:
    made = block(MixedPool(1, bodies([64, 100, 300])))
    made.stamp_intended(0, 100, 9_999)
    made.stamp(0, 50, 10_001)
    assert all(header.holds(header.words_of(payload)) for payload in made.messages(0, 100))
    assert header.words_of(made.messages(10, 11)[0])[4:6] == (9_999, 10_001)


def test_a_table_and_a_pool_that_is_cut_belong_together() -> None:
    for pool, table in ((MixedPool(1, bodies([100])), np.array([80])), (MixedPool(1, bodies([100], distribution="replay")), None)):
        with pytest.raises(ValueError, match="belong together"):
            block(pool, table=table)


@given(st.integers(256, 100_000), st.sampled_from([1.5, 2.0, 4.0, 8.0]), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_bodies_compress_by_the_ratio(body_b: int, ratio: float, seed: int) -> None:
    for made in (Pool(seed, 64 + body_b, ratio).bodies[:12], MixedPool(seed, bodies([64 + body_b] * 12, ratio=ratio)).rows):
        packed = sum(len(zlib.compress(body, 1)) for body in made)
        assert 12 * body_b / packed == pytest.approx(ratio, rel=0.15)


@pytest.mark.parametrize("size", [100, 1024, 16_384])
def test_random_bodies_do_not_compress_even_in_a_batch(size: int) -> None:
    made = Block(Pool(1, size), Router("round-robin", 1), size, run=RUN, trial=TRIAL, producer=0)
    batch = b"".join(payload[64:] for payload in made.messages(0, min(made.count, 200)))
    assert len(zlib.compress(batch, 6)) > 0.99 * len(batch)


# ---- the account


@pytest.mark.parametrize("n", [1, FEW, FEW + 1, 400])
@pytest.mark.parametrize("as_buffer", [False, True])
def test_all_ways_account_the_same(tmp_path: Path, n: int, as_buffer: bool) -> None:
    pool = MixedPool(1, bodies([64, 300, 100, 5000, 64, 64, 70_000]))
    sink = Sink(tmp_path, pool)
    sink.take(list(block(pool).messages(0, n)), as_buffer=as_buffer)
    sink.account.settle()
    account = sink.account
    assert sink.processed() == list(range(n))
    assert (account.received, account.in_window, account.end_to_end.n, account.from_sent.n, account.corrupted) == (n, n, n, n, 0)
    assert dict(account.seconds) == {0: n}


@given(small, st.integers(0, 2000), st.booleans(), st.booleans())
@settings(max_examples=50, deadline=None)
def test_any_order_of_any_sizes_takes_the_vectorised_way(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], first: int, as_buffer: bool, replayed: bool
) -> None:
    pool = MixedPool(1, bodies(sizes, distribution="replay" if replayed else "choice"))
    sink = Sink(tmp_path_factory.mktemp("account"), pool)
    sink.account._odd = None  # type: ignore[assignment,method-assign]  # a call of it would fail
    payloads = list(block(pool, first=first, partitions=4, **({"table": np.array(sizes)} if replayed else {})).messages(0, 60))
    random.Random(first).shuffle(payloads)
    for lo in (0, 25):
        sink.take(payloads[lo : 60 if lo else 25], as_buffer=as_buffer)
    sink.account.settle()
    assert sink.processed() == list(range(first, first + 60))


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_every_damage_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A flipped bit, a cut or longer message, another's body, a swapped pair of lengths: corrupted, and nothing else is."""
    replayed = data.draw(st.booleans())
    pool = MixedPool(1, bodies(data.draw(small if replayed else tables), distribution="replay" if replayed else "choice"))
    sink = Sink(tmp_path_factory.mktemp("account"), pool)
    table = {"table": np.array([min(size, pool.largest_b) for size in data.draw(small)])} if pool.cut else {}
    good = list(block(pool, **table).messages(0, 40))
    damaged = data.draw(st.lists(st.integers(0, 39), max_size=3, unique=True))
    for at in damaged:
        payload = bytearray(good[at])
        how = data.draw(st.sampled_from(["flip", "short", "long", "empty"]))
        if how == "flip":
            bit = data.draw(st.integers(0, len(payload) * 8 - 1))
            payload[bit // 8] ^= 1 << bit % 8
        else:
            payload = {"short": payload[:-1], "long": payload + b"\0", "empty": bytearray(1)}[how]
        good[at] = bytes(payload)
    cut = data.draw(st.integers(1, 50))
    as_buffer = data.draw(st.booleans())
    for lo in range(0, 40, cut):
        sink.take(good[lo : lo + cut], as_buffer=as_buffer)
    sink.account.settle()
    assert sink.processed() == sorted(set(range(40)) - set(damaged))
    assert sink.account.corrupted == len(damaged)


def test_canaries_strangers_and_stragglers_are_told_apart(tmp_path: Path) -> None:
    pool = MixedPool(1, bodies([64, 90, 400]))
    sink = Sink(tmp_path, pool)
    canary = Block(Pool(1, 64), Router("round-robin", 1), 64, run=RUN, trial=0, producer=2, flags=header.CANARY)
    canary.fill(0, np.zeros(canary.count, dtype=np.int64))
    canary.stamp(0, 8, 1)
    mixed = itertools.chain(
        block(pool).messages(0, 30), canary.messages(0, 1), block(pool, trial=TRIAL - 1).messages(0, 4), block(pool, run=5).messages(0, 3)
    )
    sink.take(list(mixed), as_buffer=True)
    sink.account.settle()
    account = sink.account
    assert (account.received, account.late, account.foreign, account.corrupted, len(account.canaries)) == (30, 4, 3, 0, 1)


# ---- real ones


def test_a_file_and_a_folder_of_the_same_bodies_are_the_same_and_read_back(tmp_path: Path) -> None:
    lines = tmp_path / "orders.jsonl"
    lines.write_bytes(b'{"id":1}\n\n{"id":22}\r\n{"id":333}')
    folder = tmp_path / "orders"
    folder.mkdir()
    for name, body in (("b", b'{"id":22}'), ("a", b'{"id":1}'), ("c", b'{"id":333}'), (".hidden", b"x")):
        (folder / name).write_bytes(body)
    one, other = corpus.read(lines), corpus.read(folder)
    assert one == other
    assert one.bodies == (b'{"id":1}', b'{"id":22}', b'{"id":333}')
    run = tmp_path / "run"
    run.mkdir()
    for source in (lines, folder):
        assert corpus.read(corpus.keep(source, run), digest=one.digest) == one
    lines.write_bytes(b"other\n")
    with pytest.raises(UsageError, match="not the payloads that the scenario means"):
        corpus.read(lines, digest=one.digest)
    pool = MixedPool(1, Bodies("file", 72, 73.0, 74, file=str(folder), digest=one.digest))
    assert [payload[64:] for payload in block(pool, first=1).messages(0, 3)] == [b'{"id":22}', b'{"id":333}', b'{"id":1}']


def test_a_file_that_holds_nothing_or_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n\n")
    with pytest.raises(UsageError, match="no payload in it"):
        corpus.read(empty)
    with pytest.raises(UsageError, match="missing: cannot be read"):
        corpus.read(tmp_path / "missing")
    many = tmp_path / "many"
    many.write_text("x\n" * 200)
    monkeypatch.setattr(corpus, "BODIES_MAX", 100)
    with pytest.raises(UsageError, match="200 payloads; at most 100: take a sample"):
        corpus.read(many)
    monkeypatch.setattr(corpus, "BYTES_MAX", 100)
    with pytest.raises(UsageError, match="which every endpoint would hold"):
        corpus.read(many)
