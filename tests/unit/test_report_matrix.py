"""Delivery matrix, sizes of messages, capacity against p99: what they say, that their data is what is drawn, that nothing overlaps."""

import json

import pytest
from committed import FAULTS
from drawn import misplaced, rows, tags, words
from hypothesis import given, settings
from hypothesis import strategies as st
from made_over_time import HOSTILE, Made

from bench.analysis.summary import summarise
from bench.report.charts import matrix, pareto, payload

OBJECTIVE = {"text": "p99 <= 50 ms", "percentile": "p99", "limit_s": 0.05}


# ---- the matrix


def cell(mode="acks-all", fault="consumer-kill", verdict="no violation", n=20, *, lost=0, repeated=0, delivery="at-least-once", **more):
    shares = {"lost": {"events": lost, "n": n, "low": 0.0, "high": 0.139}, "duplicated": {"events": repeated, "n": n}} if n else {}
    judged = {
        "verdict": verdict, "n": n, "vacuous": 0, "undetermined": 0, "observed": "", "violations": ["3 reordered"], "surprises": [],
        "shares": shares,
    }  # fmt: skip
    return {
        "system": "kafka", "variant": f"kafka+{mode}", "mode": {"name": mode, "delivery": delivery}, "fault": fault, "status": "complete",
        "judged": judged, **more,
    }  # fmt: skip


CASES = {
    matrix.OK: cell(),
    matrix.REPEATS: cell(repeated=3),
    matrix.LOSS: cell(lost=2),
    matrix.BOTH: cell(lost=2, repeated=1),
    matrix.VIOLATED: cell(verdict="violated"),
    matrix.OPEN: cell(verdict="undetermined", n=0),
    matrix.VACUOUS: cell(verdict="vacuous", n=0),
    matrix.FAILED: cell(status="failed", judged=None),
    matrix.UNTRIED: cell(status="waiting", judged=None),
    matrix.NONE: cell(status="unsupported", judged=None),
}


def test_each_kind_of_cell_has_a_sign_and_a_word_of_its_own():
    assert {matrix.kind(one) for one in CASES.values()} == set(CASES)
    for kind, one in CASES.items():
        assert matrix.kind(one) is kind
    assert len({kind.sign for kind in CASES}) == len({kind.word for kind in CASES}) == len(CASES)
    assert matrix.kind(None) is matrix.NONE


def test_beneath_the_sign_stand_n_and_bound():
    assert matrix.words(CASES[matrix.OK]) == ("n 20", "p < 14%")
    assert matrix.words(CASES[matrix.LOSS]) == ("lost in", "2 of 20")
    assert matrix.words(CASES[matrix.VIOLATED]) == ("n 20", "3 reordered")
    assert matrix.words(CASES[matrix.UNTRIED]) == ("not tried",)
    assert matrix.words(CASES[matrix.VACUOUS]) == ("n 0", "no effect")


def test_the_title_says_whether_the_promise_held():
    assert matrix.title("Kafka", [cell(), cell(fault="zombie", repeated=1, n=3), cell(fault="x", status="waiting", judged=None)]) == (
        "Kafka: no promise violated (2 cells, 23 injections); repeats in 1 where allowed"
    )
    assert matrix.title("Kafka", [cell(verdict="violated", lost=1)]) == (
        "Kafka: promise violated by acks-all under consumer-kill (1 cell, 20 injections)"
    )
    assert matrix.title("Kafka", [CASES[matrix.OPEN]]) == "Kafka: nothing could be decided yet"


def test_the_table_has_every_cell_that_is_drawn():
    faults = [f"fault-number-{i}" for i in range(9)]
    cells = [cell(f"mode-{m}", fault) for m in range(2) for fault in faults]
    cells += [cell("mode-0", "never", status="waiting", judged=None)]
    cells[3] = {
        **CASES[matrix.VIOLATED],
        "fault": faults[3],
        "variant": "kafka+mode-0",
        "mode": {"name": "mode-0", "delivery": "at-least-once"},
    }
    chart = matrix.draw(cells, "kafka", "matrix-kafka", called="Apache Kafka")
    assert [label for label, _ in chart.data.head] == ["Mode", "Promise", *faults]
    table = rows(chart)
    assert table[0][5] == "promise violated: n 20 3 reordered"
    assert table[1][5] == "all arrived once: n 20 p < 14%"
    assert words(chart).count("p < 14%") == sum("p < 14%" in told for row in table for told in row) == 17
    assert "Not tried in any mode: never" in chart.caption
    assert misplaced(chart) == []


