"""Lateness in two: what a message waited for because the sender woke late, and what because it was held up; they add up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.histogram import unpack
from bench.lateness import Lateness

ALWAYS = (0, 1 << 60)


def quantiles(report, name):
    histogram = unpack(report[name])
    used = np.flatnonzero(histogram.counts)
    return [int(i) for i in np.repeat(used, histogram.counts[used])]  # values below 2,048 are their own counters


def recorded(made):
    report = made.report()
    return [quantiles(report, name) for name in ("lateness", "lateness_woken", "lateness_blocked")]


def due(*times):
    return np.array(times, dtype=np.int64)


def test_a_sender_that_wakes_late_is_late_by_itself():
    made = Lateness()
    made.wake(1000)
    made.add(due(400, 900), 1010, ALWAYS)
    assert recorded(made) == [[110, 610], [110, 610], [0, 0]]


def test_what_waits_for_an_earlier_send_to_return_is_blocked():
    made = Lateness()
    made.wake(1000)
    made.add(due(900), 1000, ALWAYS)
    made.free_ns = 1500  # the first send took 500
    made.add(due(950, 1200), 1520, ALWAYS)  # woken late by 50, blocked for 500, 20 of our own; due while blocked: 300 and 20
    assert recorded(made) == [[100, 320, 570], [20, 70, 100], [0, 300, 500]]


def test_a_stretch_goes_on_until_nothing_is_due():
    made = Lateness()
    made.wake(1000)
    made.free_ns = 1400
    made.wake(1600)  # still behind: its own pause counts as woken, the block before as blocked
    made.add(due(1000), 1600, ALWAYS)
    made.caught_up()
    made.wake(2000)
    made.add(due(1900), 2000, ALWAYS)  # a new stretch: nothing held it up
    assert recorded(made) == [[100, 600], [100, 200], [0, 400]]


def test_messages_due_outside_of_the_window_do_not_count():
    for many in (1, 20):
        made = Lateness()
        made.wake(100)
        made.add(due(*range(10, 10 + many), *range(50, 50 + many)), 100, (50, 60))
        assert len(recorded(made)[0]) == min(many, 10)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 20), st.integers(0, 300), st.booleans()), min_size=1, max_size=30))
def test_the_two_parts_add_up_to_the_lateness_whatever_happens(turns):
    made, now, at, total = Lateness(), 1000, 0, 0
    sums = [0, 0]
    for pause, count, held, ends in turns:
        now += pause
        made.wake(now)
        times = np.sort(np.minimum(np.arange(at, at + count) * 7, now))
        at += count
        total += int((now - times).sum())
        made.add(times.astype(np.int64), now, ALWAYS)
        now += held
        made.free_ns = now
        if ends:
            made.caught_up()
    late, woken, blocked = recorded(made)
    assert len(late) == len(woken) == len(blocked) == sum(count for _, count, _, _ in turns)
    if max(late) < 2048:  # beyond, counters stand for several values
        sums = [sum(woken), sum(blocked)]
        assert sum(late) == total == sum(sums)
