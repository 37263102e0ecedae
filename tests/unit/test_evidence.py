"""Evidence, the pure parts: what counts as a false verdict, who finds a slowdown, what resampling keeps; runs that are resumed."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import adapters
from adapters.base import Options
from bench import spec
from bench.analysis.compare import Metric
from bench.errors import EnvironmentProblem, UsageError
from benchmarks.evidence import aa, common, power, runs, verdicts

RESULTS = Path(__file__).parents[2] / "results"
RATE = Metric("rate", True, 0.10)


def noisy(random, rounds, sd, ratio=1.0):
    """Base and head that share each round's disturbance; sd = of their log-ratio."""
    block = 1000 * np.exp(random.normal(0, 0.3, rounds))
    return block.tolist(), (block * ratio * np.exp(random.normal(0, sd, rounds))).tolist()


# ---- A/A


def equal_sides(random, rounds=10, sd=0.05):
    return {metric.name: noisy(random, rounds, sd) for metric in aa.METRICS}


def test_noise_within_the_margin_gives_no_false_verdict_though_intervals_alone_do():
    random = np.random.default_rng(1)
    rows = {row.metric: row for row in verdicts.silence([equal_sides(random, sd=0.06) for _ in range(60)], aa.METRICS)}
    for row in rows.values():
        assert (row.runs, row.false, row.better + row.worse + row.same + row.inconclusive) == (60, 0, 60)
        assert row.interval_alone <= 9  # of 60, where three are expected
        assert row.without_margin <= row.interval_alone, "Holm only takes away"
        assert 1 < row.off_median < row.off_most < 1.1
        assert row.visible_median < row.visible_most
    assert sum(row.interval_alone for row in rows.values()) > 0
    assert rows["p99"].same > rows["rate"].same, "the wider margin is proven more often"


def test_a_false_verdict_is_counted_on_its_side():
    random = np.random.default_rng(2)
    run = equal_sides(random, sd=0.01) | {"rate": noisy(random, 10, 0.01, 0.7), "p50": noisy(random, 10, 0.01, 0.7)}
    rows = {row.metric: row for row in verdicts.silence([run], aa.METRICS)}
    assert (rows["rate"].worse, rows["p50"].better, rows["rate"].false, rows["p50"].false) == (1, 1, 1, 1)
    assert rows["rate"].medians_alone == rows["rate"].interval_alone == 1
    assert rows["cpu"].false == 0


def test_a_round_without_a_figure_is_inconclusive_and_not_left_out():
    random = np.random.default_rng(3)
    run = equal_sides(random, sd=0.001)
    run["p99"][1][4] = None
    found = {one.metric.name: one for one in verdicts.judge_all(run, aa.METRICS)}
    assert found["p99"].verdict == "inconclusive"
    assert "round 4" in found["p99"].why
    assert found["rate"].verdict == "same"


def test_few_rounds_have_no_second_estimate():
    assert verdicts.medians(([1.0] * 5, [1.0] * 5)) is None
    assert verdicts.medians(([1.0] * 6, [2.0] * 6)) == (2.0, 2.0, 2.0)


# ---- power


def expected_power(ratio, margin, rounds, sd):
    """Of a normal mean, about: the estimate past the margin and past its own 95% limit."""
    error = sd / math.sqrt(rounds)
    least = max(math.log1p(margin), float(stats.t.ppf(0.975, rounds - 1)) * error)
    return 0.5 * math.erfc((least - abs(math.log(ratio))) / error / math.sqrt(2))


@pytest.mark.parametrize(
    ("ratio", "margin", "rounds", "sd"),
    [(1 / 1.2, 0.10, 20, 0.10), (1 / 1.2, 0.10, 8, 0.15), (1 / 1.1, 0.02, 20, 0.15), (1 / 1.05, 0.02, 20, 0.08), (1 / 1.1, 0.10, 20, 0.05)],
)
def test_simulated_runs_have_the_power_that_theory_gives_them(ratio, margin, rounds, sd):
    random = np.random.default_rng(4)
    pairs = [noisy(random, rounds, sd, ratio) for _ in range(300)]
    row = verdicts.power(RATE, 0, pairs, rounds, [margin])[0]
    assert row.runs == row.found + row.same + row.inconclusive + row.false == 300
    # Signed ranks are less efficient than the mean, and their levels discrete: a little below; 0.08 is three standard errors.
    assert expected_power(ratio, margin, rounds, sd) - 0.15 < row.found / 300 < expected_power(ratio, margin, rounds, sd) + 0.08
    assert row.found_in_family <= row.found
    assert row.false <= 3


