"""The gate's pure parts: order, budget, decision; and what its SPECs and options say."""

import importlib
import sys
from argparse import Namespace
from collections import Counter
from importlib import metadata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from make_gate import drawn
from packaging.requirements import Requirement
from repository import commit, created

import adapters
from bench import cli, environment, scenario
from bench.engine.local import Interpreter
from bench.errors import EnvironmentProblem, UsageError
from bench.gate import budget, command, compatible, decision, environments, figures, result, schedule
from bench.gate.asked import FULL, METRICS, PACED, chosen, percent, show_percent
from bench.gate.checkout import of_adapter
from bench.gate.run import Options, prepared, run
from bench.gate.side import parse_side

POINTS = st.lists(st.sampled_from([FULL, PACED]), min_size=1, max_size=2, unique=True)
STANDINGS = st.sampled_from(["fails", "passes", "unclear"])
SMALL = """
name: small
systems: [tcp]
topology: {producers: 1, groups: {a: 1}}
payload: {size: 128 B}
"""


def small(more="load: {rate: 2 kHz}"):
    return scenario.parse(SMALL + more, where="test")


# --- order


@settings(deadline=None)
@given(POINTS, st.integers(0, 50), st.text(max_size=5))
def test_a_block_is_base_head_head_base_at_each_point(points, number, seed):
    steps = list(schedule.block(points, number, seed))
    assert steps == list(schedule.block(points, number, seed))
    assert len(steps) == 4 * len(points)
    for point in points:
        sides = [step.side for step in steps if step.point == point]
        assert [side[0] for side in sides] in ([*"bhhb"], [*"hbbh"])
    for half in range(2):
        own = [step for step in steps if step.round == number * 2 + half]
        assert Counter((step.point, step.side) for step in own) == Counter((point, side) for point in points for side in schedule.SIDES)
        assert [step.position for step in own] == list(range(len(own)))
    assert [step.round for step in steps] == sorted(step.round for step in steps)


def test_either_side_leads():
    leads = Counter(next(schedule.block([FULL], number, "seed")).side for number in range(200))
    assert min(leads["base"], leads["head"]) > 60


# --- budget


@settings(deadline=None)
@given(st.integers(1, 10))
def test_the_rounds_that_are_needed_can_call_one_metric_among_all(comparisons):
    needed = budget.rounds_needed(comparisons)
    assert needed >= 8
    assert needed % 2 == 0
    assert comparisons * 2.0 ** (1 - needed) <= budget.ALPHA
    assert needed == 8 or comparisons * 2.0 ** (1 - (needed - 2)) > budget.ALPHA


@settings(deadline=None)
@given(st.floats(0.1, 3600), st.floats(0.01, 100), st.integers(8, 12).filter(lambda n: n % 2 == 0))
def test_rounds_fit_into_the_time(limit, spent, needed):
    fit = budget.rounds_that_fit(limit, spent, 2, needed)
    if fit is None:
        assert limit / (spent / 2) < needed + 2
        assert budget.rounds_that_fit(budget.time_needed_s(spent, 2, needed), spent, 2, needed) is not None
        return
    assert needed <= fit <= budget.ROUNDS_MOST
    assert fit % 2 == 0
    assert fit * spent / 2 <= limit * (1 + 1e-6)


@settings(deadline=None)
@given(st.floats(0.1, 1e6), st.integers(1, 8), st.lists(st.sampled_from(["p50", "p99"]), unique=True))
def test_a_window_has_the_samples_of_its_percentiles(rate, groups, names):
    window = budget.window_s(rate, groups, names)
    needed = max((budget.SAMPLES[name] for name in names), default=0)
    if window is None:
        assert needed * 1.15 / (rate * groups) > budget.WINDOW_MOST_S - 0.01
    else:
        assert budget.WINDOW_S <= window <= budget.WINDOW_MOST_S
        assert window * rate * groups >= needed


