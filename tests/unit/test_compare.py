"""Comparisons: their arithmetic, their symmetry, and by simulation how often they are right."""

from __future__ import annotations

import math
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.analysis import compare
from bench.analysis.compare import Effect, Metric, estimate, judge
from bench.errors import UsageError

RATE = Metric("rate", True, 0.05)
P99 = Metric("p99", False, 0.10)
GATE_METRICS = (Metric("rate", True, 0.10), Metric("p50", False, 0.10), Metric("p99", False, 0.25))
OTHER = {"better": "worse", "worse": "better", "same": "same", "inconclusive": "inconclusive"}
VALUES = st.lists(st.tuples(st.floats(0.01, 1e6), st.floats(0.01, 1e6)), min_size=6, max_size=12)
PS = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def rounds(values: list[float], series: int = 1) -> dict[tuple[int, int], float]:
    return {(i % series, i // series): v for i, v in enumerate(values)}


def noisy(random, ratio, n, spread, series=1, series_spread=0.0):  # noqa: PLR0917  # numbers, in the order of the sentence below
    """Base and head: what disturbs a round hits both; head's own noise and its series' start come on top."""
    block = random.normal(0, 0.5, n)
    start = random.normal(0, series_spread, series)
    own = np.array([start[i % series] for i in range(n)]) + random.normal(0, spread, n)
    return rounds(list(np.exp(block)), series), rounds(list(ratio * np.exp(block + own)), series)


def one(base, head, metric: Metric = P99):
    return judge([(metric, estimate(base, head))], adjust="false-discovery")[0]


# ---- arithmetic


def test_an_example_by_hand():
    """Ratios 1.1 ... 1.6: with six rounds the interval is their range, p = 2/64, the estimate the median of 21 Walsh averages."""
    ratios = [1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    effect = estimate(rounds([7.0] * 6), rounds([7.0 * r for r in ratios]))
    logs = [math.log(r) for r in ratios]
    walsh = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    assert effect.ratio == pytest.approx(math.exp(walsh[10]))
    assert (effect.low, effect.high, effect.p) == (pytest.approx(1.1), pytest.approx(1.6), 2 / 64)
    assert (effect.rounds, effect.series, effect.unpaired) == (6, 1, ())


def test_the_block_cancels():
    """A round that was slow for both sides changes nothing."""
    effect = estimate(rounds([1.0, 50, 2, 900, 3, 4]), rounds([2.0, 100, 4, 1800, 6, 8]))
    assert (effect.ratio, effect.low, effect.high) == (pytest.approx(2), pytest.approx(2), pytest.approx(2))


@given(VALUES, st.integers(1, 3), st.floats(0.001, 1000))
@settings(max_examples=60, deadline=None)
def test_swapping_inverts_and_scaling_does_nothing(pairs, series: int, factor: float):
    base, head = rounds([b for b, _ in pairs], series), rounds([h for _, h in pairs], series)
    ours, theirs = estimate(base, head), estimate(head, base)
    assert (theirs.log, theirs.p, theirs.rounds) == (-ours.log, ours.p, ours.rounds)
    assert (theirs.log_low, theirs.log_high) == (pytest.approx(-ours.log_high, abs=1e-9), pytest.approx(-ours.log_low, abs=1e-9))
    assert theirs.error == pytest.approx(ours.error)
    for metric in (RATE, P99):
        assert one(head, base, metric).verdict == OTHER[one(base, head, metric).verdict]
    scaled = estimate({k: v * factor for k, v in base.items()}, {k: v * factor for k, v in head.items()})
    assert (scaled.log, scaled.log_low, scaled.log_high, scaled.p) == pytest.approx(
        (ours.log, ours.log_low, ours.log_high, ours.p), abs=1e-9
    )


@given(VALUES, st.floats(0.1, 10))
@settings(max_examples=60, deadline=None)
def test_a_faster_head_moves_the_ratio_by_as_much(pairs, factor: float):
    base, head = rounds([b for b, _ in pairs]), rounds([h for _, h in pairs])
    ours, moved = estimate(base, head), estimate(base, {k: v * factor for k, v in head.items()})
    assert (moved.ratio, moved.low, moved.high) == pytest.approx((ours.ratio * factor, ours.low * factor, ours.high * factor))


def test_the_estimate_lies_in_its_interval_also_with_unequal_series():
    random = np.random.default_rng(4)
    for _ in range(10):
        base, head = noisy(random, 1.2, 13, 0.1, series=3, series_spread=0.2)
        effect = estimate(base, head)
        assert effect.series == 3
        assert effect.low <= effect.ratio <= effect.high
        assert estimate(base, head) == effect  # seeded


def test_series_that_disagree_widen_the_interval():
    agreeing = [1.10, 1.11, 1.09, 1.12, 1.08, 1.10, 1.11, 1.09, 1.10]
    shifted = [v * (0.9, 1.0, 1.1)[i % 3] for i, v in enumerate(agreeing)]
    base = rounds([1.0] * 9, 3)
    narrow, wide = estimate(base, rounds(agreeing, 3)), estimate(base, rounds(shifted, 3))
    assert narrow.low > 1
    assert wide.low < 1 < wide.high
    assert wide.p > 0.05
    # Looked at as one series the same figures would have been called different.
    assert estimate(rounds([1.0] * 9), rounds(shifted)).p < 0.05


def test_series_error_is_the_spread_of_the_centres_where_rounds_agree():
    """Within a series all rounds are equal: then only the series vary, and the error is that of a mean of k centres."""
    centres = np.array([-0.3, -0.1, 0.0, 0.1, 0.2, 0.35, -0.25, 0.0])
    effect = estimate(
        {(s, r): 1.0 for s in range(8) for r in range(2)}, {(s, r): math.exp(c) for s, c in enumerate(centres) for r in range(2)}
    )
    assert effect.freedom == 7
    assert effect.error == pytest.approx(centres.std(ddof=1) / math.sqrt(8), rel=0.15)  # Hodges-Lehmann of few is no mean


# ---- verdicts


def effect_of(log: float, low: float, high: float, p: float, n: int = 10) -> Effect:
    return Effect(n, 1, math.log(log), math.log(low), math.log(high), p, 0.01, n - 1)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "p", "metric", "verdict"),
    [
        (1.30, 1.20, 1.40, 0.002, P99, "worse"),
        (1.30, 1.20, 1.40, 0.002, Metric("rate", True, 0.1), "better"),
        (0.70, 0.60, 0.80, 0.002, P99, "better"),
        (1.00, 0.95, 1.05, 0.8, P99, "same"),
        (1.05, 1.02, 1.08, 0.002, P99, "same"),  # a difference, but none that matters
        (1.00, 0.95, 1.12, 0.8, P99, "inconclusive"),  # straddles the margin
        (1.20, 0.99, 1.40, 0.06, P99, "inconclusive"),  # 1 is not ruled out
        (1.08, 1.02, 1.15, 0.01, P99, "inconclusive"),  # different, perhaps by less than the margin
        (1.00, 1 / 1.1, 1.1, 0.8, P99, "same"),  # the margin itself is within
    ],
)
def test_verdicts(ratio, low, high, p, metric, verdict):  # noqa: PLR0917  # a table's columns
    found = judge([(metric, effect_of(ratio, low, high, p))], adjust="holm")[0]
    assert found.verdict == verdict
    assert bool(found.why) == (verdict == "inconclusive")


def test_the_family_counts():
    clear, doubtful = (P99, effect_of(1.5, 1.1, 2.0, 0.03)), (P99, effect_of(1.0, 0.5, 2.0, 0.9))
    assert judge([clear], adjust="holm")[0].verdict == "worse"
    found = judge([clear, doubtful], adjust="holm")[0]
    assert (found.verdict, found.p) == ("inconclusive", 0.06)
    assert found.why == "a ratio of 1 is not ruled out (p = 0.06 among 2 comparisons)"
    # What could not be compared counts as well: leaving it out would make the others surer.
    few = (P99, estimate(rounds([1.0] * 3), rounds([2.0] * 3)))
    assert judge([clear, few], adjust="holm")[0].verdict == "inconclusive"


def test_too_few_rounds_have_no_interval():
    found = one(rounds([1.0] * 5), rounds([3.0] * 5))
    assert (found.verdict, found.p, found.smallest, found.effect.low, found.effect.p) == ("inconclusive", None, None, None, None)
    assert found.effect.ratio == pytest.approx(3)
    assert found.why == "5 paired rounds; an interval needs 6"
    assert one({}, {}).effect.ratio is None


@pytest.mark.parametrize("value", [None, 0.0, -1.0, math.nan, math.inf])
def test_a_round_that_a_side_lacks_is_never_passed_over(value):
    base, head = rounds([1.0] * 8), rounds([1.0] * 8)
    assert one(base, head).verdict == "same"
    if value is None:
        del head[0, 5]
    else:
        head[0, 5] = value
    found = one(base, head)
    assert (found.verdict, found.missing) == ("inconclusive", True)
    assert found.why == "missing: round 5 of series 0 has no figure in head"
    assert one(head, base).why == "missing: round 5 of series 0 has no figure in base"


def test_a_round_that_both_lack_is_told_where_it_was_expected():
    base = head = rounds([1.0] * 8)
    effect = estimate(base, head, expected=[(0, 3), (1, 0), (1, 1)])
    assert effect.unpaired == tuple(f"round {r} of series 1 has no figure in base and head" for r in (0, 1))
    assert judge([(P99, effect)], adjust="holm")[0].why.endswith("and 1 more")


def test_metrics_missing_or_renamed():
    good = {m.name: rounds([1.0] * 8) for m in GATE_METRICS}
    assert [c.verdict for c in compare.compare_metrics(good, good, GATE_METRICS)] == ["same"] * 3
    without = {name: values for name, values in good.items() if name != "p99"}
    found = compare.compare_metrics(good, without, GATE_METRICS)[2]
    assert (found.metric.name, found.verdict, found.missing, found.why) == ("p99", "inconclusive", True, "missing: p99 in head")
    assert compare.compare_metrics(good | {"p99": {}}, without, GATE_METRICS)[2].why == "missing: p99 in base and head"
    with pytest.raises(UsageError, match=r"p99_ms: no such metric here; known: p50, p99, rate"):
        compare.compare_metrics(good, without | {"p99_ms": rounds([1.0] * 8)}, GATE_METRICS)


def test_a_gate_over_three_metrics_needs_seven_rounds():
    slower = {"rate": 0.5, "p50": 2.0, "p99": 2.0}
    for n, verdict in ((6, "inconclusive"), (7, "worse")):
        base, head = {k: rounds([1.0] * n) for k in slower}, {k: rounds([v] * n) for k, v in slower.items()}
        found = compare.compare_metrics(base, head, GATE_METRICS)
        # All three clear: Holm's first step asks 3 x 2^(1-n) <= 0.05.
        assert {c.verdict for c in found} == {verdict}


def test_a_margin_is_a_share():
    for margin in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="margin of rate"):
            Metric("rate", True, margin)


