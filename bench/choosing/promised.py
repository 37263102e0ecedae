"""What a variant declares, as rules: what it excludes, and what is said of a promise that is needed and made (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.analysis.absence import Absence
from bench.analysis.summary import VariantPoint
from bench.choosing import broken, noticed, promises
from bench.choosing.answers import Condition, Rule
from bench.report import text
from bench.report.table import link

Json = Mapping[str, Any]

_FIELDS = {"late": "late_subscriber", "replay": "late_subscriber", "isolation": "slow_consumer", "persistence": "persistence"}
_LABELS = {"late": "late subscriber", "replay": "late subscriber", "isolation": "slow consumer", "persistence": "acknowledged"}
_ANOMALIES = {need: anomaly for anomaly, need in broken.BREAKS.items()}


def refused(variant: Json) -> Iterator[Rule]:
    """A rule for each promise and limit that is known: more than it is not to be had."""
    mode: Json = variant.get("mode") or {}
    for need, level in promises.levels(mode).items():
        if level is not None:
            yield Rule((Condition(need, ">", level, must=True),), f"does not promise it: {_declared(mode, need)}", source=_source(mode))
    if variant.get("fan_out") == "unsupported":
        yield Rule((Condition("groups", ">", 1, must=True),), "several groups that each get every message: unsupported")
    if variant.get("work_sharing") == "unsupported":
        yield Rule((Condition("members", ">", 1, must=True),), "consumers that share the work of a group: unsupported")
    most = variant.get("payload_bytes_max")
    if isinstance(most, int):
        yield Rule((Condition("payload_b", ">", most, must=True),), f"takes messages of up to {most:,} B")


def told(mode: Json, results: Sequence[VariantPoint], cells: Sequence[Json], absences: Sequence[Absence] = ()) -> tuple[Rule, ...]:
    """What is promised, and what was seen of it: said of a variant that has what is asked."""
    return tuple(
        Rule(
            (Condition(need, ">=", 1, must=True),),
            "; ".join([f"promised: {_declared(mode, need)}", *_seen(need, results, cells), *noticed.told(absences, need)]),
            source=_source(mode),
        )
        for need, level in promises.levels(mode).items()
        if level
    )


def _source(mode: Json) -> str:
    return link(str(mode.get("source") or ""))


def _declared(mode: Json, need: str) -> str:
    if need in ("lossless", "unrepeated"):
        return text.promise(str(mode.get("delivery")))
    if need == "order":
        return f"order: {mode.get('ordering')}"
    if need == "copies":
        return f"copies: {mode.get('copies')}"
    return f"{_LABELS[need]}: {mode.get(_FIELDS[need])}"


def _seen(need: str, results: Sequence[VariantPoint], cells: Sequence[Json]) -> tuple[str, ...]:
    """Of delivery and order: counts over every valid trial without faults, then over injections."""
    anomaly = _ANOMALIES.get(need)
    if anomaly is None:
        return ()
    calm = [r for r in results if not r.workload.get("faults") and r.valid]
    groups = [group for r in calm for group in r.audit]
    of = sum(g.counts.get("acknowledged") or g.counts.get("sent") or 0 for g in groups)
    if not of:
        return (broken.held(cells, anomaly),)
    count = sum(g.counts.get(anomaly) or 0 for g in groups)
    trials = sum(max((group.trials for group in r.audit), default=0) for r in calm)
    return f"{count:,} of {of:,} {broken.WORDS[anomaly]} in {text.many(trials, 'valid trial')} without faults", broken.held(cells, anomaly)