def test_a_window_has_a_whole_number_of_bursts():
    assert budget.window_s(2000.0, 1, ["p99"], period_s=0.1) == pytest.approx(0.6)
    assert budget.window_s(1000.0, 4, ["p99"], period_s=2.0) == 2.0
    assert budget.window_s(1000.0, 4, ["p99"], period_s=4.0) is None
    task = prepared(scenario.load("bursts"), Options("tcp", "tcp"))
    assert task.points[PACED].workload.measure_s == pytest.approx(0.6)


# --- decision


def standing(ratios, names=tuple(METRICS), **more):
    asked = chosen(names, {}, paced=True)
    full = {name: ratios.get(name, 1.0) for name in names}
    measured = decision.judged(asked, drawn(full, **more), more.get("rounds", 16))
    return {row.asked.name: row.standing for row in measured.rows}


def test_equal_sides_pass():
    found = [standing({}, seed=seed) for seed in range(60)]
    assert not any("fails" in one.values() for one in found)
    assert sum(set(one.values()) == {"passes"} for one in found) >= 57


@pytest.mark.parametrize(("name", "worse", "better"), [("rate", 0.75, 1.3), ("p50", 1.3, 0.75), ("cpu", 1.3, 0.75), ("p99", 1.6, 0.6)])
def test_what_is_worse_fails_and_what_is_better_passes(name, worse, better):
    assert standing({name: worse})[name] == "fails"
    assert standing({name: better})[name] == "passes"
    assert standing({name: worse})["memory"] == "passes"


def test_a_measurement_that_could_have_seen_nothing_is_unclear():
    assert standing({}, noise=0.8)["rate"] == "unclear"


def test_a_round_that_a_side_lacks_is_unclear():
    asked = chosen(["rate"], {}, paced=True)
    held = drawn({"rate": 1.0})
    held["rate"]["head"][3] = None
    (row,) = decision.judged(asked, held, 16).rows
    assert (row.standing, row.word) == ("unclear", "inconclusive")
    assert "round 3" in row.why


def test_a_base_that_differs_from_itself_leaves_all_unclear():
    held = drawn({"rate": 0.5, "p50": 1.0})
    held["rate"]["base"] = [value * (1.5 if number % 2 else 1.0) for number, value in enumerate(held["rate"]["base"])]
    measured = decision.judged(chosen(["rate", "p50"], {}, paced=True), held, 16)
    assert {row.standing for row in measured.rows} == {"unclear"}
    assert "delivered rate" in measured.lane.noisy[0]


@settings(deadline=None)
@given(st.lists(STANDINGS, min_size=1, max_size=3))
def test_one_measurement_alone_fails_nothing(standings):
    assert (decision.final(standings) == "fails") == (standings.count("fails") > 1)


@settings(deadline=None)
@given(st.lists(st.tuples(*[STANDINGS] * 3), min_size=3, max_size=3), st.booleans())
def test_measurements_come_to_an_end_and_what_fails_is_confirmed(found, retry):
    made = [Measured(one) for one in found]
    done, whys = 0, ["first"]
    while whys[-1]:
        done += 1
        assume(done <= len(made))
        whys.append(decision.again(made[:done], retry=retry))
    assert whys in (["first", ""], ["first", "confirmation", ""], ["first", "retry", ""], ["first", "retry", "confirmation", ""])
    assert retry or "retry" not in whys
    finals = [decision.final([one.rows[i].standing for one in made[:done]]) for i in range(3)]
    if "fails" in finals:
        assert done > 1
    if "fails" in found[0]:
        assert whys[1] == "confirmation", "what seems worse is measured again"


class Measured:
    """What `again` looks at."""

    def __init__(self, standings):
        self.rows = [Namespace(standing=one) for one in standings]


def test_exit_codes():
    assert [decision.exit_code(said, "") for said in ("passed", "failed", "inconclusive", "base broken")] == [0, 1, 4, 1]
    assert [decision.exit_code("inconclusive", word) for word in ("pass", "fail", "retry")] == [0, 1, 4]
    assert decision.exit_code("failed", "pass") == 1
    assert decision.outcome({"rate": "passes"}, head_broken=True, base_broken=False) == "failed"
    assert decision.outcome({"rate": "fails"}, head_broken=True, base_broken=True) == "base broken"