def test_matrices_of_what_was_measured_are_drawn():
    for folder in FAULTS:
        cells = json.loads((folder / "guarantees.json").read_text())["cells"]
        for system in dict.fromkeys(one["system"] for one in cells):
            chart = matrix.draw(cells, system, f"matrix-{system}")
            if chart is None:
                assert not any(one["judged"] for one in cells if one["system"] == system)
            else:
                assert misplaced(chart) == []


def test_odd_matrices_are_drawn_too():
    odd = [cell(HOSTILE, HOSTILE, delivery=HOSTILE), *({**one, "fault": f"f{i}"} for i, one in enumerate(CASES.values()))]
    odd[1]["judged"]["surprises"] = ["lost what the documentation keeps"]
    chart = matrix.draw(odd, "kafka", "m", called=HOSTILE)
    assert misplaced(chart) == []
    assert "script" not in tags(chart)
    assert "A frame" in chart.caption
    assert matrix.draw([CASES[matrix.UNTRIED]], "kafka", "m") is None
    assert matrix.draw([cell()], "redis", "m") is None


# ---- sizes


SIZES = (64, 1024, 131_072)


def sweep(names=("redis", "kafka"), factor=(2.0, 8.0), rate=200, codes=(), **more):
    made = Made()
    for i, size in enumerate(SIZES):
        for name, grows in zip(names, factor, strict=True):
            made.add(
                name, title=name.title(), groups=("g",), seconds=9, rate=rate, point={"rate_per_s": rate, "size_b": size},
                middle_ms=grows**i, bytes_per_s=size * (rate or 1000), codes=codes if i == 2 else (), **more,
            )  # fmt: skip
    return made


def sized(made):
    (family,) = payload.families(summarise(made))
    return payload.draw(family, "payload-1", {"redis": 0, "kafka": 3})


def test_sizes_make_one_family_for_each_of_the_other_axes():
    made = sweep(("redis",), (1.0,))
    made.add("redis", groups=("g",), seconds=4, point={"rate_per_s": 500, "size_b": 64})
    made.add("redis", groups=("g",), seconds=4, point={"rate_per_s": 200, "size_b": 500, "payload": "64 B to 12 KiB"})
    (family,) = payload.families(summarise(made))
    assert [point.point["size_b"] for point in family] == list(SIZES)
    assert payload.families([]) == []


def test_growth_is_told_from_the_smallest_to_the_largest_size():
    chart = sized(sweep())
    assert chart.title.startswith("p99 at 200/s grows 5")
    assert "times from 64 B to 128 KiB with Kafka" in chart.title
    assert chart.title.endswith("times with Redis")
    redis = rows(chart, "Redis (client)")
    assert [row[0] for row in redis] == ["64", "1,024", "131,072"]
    latency, moved = chart.figure.axes
    thick = next(line for line in latency.lines if line.get_linewidth() > 1)
    assert [f"{y:.2f}" for y in thick.get_ydata()] == [row[3] for row in redis]
    assert [row[4] for row in rows(chart, "Kafka (client)")] == ["0.0128", "0.205", "26.2"]
    assert sum(len(line.get_xdata()) == 1 for line in moved.lines) == 6
    assert misplaced(chart) == []


def test_no_latency_is_drawn_of_what_did_not_reach_its_rate_and_its_bytes_are_hollow():
    chart = sized(sweep(codes=("rate-not-reached",)))
    (group, _) = chart.data.groups
    assert [cell_.text for cell_ in group.rows[2]][2:4] == ["n/a", "n/a"]
    assert group.rows[2][5].text == "rate not reached"
    hollow = [line for line in chart.figure.axes[1].lines if len(line.get_xdata()) == 1 and line.get_markerfacecolor() == "#fffffe"]
    assert {float(line.get_xdata()[0]) for line in hollow} == {131_072.0}
    assert "to 1 KiB with" in chart.title


def test_at_full_speed_only_bytes_are_drawn():
    chart = sized(sweep(rate=None))
    assert len(chart.figure.axes) == 1
    assert chart.title.startswith("MB/s as fast as it goes grows 2,048 times from 64 B to 128 KiB with ")
    assert misplaced(chart) == []


def test_one_variant_and_eight_with_long_names_fit():
    for names in (("redis",), tuple(f"{HOSTILE} {i}"[-70:] for i in range(8))):
        assert misplaced(sized(sweep(names, (3.0,) * len(names)))) == []
    emulated = sweep(("sqs",), (2.0,), server={"product": "ElasticMQ", "emulator": True})
    assert sized(emulated) is None


