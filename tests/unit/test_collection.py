"""Several runs in one report: gathered, held against each other, joined by variant; damaged ones told."""

from __future__ import annotations

import json
import shutil

import pytest
from committed import KAFKA, OTHERS, RUN, TOGETHER
from make_results import five, make

from bench import cli
from bench.errors import Incompatible, UsageError
from bench.report.collection import gather
from bench.report.joining import delivery, not_joined
from bench.store import open_run


@pytest.fixture(scope="module")
def joined():
    return gather(TOGETHER)


def edited(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def small(folder, **run):
    return make(folder, five()[:1], rounds=1, samples=1200, points=({"rate_per_s": 200, "size_b": 256},), **run)


def variant_of(collection, name):
    return next(t["variant"] for run in collection.runs for t in run.trials if t["variant"]["id"] == name)


def test_the_committed_runs_of_speed_and_faults_stand_side_by_side(joined):
    assert [run.run["id"] for run in joined.runs] == [RUN.name]
    assert [run.run["id"] for run in joined.guarantees] == ["evidence-guarantees/kafka", "evidence-guarantees/others"]
    assert joined.differences == joined.missing == ()
    assert [joined.label(run) for run in joined.all] == ["", "evidence-guarantees/kafka", "evidence-guarantees/others"]


@pytest.mark.parametrize("name", ["kafka", "rabbitmq", "zeromq", "redis_pubsub"])
def test_a_variant_gets_the_kills_of_its_own_mode(joined, name):
    variant = variant_of(joined, name)
    [kill] = [one for one in delivery(joined, variant) if one.fault == "consumer-kill"]
    folder = KAFKA if name == "kafka" else OTHERS
    cells = json.loads((folder / "guarantees.json").read_text())["cells"]
    [cell] = [c for c in cells if (c["system"], c["mode"]["name"], c["fault"]) == (name, variant["mode"]["name"], "consumer-kill")]
    assert (kill.n, kill.lost, kill.high) == (cell["judged"]["n"], *(cell["judged"]["shares"]["lost"][key] for key in ("events", "high")))
    assert kill.cell == cell["id"]


def test_a_loss_that_could_not_be_seen_has_its_bound(joined):
    [kill] = [one for one in delivery(joined, variant_of(joined, "kafka")) if one.fault == "consumer-kill"]
    assert kill.lost == 0
    assert kill.high == pytest.approx(1 - 0.05 ** (1 / kill.n))
    assert "session_timeout_ms=6000" in kill.aside
    assert "not recorded" not in kill.aside


def test_a_server_of_another_version_is_told_and_one_that_is_not_known_joins(joined, tmp_path):
    variant = variant_of(joined, "kafka")
    assert delivery(joined, variant, {"product": "Apache Kafka", "version": "3.9.1"}) == []
    data = json.loads((KAFKA / "guarantees.json").read_text())
    [there] = {cell["server"]["version"] for cell in data["cells"]}
    assert not_joined(joined, variant, {"product": "Apache Kafka", "version": "3.9.1"}) == [
        f"evidence-guarantees/kafka: Apache Kafka {there} there, 3.9.1 here"
    ]
    for cell in data["cells"]:
        del cell["server"]  # of an older revision
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "guarantees.json").write_text(json.dumps(data))
    [kill] = [one for one in delivery(gather([RUN, tmp_path / "old"]), variant) if one.fault == "consumer-kill"]
    assert "version of Apache Kafka not recorded there" in kill.aside


@pytest.mark.parametrize(
    "change",
    [{"spec": "kafka,linger_ms=5"}, {"profile": "tuned", "spec": "kafka,profile=tuned"}, {"spec": "kafka,client=confluent-kafka"}],
)
def test_another_variant_of_the_system_has_no_kills(joined, change):
    assert delivery(joined, variant_of(joined, "kafka") | change) == []


def test_another_mode_has_those_of_that_mode(joined):
    variant = variant_of(joined, "kafka")
    other = variant | {"spec": "kafka,mode=commit-before", "mode": variant["mode"] | {"name": "commit-before"}}
    [kill] = [one for one in delivery(joined, other) if one.fault == "consumer-kill"]
    assert kill.lost > 0


def test_another_version_of_the_client_is_another_variant_and_said(joined):
    variant = variant_of(joined, "rabbitmq") | {"client_version": "1.3.2"}
    assert delivery(joined, variant) == []
    sittings = json.loads((OTHERS / "guarantees.json").read_text())["sittings"]
    [there] = {sitting["environment"]["clients"]["pika"] for sitting in sittings}
    assert not_joined(joined, variant) == [f"evidence-guarantees/others: pika {there} there, 1.3.2 here"]


def test_runs_of_another_machine_are_refused_and_the_fields_named(tmp_path):
    one, other = small(tmp_path / "one"), small(tmp_path / "other")
    edited(other / "environment.json", machine={"cpu": "8 GHz <Z80>", "cores": 4}, placement={"usable_cores": 4, "pinned": True})
    edited(one / "environment.json", placement={"usable_cores": 2, "pinned": False})
    with pytest.raises(Incompatible) as refused:
        gather([one, other])
    for told in (
        "machine.cores: 2 in one, 4 in other",
        "placement.pinned: False in one, True in other",
        "placement.usable_cores: 2 in one, 4 in",
    ):
        assert told in str(refused.value)
    assert refused.value.exit_code == 4
    anyway = gather([one, other], anyway=True)
    assert len(anyway.differences) == 3
    assert len({anyway.label(run) for run in anyway.runs} - {""}) == 2