# --- figures


def trial(side="base", number=0, rate=None, total=100.0, n=5000):
    return {
        "status": "ok", "variant": {"id": side}, "round": number, "point": {"rate_per_s": rate},
        "rates": {"slowest_group_per_s": 5000.0}, "cost": {"total_ns": total, "producers_ns": 30.0, "consumers_ns": 40.0},
        "producers": [{"rss_b": 10}], "consumers": [{"rss_b": 20}],
        "latency": {"end_to_end_intended": {"n": n, "p50_ns": 7, "p99_ns": 9}}, "audit": {},
    }  # fmt: skip


def test_figures_stand_at_their_point_side_and_round():
    asked = chosen((), {}, paced=True)
    found = figures.by_round(asked, [trial(), trial("head", 1), trial("head", 0, rate=2000.0)], 2)
    assert found["rate"] == {"base": [5000.0, None], "head": [None, 5000.0]}
    assert found["p50"] == {"base": [None, None], "head": [7.0, None]}
    assert found["memory"]["base"] == [30.0, None]


def test_a_percentile_needs_its_samples_and_cpu_is_of_the_same_on_both_sides():
    assert figures.figure("p99", trial(n=999)) is None
    assert figures.figure("p50", trial(n=999)) == 7.0
    found = figures.by_round(chosen(["cpu"], {}, paced=False), [trial(), trial("head", total=None)], 1)
    assert found["cpu"] == {"base": [70.0], "head": [70.0]}, "the server's is not known of one: it is left out of both"


def test_latencies_of_a_base_that_does_not_keep_up_say_nothing():
    kept_up, behind = trial(rate=5100.0), trial(rate=8000.0)
    for one in (kept_up, behind):
        one["rates"]["offered_per_s"] = one["point"]["rate_per_s"]
    assert figures.too_fast([kept_up, behind, trial()]) == ""
    why = figures.too_fast([kept_up, behind, behind])
    assert "2 of 3 trials" in why
    held = drawn({"rate": 0.5, "p50": 2.0})
    rows = decision.judged(chosen(["rate", "p50"], {}, paced=True), held, 16, why).rows
    assert [row.standing for row in rows] == ["fails", "unclear"]
    assert rows[1].why == why


# --- what is asked


@settings(deadline=None)
@given(st.integers(10, 10_000))
def test_percentages_read_back(tenths):
    assert percent(show_percent(tenths / 1000)) == pytest.approx(tenths / 1000)


@pytest.mark.parametrize("wrong", ["5", "0%", "0.1%", "-3%", "five%", "5 %%", "2000%", "", 5, None])
def test_a_margin_is_a_percentage(wrong):
    with pytest.raises(ValueError, match="%"):
        percent(wrong)


def test_cpu_and_memory_are_taken_at_full_speed_only_where_the_rate_is():
    assert {one.name: one.point for one in chosen((), {}, paced=True)}["cpu"] == FULL
    assert {one.point for one in chosen(["p50", "cpu"], {}, paced=True)} == {PACED}
    assert [one.name for one in chosen((), {}, paced=False)] == ["rate", "cpu", "memory"]


