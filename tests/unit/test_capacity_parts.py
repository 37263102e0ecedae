"""What a rate has to hold, and what probes add up to."""

import copy
from dataclasses import replace

import pytest

from bench import cli, scenario
from bench.capacity import objective, result
from bench.capacity.objective import Objective, judge
from bench.errors import UsageError

P99 = Objective("p99", 0.02)
SUMMARY = {"n": 5000, "min_ns": 1, "p50_ns": 10**6, "p90_ns": 2 * 10**6, "p99_ns": 19 * 10**6, "p999_ns": None, "max_ns": 10**8}
HELD = {
    "status": "ok",
    "reason": None,
    "drained_s": 0.05,
    "rates": {"slowest_group_per_s": 1995.0, "published_per_s": 2000.0, "offered_per_s": 2000.0},
    "latency": {"end_to_end_intended": SUMMARY},
    "audit": {"a": {"lost": 0, "verdict": "clean", "reasons": []}, "b": {"lost": 0, "verdict": "as promised", "reasons": []}},
    "findings": [],
}


BEHIND = {"slowest_group_per_s": 900.0, "published_per_s": 2000.0, "offered_per_s": 2000.0}


def trial(*codes, **more):
    made = copy.deepcopy(HELD) | more
    made["findings"] = [{"code": code, "evidence": "", "advice": ""} for code in codes]
    return made


