"""Speed and faults of the same variant, joined: what a mode lost and repeated when things broke, beside how fast it was (pure).

The same: system, client and its version, profile, mode, settings and server. Settings that only say how long a system waits
(bench.guarantees.timers, which the matrix sets short) may differ, and are said. Another version of server or client is another
variant: not joined, and said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench import spec
from bench.errors import UsageError
from bench.guarantees import timers
from bench.store import Run

FILE = "guarantees.json"

Json = Mapping[str, Any]


class Gathered(Protocol):
    """What is read of a collection: bench.report.collection.Collection is one."""

    @property
    def runs(self) -> Sequence[Run]:
        """Of kind "run"."""

    @property
    def guarantees(self) -> Sequence[Run]:
        """Of kind "guarantees"."""


@dataclass(frozen=True)
class Evidence:
    """What one fault did to one variant, over all its counted injections.

    ``lost``: injections of ``n`` after which a message that was acknowledged never came; ``low`` and ``high``: 95% interval of the
    probability of that (Clopper-Pearson; where none lost, 0 and the 95% upper bound). ``duplicated``: injections with a repeat.
    """

    fault: str  # "consumer-kill"
    title: str
    n: int
    lost: int
    low: float
    high: float
    duplicated: int
    verdict: str  # no violation, violated, vacuous, undetermined
    observed: str  # "at-least-once", ...
    surprises: tuple[str, ...]
    run: str  # its id
    cell: str  # id in guarantees.json
    aside: str  # what differs and does not matter: timers, and what was not recorded; "" = nothing


def delivery(collection: Gathered, variant: Json, server: Json | None = None) -> Sequence[Evidence]:
    """What faults did to a variant: an item a fault (and run, where several tried it) with a counted injection, in the file's order.

    ``variant`` and ``server`` as in trial.json; a server that is not given is looked up in the collection's runs.
    """
    return [_evidence(one) for one in _matches(collection, variant, server) if not one.other and _counted(one.cell)]


def not_joined(collection: Gathered, variant: Json, server: Json | None = None) -> Sequence[str]:
    """Why faults of the same system, client, profile and mode are not this variant's: "RUN: RabbitMQ 3.12.1 there, 3.10.8 here"."""
    found = _matches(collection, variant, server)
    return list(dict.fromkeys(f"{one.run.run['id']}: {'; '.join(one.other)}" for one in found if one.other and _counted(one.cell)))


def cells(collection: Gathered, variant: Json, server: Json | None = None) -> Sequence[Json]:
    """The cells of guarantees.json that are of the variant, tried or not."""
    return [one.cell for one in _matches(collection, variant, server) if not one.other]


@dataclass(frozen=True)
class _Match:
    run: Run
    cell: Json
    other: tuple[str, ...]  # versions that differ: then it is another variant
    aside: str


def _matches(collection: Gathered, variant: Json, server: Json | None) -> Iterator[_Match]:
    ours = _named(variant.get("spec"), variant.get("system"))
    if ours is None:
        return
    here = server if server is not None else _server(collection.runs, variant)
    mode = (variant.get("mode") or {}).get("name")
    for run in collection.guarantees:
        for cell in run.data(FILE).get("cells") or ():
            theirs = _named(cell.get("spec"), cell.get("system"))
            if theirs is None or (theirs.system, theirs.client, theirs.profile) != (ours.system, ours.client, ours.profile):
                continue
            if (cell.get("mode") or {}).get("name") != mode or _kind(theirs) != _kind(ours):
                continue
            aside = timers.of(ours.system, str(mode), {}).settings
            if _without(theirs.settings, aside) != _without(ours.settings, aside):
                continue
            yield _match(run, cell, variant, here, _timers(ours, theirs))


def _match(run: Run, cell: Json, variant: Json, server: Json | None, waits: str) -> _Match:
    tried = [trial for trial in run.trials if trial.get("trial") in (cell.get("trials") or ()) and trial.get("status") == "ok"]
    other: list[str] = []
    unknown: list[str] = []
    client, version = str(variant.get("client") or ""), variant.get("client_version")
    if client:
        there = {t["variant"].get("client_version") for t in tried if isinstance(t.get("variant"), Mapping)} or _clients(run, client)
        (unknown if not there else other).extend(_differing(client, there, version))
    if server and server.get("version"):
        product = str(server.get("product") or "server")
        found = {(t.get("server") or {}).get("version") for t in (*tried, cell)} - {None}
        (unknown if not found else other).extend(_differing(product, found, server["version"]))
    return _Match(run, cell, tuple(other), "; ".join([*([waits] if waits else []), *unknown]))


def _differing(what: str, there: set[Any], here: Any) -> list[str]:
    if not there:
        return [f"version of {what} not recorded there"]
    if there == {here}:
        return []
    return [f"{what} {', '.join(sorted(str(one) for one in there))} there, {here} here"]


def _clients(run: Run, client: str) -> set[Any]:
    """Versions of a client library, by the environment of each sitting."""
    sittings = run.data(FILE).get("sittings") or ()
    environments = [run.environment, *(sitting.get("environment") or {} for sitting in sittings)]
    return {(one.get("clients") or {}).get(client) for one in environments} - {None}


def _server(runs: Sequence[Run], variant: Json) -> Json | None:
    trials = (
        trial for run in runs for trial in run.trials if trial.get("server") and (trial.get("variant") or {}).get("id") == variant.get("id")
    )
    return next((trial["server"] for trial in trials), None)


def mode_name(cell: Json) -> str:
    """A cell's mode, with what its server is asked to be where that is not the default: "acks-all, nodes=3"."""
    variant = _named(cell.get("spec"), cell.get("system"))
    options = variant.server_options if variant else {}
    name = str(cell["mode"]["name"])  # has what tells it from others of its run already
    return ", ".join([name, *(f"{key}={value}" for key, value in options.items() if f"{key}={value}" not in name.split(", "))])


def _named(text: Any, system: Any) -> spec.Variant | None:
    """A SPEC read; None for what is none."""
    try:
        return spec.parse(str(text), names=(str(system),))
    except UsageError:
        return None


def _kind(variant: spec.Variant) -> tuple[str, str, Mapping[str, str]]:
    return variant.server_kind, variant.server_address, variant.server_options


def _without(settings: Mapping[str, str], aside: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in settings.items() if key not in aside}


def _timers(ours: spec.Variant, theirs: spec.Variant) -> str:
    other = [f"{key}={value}" for key, value in theirs.settings.items() if ours.settings.get(key) != value]
    return f"under faults with {', '.join(other)}" if other else ""


def _counted(cell: Json) -> bool:
    return bool((cell.get("judged") or {}).get("n"))


def _evidence(match: _Match) -> Evidence:
    cell, judged = match.cell, match.cell["judged"]
    shares = judged.get("shares") or {}
    lost = shares.get("lost") or {"events": 0, "low": 0.0, "high": 1.0}
    return Evidence(
        fault=str(cell["fault"]),
        title=str(cell.get("title") or cell["fault"]),
        n=int(judged["n"]),
        lost=int(lost["events"]),
        low=float(lost["low"]),
        high=float(lost["high"]),
        duplicated=int((shares.get("duplicated") or {}).get("events") or 0),
        verdict=str(judged.get("verdict") or ""),
        observed=str(judged.get("observed") or ""),
        surprises=tuple(str(one) for one in judged.get("surprises") or ()),
        run=str(match.run.run["id"]),
        cell=str(cell.get("id") or ""),
        aside=match.aside,
    )
