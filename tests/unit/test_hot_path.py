"""Header, keys, pacing, payloads, outcomes and the consumer's account: exact, whatever the sizes, orders and damages."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adapters.base import Batch, Status
from bench import header, journal
from bench.account import FEW, SLICES, Account
from bench.histogram import GATHERED, Gathered, Histogram, add_packed
from bench.journal import Kind, Writer
from bench.keys import PERIOD, Router, murmur2
from bench.outcomes import Ledger, Outcomes
from bench.pacing import Constant
from bench.payload import Block, Pool

RUN, TRIAL = 77, 3


def block(
    size: int = 100,
    *,
    trial: int = TRIAL,
    first: int = 0,
    flags: int = 0,
    routing: str = "round-robin",
    partitions: int = 4,
    run: int = RUN,
) -> Block:
    made = Block(
        Pool(1, size), Router(routing, partitions, count=50, zipf=1.1, seed=1), size, run=run, trial=trial, producer=2, flags=flags
    )
    made.fill(first, np.arange(made.count, dtype=np.int64) + 1_000_000)
    made.stamp(0, made.count, 2_000_000)
    return made


# ---- header


@given(st.integers(0, 511))
def test_every_single_flipped_bit_is_found(bit: int) -> None:
    payload = bytearray(block().messages(5, 6)[0])
    assert header.holds(header.words_of(bytes(payload)))
    payload[bit // 8] ^= 1 << bit % 8
    assert not header.holds(header.words_of(bytes(payload)))


def test_vector_and_scalar_check_agree() -> None:
    rows = np.frombuffer(b"".join(m[:64] for m in block().messages(0, 512)), dtype="<u8").reshape(512, 8)
    assert (header.checks(rows) == rows[:, 7]).all()
    assert all(header.holds(tuple(int(w) for w in row)) for row in rows[::37])


# ---- keys


@pytest.mark.parametrize(
    ("key", "hashed"), [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)]
)
def test_murmur2_is_kafkas(key: bytes, hashed: int) -> None:
    """Values of org.apache.kafka.common.utils.UtilsTest.testMurmur2."""
    assert murmur2(key) == hashed & 0xFFFFFFFF


def test_a_key_has_one_lane_and_both_sides_know_it() -> None:
    router = Router("key", 8, count=100, zipf=1.1, seed=5)
    lane_of: dict[bytes, int] = {}
    first = PERIOD - 300
    for key, lane in zip(router.keys(first, 600) or (), router.lanes(first, 600), strict=True):
        assert lane_of.setdefault(key, int(lane)) == lane == (murmur2(key) & 0x7FFFFFFF) % 8
    again = Router("key", 8, count=100, zipf=1.1, seed=5)
    assert (again.lanes_of(np.arange(first, first + 600)) == router.lanes(first, 600)).all()


def test_zipf_prefers_few_customers() -> None:
    keys = Router("key", 4, count=1000, zipf=1.1, seed=1).keys(0, PERIOD)
    assert keys is not None
    counts = sorted((keys.count(k) for k in set(keys)), reverse=True)
    assert counts[0] > 0.1 * PERIOD
    assert sum(counts[:10]) > 0.35 * PERIOD


# ---- pacing


@given(
    st.one_of(st.integers(1, 10_000_000).map(float), st.fractions(Fraction(1, 100), 5000, max_denominator=100).map(float)),
    st.integers(1, 8), st.integers(0, 10**9),
)  # fmt: skip
def test_the_schedule_does_not_drift_over_a_billion_messages(rate: float, producers: int, n: int) -> None:
    index = n % producers
    schedule = Constant(rate, producers, index)
    exact = Fraction(rate).limit_denominator(1000)
    assume((n + 2) * producers / rate < 4e9)  # 127 years: nanoseconds end after 292
    due = schedule.block(n, 2)
    assert [int(t) for t in due] == [(m * producers + index) * 10**9 * exact.denominator // exact.numerator for m in (n, n + 1)]
    assert schedule.at(n) == due[0]
    assert schedule.due(int(due[0])) >= n + 1
    assert schedule.due(int(due[0]) - 1) <= n


@given(st.integers(1, 100_000), st.integers(1, 5), st.integers(0, 3_000_000_000))
def test_producers_share_the_rate(rate: int, producers: int, elapsed: int) -> None:
    assert sum(Constant(rate, producers, i).due(elapsed) for i in range(producers)) == elapsed * rate // 10**9 + 1


# ---- payloads


@given(st.integers(64, 5000), st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_messages_and_raw_are_the_same_rows(size: int, at: int) -> None:
    made = block(size)
    lo, hi = at % made.count, min(made.count, at % made.count + 7)
    assert b"".join(made.messages(lo, hi)) == bytes(made.raw(lo, hi))
    for i, payload in enumerate(made.messages(lo, hi)):
        words = header.words_of(payload)
        assert header.holds(words)
        assert words[3] == made.first_id + lo + i
        assert payload[64:] == Pool(1, size).bodies[words[3] & 255]


def test_large_messages_get_small_blocks() -> None:
    assert block(1 << 20).count == 4
    assert block(8 << 20).count == 1


@pytest.mark.parametrize(("routing", "partitions"), [("round-robin", 1), ("round-robin", 3), ("key", 4)])
def test_restamping_keeps_the_check(routing: str, partitions: int) -> None:
    made = block(routing=routing, partitions=partitions)
    made.stamp(0, 50, 10_001)
    for first in (0, 512, 1024, PERIOD, PERIOD + 512):
        made.fill(first, None)
        made.stamp_intended(0, made.count, 9_000)
        made.stamp_intended(100, 200, 9_999)
        again = block(routing=routing, partitions=partitions, first=first)
        for row, payload in enumerate(made.messages(0, made.count)):
            words = header.words_of(payload)
            assert header.holds(words)
            assert words[4] == words[5] == (9_999 if 100 <= row < 200 else 9_000)
            assert words[2:4] == header.words_of(again.messages(row, row + 1)[0])[2:4]
        assert (made.partitions, made.keys) == (again.partitions, again.keys)


@pytest.mark.parametrize("n", [1, 2, 8, 9, 40])
def test_few_rows_are_stamped_as_many_are(n: int) -> None:
    few, many = block(), block()
    few.stamp(7, 7 + n, 3_000_000)
    many.stamp(0, many.count, 3_000_000)
    assert few.messages(7, 7 + n) == many.messages(7, 7 + n)
    assert [few.messages(at, at + 1) for at in (6, 7 + n)] == [block().messages(at, at + 1) for at in (6, 7 + n)]
    assert all(header.holds(header.words_of(row)) for row in few.messages(0, 60))


@given(st.integers(64, 3000), st.integers(0, 600), st.integers(0, 600))
@settings(max_examples=30, deadline=None)
def test_views_are_the_messages_and_follow_the_block(size: int, lo: int, hi: int) -> None:
    made = block(size)
    lo, hi = sorted((min(lo, made.count), min(hi, made.count)))
    assert [bytes(view) for view in made.views(lo, hi)] == list(made.messages(lo, hi))
    assert all(isinstance(view, memoryview) and view.readonly for view in made.views(lo, hi))
    made.fill(512, None)
    made.stamp_intended(0, made.count, 5)
    assert [bytes(view) for view in made.views(0, 20)] == list(made.messages(0, 20))


# ---- outcomes


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 30), st.sampled_from(list(Status)), st.integers(1, 3)), max_size=40))
def test_outcomes_are_counted_alike_one_by_one_and_as_vectors(reports: list[tuple[int, int, Status, int]]) -> None:
    def settle(size: int) -> tuple[list[int], set[tuple[int, int]], int, int]:
        latencies = Histogram()
        ledger = Ledger(latencies, groups=1, capacity=1024, window_ns=(0, 1 << 60), first_id=0, last_id=250)
        ledger.sent(0, 250, 100, np.zeros(250, dtype=np.int64))
        taken = [(600, first, count, int(status), -1, step) for first, count, status, step in reports]
        seen: set[tuple[int, int]] = set()
        for lo in range(0, len(taken), size):
            for status, _, ids in ledger.settle(taken[lo : lo + size]):
                seen |= {(int(status), int(i)) for i in np.atleast_1d(np.asarray(ids))}
        ledger.flush()
        return [int(ledger.resolved[s].sum()) for s in Status], seen, latencies.n, ledger.open

    inside = [r for r in reports if r[0] + (r[1] - 1) * r[3] < 250]  # a report that straddles two trials does not occur
    reports[:] = inside
    assert settle(4) == settle(1000)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.data())
def test_what_was_sent_is_kept_alike_in_few_and_in_many(parts: list[int], data: st.DataObject) -> None:
    """Times of sending and intended times of a ring that goes round, by the latencies that come of them."""

    def latencies(largest: int) -> tuple[bytes, int]:
        found = Histogram()
        ledger = Ledger(found, groups=1, capacity=1024, window_ns=(0, 2_500), first_id=0, last_id=1 << 40)
        first = 0
        for count in parts:
            for at in range(first, first + count, largest):
                many = min(largest, first + count - at)
                ledger.sent(at, many, 100 * first, np.arange(at, at + many, dtype=np.int64))
            ledger.settle([(1 << 20, first, count, int(Status.CONFIRMED), -1, 1)])
            first += count
        ledger.flush()
        return found.counts.tobytes(), ledger.open

    assert latencies(data.draw(st.integers(1, 8))) == latencies(40)


@given(st.lists(st.lists(st.integers(-5, 1 << 43), max_size=GATHERED + 2), max_size=6), st.data())
def test_what_is_gathered_is_what_is_added(parts: list[list[int]], data: st.DataObject) -> None:
    whole, gathered = Histogram(), Histogram()
    way = Gathered(gathered)
    for part in parts:
        values = np.array(part * data.draw(st.sampled_from([1, 1, 1, 900])), dtype=np.int64)
        whole.add(values)
        way.add(values)
        values[:] = 1  # the caller's to use again
    way.flush()
    assert (gathered.counts == whole.counts).all()
    assert (gathered.n, gathered.negative, gathered.over) == (whole.n, whole.negative, whole.over)


def test_outcomes_keep_their_own_time_and_foreign_ids_are_told_apart() -> None:
    outcomes, latencies = Outcomes(), Histogram()
    ledger = Ledger(latencies, groups=2, capacity=1024, window_ns=(50, 100), first_id=512, last_id=1024)
    ledger.sent(512, 2, 60, np.array([55, 120]), group=1)
    outcomes.run(512, 2, Status.CONFIRMED, group=1)
    outcomes.run(3, 1, Status.CONFIRMED)
    parts = ledger.settle(outcomes.take())
    ledger.flush()
    assert [(status, group, np.asarray(ids).tolist()) for status, group, ids in parts] == [(Status.CONFIRMED, 1, [512, 513])]
    assert (latencies.n, ledger.foreign, ledger.open) == (1, 1, 0)  # 513 was due after the window


# ---- the account


class Sink:
    def __init__(self, folder: Path, size: int) -> None:
        self.writer = Writer(folder, "consumer", segment_b=1 << 20)
        self.folder = folder
        self.account = Account(run=RUN, trial=TRIAL, group=1, size=size, pool=Pool(1, size), writer=self.writer)
        self.account.window(0, 0, 1 << 60)

    def processed(self, trial: int = TRIAL) -> list[int]:
        records = journal.read(self.folder, "consumer")
        rows = [i for i, row in enumerate(records.rows) if row["kind"] == Kind.PROCESSED and row["trial"] == trial and row["group"] == 1]
        return sorted(int(s) for i in rows for s in records.sequences(i))


@pytest.mark.parametrize("n", [1, FEW, FEW + 1, 24, 25, 400])
@pytest.mark.parametrize("as_buffer", [False, True])
@pytest.mark.parametrize("size", [64, 100, 1024])
def test_all_ways_account_the_same(tmp_path: Path, n: int, as_buffer: bool, size: int) -> None:
    sink, made = Sink(tmp_path, size), block(size)
    batch = Batch(buffer=made.raw(0, n), size=size, count=n) if as_buffer else Batch(payloads=made.messages(0, n))
    sink.account.take(batch, 5_000_000)
    sink.account.settle()
    assert sink.processed() == list(range(n))
    account = sink.account
    assert (account.received, account.in_window, account.end_to_end.n, account.from_sent.n) == (n, n, n, n)
    assert account.from_sent.min <= 3_000_000 <= account.from_sent.max
    assert dict(account.seconds) == {0: n}


@pytest.mark.parametrize("n", [3, 100])
def test_latencies_are_kept_by_the_second_of_arrival(tmp_path: Path, n: int) -> None:
    """Also where one chunk spans several seconds; together they are the whole."""
    sink, made = Sink(tmp_path, 100), block(100)
    arrivals = (900_000_000, 1_000_000_000, 1_999_999_999, 4_200_000_000)
    for i, at in enumerate(arrivals):
        sink.account.take(Batch(payloads=made.messages(i * n, (i + 1) * n)), at)
    sink.account.settle()
    whole = Histogram()
    seconds = {}
    for second, counts in sink.account.latency_seconds():
        one = Histogram()
        add_packed(one, counts)
        seconds[second] = (one.n, round(one.max / 1e9, 1))
        whole.merge(one)
    assert dict(sink.account.seconds) == {0: n, 1: 2 * n, 4: n}
    assert seconds == {0: (n, 0.9), 1: (2 * n, 2.0), 4: (n, 4.2)}
    assert (whole.counts == sink.account.end_to_end.counts).all()
    assert sink.account.latency_seconds() == sink.account.latency_seconds(), "asked again, nothing is added"


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_canaries_strangers_and_stragglers_are_told_apart(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([64, 100, 300]))
    sink = Sink(tmp_path_factory.mktemp("account"), size)
    good = list(block(size).messages(0, 40))
    canaries = block(64, trial=0, flags=header.CANARY, first=0).messages(0, 8)
    stragglers = block(size, trial=TRIAL - 1).messages(0, 5)
    strangers = block(size, run=RUN + 1).messages(0, 5)
    flips = data.draw(st.lists(st.tuples(st.integers(0, 39), st.integers(0, size * 8 - 1)), max_size=4, unique_by=lambda f: f[0]))
    for at, bit in flips:
        damaged = bytearray(good[at])
        damaged[bit // 8] ^= 1 << bit % 8
        good[at] = bytes(damaged)
    mixed = [
        *good,
        *canaries[: data.draw(st.integers(0, 8))],
        *stragglers[: (late := data.draw(st.integers(0, 5)))],
        *strangers[: (odd := data.draw(st.integers(0, 5)))],
    ]
    data.draw(st.randoms(use_true_random=False)).shuffle(mixed)
    cut = data.draw(st.integers(1, 50))
    for lo in range(0, len(mixed), cut):
        sink.account.take(Batch(payloads=mixed[lo : lo + cut]), 5_000_000)
        sink.account.settle()
    account = sink.account
    assert sink.processed() == sorted(set(range(40)) - {at for at, _ in flips})
    assert (account.corrupted, account.late, account.foreign) == (len(flips), late, odd)
    assert len(sink.processed(TRIAL - 1)) == late


def test_the_brokers_redelivered_flag_reaches_the_journal(tmp_path: Path) -> None:
    sink, made = Sink(tmp_path, 100), block()
    sink.account.take(Batch(payloads=made.messages(0, 20)), 3_000_000)
    sink.account.take(Batch(payloads=made.messages(15, 25), redelivered=[i < 5 for i in range(10)]), 4_000_000)
    sink.account.take(Batch(payloads=made.messages(25, 30), redelivered=[False] * 5), 5_000_000)
    sink.account.settle()
    records = journal.read(tmp_path, "consumer")
    flagged = [int(s) for i, row in enumerate(records.rows) if row["flags"] & journal.REDELIVERED for s in records.sequences(i)]
    assert flagged == [15, 16, 17, 18, 19]
    assert sink.processed() == sorted([*range(30), *range(15, 20)])
    assert sink.account.received == 35


def test_times_of_several_polls_are_kept_apart(tmp_path: Path) -> None:
    sink, made = Sink(tmp_path, 100), block()
    for lo, now in ((0, 3_000_000), (10, 4_000_000), (20, 2_000_000_000)):
        sink.account.take(Batch(payloads=made.messages(lo, lo + 10)), now)
    sink.account.settle()
    assert dict(sink.account.seconds) == {0: 20, 2: 10}
    assert sink.account.from_sent.min <= 1_000_000


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_slices_and_thirds_of_the_window_are_those_of_each_message(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    sink = Sink(tmp_path_factory.mktemp("account"), 100)
    start, length = data.draw(st.integers(0, 3000)), data.draw(st.integers(12, 5000))
    sink.account.window(0, start, start + length)
    made = Block(Pool(1, 100), Router("round-robin", 4), 100, run=RUN, trial=TRIAL, producer=2)
    due = np.arange(made.count, dtype=np.int64) * data.draw(st.integers(1, 20))
    made.fill(0, due)
    made.stamp(0, made.count, 1)
    total, now, at = data.draw(st.integers(1, made.count)), 0, 0
    slices, latencies = [0] * SLICES, [[], [], []]
    while at < total:
        n, now = min(data.draw(st.integers(1, 200)), total - at), now + data.draw(st.integers(0, 2000))
        as_buffer = data.draw(st.booleans())
        sink.account.take(
            Batch(buffer=made.raw(at, at + n), size=100, count=n) if as_buffer else Batch(payloads=made.messages(at, at + n)), now
        )
        if data.draw(st.booleans()):
            sink.account.settle()
        if start <= now < start + length:
            slices[(now - start) * SLICES // length] += n
        for one in due[at : at + n].tolist():
            if start <= one < start + length:
                latencies[min((one - start) // (length // 3), 2)].append(now - one)
        at += n
    sink.account.settle()
    account = sink.account
    assert (account.slices, account.in_window) == (slices, sum(slices))
    assert [third.n for third in account.thirds] == [len(some) for some in latencies]
    assert [third.negative for third in account.thirds] == [sum(one < 0 for one in some) for some in latencies]
    assert account.end_to_end.n == account.from_sent.n == sum(map(len, latencies))
    for third, some in zip(account.thirds, latencies, strict=True):
        if some and min(some) >= 0:
            assert third.summary()["max_ns"] == pytest.approx(max(some), rel=0.001)
