"""What a trial with faults comes to: the counts of endpoints that were killed, and each injection with what the journals say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import pacing
from bench.account import SLICES
from bench.audit_injections import Injection, InjectionCount, by_injection
from bench.audit_sent import ConsumerSource, LaneOf, Source
from bench.faults.model import target_of
from bench.histogram import Histogram, pack
from bench.journal import ALL, CANARY, CORRUPT, Kind, read
from bench.session import Journal
from bench.workload import Workload

_SECOND = 1_000_000_000
_UNKNOWN = {"cpu_ns": None, "rss_b": None, "collections": None, "metered": None}


def of_killed(
    folder: Path, journal: Journal, start: int, *, trial: int, load: Workload, go_ns: int, first_id: int
) -> dict[str, Any]:  # fmt: skip
    """Return the report that an endpoint never gave, by its journal from record ``start`` on: counts; no latency, no usage."""
    rows = read(folder, journal.name, start).rows
    rows = rows[(rows["trial"] == trial) & (rows["flags"] & CANARY == 0)]
    if journal.role == "producer":
        return _of_producer(rows, journal, load, go_ns, first_id)
    return _of_consumer(rows, journal, load, go_ns)


def _of_producer(rows: npt.NDArray[np.void], journal: Journal, load: Workload, go_ns: int, first_id: int) -> dict[str, Any]:
    sent = _count(rows, rows["kind"] == Kind.ATTEMPT)
    copies = len(load.groups) if len(rows) and (rows["group"][rows["kind"] != Kind.ATTEMPT] != ALL).any() else 1
    confirmed = [_count(rows, (rows["kind"] == Kind.OK) & ((rows["group"] == ALL) | (rows["group"] == i))) for i in range(copies)]
    failed = _count(rows, rows["kind"] == Kind.FAIL)
    empty = pack(Histogram())
    return {
        "index": journal.number, "first_id": first_id, "planned": pacing.planned(load, journal.number), "sent": sent,
        "confirmed": min(confirmed), "confirmed_by_group": confirmed, "failed": failed,
        "indeterminate": max(0, sent * copies - sum(confirmed) - failed),
        "blocked_s": None, "late_outcomes": 0, "seconds": _seconds(rows[rows["kind"] == Kind.ATTEMPT], go_ns),
        "lateness": empty, "lateness_woken": empty, "lateness_blocked": empty, "publish": None, **_UNKNOWN,
    }  # fmt: skip


def _of_consumer(rows: npt.NDArray[np.void], journal: Journal, load: Workload, go_ns: int) -> dict[str, Any]:
    damaged = rows["flags"] & CORRUPT != 0
    done = rows[(rows["kind"] == Kind.PROCESSED) & ~damaged]
    start = go_ns + int(load.warmup_s * 1e9)
    length = int(load.measure_s * 1e9)
    inside = done[(done["t_last"] >= start) & (done["t_last"] < start + length)]
    places = (inside["t_last"] - start) * SLICES // length
    slices = np.bincount(places, weights=inside["count"], minlength=SLICES).astype(int).tolist()
    empty = pack(Histogram())
    return {
        "group": journal.group, "member": journal.number, "received": _count(done, slice(None)), "in_window": sum(slices),
        "corrupted": _count(rows, damaged), "foreign": 0, "late": 0, "seconds": _seconds(done, go_ns), "slices": slices,
        "thirds": [empty] * 3, "latency_seconds": [], "end_to_end_sent": empty, **_UNKNOWN,
    }  # fmt: skip


def _count(rows: npt.NDArray[np.void], chosen: Any) -> int:
    return int(rows["count"][chosen].sum(dtype=np.int64))


def _seconds(rows: npt.NDArray[np.void], go_ns: int) -> dict[int, int]:
    """Messages by whole seconds from go."""
    seconds: Counter[int] = Counter()
    for second, count in zip(((rows["t_last"] - go_ns) // _SECOND).tolist(), rows["count"].tolist(), strict=True):
        seconds[second] += count
    return dict(seconds)


def one_each(reports: Sequence[Mapping[str, Any]], names: Sequence[str], kept: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each endpoint, whatever number of processes it was: ``names`` say who, the rest of ``kept`` is added up.

    What one of the processes could not say is null.
    """
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for report in reports:
        who = tuple(report[name] for name in names)
        row = rows.get(who)
        if row is None:
            row = rows[who] = {name: report[name] for name in kept}
        else:
            for name in kept:
                if name not in names and name != "planned":
                    row[name] = None if row[name] is None or report[name] is None else row[name] + report[name]
        if "poison" in report:  # different messages of each process, so one that came to two of them counts twice
            before = row.get("poison", {})
            row["poison"] = {name: before.get(name, 0) + count for name, count in report["poison"].items()}
    return list(rows.values())