def test_an_embedded_server_is_not_a_native_one(tmp_path):
    one, other = small(tmp_path / "one"), small(tmp_path / "other")
    path = next(other.glob("trials/*/trial.json"))
    edited(path, server=json.loads(path.read_text())["server"] | {"kind": "embedded"})
    with pytest.raises(Incompatible, match=r"server\.kind of kafka: native in one, embedded in other"):
        gather([one, other])


def test_a_machine_that_is_not_recorded_is_not_taken_for_the_same(tmp_path):
    one, other = small(tmp_path / "one"), small(tmp_path / "other")
    (other / "environment.json").unlink()
    with pytest.raises(Incompatible, match=r"environment.json, machine: recorded in one, not recorded in other"):
        gather([one, other])


def test_of_several_folders_a_damaged_one_is_named_and_the_others_are_reported(tmp_path):
    one, other = small(tmp_path / "one"), small(tmp_path / "other")
    (other / "run.json").write_text('{"format": 1, "id"')
    found = gather([one, other, tmp_path / "none"])
    assert [run.run["id"] for run in found.runs] == ["one"]
    assert "other/run.json:1: not whole JSON" in found.missing[0]
    assert "none: no such folder" in found.missing[1]


def test_nothing_that_can_be_read_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"a: no such folder.*b: no such folder"):
        gather([tmp_path / "a", tmp_path / "b"])


def test_a_cut_trial_is_named_and_the_rest_stands(tmp_path):
    one = small(tmp_path / "one")
    shutil.copytree(one / "trials" / "0001", one / "trials" / "0002")
    text = (one / "trials" / "0002" / "trial.json").read_text()
    (one / "trials" / "0002" / "trial.json").write_text(text[: len(text) // 2])
    (one / "plan.json").unlink()
    found = gather([one])
    assert [t["trial"] for t in found.runs[0].trials] == [1]
    assert "trials/0002/trial.json:" in found.missing[0]
    assert "plan.json: missing, the order of execution is not known" in found.missing[1]


def test_a_kind_with_a_page_of_its_own_is_refused(tmp_path):
    one = small(tmp_path / "one")
    edited(one / "run.json", kind="overhead")
    with pytest.raises(UsageError, match='kind "overhead" has a report of its own'):
        gather([one])


def test_a_run_named_twice_is_there_once(tmp_path):
    one = small(tmp_path / "one")
    assert len(gather([one, tmp_path / "." / "one"]).runs) == 1


def test_a_histogram_log_cut_in_the_middle_is_named_and_its_trial_counts_without_it(tmp_path):
    one = make(tmp_path / "one", five()[:1], rounds=2, samples=1200, points=({"rate_per_s": 200, "size_b": 256},))
    path = one / "trials" / "0002" / "latency.hlog"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (one / "trials" / "0001" / "series.csv").unlink()
    found = gather([one])
    assert "trials/0002/latency.hlog:" in found.missing[0]
    assert "no series.csv in 1 of 2 trials (0001)" in found.missing[1]
    [point] = found.points(found.runs[0])
    [kafka] = point.results
    assert kafka.absent["e2e"] == "no histogram in trial 0002"
    assert kafka.standing == "not-valid"
    assert kafka.audit[0].trials == 2


def test_what_is_held_says_what_the_files_say():
    held, [run] = open_run(RUN), gather([RUN]).runs
    assert run.trials == held.trials
    for number in (1, 22):
        assert {tag: log.counts.tolist() for tag, log in run.histograms(number).items()} == {
            tag: log.counts.tolist() for tag, log in held.histograms(number).items()
        }
        assert run.series(number) == held.series(number) != []


def test_the_verb_refuses_names_what_it_cannot_read_and_labels_what_was_asked_for_anyway(tmp_path, capsys):
    one, other, broken = small(tmp_path / "one"), small(tmp_path / "other", started="2026-11-23T08:00:00Z"), tmp_path / "broken"
    edited(other / "environment.json", machine={"cpu": "8 GHz <Z80>", "cores": 4})
    broken.mkdir()
    assert cli.main(["report", str(one), str(other)]) == 4
    assert "environment.json, machine.cores: 2 in one, 4 in other" in capsys.readouterr().err
    assert cli.main(["report", str(one), str(other), str(broken), "--anyway", "--results", str(tmp_path / "results")]) == 2
    said = capsys.readouterr()
    assert f"not reported: {broken} is not a run" in said.err
    [folder] = (tmp_path / "results").iterdir()
    assert folder.name.startswith("report-20")
    assert str(folder / "report.html") in said.out
    page, document = (folder / "report.html").read_text(), json.loads((folder / "summary.json").read_text())
    assert "machine.cores: 2 in one, 4 in other" in page
    assert "is not a run" in page
    labels = [run["label"] for run in document["runs"]]
    assert labels == ["2026-11-22 17:01", "2026-11-23 08:00"]
    for label in labels:
        for words in ("<caption>", "order-events at ", "<caption>End-to-end latency by percentile, ", "<caption>Audit, "):
            assert f"{words}200/s, 256 B ({label})" in page
