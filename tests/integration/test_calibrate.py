"""`brokerbench calibrate`: on the harness as it is every figure is right, and each bug that is planted is named."""

import json
from pathlib import Path

import pytest
from command import brokerbench, folder_of, read

from bench import cli, store
from bench.calibration import exact, verb
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
    zero = {"deliveries out of place", "late", "e2e: negative", "e2e-sent: negative", "publish: negative", "lateness: negative"}
    by_luck = {"lost_prefix", "lost_tail"}  # one of 3% must be the first or last of its lane
    by_speed = {name for name in shown ^ {figure.name for figure in found} if "p999" in name}  # only "max" may have 10,000 samples
    assert {figure.name for figure in found} - shown - by_luck - by_speed <= zero
    assert len(found) > 900


@pytest.mark.slow
def test_the_report_of_a_calibration_is_its_table(calibrated):
    done, folder, _ = calibrated
    again = brokerbench("report", folder, cwd=folder)
    assert again.returncode == 0
    assert again.stdout == done.stdout
    assert (folder / verb.PAGE).read_text().count("\n") == len(verb.kept(folder)) + 2
    data = json.loads(brokerbench("report", folder, "--json", cwd=folder).stdout)
    assert (data["wrong"], len(data["figures"])) == (0, len(verb.kept(folder)))


CASES = [
    exact.Case(name, Behaviour(1, Law("constant", (2.0,))), measure_s=0.6) for name in ("sound", "shifted", "sent", "hurried", "forgets")
]


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


def test_a_histogram_that_is_shifted_is_named(bent):
    _, wrong = bent
    assert {"e2e: p50", "e2e: p90", "e2e: of 99 percentiles right"} <= wrong["shifted"]
    assert {name.partition(":")[0] for name in wrong["shifted"]} == {"e2e", "e2e-a", "e2e-b"}


def test_a_latency_from_the_wrong_time_is_named(bent):
    _, wrong = bent
    assert "e2e: of 99 percentiles right" in wrong["sent"]
    assert {name.partition(":")[0] for name in wrong["sent"]} == {"e2e", "e2e-a", "e2e-b"}


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


def test_a_seed_that_is_none_is_a_usage_error(capsys):
    assert cli.main(["calibrate", "--seed", "-1"]) == 2
    assert "--seed -1: a whole number from 0" in capsys.readouterr().err
