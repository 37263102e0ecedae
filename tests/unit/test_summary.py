"""The summary's rules, each against numbers worked out here by other means."""

from __future__ import annotations

import csv
import html
import json
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from make_results import POINTS, Fake, finding, five, make

from bench.analysis.findings import INVALID
from bench.analysis.summary import NOTES, PointSummary, Spread, apart, summarise, supported
from bench.errors import UsageError
from bench.histogram import read_log
from bench.report import compared, verdict, write
from bench.store import open_run


def points_of(folder: Path) -> tuple[PointSummary, ...]:
    return summarise(open_run(folder))


def one(point: PointSummary, variant: str):
    return next(r for r in point.results if r.id == variant)


def raw(folder: Path, variant: str, rate: int | None) -> list[dict]:
    trials = [json.loads(p.read_text()) for p in sorted(folder.glob("trials/*/trial.json"))]
    return [t for t in trials if t["variant"]["id"] == variant and t["point"]["rate_per_s"] == rate]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("results") / "run")


def test_points_come_in_the_order_of_their_values(folder: Path):
    assert [p.point["rate_per_s"] for p in points_of(folder)] == [200, 2000]


def test_rates_and_costs_are_medians_with_the_range_over_rounds(folder: Path):
    for point in points_of(folder):
        for result in point.results:
            trials = raw(folder, result.id, point.point["rate_per_s"])
            rates = [t["rates"]["slowest_group_per_s"] for t in trials]
            totals = [t["cost"]["total_ns"] for t in trials]
            assert result.rate == Spread(statistics.median(rates), min(rates), max(rates), 3)
            assert result.cost.total == Spread(statistics.median(totals), min(totals), max(totals), 3)


def test_percentiles_are_those_of_all_samples_together(folder: Path):
    for trial in raw(folder, "kafka", 200):
        assert trial["latency"]["end_to_end_intended"]["n"] == 18_000
    counts = sum(read_log(folder / "trials" / f"{t['trial']:04d}" / "latency.hlog")["e2e"].counts for t in raw(folder, "kafka", 200))
    # By hand: the bucket that holds the sample of rank 0.99 n; HdrHistogram's buckets are 0.1% wide.
    cumulated = np.cumsum(counts)
    index = int(np.searchsorted(cumulated, 0.99 * cumulated[-1]))
    bucket = max((index >> 10) - 1, 0)
    value = (index - (bucket << 10)) << bucket
    e2e = one(points_of(folder)[0], "kafka").latency["e2e"]
    assert e2e.n == 54_000
    assert e2e.p99_ns == pytest.approx(value, rel=0.002)


def test_a_percentile_needs_ten_samples_beyond_it(tmp_path: Path):
    kafka = five()[0]
    few = one(points_of(make(tmp_path / "few", [kafka], rounds=1, samples=310))[0], "kafka").latency["e2e"]
    assert few.n == 930
    assert few.p90_ns is not None
    assert few.p99_ns is None
    enough = one(points_of(make(tmp_path / "more", [kafka], rounds=1, samples=340))[0], "kafka").latency["e2e"]
    assert enough.p99_ns is not None
    assert enough.p999_ns is None
    assert enough.curve[-1][0] <= enough.n / 10 * 1.001
    assert [supported(1000, 0.99), supported(940, 0.99), supported(10_000, 0.999), supported(9_400, 0.999)] == [True, False, True, False]


def test_no_p99_no_rank_and_the_reason_is_told(tmp_path: Path):
    point = points_of(make(tmp_path / "few", [five()[0]], rounds=1, samples=300))[0]
    assert not point.boards
    assert point.apart[0].why == "too few samples for a p99 (n = 900)"


def test_unequal_promises_are_never_on_one_board(folder: Path):
    for point in points_of(folder):
        for board in point.boards:
            assert {p.result.delivery for p in board.places} == {board.delivery}
        assert [b.delivery for b in point.boards] == ["at-least-once", "at-most-once", "none"]
        assert not point.boards[0].same_acknowledgement  # page cache against memory


def test_emulators_references_and_tuned_take_no_rank(folder: Path):
    for point in points_of(folder):
        ranked = {p.result.id for b in point.boards for p in b.places}
        assert ranked == {"kafka", "rabbitmq", "zeromq", "redis-pubsub"}
        assert [r.id for r in point.emulators] == ["sqs"]
        assert {r.id: r.standing for r in point.apart} == {"kafka,profile=tuned": "tuned", "tcp": "reference"}


def test_ratio_pairs_the_rounds(folder: Path):
    point = points_of(folder)[0]
    place = next(p for p in point.boards[0].places if p.result.id == "kafka")
    p99 = {v: {t["round"]: t["latency"]["end_to_end_intended"]["p99_ns"] for t in raw(folder, v, 200)} for v in ("kafka", "rabbitmq")}
    ratios = [p99["kafka"][k] / p99["rabbitmq"][k] for k in (1, 2, 3)]
    assert place.ratio == Spread(statistics.median(ratios), min(ratios), max(ratios), 3)
    assert (place.first, place.last, place.close) == (2, 2, False)