def test_more_rounds_find_more_and_a_gate_needs_eight():
    random = np.random.default_rng(5)
    pairs = [noisy(random, 20, 0.2, 1 / 1.2) for _ in range(60)]
    found = [verdicts.power(RATE, 20, pairs, rounds, [0.1])[0] for rounds in power.ROUNDS]
    assert found[0].found < found[2].found < found[-1].found
    assert [row.found_in_family > 0 for row in found] == [False, True, True, True, True]
    assert [row.rounds for row in found] == list(power.ROUNDS)


def test_a_slowdown_below_the_margin_is_not_called_by_design():
    random = np.random.default_rng(6)
    pairs = [noisy(random, 20, 0.02, 1 / 1.05) for _ in range(50)]
    default, fine = verdicts.power(RATE, 5, pairs, 20, [0.10, 0.02])
    assert (default.found, default.same > 45, default.margin) == (0, True, 0.10)
    assert (fine.found > 45, fine.same, fine.margin) == (True, 0, 0.02)


def test_resampling_moves_the_truth_and_keeps_the_noise():
    random = np.random.default_rng(7)
    groups = [[noisy(random, 20, 0.05, ratio) for _ in range(10)] for ratio in (1 / 1.2, 1 / 1.05)]
    drawn = verdicts.resample(groups, 1 / 1.02, rounds=15, draws=200, seed=3)
    assert drawn == verdicts.resample(groups, 1 / 1.02, rounds=15, draws=200, seed=3)
    assert drawn != verdicts.resample(groups, 1 / 1.02, rounds=15, draws=200, seed=4)
    assert {(len(base), len(head)) for base, head in drawn} == {(15, 15)}
    logs = np.concatenate([verdicts.log_ratios(pair) for pair in drawn])
    assert np.mean(logs) == pytest.approx(-math.log(1.02), abs=0.01)
    assert np.std(logs) == pytest.approx(0.05, rel=0.15)


def test_resampling_leaves_a_start_of_its_own_in_its_run():
    """Rounds of one draw are of one run: what was common to them stays common."""
    groups = [[([1.0] * 20, [2.0] * 20), ([1.0] * 20, [1.0] * 20)]]
    heads = {tuple(head) for _, head in verdicts.resample(groups, 1.0, rounds=8, draws=50, seed=1)}
    assert {len(set(head)) for head in heads} == {1}
    assert len(heads) == 2


def test_what_was_injected_is_what_all_runs_together_show():
    random = np.random.default_rng(8)
    pairs = [noisy(random, 10, 0.05, power.truth(RATE, 20)) for _ in range(6)]
    pairs[2][1][3] = None  # a trial that failed
    effect = verdicts.pooled(pairs)
    assert (effect.rounds, effect.series) == (59, 6)
    assert effect.low < 1 / 1.2 < effect.high
    assert effect.ratio == pytest.approx(1 / 1.2, rel=0.05)
    assert power.truth(Metric("cpu", False, 0.1), 20) == pytest.approx(1.2)


# ---- what is kept of a run


def trial(number, variant, rate, *, status="ok", lane="", **more):
    full = rate is None
    return {
        "trial": number, "variant": {"id": variant}, "round": (number - 1) // 2, "lane": lane, "status": status, "reason": None,
        "point": {"rate_per_s": rate, "size_b": 256}, "rates": {"slowest_group_per_s": 1e6 / 3 if full else 2000.0},
        "cost": {"total_ns": 500.0 if full else 9000.0, "others_cores": 0.1}, "audit": {"reader": {"verdict": "clean"}},
        "producers": [{"rss_b": 100}], "consumers": [{"rss_b": 200}], "nodes": [],
        "latency": {"end_to_end_intended": {"p50_ns": 300, "p99_ns": None}}, "findings": [{"code": "saturated"}] if full else [],
    } | more  # fmt: skip


