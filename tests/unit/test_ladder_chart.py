"""The chart of a ladder: what its title says is what the intervals say, and every value stands in its data."""

import re
from dataclasses import replace

import pytest
from drawn import rows, words
from make_results import five, make

from bench.analysis import ladder
from bench.analysis.ladder import Claim, Ratio, Step
from bench.analysis.summary import summarise
from bench.report.charts import ladder as chart
from bench.store import open_run

NAME = "“<through> $a$ proxy & more”"
CLAIMS = (Claim("direct", "a", (), ""), Claim(NAME, "b", ("intermediary",), "direct"), Claim("kept", "c", ("stores",), "direct"))


@pytest.fixture(scope="module")
def point(tmp_path_factory):
    zeromq = five()[4]
    fakes = [replace(zeromq, id=name, p50_ms=p50, cpu_us=(4.0, None, cpu)) for name, p50, cpu in (("a", 1, 6), ("b", 2, 6), ("c", 4, 26))]
    (made,) = summarise(
        open_run(make(tmp_path_factory.mktemp("stairs") / "r", fakes, rounds=3, samples=1200, points=({"rate_per_s": 200},)))
    )
    return made


def steps(point, *ratios, standing="ranked"):
    results = {one.id: replace(one, standing=standing) for one in point.results}
    first, *others = CLAIMS
    start = Step(first, results[first.spec], None)
    return [start, *(Step(claim, results[claim.spec], start.result, ratios=found) for claim, found in zip(others, ratios, strict=True))]


def sure(value):
    return Ratio(value, value * 0.9, value * 1.1, exact=True, rounds=6)


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ({"p50": sure(2.0), "cpu": sure(1.0)}, {"p50": sure(1.5)}, f"“{NAME}” has 2.00 times the p50 of “direct”, at 200/s"),
        ({"p50": sure(2.0)}, {"p99": sure(1.0), "cpu": sure(0.25)}, "“kept” has 0.250 times the CPU a message of “direct”, at 200/s"),
        ({"p50": sure(1.0)}, {"p50": sure(1.0)}, "No step costs more or less than the one that it stands against, as far as can be told"),
        ({"p50": Ratio(1.09, 1.05, 1.1, exact=True, rounds=6)}, {}, "No step costs more or less"),
        ({"p50": Ratio(9.0, 8.0, 10.0, exact=False, rounds=3)}, {}, "too few rounds to tell steps apart"),
    ],
)
def test_the_title_says_what_the_intervals_say(point, one, other, says):
    assert says in chart.title(point, steps(point, one, other))


def test_what_is_not_valid_is_not_spoken_of(point):
    assert chart.title(point, steps(point, {"p50": sure(9.0)}, {}, standing="not-valid")).startswith(
        "Not to be relied on: latency and CPU from “dir"
    )


def test_every_step_is_drawn_and_stands_in_the_data(point):
    shown = steps(point, {"p50": sure(2.0), "p99": sure(2.0), "cpu": sure(1.0)}, {"p50": sure(4.0), "cpu": sure(3.0)})
    made = chart.draw(point, shown, "ladder-1")
    told = " ".join(words(made).split())
    assert "<through> $a$ proxy" in told
    assert "kept" in told
    assert len(re.findall(r"[\d.]+ ms", told)) == 6
    assert len(re.findall(r"[\d.]+ µs", told)) == 3
    table = rows(made)
    assert [row[0] for row in table] == [claim.step for claim in CLAIMS]
    assert table[2][-9:] == ["4.00", "3.60", "4.40", "", "", "", "3.00", "2.70", "3.30"]
    assert table[0][6] == "none", "the intermediary of what has none"
    assert made == chart.draw(point, shown, "ladder-1")


def test_one_step_makes_no_stairs(point):
    assert chart.draw(point, steps(point, {}, {})[:1], "ladder-1") is None
    assert chart.draw(point, [Step(claim, None, None) for claim in CLAIMS], "ladder-1") is None
    unmeasured = [
        replace(one, result=replace(one.result, latency={}, cost=replace(one.result.cost, total=None))) for one in steps(point, {}, {})
    ]
    assert chart.draw(point, unmeasured, "ladder-1") is None
    assert ladder.by_round(unmeasured[0].result, "p50") == {}