def test_overlapping_ranges_share_their_ranks(tmp_path: Path):
    same = [Fake(f"v{i}", "s", f"S{i}", "c", "at-least-once", "fsync", ms, (1, 1, 1), product="P") for i, ms in enumerate((3.0, 3.0, 30.0))]
    board = points_of(make(tmp_path / "r", same, rounds=5))[0].boards[0]
    assert [(p.first, p.last) for p in board.places] == [(1, 2), (1, 2), (3, 3)]
    assert [p.close for p in board.places] == [False, True, False]


def test_one_round_tells_nothing_apart(tmp_path: Path):
    board = points_of(make(tmp_path / "r", five(), rounds=1))[0].boards[0]
    assert [(p.first, p.last) for p in board.places] == [(1, 2), (1, 2)]
    assert not apart({1: 1.0}, {1: 100.0})
    assert apart({1: 1.0, 2: 2.0}, {1: 3.0, 2: 4.0})
    assert not apart({1: 1.0, 2: 3.5}, {1: 3.0, 2: 4.0})


def test_no_latency_from_a_saturated_trial(tmp_path: Path):
    kafka, rabbit = five()[0], five()[2]
    kafka.findings = {2000: [finding("rate-not-reached")]}
    point = points_of(make(tmp_path / "r", [kafka, rabbit]))[1]
    result = one(point, "kafka")
    assert result.standing == "rate-not-reached"
    assert result.why == "did not reach the rate in 3 of 3 rounds"
    tags = {"e2e", "e2e-sent", "publish", "lateness", "lateness-woken", "lateness-blocked"}
    assert result.latency == dict.fromkeys(tags)
    assert result.absent["e2e"] == "saturated"
    assert result.rate is not None
    assert [p.result.id for b in point.boards for p in b.places] == ["rabbitmq"]


def test_as_fast_as_it_goes_is_ranked_by_rate(tmp_path: Path):
    slow, fast = five()[0], five()[2]
    point = points_of(make(tmp_path / "r", [slow, fast], points=[{"rate_per_s": None, "size_b": 256}]))[0]
    assert point.by == "rate"
    rates = {v: statistics.median(t["rates"]["slowest_group_per_s"] for t in raw(tmp_path / "r", v, None)) for v in ("kafka", "rabbitmq")}
    assert [p.result.id for p in point.boards[0].places] == sorted(rates, key=lambda v: -rates[v])
    assert all(r.latency["e2e"] is None for r in point.results)


@pytest.mark.parametrize("code", [*INVALID, "a-finding-of-the-future"])
def test_what_speaks_against_a_trial_takes_its_rank(tmp_path: Path, code: str):
    kafka = five()[0]
    kafka.findings = {200: [finding(code)]}
    point = points_of(make(tmp_path / "r", [kafka], points=POINTS[:1]))[0]
    assert not point.boards
    assert point.apart[0].standing in {"not-valid", "rate-not-reached"}


def test_notes_and_what_is_invalid_do_not_meet():
    assert not NOTES & set(INVALID)


@pytest.mark.parametrize(
    ("verdict", "standing"), [("violated", "violated"), ("undetermined", "not-valid"), ("nonsense", "not-valid"), ("as promised", "ranked")]
)
def test_the_audit_decides_about_the_rank(tmp_path: Path, verdict: str, standing: str):
    kafka = five()[0]
    kafka.verdict, kafka.lost = verdict, 3
    result = points_of(make(tmp_path / "r", [kafka], points=POINTS[:1]))[0].results[0]
    assert result.standing == standing
    assert {a.group: a.counts["lost"] for a in result.audit} == dict.fromkeys(("inventory", "payment", "notification"), 9)
    assert result.audit[0].lost_where == {"prefix": 0, "middle": 9, "tail": 0}
    assert result.audit[0].verdict == (verdict if verdict != "nonsense" else "undetermined")


def test_a_failed_round_is_not_left_out_in_silence(tmp_path: Path):
    folder = make(tmp_path / "r", [five()[0]], points=POINTS[:1])
    path = folder / "trials" / "0002" / "trial.json"
    trial = json.loads(path.read_text())
    path.write_text(json.dumps(trial | {"status": "failed", "reason": "broker died", "rates": {}, "latency": {}, "cost": {}, "audit": {}}))
    result = points_of(folder)[0].results[0]
    assert result.standing == "not-valid"
    assert result.why == "ended early in 1 of 3 rounds: broker died"
    assert result.latency["e2e"].rounds == 2
    other = folder / "trials" / "0003" / "trial.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"findings": [finding("rate-not-reached")]}))
    assert points_of(folder)[0].results[0].why == "ended early in 1 of 3 rounds: broker died", "a slow round does not hide a dead one"


def test_publish_is_not_applicable_without_acknowledgements(folder: Path):
    result = one(points_of(folder)[0], "zeromq")
    assert result.latency["publish"] is None
    assert result.absent["publish"] == "n/a: no acknowledgement"


