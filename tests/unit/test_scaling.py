"""The model of docs/scale.md: it finds again what trials were made from, and what it plans bears the load without one broker."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from committed import REFERENCE
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis import scaling
from bench.analysis.scaling import Costs, Line, Wanted
from bench.errors import UsageError
from bench.store import open_run
from benchmarks import scaling as tables
from benchmarks.evidence.common import between

LEAD, FOLLOW, STANDING = 40e-6, 25e-6, 0.08
KNOWN = Costs(LEAD, FOLLOW, STANDING, 20e-6, 10e-6, 1024, 2, 900.0)


def trials(factor, nodes, rates=(500.0, 2000.0, 4000.0), **more):
    """Of brokers that cost exactly so much, ten seconds each, with two groups of one member and one of two producers."""
    made = []
    for number, rate in enumerate(rates):
        busy = nodes * STANDING + rate * (LEAD + (factor - 1) * FOLLOW)
        made.append({
            "trial": number, "status": "ok", "lane": "", "window_s": 10.0, "point": {"size_b": 1024},
            "workload": {"groups": {"a": 1, "b": 1}, "partitions": 6},
            "variant": {"spec": f"kafka,nodes={nodes}", "settings": {"producer": {"replication_factor": factor}}},
            "rates": {"published_per_s": rate}, "nodes": [{"cpu_ns": busy / nodes * 1e10}] * nodes,
            "producers": [{"cpu_ns": (0.01 + rate * 10e-6) * 1e10}] * 2, "consumers": [{"cpu_ns": rate * 10e-6 * 1e10}] * 2,
        } | more)  # fmt: skip
    return made


def test_what_a_message_costs_is_found_in_trials_at_several_rates():
    one, copied = scaling.measured(trials(1, 3)), scaling.measured(trials(3, 3))
    assert one.brokers == Line(pytest.approx(3 * STANDING), pytest.approx(LEAD))
    known = scaling.costs(one, copied)
    assert known == Costs(
        pytest.approx(LEAD), pytest.approx(FOLLOW), pytest.approx(STANDING), pytest.approx(20e-6), pytest.approx(10e-6), 1024, 2, 4000 / 6
    )
    assert one.rates == (500.0, 2000.0, 4000.0)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ([], "no trial of a server"),
        (trials(1, 1, (500.0,)), "two rates"),
        ([trial | {"nodes": [{"cpu_ns": None}]} for trial in trials(1, 1)], "trial 0: the CPU of its brokers is not known"),
        (trials(1, 1, status="failed"), "no trial of a server"),
        (trials(1, 1, findings=[{"code": "rate-not-reached"}]), "no trial of a server"),
        (
            [trial | {"nodes": [{"cpu_ns": 4e9 - trial["trial"]}]} for trial in trials(1, 1)],
            r"nodes=1, brokers: cores do not grow .*0\.40 at 500/s",
        ),
        (trials(1, 1, lane="aa"), "no trial of a server"),
    ],
)
def test_trials_that_say_nothing_are_named(made, told):
    with pytest.raises(UsageError, match=told):
        scaling.measured(made)


def test_runs_that_do_not_go_together_are_named():
    one, copied = scaling.measured(trials(1, 1)), scaling.measured(trials(3, 3))
    with pytest.raises(UsageError, match="these have 3 and 1"):
        scaling.costs(copied, one)
    with pytest.raises(UsageError, match="same size"):
        scaling.costs(one, scaling.measured(trials(3, 3, point={"size_b": 64})))


def test_a_plan_by_hand():
    """1 M/s of 1 KiB to two groups, three copies: 90 us x 1 M = 90 cores; 3.07 GB/s in, 4.1 GB/s out, cards of 1.25 GB/s used at 60%."""
    plan = scaling.plan(KNOWN, Wanted(1e6))
    assert plan.by == "CPU"
    assert plan.brokers == math.ceil(90 / (16 * 0.6 - STANDING)) + 1 == 11
    assert plan.broker_cores == pytest.approx(90 + 11 * STANDING)
    assert (plan.in_b_per_s, plan.out_b_per_s) == (1e6 * 1024 * 3, 1e6 * 1024 * 4)
    assert (plan.producers, plan.members) == (math.ceil(20 / 0.6), math.ceil(10 / 0.6))
    assert plan.partitions == math.ceil(math.ceil(1e6 / 900) / 11) * 11
    assert scaling.plan(KNOWN, Wanted(1e6, network_b_per_s=1e9 / 8)).by == "network out"
    assert scaling.plan(KNOWN, Wanted(10.0)) == scaling.Plan(4, "copies", pytest.approx(90e-5 + 4 * STANDING), 30720, 40960, 1, 1, 4)
    with pytest.raises(UsageError, match=r"60% of 1 cores do not bear what a broker takes at rest, 0.90"):
        scaling.plan(Costs(LEAD, FOLLOW, 0.9, 1e-6, 1e-6, 64, 1, 1.0), Wanted(1.0, broker_cores=1))


@given(
    st.builds(
        Wanted, st.floats(1, 1e7), st.integers(1, 5), st.integers(2, 64), st.floats(1e8, 2e10), st.floats(0.1, 1.0), st.floats(0, 1e-3),
        st.floats(1, 1e5),
    )
)  # fmt: skip
def test_a_plan_bears_its_load_without_one_broker_and_no_smaller_one_does(wanted):
    plan, rate, slack = scaling.plan(KNOWN, wanted), wanted.rate_per_s, 1 + 1e-9

    def bears(brokers):
        cores = rate * (LEAD + (wanted.factor - 1) * FOLLOW) / brokers + STANDING
        busiest = max(plan.in_b_per_s, plan.out_b_per_s) / brokers
        fits = cores <= wanted.broker_cores * wanted.busy * slack and busiest <= wanted.network_b_per_s * wanted.busy * slack
        return fits and brokers >= wanted.factor

    assert bears(plan.brokers - 1)
    assert plan.brokers == 2 or not bears(plan.brokers - 2)
    assert plan.partitions >= plan.members
    assert plan.partitions % plan.brokers == 0
    assert rate / plan.partitions <= wanted.partition_per_s * slack
    assert rate * (KNOWN.consumer_s + wanted.work_s) / plan.members <= wanted.busy * slack
    assert scaling.plan(KNOWN, replace(wanted, rate_per_s=2 * rate)).brokers >= plan.brokers


@given(st.lists(st.tuples(st.floats(1, 1e5), st.floats(0, 64)), min_size=2, max_size=12))
def test_a_line_of_cost_never_goes_below_nothing(points):
    try:
        line = scaling.line(points)
    except UsageError:
        return
    assert line.standing >= 0
    assert line.each_s > 0


def test_a_page_gets_its_tables_between_its_markers():
    by_variant = [(1, 1, "kafka"), (1, 3, "kafka,nodes=3,replication_factor=1"), (3, 3, "kafka,nodes=3")]
    every = [
        trial | {"variant": trial["variant"] | {"spec": spec}} for factor, nodes, spec in by_variant for trial in trials(factor, nodes)
    ]  # fmt: skip
    made = tables.page(SimpleNamespace(run={"id": "made"}, trials=every))
    assert "a message costs its leader 40.0 \u00b5s, each follower 25.0 \u00b5s, a broker 0.080 cores" in made
    assert "| 1,000,000 | 3 | 11 | CPU | 91 | 24.6 | 32.8 | 34 | 17 |" in made
    text = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    once = between(text, tables.BEGIN, tables.END, "x")
    assert between(once, tables.BEGIN, tables.END, made) == f"before\n{tables.BEGIN}\n\n{made}\n\n{tables.END}\nafter\n"
    with pytest.raises(UsageError, match="the page has no"):
        between("nothing", tables.BEGIN, tables.END, made)
    with pytest.raises(UsageError, match="made: needs a variant with one copy and one with several"):
        tables.page(SimpleNamespace(run={"id": "made"}, trials=every[:6]))


def test_the_page_has_what_follows_from_the_committed_run_or_says_that_there_is_none():
    said = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    kept = REFERENCE / tables.SCENARIO
    made = tables.page(open_run(kept)) if kept.is_dir() else "Not measured yet"
    assert made in said.partition(tables.BEGIN)[2].partition(tables.END)[0]
