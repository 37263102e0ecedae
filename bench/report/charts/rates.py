"""Latency against offered rate of a run that sweeps its rate: where the knee is, and which rates were not reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.analysis.summary import RATE_NOT_REACHED, PointSummary, VariantPoint, percentile
from bench.capacity import result as capacity
from bench.report import svg, text
from bench.report.charts import families, load, names
from bench.report.charts.load import Curve, Load, Panels
from bench.report.headline import STANDING, place
from bench.report.svg import Chart

_PANELS = Panels("p99", "p50")


def sweeps(points: Sequence[PointSummary]) -> list[list[PointSummary]]:
    """The points that differ in their rate only, in ascending order of it: where there are two rates at least."""
    return families.along("rate_per_s", (one for one in points if isinstance(one.point.get("rate_per_s"), int | float)))


def draw(points: Sequence[PointSummary], name: str, colours: Mapping[str, int], *, emulated: bool = False) -> Chart | None:
    """One chart for the points of one sweep (``sweeps``); None where no variant has a latency at two rates."""
    rows: dict[str, list[VariantPoint]] = {}
    for point in points:
        for result in point.results:
            if result.emulator == emulated and result.rate:
                rows.setdefault(result.id, []).append(result)
    called = names.called(row[0] for row in rows.values())
    curves = {key: _curve(results, called[key], svg.colour(colours, key)) for key, results in rows.items()}
    shown = {key: curve for key, curve in curves.items() if len(curve.quoted) > 1}
    if not shown:
        return None
    valid = [curve for key, curve in shown.items() if any(r.valid for r in rows[key])]
    rest = text.point_name(families.rest("rate_per_s", points[0].point))
    said = title(valid or [*shown.values()], rest)
    return load.draw([*curves.values()], _PANELS, name, said, _caption([*shown.values()]))


def title(curves: Sequence[Curve], at: str) -> str:
    """Where the knee is, or the end of what it can: of those that get there first, and of the last."""
    where = f", {at}" if at != "the only point" else ""
    groups: dict[str, list[Curve]] = {}
    for curve in sorted(curves, key=lambda curve: (_first(curve), curve.quoted[-1].offered)):
        groups.setdefault(_end_words(curve), []).append(curve)
    ends = [next(iter(groups)), next(reversed(groups))]
    return f"p99 against rate{where}: {'; '.join(f'{words} {_whose(groups[words])}' for words in dict.fromkeys(ends))}"


def _whose(curves: Sequence[Curve]) -> str:
    if len(curves) > 3:
        return f"for {len(curves)} variants"
    return f"for {text.listed(names.in_title(curve.name) for curve in curves)}"


def _first(curve: Curve) -> float:
    """The first rate at which it is past its knee, saturated or not valid."""
    return min([one.offered for one in curve.loads if one.saturated or one.note or one.offered == curve.knee], default=float("inf"))


def _end_words(curve: Curve) -> str:
    if curve.knee is None:
        for one in sorted(curve.loads, key=lambda load: load.offered):
            if one.saturated or one.note:
                return f"{'saturated' if one.saturated else one.note} at {text.number(one.offered)}/s"
        return f"no knee up to {text.number(curve.quoted[-1].offered)}/s"
    before = [one.offered for one in curve.quoted if one.offered < curve.knee and not one.note]
    if not before:
        return f"the knee is below {text.number(curve.knee)}/s"
    return f"the knee is between {text.number(before[-1])} and {text.number(curve.knee)}/s"


def _curve(results: Sequence[VariantPoint], name: str, number: int) -> Curve:
    loads = tuple(_load(result) for result in results)
    # "Low load" is up to half of the highest rate that has a latency: no capacity was searched for here.
    highest = max((one.offered for one in loads if one.high_ns is not None), default=0.0)
    # What is not valid may be slow for another reason: it makes no knee.
    rows = [
        {"rate_per_s": x.offered, "share": x.offered / highest, "p99_ns": x.high_ns} for x in loads if x.high_ns is not None and not x.note
    ]
    knee = capacity.knee(rows, "p99_ns")
    over = [one.offered for one in loads if one.saturated]
    under = (text.promise(results[0].delivery), *((f"saturated at {text.number(min(over))}/s",) if over else ()))
    return Curve(name, under, number, loads, knee["by_per_s"] if knee else None)


def _load(result: VariantPoint) -> Load:
    e2e = result.latency.get("e2e")
    p50s = [one for trial in result.trials if (one := percentile(trial, "p50", 0.5)) is not None]
    p99s = [*result.p99_by_round.values()]
    return Load(
        offered=float(result.point["rate_per_s"]),
        delivered=result.rate.median if result.rate else None,
        n=e2e.n if e2e else 0,
        rounds=result.rate.rounds if result.rate else 0,
        high_ns=e2e.p99_ns if e2e else None,
        low_ns=e2e.p50_ns if e2e else None,
        high_range=(min(p99s), max(p99s)) if len(p99s) > 1 else None,
        low_range=(min(p50s), max(p50s)) if len(p50s) > 1 else None,
        saturated=e2e is None and RATE_NOT_REACHED in result.codes,
        note=STANDING[result.standing] if result.doubtful else "",
    )


def _caption(curves: Sequence[Curve]) -> str:
    return (
        f"End to end from the intended send time, {load.counted(curves)}; {place([])}. Ring: the knee, the first rate from which on p99 "
        f"stays over {capacity.KNEE:g} times its smallest value at up to half of the highest rate that was reached. "
        "Cross: saturated, so no latency is told. Hollow: not valid."
    )