@pytest.mark.parametrize(
    ("text", "percentile", "limit_s", "shown"),
    [
        ("p99 <= 20 ms", "p99", 0.02, "p99 <= 20 ms"),
        ("p99<=20ms", "p99", 0.02, "p99 <= 20 ms"),
        ("  P50 < 1 s ", "p50", 1.0, "p50 <= 1 s"),
        ("p99.9 ≤ 500 us", "p99.9", 0.0005, "p99.9 <= 500 us"),
        ("p999 <= 1 s", "p99.9", 1.0, "p99.9 <= 1 s"),
        ("median <= 2 ms", "p50", 0.002, "p50 <= 2 ms"),
        (objective.DEFAULT, "p99", 0.05, "p99 <= 50 ms"),
    ],
)
def test_objectives_that_are_understood(text, percentile, limit_s, shown):
    parsed = objective.parse(text)
    assert (parsed.percentile, parsed.limit_s, str(parsed)) == (percentile, limit_s, shown)
    assert objective.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'such as "p99 <= 20 ms"'),
        ("p99", 'such as "p99 <= 20 ms"'),
        ("p99 >= 20 ms", 'such as "p99 <= 20 ms"'),
        ("p98 <= 20 ms", 'no percentile "p98" here; did you mean "p9'),
        ("mean <= 20 ms", 'no percentile "mean" here; known: p50, p90, p99, p99.9'),
        ("p99 <= 20", "20 has no unit"),
        ("p99 <= 20 msec/s", "is not a unit of duration"),
        ("p99 <= 20 MS", 'did you mean "20 ms"?'),
        ("p99 <= 0 ms", "above 0 and at most 10 min"),
        ("p99 <= 2 h", "above 0 and at most 10 min"),
        ("p99 <= -1 ms", "is negative"),
    ],
)
def test_objectives_that_are_not(text, said):
    with pytest.raises(UsageError, match="--objective") as error:
        objective.parse(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--objective", "p99 <= 20", "has no unit"),
        ("--from", "2000", "--from: 2000 has no unit"),
        ("--up-to", "0/s", "above 0"),
        ("--time", "10", "--time: 10 has no unit"),
        ("--precision", "5", "such as 5%"),
        ("--precision", "50%", "from 0.5% to 25%"),
        ("--probes", "3", "from 5 to 1000"),
        ("--sweep", "-1", "0 (no sweep)"),
        ("--producers", "1,x", "producers"),
        ("--producers", "1,1", "given twice"),
        ("--producers", "100", "at most 64"),
        ("--set", "rte=1/s", 'did you mean "rate"'),
        ("--systems", "kafak", 'did you mean "kafka"'),
    ],
)
def test_options_that_are_wrong_are_told_before_anything_is_made(option, value, said, capsys, tmp_path):
    assert cli.main(["capacity", "throughput", f"{option}={value}", "--results", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.startswith("brokerbench: ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "load", ["{schedule: closed, outstanding: 10}", "{schedule: steps, steps: [{rate: 200/s, for: 2 s}, {rate: 1 kHz, for: 2 s}]}"]
)
def test_a_load_with_rates_of_its_own_is_refused(load, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(f"topology: {{groups: {{a: 1}}}}\npayload: {{size: 64 B}}\nload: {load}\n")
    assert cli.main(["capacity", str(tmp_path / "mine.yaml"), "--systems", "tcp", "--results", str(tmp_path / "runs")]) == 2
    assert "capacity is searched with: constant, poisson, bursts, max" in capsys.readouterr().err


def test_a_workload_at_another_rate_keeps_its_arrivals_where_they_have_one_rate():
    (point,) = scenario.load("throughput").override(axes={"size": ["256 B"]}).points()
    constant = point.workload.at_rate(500.0)
    assert (constant.rate_per_s, constant.schedule) == (500.0, "constant")
    for arrivals, burst in (("poisson", 0), ("bursts", 20)):
        load = replace(constant, arrivals=arrivals, burst=burst)
        assert load.at_rate(800.0) == replace(load, rate_per_s=800.0)
        assert load.at_rate(None) == constant.at_rate(None)
    varying = replace(constant, arrivals="steps", steps=((1.0, 1.0),), outstanding=3)
    assert varying.at_rate(500.0) == constant
    assert varying.at_rate(None).schedule == "max"


def test_a_range_that_is_none(capsys):
    assert cli.main(["capacity", "throughput", "--from", "2 kHz", "--up-to", "1 kHz"]) == 2
    assert "--from 2 kHz is above --up-to 1 kHz" in capsys.readouterr().err


@pytest.mark.parametrize(("percentile", "samples"), [("p50", 20), ("p90", 100), ("p99", 1000), ("p99.9", 10_000)])
def test_a_percentile_needs_ten_samples_beyond_it(percentile, samples):
    assert Objective(percentile, 1.0).samples == samples


def test_what_holds():
    assert judge(trial(), P99).held is True
    # A sender that woke late makes latencies longer, not shorter: what holds all the same, holds.
    assert judge(trial("sender-late", "client-bound", "machine-busy", "not-alone"), P99).held is True


@pytest.mark.parametrize(
    ("found", "why", "by"),
    [
        (trial("rate-not-reached", rates=BEHIND), "900/s of 2,000/s reached", "system"),
        (trial(latency={"end_to_end_intended": SUMMARY | {"p99_ns": 21_000_000}}), "p99 21.0 ms", "system"),
        (trial("client-bound", latency={"end_to_end_intended": SUMMARY | {"p99_ns": 21_000_000}}), "p99 21.0 ms", "client"),
        (trial("machine-busy", latency={"end_to_end_intended": SUMMARY | {"p99_ns": 21_000_000}}), "p99 21.0 ms", "machine"),
        (trial(drained_s=None), "the backlog was not gone", "system"),
        (trial(drained_s=1.4), "only 1.4 s after the load", "system"),
        (trial(audit={"a": {"lost": 3, "verdict": "as promised", "reasons": []}}), "3 messages lost", "system"),
        (trial(audit={"a": {"lost": None, "verdict": "undetermined", "reasons": ["late"]}}), "a: late", "system"),
        (trial(audit={"a": {"lost": 0, "verdict": "violated", "reasons": ["2 duplicates"]}}), "a: 2 duplicates", "system"),
        (trial(latency={"end_to_end_intended": SUMMARY | {"n": 0, "p99_ns": None}}), "p99 is not known", "system"),
        (trial(status="failed", reason="the server died"), "failed: the server died", "system"),
    ],
)
def test_what_does_not_hold_says_why_and_whose_limit_it_was(found, why, by):
    judged = judge(found, P99)
    assert judged.held is False
    assert why in judged.why
    assert judged.by == by


@pytest.mark.parametrize("code", ["sender-late", "clock-suspect", "stolen-time"])
def test_what_was_disturbed_says_nothing(code):
    late = {"end_to_end_intended": SUMMARY | {"p99_ns": 21_000_000}}
    assert judge(trial(code, latency=late), P99).held is None


def test_what_was_sent_in_time_and_did_not_come_out_is_the_systems_doing_however_late_the_sender_woke():
    assert judge(trial("rate-not-reached", "sender-late", rates=BEHIND), P99).held is False
    assert judge(trial("rate-not-reached", "sender-late", rates=BEHIND | {"published_per_s": 900.0}), P99).held is None


def test_too_few_samples_say_nothing():
    few = {"end_to_end_intended": SUMMARY | {"n": 500, "p99_ns": None}}
    judged = judge(trial(latency=few), P99)
    assert judged.held is None
    assert judged.why == "too few samples: p99 is not known: 500 latencies"


def sweep(*milliseconds):
    shares = (0.10, 0.25, 0.50, 0.70, 0.80, 0.90, 0.95)
    return [
        {"share": share, "rate_per_s": 1000 * share, "p99_ns": None if ms is None else ms * 1e6}
        for share, ms in zip(shares, milliseconds, strict=True)
    ]


@pytest.mark.parametrize(
    ("curve", "after", "by"),
    [
        ((2, 2, 2, 3, 3.9, 6, 40), 0.80, 0.90),
        ((9, 2, 2, 3, 5, 6, 40), 0.70, 0.80),  # the lowest load is slower: everything sleeps
        ((2, 2, 9, 3, 3, 3, 40), 0.90, 0.95),  # one disturbed load is not for good
        ((2, 2, 2, None, 5, 6, 7), 0.50, 0.80),
        ((2, 9, 9, 9, 9, 9, 9), 0.10, 0.25),
    ],
)
def test_the_knee(curve, after, by):
    found = result.knee(sweep(*curve), "p99_ns")
    assert (found["after_share"], found["by_share"], found["base_ns"]) == (after, by, 2e6)


@pytest.mark.parametrize("curve", [(2, 2, 2, 2, 2, 3, 4), (None,) * 7, (None, None, None, 2, 4, 8, 16)])
def test_no_knee(curve):
    assert result.knee(sweep(*curve), "p99_ns") is None


def answered(rate, low, high, *, producers=1, by="system", kind="found", variant="kafka"):
    return {
        "variant": variant,
        "point": {"size_b": 256, "producers": producers},
        "producers": producers,
        "status": "complete",
        "reason": None,
        "answer": {"kind": kind, "rate_per_s": rate, "low_per_s": low, "high_per_s": high, "probes": 20, "invalid": 0, "precise": True},
        "limit": {"by": by, "evidence": "seen"},
    }


def test_more_producers_tell_whose_limit_it_was():
    one = answered(1000, 950, 1050)
    (grown,) = result.conclude([one, answered(1500, 1400, 1600, producers=2), answered(1400, 1300, 1500, producers=4)])
    assert (grown["limit"], grown["ratio"]) == ("client", 1.5)
    assert grown["said"] == "2 producers instead of 1: 1.50 times the rate, so the client was the limit"
    (same,) = result.conclude([one, answered(1040, 990, 1100, producers=2)])
    assert (same["limit"], same["evidence"]) == ("system", "seen")
    (close,) = result.conclude([answered(1000, 700, 1400), answered(1500, 1300, 1600, producers=2)])
    assert close["limit"] == "system", "intervals that overlap show nothing"
    (full,) = result.conclude([one, answered(1040, 990, 1100, producers=2, by="machine")])
    assert full["said"].endswith("the machine's cores were all busy")
    assert result.conclude([one, answered(1500, 1400, 1600, variant="zeromq")]) == []
    assert result.conclude([one, answered(None, None, 50, producers=2, kind="below")]) == []


def probe(rate, by, why="p99 21.0 ms", phase="search"):
    return {"phase": phase, "rate_per_s": rate, "by": by, "why": why, "producer_cores": 0.97, "server_cores": 0.4, "machine_busy": 0.8}


def test_whose_limit_it_was_is_what_most_near_probes_ran_into():
    answer = answered(1000, 950, 1050)["answer"]
    probes = [probe(5000, "machine")] * 5 + [probe(1010, "client")] * 2 + [probe(990, "system"), probe(900, "", "")]
    found = result.limit(probes, answer)
    assert found["by"] == "client"
    assert "busiest producer 0.97 cores, server 0.40 cores, machine 80% busy" in found["evidence"]
    assert result.limit([probe(900, "", "")], answer)["by"] == "search"
    assert result.limit(probes, answer | {"kind": "at-least"})["by"] == "search"
    assert result.limit(probes, answer | {"rate_per_s": None})["by"] == "machine"


def test_answers_in_words():
    def said(*words, **more):
        return result.sentence(answered(*words, **more), "Kafka", "p99 <= 20 ms")

    assert said(18_663, 16_686, 21_043) == "Kafka, 1 producer: p99 <= 20 ms holds up to 18,700/s (95%: 16,700 to 21,000/s)"
    assert "holds up to at least 18,700/s" in said(18_663, 16_686, 21_043, by="client")
    assert said(18_663, 16_686, 21_043, by="client").endswith("; the client is the limit")
    assert said(8000, 8000, None, kind="at-least", by="search").endswith("holds up to at least 8,000/s; no higher rate was tried")
    assert said(None, None, 40, kind="below", producers=2) == "Kafka, 2 producers: p99 <= 20 ms does not hold even at 40/s"
    assert said(100, 10, None, kind="inconclusive") == "Kafka, 1 producer: no answer after 20 probes"
    failed = answered(1, 1, 1) | {"answer": None, "status": "failed", "reason": "the server died"}
    assert result.sentence(failed, "Kafka", "p99 <= 20 ms") == "Kafka, 1 producer: failed: the server died"
