"""The shipped scenario `backlog`, a twenty-fifth of it: what is kept while a group is away, and what the other group notices."""

import pytest
from command import brokerbench, folder_of, trials


@pytest.fixture(scope="module")
def run(tmp_path_factory, needs):
    needs("redis_pubsub")
    folder = tmp_path_factory.mktemp("backlog")
    words = ("--systems", "redis_streams,min_idle_time=500", "redis_pubsub", "--scale", "0.04", "--drain", "8s", "--quiet")
    done = brokerbench("run", "backlog", *words, cwd=folder)
    kept = folder_of(folder / "results" / "runs")
    return done, kept, {trial["variant"]["system"]: trial for trial in trials(kept)}


pytestmark = [pytest.mark.server, pytest.mark.slow]
AWAY_S = 1.2


def test_both_systems_are_measured_and_nothing_is_broken(run):
    done, _, by_system = run
    assert done.returncode == 0, done.stderr
    for trial in by_system.values():
        assert (trial["status"], trial["reason"]) == ("ok", None)
        (fault,) = trial["faults"]
        assert (fault["fault"], fault["target"]) == ("away", "consumer.away")
        assert fault["healed_s"] - fault["injected_s"] >= AWAY_S - 0.01


def test_what_stores_keeps_the_backlog_and_it_is_caught_up_with(run):
    trial = run[2]["redis_streams"]
    away = trial["audit"]["away"]
    assert (away["lost"], away["processed"]) == (0, away["sent"])
    told = trial["phases"]["groups"]["away"]
    assert told["backlog_max"] > 500, "1,200 are sent in that time"
    assert told["caught_up_s"] >= trial["phases"]["healed_s"]
    assert told["during"]["processed_per_s"] < 500


def test_what_stores_nothing_has_nothing_of_it_afterwards(run):
    audit = run[2]["redis_pubsub"]["audit"]
    assert audit["away"]["processed"] < audit["away"]["sent"] - 500
    assert audit["live"]["processed"] == audit["live"]["sent"]


def test_the_group_that_stays_goes_on(run):
    for trial in run[2].values():
        live = trial["phases"]["groups"]["live"]
        assert live["during"]["processed_per_s"] > 500
        assert trial["audit"]["live"]["lost"] == 0


@pytest.mark.parametrize(("heading", "rows"), [("Before, during and after the faults", 2), ("What each fault cost", 4)])
def test_the_report_has_both_variants_in_its_tables_of_faults(run, heading, rows):
    """In one a row a variant, in the other one for each of its groups."""
    page = (run[1] / "report.md").read_text()
    _, found, after = page.partition(f"**{heading}, ")
    assert found
    assert after.partition("\n**")[0].count("away consumer.away") == rows
