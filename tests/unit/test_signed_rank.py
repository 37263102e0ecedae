"""Signed ranks against enumeration of all signs, against scipy, and against their own definition."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.analysis import signed_rank

SIZES = st.floats(-50, 50, allow_nan=False).map(lambda v: round(v, 6))
DIFFERENCES = st.lists(SIZES, min_size=6, max_size=14)
FEW_VALUES = st.lists(st.integers(-2, 2).map(float), min_size=6, max_size=10)  # ties and zeros in plenty


def enumerated(n: int) -> list[float]:
    """P(T = t) by writing down all 2^n signs."""
    counts = [0] * (n * (n + 1) // 2 + 1)
    for signs in product((0, 1), repeat=n):
        counts[sum(rank for rank, positive in enumerate(signs, 1) if positive)] += 1
    return [count / 2**n for count in counts]


def p_by_enumeration(differences: list[float]) -> float:
    """Two-sided p of the classical rank sum, signs flipped in every way: only for differences without ties or zeros."""
    ranks = stats.rankdata(np.abs(differences))
    positive = sum(r for r, d in zip(ranks, differences, strict=True) if d > 0)
    total = len(ranks) * (len(ranks) + 1) / 2
    extreme = min(positive, total - positive)
    as_extreme = sum(np.dot(signs, ranks) <= extreme for signs in product((0, 1), repeat=len(ranks)))
    return min(1.0, 2 * as_extreme / 2 ** len(ranks))


def without_ties(n: int, seed: int) -> list[float]:
    return list(np.random.default_rng(seed).normal(0.3, 1, n))


@pytest.mark.parametrize("n", range(1, 11))
def test_null_distribution_is_that_of_all_signs(n: int):
    assert list(signed_rank.null_distribution(n)) == enumerated(n)


def test_null_distribution_of_many_sums_to_one_and_is_symmetric():
    chances = signed_rank.null_distribution(60)
    assert chances.sum() == pytest.approx(1, abs=1e-12)
    assert np.allclose(chances, chances[::-1], rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match="at least one"):
        signed_rank.null_distribution(0)


@pytest.mark.parametrize("n", [6, 7, 8, 9, 10])
def test_p_is_that_of_all_signs(n: int):
    for seed in range(5):
        differences = without_ties(n, seed)
        assert signed_rank.p_value(differences) == p_by_enumeration(differences)


@pytest.mark.parametrize("n", [6, 12, 20, 33])
def test_p_is_scipys_where_nothing_is_tied(n: int):
    for seed in range(5):
        differences = without_ties(n, seed)
        assert signed_rank.p_value(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, rel=1e-12)


def test_published_example():
    """Hollander & Wolfe, table 3.1 (Hamilton depression scale, nine patients): T+ = 5, estimate -0.46, interval of 96%."""
    before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    differences = [round(a - b, 3) for a, b in zip(after, before, strict=True)]
    assert signed_rank.centre(differences) == pytest.approx(-0.46)
    assert signed_rank.p_value(differences) == pytest.approx(0.0390625)  # one-sided 0.0195 in the book
    found = signed_rank.interval(differences, 0.05)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-0.786, -0.010))
    assert found.level == pytest.approx(0.9609375)


@given(DIFFERENCES | FEW_VALUES, st.sampled_from([0.2, 0.1, 0.05, 0.01]))
@settings(max_examples=150, deadline=None)
def test_the_interval_is_what_the_test_does_not_reject(differences: list[float], alpha: float):
    found = signed_rank.interval(differences, alpha)
    if found is None:
        assert 2.0 ** (1 - len(differences)) > alpha
        return
    assert found.level >= 1 - alpha
    assert found.low <= signed_rank.centre(differences) <= found.high
    step = 1e-6
    for centre, inside in ((found.low, True), (found.high, True), (found.low - step, False), (found.high + step, False)):
        assert (signed_rank.p_value([d - centre for d in differences]) > alpha) == inside
    assert (signed_rank.p_value(differences) <= alpha) == (found.low > 0 or found.high < 0)


@given(DIFFERENCES | FEW_VALUES)
@settings(max_examples=100, deadline=None)
def test_the_other_way_round_is_the_mirror(differences: list[float]):
    mirrored = [-d for d in differences]
    assert signed_rank.centre(mirrored) == -signed_rank.centre(differences)
    assert signed_rank.p_value(mirrored) == signed_rank.p_value(differences)
    ours, theirs = signed_rank.interval(differences, 0.05), signed_rank.interval(mirrored, 0.05)
    assert ours is not None
    assert theirs is not None
    assert (theirs.low, theirs.high) == (-ours.high, -ours.low)


@given(FEW_VALUES)
@settings(max_examples=60, deadline=None)
def test_ties_and_zeros_never_make_surer(differences: list[float]):
    """Whatever breaks the ties, an infinitesimal push: the p with ties is at least as large as with them broken."""
    pushed = np.asarray(differences) + np.random.default_rng(3).normal(0, 1e-4, len(differences))
    assert signed_rank.p_value(differences) >= signed_rank.p_value(pushed)
    tied, broken = signed_rank.interval(differences, 0.05), signed_rank.interval(pushed, 0.05)
    assert tied is not None
    assert broken is not None
    assert tied.low - 1e-3 <= broken.low
    assert broken.high <= tied.high + 1e-3


def test_no_difference_at_all_is_a_p_of_one():
    assert signed_rank.p_value([0.0] * 9) == 1.0
    assert signed_rank.interval([0.0] * 9, 0.05) == signed_rank.Interval(0.0, 0.0, pytest.approx(0.9609375))


def test_six_pairs_are_the_fewest():
    assert signed_rank.interval([0.1, 0.2, 0.3, 0.4, 0.5], 0.2) is None
    found = signed_rank.interval([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0.05)
    assert found == signed_rank.Interval(pytest.approx(0.1), pytest.approx(0.6), 1 - 2 / 64)
    assert signed_rank.interval([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0.03) is None
    assert [signed_rank.rounds_needed(a) for a in (0.05, 0.05 / 4, 0.2)] == [6, 8, 6]


@pytest.mark.parametrize("n", [6, 10, 20])
@pytest.mark.parametrize("shape", ["normal", "cauchy", "uniform"])
def test_coverage_is_the_exact_level_whatever_the_shape(n: int, shape: str):
    """2,000 sets: the number of intervals that hold the truth is binomial with the level that the interval names."""
    random = np.random.default_rng([n, len(shape)])
    draw = {"normal": random.standard_normal, "cauchy": random.standard_cauchy, "uniform": lambda size: random.uniform(-1, 1, size)}[shape]
    held, level = 0, 0.0
    for differences in np.asarray(draw((2000, n))) + 0.7:
        found = signed_rank.interval(differences, 0.05)
        assert found is not None
        level = found.level
        held += found.low <= 0.7 <= found.high
    low, high = stats.binom.ppf([0.0005, 0.9995], 2000, level)
    assert low <= held <= high
