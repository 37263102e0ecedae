"""The A/A lane: pairs by round, the noise floor below six rounds, the verdict from six on, and what it does to a ranking."""

import json
import math
import random
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_results import POINTS, Fake, make

from bench.analysis import aa
from bench.analysis.summary import summarise
from bench.report import compared, text, verdict, write
from bench.store import open_run


def trial(number, turn, *, lane="", variant="a", rate=1000.0, p99=9e6, p50=1e6, cpu=5e3, status="ok", n=20_000):
    latency = {"n": n, "p50_ns": p50, "p99_ns": p99}
    return {
        "trial": number, "series": 0, "round": turn, "lane": lane, "variant": {"id": variant}, "status": status,
        "rates": {"slowest_group_per_s": rate}, "latency": {"end_to_end_intended": latency}, "cost": {"total_ns": cpu},
    }  # fmt: skip


def rounds(ratios, *, own_first=lambda turn: turn % 2, **fixed):
    """A round for each ratio, later to earlier p99; which of the two is the lane's differs, and others stand between."""
    found = []
    for turn, ratio in enumerate(ratios):
        lanes = ("", "aa") if own_first(turn) else ("aa", "")
        found.append(trial(10 * turn + 1, turn, lane=lanes[0], **fixed))
        found.append(trial(10 * turn + 2, turn, variant="b", p99=1.0))
        found.append(trial(10 * turn + 3, turn, lane=lanes[1], **({"p99": 9e6 * ratio} | fixed)))
    return found


def test_below_six_rounds_the_widest_ratio_is_the_noise_floor():
    lane = aa.of_point(rounds([1.02, 0.95, 1.01]), "p99")
    p99, p50, cpu = lane.repeats
    assert [one.metric.name for one in lane.repeats] == ["p99", "p50", "CPU a message"]
    assert (p99.rounds, p99.low, p99.high, p99.comparison) == (3, pytest.approx(0.95), pytest.approx(1.02), None)
    assert p99.noise == pytest.approx(1 / 0.95)
    assert (p50.noise, cpu.noise) == (1.0, 1.0)
    assert lane.silent
    assert lane.systems == ("a",)
    assert aa.of_point(rounds([9.0] * 5), "p99").silent, "five rounds have no interval"


@pytest.mark.parametrize(
    ("ratios", "silent"),
    [
        ([1.3, 1.25, 1.4, 1.35, 1.2, 1.3], False),
        ([0.7, 0.75, 0.8, 0.65, 0.7, 0.72], False),
        ([1.02, 1.03, 1.04, 1.05, 1.03, 1.06], True),  # surely different, within the margin
        ([1.5, 0.7, 1.4, 0.8, 1.6, 0.6], True),  # past the margin in every round, and the interval holds 1
    ],
)
def test_from_six_rounds_on_it_takes_interval_and_margin(ratios, silent):
    lane = aa.of_point(rounds(ratios), "p99")
    assert lane.silent is silent
    assert [one.metric.name for one in lane.noisy] == ([] if silent else ["p99"])
    if not silent:
        assert "p99 " in aa.evidence(lane)
        assert "6 rounds" in aa.evidence(lane)


def test_a_saturated_point_is_judged_by_rate_and_cpu():
    lane = aa.of_point(rounds([5.0] * 6), "rate")
    assert [one.metric.name for one in lane.repeats] == ["rate", "CPU a message"]
    assert lane.silent


def test_what_has_no_partner_or_figure_is_no_pair():
    assert aa.of_point([trial(1, 0), trial(2, 1)], "p99") is None
    assert aa.of_point([trial(1, 0, lane="aa")], "p99") is None
    assert aa.of_point([trial(1, 0), trial(2, 0, lane="aa", status="failed")], "p99") is None
    assert aa.of_point([trial(1, 0), trial(2, 0, lane="aa", variant="b")], "p99") is None
    few = aa.of_point([trial(1, 0, n=999), trial(2, 0, lane="aa")], "p99")
    assert [one.metric.name for one in few.repeats] == ["p50", "CPU a message"]
    nothing = aa.of_point([trial(1, 0, cpu=None), trial(2, 0, lane="aa", p50=0)], "p99")
    assert [one.metric.name for one in nothing.repeats] == ["p99"]


@given(st.lists(st.floats(0.2, 5.0), min_size=1, max_size=12))
def test_swapping_the_order_inverts_the_range_and_keeps_the_verdict(ratios):
    lane, swapped = (aa.of_point(rounds(some), "p99") for some in (ratios, [1 / ratio for ratio in ratios]))
    assert swapped.repeats[0].low == pytest.approx(1 / lane.repeats[0].high)
    assert swapped.repeats[0].noise == pytest.approx(lane.repeats[0].noise)
    assert swapped.silent == lane.silent


