"""What a gate came to: gate.json, and how it is told (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gate import past
from bench.gate.asked import METRICS, show_percent
from bench.gate.figures import median
from bench.gate.schedule import SIDES
from bench.units import rounded_duration

Json = Mapping[str, Any]
FILE, PAGE = "gate.json", "gate.md"
_WHY = {"first": "First measurement", "confirmation": "Confirmation, with fresh processes", "retry": "Retry, with fresh processes"}


@dataclass(frozen=True)
class Result:
    """A gate that has ended. ``data`` is gate.json (results/README.md)."""

    folder: Path
    data: Json

    @property
    def exit_code(self) -> int:
        """As formats: 0 passed, 1 failed, 4 inconclusive."""
        return int(self.data["exit_code"])

    @property
    def verdict(self) -> str:
        """One of "passed", "failed", "inconclusive" or "base broken"."""
        return str(self.data["verdict"])

    def to_json(self) -> dict[str, Any]:
        """gate.json, and where it lies."""
        return {"folder": str(self.folder), **self.data}


def sentence(data: Json) -> str:
    """What came of it, in one sentence."""
    head, verdict, reasons = f"`{data['head']['spec']}`", data["verdict"], "; ".join(data["reasons"])
    if verdict == "passed":
        before = data.get("past")
        held = f"margins widened by the measured noise: {past.widened(data['measurements'][-1]['past'])}" if before else ""
        if before and before["alone"]:
            return f"**Passed**: {head} is not worse than the past in {_titles(data['metrics'])}, with {held}."
        better = [one["metric"] for one in _decisive(data) if one["verdict"] == "better"]
        more = f"; better in {_titles(better)}" if better else ""
        seen = ", ".join(f"{METRICS[one['metric']].title} {one['visible_from']:.2f}x" for one in _decisive(data) if one["visible_from"])
        told = f"**Passed**: {head} is not worse than base in {_titles(data['metrics'])}{more}. A change would have been seen from: {seen}."
        return f"{told} Nor is it worse than the past, with {held}." if held else told
    if verdict == "failed":
        return f"**Failed**: {head}: {reasons}."
    if verdict == "base broken":
        return f"**Nothing to compare with**: base, `{data['base']['spec']}`: {reasons}."
    return f"**Inconclusive**: {reasons or 'not enough was measured'}."


def page(data: Json) -> str:
    """gate.md: what a job's page shows."""
    text = [f"### Gate: {data['scenario']}\n", sentence(data), ""]
    text += [f"- {name}: {_side(data[name])}" for name in SIDES]
    several = len(data["measurements"]) > 1
    for measured in data["measurements"]:
        if measured["rows"]:
            text += ["", *([f"#### {_WHY[measured['why']]}\n"] if several else []), _table(data, measured), "", _lane(measured)]
        if measured.get("past"):
            text += ["", past.told(data["past"]["source"], measured["past"])]
    text += ["", _delivery(data), "", _how(data), ""]
    return "\n".join(text)


def _decisive(data: Json) -> Sequence[Json]:
    rows: Sequence[Json] = data["measurements"][-1]["rows"] if data["measurements"] else []
    return rows


def _titles(names: Sequence[str]) -> str:
    *first, last = [METRICS[name].title for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def _side(side: Json) -> str:
    parts = [f"`{side['spec']}`"]
    if side.get("server"):
        parts.append(side["server"])
    if side.get("client"):
        parts.append(f"{side['client']} {side['client_version']}")
    parts.append(f"Python {side['python']}")
    if side.get("revision"):
        parts.append(f"revision {side['revision'][:12]}")
    return ", ".join(parts)


def _table(data: Json, measured: Json) -> str:
    lines = [
        "| metric | base | head | head / base (95%) | margin | verdict | visible from |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measured["rows"]:
        figures = measured["figures"][row["metric"]]
        sides = [_figure(row["metric"], median(figures[side])) for side in SIDES]
        where = data["points"].get(row["metric"], "")
        ratio = "n/a" if row["ratio"] is None else f"{row['ratio']:.3f}"
        interval = f" ({row['low']:.3f} to {row['high']:.3f})" if row["low"] is not None else ""
        visible = f"{row['visible_from']:.2f}x" if row["visible_from"] is not None else "n/a"
        why = f": {row['why']}" if row["why"] else ""
        name = f"{METRICS[row['metric']].title}, {where}"
        cells = (name, *sides, ratio + interval, show_percent(row["margin"]), row["verdict"] + why, visible)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "n/a"
    unit = METRICS[name].unit
    if unit == "ns":
        return rounded_duration(value, 3)
    return f"{value / 2**20:.1f} MiB" if unit == "B" else f"{value:,.0f}{unit}"


def _lane(measured: Json) -> str:
    lane = measured["lane"]
    noise = ", ".join(f"{METRICS[name].title} {ratio:.2f}x" for name, ratio in lane["noise"].items())
    told = f"A/A lane: base against itself, {lane['pairs']} pairs, differed by at most: {noise or 'n/a'}."
    if lane["noisy"]:
        return f"{told} **Not silent**: {'; '.join(lane['noisy'])}."
    return told if lane["judged"] else f"{told} Too few pairs to be judged."


def _delivery(data: Json) -> str:
    told = [
        f"- {side}: {one['broken_groups']} of {one['audits']} audits broken" + "".join(f"\n  - {why}" for why in one["reasons"][:3])
        if one["broken_groups"]
        else f"- {side}: {one['audits']} audits, every promise kept"
        for side, one in data["delivery"].items()
    ]
    return "\n".join(["Delivery, message by message, against what the mode promises:", "", *told])


def _how(data: Json) -> str:
    rounds = data["rounds"]
    measured = f"{rounds} rounds in blocks of base head head base (the lead drawn)" if rounds else "no full block was measured"
    pace = f", {data['round_s']:.1f} s each" if data["round_s"] else ""
    return (
        f"{measured}{pace}; {data['seconds']:.0f} s in all. *Not worse*: the estimate is within the margin, and a change from "
        "*visible from* on would have been seen in 4 of 5 such gates. docs/gate.md says how this is decided."
    )
