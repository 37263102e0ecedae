"""The chooser: who met what is needed in given results, and by what figure; what was never measured is never met."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from committed import OTHERS
from hypothesis import given, settings
from hypothesis import strategies as st
from make_choosing import KEYS, POINTS, fakes
from make_results import finding, make

import adapters
from bench import cli
from bench.analysis.absence import Absence
from bench.analysis.summary import PointSummary, Spread
from bench.choosing import facts, measured, needs, promises
from bench.choosing.answers import Answered, Candidate, answer, answers
from bench.errors import UsageError
from bench.histogram import Histogram
from bench.report import choose, text
from bench.report.collection import Collection, gather
from bench.store import open_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("runs") / "a-run", fakes(), samples=2000, points=POINTS)


@pytest.fixture(scope="module")
def gathered(folder: Path) -> Collection:
    return gather([folder])


@pytest.fixture(scope="module")
def points(gathered: Collection) -> tuple[PointSummary, ...]:
    return gathered.points(gathered.runs[0])


@pytest.fixture(scope="module")
def found(gathered: Collection) -> list[Candidate]:
    return choose.candidates(gathered)


def one(found: list[Candidate], name: str, **given: Any) -> Answered:
    asked = needs.parse({key.replace("_", "-"): value for key, value in given.items()})
    return answer(next(c for c in found if c.id == name), asked)


def words(judged: Answered) -> str:
    return " | ".join(said for said, _ in judged.words)


# ---- what is declared


def test_every_mode_of_every_adapter_is_understood() -> None:
    for system in adapters.BUILT_IN:
        for mode in adapters.load(system).capabilities.modes:
            declared = {"delivery": mode.delivery.value, "persistence": mode.persistence.value, "copies": mode.copies}
            declared |= {"ordering": mode.ordering, "late_subscriber": mode.late_subscriber, "slow_consumer": mode.slow_consumer}
            levels = promises.levels(declared)
            assert None not in levels.values() or system == "memory", (system, mode.name, levels)


@pytest.mark.parametrize(
    ("ordering", "partitions", "members", "routing", "level"),
    [
        ("partition", 1, 1, "key", needs.TOTAL),
        ("partition", 4, 4, "key", needs.KEY),
        ("partition", 4, 1, "round-robin", needs.NONE),
        ("queue, one consumer", 1, 1, "key", needs.PRODUCER),
        ("queue, one consumer", 1, 2, "key", needs.NONE),
        ("queue, one consumer", 4, 2, "key", needs.KEY),
        ("pipe", 4, 1, "round-robin", needs.PRODUCER),
        ("pipe", 4, 2, "key", needs.NONE),
        ("best effort", 1, 1, "key", needs.NONE),
        ("what no adapter says", 1, 1, "key", None),
    ],
)
def test_order_depends_on_partitions_members_and_routing(
    ordering: str, partitions: int, members: int, routing: str, level: int | None
) -> None:
    workload = {"partitions": partitions, "groups": {"a": members, "b": 1}, "routing": routing}
    assert promises.order({"ordering": ordering}, workload) == level


def test_what_is_declared_in_unknown_words_is_no_promise(found: list[Candidate]) -> None:
    judged = one(found, "redis-pubsub", replay=True)  # "gets all" may mean anything
    assert judged.answer == "never measured", "neither promised nor refused"
    assert "does not show: replay" in words(judged)


# ---- needs


def test_needs_have_units_and_errors_that_help() -> None:
    asked = needs.parse(
        {"delivery": "exactly-once", "rate": "2k/s", "p99": "20 ms", "payload": "1 KiB", "groups": "3", "replay": True, "copies": None}
    )
    assert asked == {"lossless": 1, "unrepeated": 1, "rate": 2000, "p99_ns": 20_000_000, "payload_b": 1024, "groups": 3, "replay": 1}
    assert needs.told(asked) == ["delivery exactly-once", "rate 2,000/s", "p99 20 ms", "payload 1 KiB", "groups 3", "replay"]
    assert needs.parse({"delivery": "any", "ordering": "none"}) == {}
    for given_, said in (
        ({"delivery": "atleast once"}, r'--delivery "atleast once": did you mean "at-least-once"\?'),
        ({"rate": "2000"}, r"--rate: 2000 has no unit"),
        ({"payload": "1 KiP"}, r'--payload: .*did you mean "1 KiB"\?'),
        ({"p99": "0 ms"}, r"--p99 .*more than 0"),
        ({"ordring": "key"}, r'"ordring" is no need; did you mean "ordering"\?'),
    ):
        with pytest.raises(UsageError, match=said):
            needs.parse(given_)


# ---- met, not met, never measured


def test_met_by_a_load_no_smaller_with_its_figure(found: list[Candidate]) -> None:
    judged = one(
        found, "kafka", rate="1k/s", p99="50 ms", payload="1 KiB", groups="3", delivery="at-least-once", ordering="key", replay=True
    )
    assert judged.answer == "met"
    assert words(judged).startswith("2,000/s, 1,024 B, 3 groups: p99 ")
    assert "promised: at-least-once; 0 of" in words(judged)
    assert "the whole log" in words(judged)
    assert judged.words[1][1] == "https://example.org/docs"


@pytest.mark.parametrize("more", [{"rate": "2,001/s"}, {"payload": "1025 B"}, {"groups": "4"}, {"members": "2"}, {"ordering": "producer"}])
def test_what_is_more_than_was_measured_is_never_met(found: list[Candidate], more: dict[str, str]) -> None:
    judged = one(found, "kafka", **{"rate": "2k/s", "p99": "50 ms", "payload": "1 KiB"} | more)
    assert judged.answer == "never measured"
    assert "does not show: " in words(judged)
    assert "2,000/s, 1,024 B" in words(judged), "the nearest is named"


def test_a_saturated_rate_counts_without_a_latency_only(found: list[Candidate]) -> None:
    assert one(found, "kafka", rate="30k/s").answer == "met"
    assert one(found, "kafka", rate="30k/s", p99="10 s").answer == "never measured"
    high = one(found, "kafka", rate="45k/s")
    assert high.answer == "not met"
    assert re.search(r"as fast as it goes.*: [\d,]+/s \(", words(high))


def test_a_budget_below_what_was_measured_is_not_met_with_the_figure(found: list[Candidate]) -> None:
    judged = one(found, "kafka", rate="200/s", p99="1 ms")
    assert judged.answer == "not met"
    assert "200/s, 256 B, 3 groups: p99 " in words(judged)
    assert one(found, "kafka", rate="100/s", p99="1 ms").answer == "never measured", "at a smaller load it might hold"


def test_rounds_on_both_sides_of_the_budget_are_too_close_to_call(found: list[Candidate], folder: Path) -> None:
    rounds = [
        t["latency"]["end_to_end_intended"]["p99_ns"]
        for t in open_run(folder).trials
        if t["variant"]["id"] == "kafka" and t["point"] == POINTS[0]
    ]
    between = f"{math.ceil((min(rounds) + max(rounds)) / 2)} ns"
    assert one(found, "kafka", rate="200/s", p99=between, payload="256 B").answer in ("too close", "met")
    candidate = next(c for c in found if c.id == "kafka")
    only = replace(candidate, shows=candidate.shows[:1], nearly=candidate.nearly[:1], limits=candidate.limits[:1])
    assert answer(only, needs.parse({"rate": "200/s", "p99": between})).answer == "too close"


def test_a_promise_that_is_not_made_excludes_whatever_was_measured(found: list[Candidate]) -> None:
    for variant, given_, said in (
        ("zeromq", {"delivery": "at-least-once"}, "no delivery guarantee"),
        ("kafka", {"delivery": "at-most-once"}, "at-least-once"),
        ("zeromq", {"isolation": True}, "blocks at the high-water mark"),
        ("rabbitmq", {"replay": True}, "the queue's backlog"),
        ("rabbitmq", {"ordering": "total"}, "order: queue, one consumer"),
        ("zeromq", {"persistence": "fsync"}, "client library only"),
        ("kafka", {"copies": "3"}, "copies: 1"),
    ):
        judged = one(found, variant, **given_)
        assert judged.answer == "not met"
        assert said in words(judged)


def test_an_invalid_trial_never_counts(found: list[Candidate]) -> None:
    assert one(found, "rabbitmq", rate="200/s", p99="1 s").answer == "met"
    judged = one(found, "rabbitmq", rate="2k/s", p99="1 s")
    assert judged.answer == "never measured"
    assert "not counted (not valid: sender-late in 3 of 3 rounds)" in words(judged)
    promised = words(one(found, "rabbitmq", delivery="at-least-once"))
    assert "0 of 36,000 lost in 6 valid trials" in promised, "200/s and as fast as it goes: 3 rounds x 2,000 x 3 groups each"


def test_trials_of_two_runs_are_counted_each(points: Sequence[PointSummary]) -> None:
    known = next(k for k in facts.known([facts.Source("a", points), facts.Source("b", points)]) if k.variant["id"] == "rabbitmq")
    told = words(answer(facts.candidate(known), needs.parse({"delivery": "at-least-once"})))
    assert "0 of 72,000 lost in 12 valid trials" in told, "their numbers are the same"


def test_an_emulator_is_never_met_by_speed(found: list[Candidate]) -> None:
    for given_ in ({"rate": "1/s"}, {"p99": "10 min"}):
        assert one(found, "sqs", **given_).answer == "never measured"
    judged = one(found, "sqs", delivery="at-least-once")
    assert judged.answer == "met"
    assert "on ElasticMQ, an emulator: its speed is not counted" in words(judged)


def test_what_was_not_run_and_what_is_to_be_weighed_is_said(tmp_path: Path) -> None:
    kafka = fakes()[0]
    kafka.findings = {200: [finding("not-alone")]}
    not_run = [{"variant": "nats", "reason": "no adapter", "get": "wait"}]
    found = choose.candidates(gather([make(tmp_path / "r", [kafka], samples=1100, rounds=1, points=POINTS[:1], not_run=not_run)]))
    assert words(one(found, "kafka")).endswith(", noted: not-alone")
    judged = one(found, "nats")
    assert (judged.answer, words(judged)) == ("never measured", "not run: no adapter")


def test_references_are_no_choice(found: list[Candidate]) -> None:
    assert {c.id for c in found} == {"kafka", "kafka,profile=tuned", "rabbitmq", "sqs", "zeromq", "redis-pubsub"}


def test_a_rate_that_was_not_reached_excludes_it_and_more(tmp_path: Path) -> None:
    kafka, _, rabbitmq, *_ = fakes()
    kafka.findings = {2000: [finding("rate-not-reached")]}
    rabbitmq.findings = {2000: [finding("rate-not-reached"), finding("client-bound")]}
    found = choose.candidates(gather([make(tmp_path / "r", [kafka, rabbitmq], samples=1500)]))
    judged = one(found, "kafka", rate="2k/s")
    assert judged.answer == "not met"
    assert "not reached in any of 3 rounds, delivered 12" in words(judged)
    assert one(found, "kafka", rate="1k/s").answer == "never measured", "nothing was tried there"
    assert one(found, "rabbitmq", rate="2k/s").answer == "never measured", "the client was the limit: the server may do more"


def test_loss_that_the_mode_forbids_excludes_with_its_count(tmp_path: Path) -> None:
    kafka = fakes()[0]
    kafka.lost, kafka.verdict = 3, "violated"
    found = choose.candidates(gather([make(tmp_path / "r", [kafka], samples=1500, rounds=1)]))
    judged = one(found, "kafka", delivery="at-least-once")
    assert judged.answer == "not met"
    assert "promise broken without a fault: 200/s, 256 B, group inventory: 3 lost of 1,500 in 1 trial" in words(judged)
    assert one(found, "kafka").answer == "never measured", "a trial that broke its promise shows nothing else either"


def cell_of(folder: Path, system: str, mode: str, fault: str) -> dict[str, Any]:
    """What a committed cell adds up to."""
    cells = json.loads((folder / "guarantees.json").read_text())["cells"]
    return next(one["judged"] for one in cells if (one["system"], one["mode"]["name"], one["fault"]) == (system, mode, fault))


def test_a_promise_broken_under_faults_excludes_with_the_injections() -> None:
    found = choose.candidates(gather([OTHERS]))
    judged = next(a for a in answers(found, needs.parse({"delivery": "at-least-once"})) if a.candidate.name == "redis_streams, mode=group")
    assert judged.answer == "not met"
    kill = cell_of(OTHERS, "redis_streams", "group", "server-kill")
    events, n = kill["shares"]["lost"]["events"], kill["n"]
    assert words(judged).startswith(
        f"promise broken under server-kill: {kill['counts']['lost']:,} lost in {n} injections, a loss in {events} of them ("
    )
    quorum = next(a for a in answers(found, needs.parse({"delivery": "at-least-once"})) if a.candidate.name == "rabbitmq, mode=quorum")
    assert quorum.answer == "met"
    assert f"{cell_of(OTHERS, 'rabbitmq', 'quorum', 'consumer-kill')['n']} consumer-kill (p < " in words(quorum)
    assert answer(quorum.candidate, {"rate": 1.0}).answer == "never measured", "faults say nothing of speed"


def test_what_others_noticed_of_a_slow_group_is_said_or_excludes(points: Sequence[PointSummary]) -> None:
    known = next(one for one in facts.known([facts.Source("r", points)]) if one.variant["id"] == "kafka")
    asked = needs.parse({"isolation": True, "late-subscribers": True})
    assert "not tried with a group that is slow" in words(answer(facts.candidate(known), asked))
    slow = Absence("slow", ("slow",), Spread(400, 400, 400, 1), 0, 0, Spread(0.99, 0.98, 1.0, 2), Spread(1.1, 1.0, 1.2, 2), 2)
    away = replace(slow, fault="away")
    known.absences = (slow, away)
    judged = answer(facts.candidate(known), asked)
    assert judged.answer == "met"
    assert "seen while a group was slow, 400 messages behind at most, none lost, the others' rate 0.990" in words(judged)
    known.absences = (replace(slow, others_rate=Spread(0.2, 0.1, 0.3, 2)), away)
    judged = answer(facts.candidate(known), asked)
    assert judged.answer == "not met"
    assert words(judged).startswith("promise broken, others were held up: seen while a group was slow")
    known.absences = (slow, replace(away, lost=7))
    assert "what waited was lost" in words(answer(facts.candidate(known), asked))


@pytest.mark.parametrize("missing", ["fault", "judged", "n", "shares", "high", "counts", "violations", "trials", "mode", "spec"])
def test_a_cell_that_lacks_something_is_read_as_far_as_it_goes(tmp_path: Path, missing: str) -> None:
    def without(data: Any) -> Any:
        if isinstance(data, dict):
            return {key: without(value) for key, value in data.items() if key != missing}
        return [without(value) for value in data] if isinstance(data, list) else data

    data = json.loads((OTHERS / "guarantees.json").read_text(encoding="utf-8"))
    cells = [cell for cell in data["cells"] if (cell.get("judged") or {}).get("n")]
    (tmp_path / "guarantees.json").write_text(json.dumps(data | {"cells": without(cells)}), encoding="utf-8")
    for judged in answers(choose.candidates(gather([tmp_path])), needs.parse({"delivery": "at-least-once"})):
        assert judged.words


# ---- capacity


def search(**changes: Any) -> dict[str, Any]:
    answer_ = {"kind": "found", "rate_per_s": 8100.0, "low_per_s": 7900.0, "high_per_s": 8400.0, "probes": 12}
    base = {
        "variant": "kafka",
        "point": {"size_b": 256},
        "answer": answer_,
        "limit": {"by": "system"},
        "probes": [{"trial": 1}, {"trial": 2}],
    }
    sweep = [{"share": 0.5, "rate_per_s": 4000.0, "rounds": 2, "held": 2, "trials": [3, 4], "n": 9000, "p99_ns": 8_000_000}]
    return (
        base
        | {"sweep": [*sweep, {"share": 0.95, "rate_per_s": 7700.0, "rounds": 2, "held": 1, "trials": [5, 6], "p99_ns": 4_000_000}]}
        | changes
    )


def searched(points: Sequence[PointSummary], percentile: str = "p99", **changes: Any) -> Candidate:
    source = facts.Source(
        "capacity-1",
        points,
        searches=[search(**changes)],
        objective={"text": f"{percentile} <= 50 ms", "percentile": percentile, "limit_s": 0.05},
    )
    return facts.candidate(next(k for k in facts.known([source]) if k.variant["id"] == "kafka"))


@pytest.mark.parametrize(
    ("given_", "expected", "said"),
    [
        ({"rate": "7.9k/s", "p99": "50 ms"}, "met", "p99 <= 50 ms holds up to 8,100/s (95%: 7,900 to 8,400/s; 2 probes)"),
        ({"rate": "8k/s", "p99": "50 ms"}, "too close", "8,100/s"),
        ({"rate": "9k/s", "p99": "50 ms"}, "not met", "8,100/s"),
        ({"rate": "9k/s", "p99": "20 ms"}, "not met", "8,100/s"),
        ({"rate": "9k/s", "p99": "80 ms"}, "never measured", "does not show: rate"),
        ({"rate": "9k/s"}, "never measured", "does not show: rate"),
        ({"rate": "4k/s", "p99": "10 ms"}, "met", "4,000/s: p99 8.00 ms (2 rounds, n = 9,000)"),
        ({"rate": "5k/s", "p99": "10 ms"}, "never measured", "does not show: p99"),
        ({"rate": "4k/s", "p99": "7 ms"}, "not met", "4,000/s: p99 8.00 ms"),
    ],
)
def test_a_capacity_shows_up_to_the_lower_end_and_excludes_beyond_the_upper(
    points: Sequence[PointSummary], given_: dict[str, str], expected: str, said: str
) -> None:
    judged = answer(searched(points), needs.parse(given_))
    assert judged.answer == expected
    assert said in words(judged)


def test_a_capacity_that_the_client_or_the_search_bounds_excludes_nothing(points: Sequence[PointSummary]) -> None:
    asked = needs.parse({"rate": "9k/s", "p99": "50 ms"})
    for by in ("client", "machine", "search"):
        assert answer(searched(points, limit={"by": by}), asked).answer == "never measured"
    median = searched(points, "p50", sweep=[])
    assert answer(median, needs.parse({"rate": "5k/s", "p99": "50 ms"})).answer == "never measured", "a p50 within says nothing of p99"
    assert answer(median, asked).answer == "not met", "where the p50 is over it, so is the p99"
    assert answer(searched(points, "p99.9", sweep=[]), asked).answer == "never measured", "a p99.9 over it says nothing of p99"
    assert answer(searched(points, answer=None), asked).answer == "never measured"


def test_a_search_is_read_with_the_workload_of_its_own_point(points: Sequence[PointSummary]) -> None:
    """Along an axis ``groups``: what one group bore is not what eight bore."""
    kafka = next(r for r in points[0].results if r.id == "kafka")
    along, searches = [], []
    for number, low in ((1, 7900.0), (8, 500.0)):
        workload = {**kafka.workload, "groups": dict.fromkeys(map(str, range(number)), 1)}
        probe = replace(kafka, point={"rate_per_s": 1.0, "size_b": 256, "groups": number}, workload=workload)
        along.append(replace(points[0], boards=(), emulators=(), apart=(probe,)))
        answer_ = {"kind": "found", "rate_per_s": low, "low_per_s": low, "high_per_s": low * 1.1}
        searches.append(search(point={"size_b": 256, "groups": number}, answer=answer_, sweep=[]))
    source = facts.Source("c", along, searches=searches, objective={"text": "p99 <= 50 ms", "percentile": "p99", "limit_s": 0.05})
    (known,) = facts.known([source])
    for groups, rate, expected in (("1", "7k/s", "met"), ("8", "500/s", "met"), ("8", "7k/s", "not met")):
        judged = answer(facts.candidate(known), needs.parse({"groups": groups, "rate": rate, "p99": "50 ms"}))
        assert judged.answer == expected, words(judged)


# ---- laws


def test_a_p99_lies_in_an_interval_from_six_rounds_on() -> None:
    assert measured.between(None, []) == (None, None)
    assert measured.between(5.0, []) == (5.0, 5.0)
    assert measured.between(5.0, [4.0, 7.0]) == (4.0, 7.0)
    low, high = measured.between(10.0, [9.0, 9.5, 10.0, 10.5, 11.0, 10.2, 9.8, 90.0])
    assert low is not None
    assert high is not None
    assert 9.0 <= low < 10.0 < high < 60.0, "one disturbed round of eight is no range"


def test_a_lighter_load_with_a_longer_tail_is_told(found: list[Candidate]) -> None:
    candidate = next(c for c in found if c.id == "kafka")
    light, heavy = (rule for rule in candidate.shows if rule.name in ("200/s, 256 B, 3 groups", "2,000/s, 1,024 B, 3 groups"))
    slow = measured.Measured("r", "100/s", "100/s: p99 9.00 s", (), 1, 1, 1, 0, 100.0, math.inf, 9e9, 9e9, emulated=False, steady=True)
    quick = measured.Measured("r", "500/s", "500/s: p99 1 ms", (), 1, 1, 1, 0, 500.0, math.inf, 1e6, 1e6, emulated=False, steady=True)
    rule = quick.shows([slow, quick])
    judged = answer(replace(candidate, shows=(slow.shows([slow, quick]), rule), excludes=(), promises=()), {"rate": 100.0, "p99_ns": 2e6})
    assert [said for said, _ in judged.words] == ["500/s: p99 1 ms", "over it at a load no larger: 100/s: p99 9.00 s"]
    assert light.trials != heavy.trials


ASKED = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in KEYS.items()})


@settings(max_examples=80, deadline=None)
@given(ASKED, st.data())
def test_a_stricter_need_never_adds_a_variant(found: list[Candidate], asked: dict[str, float], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(KEYS)))
    smaller = key in needs.SMALLER_IS_STRICTER
    values = [v for v in KEYS[key] if key not in asked or (v <= asked[key] if smaller else v >= asked[key])]
    stricter = asked | {key: data.draw(st.sampled_from(values))}
    met = {a.candidate.id for a in answers(found, asked) if a.answer == "met"}
    assert {a.candidate.id for a in answers(found, stricter) if a.answer == "met"} <= met


def test_every_figure_is_in_the_trial_files(found: list[Candidate], folder: Path) -> None:
    """Merged anew from the trials that the answer names: the p99, its range over rounds, and n."""
    run = open_run(folder)
    trials = {t["trial"]: t for t in run.trials}
    seen = 0
    for rule in (rule for candidate in found for rule in candidate.shows if "p99" in rule.words):
        assert {trials[n]["status"] for n in rule.trials} == {"ok"}
        merged = Histogram()
        for number in rule.trials:
            merged.merge(run.histograms(number)["e2e"])
        rounds = [trials[n]["latency"]["end_to_end_intended"]["p99_ns"] for n in rule.trials]
        low, high = text.duration(min(rounds)), text.duration(max(rounds))
        assert f"p99 {text.duration(merged.quantile(0.99))} ({low} to {high}, 3 rounds, n = {merged.n:,})" in rule.words
        assert rule.run == run.run["id"]
        seen += 1
    assert seen >= 8


# ---- the verb


def test_the_verb_prints_and_says_by_its_code_whether_anything_met_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kafka, _, _, sqs, *_ = fakes()
    folder = str(make(tmp_path / "r", [kafka, sqs], samples=1100, rounds=1, points=POINTS[:1]))
    assert cli.main(["choose", folder, "--rate", "100/s", "--p99", "1 s"]) == 0
    out = capsys.readouterr().out
    assert "asked: rate 100/s, p99 1 s" in out
    assert out.index("Met, in these results (1)") < out.index("Never measured (1)")
    assert cli.main(["choose", folder, "--delivery", "exactly-once", "--json"]) == 4
    data = json.loads(capsys.readouterr().out)
    assert {a["answer"] for a in data["answers"]} == {"not met"}
    assert cli.main(["choose", folder, "--delivery", "atleastonce"]) == 2
    assert cli.main(["choose", str(tmp_path / "nothing" / "here")]) == 2
    assert "did you mean" in capsys.readouterr().err
    other = tmp_path / "gate-1"
    other.mkdir()
    (other / "run.json").write_text('{"format": 1, "kind": "gate", "id": "gate-1"}', encoding="utf-8")
    assert cli.main(["choose", str(other)]) == 2
    assert 'a run of kind "gate" says nothing of this; name runs of kind run, capacity, guarantees' in capsys.readouterr().err
