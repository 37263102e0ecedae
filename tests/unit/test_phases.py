"""Before, during, catching up, after: from curves made by hand, and from journals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import curves
from bench.analysis import phases
from bench.analysis.phases import Backlog, Curve
from bench.audit import ConsumerSource, Source
from bench.histogram import Histogram
from bench.journal import Kind, Writer

FAULT = [{"fault": "away", "target": "consumer.slow", "injected_s": 2.0, "healed_s": 5.0}]
WINDOW = (0.0, 12.0)
STEP_S = 0.01


def steady(rate_per_s, begin_s, end_s, late_s=0.0):
    """Events every 10 ms."""
    times = np.arange(begin_s, end_s - 1e-9, STEP_S) + late_s
    return times, np.full(len(times), round(rate_per_s * STEP_S))


def joined(*parts):
    return Curve.of(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))


def seconds(ns_by_second):
    for second, ns in ns_by_second.items():
        histogram = Histogram()
        histogram.add_one(ns, 1000)
        yield second, histogram


ACKNOWLEDGED = joined(steady(1000, 0, 12))
LIVE = joined(steady(1000, 0, 12, 0.005))
AWAY = joined(steady(1000, 0, 2, 0.005), steady(3000, 5, 6.5, 0.005), steady(1000, 6.5, 12, 0.005))
"""Nothing for three seconds, then three times the rate for half as long, in which 3,000 more come than are sent."""


def found(processed, latency=None, faults=FAULT):
    return phases.of(faults, dict.fromkeys(processed, ACKNOWLEDGED), processed, latency or {}, window=WINDOW)


def test_a_group_that_was_away_catches_up_and_the_other_notices_nothing():
    made = found({"slow": AWAY, "live": LIVE})
    slow, live = made["groups"]["slow"], made["groups"]["live"]
    assert slow["backlog_max"] == pytest.approx(3000, abs=50)
    assert slow["backlog_max_s"] == pytest.approx(5.0, abs=0.03)
    assert slow["caught_up_s"] == pytest.approx(6.5, abs=0.05)
    assert slow["catch_up_per_s"] == pytest.approx(3000, rel=0.05)
    assert [slow[name]["processed_per_s"] for name in phases.PHASES] == pytest.approx([1000, 0, 3000, 1000], rel=0.05, abs=10)
    assert live["backlog_max"] == 10
    assert live["caught_up_s"] == 5.0
    assert live["catch_up_per_s"] is None, "there was nothing to catch up with"
    assert [live[name]["processed_per_s"] for name in phases.PHASES] == pytest.approx([1000] * 4, rel=0.05)
    assert made["caught_up_s"] == slow["caught_up_s"]


def test_what_never_comes_is_no_backlog_to_catch_up_with():
    lossy = joined(steady(1000, 0, 2, 0.005), steady(1000, 5, 12, 0.005))
    group = found({"slow": lossy})["groups"]["slow"]
    assert group["backlog_max"] == pytest.approx(3000, abs=20)
    assert group["caught_up_s"] == 5.0
    assert group["during"]["processed_per_s"] == 0


def test_a_backlog_that_is_still_there_at_the_end_of_the_load_has_no_after():
    late = joined(steady(1000, 0, 2, 0.005), steady(1100, 5, 5 + 10 / 1.1, 0.005))
    made = found({"slow": late})
    assert made["caught_up_s"] > 12, "in the drain"
    assert made["groups"]["slow"]["after"] is None
    gone = joined(steady(1000, 0, 2, 0.005))
    assert found({"slow": gone})["groups"]["slow"]["during"]["processed_per_s"] == 0


def test_latencies_are_those_of_whole_seconds_of_a_phase():
    made = found({"slow": AWAY}, {"slow": seconds({0: 10, 1: 11, 2: 999, 5: 3000, 6: 999_999, 7: 20, 11: 21, 12: 5_000_000})})
    group = made["groups"]["slow"]
    assert [group[name]["n"] for name in phases.PHASES] == [2000, 1000, 1000, 2000]
    assert group["before"]["p50_ns"] in (10, 11)
    assert group["during"]["p99_ns"] == 999
    assert group["after"]["p99_ns"] in (20, 21), "second 6 has the end of the catching up in it, second 12 is after the load"


def test_several_faults_are_one_time_of_trouble_and_one_without_an_end_lasts_until_the_load_does():
    faults = [{"injected_s": 3.0, "healed_s": 4.0}, {"injected_s": 1.0, "healed_s": 1.5}, {"injected_s": None, "healed_s": None}]
    made = found({"live": LIVE}, faults=faults)
    assert (made["injected_s"], made["healed_s"]) == (1.0, 4.0)
    assert found({"live": LIVE}, faults=[{"injected_s": 3.0, "healed_s": None}])["healed_s"] == 12.0
    assert found({"live": LIVE}, faults=[{"injected_s": None, "healed_s": None}]) is None
    assert found({"live": LIVE}, faults=[]) is None


events = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=40)


@settings(deadline=None)  # a busy machine is no fault of the code
@given(events, events)
def test_a_backlog_is_what_plain_counting_says(ok, done):
    acknowledged, processed = (Curve.of([t for t, _ in rows], [n for _, n in rows]) for rows in (ok, done))
    backlog = Backlog.of(acknowledged, processed)
    plain = [max(sum(n for at, n in ok if at <= t) - sum(n for at, n in done if at <= t), 0) for t in sorted({t for t, _ in [*ok, *done]})]
    assert backlog.messages.tolist() == plain
    assert backlog.most()[0] == max(plain, default=0)


@settings(deadline=None)  # a busy machine is no fault of the code
@given(events, events, st.sampled_from([0.25, 0.5, 1.0]))
def test_a_sampled_backlog_has_every_peak_in_its_step(ok, done, step_s):
    acknowledged, processed = (Curve.of([t for t, _ in rows], [n for _, n in rows]) for rows in (ok, done))
    backlog = Backlog.of(acknowledged, processed)
    sampled = backlog.sampled(step_s, int(10 / step_s) + 1)
    assert max(sampled) == backlog.most()[0]
    for i, most in enumerate(sampled):
        inside = backlog.messages[(backlog.times_s >= i * step_s) & (backlog.times_s < (i + 1) * step_s)].tolist()
        before = backlog.messages[backlog.times_s < i * step_s].tolist()[-1:]
        assert most == max([*inside, *before], default=0)


def test_a_backlog_is_kept_in_few_steps_however_long_the_trial_was():
    made = found({"slow": AWAY, "live": LIVE})
    slow = made["groups"]["slow"]
    assert made["step_s"] == 0.05
    assert len(slow["backlog"]) == len(made["groups"]["live"]["backlog"]) == 240
    assert max(slow["backlog"]) == slow["backlog_max"]
    assert slow["backlog"].index(slow["backlog_max"]) * 0.05 == pytest.approx(5.0, abs=0.06)
    assert max(slow["backlog"][:40]) == 10
    late = joined(steady(1000, 0, 2), steady(1000, 5, 3600))
    long = found({"slow": late})
    assert (long["step_s"], len(long["groups"]["slow"]["backlog"])) == (30.0, 120)


@settings(deadline=None)  # a busy machine is no fault of the code
@given(events, events, st.floats(0, 10), st.floats(0, 10))
def test_it_is_gone_no_sooner_than_healed_and_small_from_then_on(ok, done, one, other):
    injected, healed = sorted((one, other))
    acknowledged, processed = (Curve.of([t for t, _ in rows], [n for _, n in rows]) for rows in (ok, done))
    backlog = Backlog.of(acknowledged, processed)
    gone = backlog.gone(injected, healed)
    if gone is None:
        return
    assert gone >= healed
    before = backlog.messages[backlog.times_s < injected].max(initial=0)
    left = int(acknowledged.by(np.array([gone]))[0] - processed.by(np.array([gone]))[0])
    assert left <= before + backlog.never


def test_curves_come_from_the_journals(tmp_path):
    producer = Writer(tmp_path, "p", segment_b=1 << 16)
    producer.span(Kind.ATTEMPT, trial=1, producer=0, first=0, count=9, t_first=0, t_last=1)
    producer.span(Kind.OK, trial=1, producer=0, first=0, count=4, t_first=10_000_000_000, t_last=11_000_000_000)
    producer.span(Kind.OK, trial=1, producer=0, first=4, count=5, group=1, t_first=11, t_last=12_000_000_000)
    producer.span(Kind.OK, trial=2, producer=0, first=9, count=7, t_first=11, t_last=12_000_000_000)
    consumer = Writer(tmp_path, "c", segment_b=1 << 16)
    consumer.span(Kind.RECEIVED, trial=1, producer=0, first=0, count=4, group=1, t_first=0, t_last=12_000_000_000)
    consumer.span(Kind.PROCESSED, trial=1, producer=0, first=0, count=3, group=1, t_first=0, t_last=13_000_000_000)
    ok = curves.acknowledged([Source(tmp_path, "p")], groups=["a", "b"], trial=1, go_ns=10_000_000_000)
    assert [(curve.times_s.tolist(), curve.sums.tolist()) for curve in ok.values()] == [([1.0], [4]), ([1.0, 2.0], [4, 9])]
    done = curves.processed([ConsumerSource(tmp_path, "c", group=1)], groups=["a", "b"], trial=1, go_ns=10_000_000_000)
    assert [(curve.times_s.tolist(), curve.sums.tolist()) for curve in done.values()] == [([], []), ([3.0], [3])]
