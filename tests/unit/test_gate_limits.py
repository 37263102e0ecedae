"""Limits of a check: what they say, and when results hold them."""

from argparse import Namespace

import pytest

from bench.errors import UsageError
from bench.gate.limits import missed, parse


def result(rate=2000.0, *, p99=5e6, n=50_000, delivered=1990.0, lost=0):
    return Namespace(
        point={"rate_per_s": rate, "size_b": None}, rate=Namespace(median=delivered), why="", absent={"e2e": "saturated"},
        latency={"e2e": Namespace(n=n, p50_ns=1e6, p90_ns=2e6, p99_ns=p99, p999_ns=None) if rate is not None else None},
        audit=[Namespace(counts={"lost": lost}), Namespace(counts={"lost": 0})],
    )  # fmt: skip


def told(results, **limits):
    return missed([parse(name, given) for name, given in limits.items()], results)


def test_what_holds_says_nothing():
    assert told([result()], p99="<= 5 ms", p50="≤ 1 ms", rate=">= 1.99 kHz", lost=0) == []


def test_what_does_not_hold_is_told_with_its_figure_and_place():
    assert told([result()], p99="<= 4 ms") == ["p99 is 5 ms at 2,000/s, asked for is <= 4 ms"]
    assert told([result(lost=3)], lost=0) == ["lost is 3 at 2,000/s, asked for is <= 0"]
    assert told([result()], rate=">= 2 kHz") == ["rate is 1,990/s at 2,000/s, asked for is >= 2,000/s"]


def test_a_figure_that_is_not_known_does_not_hold():
    assert told([result(n=500)], p999="<= 1 s") == ["p999 <= 1 s: no figure at 2,000/s (of 500 samples too few lie beyond it)"]
    assert told([result(None)], p99="<= 1 s") == ["p99 <= 1 s: no figure at full speed (saturated)"]
    assert told([], lost=0) == ["lost <= 0: nothing was measured"]
    one = result()
    one.audit = []
    assert told([one], lost=0) == ["lost <= 0: no figure at 2,000/s"]


def test_a_latency_is_of_the_set_rate_and_a_rate_of_full_speed_where_there_are_both():
    both = [result(None, delivered=90_000.0), result()]
    assert told(both, p99="<= 5 ms", rate=">= 80 kHz") == []
    assert told([*both, result(lost=1)], lost=0) != []


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("p98", "<= 1 ms", 'no limit or option "p98"; did you mean'),
        ("max_tim", "60s", 'no limit or option "max_tim"'),
        ("p99", "20 ms", 'write <= or >= and a value, such as "<= 20 ms"'),
        ("p99", 20, "write <= or >="),
        ("p99", "<= 20", "<= 20"),
        ("lost", True, "write <= or >="),
        ("lost", "<= 1.5", "not a whole number"),
        ("rate", ">= 5 ms", "ms"),
    ],
)
def test_wrong_limits_are_told(name, given, says):
    with pytest.raises(UsageError) as caught:
        parse(name, given)
    assert says in str(caught.value)