def test_figures_are_of_the_point_that_they_mean_something_at():
    trials = [
        trial(1, "a", None), trial(2, "b", None), trial(3, "b", None, status="failed"), trial(4, "a", None),
        trial(4, "a", None, lane="aa", rates={"slowest_group_per_s": 7.0}), trial(4, "c", None, lane="floor"),
        trial(1, "a", 2000.0), trial(2, "b", 2000.0),
    ]  # fmt: skip
    kept = runs.kept(trials, ["rate", "cpu", "memory", "p50", "p99", "cpu at a rate"], ["a", "a (aa)", "b"], 2)
    assert kept["figures"] == {
        "rate": {"a": [333333.3, 333333.3], "a (aa)": [None, 7.0], "b": [333333.3, None]},
        "cpu": {"a": [500.0, 500.0], "a (aa)": [None, 500.0], "b": [500.0, None]},
        "memory": {"a": [300.0, 300.0], "a (aa)": [None, 300.0], "b": [300.0, None]},
        "p50": {"a": [300.0, None], "a (aa)": [None, None], "b": [300.0, None]},
        "p99": {"a": [None, None], "a (aa)": [None, None], "b": [None, None]},
        "cpu at a rate": {"a": [9000.0, None], "a (aa)": [None, None], "b": [9000.0, None]},
    }
    assert kept["not_ok"] == [{"trial": 3, "variant": "b", "status": "failed", "reason": None}]
    assert (kept["findings"], kept["audit"], kept["others_cores"]) == ({"saturated": 6}, {"clean": 8}, 0.1)


def test_a_run_has_two_pairs_with_one_base():
    (run,) = recorded_aa(1)
    assert list(aa.pairs_of(run, "same endpoints")) == [metric.name for metric in aa.METRICS]
    base, lane, twin = run["figures"]["rate"].values()
    assert aa.pairs_of(run, "same endpoints")["rate"] == (base, lane)
    assert aa.pairs_of(run, "own endpoints")["rate"] == (base, twin)


@pytest.mark.parametrize("system", aa.TWINS)
def test_twins_are_equal(system):
    base, twin = (spec.parse(text) for text in aa.TWINS[system])
    assert base.id != twin.id
    sides = [adapters.load(system)(Options(settings=dict(one.settings))).effective() for one in (base, twin)]
    assert sides[0] == sides[1]


def test_a_pair_that_was_equal_once_is_left_out():
    recorded = list(recorded_aa(6))
    for run in recorded:
        if run["system"] == "tcp":
            for sides in run["figures"].values():
                sides["tcp+sndbuf=0"] = [2 * value for value in sides.pop(list(sides)[2])]
    made = common.summary("evidence-aa", {"rounds": 10}, recorded, aa.tables(recorded))
    counts = {(one["kind"], one["system"]): {row["metric"]: row for row in one["rows"]} for one in made["tables"]["counts"]}
    assert ("own endpoints", "tcp") not in counts
    assert counts["same endpoints", "tcp"]["rate"]["runs"] == counts["own endpoints", "all"]["rate"]["runs"] == 3
    assert counts["own endpoints", "all"]["rate"]["false"] == 0
    assert "endpoints of its own with tcp+sndbuf=0, which is not the default" in aa.page(made)


def test_a_false_verdict_is_confirmed_by_the_next_run():
    assert verdicts.confirmed(["better", "same", "worse", "worse", "better"]) == 2
    assert verdicts.confirmed(["better", "worse"]) == verdicts.confirmed(["worse"]) == verdicts.confirmed([]) == 0


# ---- runs that are resumed


def test_runs_that_are_there_are_not_repeated(tmp_path):
    measured = []

    def measure(number, system, folder):
        assert folder.is_dir()
        measured.append((number, system))
        return {"seconds": 0.0}

    def go(runs_, settings=None):
        with common.Work(tmp_path, settings or {"rounds": 6}) as work:
            return common.execute(work, ["tcp", "zeromq"] * runs_, 1.0, measure)

    assert [run["run"] for run in go(1)] == [1, 2]
    (tmp_path / ".run-002").mkdir()  # left by a SIGKILL, as is a file that was not finished
    (tmp_path / "003.json.new").write_text("{")
    (tmp_path / "002.json").unlink()
    assert [run["run"] for run in go(2)] == [1, 2, 3, 4]
    assert measured == [(1, "tcp"), (2, "zeromq"), (2, "zeromq"), (3, "tcp"), (4, "zeromq")]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "001.json", "002.json", "003.json", "004.json"]
    with pytest.raises(UsageError, match=r"001\.json: measured with other settings \(rounds 6, now 8\)"):
        go(2, {"rounds": 8})


