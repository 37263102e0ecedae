"""Each injection of a trial with what the journals say of it: groups whose consumers are struck in turn."""

import random

import pytest
from audit_schedules import TRIAL, journals
from naive_audit import Event, Schedule

from bench.faults.account import injections
from bench.journal import Kind

GO_NS = 1000
TENS = [tuple((0, 0, 0, 0, 0, s) for s in range(at, at + 10)) for at in range(0, 100, 10)]


def ten(kind, at, t):
    return Event(kind, TENS[at], TRIAL, t=GO_NS + t)


SENT = [event for at in range(10) for event in (ten(Kind.ATTEMPT, at, 10 * at), ten(Kind.OK, at, 10 * at + 1))]


def done(*gone):
    return [ten(Kind.PROCESSED, at, 10 * at + 5) for at in range(10) if at not in gone]


def fault(target, injected, healed):
    return {"target": target, "injected_s": injected / 1e9, "healed_s": healed / 1e9}


def counted(tmp_path, faults, *groups):
    names = [f"g{i + 1}" for i in range(len(groups))]
    schedule = Schedule([SENT], list(enumerate(groups)), len(groups), lambda *_: 0)
    with journals(tmp_path, schedule, random.Random(1)) as (senders, receivers):
        return injections(
            faults, senders, receivers, trial=TRIAL, groups=names, go_ns=GO_NS, lane_of=lambda _, sequences: sequences.astype("int64") * 0
        )


@pytest.mark.parametrize("lost_in", [2, 5])
def test_a_loss_belongs_to_its_own_groups_kill(tmp_path, lost_in):
    """g1 is killed at 22 and 72, g2 at 42: what g1 lost is none of g2's kill, which came last before it or next after it."""
    faults = [fault("consumer.g1.0", 22, 24), fault("consumer.g2.0", 42, 44), fault("consumer.g1.0", 72, 74)]
    first, other, second = counted(tmp_path, faults, done(lost_in), done())
    assert set(other["counts"]) == {"g2"}
    assert other["counts"]["g2"]["lost"] == 0
    assert [row["counts"]["g1"]["lost"] for row in (first, second)] == ([10, 0] if lost_in == 2 else [0, 10])
    assert set(first["in_flight"]) == {"g1"}


def test_a_group_that_nothing_strikes_of_its_own_is_counted_by_all(tmp_path):
    faults = [fault("consumer.g1.0", 22, 24), fault("server.1", 52, 54)]
    kill, crash = counted(tmp_path, faults, done(), done(5))
    assert set(kill["counts"]) == {"g1", "g2"}
    assert (kill["counts"]["g2"]["lost"], crash["counts"]["g2"]["lost"]) == (0, 10)
    assert set(crash["counts"]) == {"g1", "g2"}
