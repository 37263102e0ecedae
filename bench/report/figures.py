"""The measured figures as tables: ranking, latency, audit, cost, findings."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.findings import NOTES
from bench.analysis.summary import RATE_NOT_REACHED, Board, Percentiles, Place, PointSummary, VariantPoint
from bench.guarantees.named import BASELINE
from bench.report import compared, losses, text
from bench.report.headline import STANDING, Faults, nothing
from bench.report.joining import Evidence
from bench.report.table import Builder, Cell, Table

VERDICT_KINDS = {"clean": "good", "as promised": "good", "undetermined": "warn", "violated": "bad"}


def name(result: VariantPoint) -> str:
    """System and client; an emulator's own name goes with every figure."""
    base = text.variant_name(result.variant)
    return f"{base} [emulator: {(result.server or {}).get('product')}]" if result.emulator else base


def spoken_of(results: Sequence[VariantPoint]) -> tuple[str, list[VariantPoint]]:
    """What a chart's title compares, and what stands before it: what is valid; else the harness's own floor; else "Not valid: "."""
    found = [r for r in results if r.valid] or [r for r in results if r.standing == "reference"]
    return ("", found) if found else ("Not valid: ", list(results))


def latency_cell(result: VariantPoint, tag: str, which: str) -> str:
    """One percentile: a figure, or why there is none."""
    found = result.latency.get(tag)
    if found is None:
        return result.absent.get(tag, "not measured")
    return text.duration(getattr(found, which))


def ranking(point: PointSummary, faults: Faults = nothing) -> Table | None:
    """The first table of a point: ranked within each promise; then what was measured and is not ranked."""
    tried = {r.id: faults(r) for r in point.results if not r.emulator}
    under = bool(any(tried.values()))
    builder = Builder(
        text.point_name(point.point),
        (
            ("Rank", False),
            ("System (client)", False),
            (f"{'Rate' if point.by == 'rate' else 'p99'} ÷ best", True),
            ("p50", True),
            ("p99", True),
            ("p99.9", True),
            ("Delivered /s", True),
            ("CPU µs/msg", True),
            ("Delivery", False),
            *([("Lost under faults", False)] if under else []),
            ("Validity", False),
        ),
        row_header=1,
        note=f"Noise floor: {floor}." if (floor := compared.noise_floor(point)) else "",
    )

    def row(result: VariantPoint, rank: str, ratio: str) -> tuple[str | Cell, ...]:
        cells = _row(result, rank, ratio, by_rate=point.by == "rate")
        return (*cells[:-1], _under(tried[result.id]), cells[-1]) if under else cells

    for board in point.boards:
        builder.add(_board_label(board), [row(place.result, *_placed(place, len(board.places))) for place in board.places])
    tuned = [r for r in point.apart if r.standing == "tuned"]
    rest = [r for r in point.apart if r.standing != "tuned"]
    builder.add("Tuned settings, shown beside", [row(r, STANDING["tuned"], "") for r in tuned])
    builder.add("Measured, not ranked", [row(r, STANDING.get(r.standing, r.standing), "") for r in rest if r.rate])
    builder.add("Not measured", [row(r, STANDING.get(r.standing, r.standing), "") for r in rest if not r.rate])
    return builder.build()


def ranking_note(point: PointSummary, faults: Faults = nothing) -> str:
    """How to read a point's ranking: what most points of a run have in common."""
    by = "delivery rate of the slowest group" if point.by == "rate" else "p99, end to end, from the intended send time"
    rounds = max((r.rate.rounds for r in point.results if r.rate), default=0)
    spread = f"Range over {rounds} rounds in brackets" if rounds > 1 else "One round: no range, so nothing is told apart"
    apart = f". {compared.note(point)}" if point.family else "; ranks that overlap are too close to call."
    said = [f"Ranked by {by}, within the same delivery promise, in pairs of system and client. {spread}{apart}"]
    said += [compared.AT_LEAST] if any(r.at_least for r in point.results) else []
    struck = {name(r): faults(r) for r in sorted(point.results, key=lambda r: r.id) if not r.emulator and faults(r)}
    if struck:
        said.append(
            "Lost under faults: injections after which an acknowledged message never came, of those that struck something in flight."
        )
        said += [f"{who} {aside}." for who, found in struck.items() for aside in dict.fromkeys(one.aside for one in found if one.aside)]
    return " ".join(said)


