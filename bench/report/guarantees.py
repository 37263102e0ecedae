"""What a run of `brokerbench guarantees` adds to the page: from guarantees.json (and its trials, where there are) to tables, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.analysis.summary import PointSummary, summarise
from bench.errors import UsageError
from bench.report import text, view
from bench.report.charts import matrix
from bench.report.joining import FILE, mode_name
from bench.report.table import Builder, Cell, Table, link
from bench.report.view import Block, View, charts, fold, table
from bench.store import Run

SURPRISE = "SURPRISE"
_MARK = "!"  # before what the documentation does not predict: a sign, not only a colour
_BROKEN = "✗"
_WAITING = {"waiting": "not tried yet", "failed": "failed", "short": "nothing in flight", "unsupported": text.NONE}
_COUNTS = ("lost", "duplicated", "reordered", "unknown", "recovered")

Json = Mapping[str, Any]


def read(run: Run) -> dict[str, Any]:
    """Return guarantees.json of a run; raises UsageError where it is missing or damaged."""
    found = run.data(FILE)
    if not isinstance(found.get("cells"), list):
        raise UsageError(f"{run.folder / FILE}: not whole: it has no cells")
    return found


def told_apart(cells: Sequence[Json]) -> list[Json]:
    """The same cells; a mode that several variants of its system have is named with what tells them apart: "acks-1, nodes=3"."""
    parts = [frozenset(str(cell["spec"]).split(",")[1:]) for cell in cells]
    shared: dict[tuple[str, str], frozenset[str]] = {}
    for cell, its in zip(cells, parts, strict=True):
        key = cell["system"], cell["mode"]["name"]
        shared[key] = shared.get(key, its) & its
    made: list[Json] = []
    for cell, its in zip(cells, parts, strict=True):
        own = sorted(its - shared[cell["system"], cell["mode"]["name"]])
        made.append({**cell, "mode": {**cell["mode"], "name": ", ".join([cell["mode"]["name"], *own])}})
    return made


def section(run: Run, number: int, label: str) -> View | None:
    """The section of the ``number``-th run of faults of the page (from 0); ``label`` tells it from the others, where there are."""
    cells = told_apart(read(run)["cells"])
    at = f"cell-{number}-" if number else "cell-"
    surprises, times, left = table(_surprises(cells, at)), table(_times(cells)), table(_left_out(cells))
    matrices = [_matrix(system, cells, at) for system in _systems(cells)]
    shown = [table(one, note=one is matrices[-1]) for one in matrices]
    rows = [made for system in _systems(cells) if (made := _long(system, cells, at))]
    long = [table(one, note=one is rows[-1]) for one in rows]
    injections = [_detail(i, cell, at) for i, cell in enumerate(cells) if cell["injections"]]
    return view.section(
        view.numbered("delivery", number), text.tagged("Delivery under faults", label),
        surprises, charts([matrix.draw(cells, system, f"matrix-{number}-{i}" if number else f"matrix-{i}")
                           for i, system in enumerate(_systems(cells), 1)]),
        *shown, left, Block("heading", "How long it takes") if times else None, times,
        Block("heading", "Each cell") if long else None, *long,
        Block("heading", "Each injection") if injections else None, *injections,
        brief=(Block("text", "How to read it: docs/guarantees.md."), surprises, *shown, times, fold("Each cell", *long), left),
    )  # fmt: skip


def points(run: Run) -> Sequence[PointSummary]:
    """Each variant once, for what stands behind the figures; none where only the cells were kept."""
    first = {trial["variant"]["id"]: trial for trial in reversed(run.trials) if trial["status"] == "ok"}
    return summarise(replace(run, trials=list(first.values()))) if first else ()


def said(run: Run) -> list[str]:
    """What the command line prints: the matrix, a system at a time, and what surprised."""
    cells = told_apart(read(run)["cells"])
    lines: list[str] = []
    for system in _systems(cells):
        lines += ["", *_plain(_matrix(system, cells))]
    return [*lines, "", *sentences(cells)]


def sentences(cells: Sequence[Json]) -> list[str]:
    """What it comes to, in a few lines."""
    tried = [cell for cell in told_apart(cells) if cell["injections"]]
    counted = sum(cell["judged"]["n"] for cell in tried)
    vacuous = sum(cell["judged"]["vacuous"] for cell in tried)
    odd = [cell for cell in tried if cell["judged"]["surprises"]]
    broken = [cell for cell in tried if cell["judged"]["verdict"] == "violated"]
    counts = f"{text.many(len(tried), 'cell')}, {text.many(counted, 'counted injection')}"
    told = [f"{counts}; {vacuous} more struck nothing in flight and count for nothing."]
    told.append(
        f"Promise violated in {len(broken)}: {text.listed(_called(cell) for cell in broken)}." if broken else "No promise violated."
    )
    told += [f"{SURPRISE}, {_called(cell)}: {'; '.join(cell['judged']['surprises'])}." for cell in odd]
    return told if odd else [*told, "Nothing that the documentation does not predict."]


def _called(cell: Json) -> str:
    return f"{cell['system']} {mode_name(cell)}, {cell['fault']}"


def _systems(cells: Sequence[Json]) -> list[str]:
    return list(dict.fromkeys(cell["system"] for cell in cells))


def warnings(run: Run) -> list[str]:
    """What speaks against the run as a whole."""
    cells = read(run)["cells"]
    said_ = []
    waiting = sum(cell["status"] == "waiting" for cell in cells)
    if run.status != "complete" or waiting:
        said_.append(f"This run's status is {run.status}: {waiting} of {len(cells)} cells lack injections; n says how many each has.")
    few = sum(not cell["core"] and bool(cell["injections"]) for cell in cells)
    if few:
        said_.append(f"{few} cells are of few injections: what happens once in three times goes unseen in them about every third time.")
    servers = [one.get("server") or {} for one in (*run.trials, *cells)]
    emulated = sorted({str(server.get("product")) for server in servers if server.get("emulator")})
    if emulated:
        said_.append(f"{text.listed(emulated)} emulates: its cells say nothing about the service.")
    return said_


# ---- the matrix


def _matrix(system: str, cells: Sequence[Json], at: str = "cell-") -> Table:
    """One system: faults down, modes across."""
    own = [(i, cell) for i, cell in enumerate(cells) if cell["system"] == system]
    columns = list(dict.fromkeys((cell["variant"], mode_name(cell), cell["mode"]["delivery"]) for _, cell in own))
    names = [name for _, name, _ in columns]
    head = [(f"{name} ({text.promise(delivery)})" if names.count(name) == 1 else variant, False) for variant, name, delivery in columns]
    builder = Builder(
        f"{system}: observed under each fault (modes with what they promise)",
        (("Fault", False), *head),
        note=f"Observed: what the injections are consistent with, in n counted ones; lost p <: 95% bound where none lost anything. "
        f"{_MARK} the documentation does not predict it. {_BROKEN} the promise was violated. {text.NONE}: there is no such cell.",
    )
    rows: list[tuple[str | Cell, ...]] = []
    for fault in dict.fromkeys(cell["fault"] for _, cell in own):
        found = {cell["variant"]: (i, cell) for i, cell in own if cell["fault"] == fault}
        rows.append((fault, *(_cell(*found[variant], at) if variant in found else Cell(text.NONE, "quiet") for variant, _, _ in columns)))
    builder.add("", rows)
    table = builder.build()
    assert table is not None  # a system is there because it has a cell
    return table


def _cell(place: int, cell: Json, at: str) -> Cell:
    judged = cell["judged"]
    if judged is None:
        return Cell(_WAITING.get(str(cell["status"]), str(cell["status"])), "warn" if cell["status"] == "failed" else "quiet")
    href = f"#{at}{place}" if cell["injections"] else ""
    if not judged["n"] and judged["verdict"] != "violated":
        return Cell(f"{_MARK} {judged['verdict']}" if judged["surprises"] else judged["verdict"], "warn", href)
    words = [judged["observed"], f"n {judged['n']}"]
    lost = judged["shares"].get("lost")
    if lost:
        words.append(f"lost p < {text.percent(lost['high'])}" if not lost["events"] else f"lost in {lost['events']}")
    if judged["verdict"] == "violated":
        words[0] = f"{_BROKEN} {words[0]}"
    if judged["surprises"]:
        words[0] = f"{_MARK} {words[0]}"
    return Cell(", ".join(words), "bad" if judged["surprises"] else "warn" if judged["verdict"] == "violated" else "", href)


def _plain(table: Table) -> Iterator[str]:
    """A table for the terminal."""
    rows = [[label for label, _ in table.head], *([cell.text for cell in row] for group in table.groups for row in group.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.head))]
    yield table.caption
    for row in rows:
        yield "  " + "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()


# ---- the cells


def _surprises(cells: Sequence[Json], at: str) -> Table | None:
    builder = Builder(
        "Surprises", (("Cell", False), ("What", False), ("Predicted", False), ("Trials", False)), note="Their evidence is kept."
    )
    builder.add(
        "",
        [
            (
                Cell(_called(cell), "", f"#{at}{i}"),
                Cell("; ".join(cell["judged"]["surprises"]), "bad"),
                _predicted(cell),
                _listed(cell["trials"]),
            )
            for i, cell in enumerate(cells)
            if cell["judged"] and cell["judged"]["surprises"]
        ],
    )
    return builder.build()


def _left_out(cells: Sequence[Json]) -> Table | None:
    builder = Builder("Not tried, or given up", (("System, mode", False), ("Faults", False), ("Why", False)))
    why: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell["reason"]:
            why.setdefault((f"{cell['system']} {mode_name(cell)}", cell["reason"]), []).append(cell["fault"])
    builder.add("", [(name, ", ".join(faults), reason) for (name, reason), faults in why.items()])
    return builder.build()


def _predicted(cell: Json) -> str:
    expected = cell["expected"]
    may = [name for name in expected["may_show"] if name not in expected["must_show"]]
    words = [f"must show: {text.listed(expected['must_show'])}"] * bool(expected["must_show"]) + [f"may show: {text.listed(may)}"] * bool(
        may
    )
    return f"{'; '.join(words) or 'nothing odd'} ({expected['why']})"


def _long(system: str, cells: Sequence[Json], at: str) -> Table | None:
    builder = Builder(
        f"{system}: each cell",
        (
            ("Mode, fault", False), ("Promised", False), ("Acknowledged means", False), ("Observed", False),
            ("Verdict", False), ("n", True), ("Not counted", True),
            ("Lost in", True), ("95%", True), ("Repeated in", True), ("Lost", True), ("Repeated", True), ("Reordered", True),
            ("Unknown", True), ("Recovered", True), ("The documentation", False), ("Source", False),
        ),
        note="n: counted injections. Not counted: nothing was in flight, or messages still came at the deadline. Lost in: so many of n; "
        "95%: the interval of its probability. Unknown: no outcome, not delivered; recovered: no outcome, delivered. Messages otherwise.",
    )  # fmt: skip
    rows: list[tuple[str | Cell, ...]] = []
    for i, cell in enumerate(cells):
        if cell["system"] != system or not cell["injections"]:
            continue
        judged = cell["judged"]
        lost, repeated = judged["shares"].get("lost"), judged["shares"].get("duplicated")
        kind = "bad" if judged["surprises"] else "warn" if judged["verdict"] != "no violation" else ""
        rows.append(
            (
                Cell(f"{mode_name(cell)}, {cell['fault']}", "", f"#{at}{i}"),
                text.promise(cell["mode"]["delivery"]), _acknowledged(cell["mode"]), judged["observed"],
                Cell(_verdict(judged), kind), str(judged["n"]), str(judged["vacuous"] + judged["undetermined"]), _of(lost), _interval(lost),
                _of(repeated), *(f"{judged['counts'][name]:,}" for name in ("lost", "duplicated", "reordered", "unknown", "recovered")),
                _predicted(cell), Cell("page", "", link(cell["expected"]["source"])),
            )
        )  # fmt: skip
    builder.add("", rows)
    return builder.build()


def _times(cells: Sequence[Json]) -> Table | None:
    builder = Builder(
        "Recovery and interruption: median (longest)",
        (
            ("System", False), ("Mode, fault", False), ("n", True), ("Recovered after the heal, s", True), ("Configured timer", False),
            ("Without confirmation, s", True), ("Without delivery, s", True),
        ),
        note="Recovered: from the heal to the first message that all groups struck processed. Without: the longest gap around one, "
        "as the producers and as the consumers saw it. Recovery mostly is a configured timer: it stands beside.",
    )  # fmt: skip
    rows: list[tuple[str | Cell, ...]] = []
    for cell in cells:
        judged = cell["judged"]
        if judged and any(judged[name] for name in ("recovery_s", "publish_gap_s", "deliver_gap_s")):
            timer = f"{cell['expected']['timer']} {cell['timer']}".strip() if cell["timer"] else text.NONE
            spans = [_spread(judged[name]) for name in ("recovery_s", "publish_gap_s", "deliver_gap_s")]
            rows.append((cell["system"], f"{mode_name(cell)}, {cell['fault']}", str(judged["n"]), spans[0], timer, *spans[1:]))
    builder.add("", rows)
    return builder.build()


def _detail(place: int, cell: Json, at: str) -> Block | None:
    """One cell's injections, for its place on the page."""
    builder = Builder(
        f"{_called(cell)}: injections",
        (
            ("Trial", True), ("Struck", False), ("In flight", True), ("Received, not processed", True), ("Lost", True), ("Repeated", True),
            ("Reordered", True), ("Unknown", True), ("Recovered", True), ("Recovered after, s", True), ("Counts", False),
        ),
    )  # fmt: skip
    rows: list[tuple[str | Cell, ...]] = []
    for one in cell["injections"]:
        counts = [f"{one['counts'].get(name, 0):,}" for name in _COUNTS]
        risk = text.DASH if one["at_risk"] is None else f"{one['at_risk']:,}"
        after = text.DASH if one["recovery_s"] is None else f"{one['recovery_s']:.2f}"
        rows.append((str(one["trial"]), one["target"] or text.NONE, f"{one['in_flight']:,}", risk, *counts, after, _counted(one)))
    builder.add("", rows)
    trials = ", ".join(f"trials/{number:04d}" for number in cell["trials"])  # no links: the page may be read far from the run's folder
    words = Block("text", f"{cell['title']}. {_verdict(cell['judged'])}. {trials}")
    return fold(_called(cell), words, table(builder.build()), at=f"{at}{place}")