def test_a_run_that_fails_leaves_nothing_and_ends_the_command(tmp_path):
    def measure(number, system, folder):
        raise EnvironmentProblem("no room")

    with common.Work(tmp_path, {}) as work, pytest.raises(EnvironmentProblem, match="no room"):
        common.execute(work, ["tcp"], 1.0, measure)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_one_process_measures_into_a_folder(tmp_path):
    with common.Work(tmp_path, {}), pytest.raises(EnvironmentProblem, match="another process"), common.Work(tmp_path, {}):
        pass
    with common.Work(tmp_path, {}):
        pass


@pytest.mark.parametrize(
    ("text", "code"), [("{", 2), ('{"format": 1, "kind": "evidence-power"}', 2), ('{"format": 99, "kind": "evidence-aa"}', 4)]
)
def test_a_summary_that_is_none_is_told(tmp_path, capsys, text, code):
    path = tmp_path / "aa.json"
    path.write_text(text)
    assert common.ended(lambda: aa.main(["--recompute", str(path)])) == code
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--runs", "0"], ["--rounds", "-1"], ["--rounds", "x"], ["--nosuch"]])
def test_a_wrong_command_line_is_refused(words):
    with pytest.raises(SystemExit) as ended:
        aa.main(words)
    assert ended.value.code == 2


# ---- summaries


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(power, "DRAWS", 40)


def recorded_aa(runs_=4):
    random = np.random.default_rng(10)
    common_ = {"started": "2026-11-22T17:00:00.000Z", "seconds": 30.0, "trial_s": [0.7, 0.8], "steal": 0.0, "revision": {"revision": "abc"}}
    common_ |= {"findings": {}, "audit": {"clean": 40}, "not_ok": [], "others_cores": 0.05}
    for number in range(1, runs_ + 1):
        system = common.SYSTEMS[number % 2]
        base, twin = (text.replace(",", "+") for text in aa.TWINS[system])
        names = (base, f"{base} (aa)", twin)
        lanes = equal_sides(random)
        figures = {name: dict(zip(names, (*pair, [1.001 * v for v in pair[1]]), strict=True)) for name, pair in lanes.items()}
        yield {"run": number, "system": system, "figures": figures} | common_


def recorded_power(runs_=4, rounds=8):
    def name(run, percent):
        return power.spec_of(run["system"], percent).replace(",", "+")

    random = np.random.default_rng(11)
    for run in recorded_aa(runs_):
        figures = {}
        for metric in power.METRICS:
            heads = {percent: noisy(random, rounds, 0.03, power.truth(metric, percent)) for percent in power.SLOWER}
            base = [1000.0] * rounds
            figures[metric.name] = {name(run, 0): base}
            for percent, (block, head) in heads.items():
                figures[metric.name][name(run, percent)] = [1000 * h / b for b, h in zip(block, head, strict=True)]
        yield run | {"figures": figures}


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(("module", "name", "recorded"), [(aa, "aa", recorded_aa), (power, "power", recorded_power)])
def test_a_summary_is_computed_again_from_its_own_figures(tmp_path, capsys, module, name, recorded):
    recorded = list(recorded())
    made = common.summary(f"evidence-{name}", {"rounds": 8}, recorded, module.tables(recorded))
    common.save_summary(tmp_path, name, made, module.page(made))
    path = tmp_path / f"{name}.json"
    assert module.main(["--recompute", str(path)]) == 0
    assert capsys.readouterr().out.strip() == (tmp_path / f"{name}.md").read_text().strip()
    data = json.loads(path.read_text())
    assert len(data["runs"]) == 4
    metric = "rate"
    data["runs"][0]["figures"][metric] = {variant: [7.0 + i for i in range(8)] for variant in data["runs"][0]["figures"][metric]}
    path.write_text(json.dumps(data))
    assert module.main(["--recompute", str(path)]) == 1