# ---- families


@given(PS)
@settings(max_examples=100, deadline=None)
def test_holm_is_the_closed_test_of_bonferroni(ps: list[float]):
    """Adjusted p of i = the largest, over all subsets that hold i, of (size x smallest p): Holm's own derivation."""
    indices = range(len(ps))
    subsets = list(chain.from_iterable(combinations(indices, size) for size in range(1, len(ps) + 1)))
    expected = [max(min(1.0, len(s) * min(ps[j] for j in s)) for s in subsets if i in s) for i in indices]
    assert compare.holm(ps) == pytest.approx(expected)


@given(PS, st.floats(0.001, 0.5))
@settings(max_examples=100, deadline=None)
def test_false_discovery_is_the_step_up(ps: list[float], alpha: float):
    """Benjamini & Hochberg 1995 (1): reject the k smallest, k the largest with p(k) <= k/m alpha."""
    ordered = sorted(ps)
    assume(all(abs(p - k / len(ps) * alpha) > 1e-9 for k, p in enumerate(ordered, 1)))
    k = max((k for k, p in enumerate(ordered, 1) if p <= k / len(ps) * alpha), default=0)
    assert sum(p <= alpha for p in compare.false_discovery(ps)) == k
    assert compare.false_discovery([]) == []


# ---- how often it is right