def test_sides_say_what_they_run_in():
    side = parse_side("base", "zeromq,with=pyzmq==26.2.0,sndhwm=5,with=-Some_Thing,rev=HEAD~1,python=3.12")
    assert (side.packages, side.removed, side.rev, side.python) == (("pyzmq==26.2.0",), ("some-thing",), "HEAD~1", "3.12")
    assert (side.plain, side.variant.id, side.variant.settings) == ("zeromq,sndhwm=5", "base", {"sndhwm": "5"})
    assert parse_side("head", "redis-pubsub,server=external:db1:6379,db2:6379").variant.server_address == "db1:6379,db2:6379"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("zeromqq", 'unknown system "zeromqq"'),
        ("tcp,rev=--output=/tmp/x", "is no revision"),
        ("tcp,rev=", "rev= has no value"),
        ("tcp,rev=a,rev=b", "rev is given twice"),
        ("tcp,with===1", "with===1"),
        ("tcp,with=numpy>>1", "with=numpy>>1"),
        ("tcp,with=--index-url", "take a package away"),
        ("tcp,with=none.whl", "no such wheel"),
        (f"tcp,with={__file__}.whl", "no such wheel"),
        ("tcp,with=x @ file:///tmp", "a name and a version only"),
    ],
)
def test_wrong_sides_are_told(text, told):
    with pytest.raises(UsageError) as caught:
        parse_side("head", text)
    assert str(caught.value).startswith("--head")
    assert told in str(caught.value)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with an adapter, and the adapter's class."""
    folder = created(tmp_path / "clone")
    (folder / "cloned_adapter.py").write_text("class Adapter:\n    pass\n")
    commit(folder, "one", "cloned_adapter.py")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("BROKERBENCH_HOME", str(tmp_path / "home"))
    yield importlib.import_module("cloned_adapter").Adapter
    del sys.modules["cloned_adapter"]


def test_a_revision_is_what_is_committed(clone, tmp_path):
    file = tmp_path / "clone" / "cloned_adapter.py"
    file.write_text("# changed\n")
    found = of_adapter(parse_side("base", "tcp,rev=HEAD"), clone)
    assert (found.folder / "cloned_adapter.py").read_text() == "class Adapter:\n    pass\n"
    assert file.read_text() == "# changed\n", "the working tree is left alone"
    assert of_adapter(parse_side("base", "tcp,rev=HEAD"), clone) == found
    assert environments._path(found)[0] == str(environments._ROOT), "the suite is not of that repository"
    assert str(found.folder) in environments._path(found)
    assert str(tmp_path / "clone") not in environments._path(found)


def test_a_revision_has_the_requirements_of_the_project_that_its_adapter_is_of(clone, tmp_path):
    found = of_adapter(parse_side("base", "tcp,rev=HEAD"), clone)
    assert environments._project(found) == {}
    (found.folder / "pyproject.toml").write_text('[project]\ndependencies = ["pyzmq>=26"]\n')
    assert environments._project(found) == {"dependencies": ["pyzmq>=26"]}


def test_a_wheel_of_the_adapters_own_distribution_is_not_shadowed_by_its_clone(clone, tmp_path):
    wheel = tmp_path / "brokerbench-0.0.9-py3-none-any.whl"
    wheel.touch()
    side, tcp = parse_side("base", f"tcp,with={wheel}"), adapters.load("tcp")
    assert environments._shadowed(side, tcp) == "adapters"
    assert environments._shadowed(parse_side("base", "tcp,with=numpy==2.4"), tcp) == ""
    assert str(environments._ROOT) not in environments._path(None, "adapters")
    assert str(tmp_path / "clone") not in environments._path(None, "cloned_adapter")
    assert str(tmp_path / "clone") in environments._path(None, "adapters")


def test_an_unknown_revision_is_told(clone):
    with pytest.raises(UsageError, match='has no revision "no-such-branch"'):
        of_adapter(parse_side("base", "tcp,rev=no-such-branch"), clone)


def test_what_is_not_tracked_is_in_no_repository(clone, tmp_path):
    (tmp_path / "clone" / "installed.py").write_text("class Adapter:\n    pass\n")  # as in a virtual environment within the clone
    found = importlib.import_module("installed").Adapter
    with pytest.raises(UsageError, match=r"installed\.py is in none; install it editable"):
        of_adapter(parse_side("base", "tcp,rev=HEAD"), found)


def test_what_does_not_build_says_so_with_its_last_lines(tmp_path):
    side = parse_side("base", "tcp,with=numpy==99")
    log = tmp_path / "log"
    with pytest.raises(EnvironmentProblem, match=r'--base "tcp,with=numpy==99": its environment does not build \(exit code 3\)') as caught:
        environments._step(side, [sys.executable, "-c", "print('no such numpy'); raise SystemExit(3)"], log)
    assert "no such numpy" in str(caught.value)
    assert str(log) in str(caught.value)
    assert caught.value.exit_code == 3


