"""What a pipeline reads of a gate: JUnit XML, github-action-benchmark's files, the job's page; and the past that it is held against."""

import json
from xml.etree import ElementTree as ET

import junitparser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_gate import gate

from bench.errors import EnvironmentProblem, UsageError
from bench.gate import past, result
from bench.gate.asked import METRICS, chosen
from bench.gate.files import Files
from bench.report.gate_benchmark import BIGGER, SMALLER, entries
from bench.report.gate_junit import DELIVERY, junit

EQUAL = dict.fromkeys(("rate", "p50"), 1.0)
WORSE = {"rate": 1.0, "p50": 1.5}
BROKEN = gate(EQUAL, head_broken=["trial 2, a: 1 lost\x00\x1b[31m"])
POINT = {"rate_per_s": 2000.0, "size_b": 256}


def cases(data):
    """{name of a case: (what came of it, its text)} as a reader of JUnit sees it."""
    (suite,) = junitparser.JUnitXml.fromstring(junit(data).encode())
    found = {}
    for case in suite:
        (first,) = case.result or [None]
        found[case.name] = (type(first).__name__ if first is not None else "passed", first.message if first is not None else "")
    assert suite.tests == len(found)
    assert suite.time == data["seconds"]
    return found


# --- JUnit


def test_a_gate_that_passed_has_a_case_a_metric():
    found = cases(gate(EQUAL))
    assert {name: word for name, (word, _) in found.items()} == dict.fromkeys((DELIVERY, "delivered rate", "latency p50"), "passed")


def test_a_regression_is_a_failure_of_its_metric_alone():
    found = cases(gate(WORSE))
    assert found["latency p50"][0] == "Failure"
    assert "margin 10%; then worse" in found["latency p50"][1], "both measurements are told"
    assert found["delivered rate"][0] == found[DELIVERY][0] == "passed"


@pytest.mark.parametrize(("word", "kind"), [(None, "Error"), ("retry", "Error"), ("pass", "Skipped"), ("fail", "Failure")])
def test_what_cannot_be_told_is_what_the_exit_code_makes_of_it(word, kind):
    found = cases(gate(EQUAL, rounds=4, on_inconclusive=word))
    assert found["delivered rate"][0] == kind
    assert found[DELIVERY][0] == "passed"


def test_a_broken_promise_fails_and_what_was_not_compared_is_skipped():
    found = cases(BROKEN)
    assert found[DELIVERY] == ("Failure", "trial 2, a: 1 lost??[31m")
    assert found["latency p50"][0] == "Skipped"


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_any_text_is_legal_xml(text):
    ET.fromstring(junit(BROKEN | {"scenario": text, "reasons": [text]}))


# --- github-action-benchmark


def test_each_metric_stands_in_the_file_of_its_direction():
    found = entries(gate(dict.fromkeys(METRICS, 1.0)))
    assert [one["name"] for one in found[BIGGER]] == [
        "orders, tcp: delivered rate, full speed",
        "orders, tcp: delivered rate, full speed, head / base",
    ]
    assert len(found[SMALLER]) == 2 * (len(METRICS) - 1)
    for one in (*found[BIGGER], *found[SMALLER]):
        assert set(one) == {"name", "unit", "value", "range", "extra"}
        assert isinstance(one["value"], float)
    ratio = next(one for one in found[SMALLER] if one["name"].endswith("p50, at 2,000/s, head / base"))
    assert ratio["unit"] == "x"
    assert 0.9 < ratio["value"] < 1.1


def test_names_do_not_change_with_the_revision():
    one, other = gate(EQUAL), gate(EQUAL)
    other["head"] = one["head"] | {"spec": "tcp,rev=y"}
    assert [[row["name"] for row in rows] for rows in entries(one).values()] == [
        [row["name"] for row in rows] for rows in entries(other).values()
    ]


# --- files


def test_files_are_written_where_they_are_asked_for(tmp_path):
    where = Files(tmp_path / "a" / "junit.xml", tmp_path / "b", tmp_path / "c" / "summary.md")
    where.prepare()
    where.write(gate(EQUAL))
    where.write(gate({"p50": 1.0}))
    assert (tmp_path / "c" / "summary.md").read_text().count("### Gate: orders") == 2, "a job's page has several steps"
    assert "latency p50" in (tmp_path / "a" / "junit.xml").read_text()
    assert len(json.loads((tmp_path / "b" / SMALLER).read_text())) == 2
    assert not (tmp_path / "b" / BIGGER).exists(), "the second gate has no such metric, and the first one's is not its"


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_measured(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match="file/junit"):
        Files(junit=tmp_path / "file" / "junit" / "x.xml").prepare()


# --- the past


def saved(tmp_path, data):
    path = tmp_path / "gate.json"
    path.write_text(json.dumps(data))
    return path