def _counted(one: Json) -> str:
    if one["undetermined"]:
        return "undetermined"
    anything = one["in_flight"] or any(one["counts"].values())
    return "yes" if anything else "vacuous"


def _verdict(judged: Json) -> str:
    words = f"{judged['verdict']} in {judged['n']}" if judged["verdict"] == "no violation" else judged["verdict"]
    reasons = "; ".join((*judged["violations"], *judged["surprises"]))
    return f"{words}: {reasons}" if reasons else words


def _acknowledged(mode: Json) -> str:
    """Both axes of what a loss is a loss of."""
    return text.held(mode["persistence"], mode["copies"])


def _of(share: Json | None) -> str:
    return text.NONE if share is None else f"{share['events']} of {share['n']}"


def _interval(share: Json | None) -> str:
    if share is None:
        return text.NONE
    return (
        f"< {text.percent(share['high'])}"
        if not share["events"]
        else f"{text.percent(share['low'])}{text.DASH}{text.percent(share['high'])}"
    )


def _spread(pair: Sequence[float] | None) -> str:
    return text.NONE if pair is None else f"{pair[0]:.2f} ({pair[1]:.2f})"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)


# ---- for spreadsheets


def table_of(runs: Sequence[Run]) -> str:
    """Comma-separated: a row a cell, empty where it was not tried; of several runs their id before each row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("lost", "duplicated", "reordered", "corrupted", "unexpected", "failed_delivered", "unknown", "recovered")
    spans = ("recovery_s", "publish_gap_s", "deliver_gap_s")
    first = ["run"] if len(runs) > 1 else []
    head = [
        "system", "mode", "fault", "spec", "core", "status", "reason", "promised", "observed", "verdict", "n", "vacuous", "undetermined",
        "surprises", "lost_injections", "lost_low", "lost_high", "duplicated_injections", *names,
        *(f"{name[:-2]}_{what}_s" for name in spans for what in ("median", "max")), "timer", "timer_value", "source",
    ]  # fmt: skip
    writer.writerow([*first, *head])
    for run, cell in [(one, cell) for one in runs for cell in read(one)["cells"]]:
        judged, expected = cell["judged"], cell["expected"]
        begin = [cell["system"], cell["mode"]["name"], cell["fault"], cell["spec"], cell["core"], cell["status"], cell["reason"]]
        begin.append(cell["mode"]["delivery"])
        end = [expected["timer"], cell["timer"], expected["source"]]
        told = [""] * (len(head) - len(begin) - len(end))
        if judged is not None:
            lost, repeated = judged["shares"].get("lost") or {}, judged["shares"].get("duplicated") or {}
            told = [*(judged[name] for name in ("observed", "verdict", "n", "vacuous", "undetermined")), "; ".join(judged["surprises"])]
            told += [lost.get("events", ""), lost.get("low", ""), lost.get("high", ""), repeated.get("events", "")]
            told += [judged["counts"][name] for name in names] + [value for name in spans for value in (judged[name] or ("", ""))]
        writer.writerow([*([run.run["id"]] if first else []), *begin, *told, *end])
    return out.getvalue()
