"""Latency against offered rate up to the capacity: the hockey stick, with the objective, the capacity's interval and the knee."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.analysis.findings import missed
from bench.capacity import result
from bench.report import text
from bench.report.charts import load
from bench.report.charts.families import rest
from bench.report.charts.load import Curve, Load, Panels, Range
from bench.report.charts.names import in_title
from bench.report.headline import place
from bench.report.svg import SERIES, Chart

Json = Mapping[str, Any]
_KEYS = {"p50": "p50_ns", "p90": "p90_ns", "p99": "p99_ns", "p99.9": "p999_ns"}


def draw(
    searches: Sequence[Json], names: Mapping[str, str], objective: Json, name: str, trials: Mapping[int, Json] | None = None
) -> Chart | None:
    """One chart for the searches of one point; None where none has a sweep of two loads. ``trials``: by number, for ranges and promises."""
    panels = Panels(
        objective["percentile"], "p50" if objective["percentile"] != "p50" else "p99", objective["text"], objective["limit_s"] * 1e9
    )
    known = trials or {}
    several = {one["variant"] for one in searches if sum(other["variant"] == one["variant"] for other in searches) > 1}
    curves = []
    for i, one in enumerate(one for one in searches if one["answer"] and one["answer"]["rate_per_s"]):
        called = names.get(one["variant"], str(one["variant"]))
        more = f", {text.many(one['producers'], 'producer')}" if one["variant"] in several else ""
        curves.append((one, _curve(one, called + more, i % len(SERIES), panels, known)))
    shown = [(one, curve) for one, curve in curves if len(curve.quoted) > 1]
    if not shown:
        return None
    said, caption = title(shown, objective, rest("producers", shown[0][0]["point"])), _caption(panels, [curve for _, curve in shown])
    return load.draw([curve for _, curve in curves], panels, name, said, caption)


def title(curves: Sequence[tuple[Json, Curve]], objective: Json, point: Json) -> str:
    """The highest and the lowest capacity."""
    at = f", {text.point_name(point)}" if point else ""
    ordered = sorted(curves, key=lambda pair: pair[0]["answer"]["rate_per_s"] or 0.0, reverse=True)
    (most, first), (least, last) = ordered[0], ordered[-1]
    told = f"{objective['text']} holds up to {_in_words(most)} with {in_title(first.name)}"
    return f"{told}{at}" if len(curves) == 1 else f"{told}, {_in_words(least)} with {in_title(last.name)}{at}"


def _in_words(one: Json) -> str:
    return f"{'at least ' * bool(result.bound(one))}{result.rate(one['answer']['rate_per_s'])}/s"


def _rate(one: Json) -> str:
    return f"{result.bound(one)}{result.rate(one['answer']['rate_per_s'])}/s"


def _curve(one: Json, called: str, number: int, panels: Panels, trials: Mapping[int, Json]) -> Curve:
    answer = one["answer"]
    loads = [_load(row, panels, trials) for row in one["sweep"]]
    loads += [
        Load(probe["rate_per_s"], probe["delivered_per_s"], 0, 1, None, None, saturated=True)
        for probe in one["probes"]
        if probe["phase"] == "search" and probe["held"] is False and missed(probe["rate_per_s"], probe["delivered_per_s"])
    ]
    deliveries = {str((trial.get("variant") or {}).get("mode", {}).get("delivery")) for trial in _of(one, trials)}
    promise = tuple(text.promise(one) for one in deliveries if one != "None") if len(deliveries) == 1 else ()
    interval = (answer["low_per_s"], answer["high_per_s"]) if answer["low_per_s"] and answer["high_per_s"] else None
    return Curve(
        called, (*promise, f"capacity {_rate(one)}"), number, tuple(sorted(loads, key=lambda one: one.offered)),
        one["knee"]["by_per_s"] if one["knee"] else None, answer["rate_per_s"], interval,
    )  # fmt: skip


def _of(one: Json, trials: Mapping[int, Json]) -> list[Json]:
    return [trials[number] for row in one["sweep"] for number in row["trials"] if number in trials]


def _load(row: Json, panels: Panels, trials: Mapping[int, Json]) -> Load:
    rounds = [trials[number] for number in row["trials"] if number in trials]
    delivered = _known((trial.get("rates") or {}).get("slowest_group_per_s") for trial in rounds)

    def span(which: str) -> Range | None:
        found = _known(((trial.get("latency") or {}).get("end_to_end_intended") or {}).get(_KEYS[which]) for trial in rounds)
        return (min(found), max(found)) if len(found) > 1 else None

    middle = sorted(delivered)[len(delivered) // 2] if delivered else None
    note = "" if row["held"] == row["rounds"] else "did not hold in each round"
    high, low = row[_KEYS[panels.high]], row[_KEYS[panels.low]]
    over = row["held"] < row["rounds"] and missed(row["rate_per_s"], middle)  # deliveries in lumps may fall short, and hold
    return Load(row["rate_per_s"], middle, row["n"], row["rounds"], high, low, span(panels.high), span(panels.low), over, note)


def _known(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if isinstance(value, int | float)]


def _caption(panels: Panels, curves: Sequence[Curve]) -> str:
    return (
        f"End to end from the intended send time, {load.counted(curves)}; {place([])}. Line and shade: the capacity with its 95% interval. "
        f"Ring: the knee, the first rate from which on {panels.high} stays over {result.KNEE:g} times its smallest value at up to half "
        "of the capacity. Cross: saturated, so no latency is told. Hollow: it did not hold in each round."
    )
