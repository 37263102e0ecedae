"""Which node of a server led what, when, beside the faults and what they cost the producers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.analysis.summary import PointSummary, VariantPoint
from bench.report import figures, text
from bench.report.charts import timeline
from bench.report.table import Builder, Cell, Table

Json = Mapping[str, Any]
_NOBODY = "nobody"


def table(point: PointSummary, results: Sequence[VariantPoint]) -> Table | None:
    """A row an event of one trial of each variant; None where no server of several nodes said who leads."""
    builder = Builder(
        f"Which node led what, {text.point_name(point.point)}",
        (("Seconds", True), ("What happened", False), ("Who led what from then on", False), ("No acknowledgement for", True)),
        row_header=1,
        note="One trial of each variant, with faults the one in the middle by the largest backlog. Seconds from the start of the "
        "load; the server is asked four times a second, so a change is told up to 0.25 s late. No acknowledgement for: the longest time in "
        "which producers got none, between this injection and the next.",
    )
    for result in results:
        trial = _chosen(result.trials)
        if trial is not None:
            builder.add(f"{figures.name(result)}, round {trial.get('round')}", _rows(trial))
    return builder.build()


def _chosen(trials: Sequence[Json]) -> Json | None:
    """The trial whose timeline is drawn, or the first that went well; None where nobody looked."""
    asked = [trial for trial in trials if trial.get("status") == "ok" and trial.get("leaders")]
    return timeline.chosen(asked) or (asked[0] if asked else None)


def _rows(trial: Json) -> list[tuple[str | Cell, ...]]:
    """In the order of time: seconds, what happened, who leads, the gap in acknowledgements."""
    looks: dict[float, list[Json]] = {}
    for row in trial["leaders"]:
        looks.setdefault(float(row["t_s"]), []).append(row)
    begin, *later = sorted(looks)
    known: dict[str, str] = {}
    events = [(begin, "the load begins", _shared(looks[begin]), "")]
    known |= {row["what"]: row["node"] for row in looks[begin]}
    for at in later:
        events.append((at, "leaders change", _moved(looks[at], known), ""))
        known |= {row["what"]: row["node"] for row in looks[at]}
    for fault in trial.get("faults") or ():
        if fault.get("injected_s") is None:
            continue
        target = str(fault["target"])
        node = str(fault.get("node") or "")
        called = f"{timeline.called(fault)}{f', which is {node}' if node not in ('', target) else ''}"
        gaps = [one.get("unavailable_to_producers_s") for one in (fault.get("counts") or {}).values()]
        gap = max((float(one) for one in gaps if one is not None), default=None)
        events.append((float(fault["injected_s"]), called, "", "" if gap is None else text.duration(gap * 1e9)))
        if fault.get("healed_s") is not None:
            events.append((float(fault["healed_s"]), f"healed: {called}", "", ""))
    return [(f"{at:.2f}", what, led, gap) for at, what, led, gap in sorted(events, key=lambda event: event[0])]


def _shared(rows: Iterable[Json]) -> str:
    """Node by node: "kafka.1: partitions 0, 2, controller; kafka.2: partition 1"."""
    nodes: dict[str, list[str]] = {}
    for row in rows:
        nodes.setdefault(row["node"] or _NOBODY, []).append(row["what"])
    return "; ".join(f"{node}: {_brief(whats)}" for node, whats in sorted(nodes.items()))


def _moved(rows: Iterable[Json], known: Mapping[str, str]) -> str:
    """From whom to whom: "partition 0, coordinator of live: kafka.3 to kafka.1"."""
    moves: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        moves.setdefault((known.get(row["what"], ""), row["node"]), []).append(row["what"])
    return "; ".join(f"{_brief(whats)}: {old or _NOBODY} to {new or _NOBODY}" for (old, new), whats in moves.items())


def _brief(whats: Sequence[str]) -> str:
    """What differs in a number only is named once: "partitions 0, 2, 5, controller"."""
    numbered: dict[str, list[str]] = {}
    for what in whats:
        name, _, number = what.rpartition(" ")
        if name and number.isdigit():
            numbered.setdefault(name, []).append(number)
        else:
            numbered[what] = []
    return ", ".join(f"{name}{'s' * (len(own) > 1)}{' ' * bool(own)}{', '.join(own)}" for name, own in numbered.items())
