"""Schedules: pieces fit together, due() is the exact inverse, nothing drifts over a billion messages, rates and gaps are as asked."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench import pacing
from bench.pacing import Bursts, Constant, Poisson, Ramp, Replay, Steps
from bench.workload import Workload

SECOND = 10**9
rates = st.one_of(st.integers(1, 5_000_000).map(float), st.floats(0.1, 2_000_000))
steps = st.lists(st.tuples(st.one_of(st.just(0.0), rates), st.floats(0.001, 100)), min_size=1, max_size=6).filter(
    lambda some: any(rate for rate, _ in some)
)
TIMES = np.sort(np.random.default_rng(3).integers(0, 60 * SECOND, 5000))
kinds = st.one_of(
    st.tuples(st.just(Constant), st.tuples(rates)),
    st.tuples(st.just(Bursts), st.tuples(rates, st.integers(1, 1000))),
    st.tuples(st.just(Steps), st.tuples(steps)),
    st.tuples(st.just(Ramp), st.tuples(rates, rates, st.floats(0.5, 3600))),
    st.tuples(st.just(Poisson), st.tuples(rates)),
    st.tuples(st.just(Replay), st.tuples(st.just(TIMES))),
)


@st.composite
def schedules(draw):
    made, given_ = draw(kinds)
    producers = draw(st.integers(1, 7))
    return made(*given_, producers, draw(st.integers(0, producers - 1)))


@given(schedules(), st.integers(0, 6000), st.lists(st.integers(0, 700), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_block_is_its_parts_and_every_message_of_it_by_itself(schedule, first, counts):
    whole = schedule.block(first, sum(counts))
    assert whole.dtype == np.int64
    assert whole.shape == (sum(counts),)
    assert (np.diff(whole) >= 0).all(), "times never go back"
    ends = np.cumsum(counts).tolist()
    for count, end in reversed(list(zip(counts, ends, strict=True))):  # a schedule may be asked for any part
        at = first + end - count
        assert (schedule.block(at, count) == whole[at - first : at - first + count]).all()
    picked = range(0, sum(counts), 37)
    assert [schedule.at(first + i) for i in picked] == [int(whole[i]) for i in picked]


@given(schedules(), st.integers(0, 10**5), st.integers(-2, 2))
@settings(max_examples=300, deadline=None)
def test_due_is_the_exact_inverse(schedule, n, beside):
    elapsed = schedule.at(n) + beside
    if elapsed >= pacing.replay.NEVER - 2:
        assert schedule.due(60 * SECOND) == len(schedule.block(0, 6000)[schedule.block(0, 6000) < 60 * SECOND])
        return
    due = schedule.due(elapsed)
    assert due == 0 or schedule.at(due - 1) <= elapsed
    assert schedule.at(due) > elapsed


@given(kinds, st.integers(2, 7), st.integers(0, 60 * SECOND))
@settings(max_examples=200, deadline=None)
def test_producers_share_the_load_message_by_message(kind, producers, elapsed):
    made, given_ = kind
    if made is Poisson:  # its producers are independent of each other
        return
    whole = made(*given_).block(0, 50 * producers)
    for index in range(producers):
        assert (made(*given_, producers, index).block(0, 50) == whole[index::producers]).all()
    assert sum(made(*given_, producers, index).due(elapsed) for index in range(producers)) == made(*given_).due(elapsed)


@given(steps, st.integers(10**9, 4 * 10**9))
@settings(deadline=None)
def test_steps_do_not_drift_over_a_billion_messages(some, n):
    """Against the same in fractions: cycles of whole nanoseconds, messages of a step counted from its start."""
    cycle_ns, cycle, rows = 0, 0, []
    for rate, seconds in some:
        length = round(seconds * SECOND)
        exact = Fraction(rate).limit_denominator(max(1, min(1000, int((9e9 / rate) ** 0.5)))) if rate else Fraction(0)
        count = -(-exact * length // SECOND) if rate else 0
        rows.append((cycle_ns, cycle, exact))
        cycle_ns, cycle = cycle_ns + length, cycle + int(count)
    times, within = divmod(n, cycle)
    start, before, rate = next(row for row in reversed(rows) if row[1] <= within and row[2])
    expected = times * cycle_ns + start + int((within - before) * SECOND / rate)
    if expected < 1 << 62:
        assert Steps(some).at(n) == expected == int(Steps(some).block(n, 1)[0])


@given(st.integers(1, 2_000_000), st.integers(1, 2_000_000))
def test_a_ramp_does_not_drift_over_a_billion_messages(low, high):
    """The exact number of messages due at the time of message n, in fractions, is n to within a nanosecond's worth (or 10^-5)."""
    seconds = min(-(-2 * 10**9 // (low + high)) + 1, 7200)  # a load lasts two hours at most
    ramp = Ramp(float(low), float(high), float(seconds))
    n = min(10**9, (low + high) * seconds // 2 - 1)
    elapsed = Fraction(ramp.at(n), SECOND)
    slope = Fraction(high - low, seconds)
    due = low * elapsed + slope / 2 * elapsed * elapsed
    assert abs(due - n) <= 2 * (low + slope * elapsed) / SECOND + Fraction(1, 10**5)


@pytest.mark.parametrize("load", [5.0, 900.0, 2_000_000.0])
def test_poisson_has_the_rate_and_exponential_gaps(load):
    times = np.concatenate([Poisson(load, 2, index, seed=7).block(0, 30_000) for index in (0, 1)])
    for process in (times[:30_000], times[30_000:]):
        gaps = np.diff(process, prepend=0)
        assert stats.kstest(gaps / SECOND * load / 2, "expon").pvalue > 0.01
        assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.02, "gaps are independent"
    horizon = int(14_000 / load * 2 * SECOND)
    counts = np.histogram(times, bins=200, range=(0, horizon))[0]
    assert 0.7 < counts.var() / counts.mean() < 1.3, "as many in a slot as Poisson's distribution has it"
    assert abs(counts.sum() - 28_000) < 4 * 28_000**0.5


def test_poisson_is_seeded_and_reaches_a_billionth_message_directly():
    one, other = Poisson(1_000_000.0, 1, 0, seed=1), Poisson(1_000_000.0, 1, 0, seed=2)
    n = 1_000_000_000
    far = one.block(n, 1000)
    assert abs(int(far[0]) - n * 1000) < 4 * n**0.5 * 1000, "the mean rate, within four standard errors"
    assert (Poisson(1_000_000.0, 1, 0, seed=1).block(n, 1000) == far).all()
    assert (other.block(n, 1000) != far).any()
    assert (Poisson(1_000_000.0, 2, 1, seed=1).block(0, 100) != Poisson(1_000_000.0, 2, 0, seed=1).block(0, 100)).any()
    assert one.due(int(far[500])) >= n + 501
    assert one.due(int(far[500]) - 1) <= n + 500
    held = one._starts.nbytes + one._times.nbytes + 8 * len(one._chunk_starts)
    assert held < 100_000, "bounded, however far"


def test_bursts_come_at_once_and_give_the_mean_rate():
    bursts = Bursts(1000.0, 100, 1, 0)
    assert bursts.block(0, 300).tolist() == [0] * 100 + [SECOND // 10] * 100 + [SECOND // 5] * 100
    assert bursts.due(10 * SECOND - 1) == 10_000


def test_steps_follow_each_other_and_begin_again():
    made = Steps(((10.0, 1.0), (0.0, 0.5), (4.0, 0.5)))
    second = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 150, 175]
    assert (made.block(0, 24) // (SECOND // 100)).tolist() == second + [200 + at for at in second]
    assert [made.due(int(t * SECOND) - 1) for t in (1, 1.5, 2, 4)] == [10, 10, 12, 24]


def test_a_ramp_has_the_mean_of_its_ends_and_keeps_the_last_rate():
    ramp = Ramp(100.0, 300.0, 10.0)
    assert ramp.due(10 * SECOND - 1) == 2000
    assert 100 <= ramp.due(SECOND) <= 112
    assert [ramp.due(t * SECOND) for t in (11, 12)] == [2301, 2601]


LOAD = Workload(
    rate_per_s=1000.0, size_b=100, warmup_s=1.0, measure_s=4.0, drain_s=1.0, tick_s=0.0005, batch=100, ack_every=100, ack_interval_s=1.0,
    window=1000, producers=3, groups=(("a", 1),), partitions=1, routing="round-robin", key_count=0, key_zipf=0.0, seed=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("more", "kind", "offered", "planned"),
    [
        ({}, "constant", 1000.0, 5000),
        ({"arrivals": "bursts", "burst": 50}, "bursts", 1000.0, 5000),
        ({"arrivals": "steps", "steps": ((10.0, 1.0), (100.0, 2.0), (0.0, 2.0))}, "steps", 50.0, 210),
        ({"arrivals": "ramp", "ramp": (100.0, 600.0)}, "ramp", 400.0, 1750),
        ({"rate_per_s": None}, "max", None, None),
        ({"rate_per_s": None, "arrivals": "closed", "outstanding": 1}, "closed", None, None),
    ],
)
def test_what_is_offered_and_planned_of_a_workload(more, kind, offered, planned):
    load = Workload(**{**LOAD.__dict__, **more})
    assert load.schedule == kind
    assert Workload.from_json(load.to_json()) == load
    found = pacing.offered_per_s(load)
    assert found == offered if offered is None else found == pytest.approx(offered, rel=0.002)
    plans = [pacing.planned(load, index) for index in range(3)]
    assert plans == [None] * 3 if planned is None else sum(plans) == planned
    assert planned is None or all(b - a <= 0 for a, b in pairwise(plans))


def test_what_is_offered_of_poisson_is_what_is_planned_in_the_window():
    load = Workload(**{**LOAD.__dict__, "arrivals": "poisson"})
    times = np.concatenate([Poisson(1000.0, 3, index, 1).block(0, 3000) for index in range(3)])
    assert pacing.offered_per_s(load) == ((times >= SECOND) & (times < 5 * SECOND)).sum() / 4.0
    assert sum(pacing.planned(load, index) for index in range(3)) == (times < 5 * SECOND).sum()
