"""Promises that these results saw broken, in speed runs and under faults, and what held under faults (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.analysis.summary import VariantPoint
from bench.choosing import promises
from bench.choosing.answers import Condition, Rule
from bench.guarantees.named import BASELINE
from bench.report import losses, text

Json = Mapping[str, Any]

BREAKS = {"lost": "lossless", "duplicated": "unrepeated", "reordered": "order"}
"""The need that an anomaly breaks; any other (damaged, from nowhere, failed and yet delivered) breaks all three."""
WORDS = {"lost": "lost", "duplicated": "repeated", "reordered": "out of order", "corrupted": "damaged", "unexpected": "from nowhere"}
BROKEN = "promise broken"
_OTHERS = ("corrupted", "unexpected", "failed_delivered")
NO_SPEED = tuple(Condition(need, "unasked") for need in ("rate", "p99_ns", "payload_b", "groups", "members"))


def in_trials(results: Sequence[VariantPoint]) -> Iterator[Rule]:
    """Violations that the audit of a run found, whether or not the trial's speed counts."""
    for result in results:
        for group in (g for g in result.audit if g.verdict == "violated"):
            found = {name: group.counts.get(name) or 0 for name in (*BREAKS, *_OTHERS)}
            seen = [f"{count:,} {WORDS.get(name, name.replace('_', ' '))}" for name, count in found.items() if count]
            of = group.counts.get("acknowledged") or group.counts.get("sent")
            where = f"{text.point_name(result.point)}, group {group.group}"
            told = f"{', '.join(seen) or 'the promise broken'}{f' of {of:,}' if of else ''} in {text.many(group.trials, 'trial')}"
            server = f" (on {(result.server or {}).get('product')}, an emulator)" if result.emulator else ""
            under = "under faults" if result.workload.get("faults") else "without a fault"
            yield from _rules(found, f"{BROKEN} {under}: {where}: {told}{server}", result.numbers)


def under_faults(cells: Sequence[Json]) -> Iterator[Rule]:
    """Cells of guarantees.json that are violated."""
    for cell in cells:
        judged = cell.get("judged") or {}
        if judged.get("verdict") != "violated":
            continue
        counts, said = judged.get("counts") or {}, " ".join(str(one) for one in judged.get("violations") or ())
        found = {name: counts.get(name) or 0 for name in (*BREAKS, *_OTHERS) if name in said or name in _OTHERS}
        lost = (judged.get("shares") or {}).get("lost") or {}
        ends = f"{text.percent(lost['low'])} to {text.percent(lost['high'])}" if lost.get("events") else ""
        share = f", a loss in {lost['events']} of them ({ends})" if ends else ""
        words = f"{BROKEN} under {cell.get('fault')}: {said} in {text.many(int(judged.get('n') or 0), 'injection')}{share}"
        yield from _rules(found, words, tuple(n for n in cell.get("trials") or () if isinstance(n, int)))


def _rules(found: Mapping[str, int], words: str, trials: tuple[int, ...]) -> Iterator[Rule]:
    needs = {BREAKS[name] for name, count in found.items() if count and name in BREAKS}
    if any(found.get(name) for name in _OTHERS) or not needs:
        needs = set(BREAKS.values())
    for need in sorted(needs):
        yield Rule((Condition(need, ">=", 1, must=True),), words, trials=trials)


def held(cells: Sequence[Json], anomaly: str) -> str:
    """No loss (or repeat) in how many injections of which faults; what faults no cell tried is not said to hold."""
    good = []
    for cell in cells:
        judged = cell.get("judged") or {}
        share = (judged.get("shares") or {}).get(anomaly)
        if share and share.get("n") and not share.get("events") and cell.get("fault") != BASELINE:
            good.append(f"{share['n']} {cell.get('fault')} ({losses.bound(share['high'])})")
    what = {"lost": "no acknowledged message lost", "duplicated": "no repeat", "reordered": "none out of order"}[anomaly]
    return f"under faults: {what} in {', '.join(good)}" if good else "under faults: not tried in these results"


def nothing(mode: Json, cells: Sequence[Json]) -> Iterator[Rule]:
    """What cells without a violation show of a variant whose speed no result has: that it works, and no more."""
    tried = [cell for cell in cells if (cell.get("judged") or {}).get("verdict") == "no violation"]
    if tried:
        told = ", ".join(f"{cell['judged'].get('n')} {cell.get('fault')}" for cell in tried)
        trials = tuple(n for cell in tried for n in cell.get("trials") or () if isinstance(n, int))
        name = "a run of guarantees; no speed was measured"
        order = Condition("order", "<=", promises.order(mode, {}) or 0)
        yield Rule((*NO_SPEED, order), f"{name}: no violation in injections: {told}", name, trials=trials)
