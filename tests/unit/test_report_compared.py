"""From six paired rounds on: ranks, ratios and words of the report, each worked out again by other code."""

from __future__ import annotations

import json
import math
import re
import shutil
import statistics
from itertools import combinations
from pathlib import Path

import pytest
from make_results import POINTS, Fake, make
from scipy import stats

from bench.analysis.summary import Board, Place, PointSummary, VariantPoint, summarise
from bench.report import compared, verdict, write
from bench.store import open_run

ROUNDS = 8
MEDIANS = {"a": 2.0, "b": 2.06, "c": 2.3, "d": 6.0}
TRIAL = "trials/{:04d}/trial.json"


def fakes(medians: dict[str, float]) -> list[Fake]:
    return [Fake(v, v, v.upper(), "c", "at-least-once", "fsync", ms, (1, 1, 1), product="P") for v, ms in medians.items()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("compared") / "run", fakes(MEDIANS), rounds=ROUNDS, samples=1500, points=POINTS[1:])


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def trials(folder: Path) -> list[dict]:
    return [json.loads(p.read_text()) for p in sorted(folder.glob("trials/*/trial.json"))]


def change(folder: Path, trial: dict) -> None:
    (folder / TRIAL.format(trial["trial"])).write_text(json.dumps(trial))


def point_of(folder: Path) -> PointSummary:
    (point,) = summarise(open_run(folder))
    return point


def board_of(folder: Path) -> Board:
    (board,) = point_of(folder).boards
    return board


def p99s(folder: Path, variant: str) -> dict[int, float]:
    return {t["round"]: t["latency"]["end_to_end_intended"]["p99_ns"] for t in trials(folder) if t["variant"]["id"] == variant}


# ---- the same figures by other code


def by_hand(logs: list[float]) -> tuple[float, float, float, float]:
    """Ratio, low, high, p: the interval by asking scipy's exact test about each Walsh average, just inside and just outside of it."""
    walsh = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    step = 1e-9
    kept = [w for w in walsh if any(stats.wilcoxon([x - w - s for x in logs], method="exact").pvalue > 0.05 for s in (-step, step))]
    p = stats.wilcoxon(logs, method="exact").pvalue
    return math.exp(statistics.median(walsh)), math.exp(min(kept)), math.exp(max(kept)), p


def step_up(ps: dict[tuple[str, str], float]) -> set[tuple[str, str]]:
    """Benjamini and Hochberg's rule as they wrote it: the pairs that are called different at 0.05."""
    ordered = sorted(ps, key=lambda pair: ps[pair])
    k = max((i for i, pair in enumerate(ordered, 1) if ps[pair] <= i / len(ps) * 0.05), default=0)
    return set(ordered[:k])


def test_ratios_intervals_and_ranks_are_those_worked_out_by_hand(folder: Path):
    point = point_of(folder)
    places = {p.result.id: p for p in point.boards[0].places}
    order = list(places)
    figures = {v: p99s(folder, v) for v in MEDIANS}
    pairs = {(x, y): by_hand([math.log(figures[y][r] / figures[x][r]) for r in range(1, ROUNDS + 1)]) for x, y in combinations(order, 2)}
    different = step_up({pair: found[3] for pair, found in pairs.items()})
    told = {pair for pair in different if pairs[pair][0] > 1.1}
    assert point.family == 6
    assert places["a"].comparison is None
    for variant in order[1:]:
        effect = places[variant].comparison.effect
        assert (effect.ratio, effect.low, effect.high, effect.p) == pytest.approx(pairs["a", variant])
        assert places[variant].close == (("a", variant) not in told)
    for variant, place in places.items():
        assert place.first == 1 + sum((other, variant) in told for other in order)
        assert place.last == 4 - sum((variant, other) in told for other in order)
    # The example is worth something only if it holds every case: c is told from a, and not from b.
    assert [(p.first, p.last) for p in places.values()] == [(1, 2), (1, 3), (2, 3), (4, 4)]


