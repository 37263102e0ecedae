"""Ladders in a report: claims held against what differs, ratios by hand, what other runs add, what is left to the application."""

import json
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_results import five, make

from bench import report as reports
from bench.analysis import absence, ladder
from bench.analysis.summary import summarise
from bench.report import brokerless, ladder_words
from bench.report import ladder as section
from bench.report.collection import Collection
from bench.report.markup import environment
from bench.report.text import DASH, TIMES
from bench.store import Run, open_run

LADDER = """\
name: steps
ladder:
- {step: direct, system: 'zeromq,mode=pub-sub'}
- {step: through a proxy, system: 'zeromq,mode=proxy', changes: [intermediary]}
- {step: to a log, system: kafka, changes: [intermediary, copies], after: direct}
- {step: never run, system: nats, changes: [stores]}
"""
RATE = ({"rate_per_s": 2000, "size_b": 256},)


def fakes():
    kafka, _, rabbitmq, sqs, zeromq, _, tcp = five()
    direct = replace(zeromq, id="zeromq,mode=pub-sub", p50_ms=0.4, cpu_us=(4.0, None, 6.0))
    proxied = replace(zeromq, id="zeromq,mode=proxy", p50_ms=0.8, cpu_us=(4.0, 10.0, 6.0), intermediary=True, product="zmq.proxy")
    for one in (direct, proxied):
        one.settings = {"producer": {"sndhwm": 1000, "sndbuf": -1}, "consumer": {"rcvhwm": 1000, "rcvbuf": -1}}
    return [direct, proxied, kafka, rabbitmq, sqs, tcp]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("ladder") / "steps-1", fakes(), rounds=6, samples=1200, points=RATE)
    (folder / "scenario.yaml").write_text(LADDER)
    read = open_run(folder)
    for trial in read.trials:
        trial["variant"]["mode"]["name"] = trial["variant"]["spec"].partition("mode=")[2] or "usual"
    return read


@pytest.fixture(scope="module")
def points(run):
    return summarise(run)


@pytest.fixture(scope="module")
def steps(run, points):
    return {one.claim.step: one for one in ladder.of(run, points[0])}


# --- claims


def test_claims_are_read_from_the_scenario():
    assert ladder.claims(LADDER)[:3] == (
        ladder.Claim("direct", "zeromq,mode=pub-sub", (), ""),
        ladder.Claim("through a proxy", "zeromq,mode=proxy", ("intermediary",), "direct"),
        ladder.Claim("to a log", "kafka", ("intermediary", "copies"), "direct"),
    )


@pytest.mark.parametrize("text", ["", "name: x", "ladder: 3", "ladder: [3]", "ladder: [{step: a}]", "{", "a: &a [*a]", "- a"])
def test_what_is_no_ladder_has_no_claims(text):
    assert ladder.claims(text) == ()


def test_words_of_a_claim_that_nobody_knows_are_left_out():
    text = LADDER.replace("[intermediary]", "[intermediary, <b>speed</b>, 3]")
    assert ladder.claims(text)[1].changes == ("intermediary",)


# --- what differs


def test_a_true_claim_and_a_false_one(steps):
    true, false = steps["through a proxy"], steps["to a log"]
    assert [one.aspect for one in true.differences] == ["intermediary"]
    assert true.kept
    assert [one.aspect for one in false.differences] == [
        "product", "client", "intermediary", "stores", "delivery", "persistence", "acknowledgement",
    ]  # fmt: skip
    assert false.undeclared == ("product", "client", "stores", "delivery", "persistence", "acknowledgement")
    assert false.unseen == ("copies",)
    assert steps["direct"].base is None
    assert steps["never run"].result is None


def test_a_false_claim_is_told(run, points, steps):
    told = ladder_words.changed(steps["to a log"])
    assert told.kind == "warn"
    assert "this step changes seven things at once, and the scenario does not name product, client, stores, delivery" in told.text
    assert "the scenario names copies, which does not differ" in told.text
    assert ladder_words.changed(steps["through a proxy"]) == "intermediary: no → yes"
    sentence = ladder_words.sentence(steps["to a log"], points[0], list(steps.values()))
    assert "It changes seven things at once: product, client" in sentence
    assert "it does not change copies, as the scenario says" in sentence
    assert "It changes one thing: intermediary." in ladder_words.sentence(steps["through a proxy"], points[0], list(steps.values()))


# --- ratios


