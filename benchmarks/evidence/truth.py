"""Whether what a run's journals and trials say did happen, by the fake server's own log: for a run of which parts were killed.

The fake server keeps nothing and repeats nothing, and a connection keeps order. So whatever was killed: what is acknowledged was
answered; what is processed are the first of the deliveries that left; what is lost was answered and is not among them; and nothing is
repeated, out of order, damaged or from nowhere. The log survives a kill of the server (bench.calibration.log).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.base import Status
from bench.audit import ConsumerSource, Source, audit
from bench.calibration import log
from bench.calibration.adapter import SYSTEM
from bench.journal import CANARY, CORRUPT, Kind, read

Ident = tuple[int, int]
"""(producer, sequence): no endpoint is started twice within a trial here, so there is one epoch."""

NEVER = ("duplicated", "redelivered", "reordered", "corrupted", "unexpected", "failed_delivered")
"""Counts of an audit that are 0 whatever is killed. ("late" is of a trial's part of a journal, which only trial.json knows.)"""
_JOURNAL = re.compile(r"(?P<session>\d+)-(?P<variant>.+)-(?P<role>producer|consumer)-(?:(?P<group>.+)-)?(?P<number>\d+)")


@dataclass
class Happened:
    """One trial, as the server's log has it. Deliveries in the order in which they left, by group."""

    arrived: set[Ident] = field(default_factory=set)
    confirmed: set[Ident] = field(default_factory=set)
    delivered: dict[int, list[Ident]] = field(default_factory=lambda: defaultdict(list))


@dataclass
class Said:
    """One trial, as the journals have it. Deliveries in the order in which they were processed, by group."""

    attempted: set[Ident] = field(default_factory=set)
    acknowledged: set[Ident] = field(default_factory=set)
    processed: dict[int, list[Ident]] = field(default_factory=lambda: defaultdict(list))
    corrupted: int = 0


@dataclass(frozen=True)
class Journals:
    """The journals of one variant, of all of its sessions."""

    producers: tuple[Source, ...]
    consumers: tuple[ConsumerSource, ...]


def journals(run: Path, variant: str, groups: Sequence[str]) -> Journals:
    """Find a variant's journals in a run's folder; those of a killed endpoint too."""
    producers: list[Source] = []
    consumers: list[ConsumerSource] = []
    folder = run / "evidence"
    for path in sorted(folder.glob("*.rec.0000")):
        name = path.name.removesuffix(".rec.0000")
        match = _JOURNAL.fullmatch(name)
        if match is None or match["variant"] != variant:
            continue
        if match["role"] == "producer":
            producers.append(Source(folder, name))
        else:
            consumers.append(ConsumerSource(folder, name, group=groups.index(match["group"]), member=int(match["number"])))
    return Journals(tuple(producers), tuple(consumers))


def happened(run: Path) -> dict[int, Happened]:
    """All trials by number, from the logs of every server that was started."""
    found: dict[int, Happened] = defaultdict(Happened)
    for folder in sorted((run / "servers").glob(f"{SYSTEM}*/log")):
        if not (folder / "deliveries.log").exists():  # it was killed before it had begun
            continue
        logs = log.read(folder)
        for row in logs["arrivals"]:
            found[int(row["trial"])].arrived.add((int(row["producer"]), int(row["sequence"])))
        for row in logs["answers"]:
            if row["status"] == Status.CONFIRMED:
                found[int(row["trial"])].confirmed.add((int(row["producer"]), int(row["sequence"])))
        for row in logs["deliveries"]:
            if not row["what"]:  # neither a canary nor to nobody
                found[int(row["trial"])].delivered[int(row["group"])].append((int(row["producer"]), int(row["sequence"])))
    return found


def said(held: Journals) -> dict[int, Said]:
    """All trials by number, record by record: a second reading beside bench.audit's."""
    found: dict[int, Said] = defaultdict(Said)
    for source in (*held.producers, *held.consumers):
        records = read(source.folder, source.name)
        for i, row in enumerate(records.rows):
            trial = found[int(row["trial"])]
            if row["flags"] & CORRUPT:
                trial.corrupted += int(row["count"])
            if row["flags"] & (CORRUPT | CANARY) or row["kind"] not in (Kind.ATTEMPT, Kind.OK, Kind.PROCESSED):
                continue
            idents = [(int(row["producer"]), sequence) for sequence in records.sequences(i).tolist()]
            if row["kind"] == Kind.ATTEMPT:
                trial.attempted.update(idents)
            elif row["kind"] == Kind.OK:
                trial.acknowledged.update(idents)
            else:
                trial.processed[int(row["group"])] += idents
    return found


def untrue(run: Path, groups: Sequence[str], trials: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is said of the fake server's trials and did not happen, in words; ``trials``: those that are on disk, of any system."""
    held = journals(run, SYSTEM, groups)
    by_log, by_journals = happened(run), said(held)
    wrong = []
    for number in sorted(by_log.keys() | by_journals.keys()):
        told = [*_of_journals(by_journals[number], by_log[number], groups), *_of_audit(held, number, by_journals[number], groups)]
        wrong += [f"trial {number}: {text}" for text in told]
    for trial in trials:
        if trial["variant"]["system"] == SYSTEM and trial["status"] == "ok":
            wrong += [f"trial {trial['trial']}: {text}" for text in _of_trial(trial, by_log[trial["trial"]], groups)]
    return wrong


def _of_journals(says: Said, did: Happened, groups: Sequence[str]) -> list[str]:
    wrong = []
    if says.acknowledged - did.confirmed:
        wrong.append(f"{len(says.acknowledged - did.confirmed)} acknowledged that were not answered")
    if did.arrived - says.attempted:
        wrong.append(f"{len(did.arrived - says.attempted)} arrived that were never attempted")
    if says.corrupted:
        wrong.append(f"{says.corrupted} corrupted")
    for index, group in enumerate(groups):
        processed, left = says.processed[index], did.delivered[index]
        if processed != left[: len(processed)]:
            wrong.append(f"{group}: what was processed are not the first {len(processed)} of {len(left)} deliveries")
    return wrong


def _of_audit(held: Journals, number: int, says: Said, groups: Sequence[str]) -> list[str]:
    """The accountant's word on the same journals: it may not say more than that what its consumer did not live to process is lost."""
    wrong = []
    for index, (group, account) in enumerate(audit(held.producers, held.consumers, trial=number, groups=groups).items()):
        processed = set(says.processed[index])
        truth = {
            "sent": len(says.attempted), "acknowledged": len(says.acknowledged), "processed": len(processed),
            "lost": len(says.acknowledged - processed), **dict.fromkeys(NEVER, 0),
        }  # fmt: skip
        wrong += [
            f"{group}: {name} {getattr(account, name)}, not {count}" for name, count in truth.items() if getattr(account, name) != count
        ]
    return wrong


def _of_trial(trial: Mapping[str, Any], did: Happened, groups: Sequence[str]) -> list[str]:
    """A whole trial: its audit is the log's."""
    wrong = []
    for index, group in enumerate(groups):
        truth = {
            "sent": len(did.arrived), "acknowledged": len(did.confirmed), "processed": len(did.delivered[index]), "lost": 0,
            "late": 0, **dict.fromkeys(NEVER, 0),
        }  # fmt: skip
        row = trial["audit"][group]
        wrong += [f"{group}: {name} {row[name]}, not {count}" for name, count in truth.items() if row[name] != count]
    return wrong