def test_the_table_and_the_sentence_print_them(folder: Path):
    figures = {v: p99s(folder, v) for v in MEDIANS}
    files = write(folder)
    line = verdict(open_run(folder))
    assert "loopback on shared cores (95% intervals over 8 rounds): " in line
    rows = {m[1]: m[0] for m in re.findall(r"^(\| .* \| ([A-D]) \(c\) \|.*)$", files.markdown.read_text(), re.MULTILINE)}
    page = files.html.read_text()
    for variant in ("b", "c", "d"):
        ratio, low, high, _ = by_hand([math.log(figures[variant][r] / figures["a"][r]) for r in figures["a"]])
        numbers = re.search(r"([\d.]+)\u00d7 \(([\d.]+)\u2013([\d.]+)\)", rows[variant.upper()])
        assert [float(v) for v in numbers.groups()] == pytest.approx([ratio, low, high], abs=0.0051)
        assert re.search(r"visible from 1\.\d\d\u00d7", rows[variant.upper()])
        in_words = f"(ratio {numbers[1]}, {numbers[2]}\u2013{numbers[3]})"
        assert in_words in line
        assert in_words in page
    assert "then C (c)" in line
    assert re.search(
        r"A \(c\) [\d.]+ ms and B \(c\) [\d.]+ ms \(ratio [\d.]+, [\d.]+\u2013[\d.]+(, the same within 10%)?\) too close to call at p99",
        line,
    )
    assert "Hodges-Lehmann" in page
    assert "among 6 comparisons" in page
    assert "the rounds are of one series" in page


def test_ranges_that_overlap_are_told_apart_where_the_rounds_agree(folder: Path):
    """Every round disturbed in its own way, both variants alike: the ranges overlap wholly, the ratios do not."""
    for trial in trials(folder):
        trial["latency"]["end_to_end_intended"]["p99_ns"] *= 1.5 ** trial["round"]
        change(folder, trial)
    a, d = p99s(folder, "a"), p99s(folder, "d")
    assert min(d.values()) < max(a.values())
    place = next(p for p in board_of(folder).places if p.result.id == "d")
    assert (place.first, place.last, place.close) == (4, 4, False)


def test_five_rounds_keep_the_ranges(tmp_path: Path):
    folder = make(tmp_path / "r", fakes({"a": 2.0, "d": 6.0}), rounds=5, samples=1500, points=POINTS[1:])
    assert point_of(folder).family == 0
    assert [p.comparison for p in board_of(folder).places] == [None, None]
    line = verdict(open_run(folder))
    assert "(ranges over 5 rounds)" in line
    assert re.search(r"then D \(c\) [\d.]+ ms \(ratio [\d.]+, [\d.]+\u2013[\d.]+\)", line)
    assert "interval" not in line + write(folder).markdown.read_text()


def test_a_round_without_a_figure_is_not_called_anything(folder: Path):
    trial = next(t for t in trials(folder) if t["variant"]["id"] == "d" and t["round"] == 4)
    trial["latency"]["end_to_end_intended"]["n"] = 900  # too few for a p99
    change(folder, trial)
    place = next(p for p in board_of(folder).places if p.result.id == "d")
    assert (place.close, place.comparison.verdict, place.comparison.missing) == (True, "inconclusive", True)
    assert compared.cell(place).splitlines()[1] == "not compared: 1 round lacks a figure,"
    assert "not compared: 1 round lacks a figure" in verdict(open_run(folder))


def remove(folder: Path, variant: str, round_: int) -> None:
    gone = next(t for t in trials(folder) if t["variant"]["id"] == variant and t["round"] == round_)
    shutil.rmtree((folder / TRIAL.format(gone["trial"])).parent)


def test_a_trial_that_is_gone_from_a_complete_run_is_missing(folder: Path):
    remove(folder, "d", 4)
    place = next(p for p in board_of(folder).places if p.result.id == "d")
    assert (place.comparison.missing, place.close) == (True, True)


