"""What a capacity run adds to the page: from capacity.json and the trials to answers, tables and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.capacity import result
from bench.report import background, text, view
from bench.report.charts import capacity as capacity_chart
from bench.report.charts import pareto
from bench.report.charts.families import rest
from bench.report.svg import Chart
from bench.report.table import Builder, Cell, Table
from bench.report.view import View, charts, fold, table
from bench.store import Run

Json = Mapping[str, Any]


def read(run: Run) -> dict[str, Any]:
    """Return capacity.json of a run; raises UsageError where it is missing or damaged."""
    return run.data(result.FILE)


def section(run: Run, number: int, label: str) -> View | None:
    """The section of the ``number``-th capacity run of the page (from 0); ``label`` tells it from the others, where there are."""
    found = read(run)
    names = _names(run, found["searches"])
    head = (table(_answers(found, names)), table(_limits(found, names)))
    sweeps = [table(made) for one in found["searches"] if (made := _sweep(one, names, found["objective"]))]
    probes = fold("Probes in order", *(table(made) for one in found["searches"] if (made := _probes(one, names, found["objective"]))))
    return view.section(
        view.numbered("capacity", number), text.tagged("Capacity", label), *head,
        charts(_charts(run, found, names, number)), *sweeps, probes, brief=(*head, *sweeps),
    )  # fmt: skip


def sentences(run: Run) -> list[str]:
    """The answers, a line a search, then what more producers changed."""
    found = read(run)
    names = _names(run, found["searches"])
    told = [f"{result.sentence(one, _called(one, names), found['objective']['text'])}." for one in found["searches"]]
    return told + [f"{_called(one, names)}: {one['said']}." for one in found["producers"]]


def _names(run: Run, searches: Sequence[Json]) -> dict[str, str]:
    """Variant id -> system and client, an emulator called so; "size_b" is among them where sizes differ, and are to be told."""
    names = {str(one["variant"]): str(one["variant"]) for one in searches}
    if len({one["point"].get("size_b") for one in searches}) > 1:
        names["size_b"] = "size"
    for trial in run.trials:
        server = trial.get("server") or {}
        names[trial["variant"]["id"]] = text.variant_name(trial["variant"]) + (
            f" [{server.get('product')}, an emulator]" if server.get("emulator") else ""
        )
    return names


def _called(one: Json, names: Mapping[str, str]) -> str:
    """The variant with what tells its point from others'."""
    axes = [name for name in one["point"] if name not in ("producers", "size_b") or (name == "size_b" and "size_b" in names)]
    more = [f"{one['point'][name]:,} B" if name == "size_b" else f"{name} {one['point'][name]}" for name in axes]
    return ", ".join([names.get(one["variant"], one["variant"]), *more])


def warnings(run: Run) -> list[str]:
    """What speaks against the run as a whole."""
    found, said = read(run), background.unfinished(run)
    late = [one["variant"] for one in found["searches"] if one["status"] == "out of time"]
    if late:
        said.append(f"The time was over before all of it was done: {text.listed(dict.fromkeys(late))}.")
    probes = [probe for one in found["searches"] for probe in one["probes"]]
    shared = sum("not-alone" in probe["findings"] for probe in probes)
    if shared > len(probes) / 4:
        said.append(f"Other processes used the machine in {shared} of {len(probes)} probes: on a quiet one the rates may be higher.")
    return said


def _answers(found: Json, names: Mapping[str, str]) -> Table | None:
    builder = Builder(
        f"Highest rate at which {found['objective']['text']}",
        (
            ("System (client)", False), ("Producers", True), ("Rate, msg/s", True), ("95% interval", True), ("Limit", False),
            ("Knee", False), ("Full speed, msg/s", True), ("Probes", True),
        ),
        note="Rate: what an undisturbed probe holds three times in four. >=: a client, the machine or the search was the limit, so the "
        "server may do more. Full speed: one second of sending as fast as it goes; its latency is the length of a queue.",
    )  # fmt: skip
    rows: list[tuple[str | Cell, ...]] = []
    for one in found["searches"]:
        answer, limit = one["answer"], one["limit"] or {}
        rows.append(
            (
                _called(one, names), str(one["producers"]), _rate(one), _interval(answer), str(limit.get("by", "")),
                result.knee_words(one["knee"], found["objective"]["percentile"]) if one["sweep"] else text.NONE,
                text.count(one["saturated_per_s"]), _counted(answer),
            )
        )  # fmt: skip
    builder.add("", rows)
    return builder.build()


