"""The suite's own hot paths under pytest-benchmark: `pytest benchmarks` (never in CI: machines differ). Times are for N messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from adapters.base import Batch, Status
from bench import header, histogram, journal
from bench.account import Account
from bench.audit import audit
from bench.audit_sent import ConsumerSource, Source
from bench.histogram import Histogram
from bench.journal import Kind, Writer
from bench.keys import Router
from bench.outcomes import Ledger
from bench.pacing import Constant, Schedule
from bench.pacing.poisson import Poisson
from bench.pacing.rates import Bursts, Ramp, Steps
from bench.payload import Block, Pool

N = 512


def made(size: int) -> Block:
    block = Block(Pool(1, size), Router("key", 4, count=1000, zipf=1.1, seed=1), size, run=1, trial=1, producer=0)
    block.fill(0, np.zeros(block.count, dtype=np.int64))
    block.stamp(0, block.count, 5)
    return block


# ---- pacing, header


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(100_000), Poisson(100_000, seed=1), Bursts(100_000, 100), Steps([(100_000, 3600.0)]), Ramp(50_000, 150_000, 3600.0),
    ],
    ids=lambda one: type(one).__name__.lower(),
)  # fmt: skip
def test_what_is_due_and_when(benchmark: BenchmarkFixture, schedule: Schedule) -> None:
    """A sender's wake-up: how many are due by now, and the intended times of the next block."""
    first = 0

    def wake_up() -> None:
        nonlocal first
        first = (first + N) % 100_000_000
        schedule.due(schedule.at(first))
        schedule.block(first, N)

    benchmark(wake_up)


def test_header_checks(benchmark: BenchmarkFixture) -> None:
    words = np.random.default_rng(1).integers(0, 1 << 63, (N, 8)).astype(np.uint64)
    benchmark(header.checks, words)


def test_header_of_one(benchmark: BenchmarkFixture) -> None:
    payload = bytes(made(100).messages(0, 1)[0])
    assert header.holds(header.words_of(payload))
    benchmark(lambda: header.holds(header.words_of(payload)))


@pytest.mark.parametrize("size", [100, 1024])
def test_fill_and_stamp_a_block(benchmark: BenchmarkFixture, size: int) -> None:
    block, schedule = made(size), Constant(100_000)

    def send() -> None:
        block.fill(512, schedule.block(512, block.count))
        block.stamp(0, block.count, 7)
        block.messages(0, block.count)

    benchmark(send)


# ---- account, histogram


@pytest.mark.parametrize("n", [1, 8, 64, 256])
@pytest.mark.parametrize("size", [100, 1024])
def test_account(benchmark: BenchmarkFixture, tmp_path: Path, size: int, n: int) -> None:
    account = Account(run=1, trial=1, group=0, size=size, pool=Pool(1, size), writer=Writer(tmp_path, "w"))
    account.window(0, 0, 1 << 60)
    batch = Batch(payloads=made(size).messages(0, n))

    def receive() -> None:
        account.take(batch, 9_000_000)
        account.settle()

    benchmark(receive)


@pytest.mark.parametrize("n", [1, 100, 512])
def test_outcomes_one_by_one(benchmark: BenchmarkFixture, n: int) -> None:
    taken = [(100, i, 1, int(Status.CONFIRMED), -1, 1) for i in range(n)]
    ledger = Ledger(Histogram(), groups=1, capacity=1024, window_ns=(0, 1 << 60), first_id=0, last_id=1 << 40)
    ledger.sent(0, n, 1, np.zeros(n, dtype=np.int64))
    benchmark(ledger.settle, taken)


def values() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng(1).integers(1, 10**9, N)


def test_histogram_add(benchmark: BenchmarkFixture) -> None:
    benchmark(Histogram().add, values())


def test_histogram_merge(benchmark: BenchmarkFixture) -> None:
    whole, part = Histogram(), Histogram()
    part.add(values())
    benchmark(whole.merge, part)


def test_histogram_quantiles(benchmark: BenchmarkFixture) -> None:
    whole = Histogram()
    whole.add(values())
    benchmark(whole.quantiles, [0.5, 0.9, 0.99, 0.999])


def test_histogram_encode_and_decode(benchmark: BenchmarkFixture) -> None:
    whole = Histogram()
    whole.add(values())
    benchmark(lambda: histogram.decode(histogram.encode(whole)))


# ---- journal, audit


def test_journal_span(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w")
    benchmark(lambda: writer.span(1, trial=1, producer=0, first=5, count=512))


@pytest.mark.parametrize("n", [1, 16, 128, 1024])
def test_journal_batch_over_lanes(benchmark: BenchmarkFixture, tmp_path: Path, n: int) -> None:
    """A poll of several lanes: the form that it takes is the writer's choice."""
    lanes = np.random.default_rng(1).integers(0, 12, n)
    columns = {"producer": 0, "lane": lanes, "sequence": np.arange(n)}
    writer = Writer(tmp_path, "w")
    benchmark(lambda: writer.batch(Kind.PROCESSED, columns, trial=1, group=0))


def journals(folder: Path, spans: int) -> None:
    """A producer's and a consumer's, of ``spans`` x N messages; every hundredth span was lost, the one after came twice."""
    with Writer(folder, "producer") as writer:
        for i in range(spans):
            for kind in (Kind.ATTEMPT, Kind.OK):
                writer.span(kind, trial=1, producer=0, first=i * N, count=N, t_first=i, t_last=i)
    with Writer(folder, "consumer") as writer:
        for i in range(spans):
            for _ in range({0: 0, 1: 2}.get(i % 100, 1)):
                writer.span(Kind.PROCESSED, trial=1, producer=0, first=i * N, count=N, group=0, t_first=i, t_last=i)


def test_journal_read(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """10,000 records."""
    journals(tmp_path, 5000)
    benchmark(journal.read, tmp_path, "producer")


def test_audit(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """A million messages in 2,000 spans."""
    journals(tmp_path, 2000)
    sources = [Source(tmp_path, "producer")], [ConsumerSource(tmp_path, "consumer")]
    found = benchmark(lambda: audit(*sources, trial=1, groups=["a"]))
    assert (found["a"].lost, found["a"].duplicated) == (20 * N, 20 * N)
