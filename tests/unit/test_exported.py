"""summary.json: what other tools get is what the page says, in the format that results/README.md gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from committed import FAULTS, TOGETHER
from make_results import five, make

from bench.report import exported, gather
from bench.report.joining import delivery


@pytest.fixture(scope="module")
def collection():
    return gather(TOGETHER)


@pytest.fixture(scope="module")
def document(collection):
    return exported.document(collection)


def of(document, rate, variant):
    [point] = [one for one in document["points"] if one["point"]["rate_per_s"] == rate]
    [result] = [one for one in point["results"] if one["variant"]["id"] == variant]
    return result


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    folder = make(tmp_path / "run", five()[:3], rounds=6, samples=1200, points=({"rate_per_s": 200, "size_b": 256},))
    one = exported.write(gather([folder]), tmp_path).read_bytes()
    assert exported.write(gather([folder]), tmp_path).read_bytes() == one
    [point] = json.loads(one)["points"]
    [compared] = [one["ratio_to_best"] for one in point["results"] if one["ratio_to_best"]]
    assert compared["kind"] == "interval"
    assert compared["low"] < compared["ratio"] < compared["high"]
    assert compared["rounds"] == 6


def test_figures_have_n_and_where_there_is_none_a_reason(document):
    latency = of(document, 1000, "kafka")["latency_ns"]
    assert latency["e2e"]["n"] > latency["publish"]["n"] > 0
    assert latency["e2e"]["p50"] < latency["e2e"]["p90"] < latency["e2e"]["p99"]
    assert of(document, 1000, "sqs")["latency_ns"]["e2e"] == {"n": 0, "absent": "saturated"}
    assert of(document, 1000, "zeromq")["latency_ns"]["publish"] == {"n": 0, "absent": "n/a: no acknowledgement"}


def test_what_faults_did_stands_with_the_variant_and_by_cell(document):
    kafka = of(document, 1000, "kafka")
    [kill] = [one for one in kafka["under_faults"] if one["fault"] == "consumer-kill"]
    [cell] = [one for one in document["faults"] if one["id"] == kill["cell"]]
    assert kill["n"] == cell["judged"]["n"]
    assert len(document["faults"]) == sum(len(json.loads((path / "guarantees.json").read_text())["cells"]) for path in FAULTS)


def test_every_name_in_it_is_documented(document):
    """Of what is named here; names from the results folder (groups, nodes, tags) are data."""
    documented = (Path(__file__).parents[2] / "results" / "README.md").read_text()
    point = document["points"][0]
    parts = [document, document["runs"][0], point, point["results"][0], point["noise_floor"][0], delivery_of(document)]
    missing = [name for part in parts for name in part if f'"{name}"' not in documented]
    assert not missing


def delivery_of(document):
    return next(one for point in document["points"] for result in point["results"] for one in result["under_faults"])


def test_evidence_is_joined_as_delivery_says(document, collection):
    for point in collection.points(collection.runs[0]):
        for result in point.results:
            names = [one.fault for one in delivery(collection, result.variant, result.server)]
            assert [one["fault"] for one in of(document, point.point["rate_per_s"], result.id)["under_faults"]] == names