def _limits(found: Json, names: Mapping[str, str]) -> Table | None:
    builder = Builder("Whose limit it was", (("System (client)", False), ("Producers", True), ("Limit", False), ("Evidence", False)))
    builder.add(
        "",
        [
            (_called(one, names), str(one["producers"]), one["limit"]["by"], one["limit"]["evidence"])
            for one in found["searches"]
            if one["limit"]
        ],
    )
    return builder.build()


def _rate(one: Json) -> str | Cell:
    answer = one["answer"]
    if answer is None:
        return Cell(one["status"], "warn")
    if answer["kind"] == "below":
        return Cell(f"< {result.rate(answer['high_per_s'])}", "warn")
    if answer["kind"] == "inconclusive":
        return Cell("inconclusive", "warn")
    return f"{result.bound(one)}{result.rate(answer['rate_per_s'])}"


def _interval(answer: Json | None) -> str:
    if not answer or answer["low_per_s"] is None or answer["high_per_s"] is None:
        return text.NONE
    return f"{result.rate(answer['low_per_s'])}{text.DASH}{result.rate(answer['high_per_s'])}"


def _counted(answer: Json | None) -> str:
    if not answer:
        return text.NONE
    return f"{answer['probes']}" + (f" + {answer['invalid']} invalid" if answer["invalid"] else "")


def _charts(run: Run, found: Json, names: Mapping[str, str], number: int) -> list[Chart | None]:
    """For each point latency up to the capacity, of the systems and apart of the emulators, and capacity against latency."""
    emulated = {trial["variant"]["id"] for trial in run.trials if (trial.get("server") or {}).get("emulator")}
    deliveries = {trial["variant"]["id"]: str((trial["variant"].get("mode") or {}).get("delivery", "none")) for trial in run.trials}
    trials = {int(trial["trial"]): trial for trial in run.trials}
    objective, drawn = found["objective"], list[Chart | None]()
    places: dict[str, list[Json]] = {}
    for one in found["searches"]:
        places.setdefault(str(rest("producers", one["point"])), []).append(one)
    for i, together in enumerate(places.values(), 1):
        for name, apart in (("capacity", False), ("capacity-emulated", True)):
            own = [one for one in together if (one["variant"] in emulated) == apart]
            drawn.append(capacity_chart.draw(own, names, objective, f"{view.numbered(name, number)}-{i}", trials))
        drawn.append(pareto.draw(together, deliveries, names, objective, f"{view.numbered('pareto', number)}-{i}", emulated=emulated))
    return drawn


def _sweep(one: Json, names: Mapping[str, str], objective: Json) -> Table | None:
    percentile = objective["percentile"]
    builder = Builder(
        f"Latency against load: {_called(one, names)}, {one['producers']} producer(s); knee: {result.knee_words(one['knee'], percentile)}",
        (
            ("Share", True), ("Offered, msg/s", True), ("n", True), ("p50", True), ("p90", True), ("p99", True), ("p99.9", True),
            ("Max", True), ("Rounds that held", True),
        ),
    )  # fmt: skip
    rows: list[tuple[str | Cell, ...]] = []
    for row in one["sweep"]:
        latencies = [text.duration(row[key]) for key in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")]
        held = Cell(f"{row['held']} of {row['rounds']}", "number" if row["held"] == row["rounds"] else "warn")
        rows.append((f"{row['share']:.0%}", text.number(row["rate_per_s"]), f"{row['n']:,}", *latencies, held))
    builder.add("", rows)
    return builder.build()


def _probes(one: Json, names: Mapping[str, str], objective: Json) -> Table | None:
    builder = Builder(
        f"Probes in order: {_called(one, names)}, {one['producers']} producer(s)",
        (
            ("Trial", True), ("For", False), ("Offered, msg/s", True), ("Delivered, msg/s", True), (objective["percentile"], True),
            ("Drained after", True), ("Held", False), ("Why not", False), ("Findings", False),
        ),
    )  # fmt: skip
    rows: list[tuple[str | Cell, ...]] = []
    for probe in one["probes"]:
        word = {True: Cell("yes", "good"), False: Cell("no", "bad"), None: Cell("says nothing", "quiet")}[probe["held"]]
        drained = text.NONE if probe["drained_s"] is None else f"{probe['drained_s']:.2f} s"
        offered = "full speed" if probe["rate_per_s"] is None else text.number(probe["rate_per_s"])
        rows.append(
            (
                str(probe["trial"]), probe["phase"], offered, text.count(probe["delivered_per_s"]),
                text.duration(probe["latency_ns"]) if probe["rate_per_s"] is not None else text.NONE, drained, word, probe["why"],
                ", ".join(dict.fromkeys(probe["findings"])),
            )
        )  # fmt: skip
    builder.add("", rows)
    return builder.build()
