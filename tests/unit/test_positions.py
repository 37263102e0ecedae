"""The broker's positions in journals: kept where they are asked for, of every message, whichever way it is accounted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_hot_path import Sink, block
from test_mixed import Sink as MixedSink
from test_mixed import block as mixed_block
from test_mixed import bodies

from adapters.base import Batch
from bench import journal
from bench.account import FEW
from bench.journal import Kind, Writer
from bench.mixed import MixedPool


def placed(folder, name="consumer"):
    """[(sequence, position)] of what was processed, as journalled."""
    records = journal.read(folder, name)
    found = []
    for i in range(len(records.rows)):
        if records.rows[i]["kind"] == Kind.PROCESSED:
            positions = records.positions(i)
            places = [None] * int(records.rows[i]["count"]) if positions is None else positions.tolist()
            found += zip(records.sequences(i).tolist(), places, strict=True)
    return found


rows = st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 3), st.integers(0, 1), st.just(0), st.integers(0, 40))
runs = st.builds(
    lambda row, position, count, step: [((*row[:5], row[5] + i * step), position + i) for i in range(count)],
    rows, st.one_of(st.integers(0, 9), st.just((1 << 63) - 50)), st.integers(1, 9), st.integers(1, 4),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(runs, max_size=8))
def test_any_rows_and_positions_are_read_back_in_their_order(pieces):
    given_ = [one for piece in pieces for one in piece]
    with tempfile.TemporaryDirectory() as name, Writer(Path(name), "c", 64 * 64) as writer:
        writer.placed(
            Kind.PROCESSED, [row for row, _ in given_], [position for _, position in given_], trial=1, group=2, t_first=3, t_last=4
        )
        records = journal.read(Path(name), "c")
        said = [
            ((*(int(row[n]) for n in ("producer", "epoch", "lane", "attempt", "flags")), sequence), position)
            for i, row in enumerate(records.rows)
            for sequence, position in zip(records.sequences(i).tolist(), records.positions(i).tolist(), strict=True)
        ]
    assert said == given_
    assert len(records.rows) <= max(1, len(given_))


def test_a_partition_read_in_order_is_one_record(tmp_path):
    with Writer(tmp_path, "c", 64 * 64) as writer:
        writer.placed(Kind.PROCESSED, [(0, 0, 1, 0, 0, 4 * i + 1) for i in range(500)], range(7, 507), trial=1)
    assert len(journal.read(tmp_path, "c").rows) == 1


@pytest.mark.parametrize("n", [1, FEW, FEW + 1, 400])
@pytest.mark.parametrize("flagged", [False, True])
def test_every_way_of_accounting_keeps_positions(tmp_path, n, flagged):
    sink, made = Sink(tmp_path, 100), block()
    sink.account.keep_positions = True
    positions = [7 * (i % 3) + i for i in range(n)]
    sink.account.take(Batch(payloads=made.messages(0, n), positions=positions, redelivered=[flagged] * n), 3_000_000)
    assert sink.account.pending == (0 if flagged else n), "what is pending decides when it is acknowledged"
    sink.account.settle()
    assert placed(tmp_path) == list(zip(range(n), positions, strict=True))
    assert sink.account.received == n


def test_what_is_damaged_or_of_another_trial_shifts_no_position(tmp_path):
    sink, made = Sink(tmp_path, 100), block()
    sink.account.keep_positions = True
    payloads = list(made.messages(0, 20))
    payloads[3] = payloads[3][:-1] + bytes([payloads[3][-1] ^ 1])
    payloads[5] = block(trial=2).messages(0, 1)[0]
    sink.account.take(Batch(payloads=payloads, positions=range(100, 120)), 3_000_000)
    sink.account.settle()
    found = placed(tmp_path)
    assert [one for one in found if one[1] is not None] == [(i, 100 + i) for i in range(20) if i not in (3, 5)]
    assert found.count((0, None)) == 1, "another trial's message"


def test_polls_with_and_without_positions_keep_their_order(tmp_path):
    sink, made = Sink(tmp_path, 100), block()
    sink.account.keep_positions = True
    sink.account.take(Batch(payloads=made.messages(0, 20)), 1)
    sink.account.take(Batch(payloads=made.messages(20, 40), positions=range(20, 40)), 2)
    sink.account.take(Batch(payloads=made.messages(40, 60)), 3)
    sink.account.settle()
    assert placed(tmp_path) == [(i, i if 20 <= i < 40 else None) for i in range(60)]


def test_unasked_for_they_cost_nothing(tmp_path):
    sink, made = Sink(tmp_path, 100), block()
    sink.account.take(Batch(payloads=made.messages(0, 400), positions=range(0, 800, 2)), 3_000_000)
    sink.account.settle()
    assert len(journal.read(tmp_path, "consumer").rows) == 1
    assert placed(tmp_path) == [(i, None) for i in range(400)]


@pytest.mark.parametrize("n", [3, 100])
def test_messages_of_several_sizes_keep_theirs(tmp_path, n):
    pool = MixedPool(1, bodies([64, 100, 300]))
    sink = MixedSink(tmp_path, pool)
    sink.account.keep_positions = True
    sink.account.take(Batch(payloads=mixed_block(pool).messages(0, n), positions=range(5, 5 + n)), 3_000_000)
    sink.account.settle()
    assert placed(tmp_path) == [(i, 5 + i) for i in range(n)]
