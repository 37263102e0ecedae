"""The search for a capacity, in virtual time: simulated servers, noise, stalls; the truth is known in closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.capacity.search import INVALID_MAX, PROBES_MAX, PROBES_MIN, Search

SEEDS = 100
WARMUP_S, PROBE_S, STALL_S = 0.5, 3.5, 1.0
OBJECTIVE_S = 0.020
NOISE, STALLED = 0.03, 0.05


def sojourns(arrivals, services, stall_at):
    """First come first served (Lindley); the server stops for STALL_S at ``stall_at`` (inf: never). Seconds in the system."""
    at = np.where(arrivals < stall_at, arrivals, np.maximum(arrivals - STALL_S, stall_at))  # time in which it works
    worked = np.cumsum(services)
    done = worked + np.maximum.accumulate(at - (worked - services))
    return np.where(done <= stall_at, done, done + STALL_S) - arrivals


class Server:
    """A probe at a rate: its noise, perhaps a stall, and whether p99 <= 20 ms and 99% came out within the window."""

    def __init__(self, seed, speed):
        self.random = np.random.default_rng(seed)
        self.speed = speed

    def probe(self, rate):
        speed = self.speed * math.exp(self.random.normal(0, NOISE))
        stall_at = self.random.uniform(0, PROBE_S - STALL_S) if self.random.random() < STALLED else math.inf
        arrivals, services = self.load(rate, speed)
        stayed = sojourns(arrivals, services, stall_at)
        left = arrivals + stayed
        offered, due = rate * (PROBE_S - WARMUP_S), arrivals >= WARMUP_S
        reached = np.count_nonzero((left >= WARMUP_S) & (left < PROBE_S)) >= 0.99 * min(offered, np.count_nonzero(due))
        return bool(reached and np.quantile(stayed[due], 0.99) <= OBJECTIVE_S)


class MM1(Server):
    """Poisson arrivals, exponential service: p99 of the sojourn time is ln(100) / (speed - rate)."""

    def load(self, rate, speed):
        gaps = self.random.exponential(1 / rate, int(rate * PROBE_S * 1.2) + 50)
        arrivals = np.cumsum(gaps)
        arrivals = arrivals[arrivals < PROBE_S]
        return arrivals, self.random.exponential(1 / speed, len(arrivals))

    @property
    def truth(self):
        return self.speed - math.log(100) / OBJECTIVE_S


class HardLimit(Server):
    """Each message takes the same time: below the limit none waits, above it all queue."""

    def load(self, rate, speed):
        n = int(rate * PROBE_S)
        return np.arange(n) / rate, np.full(n, 1 / speed)

    @property
    def truth(self):
        return self.speed


def searched(server, estimate, **more):
    search = Search(estimate, lowest=10, highest=1e6, **more)
    while search.rate is not None:
        search.tell(server.probe(search.rate))
    return search.answer()


@pytest.mark.parametrize("kind", [MM1, HardLimit])
def test_the_truth_is_found_within_five_percent_in_95_of_100_seeds(kind):
    found, covered = [], 0
    for seed in range(SEEDS):
        server = kind(seed, speed=2000)
        # An estimate is off by up to a factor of four either way.
        answer = searched(server, server.truth * 4 ** np.random.default_rng(1000 + seed).uniform(-1, 1))
        assert answer.kind == "found"
        assert answer.probes <= PROBES_MAX
        found.append(answer.rate_per_s / server.truth)
        covered += answer.low <= server.truth <= answer.high
    assert sum(abs(ratio - 1) <= 0.05 for ratio in found) >= 95, sorted(found)
    assert covered >= 90


def test_the_simulated_queue_is_the_textbooks():
    """The truth of the test above, checked without noise: M/M/1's p99 at the edge is the objective."""
    server = MM1(1, speed=2000)
    gaps = server.random.exponential(1 / server.truth, 2_000_000)
    stayed = sojourns(np.cumsum(gaps), server.random.exponential(1 / server.speed, len(gaps)), math.inf)
    assert np.quantile(stayed, 0.99) == pytest.approx(OBJECTIVE_S, rel=0.05)


def test_a_stalled_queue_gives_its_messages_late():
    arrivals = np.arange(0, 3, 0.1) + 0.05
    stayed = sojourns(arrivals, np.full(30, 0.01), 1.0)
    waited = STALL_S - (arrivals[10] - 1.0)
    assert stayed[9] == pytest.approx(0.01)
    assert stayed[10] == pytest.approx(waited + 0.01)


def drive(search, held, most=500):
    """Until it is over; the rates that were probed."""
    rates = []
    while search.rate is not None:
        rates.append(search.rate)
        search.tell(held(search.rate, len(rates)))
        assert len(rates) <= most
    return rates