def test_a_missing_histogram_is_named_and_never_averaged_away(tmp_path: Path):
    folder = make(tmp_path / "r", [five()[0]], points=POINTS[:1])
    (folder / "trials" / "0002" / "latency.hlog").unlink()
    result = points_of(folder)[0].results[0]
    assert result.latency["e2e"] is None
    assert result.absent["e2e"] == "no histogram in trial 0002"
    assert result.standing == "not-valid"


def test_one_trial_without_histogram_falls_back_to_its_own_summary(tmp_path: Path):
    folder = make(tmp_path / "r", [five()[0]], rounds=1, points=POINTS[:1])
    kept = points_of(folder)[0].results[0].latency["e2e"]
    (folder / "trials" / "0001" / "latency.hlog").unlink()
    again = points_of(folder)[0].results[0].latency["e2e"]
    assert (again.n, again.p99_ns, again.curve) == (kept.n, kept.p99_ns, ())


def test_a_trial_without_its_variant_is_an_error_that_names_it(tmp_path: Path):
    folder = make(tmp_path / "r", [five()[0]], rounds=1, points=POINTS[:1])
    path = folder / "trials" / "0001" / "trial.json"
    trial = json.loads(path.read_text())
    del trial["variant"]
    path.write_text(json.dumps(trial))
    with pytest.raises(UsageError, match=r"0001.*variant|1/trial\.json.*variant"):
        points_of(folder)


def test_no_cost_is_not_no_cpu(tmp_path: Path):
    folder = make(tmp_path / "r", [five()[0]], rounds=1, points=POINTS[:1])
    path = folder / "trials" / "0001" / "trial.json"
    trial = json.loads(path.read_text())
    trial["nodes"] = [{"name": "kafka.1", "role": "broker", "cpu_ns": None, "rss_b": None}]
    trial["cost"] |= {"intermediary_ns": None, "total_ns": None}
    path.write_text(json.dumps(trial))
    cost = points_of(folder)[0].results[0].cost
    assert (cost.intermediary, cost.total, cost.nodes, cost.nodes_b) == (None, None, {"kafka.1": None}, {"kafka.1": None})


@pytest.mark.parametrize("variant", ["rabbitmq", "sqs"])
def test_a_broken_promise_comes_before_speed_and_is_quoted_also_of_an_emulator(folder: Path, tmp_path: Path, variant: str):
    copied = tmp_path / "run"
    shutil.copytree(folder, copied)
    path = next(p for p in sorted(copied.glob("trials/*/trial.json")) if json.loads(p.read_text())["variant"]["id"] == variant)
    trial = json.loads(path.read_text())
    group = next(iter(trial["audit"]))
    trial["audit"][group] |= {"verdict": "violated", "reasons": ["7 acknowledged messages lost"]}
    trial["findings"] = [finding("rate-not-reached")]
    path.write_text(json.dumps(trial))
    rate = trial["point"]["rate_per_s"]
    found = one(next(p for p in points_of(copied) if p.point["rate_per_s"] == rate), variant)
    assert found.standing == "violated"
    assert found.why == f"trial {trial['trial']}, {group}: 7 acknowledged messages lost"


@pytest.mark.parametrize(
    ("rate", "codes", "bound"),
    [
        (None, ["client-bound", "saturated"], True),
        (2000, ["client-bound", "rate-not-reached"], True),
        (2000, ["client-bound"], False),  # it was set, and it was reached
        (None, ["saturated"], False),
    ],
)
def test_a_rate_that_the_client_holds_back_is_at_least(tmp_path: Path, rate: int | None, codes: list[str], bound: bool):
    kafka = five()[0]
    kafka.findings = {rate: [finding(code) for code in codes]}
    folder = make(tmp_path / "r", [kafka], points=[{"rate_per_s": rate, "size_b": 256}])
    result = points_of(folder)[0].results[0]
    assert result.at_least is bound
    files = write(folder)
    for path in (files.html, files.markdown):
        assert (compared.AT_LEAST in html.unescape(path.read_text()).replace("&gt;", ">")) is bound
    row = next(line for line in files.markdown.read_text().splitlines() if "| Apache Kafka (kafka-python)" in line)
    assert ("&gt;= " in row) is bound
    (csv_row,) = csv.DictReader(files.summary.open())
    assert csv_row["rate_bound"] == (">=" if bound else "")
    if rate is None:
        assert (">= " in verdict(open_run(folder)).partition("kafka-python")[2]) is bound
        assert "in pairs of system and client" in files.markdown.read_text()


def test_a_quick_run_prints_no_rare_percentile(tmp_path: Path):
    kafka = five()[0]
    kafka.findings = {200: [finding("quick")]}
    slow, quick = (one(point, "kafka").latency["e2e"] for point in reversed(points_of(make(tmp_path / "r", [kafka]))))
    assert slow.p999_ns is not None
    assert (quick.p999_ns, quick.p99_ns is None) == (None, False)
