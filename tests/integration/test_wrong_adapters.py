"""Adapters that break one promise each go through the real command: the audit names what broke, to the message."""

import os

import pytest
from command import ROOT, brokerbench, folder_of, read, trials
from wrong_adapters import AT, EVERY, TAIL, distribution, wrong_ids

GROUPS = ("a", "b")
SCENARIO = """\
name: wrong
systems: [tcp]
topology: {producers: 1, groups: {a: 1, b: 1}, partitions: 1, routing: round-robin}
payload: {size: 128 B}
load: {rate: 10 kHz}
timing: {warmup: 300 ms, measure: 1 s, drain: 2 s}
rounds: 1
lanes: {aa: false, floor: false}
"""
PLANNED = 13_000
N = wrong_ids(PLANNED)
CLEAN = {"lost": 0, "duplicated": 0, "reordered": 0, "corrupted": 0, "unexpected": 0, "failed_delivered": 0, "processed": PLANNED}

# SPEC, what the audit must say (None: whatever it says), its verdict, the words of its reasons
CASES = [
    ("drops,mode=none", {"lost": N, "processed": PLANNED - N}, "as promised", "3 acknowledged messages lost"),
    ("drops,mode=sure", {"lost": N, "processed": PLANNED - N}, "violated", "3 acknowledged messages lost (at-least-once)"),
    ("repeats,mode=once", {"duplicated": N}, "violated", "3 deliveries repeated (at-most-once)"),
    ("repeats,mode=sure", {"duplicated": N}, "as promised", "3 deliveries repeated"),
    ("swaps,mode=none", {"reordered": N, "reordered_max": 1}, "violated", "3 deliveries out of order"),
    ("flips,mode=none", {"corrupted": N, "lost": N, "processed": PLANNED - N}, "violated", "3 deliveries corrupted"),
    ("boasts,mode=sure", {"lost": N, "processed": PLANNED - N, "acknowledged": PLANNED}, "violated", "3 acknowledged messages lost"),
    (
        "denies,mode=none",
        {"failed_delivered": N, "acknowledged": PLANNED - N},
        "violated",
        "3 messages delivered that were reported as failed",
    ),
    ("curtails,mode=sure", {"lost": TAIL, "processed": PLANNED - TAIL}, "violated", "3 acknowledged messages lost"),
    # What the old connection still brings may arrive after what the new one does.
    ("reconnects,mode=sure", {"lost": N, "processed": PLANNED - N, "reordered": None}, "violated", "3 acknowledged messages lost"),
    ("tcp", {}, "clean", ""),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return os.pathsep.join([str(distribution(tmp_path_factory.mktemp("wrong"))), str(ROOT / "tests")])


@pytest.fixture(scope="module")
def run(tmp_path_factory, path):
    """One run of all of them: its end, its folder, and its trials by SPEC."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "wrong.yaml").write_text(SCENARIO)
    done = brokerbench("run", "wrong.yaml", "--systems", *[case[0] for case in CASES], cwd=folder, PYTHONPATH=path)
    kept = folder_of(folder / "results" / "runs")
    return done, kept, {trial["variant"]["spec"]: trial for trial in trials(kept)}


def test_the_wrong_ids_are_few_and_met():
    assert (N, AT, EVERY) == (3, 2_499, 5_000)


@pytest.mark.parametrize(("spec", "says", "verdict", "reason"), CASES, ids=[case[0] for case in CASES])
def test_the_audit_names_what_broke(run, spec, says, verdict, reason):
    trial = run[2][spec]
    assert (trial["status"], trial["reason"]) == ("ok", None)
    assert trial["producers"][0]["sent"] == PLANNED
    assert set(trial["audit"]) == set(GROUPS)
    for row in trial["audit"].values():
        expected = {name: count for name, count in (CLEAN | says).items() if count is not None}
        assert {name: row[name] for name in expected} == expected
        assert row["verdict"] == verdict
        assert reason in "; ".join(row["reasons"])
        assert bool(row["reasons"]) == (verdict != "clean")


def test_the_lost_ones_are_told_one_by_one_and_lie_in_the_middle(run):
    for row in run[2]["drops,mode=sure"]["audit"].values():
        assert row["lost_where"] == {"prefix": 0, "middle": 3, "tail": 0}
        assert row["lost_ids"] == [[0, 0, 2_499], [0, 0, 7_499], [0, 0, 12_499]]


def test_what_a_close_forgets_lies_in_the_tail(run):
    for row in run[2]["curtails,mode=sure"]["audit"].values():
        assert row["lost_where"] == {"prefix": 0, "middle": 0, "tail": TAIL}
        assert row["lost_ids"] == [[0, 0, PLANNED - TAIL + i] for i in range(TAIL)]


def test_who_connects_anew_and_says_nothing_is_named(run):
    told = {spec: [one for one in trial["findings"] if one["code"] == "reconnect-unannounced"] for spec, trial in run[2].items()}
    (found,) = told.pop("reconnects,mode=sure")
    assert found["evidence"].startswith("producer-0: 2 of its sockets were replaced")
    assert not any(told.values())


def test_what_never_came_is_not_waited_for_without_end(run):
    assert [finding["code"] for finding in run[2]["drops,mode=none"]["findings"] if finding["code"] == "not-drained"] == ["not-drained"]
    assert run[2]["repeats,mode=once"]["drained_s"] is not None


def test_a_broken_promise_is_an_exit_code_and_stands_in_the_report(run):
    done, folder, _ = run
    assert done.returncode == 1, done.stderr
    assert "promise broken: a: 3 acknowledged messages lost (at-least-once)" in done.stderr
    assert read(folder / "run.json")["status"] == "complete"
    assert "Drops, mode=sure" in done.stdout.partition(" broke what the mode promises")[0]
    assert "| promise broken | Drops, mode=sure |" in (folder / "report.md").read_text()


def test_what_a_mode_allows_is_no_failure(tmp_path, path):
    (tmp_path / "wrong.yaml").write_text(SCENARIO)
    done = brokerbench("run", "wrong.yaml", "--systems", "drops,mode=none", "repeats,mode=sure", "--quiet", cwd=tmp_path, PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")


def test_bugs_of_an_adapter_are_told_without_a_traceback_and_the_rest_goes_on(tmp_path, path):
    (tmp_path / "wrong.yaml").write_text(SCENARIO)
    done = brokerbench("run", "wrong.yaml", "--systems", "crashes,mode=none", "refuses", "taken", "tcp", cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 1, done.stderr
    by_system = {trial["variant"]["system"]: trial for trial in trials(folder_of(tmp_path / "results" / "runs"))}
    assert {name: trial["status"] for name, trial in by_system.items()} == {
        "crashes": "failed", "refuses": "failed", "taken": "failed", "tcp": "ok",
    }  # fmt: skip
    assert "producer-0: ZeroDivisionError: a bug of this adapter" in by_system["crashes"]["reason"]
    assert "RuntimeError: a bug of this adapter, in prepare()" in by_system["refuses"]["reason"]
    assert "tcp: cannot listen on 127.0.0.1:" in by_system["taken"]["reason"]
    assert "Address already in use" in by_system["taken"]["reason"]
