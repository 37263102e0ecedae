"""Files that are JSON and not ours: named with the field that is wrong, left out, and the rest is reported."""

from __future__ import annotations

import copy
import json
import math
import shutil

import pytest
from committed import FAULTS, KAFKA, REFERENCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_results import five, make

from bench.errors import UsageError
from bench.report import exported, gather
from bench.report.whole import CELL, NUMBER, TEXT, TRIAL, wrong

ODD = st.sampled_from(
    [None, True, -1, 0, 1.5, 10**400, math.nan, math.inf, "", "x", [], {}, [1], ["x"], [None], [[]], {"a": 1}, {"a": None}, {"a": []}]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    point = {"rate_per_s": 200, "size_b": 256}
    return make(tmp_path_factory.mktemp("whole") / "run", [five()[0], five()[4]], rounds=1, samples=1200, points=(point,))


def places(data, at=()):
    """Each place in nested data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*at, key)
        yield from places(value, (*at, key))


def changed(data, at, value):
    made = copy.deepcopy(data)
    inner = made
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return made


def phases():
    one = {"processed_per_s": 100.0, "n": 500, "p50_ns": 1e6, "p99_ns": 2e6}
    group = {
        "backlog_max": 7,
        "backlog_max_s": 2.0,
        "caught_up_s": 3.0,
        "catch_up_per_s": None,
        "before": one,
        "during": one,
        "catching_up": None,
    }
    return {"injected_s": 1.0, "healed_s": 2.0, "caught_up_s": 3.0, "spans": {"before": [0.0, 1.0]}, "groups": {"inventory": group}}


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_trial_or_a_cell_there_is_a_summary(folder, data):
    path = folder / "trials" / "0001" / "trial.json"
    whole = path.read_text()
    trial = json.loads(whole) | {"phases": phases()}
    cells = [cell for cell in json.loads((KAFKA / "guarantees.json").read_text())["cells"] if cell["judged"]][:2]
    at = data.draw(st.sampled_from(sorted(places(trial), key=str)))
    cell_at = data.draw(st.sampled_from(sorted(places(cells[0]), key=str)))
    faults = folder.parent / "faults"
    faults.mkdir(exist_ok=True)
    kept = json.loads((KAFKA / "guarantees.json").read_text()) | {"cells": [changed(cells[0], cell_at, data.draw(ODD)), *cells[1:]]}
    kept["sittings"][0]["environment"] = json.loads((folder / "environment.json").read_text())
    try:
        path.write_text(json.dumps(changed(trial, at, data.draw(ODD))))
        (faults / "guarantees.json").write_text(json.dumps(kept))
        collection = gather([folder, faults], anyway=True)
        document = json.loads(json.dumps(exported.document(collection)))
    finally:
        path.write_text(whole)
    names = {result["variant"]["id"] for point in document["points"] for result in point["results"]}
    assert {"zeromq", "kafka"} & names, "the trial that was not touched is there"
    assert len(document["faults"]) >= 1


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (("rates", "slowest_group_per_s"), "many", "rates.slowest_group_per_s: a number belongs here, not text"),
        (("audit", "inventory", "lost"), 0.5, "audit.inventory.lost: a whole number belongs here, not 0.5"),
        (("nodes",), [{"cpu_ns": 1}], "nodes[0].name: missing"),
        (("variant", "mode", "copies"), [], "variant.mode.copies: a whole number belongs here, not a list"),
        (("latency",), [], "latency: fields belong here, not a list"),
        (("variant", "id"), None, "variant.id: missing"),
        (("cost", "total_ns"), math.nan, "cost.total_ns: a number belongs here, not nan"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(folder, at, value, told):
    trial = json.loads((folder / "trials" / "0001" / "trial.json").read_text())
    assert wrong(trial, TRIAL) == ""
    assert wrong(changed(trial, at, value), TRIAL) == told


def test_a_field_may_be_null_and_yet_not_missing():
    shape = {"at?": NUMBER, "name!": TEXT}
    assert wrong({"at": None, "name": ""}, shape) == ""
    assert wrong({"name": ""}, shape) == "at: missing"
    assert wrong({"at": 1, "name": None}, shape) == "name: missing"


def test_a_trial_that_has_not_its_shape_is_left_out_and_named(folder, tmp_path):
    made = tmp_path / "run"
    shutil.copytree(folder, made)
    path = made / "trials" / "0002" / "trial.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()), ("rates",), "fast")))
    (made / "trials" / "0002" / "latency.hlog").write_text("foreign")
    collection = gather([made])
    assert [trial["trial"] for trial in collection.runs[0].trials] == [1]
    assert collection.missing == (f"{made.resolve()}/trials/0002/trial.json: rates: fields belong here, not text; left out",)


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*/trials/*/trial.json")), ids=lambda path: f"{path.parts[-4]}-{path.parts[-2]}")
def test_committed_trials_have_their_shape(path):
    assert wrong(json.loads(path.read_text()), TRIAL) == ""


@pytest.mark.parametrize("folder", FAULTS, ids=lambda folder: folder.name)
def test_committed_cells_have_their_shape(folder):
    assert [told for cell in json.loads((folder / "guarantees.json").read_text())["cells"] if (told := wrong(cell, CELL))] == []


def test_a_guarantees_run_without_cells_is_an_error(tmp_path):
    (tmp_path / "guarantees.json").write_text('{"format": 1, "kind": "guarantees", "cells": 3}')
    with pytest.raises(UsageError, match=r"guarantees.json: not whole: cells: a list belongs here, not 3"):
        gather([tmp_path])
