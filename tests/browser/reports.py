"""The reports that are looked at: of every kind of run, small ones made up, and the run of five systems that is committed."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

from committed import KAFKA, TOGETHER
from make_results import POINTS, five, make
from test_report_capacity import folder as capacity_folder
from test_report_capacity import searched

from bench import cli


def reported(out: Path, folders: Sequence[Path], *words: str) -> Path:
    """`brokerbench report FOLDERS --out OUT`; the page's path."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = cli.main(["report", *map(str, folders), "--out", str(out), *words])
    assert status == 0, said.getvalue()
    return out / "report.html"


def reference(_: Path) -> list[Path]:
    """The committed run of five systems, and those of `brokerbench guarantees`: one page of all."""
    return TOGETHER


def run(place: Path) -> Path:
    """Seven variants at two rates, one of them not run, one that was stopped."""
    fakes = five()
    fakes[5].status, fakes[5].reason = "failed", "the server ended with exit code 137"
    return make(
        place / "runs" / "order-events-20261122-170102-ab12", fakes, not_run=[{"variant": "nats", "reason": "no adapter", "get": "wait"}]
    )


def capacity(place: Path) -> Path:
    """Searches of four systems."""
    searches = [searched("kafka", 31_000, 1.1, by="client"), searched("kafka", 44_000, 1.2, by="machine", producers=2)]
    searches += [searched("rabbitmq", 12_400, 0.4), searched("redis-pubsub", 58_000, 0.2, high=1.2), searched("sqs", 900, 3.1)]
    return capacity_folder(place, searches, kind="capacity")


def guarantees(place: Path) -> Path:
    """Cells of the committed evidence with trials made up beside them."""
    made = make(place / "runs" / "guarantees-1", five(), rounds=1, samples=1500, points=POINTS[:1], kind="guarantees")
    found = json.loads((KAFKA / "guarantees.json").read_text(encoding="utf-8"))
    found["cells"] = found["cells"][:14]
    (made / "guarantees.json").write_text(json.dumps(found), encoding="utf-8")
    return made


def several(place: Path) -> list[Path]:
    """Two runs of one scenario, a search and faults of the same variants, all of one machine."""
    runs = [
        make(place / "runs" / f"order-events-{name}", five(), rounds=2, samples=1500, points=POINTS[:1], started=started)
        for name, started in (("1", "2026-11-22T17:01:02Z"), ("2", "2026-11-23T09:30:00Z"))
    ]
    return [*runs, capacity(place), guarantees(place)]
