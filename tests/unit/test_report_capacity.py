"""The report of a capacity run: from its files alone, nothing fetched, each answer in words, table and chart."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
from make_results import five, make
from test_report import Page

from bench import cli, report
from bench.capacity import result
from bench.errors import UsageError
from bench.store import open_run

TAIL = {"p50_ns": 1, "p90_ns": 2, "p99_ns": 4, "max_ns": 9}
SHARES = (0.10, 0.25, 0.50, 0.70, 0.80, 0.90, 0.95)


def searched(variant, capacity, base_ms, *, producers=1, by="system", low=0.95, high=1.05):
    """A search's part of capacity.json, with a queue's hockey stick: latency ~ 1 / (1 - load)."""
    sweep = [
        {
            "share": share, "rate_per_s": share * capacity, "rounds": 2, "held": 2, "trials": [901, 902], "n": 9000, "min_ns": 1,
            **{name: round(base_ms * 1e6 * times / (1 - share)) for name, times in TAIL.items()},
            "p999_ns": None, "negative": 0,
        }
        for share in SHARES
    ]  # fmt: skip
    probe = {
        "trial": 1, "phase": "search", "rate_per_s": capacity * 1.02, "held": False, "why": "p99 61.0 ms", "by": by,
        "delivered_per_s": capacity, "latency_ns": 61_000_000, "drained_s": 0.3, "status": "ok", "producer_cores": 0.97,
        "consumer_cores": 0.5, "server_cores": 0.8, "machine_busy": 0.9, "findings": ["not-alone"], "share": None, "round": 0,
    }  # fmt: skip
    seen = {
        "variant": variant, "point": {"size_b": 256, "producers": producers}, "producers": producers, "reference": False,
        "status": "complete", "reason": None, "saturated_per_s": capacity * 1.3, "estimate_per_s": capacity * 1.3,
        "probes": [probe | {"phase": "estimate", "rate_per_s": None, "held": None, "why": ""}, probe], "sweep": sweep,
        "answer": {"kind": "found", "rate_per_s": capacity, "low_per_s": capacity * low, "high_per_s": capacity * high, "probes": 31,
                   "invalid": 2, "precise": True},
    }  # fmt: skip
    return seen | {"limit": result.limit(seen["probes"], seen["answer"]), "knee": result.knee(sweep, "p99_ns")}


def folder(tmp_path, searches, **run):
    made = make(tmp_path / "runs" / "capacity-1", five(), rounds=1, samples=1500, points=({"rate_per_s": 2000, "size_b": 256},), **run)
    data = {
        "format": 1, "objective": {"text": "p99 <= 50 ms", "percentile": "p99", "limit_s": 0.05}, "options": {}, "searches": searches,
        "producers": result.conclude(searches),
    }  # fmt: skip
    (made / "capacity.json").write_text(json.dumps(data))
    return made


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    searches = [
        searched("kafka", 31_000, 1.1, by="client"),
        searched("kafka", 44_000, 1.2, by="machine", producers=2),
        searched("rabbitmq", 12_400, 0.4),
        searched("redis-pubsub", 58_000, 0.2, high=1.2),
        searched("sqs", 900, 3.1),
    ]
    return report.write(folder(tmp_path_factory.mktemp("capacity"), searches, kind="capacity"))


def test_answers_stand_first_in_words(written):
    page = written.html.read_text()
    assert "p99 &lt;= 50 ms holds up to at least 31,000/s (95%: 29,400 to 32,600/s); the client is the limit." in page
    assert "2 producers instead of 1: 1.42 times the rate, so the client was the limit." in page
    assert "Amazon SQS (boto3) [ElasticMQ, an emulator], 1 producer" in page
    markdown = written.markdown.read_text()
    assert written.markdown.name == "capacity.md"
    assert "RabbitMQ (pika), 1 producer: p99 &lt;= 50 ms holds up to 12,400/s" in markdown
    assert "Other processes used the machine in 10 of 10 probes" in markdown


def test_tables_have_every_search_every_load_every_probe(written):
    page = Page(written.html.read_text())
    answers = page.tables["Highest rate at which p99 <= 50 ms"]
    assert [row[2] for row in answers[1:]] == [">= 31,000", ">= 44,000", "12,400", "58,000", "900"]
    assert answers[1][5] == "between 50% and 70% (p99 over 2 x 4.89 ms)"
    sweeps = [rows for caption, rows in page.tables.items() if caption.startswith("Latency against load")]
    assert len(sweeps) == 5
    assert all([row[0] for row in rows[1:]] == ["10%", "25%", "50%", "70%", "80%", "90%", "95%"] for rows in sweeps)
    probes = next(rows for caption, rows in page.tables.items() if caption.startswith("Probes in order: Apache Kafka"))
    assert probes[1][2] == "full speed"
    assert probes[2][6:9] == ["no", "p99 61.0 ms", "not-alone"]


def test_the_chart_has_objective_and_names_and_fetches_nothing(written):
    assert [path.stem for path in written.charts] == ["capacity-1", "capacity-emulated-1", "pareto-1"]
    svg = written.charts[0].read_text()
    assert "Amazon SQS" not in svg
    assert "ElasticMQ, an emulator" in written.charts[1].read_text()
    assert "objective: p99 &lt;= 50 ms" in svg
    assert "capacity &gt;= 31,000/s" in svg
    assert "capacity 12,400/s" in svg
    assert 'role="img"' in svg
    assert not re.search(r'(href|src)="(?!#)', svg)
    assert not re.search(r'(href|src)="http', written.html.read_text().partition("<main")[0])


def test_the_verb_report_works_on_such_a_folder(written, capsys):
    assert cli.main(["report", str(written.html.parent)]) == 0
    told = capsys.readouterr().out
    assert "holds up to 12,400/s" in told
    assert "capacity.md" in told


def test_a_search_without_an_answer_is_told_and_not_drawn(tmp_path):
    none = searched("kafka", 1000, 1) | {"answer": None, "limit": None, "sweep": [], "knee": None, "status": "failed", "reason": "it died"}
    below = searched("rabbitmq", 1000, 1)
    below |= {"sweep": [], "knee": None}
    below["answer"] |= {"kind": "below", "rate_per_s": None, "low_per_s": None, "high_per_s": 37.0}
    made = report.write(folder(tmp_path, [none, below], kind="capacity", status="interrupted"))
    page = made.html.read_text()
    assert made.charts == ()
    assert "failed: it died" in page
    assert "does not hold even at 37/s" in page
    assert "status is interrupted" in page


def test_a_folder_without_its_answers_says_what_is_missing(tmp_path):
    made = folder(tmp_path, [], kind="capacity")
    (made / "capacity.json").unlink()
    with pytest.raises(UsageError, match=r"capacity\.json: missing"):
        report.write(made)
    (made / "capacity.json").write_text("{")
    with pytest.raises(UsageError, match="not whole JSON"):
        report.verdict(open_run(made))


def test_a_search_that_is_not_drawn_is_named_and_a_lower_bound_is_said_to_be_one(tmp_path):
    short = searched("zeromq", 9_000, 0.3)
    short["sweep"] = short["sweep"][:1]
    files = report.write(folder(tmp_path, [searched("rabbitmq", 31_000, 0.4, by="client"), short], kind="capacity"))
    chart = next(path for path in files.charts if path.stem == "capacity-1")
    words = " ".join("".join(ET.parse(chart).getroot().itertext()).split())
    assert "p99 <= 50 ms holds up to at least 31,000/s with RabbitMQ (pika), 256 B" in words
    assert "with a latency at fewer than two rates: ZeroMQ (pyzmq)." in words
    assert "2 rounds a rate merged; bars: ranges over them; n = 9,000 samples a rate" in words
