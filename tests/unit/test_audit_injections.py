"""Anomalies by injection, each case planted alone; against a naive twin: test_audit.py."""

from __future__ import annotations

import random
from dataclasses import asdict

import pytest
from audit_schedules import TRIAL, journals
from naive_audit import Event, Schedule

from bench.audit_injections import Injection, by_injection
from bench.journal import Kind

# ---- one thing at a time: a producer sends ten messages every 10 ns and is told 1 ns later; they are processed 5 ns after that

TENS = [tuple((0, 0, 0, 0, 0, s) for s in range(at, at + 10)) for at in range(0, 100, 10)]


def ten(kind, at, t):
    return Event(kind, TENS[at], TRIAL, t=t)


SENT = [event for at in range(10) for event in (ten(Kind.ATTEMPT, at, 10 * at), ten(Kind.OK, at, 10 * at + 1))]
DONE = [ten(Kind.PROCESSED, at, 10 * at + 5) for at in range(10)]


def one_group(tmp_path, injections, *, sent=SENT, done=DONE):
    with journals(tmp_path, Schedule([sent], [(0, done)], 1, lambda *_: 0), random.Random(1)) as (senders, receivers):
        found = by_injection(senders, receivers, trial=TRIAL, groups=["g"], injections=injections)
    return [asdict(one) for one in found["g"]]


def without(*gone):
    return [event for event in DONE if event.t // 10 not in gone]


def test_nothing_in_flight_is_told_from_something_in_flight(tmp_path):
    """A fault that hits between two sends proves nothing; one that hits before the answer does."""
    counts = one_group(tmp_path, [Injection(28, 29), Injection(42, 44), Injection(200, 201)])
    assert [one["in_flight"] for one in counts] == [0, 10, 0]
    assert [one["lost"] for one in counts] == [0, 0, 0]
    assert [one["first_after_ns"] for one in counts] == [35, 45, None]


def test_a_loss_belongs_to_the_injection_that_it_was_in_flight_at(tmp_path):
    counts = one_group(tmp_path, [Injection(22, 23), Injection(52, 53), Injection(82, 83)], done=without(5))
    assert [one["lost"] for one in counts] == [0, 10, 0]
    assert [one["in_flight"] for one in counts] == [10, 10, 10], "what is lost does not stay in flight"


def test_what_was_sent_while_the_fault_was_on_belongs_to_it(tmp_path):
    counts = one_group(tmp_path, [Injection(22, 48), Injection(72, 73)], done=without(2, 3, 4))
    assert [one["lost"] for one in counts] == [30, 0]
    assert counts[0]["first_after_ns"] == 55
    assert (counts[0]["gap_processed_ns"], counts[0]["gap_ok_ns"]) == (55 - 22, 10)


def test_what_a_consumer_had_received_and_did_not_process_belongs_to_the_next_fault(tmp_path):
    """Ten messages were attempted under the first fault; their consumer was killed by the second."""
    done = [*without(3), ten(Kind.RECEIVED, 3, 40)]
    counts = one_group(tmp_path, [Injection(22, 38), Injection(42, 43)], done=sorted(done, key=lambda event: event.t))
    assert [(one["lost"], one["received"]) for one in counts] == [(0, 0), (10, 10)]


def test_a_repeat_belongs_to_the_fault_that_found_it_not_acknowledged(tmp_path):
    """Also where the restarted consumer was killed again before it got anything: the second fault is not the cause."""
    done = sorted([*DONE, ten(Kind.PROCESSED, 1, 67), ten(Kind.PROCESSED, 6, 95), ten(Kind.PROCESSED, 6, 96)], key=lambda event: event.t)
    counts = one_group(tmp_path, [Injection(22, 23), Injection(60, 61), Injection(94, 94)], done=done)
    assert [one["duplicated"] for one in counts] == [10, 0, 20]


def test_a_repeat_before_the_first_fault_belongs_to_none(tmp_path):
    done = [*DONE, ten(Kind.PROCESSED, 1, 17)]
    counts = one_group(tmp_path, [Injection(45, 46)], done=sorted(done, key=lambda event: event.t))
    assert counts[0]["duplicated"] == 0


def test_what_nobody_answered_is_unknown_or_recovered_by_its_injection(tmp_path):
    sent = [event for event in SENT if event.kind == Kind.ATTEMPT or event.t // 10 not in {4, 5, 8}]
    counts = one_group(tmp_path, [Injection(41, 50), Injection(81, 82)], sent=sent, done=without(4))
    assert [(one["unknown"], one["recovered"]) for one in counts] == [(10, 10), (0, 10)]
    assert counts[0]["gap_ok_ns"] == 61 - 41


def test_what_failed_or_was_dead_lettered_does_not_stay_in_flight(tmp_path):
    sent = [ten(Kind.FAIL, 3, 31) if event == SENT[7] else event for event in SENT]
    done = [*without(3, 4), ten(Kind.DEAD, 4, 46)]
    counts = one_group(tmp_path, [Injection(30, 30), Injection(44, 44), Injection(48, 48)], sent=sent, done=sorted(done, key=lambda e: e.t))
    assert [(one["in_flight"], one["lost"]) for one in counts] == [(0, 0), (10, 0), (0, 0)]


def test_no_injections_no_counts(tmp_path):
    assert one_group(tmp_path, []) == []


@pytest.mark.parametrize(
    ("injections", "told"),
    [([Injection(5, 6), Injection(4, 6)], "injection at 4 ns after one at 5 ns"), ([Injection(5, 4)], "healed at 4 ns, before it began")],
)
def test_injections_that_cannot_be_are_refused(tmp_path, injections, told):
    with pytest.raises(ValueError, match=told):
        one_group(tmp_path, injections)