def injections(
    faults: Sequence[dict[str, Any]], senders: Sequence[Source], receivers: Sequence[ConsumerSource], *,
    trial: int, groups: Sequence[str], go_ns: int, lane_of: LaneOf, open_groups: Collection[str] = (),
) -> list[dict[str, Any]]:  # fmt: skip
    """Return "faults" of trial.json: ``faults`` with what the journals say of each that was injected, in the order of time.

    ``open_groups``: those of which nobody can say what is lost and what is only late or stuck: "lost" is null there.
    """
    rows = sorted(faults, key=lambda row: (row["injected_s"] is None, row["injected_s"] or 0.0))
    known = [row for row in rows if row["injected_s"] is not None]

    def ns(seconds: float | None) -> int | None:
        return None if seconds is None else go_ns + round(seconds * 1e9)

    times = [Injection(ns(row["injected_s"]) or 0, ns(row["healed_s"])) for row in known]
    found: dict[str, dict[int, InjectionCount]] = {}
    for name, places in _concerning(known, groups).items():
        own = by_injection(senders, receivers, trial=trial, groups=groups, injections=[times[i] for i in places], lane_of=lane_of)
        found[name] = dict(zip(places, own[name], strict=True))
    for i, row in enumerate(known):
        counts = {name: found[name][i] for name in groups if i in found[name]}
        hit = target_of(row["target"]).group  # another group says nothing of when this one is well again
        again = [one.first_after_ns for name, one in counts.items() if not hit or name == hit]
        row["recovered_s"] = None if None in again else (max(t for t in again if t is not None) - go_ns) / 1e9
        row["in_flight"] = {name: one.in_flight for name, one in counts.items()}
        row["counts"] = {name: _told(asdict(one)) | ({"lost": None} if name in open_groups else {}) for name, one in counts.items()}
    empty: dict[str, Any] = {"recovered_s": None, "in_flight": {}, "counts": {}}
    return [row if "counts" in row else row | empty for row in rows]


def _concerning(faults: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> dict[str, list[int]]:
    """Which of ``faults`` each group is counted by: what strikes another group's consumers is none of a group that has faults of its own.

    Without that, a loss in one of several groups whose consumers are killed in turn would go to the kill that came last. A group
    that nothing strikes of its own is counted by all: it may feel what others suffer (a producer that is blocked).
    """
    struck = [target_of(row["target"]).group for row in faults]
    everything = list(range(len(faults)))
    return {name: [i for i in everything if name not in struck or struck[i] in ("", name)] for name in groups}


def _told(counts: dict[str, Any]) -> dict[str, Any]:
    """Times of an injection's counts in seconds; the first after it is in recovered_s."""
    gaps = {"unavailable_to_producers_s": counts.pop("gap_ok_ns"), "unavailable_to_consumers_s": counts.pop("gap_processed_ns")}
    del counts["first_after_ns"], counts["in_flight"]
    return counts | {name: None if ns is None else ns / 1e9 for name, ns in gaps.items()}
