"""One page of several runs: what of each stands where, told apart by name, with nothing of what is not there."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path

import pytest
from committed import KAFKA, RUN
from make_results import POINTS, five, make

from bench.report import gather, page, verdict, write
from bench.report.markup import environment
from bench.report.view import Block, View, fold, section
from bench.store import open_run


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same scenario twice, and faults of Kafka: as committed, of which only the cells were kept."""
    base = tmp_path_factory.mktemp("two")
    folders = [make(base / name, five()[:1] + five()[2:3], points=POINTS[:1], rounds=2, samples=1200) for name in ("first", "second")]
    shutil.copytree(KAFKA, base / "faults")
    environment = json.loads((base / "faults" / "guarantees.json").read_text())["sittings"][0]["environment"]
    for number, folder in enumerate(folders):
        (folder / "environment.json").write_text(json.dumps(environment))
        run = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**run, "started": f"2026-11-22T1{number}:01:02Z"}))
        for path in folder.glob("trials/*/trial.json"):
            trial = json.loads(path.read_text())
            if trial["variant"]["id"] == "kafka":
                trial["variant"]["mode"]["name"], trial["variant"]["client_version"] = "acks-all", environment["clients"]["kafka-python"]
            path.write_text(json.dumps(trial))
    return [*folders, base / "faults"]


@pytest.fixture(scope="module")
def written(two: list[Path], tmp_path_factory: pytest.TempPathFactory):
    return write(two, tmp_path_factory.mktemp("out"))


def test_each_run_has_its_tables_charts_and_answers_under_its_own_name(written):
    source = written.html.read_text()
    captions = re.findall(r"<caption>(.*?)</caption>", source)
    for label in ("2026-11-22 10:01", "2026-11-22 11:01"):
        assert f"200/s, 256 B ({label})" in captions
        assert f"order-events at 200/s, 256 B ({label}), at-least-once" in source
    assert len({path.name for path in written.charts}) == len(written.charts) >= 4
    ids = re.findall(r'\bid="([^"]+)"', source)
    assert len(ids) == len(set(ids))


def test_faults_are_in_the_sentence_in_the_table_and_in_a_section_of_their_own(written, two):
    source = written.html.read_text()
    cells = json.loads((two[2] / "guarantees.json").read_text())["cells"]
    judged = next(one["judged"] for one in cells if (one["mode"]["name"], one["fault"]) == ("acks-all", "consumer-kill"))
    bound = f"{round(100 * judged['shares']['lost']['high'])}%"
    tried = f"in {judged['n']} consumer kills (p < {bound}) (RabbitMQ (pika) not tried)"
    told = f"Apache Kafka (kafka-python) lost no acknowledged message {tried}"
    assert source.count(told.replace("<", "&lt;")) == 2
    assert f"consumer-kill in none of {judged['n']} (p &lt; {bound})" in source
    assert '<section id="delivery"' in source
    assert "session_timeout_ms=6000" in source
    assert told in verdict(open_run(two[0]), gather(two))


def test_what_faults_did_to_another_version_of_the_client_is_not_said_of_a_run_with_the_same_id(two, tmp_path: Path):
    other = shutil.copytree(two[1], tmp_path / "second")
    for path in other.glob("trials/*/trial.json"):
        trial = json.loads(path.read_text())
        if trial["variant"]["id"] == "kafka":
            path.write_text(json.dumps(trial | {"variant": trial["variant"] | {"client_version": "1.0"}}))
    shown = page.view(gather([two[0], other, two[2]]))
    assert ["consumer kills" in answer.told for answer in shown["answers"][:2]] == [True, False]
    assert any("kafka-python" in note and "there, 1.0 here" in note for note in shown["notes"])


def test_summaries_name_the_run_of_each_row(written, two):
    rows = written.summary.read_text().splitlines()
    assert rows[0].startswith("run,")
    assert {row.split(",")[0] for row in rows[1:]} == {folder.name for folder in two[:2]}
    assert (written.summary.parent / "guarantees.csv").read_text().startswith("system,mode,fault")


def test_sections_are_those_of_the_navigation_and_headings_do_not_skip(written):
    source = written.html.read_text()
    navigation = re.findall(r'<li><a href="#([^"]+)">', source)
    sections = re.findall(r'<section id="([^"]+)"', source)
    assert sections == ["answers", *navigation]
    assert navigation[:2] == ["ratios", "charts"]
    assert navigation[-3:] == ["findings", "method", "settings"]
    levels = [int(level) for level in re.findall(r"<h([1-6])\b", source)]
    assert levels[0] == levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_what_is_not_there_leaves_no_trace(tmp_path: Path):
    shown = page.view(gather([make(tmp_path / "r", [five()[2]], points=POINTS[:1], rounds=1, samples=1200)]))
    names = {view.name for view in shown["views"]}
    assert names == {"charts", "choose", "latency", "audit", "cost", "promises", "findings", "method", "settings"}
    assert section("a", "A", Block("text", "words"), None) is None
    assert fold("summary", None) is None
    assert View("a", "A").drawn == ()


def test_markdown_of_a_run_fits_a_pull_request():
    shown = page.view(gather([RUN]))
    lines = environment(autoescape=False).get_template("report.md.j2").render(shown).splitlines()
    assert len(lines) < 200
    headings = [line for line in lines if line.startswith("#")]
    assert len(headings) == len(set(headings))
    assert any(line.startswith("Files: `report.html`") for line in lines)