def test_the_past_of_equal_sides_passes_and_says_how_wide_the_margins_were(tmp_path):
    before = past.read(saved(tmp_path, gate(EQUAL)), "orders", "tcp", POINT)
    data = gate(EQUAL, before=before, alone=True)
    assert data["verdict"] == "passed"
    row = data["measurements"][-1]["past"][0]
    assert row["noise"] > 1
    assert row["widened"] == pytest.approx(1.1 * row["noise"] - 1)
    assert f"margins widened by the measured noise: delivered rate {row['widened']:.0%}" in result.sentence(data)
    assert "Against the past" in result.page(data)
    assert set(cases(data)) == {DELIVERY, "delivered rate, against the past", "latency p50, against the past"}


def test_what_is_far_worse_than_the_past_fails_and_within_the_noise_it_does_not(tmp_path):
    before = past.read(saved(tmp_path, gate(EQUAL)), "orders", "tcp", POINT)
    data = gate({"rate": 1.0, "p50": 3.0}, before=before, alone=True)
    assert data["past"]["standings"] == {"rate": "passes", "p50": "fails"}
    assert data["verdict"] == "failed"
    (told,) = past.reasons([one["past"] for one in data["measurements"]])
    assert "latency p50 is worse than the past: 3." in told
    assert "widened to" in told
    assert cases(data)["latency p50, against the past"][0] == "Failure"
    noisy = past.Past("x", {name: past.Before(1e6, 4.0, at) for name, at in data["points"].items()})
    assert gate({"rate": 1.0, "p50": 3.0}, before=noisy, alone=True)["verdict"] == "passed"


def test_better_than_the_past_is_no_failure_in_either_direction(tmp_path):
    before = past.read(saved(tmp_path, gate(EQUAL)), "orders", "tcp", POINT)
    assert gate({"rate": 5.0, "p50": 0.2}, before=before, alone=True)["verdict"] == "passed"
    assert gate({"rate": 0.2, "p50": 5.0}, before=before, alone=True)["past"]["standings"] == {"rate": "fails", "p50": "fails"}


def test_what_the_past_lacks_or_had_at_another_rate_is_unclear():
    asked, figures = chosen(["p50", "cpu"], {}, paced=True), gate({"p50": 1.0, "cpu": 1.0})["measurements"][0]["figures"]
    before = past.Past("x", {"p50": past.Before(1e6, 1.1, "at 200/s")})
    rows = past.rows(asked, before, figures, {"p50": 1.1, "cpu": 1.1}, {"p50": "at 2,000/s", "cpu": "at 2,000/s"})
    assert [(row["standing"], row["why"]) for row in rows] == [
        ("unclear", "the past's is at 200/s, this one at 2,000/s"), ("unclear", "the past has no figure of it"),
    ]  # fmt: skip


def test_one_measurement_alone_is_confirmed():
    assert past.confirm([[{"standing": "fails"}, {"standing": "passes"}]])
    assert not past.confirm([[{"standing": "passes"}]])
    assert not past.confirm([[{"standing": "fails"}], [{"standing": "fails"}]])
    assert not past.confirm([])


def spread(value):
    return {"median": value, "low": value / 1.5, "high": value * 1.5, "rounds": 3}


def summary(rate):
    variant = {"spec": "tcp", "id": "tcp"}
    latency = {"e2e": {"n": 9, "rounds": 3, "p50": 5e5, "p90": 6e5, "p99": 9e5, "p999": None, "max": 1e6}}
    rounds = [{"series": 0, "round": i, "rate_per_s": 1.0, "p99_ns": 1e6 * (i + 1)} for i in range(3)]
    own = {
        "variant": variant, "rate_per_s": spread(1e4), "latency_ns": latency, "rounds": rounds,
        "cpu_ns_per_delivery": {"total": spread(100.0)}, "memory_b": {"producers": spread(1e6), "consumers": spread(2e6)},
    }  # fmt: skip
    return {"scenario": "orders", "point": POINT | {"rate_per_s": rate}, "results": [own]}


def test_a_run_of_the_past_has_figures_at_the_same_rate_and_at_full_speed(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({"format": 1, "points": [summary(200.0), summary(2000.0), summary(None)]}))
    found = past.read(path, "orders", "tcp", POINT).figures
    assert found["rate"] == past.Before(1e4, 1.5 / (1 / 1.5), "full speed")
    assert found["p99"] == past.Before(2e6, 3.0, "at 2,000/s")
    assert found["memory"].value == 3e6
    with pytest.raises(UsageError, match='no figures of "kafka" on orders'):
        past.read(path, "orders", "kafka", POINT)
    with pytest.raises(UsageError, match="no figures"):
        past.read(path, "orders", "tcp", POINT | {"size_b": 9})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "neither a gate.json nor a summary.json"),
        ("[]", "neither a gate.json nor a summary.json"),
        ('{"measurements": [{}], "scenario": "orders"}', "not whole: KeyError"),
        ('{"measurements": [], "scenario": "latency"}', "is of the scenario latency"),
        ('{"measurements": [], "scenario": "orders"}', "no figures"),
        ("{", "gate.json"),
    ],
)
def test_a_file_that_is_none_of_the_past_is_told(tmp_path, text, told):
    path = tmp_path / "gate.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        past.read(path, "orders", "tcp", POINT)