def _under(found: Sequence[Evidence]) -> Cell:
    """What is asked first, and every fault that lost something; of the others how many there are."""
    kind = "bad" if any(one.verdict == "violated" for one in found) else "" if found else "quiet"
    tried = [one for one in found if one.fault != BASELINE]
    told = [one for one in tried if one.lost or one.fault in losses.FIRST[:2]]
    words = [f"{one.fault} {losses.events(one)}" for one in told]
    rest = len(tried) - len(told)
    words += [f"{text.many(rest, 'more fault' if told else 'fault')}: none"] if rest else []
    return Cell(";\n".join(words) or "not tried", kind)


def _board_label(board: Board) -> str:
    label = f"Promise: {text.promise(board.delivery)}"
    if board.same_acknowledgement:
        return f"{label}; acknowledgement: {text.acknowledged(board.places[0].result.variant)}"
    meanings = "; ".join(f"{text.variant_name(p.result.variant)}: {text.acknowledged(p.result.variant)}" for p in board.places)
    return f"{label}, but acknowledgements are unequal ({meanings})"


def _placed(place: Place, among: int) -> tuple[str, str]:
    """Rank and ratio of a ranked one."""
    if among == 1:
        return text.DASH, "alone"
    return str(place.first) if place.first == place.last else f"{place.first}{text.DASH}{place.last}", compared.cell(place)


def _row(result: VariantPoint, rank: str, ratio: str, *, by_rate: bool = True) -> tuple[str | Cell, ...]:
    """``by_rate``: ranges over rounds of rate and CPU, too; where the ranking is by latency they stand in tables of their own."""
    if result.rate is None:
        return (Cell(rank, "quiet"), name(result), *[""] * 7, Cell(result.why, "quiet"))
    rate = text.ranged(result.rate) if by_rate else text.number(result.rate.median)
    # Saturated: said once; the other percentiles would only repeat it.
    p99 = latency_cell(result, "e2e", "p99_ns")
    others = [latency_cell(result, "e2e", k) if result.latency.get("e2e") else "" for k in ("p50_ns", "p999_ns")]
    return (
        Cell(rank, "" if result.standing == "ranked" else "quiet"),
        name(result),
        ratio,
        others[0],
        p99,
        others[1],
        f">= {rate}" if result.at_least else rate,
        text.ranged(result.cost.total, text.micro) if by_rate else text.micro(result.cost.total.median if result.cost.total else None),
        delivery_cell(result),
        validity_cell(result),
    )


def delivery_cell(result: VariantPoint) -> Cell:
    """The worst verdict over groups, what was lost and repeated, and how many deliveries it rests on."""
    if not result.audit:
        return Cell("not audited", "quiet")
    worst = max((a.verdict for a in result.audit), key=list(VERDICT_KINDS).index)
    words = [worst]
    for key, word in (("lost", "lost"), ("duplicated", "repeated"), ("reordered", "reordered"), ("corrupted", "corrupted")):
        known = [a.counts.get(key) for a in result.audit]
        if None in known:
            words.append(f"{word}: not known")
        elif total := sum(v for v in known if v is not None):
            words.append(f"{total:,} {word}")
    n = sum(a.counts.get("processed") or 0 for a in result.audit)
    return Cell(f"{', '.join(words)}, n\u00a0=\u00a0{n:,}", VERDICT_KINDS[worst])


def validity_cell(result: VariantPoint) -> Cell:
    """Whether its rounds speak against themselves; what is worth knowing, and voids nothing, stands beside."""
    if result.standing in {"not-valid", RATE_NOT_REACHED}:
        return Cell(result.why, "warn")
    voiding, notes = sorted(result.codes - NOTES), sorted(result.codes & NOTES)
    return Cell(", ".join(voiding), "warn") if voiding else Cell("; ".join(["valid", *notes]), "good")


def emulators(point: PointSummary) -> Table | None:
    """Emulated services: figures of the emulator, in no order of merit."""
    builder = Builder(
        f"Emulators, {text.point_name(point.point)}",
        (
            ("System (client)", False),
            ("p50", True),
            ("p99", True),
            ("p99.9", True),
            ("Delivered /s", True),
            ("CPU µs/msg", True),
            ("Delivery", False),
            ("Validity", False),
        ),
    )
    # The same cells without rank and ratio: an emulator has neither.
    builder.add("", [tuple(c for i, c in enumerate(_row(r, "", "")) if i not in {0, 2}) for r in point.emulators])
    return builder.build()


