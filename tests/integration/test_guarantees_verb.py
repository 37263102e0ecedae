"""The verb guarantees by the command: consumers are killed, loss is found where it must show, a run that was cut off goes on."""

import pytest
from command import brokerbench, folder_of, read, trials

from bench import report

CELLS = ("redis_pubsub", "--faults", "consumer-kill", "--injections", 1, "--core", 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that had no time for a trial, and what became of it when it went on."""
    folder = tmp_path_factory.mktemp("guarantees")
    cut = brokerbench("guarantees", *CELLS, "--time", "1 ms", cwd=folder)
    before = read(folder_of(folder / "results" / "runs") / "guarantees.json")
    done = brokerbench("guarantees", "--resume", folder_of(folder / "results" / "runs"), cwd=folder)
    return cut, before, done, folder_of(folder / "results" / "runs")


@pytest.mark.server
def test_out_of_time_is_inconclusive_and_says_what_is_left(run):
    cut, before, _, _ = run
    assert cut.returncode == 4, cut.stderr
    assert [cell["status"] for cell in before["cells"]] == ["waiting"]
    assert "not tried yet" in cut.stdout


@pytest.mark.server
def test_a_killed_consumer_of_no_guarantee_must_lose(run):
    _, _, done, folder = run
    assert done.returncode == 0, done.stderr + done.stdout
    found = read(folder / "guarantees.json")
    assert len(found["sittings"]) == 2
    for cell in found["cells"]:
        assert (cell["status"], cell["judged"]["verdict"], cell["judged"]["n"]) == ("complete", "no violation", 1), cell
        assert cell["judged"]["observed"] == "at-most-once"
        counted = [one for one in cell["injections"] if one["in_flight"]]
        assert counted[0]["at_risk"] > 0
        assert counted[0]["counts"]["lost"] > 0  # nearly all of them: it works on between the mark and its death


@pytest.mark.server
def test_its_trials_are_like_any_and_its_report_is_made_from_files(run):
    _, _, done, folder = run
    kept = trials(folder)
    assert [entry["trial"] for entry in read(folder / "plan.json")] == [trial["trial"] for trial in kept]
    assert {trial["status"] for trial in kept} == {"ok"}
    assert not list((folder / "evidence").glob("*.rec.*")), "nothing surprised: no journal is kept"
    assert "at-most-once, n 1, lost in 1" in done.stdout
    for name in ("report.html", "guarantees.csv"):
        (folder / name).unlink()
    files = report.write(folder)
    assert "consumer-kill" in files.html.read_text()
    assert files.summary.is_file()
