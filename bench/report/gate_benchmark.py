"""A gate as the files of github-action-benchmark, one a direction (pure): entries of "name", "unit", "value", "range", "extra".

Each metric is there twice: as head's own figure (the median over rounds), for a chart, and as the ratio of head to base of the same
rounds, which is what can be compared with last week's. The action's own alert compares stored figures: on identical systems such
comparisons gave 56-66% false alarms (docs/method.md, Comparing). Whether a build fails is the gate's exit code.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from bench.gate.asked import METRICS

Json = Mapping[str, Any]
SMALLER, BIGGER = "smaller-is-better.json", "bigger-is-better.json"
"""For `tool: customSmallerIsBetter` and `tool: customBiggerIsBetter`."""
_NOT_OF_THE_NAME = ("rev",)  # differs from commit to commit, and a chart is of one name


def entries(data: Json) -> dict[str, list[dict[str, Any]]]:
    """{file name: its entries}; a metric without a figure has none."""
    found: dict[str, list[dict[str, Any]]] = {SMALLER: [], BIGGER: []}
    if not data["measurements"]:
        return found
    last = data["measurements"][-1]
    for name in data["metrics"]:
        asked = METRICS[name]
        known = [value for value in last["figures"].get(name, {}).get("head", ()) if value is not None]
        into = found[BIGGER if asked.higher_is_better else SMALLER]
        title = f"{data['scenario']}, {_named(data['head']['spec'])}: {asked.title}, {data['points'].get(name, '')}"
        if known:
            told = f"{min(known):.6g} to {max(known):.6g} in {len(known)} rounds"
            into.append({"name": title, "unit": asked.unit, "value": statistics.median(known), "range": told, "extra": _sides(data)})
        row = next((one for one in last["rows"] if one["metric"] == name), None)
        if row is not None and row["ratio"] is not None:
            told = f"{row['low']:.3f} to {row['high']:.3f}" if row["low"] is not None else "n/a"
            extra = f"{row['verdict']}; {_sides(data)}"
            into.append({"name": f"{title}, head / base", "unit": "x", "value": row["ratio"], "range": told, "extra": extra})
    return found


def _named(spec: str) -> str:
    return ",".join(part for part in spec.split(",") if part.partition("=")[0].strip() not in _NOT_OF_THE_NAME)


def _sides(data: Json) -> str:
    return f"base {data['base']['spec']}, head {data['head']['spec']}: {data['verdict']}"