def test_ratios_of_few_rounds_are_a_median_and_a_range():
    found = ladder.ratio({(0, 1): 1.0, (0, 2): 2.0, (0, 3): 4.0}, {(0, 1): 2.0, (0, 2): 2.0, (0, 3): 2.0, (0, 4): 9.0})
    assert found == ladder.Ratio(1.0, 0.5, 2.0, exact=False, rounds=3)
    assert ladder.ratio({(0, 1): 2.0}, {(0, 1): 3.0}) == ladder.Ratio(1.5, None, None, exact=False, rounds=1)
    assert ladder.ratio({(0, 1): 2.0}, {(0, 2): 3.0}) is None
    assert ladder.ratio({(0, 1): 0.0}, {(0, 1): 3.0}) is None


def test_ratios_of_six_rounds_are_hodges_and_lehmanns():
    base = {(0, i): 1.0 for i in range(6)}
    head = {(0, i): value for i, value in enumerate((1.1, 1.2, 1.3, 1.4, 1.5, 2.0))}
    logs = [math.log(value) for value in head.values()]
    walsh = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    found = ladder.ratio(base, head)
    assert found.ratio == pytest.approx(math.exp(walsh[len(walsh) // 2]))
    assert (found.low, found.high) == (pytest.approx(1.1), pytest.approx(2.0))
    assert found.exact
    assert found.apart
    assert not ladder.ratio(base, {**head, (0, 5): 0.9}).apart


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=12))
def test_swapping_the_sides_inverts_a_ratio(values):
    base, head = ({(0, i): pair[side] for i, pair in enumerate(values)} for side in (0, 1))
    one, other = ladder.ratio(base, head), ladder.ratio(head, base)
    if one.exact:  # the median of an even number of ratios is no ratio of medians
        assert one.ratio == pytest.approx(1 / other.ratio)
    if one.low is not None:
        assert one.low == pytest.approx(1 / other.high)
        assert one.high == pytest.approx(1 / other.low)


def test_a_steps_ratios_are_of_the_trials_own_figures(run, steps):
    def figures(spec, *path):
        found = {}
        for trial in run.trials:
            if trial["variant"]["spec"] == spec:
                value = trial
                for name in path:
                    value = value[name]
                found[0, trial["round"]] = value
        return found

    sides = "zeromq,mode=pub-sub", "zeromq,mode=proxy"
    for key, path in (
        ("p50", ("latency", "end_to_end_intended", "p50_ns")),
        ("p99", ("latency", "end_to_end_intended", "p99_ns")),
        ("cpu", ("cost", "total_ns")),
    ):
        base, head = (figures(spec, *path) for spec in sides)
        assert steps["through a proxy"].ratios[key] == ladder.ratio(base, head), key
    assert 1.5 < steps["through a proxy"].ratios["p50"].ratio < 2.2
    assert 1.6 < steps["through a proxy"].ratios["cpu"].ratio < 2.4


def test_no_latency_is_taken_from_a_round_that_did_not_reach_its_rate(run, points):
    (result,) = [one for one in points[0].results if one.id == "zeromq,mode=proxy"]
    trials = [dict(trial, findings=[{"code": "rate-not-reached"}]) if trial["round"] == 2 else trial for trial in result.trials]
    assert {at[1] for at in ladder.by_round(replace(result, trials=tuple(trials)), "p99")} == {1, 3, 4, 5, 6}
    assert len(ladder.by_round(replace(result, trials=tuple(trials)), "total")) == 6
    assert ladder.by_round(replace(result, latency={}), "p50") == {}


def test_a_ratio_of_a_step_that_did_not_reach_its_rate_is_marked(points):
    direct, kafka = (next(one for one in points[0].results if one.id == name) for name in ("zeromq,mode=pub-sub", "kafka"))
    slow = replace(kafka, standing="rate-not-reached")
    found = ladder.Ratio(2.0, None, None, exact=False, rounds=1)
    assert ladder_words.cell(found, (direct, kafka), "cpu").kind == "number"
    marked = ladder_words.cell(found, (direct, slow), "cpu")
    assert (marked.kind, marked.text) == ("warn", f"2.00{TIMES},\nrate not reached")


# --- pairs


def test_pairs_that_are_no_step_say_how_many_things_differ(run, points, steps):
    ((point, pairs),) = ladder.pairs(points, list(steps.values()))
    assert point is points[0]
    found = {(one.direct.id, one.through.id): len(one.differences) for one in pairs}
    assert found == {("zeromq,mode=pub-sub", "rabbitmq"): 7}, "neither the ladder's, nor the floor's, nor an emulator's"
    ((_, all_),) = ladder.pairs(points, [])
    assert {one.through.id for one in all_} == {"zeromq,mode=proxy", "kafka", "rabbitmq"}


def test_a_pair_stands_at_the_last_point_that_has_latencies(tmp_path):
    two = ({"rate_per_s": 200, "size_b": 256}, {"rate_per_s": 2000, "size_b": 256})
    direct, proxied, *_ = fakes()
    proxied.findings = {2000: [{"code": "rate-not-reached", "evidence": "", "advice": ""}]}
    direct.findings = dict(proxied.findings)
    read = summarise(open_run(make(tmp_path / "two", [direct, proxied], rounds=2, samples=1200, points=two)))
    ((point, (pair,)),) = ladder.pairs(read, [])
    # CPU is there at both: what is missing of a later point does not bring back the earlier one.
    assert point.point["rate_per_s"] == 2000
    assert pair.ratios.keys() == {"cpu"}


# --- a group away


def trial_of(spec="zeromq,mode=pub-sub", fault="away", before=1000.0, during=250.0, lost=7, **more):
    live = {"backlog_max": 5, "before": {"processed_per_s": before, "p99_ns": 2e6}, "during": {"processed_per_s": during, "p99_ns": 8e6}}
    away = {"backlog_max": 3000, "before": live["before"], "during": {"processed_per_s": 0.0, "p99_ns": None}}
    return {
        "status": "ok",
        "variant": {"system": "zeromq", "client": "pyzmq", "profile": "defaults", "spec": spec, "mode": {"name": "pub-sub"}},
        "faults": [{"fault": fault, "target": "consumer.away", "injected_s": 1.0}],
        "phases": {"groups": {"live": live, "away": away}},
        "audit": {"live": {"lost": 99, "unknown": 99}, "away": {"lost": lost, "unknown": 2}},
    } | more


def test_what_a_group_missed_and_what_the_others_noticed():
    trials = [trial_of(), trial_of(during=500.0, lost=3), trial_of(fault="kill"), trial_of(status="failed"), trial_of(phases=None)]
    (found,) = absence.of(trials, trials[0]["variant"])
    assert (found.fault, found.groups, found.trials, found.lost, found.unknown) == ("away", ("away",), 2, 10, 4)
    assert (found.behind.low, found.behind.high) == (3000, 3000)
    assert (found.others_rate.low, found.others_rate.high) == (0.25, 0.5)
    assert found.others_p99.median == 4.0
    (unknown,) = absence.of([trial_of(lost=None)], trials[0]["variant"])
    assert unknown.lost is None


def test_the_same_variant_by_another_spec():
    ours = trial_of()["variant"]
    assert absence.same(ours, trial_of(spec="zeromq")["variant"]), "the mode's name decides, not whether it was asked for"
    for other in (
        ours | {"mode": {"name": "proxy"}},
        ours | {"profile": "tuned"},
        ours | {"client": "zmq-ng"},
        ours | {"spec": "zeromq,mode=pub-sub,sndhwm=5"},
    ):
        assert not absence.same(ours, other)


# --- the section


def shown(collection, points):
    view = section.section(collection, points)
    html = environment(autoescape=True).get_template("ladder.html.j2").render(view=view)
    markdown = environment(autoescape=False).get_template("ladder.md.j2").render(view=view)
    return view, html, markdown


def by_step(table):
    return {re.match("“(.*?)”", row[0].text)[1]: row for row in table.groups[0].rows}


def test_the_section_of_a_ladder(run, points):
    view, html, markdown = shown(Collection(runs=(run,)), points)
    captions = [table.caption.split(":")[0] for table in view.content["tables"]]
    assert captions == ["What each step costs", "What each step buys", "With a broker and without, no step of a ladder"]
    costs, buys, _ = view.content["tables"]
    rows = by_step(costs)
    assert rows["through a proxy"][2].text == "intermediary: no → yes"
    assert rows["never run"][1].text == "not in this run"
    assert re.fullmatch(r"[\d.]+ \+ [\d.]+ \+ [\d.]+", rows["through a proxy"][6].text)
    assert re.fullmatch(r"[\d.]+ \+ none \+ [\d.]+", rows["direct"][6].text)
    assert "Highest rate ÷" not in {label for label, _ in costs.head}
    assert "was not measured: add a run of brokerbench guarantees" in buys.note
    assert "delivery: none → at-least-once" in html
    assert markdown.lstrip().startswith("- order-events, 2,000/s, 256 B: “through a proxy” against “direct”: p50")
    assert "It changes seven things at once" in markdown


def test_the_command_line_says_it_too(run):
    told = reports.verdict(run)
    assert "2,000/s, 256 B: “through a proxy” against “direct”: p50" in told
    assert "It changes seven things at once" in told
    assert "against" not in reports.verdict(replace(run, scenario_text=""))


def test_evidence_of_other_runs_comes_in_columns_of_its_own(run, points, tmp_path):
    direct = next(trial["variant"] for trial in run.trials if trial["variant"]["id"] == "zeromq,mode=pub-sub")
    away = replace(run, trials=[trial_of(variant=direct)], run=run.run | {"id": "away"})
    measured = {trial["variant"]["id"]: trial["variant"] for trial in run.trials}
    searches = [
        {"variant": name, "point": {"size_b": 256}, "producers": 1, "status": "complete", "limit": {"by": "system"},
         "answer": {"kind": "found", "rate_per_s": rate, "low_per_s": rate * 0.8, "high_per_s": rate * 1.25}}
        for name, rate in (("zeromq,mode=pub-sub", 40_000.0), ("zeromq,mode=proxy", 20_000.0))
    ]  # fmt: skip
    (tmp_path / "capacity.json").write_text(json.dumps({"format": 1, "searches": searches}))
    trials = [{"trial": i, "variant": variant} for i, variant in enumerate(measured.values())]
    capacity = Run(tmp_path, {"id": "capacity-1", "kind": "capacity", "scenario": "steps"}, trials=trials)
    view, *_ = shown(Collection(runs=(run, away), capacities=(capacity,)), points)
    costs, buys, *_ = view.content["tables"]
    at = [label for label, _ in costs.head].index("Highest rate ÷")
    rows = by_step(costs)
    assert rows["through a proxy"][at].text == f"0.500{TIMES} (0.320{DASH}0.781),\n20,000/s"
    assert rows["to a log"][at].text == "not measured"
    at = [label for label, _ in buys.head].index("A group away or slow")
    first, second, *_ = buys.groups[0].rows
    assert first[at].text == f"away: 3,000 messages behind at most, 7 lost and 2 unknown, the others' rate 0.250{TIMES} and p99 4.00{TIMES}"
    assert second[at].text == "not measured"


def test_there_is_no_section_where_all_stand_on_one_side(tmp_path):
    read = open_run(make(tmp_path / "one", [five()[0], five()[6]], rounds=1, samples=1200, points=RATE))
    assert section.section(Collection(runs=(read,)), summarise(read)) is None


def test_without_a_ladder_the_sides_are_told_apart_all_the_same(tmp_path):
    read = open_run(make(tmp_path / "one", rounds=1, samples=1200, points=RATE))
    view, html, _ = shown(Collection(runs=(read,)), summarise(read))
    assert view.content["sentences"] == []
    assert "No run here has a ladder" in html
    assert {row[1].text for row in view.content["tables"][0].groups[0].rows} >= {"Apache Kafka (kafka-python)", "RabbitMQ (pika)"}
    assert "Redis Pub/Sub (redis): an intermediary that stores nothing" in html


def test_names_with_markup_stay_text(run, points):
    hostile = LADDER.replace("through a proxy", "<script>alert(1)</script> | *x*")
    _, html, markdown = shown(Collection(runs=(replace(run, scenario_text=hostile),)), points)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<script>" not in markdown


# --- what is left to the application


@pytest.mark.parametrize(
    ("producer", "consumer", "says"),
    [
        (
            {"sndhwm": 1000, "sndbuf": -1},
            {"rcvhwm": 500, "rcvbuf": -1},
            "1,500 messages (sndhwm 1,000 + rcvhwm 500), and what the kernel's",
        ),
        ({"sndhwm": 0}, {"rcvhwm": 500}, "without bound (sndhwm 0 + rcvhwm 500)"),
        (
            {"sndbuf": 200_000},
            {"rcvbuf": 100_000},
            "300,000 B in socket buffers (sndbuf 200,000 + rcvbuf 100,000, 1,000 messages of 300 B)",
        ),
        ({"sndbuf": -1}, {"credit": 1000, "rcvbuf": -1}, "1,000 messages of credit, which its producer sends again while it lives"),
        ({}, {}, "not known"),
        ([1], "rcvhwm", "not known"),
    ],
)
def test_messages_at_risk_follow_from_settings(producer, consumer, says):
    assert brokerless.at_risk({"settings": {"producer": producer, "consumer": consumer}}, 300).startswith(says)


def test_what_no_broker_leaves_to_the_application(points):
    table = brokerless.table(points[0].results)
    (row,) = table.groups[0].rows
    assert row[0].text == "ZeroMQ (pyzmq), mode=pub-sub"
    assert row[-1].text == "2,000 messages (sndhwm 1,000 + rcvhwm 1,000), and what the kernel's socket buffers hold"
    assert "zmq.proxy" not in str(table)
