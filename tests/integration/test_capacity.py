"""The verb capacity by the command: a limit that is known is found, the folder is whole, what is cut short is reported."""

import os
import re
import signal

import pytest
from command import ROOT, brokerbench, folder_of, read, started, trials, until
from throttled_adapter import LIMIT_PER_S, distribution

SCENARIO = """\
name: limited
systems: [throttled]
topology: {producers: 1, groups: {a: 1}, partitions: 1, routing: round-robin}
payload: {size: 128 B}
load: {rate: 300/s}
"""
PROBES = 12
BUSY = {"machine-busy", "not-alone", "stolen-time", "sender-late"}
QUICK = ("--objective", "p90 <= 100 ms", "--warmup", "200 ms", "--measure", "600 ms", "--drain", "2 s", "--precision", "10%")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return os.pathsep.join([str(distribution(tmp_path_factory.mktemp("throttled"))), str(ROOT / "tests")])


@pytest.fixture(scope="module")
def run(tmp_path_factory, path):
    """One search with a sweep: the command's end and its folder."""
    folder = tmp_path_factory.mktemp("capacity")
    (folder / "limited.yaml").write_text(SCENARIO)
    words = ("--from", "1 kHz", "--probes", PROBES, "--sweep", 1, *QUICK)
    done = brokerbench("capacity", "limited.yaml", *words, cwd=folder, PYTHONPATH=path)
    return done, folder_of(folder / "results" / "runs")


def test_the_limit_is_found(run):
    done, folder = run
    (search,) = read(folder / "capacity.json")["searches"]
    answer = search["answer"]
    assert done.returncode == (4 if answer["kind"] == "inconclusive" else 0), done.stderr
    # Nothing makes it faster: 20 ms of catching up in 0.8 s are 2.5%, and a backlog may last 100 ms. A busy machine makes it slower.
    assert (answer["rate_per_s"] or 0) <= LIMIT_PER_S * 1.2
    disturbed = [probe for probe in search["probes"] if BUSY & set(probe["findings"])]
    if len(disturbed) < len(search["probes"]) / 4:
        assert answer["rate_per_s"] >= LIMIT_PER_S * 0.8
    assert 1 <= answer["probes"] <= PROBES


def test_probes_are_trials_like_any(run):
    _, folder = run
    (search,) = read(folder / "capacity.json")["searches"]
    kept = trials(folder)
    assert read(folder / "run.json")["kind"] == "capacity"
    assert [probe["trial"] for probe in search["probes"]] == [trial["trial"] for trial in kept]
    assert [entry["trial"] for entry in read(folder / "plan.json")] == [trial["trial"] for trial in kept]
    assert all(probe["rate_per_s"] == trial["rates"]["offered_per_s"] for probe, trial in zip(search["probes"], kept, strict=True))
    assert all(trial["audit"]["a"]["verdict"] in ("clean", "as promised", "undetermined") for trial in kept)
    held = [probe["rate_per_s"] for probe in search["probes"] if probe["held"]]
    assert max(held, default=0) <= LIMIT_PER_S * 1.2, "over its limit it loses ground, which is seen"
    counted = [probe for probe in search["probes"] if probe["phase"] == "search" and probe["held"] is not None]
    assert len(counted) <= search["answer"]["probes"]


def test_the_sweep_is_below_the_capacity_in_random_order(run):
    _, folder = run
    (search,) = read(folder / "capacity.json")["searches"]
    if search["answer"]["kind"] != "found":
        pytest.skip("a machine so busy that there is no answer has no sweep")
    assert [row["share"] for row in search["sweep"]] == [0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95]
    assert all(row["rate_per_s"] < search["answer"]["rate_per_s"] for row in search["sweep"])
    shares = [probe["share"] for probe in search["probes"] if probe["phase"] == "sweep"]
    assert sorted(shares) == [row["share"] for row in search["sweep"]] != shares


def test_the_answer_is_printed_and_the_report_made_again(run):
    done, folder = run
    assert "## limited: capacity" in done.stdout
    assert f"report: {folder}/report.html" in done.stdout
    assert re.search(r"\] throttled: [\d,.]+/s (holds|does not hold|says nothing)", done.stderr)
    (folder / "report.html").unlink()
    again = brokerbench("report", folder, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert (folder / "capacity.md").is_file()


def test_one_that_is_cut_short_is_reported_as_far_as_it_came(tmp_path, path):
    (tmp_path / "limited.yaml").write_text(SCENARIO)
    process = started("capacity", "limited.yaml", "--from", "500/s", *QUICK, cwd=tmp_path, PYTHONPATH=path)
    until(lambda: "holds" in process.err() or "says nothing" in process.err(), process, what="a probe")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    folder = folder_of(tmp_path / "results" / "runs")
    assert "interrupted" in process.err()
    assert read(folder / "run.json")["status"] == "interrupted"
    assert read(folder / "capacity.json")["searches"][0]["probes"]
    assert "status is interrupted" in (folder / "report.html").read_text()


def test_time_is_a_limit(tmp_path, path):
    (tmp_path / "limited.yaml").write_text(SCENARIO)
    done = brokerbench("capacity", "limited.yaml", "--time", "1 s", "--json", *QUICK, cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 4, done.stderr
    (search,) = read(folder_of(tmp_path / "results" / "runs") / "capacity.json")["searches"]
    assert search["status"] == "out of time"
    assert len(search["probes"]) <= 3
