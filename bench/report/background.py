"""What stands behind the figures: promises, settings, versions, order of execution, environment."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from bench.analysis.summary import PointSummary, RunLike, VariantPoint
from bench.report import health, text
from bench.report.figures import name
from bench.report.headline import STANDING
from bench.report.table import Builder, Cell, Table, link
from bench.report.view import Block, View, fold, section, table


def variants(points: Sequence[PointSummary]) -> list[VariantPoint]:
    """Each variant once, by its first point."""
    seen: dict[str, VariantPoint] = {}
    for point in points:
        for result in point.results:
            seen.setdefault(result.id, result)
    return [seen[key] for key in sorted(seen)]


def promises(points: Sequence[PointSummary]) -> Table | None:
    """What each mode promises, and where its documentation says so."""
    builder = Builder(
        "Modes and their promises",
        (
            ("System (client)", False),
            ("Delivery", False),
            ("Order kept in", False),
            ("Acknowledgement", False),
            ("Intermediary", False),
            ("Fan-out", False),
            ("Sharing", False),
            ("Late subscriber", False),
            ("Slow consumer", False),
            ("Source", False),
        ),
    )
    rows: list[tuple[str | Cell, ...]] = []
    for result in variants(points):
        variant = result.variant
        mode = variant.get("mode") or {}
        source = str(mode.get("source") or "")
        rows.append(
            (
                f"{name(result)}: {mode.get('name', '')}",
                text.promise(result.delivery),
                str(mode.get("ordering", "not known")),
                text.acknowledged(variant),
                ("yes, stores" if variant.get("stores") else "yes, stores nothing") if variant.get("intermediary") else "no",
                _made(variant.get("fan_out"), "copies"),
                _made(variant.get("work_sharing"), "sharing"),
                str(mode.get("late_subscriber", "not known")),
                str(mode.get("slow_consumer", "not known")),
                Cell("documentation" if link(source) else source, href=link(source)),
            )
        )
    builder.add("", rows)
    return builder.build()


def _made(support: Any, what: str) -> str:
    return f"emulated ({what} made outside the system)" if support == "emulated" else str(support or "not known")


def promised(tables: Sequence[Table | None]) -> View | None:
    """The section of promises: each table once (runs of the same variants have the same)."""
    return section("promises", "What each promises", *(table(one) for one in dict.fromkeys(one for one in tables if one)))


def found(findings: Table | None) -> View:
    """The section of findings; that there is none is worth a line."""
    shown = table(findings) or Block("text", "No trial reported anything against itself.")
    return View("findings", "Findings", blocks=(shown,), brief=tuple(one for one in [fold("Findings, with what to do", shown)] if one))


def settled(behind: Sequence[tuple[RunLike, Mapping[str, Any]]]) -> View | None:
    """Versions, settings, environment, order and command of each run."""
    blocks: list[Block | None] = []
    versions_: list[Block | None] = []
    for run, one in behind:
        kind = str(run.run.get("kind") or "run")
        if len(behind) > 1:
            blocks.append(Block("heading", f"{run.run.get('id')} ({kind})"))
        versions_.append(table(one["versions"]))
        blocks += [
            versions_[-1],
            fold("Effective settings, differences first", *(table(made) for made in one["settings"])),
            fold("Order of execution", table(execution(run)) if kind == "run" else None),
            fold("Servers, by what they said of themselves", table(one["health"])),
            fold("Environment", table(one["environment"]) or Block("text", "Not recorded.")),
            fold("Scenario", Block("pre", run.scenario_text) if run.scenario_text else None),
            fold("What was run", Block("facts", facts(run))),
            Block("text", "The command that makes it again:"),
            Block("pre", one["command"]),
        ]
    return section("settings", "Versions, settings, order, and the command", *blocks, brief=(fold("Versions", *versions_),))


def facts(run: RunLike) -> list[tuple[str, str]]:
    """Id, times, seed and size of a run."""
    rounds = {(t.get("point") and str(t["point"]), t.get("series"), t.get("round")) for t in run.trials}
    known = [("run", "id"), ("started", "started"), ("ended", "ended"), ("seed", "seed"), ("brokerbench", "brokerbench")]
    told = [(label, str(run.run[key])) for label, key in known if run.run.get(key) is not None]
    return [*told, ("trials", str(len(run.trials))), ("rounds over all points", str(len(rounds)))]


def unfinished(run: RunLike) -> list[str]:
    """The warning of a run that did not come to its end."""
    complete = run.status == "complete"
    return [] if complete else [f"This run's status is {run.status}: what follows is what was measured until then."]


def machine(run: RunLike) -> str:
    """The processor, its cores and the system of a run, in words; "" where it was not recorded."""
    known = run.environment.get("machine")
    if not isinstance(known, Mapping):
        return ""
    cores = known.get("cores")
    words = [str(known.get("cpu") or ""), f"{cores} cores" if cores else "", str(known.get("os") or "")]
    return ", ".join(word for word in words if word)


def settings(points: Sequence[PointSummary]) -> list[Table]:
    """Effective settings, a table for each system; those that differ between its variants come first."""
    systems: dict[str, list[VariantPoint]] = {}
    for result in variants(points):
        systems.setdefault(str(result.variant.get("system")), []).append(result)
    tables = []
    for results in systems.values():
        columns = [_settings_of(r) for r in results]
        keys = list(dict.fromkeys(key for column in columns for key in column))
        differing = [k for k in keys if len({column.get(k) for column in columns}) > 1]
        head = (("Setting", False), *((name(r), False) for r in results))
        builder = Builder(text.variant_name(results[0].variant), head)
        for label, chosen in (("Different", differing), ("Same" if len(results) > 1 else "", [k for k in keys if k not in differing])):
            builder.add(label, [(k, *(column.get(k, text.DASH) for column in columns)) for k in chosen])
        table = builder.build()
        if table:
            tables.append(table)
    return tables


def _settings_of(result: VariantPoint) -> dict[str, str]:
    known: dict[str, Any] = {}
    known.update(result.variant.get("settings") or {})
    served = (result.server or {}).get("settings")
    if served:
        known["server"] = served
    return dict(text.flat(known))


def versions(points: Sequence[PointSummary], started: str) -> Table | None:
    """Products, clients, their dates: an old server against a new one is not a fair pair without a word."""
    builder = Builder(
        "Versions",
        (
            ("System", False),
            ("Server", False),
            ("Version", False),
            ("Released", False),
            ("End of life", False),
            ("Server kind", False),
            ("Nodes", False),
            ("Client", False),
            ("Client version", False),
            ("Profile", False),
        ),
    )
    rows: list[tuple[str | Cell, ...]] = []
    for result in variants(points):
        variant, server = result.variant, result.server or {}
        ended = str(server.get("end_of_life") or "")
        past = bool(ended) and bool(started) and ended <= started[: len(ended)]
        life = Cell(f"{ended}, past when this ran", "warn") if past else Cell(ended or ("not known" if server else ""))
        rows.append(
            (
                str(variant.get("title") or variant.get("system")),
                str(server.get("product") or "none (no server)") + (" [emulator]" if result.emulator else ""),
                str(server.get("version") or ("not known" if server else "")),
                str(server.get("released") or ("not known" if server else "")),
                life,
                str(server.get("kind") or ""),
                text.listed(str(n) for n in server.get("nodes") or ()),
                str(variant.get("client") or "none"),
                str(variant.get("client_version") or ""),
                str(variant.get("profile") or ""),
            )
        )
    builder.add("", rows)
    return builder.build()


def execution(run: RunLike) -> Table | None:
    """The order in which trials ran, with those of the plan that did not."""
    done = {t["trial"]: t for t in run.trials}
    planned = list(run.plan) or [done[n] for n in sorted(done)]
    builder = Builder(
        "Order of execution",
        (
            ("Trial", True),
            ("Point", False),
            ("Variant", False),
            ("Series", True),
            ("Round", True),
            ("Position", True),
            ("Lane", False),
            ("Started", False),
            ("Status", False),
        ),
    )
    rows: list[tuple[str | Cell, ...]] = []
    for entry in planned:
        trial = done.get(entry.get("trial"))
        status = str(trial.get("status")) if trial else "did not run"
        variant = entry.get("variant")
        rows.append(
            (
                str(entry.get("trial")),
                text.point_name(_mapping(entry.get("point"))),
                str(variant.get("id") if isinstance(variant, Mapping) else variant),
                *(str(entry.get(k, "")) for k in ("series", "round", "position", "lane")),
                str((trial or {}).get("started") or ""),
                Cell(status, "" if status == "ok" else "warn"),
            )
        )
    builder.add("", rows)
    return builder.build()


def _mapping(point: Any) -> Mapping[str, Any]:
    return point if isinstance(point, Mapping) else {"point": point}


def behind(run: RunLike, points: Sequence[PointSummary]) -> dict[str, Any]:
    """What every page prints behind its answer."""
    return {
        "not_run": not_run(run, points),
        "promises": promises(points),
        "settings": settings(points),
        "versions": versions(points, str(run.run.get("started") or "")),
        "environment": environment(run),
        "health": health.told(points),
        "command": reproduce(run),
    }


def not_run(run: RunLike, points: Sequence[PointSummary]) -> Table | None:
    """What could not be had here, why, and how to get it; what a system does not support."""
    builder = Builder("Not run", (("Variant", False), ("Why", False), ("Get it by", False)))
    builder.add("", [(str(r.get("variant")), str(r.get("reason") or ""), str(r.get("get") or "")) for r in run.run.get("not_run") or ()])
    unsupported = {r.id: r for p in points for r in p.results if r.standing == "unsupported"}
    builder.add("Unsupported", [(name(r), r.why, "") for r in unsupported.values()])
    return builder.build()


def states(points: Sequence[PointSummary]) -> str:
    """The words for what stands apart, explained once."""
    used = {r.standing for p in points for r in p.results} - {"ranked"}
    meaning = {
        "tuned": "settings that help are shown beside; what is ranked is the public API as documented",
        "reference": "the harness's own floor, no messaging system",
        "emulator": "the server imitates a cloud service and says nothing about its speed",
        "rate-not-reached": "the backlog grew, so a latency would depend on how long one looked: none is quoted",
        "not-valid": "a round speaks against itself: see the findings",
        "violated": "the audit found what the mode forbids",
        "failed": "no trial ended well",
        "unsupported": "the system cannot do what the scenario asks",
    }
    told = "; ".join(f"{STANDING[s]}: {meaning[s]}" for s in meaning if s in used)
    return f"{told[0].upper()}{told[1:]}." if told else ""


def reproduce(run: RunLike) -> str:
    """The command line that was given; words of a list are quoted for a shell."""
    command = run.run.get("command")
    if isinstance(command, list | tuple):
        return shlex.join(str(word) for word in command)
    return str(command or "not recorded")


def environment(run: RunLike) -> Table | None:
    """The machine, flattened."""
    builder = Builder("Environment", (("What", False), ("Found", False)))
    builder.add("", list(text.flat(run.environment)))
    return builder.build()