def test_how_often_it_is_wrong_and_how_often_it_finds():
    """200 lanes of 20 rounds whose p99 scatters by 8%: at most 5% are called noisy (Binomial: 20 of 200 is past 3 deviations)."""
    wobble = random.Random(7)
    drawn = [[math.exp(wobble.gauss(0, 0.08)) for _ in range(20)] for _ in range(200)]
    assert sum(not aa.of_point(rounds(ratios), "p99").silent for ratios in drawn) == 0  # the margin sees to it
    slower = [[1.25 * ratio for ratio in ratios] for ratios in drawn]
    assert sum(not aa.of_point(rounds(ratios), "p99").silent for ratios in slower) >= 195


# ---- in a run's report


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    two = [Fake(v, v, v.upper(), "c", "at-least-once", "fsync", ms, (1, 1, 1), product="P") for v, ms in {"a": 2.0, "b": 6.0}.items()]
    return make(tmp_path_factory.mktemp("aa") / "run", two, rounds=7, samples=1500, points=POINTS[1:])


def with_lane(made, folder, factor):
    """A copy in which every round has measured ``a`` again, later and with a latency ``factor`` times as long."""
    shutil.copytree(made, folder)
    for path in sorted(folder.glob("trials/*/trial.json")):
        own = json.loads(path.read_text())
        if own["variant"]["id"] != "a":
            continue
        again = own | {"trial": own["trial"] + 100, "lane": "aa"}
        for name, value in (latency := dict(again["latency"]["end_to_end_intended"])).items():
            latency[name] = value * factor if name in ("p50_ns", "p99_ns") else value
        again["latency"] = again["latency"] | {"end_to_end_intended": latency}
        there = folder / "trials" / f"{again['trial']:04d}"
        there.mkdir()
        (there / "trial.json").write_text(json.dumps(again))
    return folder


def test_a_silent_lane_is_a_line_and_changes_no_figure(made, tmp_path):
    folder = with_lane(made, tmp_path / "run", 1.04)
    (before,), (after,) = summarise(open_run(made)), summarise(open_run(folder))
    assert before.boards[0].places[0].result.rate == after.boards[0].places[0].result.rate
    assert before.boards[0].places[1].comparison == after.boards[0].places[1].comparison
    assert [(p.first, p.last) for p in after.boards[0].places] == [(1, 1), (2, 2)]
    assert (before.lane, after.findings) == (None, ())
    seen = "1.04x in p99, 1.04x in p50, 1.00x in CPU a message (7 rounds of a)".replace("x in", f"{text.TIMES} in")
    assert compared.noise_floor(after) == f"the same system measured twice differed by up to {seen}"
    told = f"Noise floor: {compared.noise_floor(after)}"
    files = write(folder)
    assert told in files.html.read_text()
    assert told in files.markdown.read_text()
    assert told in verdict(open_run(folder))
    counts = {group.group: group.counts["processed"] for group in after.boards[0].places[0].result.audit}
    once = {group.group: group.counts["processed"] for group in before.boards[0].places[0].result.audit}
    assert counts == {group: 2 * n for group, n in once.items()}, "the delivery audit counts it"


def test_where_it_is_not_silent_nothing_is_told_apart_and_it_is_said_first(made, tmp_path):
    folder = with_lane(made, tmp_path / "run", 1.5)
    (point,) = summarise(open_run(folder))
    (finding,) = point.findings
    assert finding.code == "aa-not-silent"
    assert "p99 1.50 (95% interval 1.50 to 1.50, 7 rounds)" in finding.evidence
    assert [(p.first, p.last) for p in point.boards[0].places] == [(1, 2), (1, 2)]
    assert point.boards[0].places[1].comparison.verdict == "inconclusive"
    said = verdict(open_run(folder))
    assert said.startswith("aa-not-silent: ")
    assert "too close to call" in said
    files = write(folder)
    page = files.html.read_text()
    assert page.index("aa-not-silent") < page.index("<table")
    assert "too close to call: A/A not silent" in files.markdown.read_text()


def test_a_promise_broken_in_the_lane_is_broken(made, tmp_path):
    folder = with_lane(made, tmp_path / "run", 1.0)
    path = next(iter(sorted(folder.glob("trials/01*/trial.json"))))
    broken = json.loads(path.read_text())
    next(iter(broken["audit"].values()))["verdict"] = "violated"
    path.write_text(json.dumps(broken))
    (point,) = summarise(open_run(folder))
    assert {r.id: r.standing for r in point.results} == {"a": "violated", "b": "ranked"}