def test_endpoints_of_another_protocol_are_told():
    own = compatible.asked(parse_side("base", "tcp"), adapters.load("tcp"), Interpreter(sys.executable), None)
    assert compatible._differs(own) == ""
    assert "control protocol 0" in compatible._differs(own | {"protocol": 0})
    assert "differ from this runner's in nonsense" in compatible._differs(own | {"workload": [*own["workload"], "nonsense"]})
    assert "no option batch" in compatible._differs(own | {"options": [name for name in own["options"] if name != "batch"]})
    assert compatible._differs(own | {"options": [*own["options"], "of_a_later_one"]}) == ""


def test_a_machine_that_the_doctor_refuses_is_not_measured(monkeypatch, tmp_path):
    refused = [environment.Check("loopback", "bad", "127.0.0.1: down", "bring lo up"), environment.Check("load", "warn", "9", "")]
    monkeypatch.setattr(environment, "doctor", lambda: refused)
    with pytest.raises(EnvironmentProblem, match=r"brokerbench doctor\): loopback: 127.0.0.1: down \(bring lo up\)$"):
        run(small(), Options("tcp", "tcp"), results=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_an_environment_needs_is_numpy_and_the_client_with_its_companions():
    needed = environments._needed(parse_side("base", "kafka"), adapters.load("kafka"), None)
    assert sorted(map(str, needed)) == ["crc32c", "kafka-python", "numpy"], "in whichever version is here"
    assert environments._pins(needed) == [f"{name}=={metadata.version(name)}" for name in ("crc32c", "kafka-python", "numpy")]


def test_what_is_needed_in_turn_is_pinned_too():
    needed = environments._needed(parse_side("base", "redis-pubsub"), adapters.load("redis_pubsub"), None)
    assert sorted(map(str, needed)) == ["numpy", "redis[hiredis]"]
    assert {pin.partition("==")[0] for pin in environments._pins(needed)} >= {"numpy", "redis", "hiredis"}
    assert not any("pytest" in pin for pin in environments._pins(needed)), "what has no part in it does not build it anew"


def test_a_requirement_that_does_not_hold_here_is_not_pinned():
    numpy = Requirement("numpy<1")
    assert environments._pins([numpy]) == []
    assert not environments._all_here([numpy])


def test_another_environments_endpoints_see_nothing_of_this_one():
    path = environments._path(None)
    assert path[0] == str(environments._ROOT)
    assert not any("site-packages" in place for place in path)
    variables = Interpreter("python3", path).environment()
    assert variables["PYTHONPATH"].split(":") == list(path)
    assert variables["PYTHONSAFEPATH"] == "1", "or the current folder would come first"


def test_something_to_compare_with_is_needed(capsys, tmp_path):
    assert cli.main(["gate", "order-events", "--head", "tcp"]) == 2
    assert "--base SPEC: what is head to be compared with?" in capsys.readouterr().err
    assert cli.main(["gate", "order-events", "--head", "tcp", "--baseline", str(tmp_path / "gate.json")]) == 2
    assert f"{tmp_path / 'gate.json'}: cannot be read" in capsys.readouterr().err


def test_margins_of_the_command_line():
    assert command.read_margins(["rate=5%,p99=50%"]) == {"rate": 0.05, "p99": 0.5}
    assert command.read_margins(["5%", "p99=50%"]) == {**dict.fromkeys(METRICS, 0.05), "p99": 0.5}
    for wrong, told in ((["rate=5"], "is not a percentage"), (["rat=5%"], 'did you mean "rate"'), (["5"], "is not a percentage")):
        with pytest.raises(UsageError, match=told):
            command.read_margins(wrong)


def test_a_scenario_says_what_its_gate_compares():
    own = small("load: {rate: 2 kHz}\ngate: {metrics: [p50, cpu], margins: {p50: 20%}}\n")
    assert scenario.parse(own.to_yaml(), where="again") == own
    task = prepared(own, Options("tcp", "tcp"))
    assert [(one.name, one.margin, one.point) for one in task.asked] == [("p50", 0.2, PACED), ("cpu", 0.1, PACED)]
    task = prepared(own, Options("tcp", "tcp", ("rate",), {"rate": 0.05}))
    assert [(one.name, one.margin, one.point) for one in task.asked] == [("rate", 0.05, FULL)]


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("gate: {metrics: [p98]}", 'gate.metrics.*unknown metric "p98"'),
        ("gate: {metrics: [[p50]]}", "gate.metrics.*unknown metric \"\\['p50'\\]\""),
        ("gate: {margins: {p50: 20}}", "gate.margins.*not a percentage"),
        ("gate: {margins: {p51: 20%}}", "unknown metric"),
    ],
)
def test_a_wrong_part_is_told_with_its_line(part, told):
    with pytest.raises(UsageError, match=told):
        small(f"load: {{rate: 2 kHz}}\n{part}\n")