# ---- capacity against latency


def search(variant, rate, p99_ms, *, kind="found", by="system", shares=(0.5, 0.7, 0.9), close=0.05, **more):
    sweep_ = [{"share": share, "rate_per_s": share * rate, "p99_ns": p99_ms * 1e6 * share / 0.7, "n": 30_000} for share in shares]
    answer = {"kind": kind, "rate_per_s": rate, "low_per_s": rate * (1 - close), "high_per_s": rate * (1 + close)}
    return {
        "variant": variant,
        "point": {},
        "producers": 1,
        "reference": False,
        "answer": answer,
        "limit": {"by": by},
        "sweep": sweep_,
    } | more


DELIVERIES = {"kafka": "at-least-once", "rabbitmq": "at-least-once", "streams": "at-least-once"}
SEARCHES = [
    search("kafka", 42_000, 15),
    search("rabbitmq", 17_000, 4.4),
    search("streams", 15_000, 5.1),
    search("zeromq", 120_000, 0.8, by="client"),
]


def test_the_frontier_is_within_one_guarantee():
    share, spots = pareto.chosen(SEARCHES, DELIVERIES, {"kafka": "Apache Kafka"})
    assert share == 0.7
    assert [spot.variant for spot in pareto.frontier(spots[:3])] == ["rabbitmq", "kafka"]
    chart = pareto.draw(SEARCHES, DELIVERIES, {"kafka": "Apache Kafka"}, OBJECTIVE, "pareto-1")
    unequal = "At-least-once: highest capacity Apache Kafka, lowest p99 rabbitmq; no delivery guarantee: zeromq alone"
    assert chart.title == f"{unequal}, >= 120,000/s, p99 800 µs"
    lines = [line for line in chart.figure.axes[0].lines if line.get_color() == "#5b6470"]
    assert [list(line.get_xdata()) for line in lines] == [[17_000.0, 42_000.0]]
    table = {row[0]: row for row in rows(chart)}
    assert [row[-1] for row in table.values()] == ["yes", "yes", "no", "yes"]
    assert table["zeromq"][2] == ">= 120,000"
    assert table["rabbitmq"][5] == "4.40"
    assert misplaced(chart) == []


def test_capacities_whose_intervals_meet_are_too_close_to_call():
    close = [search("kafka", 17_500, 15), search("rabbitmq", 17_000, 4.4)]
    assert "highest capacity kafka (too close to call with rabbitmq)" in pareto.draw(close, DELIVERIES, {}, OBJECTIVE, "p").title


def test_what_has_no_answer_no_latency_or_no_place_among_systems_is_left_out():
    odd = [
        search("a", 100, 1, kind="inconclusive"), search("b", 100, 1, kind="below"), search("c", 100, 1, reference=True),
        search("d", 100, 1, shares=()), search("e", 100, 1, answer=None), search("sqs", 100, 1),
    ]  # fmt: skip
    assert pareto.draw([*odd, SEARCHES[0]], {}, {}, OBJECTIVE, "p", emulated={"sqs"}) is None
    more = search("kafka", 60_000, 20, producers=2)
    _, spots = pareto.chosen([*SEARCHES[:2], more], DELIVERIES, {})
    assert [(spot.variant, spot.producers) for spot in spots] == [("kafka", 2), ("rabbitmq", 1)]
    assert pareto.chosen([], {}, {})[1] == []


spots_of = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=8)


@given(spots_of)
@settings(max_examples=60, deadline=None)
def test_nothing_on_a_frontier_is_beaten_and_all_else_is(pairs):
    spots = [pareto.Spot(str(i), str(i), "none", float(r), None, None, float(p), 1, False, 1) for i, (r, p) in enumerate(pairs)]
    front = pareto.frontier(spots)
    assert bool(front) == bool(spots)
    for spot in spots:
        better = [o for o in spots if (o.rate > spot.rate and o.p99_ns <= spot.p99_ns) or (o.rate >= spot.rate and o.p99_ns < spot.p99_ns)]
        assert (spot in front) == (not better)
    assert [spot.rate for spot in front] == sorted(spot.rate for spot in front)


@pytest.mark.parametrize("count", [2, 8])
def test_spots_with_long_names_at_one_place_fit(count):
    names = {str(i): f"{i} {HOSTILE}" for i in range(count)}
    chart = pareto.draw([search(str(i), 1000, 5, by="client") for i in range(count)], {}, names, OBJECTIVE, "p")
    assert misplaced(chart) == []
    assert "script" not in tags(chart)
