"""The steady-state check: what drifts is found, what only scatters is not, by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis import steady

N = 2000


def alarms(draw):
    return sum(bool(steady.of_rate(draw())) for _ in range(N))


@pytest.mark.parametrize("mean", [1, 5, 20, 100, 500, 5000])
def test_poisson_counts_are_steady(mean):
    random = np.random.default_rng(mean)
    assert alarms(lambda: random.poisson(mean, steady.SLICES).tolist()) <= 2


@pytest.mark.parametrize("batch", [10, 100, 500])
def test_a_constant_rate_that_arrives_in_batches_is_steady(batch):
    """2,000/s in slices of 0.42 s: each poll brings up to a batch, each with a delay of its own."""
    random = np.random.default_rng(batch)

    def draw():
        due = np.arange(0, 10_000, batch)
        arrived = (due + random.uniform(0, 3 * batch, len(due))) * 12 / 10_000
        return (np.bincount(np.minimum(arrived.astype(int), 12), minlength=13)[:12] * batch).tolist()

    assert alarms(draw) <= 10


@pytest.mark.parametrize("scatter", [0.02, 0.1, 0.3])
def test_a_rate_that_scatters_without_a_trend_is_steady(scatter):
    """At full speed: each slice's rate by itself. 1 in 1,000 is what six standard errors allow."""
    random = np.random.default_rng(int(scatter * 100))
    assert alarms(lambda: np.maximum(random.normal(1e5, scatter * 1e5, steady.SLICES), 0).astype(int).tolist()) <= 8


def test_what_drifts_is_found():
    random = np.random.default_rng(1)
    drifting = [
        np.linspace(100_000, 75_000, 12),
        np.array([1e5] * 6 + [6e4] * 6),
        np.array([5e4] * 4 + [1e5] * 8),
        np.linspace(2e4, 6e4, 12),
    ]
    for rates in drifting:
        found = sum(bool(steady.of_rate(random.normal(rates, 0.01 * rates).astype(int).tolist())) for _ in range(200))
        assert found >= 195, rates
    assert steady.of_rate([1000] * 4 + [900] * 4 + [800] * 4) == "delivered 4,000 in the first third and 3,200 in the last (-20%)"
    assert "from nothing" in steady.of_rate([0] * 4 + [900] * 8)


def test_what_is_small_or_not_known_is_no_drift():
    assert steady.of_rate([]) == ""
    assert steady.of_rate([0] * 12) == ""
    assert steady.of_rate([1000] * 4 + [950] * 4 + [905] * 4) == "", "9.5%"
    assert steady.of_rate([2] * 4 + [3] * 8) == "", "eight messages and twelve"


@pytest.mark.parametrize(
    ("p50_ms", "n", "drifts"),
    [
        ((9.9, 15.0, 20.0), (500, 500, 500), True),
        ((20.0, 15.0, 9.9), (500, 500, 500), True),
        ((0.0, 15.0, 20.0), (500, 500, 500), True),
        ((1.0, 3.0, 5.9), (500, 500, 500), False),  # 4.9 ms
        ((20.0, 25.0, 39.0), (500, 500, 500), False),  # a factor of 1.95
        ((5.0, 15.0, 20.0), (500, 500, 99), False),
        ((10.0, None, None), (500, 0, 500), False),
        ((), (), False),
    ],
)
def test_latency_drifts_by_a_factor_and_by_more_than_a_turn_of_the_scheduler(p50_ms, n, drifts):
    p50_ns = [None if value is None else value * 1e6 for value in p50_ms]
    assert bool(steady.of_latency(p50_ns, n)) is drifts


def test_medians_of_scattering_latencies_do_not_drift():
    """p50 of 100 latencies from 0.5 to 50 ms, heavy tailed, and a level that wanders by 15% between thirds."""
    random = np.random.default_rng(5)
    false = 0
    for _ in range(N):
        level = 10 ** random.uniform(5.7, 7.7)
        thirds = [np.median(level * random.lognormal(random.normal(0, 0.15), 0.5, 100)) for _ in range(3)]
        false += bool(steady.of_latency(thirds, (100, 100, 100)))
    assert false <= 0.003 * N


def test_a_backlog_that_grows_by_half_a_percent_is_found():
    """2,000/s offered, 1,990/s delivered, over 5 s: the rate counts as reached, and the last third waits for what is left over."""
    due = np.arange(10_000) / 2000
    latency = (np.arange(10_000) / 1990 - due + 0.001) * 1e9
    thirds = [float(np.median(part)) for part in np.array_split(latency, 3)]
    assert steady.of_latency(thirds, (3333, 3333, 3334)) == "p50 was 5.2 ms in the first third and 21.9 ms in the last"
    assert steady.drift({"p50_thirds_ns": thirds, "n_thirds": [3333] * 3, "slices": {"a": [829] * 12}}, saturated=True) == ""


def test_what_a_group_was_behind_and_caught_up_with():
    assert steady.caught_up([100] * 12, 1200) == 0
    assert steady.caught_up([90] * 12, 1200) == 0, "a backlog that only grows was never caught up with"
    assert steady.caught_up([110] * 12, 1200) == pytest.approx(120), "what had come before the window"
    assert steady.caught_up([0, 200] * 6, 1200) == pytest.approx(100)
    assert steady.caught_up([100, 0, 0, 250, 150, *[100] * 7], 1200) == pytest.approx(200)


@given(st.lists(st.integers(0, 500), min_size=12, max_size=12), st.floats(1, 6000))
def test_nobody_catches_up_with_more_than_was_delivered_nor_than_it_was_behind(counts, due):
    fell = steady.caught_up(counts, due)
    behind = np.cumsum([0.0, *(due / 12 - np.array(counts))])
    assert 0 <= fell <= sum(counts)
    assert fell == pytest.approx(max(behind[i] - behind[j] for i in range(13) for j in range(i, 13)))
