"""The sentence of what the choice of client costs: which variants it sets side by side, and its figures."""

import re
import statistics

import pytest
from make_results import _kafka, _zeromq, make

from bench import report
from bench.report import clients


def confluent(name, **other):
    fake = _kafka(name, 2.0, 5)
    fake.client, fake.cpu_us = "confluent-kafka", (2.0, 30.0, 1.5)
    for key, value in other.items():
        setattr(fake, key, value)
    return fake


def points(folder, fakes):
    collection = report.gather([make(folder / "run", fakes)])
    return collection.points(collection.runs[0])


def cpu_us(result):
    return statistics.median((t["cost"]["producers_ns"] + t["cost"]["consumers_ns"]) / 1e3 for t in result.trials)


def test_it_sets_clients_of_one_system_side_by_side(tmp_path):
    found = points(tmp_path, [_kafka("kafka", 3.1, 0), confluent("kafka,client=confluent-kafka"), _zeromq()])
    for point in found:
        other, first = sorted((r for r in point.results if r.variant["system"] == "kafka"), key=lambda r: -cpu_us(r))
        told = clients.sentence(point.results, lambda r: r.variant["client"].upper(), "what")
        assert told.startswith("Apache Kafka, what and the clients' CPU for a message: confluent-kafka CONFLUENT-KAFKA, ")
        assert "; kafka-python KAFKA-PYTHON, " in told
        numbers = [float(digits) for digits in re.findall(r"(?<![\w.])[\d.]+(?!\w)", told)]
        assert numbers == pytest.approx([cpu_us(first), cpu_us(other), cpu_us(other) / cpu_us(first)], rel=0.006)


@pytest.mark.parametrize(
    "other",
    [
        confluent("kafka,client=confluent-kafka,mode=acks-1"),
        confluent("kafka,client=confluent-kafka,linger_ms=5"),
        confluent("kafka,client=confluent-kafka", status="failed"),
        _kafka("kafka,linger_ms=5", 3.0, 5),
    ],
)
def test_what_differs_in_more_than_the_client_is_not_set_side_by_side(other, tmp_path):
    assert not any(clients.sentence(p.results, lambda _: "", "") for p in points(tmp_path, [_kafka("kafka", 3.1, 0), other]))


def test_the_report_has_it(tmp_path):
    folder = make(tmp_path / "run", [_kafka("kafka", 3.1, 0), confluent("kafka,client=confluent-kafka")])
    report.write([folder], tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text()
    assert clients.LABEL in page
