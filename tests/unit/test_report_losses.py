"""What became of acknowledged messages in one clause: of which fault, with how many tries and which bound."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from make_results import POINTS, five, make

from bench.analysis.summary import VariantPoint, summarise
from bench.report import losses
from bench.report.figures import ranking, ranking_note
from bench.report.headline import answer
from bench.report.joining import Evidence
from bench.store import open_run

KILLS = Evidence("consumer-kill", "a consumer is killed", 20, 0, 0.0, 0.139, 3, "no violation", "at-least-once", (), "r", "c", "")
SERVER = replace(KILLS, fault="server-kill", n=5, high=0.451)


@pytest.fixture(scope="module")
def point(tmp_path_factory: pytest.TempPathFactory):
    folder = make(tmp_path_factory.mktemp("losses") / "run", five()[:3] + five()[4:6], points=POINTS[:1], rounds=2, samples=1500)
    return summarise(open_run(folder))[0]


@pytest.fixture(scope="module")
def pair(point) -> list[VariantPoint]:
    return [place.result for place in point.boards[0].places]


def said(results, **found: list[Evidence]) -> str:
    return losses.sentence(results, lambda result: found.get(result.id, []))


def test_without_faults_the_audit_speaks(pair):
    assert said(pair) == "none lost in 18,000 deliveries without a fault"
    assert said([]) == ""


def test_two_three_and_one_that_lost_nothing(pair, point):
    assert said(pair, kafka=[KILLS], rabbitmq=[KILLS]) == "neither lost an acknowledged message in 20 consumer kills each (p < 14%)"
    three = [*pair, *(r for r in point.results if r.id == "zeromq")]
    assert said(three, kafka=[KILLS], rabbitmq=[KILLS], zeromq=[KILLS]) == "none lost a message in 20 consumer kills each (p < 14%)"
    (kafka,) = (r for r in pair if r.id == "kafka")
    assert said([kafka], kafka=[KILLS]) == "Apache Kafka (kafka-python) lost no acknowledged message in 20 consumer kills (p < 14%)"


def test_the_weaker_bound_is_printed_where_tries_differ(pair):
    few = replace(KILLS, n=15, high=0.181)
    assert said(pair, kafka=[few], rabbitmq=[KILLS]).endswith("in 15 to 20 consumer kills each (p < 18%)")


def test_who_was_not_tried_is_named(pair):
    assert said(pair, rabbitmq=[KILLS]).endswith("RabbitMQ (pika) lost no acknowledged message in 20 consumer kills (p < 14%)"
                                                 " (Apache Kafka (kafka-python) not tried)")  # fmt: skip


def test_losses_have_their_interval(pair):
    bad = replace(KILLS, lost=12, n=15, low=0.519, high=0.957)
    told = said(pair, kafka=[bad], rabbitmq=[KILLS])
    assert "Apache Kafka (kafka-python) lost messages in 12 of 15 (52%\u201396%)" in told
    assert "RabbitMQ (pika) lost messages in none of 20 (p < 14%)" in told


def test_the_fault_is_the_one_that_most_were_tried_with(pair):
    assert "server kills" in said(pair, kafka=[KILLS, SERVER], rabbitmq=[SERVER])
    assert "consumer kills" in said(pair, kafka=[SERVER, KILLS], rabbitmq=[SERVER, KILLS])
    assert "in 5 injections of black-hole-long" in said(pair[:1], **{pair[0].id: [replace(SERVER, fault="black-hole-long")]})


def test_of_two_runs_the_one_that_tried_more_counts(pair):
    assert "in 20 consumer kills" in said(pair[:1], **{pair[0].id: [replace(KILLS, n=3, high=0.63), KILLS, replace(KILLS, n=5)]})


def test_sentence_and_table_take_the_same_evidence(point, pair):
    found = {"kafka": [replace(KILLS, aside="under faults with heartbeat=2")], "rabbitmq": [KILLS]}
    told = answer("orders", point, lambda result: found.get(result.id, []))
    assert told.sentence.endswith("; neither lost an acknowledged message in 20 consumer kills each (p < 14%).")
    table = ranking(point, lambda result: found.get(result.id, []))
    column = [label for label, _ in table.head].index("Lost under faults")
    cells = {row[1].text: row[column].text for group in table.groups for row in group.rows}
    assert cells["RabbitMQ (pika)"] == "consumer-kill in none of 20 (p < 14%)"
    assert cells["ZeroMQ (pyzmq)"] == "not tried"
    assert "Apache Kafka (kafka-python) under faults with heartbeat=2." in ranking_note(point, lambda result: found.get(result.id, []))
    assert "Lost under faults" not in [label for label, _ in ranking(point).head]


def test_a_scenario_with_faults_of_its_own_does_not_say_without(pair):
    struck = [replace(r, trials=tuple({**t, "faults": [{"injected_s": 1.0}]} for t in r.trials)) for r in pair]
    assert said(struck) == "none lost in 18,000 deliveries under the faults of the scenario"


def test_losses_that_the_promise_allows_are_counted(tmp_path: Path):
    redis = five()[5]
    redis.lost, redis.verdict = 4, "as promised"
    (point,) = summarise(open_run(make(tmp_path / "r", [redis], points=POINTS[:1], rounds=1, samples=1500)))
    assert "12 lost in 4,488 deliveries without a fault, as the promise allows" in answer("orders", point).sentence
