"""What consumers wrote counts, not what they worked on: the outputs' journal, and what the accountant makes of both."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
from audit_schedules import TRIAL, journals
from naive_audit import Event, Schedule
from test_consuming import LOAD

from adapters.base import Output
from bench import audit, curves, journal
from bench.audit_injections import Injection, by_injection
from bench.clock import now_ns
from bench.header import CANARY
from bench.journal import ALL, Kind
from bench.keys import Router
from bench.outputs import MEMBER, Outputs
from bench.payload import Block, Pool

RUN = 7
TENS = [tuple((0, 0, 0, 0, 0, s) for s in range(at, at + 10)) for at in range(0, 50, 10)]


def ten(kind, at, t, positions=()):
    group = 0 if kind in (Kind.RECEIVED, Kind.PROCESSED) else ALL
    return Event(kind, TENS[at], TRIAL, group=group, t=t, positions=positions)


def written(at, t, first):
    return ten(Kind.PROCESSED, at, t, tuple(range(first, first + 10)))


SENT = [event for at in range(5) for event in (ten(Kind.ATTEMPT, at, 10 * at), ten(Kind.OK, at, 10 * at + 1))]
# The first member is killed at 25, when it has worked on the third ten and not committed; the second works on them again.
FIRST = [event for at in range(3) for event in (ten(Kind.RECEIVED, at, 10 * at + 3), ten(Kind.PROCESSED, at, 10 * at + 4))]
SECOND = [event for at in range(2, 5) for event in (ten(Kind.RECEIVED, at, 10 * at + 13), ten(Kind.PROCESSED, at, 10 * at + 14))]
OUT = [written(0, 5, 0), written(1, 15, 10), *(written(at, 10 * at + 15, 10 * at) for at in range(2, 5))]


def judged(folder, out, *stages):
    schedule = Schedule([SENT], [*((0, events) for events in stages), (0, out)], 1, lambda *_: 0)
    with journals(folder, schedule, random.Random(1)) as (senders, all_of_them):
        receivers = [one._replace(worked=True) for one in all_of_them[:-1]] + all_of_them[-1:]
        account = audit.audit(senders, receivers, trial=TRIAL, groups=["g"])["g"]
        (count,) = by_injection(senders, receivers, trial=TRIAL, groups=["g"], injections=[Injection(25, 26)])["g"]
        curve = curves.processed(receivers, groups=["g"], trial=TRIAL, go_ns=0)["g"]
    return account, asdict(count), curve.sums[-1]


def test_work_that_was_repeated_is_no_repetition(tmp_path):
    account, count, processed = judged(tmp_path, OUT, FIRST, SECOND)
    assert (account.processed, account.lost, account.duplicated, account.reordered, account.received_only) == (50, 0, 0, 0, 0)
    assert (count["in_flight"], count["received"], count["duplicated"], count["first_after_ns"]) == (10, 10, 0, 35)
    assert processed == 50


def test_an_output_that_was_written_twice_is(tmp_path):
    """A zombie's output came through: the same work, another position."""
    account, count, _ = judged(tmp_path, [*OUT[:3], written(2, 36, 30), *OUT[3:]], FIRST, SECOND)
    assert (account.duplicated, account.duplicate_writes) == (10, 10)
    assert count["duplicated"] == 10


def test_an_output_that_is_missing_is_lost_though_it_was_worked_on(tmp_path):
    account, count, _ = judged(tmp_path, [*OUT[:2], *OUT[3:]], FIRST, SECOND)
    assert (account.lost, account.received_only) == (10, 10)
    assert count["lost"] == 10


# ---- reading them


def messages(count, *, trial=TRIAL, flags=0, first=0):
    block = Block(Pool(1, 100), Router("round-robin", 1), 100, run=RUN, trial=trial, producer=2, flags=flags)
    block.fill(0, np.zeros(block.count, dtype=np.int64))
    block.stamp(0, block.count, 1)
    return list(block.messages(first, first + count))


