"""The suite's own hot paths under pytest-benchmark: `pytest benchmarks` (never in CI: machines differ). Times are for N messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from adapters.base import Batch, Status
from bench.account import Account
from bench.histogram import Histogram
from bench.journal import Writer
from bench.keys import Router
from bench.outcomes import Ledger
from bench.pacing import Constant
from bench.payload import Block, Pool

N = 512


def made(size: int) -> Block:
    block = Block(Pool(1, size), Router("key", 4, count=1000, zipf=1.1, seed=1), size, run=1, trial=1, producer=0)
    block.fill(0, np.zeros(block.count, dtype=np.int64))
    block.stamp(0, block.count, 5)
    return block


@pytest.mark.parametrize("size", [100, 1024])
def test_fill_and_stamp_a_block(benchmark: BenchmarkFixture, size: int) -> None:
    block, schedule = made(size), Constant(100_000)

    def send() -> None:
        block.fill(512, schedule.block(512, block.count))
        block.stamp(0, block.count, 7)
        block.messages(0, block.count)

    benchmark(send)


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


def test_histogram_add(benchmark: BenchmarkFixture) -> None:
    histogram, values = Histogram(), np.random.default_rng(1).integers(1, 10**9, N)
    benchmark(histogram.add, values)


def test_journal_span(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    writer = Writer(tmp_path, "w")
    benchmark(lambda: writer.span(1, trial=1, producer=0, first=5, count=512))