def latency(point: PointSummary, results: Sequence[VariantPoint]) -> Table | None:
    """End to end from the intended time and from the actual send, and the sender's own lateness."""
    labels = (
        "n",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "from send p50",
        "from send p99",
        "late p50",
        "late p99",
        "woken p99",
        "blocked p99",
        "woken / p99",
    )
    builder = Builder(
        f"End to end, {text.point_name(point.point)}",
        (("System (client)", False), *((label, True) for label in labels)),
        note="n and the first five: end to end from the intended send time. Late: how far behind its schedule the sender was, "
        "which is part of that latency; woken: because it woke late (ours), blocked: because client or system held it up (theirs). "
        f"Woken above a tenth of the p99 makes that latency partly our own. {_ticks(results)}"
        "n/a: fewer than ten samples lie beyond the percentile.",
    )
    rows: list[tuple[str | Cell, ...]] = []
    for result in results:
        e2e = result.latency.get("e2e")
        if e2e is None:
            rows.append((name(result), "", _why_not(result, "e2e"), *[""] * 11))
            continue
        late = (latency_cell(result, f"lateness-{part}", "p99_ns") for part in ("woken", "blocked"))
        own = (text.duration(getattr(e2e, which)) for which in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"))
        rows.append((name(result), text.count(e2e.n), *own, *_pair(result, "e2e-sent"), *_pair(result, "lateness"), *late, _late(result)))
    builder.add("", rows)
    return builder.build()


def _ticks(results: Sequence[VariantPoint]) -> str:
    """How often a sender wakes at most: it is late by up to so much without anybody's fault."""
    told = sorted({float(r.workload["tick_s"]) for r in results if r.workload.get("tick_s") is not None})
    if not told:
        return ""
    return f"Senders wake at most every {text.listed(text.duration(tick_s * 1e9) if tick_s else '0 (they spin)' for tick_s in told)}. "


def publish(point: PointSummary, results: Sequence[VariantPoint]) -> Table | None:
    """From send to acknowledgement, with what the acknowledgement means; n/a where there is none."""
    builder = Builder(
        f"Publish, {text.point_name(point.point)}",
        (("System (client)", False), ("n", True), ("p50", True), ("p99", True), ("p99.9", True), ("Acknowledgement", False)),
        note="From the send to the acknowledgement. A system without acknowledgements is not fast here: there is nothing to measure.",
    )
    rows: list[tuple[str | Cell, ...]] = []
    for result in results:
        found = result.latency.get("publish")
        figures = (text.duration(found.p50_ns), text.duration(found.p99_ns), text.duration(found.p999_ns)) if found else None
        told = figures or (_why_not(result, "publish"), "", "")
        rows.append((name(result), text.count(found.n) if found else "", *told, text.acknowledged(result.variant)))
    builder.add("", rows)
    return builder.build()


def _why_not(result: VariantPoint, tag: str) -> Cell:
    return Cell(result.absent.get(tag, "not measured"), "quiet")


def _pair(result: VariantPoint, tag: str) -> tuple[str, str]:
    if result.latency.get(tag) is None:
        return latency_cell(result, tag, "p50_ns"), ""
    return latency_cell(result, tag, "p50_ns"), latency_cell(result, tag, "p99_ns")


_AUDITED = ("sent", "acknowledged", "processed", "lost", "duplicated", "redelivered", "reordered", "corrupted", "unexpected", "unknown")
_WHERE_ANY = {
    "dead_lettered": "Dead lettered: given up by the broker, and found in its dead-letter queue; not lost.",
    "expired": "Expired: no longer kept by the broker; not lost.",
    "refused": "Refused: given back on purpose by consumers, and never processed; no loss by the system.",
    "received_only": "Received only: received and never processed; those that were acknowledged are among the lost.",
    "key_reordered": "Key reordered: processed after a later one of the same key, by any member of the group; no promise covers it where "
    "messages are not sent by key.",
    "undelivered": "Undelivered: acknowledged and not processed when the drain ended, perhaps late, or held by the broker still.",
}
"""Columns of the audit that stand there only where some group has a number in them, with what they mean."""


def audit(point: PointSummary, results: Sequence[VariantPoint]) -> Table | None:
    """Every group's account, with what the mode promises."""
    more = [h for h in _WHERE_ANY if any(group.counts.get(h) for result in results for group in result.audit)]
    head = (*_AUDITED, *more)
    builder = Builder(
        f"Audit, {text.point_name(point.point)}",
        (("System (client), group", False), *((h.replace("_", " "), True) for h in head), ("lost where", False), ("verdict", False)),
        note=" ".join(
            (
                "Lost: acknowledged and never processed. Unknown: neither confirmed nor refused, and not delivered.",
                "Repeated and reordered ones are counted even where the mode allows them.",
                *(_WHERE_ANY[h] for h in more),
            )
        ),
    )
    for result in results:
        mode = result.variant.get("mode") or {}
        label = f"{name(result)}: {text.promise(result.delivery)}; order: {mode.get('ordering', 'not known')}"
        if mode.get("persistence"):  # of old runs it is not known
            label += f"; acknowledged: {mode['persistence']}, copies: {mode.get('copies', 'not known')}"
        rows: list[tuple[str | Cell, ...]] = [
            (
                group.group,
                *(text.count(group.counts.get(h)) for h in head),
                ", ".join(f"{n:,} {where}" for where, n in group.lost_where.items() if n) or text.DASH,
                Cell(group.verdict, VERDICT_KINDS[group.verdict]),
            )
            for group in result.audit
        ]
        builder.add(label, rows)
    return builder.build()


def cost(point: PointSummary, results: Sequence[VariantPoint]) -> Table | None:
    """CPU and memory, of each side and each node, for a delivered message."""
    builder = Builder(
        f"CPU and memory, {text.point_name(point.point)}",
        (("System (client), part", False), ("CPU µs/msg", True), ("Memory MiB", True), ("Memory KiB/msg", True)),
        note="Median, range over rounds in brackets. CPU: of the process, within the window, for a delivered message. "
        "Memory: resident at its end; what waits in a broker-less system waits in the clients' memory.",
    )
    for result in results:
        if result.rate is None:
            continue
        one = result.cost
        busy = f", machine {one.machine_busy.median:.0%} busy" if one.machine_busy else ""
        parts = [("producers", one.producers, one.producers_b)]
        parts += [(node, one.nodes.get(node), one.nodes_b.get(node)) for node in one.nodes]
        parts += [("consumers", one.consumers, one.consumers_b)]
        rows: list[tuple[str | Cell, ...]] = []
        for label, cpu, memory in parts:
            each = memory.median / one.deliveries.median if memory and one.deliveries and one.deliveries.median else None
            told = text.NONE if each is None else text.number(each / 1024)
            rows.append((label, text.ranged(cpu, text.micro), text.ranged(memory, text.mebi), told))
        if not one.nodes:
            rows.insert(1, ("intermediary", "not measured" if result.variant.get("intermediary") else "none", "", ""))
        known = [m for _, _, m in parts]
        total_b = text.mebi(sum(m.median for m in known if m)) if None not in known else "not known"
        rows.append(("total", text.ranged(one.total, text.micro), total_b, ""))
        builder.add(f"{name(result)}{busy}", rows)
    return builder.build()


def findings(points: Sequence[PointSummary]) -> Table | None:
    """What each run says against itself, with what to do about it."""
    builder = Builder(
        "Findings", (("Finding", False), ("System (client)", False), ("Trials", False), ("Evidence", False), ("Advice", False))
    )
    for point in points:
        rows: list[tuple[str | Cell, ...]] = [
            (Cell(f.code, "warn"), name(r), ", ".join(str(n) for n in f.trials), f.evidence, f.advice)
            for r in point.results
            for f in r.findings
        ]
        rows[:0] = [(Cell(f.code, "bad"), "all of this point", ", ".join(map(str, f.trials)), f.evidence, f.advice) for f in point.findings]
        rows += [(Cell(STANDING.get(r.standing, r.standing), "bad"), name(r), _numbers(r), r.why, "") for r in point.results if _unwell(r)]
        builder.add(text.point_name(point.point), rows)
    return builder.build()


def _unwell(result: VariantPoint) -> bool:
    return result.standing in {"failed", "unsupported", "violated"} or (result.standing == "not-valid" and not result.findings)


def _numbers(result: VariantPoint) -> str:
    return ", ".join(str(number) for number in result.numbers)


def _late(result: VariantPoint) -> str | Cell:
    share = late_share(result.latency.get("e2e"), result.latency.get("lateness-woken") or result.latency.get("lateness"))
    return "" if share is None else Cell(f"{share:.0%}", "warn" if share > 0.1 else "number")


def late_share(e2e: Percentiles | None, lateness: Percentiles | None) -> float | None:
    """The sender's lateness as a share of the latency, both at p99: above a tenth the figure is partly our own."""
    if e2e is None or lateness is None or not e2e.p99_ns or lateness.p99_ns is None:
        return None
    return lateness.p99_ns / e2e.p99_ns
