"""`brokerbench calibrate`: on the harness as it is every figure is right, and each bug that is planted is named."""

import json
from pathlib import Path

import pytest
from command import brokerbench, folder_of, read

from bench import cli, store
from bench.calibration import exact, live, verb
from bench.calibration.behaviour import Behaviour, Law
from bench.errors import UsageError

TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """(the command's end, the run's folder, its figures)."""
    folder = tmp_path_factory.mktemp("calibrate")
    done = brokerbench("calibrate", "--seed", "3", cwd=folder)
    kept = folder_of(folder / "results" / "runs")
    return done, kept, verb.kept(kept)


@pytest.mark.slow
def test_every_figure_of_the_harness_is_right(calibrated):
    done, folder, found = calibrated
    assert done.returncode == 0, done.stdout + done.stderr
    assert [figure for figure in found if not figure.right] == []
    assert f"{len(found)} of {len(found)} figures are right" in done.stdout
    assert read(folder / "run.json")["kind"] == "calibrate"
    assert read(folder / "run.json")["status"] == "complete"


@pytest.mark.slow
def test_it_was_worth_comparing(calibrated):
    """Each count is above zero somewhere, each percentile printed somewhere: 0 = 0 and n/a = n/a would show nothing."""
    _, _, found = calibrated
    shown = {figure.name for figure in found if figure.truth}
    zero = {
        "deliveries out of place",
        "deliveries that were not waited for",
        "late",
        "e2e: negative",
        "e2e-sent: negative",
        "publish: negative",
        "lateness: negative",
    }
    by_luck = {"lost_prefix", "lost_tail"}  # one of 3% must be the first or last of its lane
    by_speed = {name for name in shown ^ {figure.name for figure in found} if "p999" in name}  # only "max" may have 10,000 samples
    assert {figure.name for figure in found} - shown - by_luck - by_speed <= zero
    assert len(found) > 900