class Log:
    """An adapter with outputs, and their reader: a list that is read on."""

    def __init__(self):
        self.rows = []
        self.closed = 0
        self._at = 0

    def outputs(self, wiring, group):
        assert (wiring, group) == ({"w": 1}, "a")
        return self

    def read(self):
        new, self._at = self.rows[self._at :], len(self.rows)
        return new

    def close(self):
        self.closed += 1

    def write(self, payloads, written_ns=0):
        self.rows += [Output(payload, len(self.rows) + i, written_ns) for i, payload in enumerate(payloads)]


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def outputs(log, tmp_path):
    made = Outputs(log, {"w": 1}, ["a"], run=RUN, evidence=tmp_path, prefix="001-x")
    yield made
    made.close()


def test_each_trial_has_its_own(outputs, log, tmp_path):
    log.write(messages(3, flags=CANARY))
    assert outputs.begin(TRIAL, LOAD) == [("001-x-out-a", 0)]
    wall = time.time_ns()
    log.write(messages(20), wall - 10_000_000_000)
    log.write(messages(5, first=20), wall - 5_000_000_000)
    assert outputs.take() == 25
    (source,) = outputs.sources()
    assert (source.group, source.member, source.worked) == (0, MEMBER, False)
    rows = journal.read(tmp_path, source.name, source.start, source.stop).rows
    assert rows[["kind", "trial", "producer", "first", "count", "aux"]].tolist() == [(6, TRIAL, 2, 0, 20, 4), (6, TRIAL, 2, 20, 5, 24)]
    ago = [(now_ns() - t) / 1e9 for t in rows["t_last"].tolist()]
    assert ago == [pytest.approx(10, abs=2), pytest.approx(5, abs=2)]
    log.write(messages(5, first=20), wall)  # late, and again
    (again,) = outputs.begin(TRIAL + 1, replace(LOAD, seed=1))
    assert again == ("001-x-out-a", 3), "the trial before has it, its audit was over"
    log.write(messages(4, trial=TRIAL + 1), wall)
    assert outputs.collect({"a": 4}, now_ns() + 10**10, lambda: None)[1] is False
    assert [source.start for source in outputs.sources()] == [3]


def test_damage_in_an_output_is_seen(outputs, log, tmp_path):
    outputs.begin(TRIAL, LOAD)
    damaged = bytearray(messages(1)[0])
    damaged[80] ^= 1
    log.write([bytes(damaged), *messages(2, first=1)])
    assert outputs.take() == 2
    (source,) = outputs.sources()
    account = audit.audit([], [source], trial=TRIAL, groups=["a"])["a"]
    assert (account.corrupted, account.unexpected) == (1, 2)


def test_it_waits_for_what_is_wanted_and_no_longer_than_the_deadline(outputs, log):
    outputs.begin(TRIAL, LOAD)
    parts = iter([messages(2), messages(3, first=2)])
    assert outputs.collect({"a": 5}, now_ns() + 10**10, lambda: log.write(next(parts, [])))[0] is not None
    began = now_ns()
    assert outputs.collect({"a": 6}, began + 50_000_000, lambda: None) == (None, False)
    assert now_ns() - began >= 50_000_000
    parts = iter([[], messages(1, first=5), messages(1, first=6)])
    assert outputs.collect({"a": 7}, now_ns(), lambda: log.write(next(parts, []))) == (None, False), "nothing came before the deadline"


def test_a_connection_that_cannot_be_made_leaves_no_journal_open(tmp_path):
    class Away:
        def outputs(self, wiring, group):
            raise OSError("nobody there")

    with pytest.raises(OSError, match="nobody there"):
        Outputs(Away(), {}, ["a"], run=RUN, evidence=tmp_path, prefix="001-x")
    assert (tmp_path / "001-x-out-a.rec.0000").stat().st_size == 0
