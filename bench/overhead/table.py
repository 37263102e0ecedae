"""overhead.md: the tables of a record, as Markdown and as data (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import units
from bench.analysis.signed_rank import ROUNDS_MIN
from bench.overhead.figures import (
    BARE,
    DISTINCT,
    HARNESS,
    PUBLIC,
    Cell,
    Estimate,
    StartUp,
    Target,
    cells,
    size_or_all,
    start_ups,
    targets,
)
from bench.overhead.record import Record

_MB = 1e-6
_US = 1e-3
_MS = 1e-6
ROUNDS_TO_PUBLISH = 10


@dataclass(frozen=True)
class Figures:
    """Everything that is computed of a record."""

    cells: list[Cell]
    start_ups: list[StartUp]
    targets: list[Target]

    def to_json(self) -> dict[str, Any]:
        """Plain data: what ``--json`` prints."""
        listed = [asdict(target) | {"verdict": target.verdict} for target in self.targets]
        return {"cells": [asdict(one) for one in self.cells], "start_ups": [asdict(one) for one in self.start_ups], "targets": listed}


def figures(record: Record) -> Figures:
    """Of every variant that was measured."""
    found = [cell for measured in record.variants for cell in cells(measured)]
    started = [one for measured in record.variants for one in start_ups(measured)]
    return Figures(found, started, targets(found, started))


def markdown(record: Record) -> str:
    """The whole overhead.md."""
    found = figures(record)
    parts = [
        _head(record),
        _rates(found.cells),
        _cpu(found.cells),
        _memory(found.cells),
        _start_up(found.start_ups),
        _targets(found.targets),
    ]
    return "\n\n".join(part for part in [*parts, _left(record)] if part) + "\n"


def shown(one: Estimate | None, digits: int = 2, unit: str = "") -> str:
    """A figure with its interval, such as 0.79 (0.74 to 0.85); alone where it has none, nothing where there is no figure."""
    if one is None:
        return ""
    value = f"{one.value:,.{digits}f}{unit}"
    return value if one.low is None else f"{value} ({one.low:,.{digits}f} to {one.high:,.{digits}f})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _head(record: Record) -> str:
    asked = record.asked
    about = (
        f"{asked.rounds} rounds. Each lane of a round was measured for {asked.window_s:g} s after {asked.warmup_s:g} s of warm-up, in"
        f" processes of its own; the lanes of a size in random order; batches of {asked.batch}. In brackets: intervals of 95%, of paired"
        " rounds (Hodges and Lehmann, signed ranks)."
    )
    lines = ["# What the harness costs", "", about, ""]
    if asked.rounds < ROUNDS_MIN:
        lines += [f"**Quick: fewer than {ROUNDS_MIN} rounds have no interval.**", ""]
    elif asked.rounds < ROUNDS_TO_PUBLISH:
        lines += [f"**Quick: fewer than {ROUNDS_TO_PUBLISH} rounds are not for publishing.**", ""]
    for number, sitting in enumerate(record.sittings, 1):
        machine, revision = sitting["environment"]["machine"], sitting["environment"]["brokerbench"]["revision"] or ""
        steal = "" if sitting["steal"] is None else f", {sitting['steal']:.1%} stolen by the hypervisor"
        code = f", revision {revision[:10]}" if revision else ""
        lines.append(
            f"- Sitting {number}, {sitting['started'][:16]}: {machine['cpu']}, {machine['cores']} cores, {machine['os']}{code}{steal}"
        )
        lines += [f"  - **not quiet**: {word}" for word in sitting["disturbed"]]
    return "\n".join(lines)


def _lane(cell: Cell, lane: str, measure: str, by: float, digits: int) -> str:
    value = cell.medians.get(lane, {}).get(measure)
    return "" if value is None else f"{value * by:,.{digits}f}"


def _rates(found: Sequence[Cell]) -> str:
    if not found:
        return ""
    public, distinct = (any(lane in cell.medians for cell in found) for lane in (PUBLIC, DISTINCT))
    columns = ["system", "size", "bare, msg/s", "harness, msg/s", "harness / bare"]
    columns += ["harness / bare public API"] * public + ["harness / bare, payloads differ"] * distinct + ["rounds"]
    rows = []
    for cell in found:
        row = [
            cell.variant,
            units.show_size(cell.size_b),
            *(_lane(cell, lane, "rate_per_s", 1, 0) for lane in (BARE, HARNESS)),
            shown(cell.ratio),
        ]
        row += [shown(cell.public_ratio)] * public + [shown(cell.distinct_ratio)] * distinct + [str(cell.ratio.rounds)]
        rows.append(row)
    return "## Rate\n\n" + _table(columns, rows)


def _cpu(found: Sequence[Cell]) -> str:
    if not found:
        return ""
    distinct = any(DISTINCT in cell.medians for cell in found)
    columns = ["system", "size", "send: bare, harness, us", "added, ns", "receive: bare, harness, us", "added, ns"]
    columns += ["added to send, payloads differ, ns", "added to receive, payloads differ, ns"] * distinct
    rows = []
    for cell in found:
        row = [cell.variant, units.show_size(cell.size_b)]
        for measure, added in (("send_ns", cell.send_ns), ("receive_ns", cell.receive_ns)):
            row += [f"{_lane(cell, BARE, measure, _US, 2)}, {_lane(cell, HARNESS, measure, _US, 2)}", shown(added, 0)]
        rows.append(row + [shown(cell.distinct_send_ns, 0), shown(cell.distinct_receive_ns, 0)] * distinct)
    return "## CPU of a message\n\n" + _table(columns, rows)


def _memory(found: Sequence[Cell]) -> str:
    if not found:
        return ""
    rows = []
    for cell in found:
        row = [cell.variant, units.show_size(cell.size_b)]
        for measure, added in (("send_peak_b", cell.send_peak_b), ("receive_peak_b", cell.receive_peak_b)):
            more = None if added is None else added.scaled(_MB)
            row += [f"{_lane(cell, BARE, measure, _MB, 1)}, {_lane(cell, HARNESS, measure, _MB, 1)}", shown(more, 1)]
        rows.append(row)
    columns = ["system", "size", "producer: bare, harness, MB", "added, MB", "consumer: bare, harness, MB", "added, MB"]
    return "## Peak memory of an endpoint\n\nThe harness's endpoints import numpy, the bare loops do not.\n\n" + _table(columns, rows)


def _start_up(found: Sequence[StartUp]) -> str:
    if not found:
        return ""
    rows = [
        [one.variant, one.side, shown(one.import_ns.scaled(_MS), 0), shown(one.rest_ns.scaled(_MS), 0), str(one.rest_ns.rounds)]
        for one in found
    ]
    about = "From the start of a process until it says hello; where no consumer needs to listen first, both start at once.\n\n"
    return (
        "## Start-up of an endpoint\n\n"
        + about
        + _table(["system", "side", "import of the client, ms", "all the rest, ms", "starts"], rows)
    )


def _targets(found: Sequence[Target]) -> str:
    if not found:
        return ""
    rows = []
    for one in found:
        digits = 2 if one.unit == "x" else 0
        bound = f"{'at most' if one.at_most else 'at least'} {one.bound:.{digits}f}" + ("" if one.unit == "x" else f" {one.unit}")
        rows.append(
            [
                one.variant,
                size_or_all(one.size_b),
                one.what,
                bound,
                shown(one.found, digits),
                one.verdict if one.found.low is not None else f"{one.verdict}, no interval",
            ]
        )
    about = "Open: the interval holds the bound.\n\n"
    return "## Targets\n\n" + about + _table(["system", "size", "what", "target", "found", "verdict"], rows)


def _left(record: Record) -> str:
    """What was not measured, and what was wrong with what was."""
    lines: list[str] = []
    for measured in record.variants:
        if measured.not_run:
            lines.append(f"- {measured.variant}: not run: {_first(measured.not_run)}")
        lines += [_failure(measured.variant, failure) for failure in measured.failures]
        missing = sum(len(record.missing(measured, number)) for number in range(1, record.asked.rounds + 1))
        if missing and not measured.not_run:
            blocks = record.asked.rounds * len(record.asked.sizes_b)
            lines.append(f"- {measured.variant}: {missing} of {blocks} rounds (of a size) are not measured")
        for cell in cells(measured):
            if cell.promises_broken:
                lines.append(f"- **{cell.variant}, {units.show_size(cell.size_b)}: a promise was broken in {cell.promises_broken} rounds**")
    return "## Left out, or wrong\n\n" + "\n".join(lines) if lines else ""


def _failure(variant: str, failure: Mapping[str, Any]) -> str:
    where = f"round {failure['round']}, {units.show_size(failure['size_b'])}, {failure['lane']}"
    return f"- {variant}: {where} failed and is not in the tables: {_first(failure['reason'])}"


def _first(text: str) -> str:
    return text.partition("\n")[0]