def test_equal_systems_are_hardly_ever_called_different():
    """A/A: with a margin of 0 the share of false alarms is the exact level of eight rounds, under 5%; with a margin far less."""
    random = np.random.default_rng(11)
    called = {0.0: 0, 0.10: 0}
    for _ in range(2000):
        effect = estimate(*noisy(random, 1.0, 8, 0.08))
        for margin in called:
            called[margin] += judge([(Metric("p99", False, margin), effect)], adjust="holm")[0].verdict in {"better", "worse"}
    assert called[0.0] <= stats.binom.ppf(0.9995, 2000, 0.05)
    assert called[0.0] >= stats.binom.ppf(0.0005, 2000, 10 / 256)  # P(T <= 3) of eight: the test is as sharp as it can be
    assert called[0.10] < called[0.0] / 2


def test_a_report_of_equal_systems_claims_hardly_anything():
    """Ten comparisons a table, none real: any claim is false, so the false discovery rate is the share of tables with a claim."""
    random = np.random.default_rng(12)
    tables = 0
    for _ in range(300):
        family = [(Metric("p99", False, 0.0), estimate(*noisy(random, 1.0, 10, 0.1))) for _ in range(10)]
        tables += any(c.verdict != "inconclusive" for c in judge(family, adjust="false-discovery"))
    assert tables <= stats.binom.ppf(0.9995, 300, 0.05)