def test_what_is_not_silent_is_said():
    recorded = list(recorded_aa(6))
    for run in recorded[:3]:
        for number, values in enumerate(run["figures"]["memory"].values()):
            values[:] = [100.0 * (1 + min(number, 1)) + i for i in range(len(values))]
    made = common.summary("evidence-aa", {"rounds": 10}, recorded, aa.tables(recorded))
    assert not aa.silent(made["tables"])
    assert "**Not met**: through the same endpoints the worst metric has 3 false verdicts in 6 runs; through" in aa.page(made)
    counts = {(one["kind"], one["system"]): {row["metric"]: row for row in one["rows"]} for one in made["tables"]["counts"]}
    assert counts["same endpoints", "all"]["memory"]["false"] == 3
    assert counts["same endpoints", "all"]["memory"]["confirmed"] == 1  # runs 1 and 3 are of one system, 2 has no neighbour
    assert len(counts) == 6
    assert {row["not_silent"] for row in made["tables"]["reported"]} == {0}, "memory is not what a lane looks at"


def test_a_run_that_its_own_lane_would_void_is_counted():
    recorded = list(recorded_aa(6))
    for run in recorded:
        if run["system"] == "tcp":
            values = list(run["figures"]["rate"].values())
            values[1][:] = [0.9 * value for value in values[0]]
    rows = {(row["kind"], row["system"], row["point"]): row for row in aa.tables(recorded)["reported"]}
    assert (rows["same endpoints", "tcp", "full speed"]["rate"], rows["same endpoints", "tcp", "full speed"]["not_silent"]) == (3, 3)
    assert rows["same endpoints", "zeromq", "full speed"]["not_silent"] == rows["own endpoints", "tcp", "full speed"]["not_silent"] == 0


def test_power_says_what_was_injected_and_found(few_draws):
    recorded = list(recorded_power(8, 20))
    tables = power.tables(recorded)
    assert {row["system"] for row in tables["power"]} == set(common.SYSTEMS)
    for row in tables["measured"]:
        assert row["low"] < power.truth(Metric(row["metric"], row["metric"] == "rate", 0.1), row["slower"]) < row["high"]
        assert (row["expected"] is None) == (row["metric"] == "cpu")
        assert row["medians"][0] == pytest.approx(row["ratio"], rel=0.03)
    rows = [row for row in tables["power"] if (row["system"], row["metric"]) == ("tcp", "rate")]
    found = {(row["slower"], row["margin"], row["rounds"]): row for row in rows if not row["resampled"]}
    assert found[20, 0.10, 20]["found"] == found[20, 0.10, 20]["runs"] == 4
    assert found[5, 0.10, 20]["found"] == 0
    assert found[5, 0.02, 20]["found"] == 4
    assert found[20, 0.10, 20]["seconds"] == pytest.approx(2 * 20 * 0.7)
    drawn = {(row["slower"], row["margin"], row["rounds"]): row for row in rows if row["resampled"]}
    assert {row["slower"] for row in drawn.values()} == {20, 10, 5, 2}
    assert {row["runs"] for row in drawn.values()} == {power.DRAWS}
    assert drawn[20, 0.10, 20]["found"] > drawn[5, 0.10, 20]["found"] == 0
    assert drawn[2, 0.0, 20]["found"] > drawn[2, 0.0, 6]["found"]


def test_committed_evidence_follows_from_its_figures():
    for path in RESULTS.glob("reference/*/evidence-*/*.json"):
        assert path.stat().st_size < 1 << 20
    for path in RESULTS.glob("reference/*/evidence-aa/aa.json"):
        assert aa.main(["--recompute", str(path)]) == 0
    for path in RESULTS.glob("reference/*/evidence-power/power.json"):  # what is cheap of it: the rest takes a quarter of a minute
        data = common.read(path, "evidence-power")
        assert power.page(data).strip() == path.with_suffix(".md").read_text().strip()
        of_tcp = [run for run in data["runs"] if run["system"] == "tcp"]
        pairs = [power.pair_of(run, "rate", 20) for run in of_tcp]
        again = verdicts.power(RATE, 20, pairs, 8, [RATE.margin])[0]
        assert {"system": "tcp"} | asdict(again) in [{key: row[key] for key in row if key != "seconds"} for row in data["tables"]["power"]]