@pytest.mark.parametrize(
    ("more", "options", "told"),
    [
        ("load: {rate: 20/s}", Options("tcp", "tcp"), "p99 .1,000 samples. would be longer"),
        ("load: {schedule: max}", Options("tcp", "tcp", ("p50",)), "length of a queue: leave out p50"),
        ("load: {rate: 2 kHz}", Options("tcp", "tcp,nonsense=1"), "nonsense"),
        ("load: {rate: 2 kHz}", Options("tcp", "tcp", rounds=7), "an even number"),
        ("load: {schedule: steps, steps: [{rate: 10/s, for: 1 s}]}", Options("tcp", "tcp"), "steps is not for a gate"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_made(more, options, told):
    with pytest.raises(UsageError, match=told):
        prepared(small(more), options)


def test_of_a_sweep_the_highest_rate_is_taken():
    task = prepared(scenario.load("order-events"), Options("tcp", "tcp"))
    assert task.points[PACED].rate_per_s == 2000
    assert task.points[PACED].workload.measure_s * 2000 * 3 >= 1000
    assert task.points[FULL].rate_per_s is None
    assert len(task.scenario.points()) == 1


def test_what_passed_says_what_it_could_have_seen():
    rows = [{"metric": "rate", "verdict": "better", "visible_from": 1.134}, {"metric": "p99", "verdict": "not worse", "visible_from": 1.9}]
    measured = [{"rows": rows}]
    data = {"verdict": "passed", "reasons": [], "head": {"spec": "tcp"}, "metrics": ["rate", "p99"], "measurements": measured}
    assert result.sentence(data) == (
        "**Passed**: `tcp` is not worse than base in delivered rate and latency p99; better in delivered rate. "
        "A change would have been seen from: delivered rate 1.13x, latency p99 1.90x."
    )


def test_the_page_says_what_was_decided():
    data = {
        "scenario": "small", "verdict": "failed", "reasons": ["head breaks its promise", "trial 2, a: 1 lost"], "metrics": ["rate"],
        "points": {"rate": FULL}, "rounds": 0, "round_s": None, "seconds": 2.0,
        "base": {"spec": "tcp", "python": "3.11", "client": "", "client_version": "", "server": "Redis 7.0.15"},
        "head": {"spec": "tcp,rev=x", "python": "3.11", "client": "pyzmq", "client_version": "26", "revision": "0123456789abcdef"},
        "measurements": [{"why": "first", "rows": [], "figures": {}, "lane": None}],
        "delivery": {"base": {"audits": 2, "broken_groups": 0, "reasons": []}, "head": {"audits": 2, "broken_groups": 1, "reasons": ["x"]}},
    }  # fmt: skip
    page = result.page(data)
    assert "**Failed**: `tcp,rev=x`: head breaks its promise; trial 2, a: 1 lost." in page
    assert "revision 0123456789ab" in page
    assert "- base: `tcp`, Redis 7.0.15, Python 3.11" in page
    assert "1 of 2 audits broken" in page