def test_an_interrupted_run_is_compared_by_the_rounds_that_are_whole(folder: Path):
    remove(folder, "d", ROUNDS)
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"status": "interrupted"}))
    places = {p.result.id: p for p in board_of(folder).places}
    assert {p.comparison.effect.rounds for p in places.values() if p.comparison} == {ROUNDS - 1}
    assert not places["d"].comparison.missing
    assert not places["d"].close


def test_a_pair_of_which_ratio_and_figure_disagree_is_not_called(folder: Path):
    """One disturbed round decides the merged p99; the paired rounds say the opposite: neither is believed."""
    for trial in trials(folder):
        if trial["variant"]["id"] == "c":  # merged: between b and d, as before
            trial["latency"]["end_to_end_intended"]["p99_ns"] /= 4
            change(folder, trial)
    place = next(p for p in board_of(folder).places if p.result.id == "c")
    assert place.comparison.verdict == "better"
    assert (place.first, place.close) == (1, True)
    assert compared.TOO_CLOSE in compared.cell(place)


def test_starts_of_the_servers_that_differ_are_allowed_for(folder: Path):
    """The same ratios, once as eight rounds of one start, once as two rounds of each of four starts that pull apart."""
    factors = (1.0, 1.25, 0.85, 1.1)
    plain = {p.result.id: p for p in board_of(folder).places}
    for trial in trials(folder):
        series, round_ = divmod(trial["round"] - 1, 2)
        trial["series"], trial["round"] = series, round_
        if trial["variant"]["id"] == "c":
            trial["latency"]["end_to_end_intended"]["p99_ns"] *= factors[series]
        change(folder, trial)
    places = {p.result.id: p for p in board_of(folder).places}
    assert places["c"].comparison.effect.series == 4
    wider, before = places["c"].comparison.effect, plain["c"].comparison.effect
    assert wider.log_high - wider.log_low > 2 * (before.log_high - before.log_low)
    assert (plain["c"].close, places["c"].close, places["d"].close) == (False, True, False)
    line = verdict(open_run(folder))
    assert "8 rounds in 4 series" in line
    assert "the rounds are of 4 series" in write(folder).html.read_text()


def test_as_fast_as_it_goes_is_compared_by_rate(tmp_path: Path):
    points = [{"rate_per_s": None, "size_b": 256}]
    folder = make(tmp_path / "r", fakes({"a": 2.0, "b": 2.0}), rounds=6, samples=400, points=points)
    for trial in trials(folder):
        if trial["variant"]["id"] == "b":
            trial["rates"]["slowest_group_per_s"] *= 0.8
            change(folder, trial)
    best, place = board_of(folder).places
    assert (best.result.id, place.first, place.close) == ("a", 2, False)
    assert place.comparison.effect.ratio == pytest.approx(0.8, rel=0.01)
    assert float(re.search(r"visible from ([\d.]+)", compared.cell(place))[1]) == pytest.approx(1 / place.comparison.smallest, abs=0.001)
    assert place.comparison.smallest >= 1.05
    assert re.search(r"B \(c\) [\d,]+/s \(ratio 0\.80\d, 0\.79\d\u20130\.80\d\)", verdict(open_run(folder)))


def test_an_unknown_ratio_is_words_not_a_figure(folder: Path):
    """No paired round at all: there is neither ratio nor interval to print."""
    place = board_of(folder).places[1]
    result: VariantPoint = place.result
    effect = type(place.comparison.effect)(0, 0, None, None, None, None, None, 0, ("a", "b"))
    comparison = type(place.comparison)(place.comparison.metric, effect, None, "inconclusive", "missing: a and 1 more", None)
    bare = Place(result, 1, 2, None, True, comparison)
    assert compared.cell(bare) == "not compared: 2 rounds lack a figure"
    assert compared.sentence(bare) == "(not compared: 2 rounds lack a figure)"