@pytest.mark.parametrize("estimate", [1, 50, 100_000, 1e9])
def test_what_always_holds_is_said_to_hold_at_least_the_highest(estimate):
    search = Search(estimate, lowest=50, highest=100_000)
    rates = drive(search, lambda rate, n: True)
    answer = search.answer()
    assert (answer.kind, answer.rate_per_s, answer.low, answer.high) == ("at-least", 100_000, 100_000, None)
    assert max(rates) == 100_000
    assert len(rates) < PROBES_MAX
    assert all(later <= 2.001 * max(rates[: i + 1]) for i, later in enumerate(rates[1:])), "no leap into overload"


@pytest.mark.parametrize("estimate", [1, 50, 100_000, 1e9])
def test_what_never_holds_has_no_rate(estimate):
    search = Search(estimate, lowest=50, highest=100_000)
    rates = drive(search, lambda rate, n: False)
    answer = search.answer()
    assert (answer.kind, answer.rate_per_s, answer.low, answer.high) == ("below", None, None, 50)
    assert min(rates) == 50
    assert len(rates) < PROBES_MAX
    assert all(later >= min(rates[: i + 1]) / 4.001 for i, later in enumerate(rates[1:])), "no leap to the bottom"


@pytest.mark.parametrize("factor", [0.01, 0.1, 1, 10, 100])
def test_an_estimate_that_is_off_costs_probes_and_nothing_else(factor):
    search = Search(3000 * factor, lowest=1, highest=1e6)
    drive(search, lambda rate, n: rate <= 3000)
    answer = search.answer()
    assert answer.kind == "found"
    assert answer.low <= 3000 <= answer.high
    assert answer.rate_per_s == pytest.approx(3000, rel=0.05)


def test_invalid_probes_are_repeated_and_not_counted():
    search = Search(1000, lowest=1, highest=1e6)
    rates = drive(search, lambda rate, n: None if n % 2 else rate <= 3000)
    assert all(first == again for first, again in zip(rates[::2], rates[1::2], strict=False))
    answer = search.answer()
    assert answer.invalid == answer.probes
    assert answer.rate_per_s == pytest.approx(3000, rel=0.05)


def test_a_rate_that_is_invalid_again_and_again_does_not_hold():
    search = Search(1000, lowest=1, highest=1e6)
    rates = drive(search, lambda rate, n: None if rate > 800 else True)
    answer = search.answer()
    assert answer.rate_per_s == pytest.approx(800, rel=0.05)
    assert rates[:INVALID_MAX] == [1000] * INVALID_MAX
    assert answer.probes <= PROBES_MAX
    assert answer.invalid <= INVALID_MAX * answer.probes


def test_a_search_cut_short_says_that_it_does_not_know():
    search = Search(1000, lowest=1, highest=1e6)
    assert search.answer().kind == "inconclusive"
    search.tell(True)
    search.tell(True)
    assert search.answer().kind == "inconclusive"


def test_a_coin_is_no_server():
    """Answers that have nothing to do with the rate give a narrow interval now and then, not as a rule."""
    kinds = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        search = Search(1000, lowest=1, highest=1e6)
        drive(search, lambda rate, n, random=random: bool(random.random() < 0.5))
        kinds.append(search.answer().precise)
    assert sum(kinds) <= 6


def test_a_search_that_is_over_takes_no_answer():
    search = Search(1000, lowest=999, highest=1001, probes_max=1)
    search.tell(True)
    with pytest.raises(ValueError, match="over"):
        search.tell(True)


@pytest.mark.parametrize(("lowest", "highest"), [(0, 1), (5, 5), (10, 1), (1, math.inf)])
def test_no_range_is_an_error(lowest, highest):
    with pytest.raises(ValueError, match="no range"):
        Search(1, lowest=lowest, highest=highest)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-3, 1e12), st.floats(0.1, 1e6), st.floats(1.001, 1e6), st.integers(1, 60), st.lists(st.sampled_from([True, False, None]))
)
def test_any_answers_at_all(estimate, lowest, ratio, most, answers):
    """Whatever is told: rates stay in the range, the search ends, the answer's numbers are in order."""
    search = Search(estimate, lowest=lowest, highest=lowest * ratio, probes_max=most)
    rates = drive(search, lambda rate, n: answers[n % len(answers)] if answers else True)
    assert all(lowest <= rate <= lowest * ratio for rate in rates)
    answer = search.answer()
    assert answer.probes <= most
    known = [value for value in (answer.low, answer.rate_per_s, answer.high) if value is not None]
    assert known == sorted(known)
    if answer.precise and answer.kind == "found":
        assert answer.probes >= PROBES_MIN
