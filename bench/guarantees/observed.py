"""From trial.json to injections: what each fault of a trial struck, and what of the audit belongs to it (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from bench.faults.model import target_of
from bench.guarantees.verdicts import ANOMALIES, Injection

Json = Mapping[str, Any]
COUNTED = (*ANOMALIES, "unknown", "recovered")


def injections(trial: Json) -> list[Injection]:
    """Those that a trial carried out, in its order; of a trial without faults one, which nothing was done to."""
    if trial["status"] != "ok":
        return []
    open_ = any(row["verdict"] == "undetermined" or row.get("undelivered") for row in trial["audit"].values())
    if not trial["workload"].get("faults"):
        sent = sum(row["sent"] for row in trial["audit"].values())
        return [Injection(trial["trial"], "", sent, counts=_totals(trial), undetermined=open_)]
    return [_injection(trial, fault, open_) for fault in trial.get("faults") or () if fault["injected_s"] is not None]


def rest(trial: Json) -> dict[str, int]:
    """Anomalies of a trial that belong to none of its injections: what came before the first, what nobody can date."""
    if trial["status"] != "ok":
        return {}
    left = Counter(_totals(trial))
    for one in injections(trial):
        left.subtract(one.counts)
    return {name: left[name] for name in COUNTED if left[name] > 0}


def timer(trial: Json, name: str) -> str:
    """The value in force of the setting that decides recovery, a client's or the server's; "" where there is none of that name."""
    sides = [*trial["variant"]["settings"].values(), (trial.get("server") or {}).get("settings") or {}]
    return ", ".join(sorted({str(side[name]) for side in sides if name in side}))


def _injection(trial: Json, fault: Json, open_: bool) -> Injection:
    groups = list(_struck(trial, fault))
    rows = [(fault.get("counts") or {}).get(group) or {} for group in groups]
    received = [row["received"] for row in rows if row.get("received") is not None]
    in_flight = sum((fault.get("in_flight") or {}).get(group) or 0 for group in groups)
    if target_of(fault["target"]).part == "server" and fault["fault"] != "network":
        in_flight = max(0, in_flight - sum(received))  # what a consumer has is not the server's to lose
    return Injection(
        trial=trial["trial"],
        target=fault["target"],
        in_flight=in_flight,
        at_risk=sum(received) if received else None,
        counts={name: sum(row.get(name) or 0 for row in rows) for name in COUNTED},
        recovery_s=_after(fault["healed_s"], fault["recovered_s"]),
        publish_gap_s=_longest(rows, "unavailable_to_producers_s"),
        deliver_gap_s=_longest(rows, "unavailable_to_consumers_s"),
        undetermined=open_,
    )


def _struck(trial: Json, fault: Json) -> Iterator[str]:
    """The groups that a fault could harm: one consumer's death is its own group's."""
    target = target_of(fault["target"])
    yield from [target.group] if target.part == "consumer" else trial["audit"]


def _after(healed_s: float | None, recovered_s: float | None) -> float | None:
    return None if healed_s is None or recovered_s is None else max(0.0, recovered_s - healed_s)


def _longest(rows: list[Json], name: str) -> float | None:
    known = [row[name] for row in rows if row.get(name) is not None]
    return max(known) if known else None


def _totals(trial: Json) -> dict[str, int]:
    return {name: sum(row.get(name) or 0 for row in trial["audit"].values()) for name in COUNTED}