@pytest.mark.slow
def test_the_report_of_a_calibration_is_its_table(calibrated, capsys):
    done, folder, found = calibrated
    assert cli.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == done.stdout
    assert (folder / verb.PAGE).read_text().count("\n") == len(found) + 2
    assert cli.main(["report", str(folder), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["wrong"], len(data["figures"])) == (0, len(found))


BUGS = ("sound", "shifted", "sent", "hurried", "forgets")  # by trial, as in wrong_endpoint
CASES = [exact.Case(name, Behaviour(1, Law("constant", (2.0,))), measure_s=0.6) for name in BUGS]


@pytest.fixture(scope="module")
def bent(tmp_path_factory):
    """(exit code, names of wrong figures by case) of a harness with a bug in each trial but the first."""
    results = tmp_path_factory.mktemp("bent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        patch.setattr(exact, "ENDPOINT", ("-m", "wrong_endpoint"))
        patch.setattr(exact, "cases", lambda _: CASES)
        code = cli.main(["calibrate", "--json", "--results", str(results)])
    wrong = {case.name: set() for case in CASES}
    for figure in verb.kept(folder_of(results)):
        if not figure.right and not figure.case.startswith("report"):
            wrong[figure.case.split()[-1]].add(figure.name)
    return code, wrong


def test_a_wrong_figure_is_exit_code_1(bent):
    code, wrong = bent
    assert code == 1
    assert wrong["sound"] == set()


IN_PARTS = {"n of a third of the window", "p50 of a third of the window", "latency.hlog: seconds that agree"}  # of end to end


def test_a_histogram_that_is_shifted_is_named(bent):
    _, wrong = bent
    assert {"e2e: p50", "e2e: p90", "e2e: of 99 percentiles right"} <= wrong["shifted"]
    assert {name.partition(":")[0] for name in wrong["shifted"] if name not in IN_PARTS} == {"e2e", "e2e-a", "e2e-b"}


def test_a_latency_from_the_wrong_time_is_named(bent):
    _, wrong = bent
    assert "e2e: of 99 percentiles right" in wrong["sent"]
    assert {name.partition(":")[0] for name in wrong["sent"] if name not in IN_PARTS} == {"e2e", "e2e-a", "e2e-b"}


def test_a_sample_that_was_dropped_is_named(bent):
    _, wrong = bent
    assert {"lateness: n", "lateness: n of latency.hlog"} <= wrong["hurried"]
    assert {name.partition(":")[0] for name in wrong["hurried"]} == {"lateness"}


def test_a_delivery_that_was_forgotten_is_named(bent):
    _, wrong = bent
    assert {"processed", "lost", "consumer: received", "e2e: n"} <= wrong["forgets"]
    assert not wrong["forgets"] & {"sent", "acknowledged", "duplicated", "corrupted", "publish: n", "lateness: n"}


@pytest.mark.parametrize("content", [None, "", "{}", '{"format": 1, "figures": [{"case": 1}]}', "[]"])
def test_a_calibration_that_was_cut_short_says_so(tmp_path, content, capsys):
    writer = store.RunWriter.create(tmp_path, exact.described(CASES, 1), kind="calibrate", run_id="cut")
    writer.finish("interrupted")
    if content is not None:
        (writer.folder / verb.TABLE).write_text(content)
    with pytest.raises(UsageError, match=r"calibration\.json"):
        verb.kept(writer.folder)
    assert cli.main(["report", str(writer.folder)]) == 2
    assert "calibration.json" in capsys.readouterr().err


def test_a_live_case_is_measured_once(tmp_path, monkeypatch, capsys):
    """What a busy machine may make of its latencies is not looked at."""
    one = live.cases(1, quick=True)[:1]
    monkeypatch.setattr(live, "cases", lambda seed, quick: one)
    asked = ["calibrate", "--live", "--quick", "--out", str(tmp_path / "out"), "--results", str(tmp_path / "runs")]
    assert cli.main(asked) == 0
    first = read(tmp_path / "out" / "constant.json")
    shown = {f"constant: {tag} {q}" for tag in ("e2e", "e2e-sent", "publish") for q in ("p50", "p90")}
    assert {row["name"] for row in first["figures"]} == shown | {"constant: exact figures that are wrong"}
    assert first["figures"][0]["harness"] == 0
    assert all(row["truth"] > 15e6 for row in first["figures"][1:])  # it is delayed by 20 ms
    assert cli.main(asked) == 0
    assert read(tmp_path / "out" / "constant.json") == first
    assert "constant: kept from" in capsys.readouterr().err
    assert "1 of 1 cases" in (tmp_path / "out" / live.PAGE).read_text()
    assert len(list((tmp_path / "runs").iterdir())) == 1
    (tmp_path / "out" / "constant.json").write_text("{")
    assert cli.main(asked) == 2
    assert "constant.json: not a result of" in capsys.readouterr().err


def test_another_seed_is_another_measurement(tmp_path):
    path = tmp_path / "constant.json"
    (one, *_) = live.cases(1)
    path.write_text(json.dumps({"format": live.FORMAT, "settings": live.settings(one, 1)}))
    assert live.kept(path, live.settings(one, 1)) is not None
    assert live.kept(path, live.settings(one, 2)) is None
    assert live.kept(tmp_path / "none.json", live.settings(one, 1)) is None


def test_live_cases_take_less_than_twenty_minutes():
    assert sum(one.load_s + one.trials * 2 + 10 for one in live.cases(1)) < 20 * 60
    assert [one.calculated_ns for one in live.cases(1) if one.calculated_ns] == [pytest.approx(901e6)]


@pytest.mark.parametrize("words", [["--quick"], ["--out", "x"]])
def test_what_is_for_live_trials_only_says_so(words, capsys):
    assert cli.main(["calibrate", *words]) == 2
    assert f"{words[0]} is for live trials" in capsys.readouterr().err


def test_a_seed_that_is_none_is_a_usage_error(capsys):
    assert cli.main(["calibrate", "--seed", "-1"]) == 2
    assert "--seed -1: a whole number from 0" in capsys.readouterr().err