@pytest.mark.parametrize(("series", "each", "series_spread"), [(3, 5, 0.1), (3, 5, 0.0), (5, 3, 0.1)])
def test_coverage_with_series_of_their_own(series: int, each: int, series_spread: float):
    """Servers that start well or badly: the interval still holds the truth in 95 of 100 sets."""
    random = np.random.default_rng([series, each])
    sets, held, as_one = 150, 0, 0
    for _ in range(sets):
        base, head = noisy(random, 1.3, series * each, 0.1, series, series_spread)
        effect = estimate(base, head)
        held += effect.low <= 1.3 <= effect.high
        pooled = estimate({(0, 100 * s + r): v for (s, r), v in base.items()}, {(0, 100 * s + r): v for (s, r), v in head.items()})
        as_one += pooled.low <= 1.3 <= pooled.high
    assert held >= stats.binom.ppf(0.001, sets, 0.95)
    if series_spread:
        assert as_one < stats.binom.ppf(0.001, sets, 0.95), "looked at as one series they would not: the test can fail"


def test_the_smallest_effect_is_found_about_four_times_in_five():
    """Simulated at the very size that is said to be visible, the verdict is there in 73 to 80 of 100."""
    random = np.random.default_rng(13)
    for n, spread, margin in ((8, 0.1, 0.0), (20, 0.1, 0.0), (12, 0.05, 0.25)):
        metric = Metric("p99", False, margin)
        told = np.median([math.log(one(*noisy(random, 1.0, n, spread), metric).smallest) for _ in range(200)])
        found = [one(*noisy(random, math.exp(told), n, spread), metric).verdict for _ in range(400)]
        assert 0.66 <= found.count("worse") / 400 <= 0.86
        assert "better" not in found
        finer = [one(*noisy(random, math.exp(told / 4), n, spread), metric).verdict for _ in range(200)]
        assert finer.count("worse") < 60


def test_the_smallest_effect_follows_the_margin_and_the_spread():
    exact = one(rounds([1.0] * 8), rounds([1.0] * 8))
    assert exact.smallest == pytest.approx(1.1)  # no spread: what remains is the margin
    random = np.random.default_rng(14)
    base, head = noisy(random, 1.0, 10, 0.2)
    effect = estimate(base, head)
    half, level = (effect.log_high - effect.log_low) / 2, 1 - 2 * 25 / 1024  # ten rounds: P(T <= 8) = 25/1024
    t = stats.t(9)
    assert effect.error == pytest.approx(half / t.ppf((1 + level) / 2))
    assert compare.smallest_effect(effect, 0.0) == pytest.approx(math.exp(half + t.ppf(0.8) * effect.error))
    assert compare.smallest_effect(effect, 2.0) == pytest.approx(3 * math.exp(t.ppf(0.8) * effect.error))


# ---- the ratio of medians


def test_ratio_of_medians():
    random = np.random.default_rng(15)
    base, head = noisy(random, 1.5, 15, 0.05)
    ratio, low, high = compare.ratio_of_medians(base, head)
    assert ratio == pytest.approx(np.median(list(head.values())) / np.median(list(base.values())))
    assert low <= ratio <= high
    assert compare.ratio_of_medians(base, head) == (ratio, low, high)
    inverse = compare.ratio_of_medians(head, base)
    assert inverse == pytest.approx((1 / ratio, 1 / high, 1 / low))
    with pytest.raises(ValueError, match="5 paired rounds"):
        compare.ratio_of_medians(rounds([1.0] * 5), rounds([1.0] * 5))
    with pytest.raises(ValueError, match="positive"):
        compare.ratio_of_medians(base, head | {(0, 0): 0.0})


def test_ratio_of_medians_covers_about_as_often_as_it_says():
    random = np.random.default_rng(16)
    held = 0
    for _ in range(100):
        base, head = noisy(random, 1.5, 20, 0.1)
        _, low, high = compare.ratio_of_medians(base, head)
        held += low <= 1.5 <= high
    assert held >= 88  # approximate, as its docstring says
