"""The life of one message of a trial, from the journals: attempted, answered, received, processed, by whom and when; and the faults around.

What trial.json names as lost, repeated, out of order or unknown can be asked for, and any message by its identity. Times are seconds
from the start of the trial's load, as everywhere in trial.json.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pyroaring import BitMap64

from bench import store
from bench.audit_repeats import told_apart
from bench.errors import UsageError
from bench.journal import ALL, CANARY, CORRUPT, REDELIVERED, REFUSED, Form, Kind, Records, read, segment_path

Json = Mapping[str, Any]
_ODD = (("lost_ids", "lost"), ("duplicated_ids", "repeated"), ("reordered_ids", "out of order"), ("unknown_ids", "unknown"))
"""Where trial.json names messages, in the order in which one is looked for."""
_WORDS = {
    Kind.ATTEMPT: "attempted", Kind.OK: "acknowledged", Kind.FAIL: "failed", Kind.INFO: "indeterminate", Kind.RECEIVED: "received",
    Kind.PROCESSED: "processed", Kind.ACKED: "acknowledged to the broker", Kind.DEAD: "found among the dead letters",
    Kind.EXPIRED: "found among the expired",
}  # fmt: skip
_OUT, _WROTE = "out.", "found in the output, written at this time"  # the journal of what consumers wrote (bench.outputs)
_CAUSES = {
    "retried": "because the application sent it again",
    "redelivered": "from one write, delivered again by the broker",
    "duplicate_writes": "from another write, at a position of its own",
    "cause_unknown": "for a reason not known: the broker gave no position and no flag",
}


class Ident(NamedTuple):
    """Which message: as trial.json names it."""

    producer: int
    epoch: int
    sequence: int

    @classmethod
    def parse(cls, text: str) -> Ident:
        """Read "0:0:499"; UsageError says what is right."""
        if not re.fullmatch(r"\d+:\d+:\d+", text):
            raise UsageError(f"--message {text}: should be PRODUCER:EPOCH:SEQUENCE, such as 0:0:499 (trial.json names some as [0, 0, 499])")
        return cls(*map(int, text.split(":")))

    def __str__(self) -> str:
        return f"{self.producer}:{self.epoch}:{self.sequence}"


@dataclass(frozen=True)
class Moment:
    """Something that happened to the message, or around it."""

    t_s: float
    who: str
    what: str
    group: str | None = None  # None: holds for every group
    attempt: int | None = None
    position: int | None = None
    redelivered: bool = False


@dataclass
class Life:
    """What is known of one message. ``said``: a sentence for each group."""

    run: str
    trial: int
    message: Ident
    why: str  # "lost", ... as trial.json names it; "asked for"
    moments: list[Moment] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"message": self.message._asdict()}


class _Record(NamedTuple):
    """One record that holds the message."""

    t_ns: int
    who: str
    records: Records
    place: int
    offset: int  # of the message in it

    @property
    def row(self) -> Any:
        return self.records.rows[self.place]


def explain(run: store.Run, number: int, message: str | None = None) -> Life:
    """The life of ``message`` ("0:0:499") in trial ``number``; None: of the first that trial.json names as lost, else repeated, ...

    UsageError where there is no such trial, no evidence, no such message, or nothing odd to choose.
    """
    trial = next((one for one in run.trials if one["trial"] == number), None)
    if trial is None:
        known = [one["trial"] for one in run.trials]
        told = f"its trials are {known[0]} to {known[-1]}" if known else "it has none"
        raise UsageError(f"{run.folder}: no trial {number}; {told}")
    if not trial.get("evidence"):
        raise UsageError(
            f"{run.folder}: trial {number} has no journals: {trial.get('status')}, {trial.get('reason') or 'nothing was measured'}"
        )
    folder = run.folder / "evidence"
    if not folder.is_dir():
        told = "committed references leave the journals out, so ask where it was measured"
        raise UsageError(f"{folder} is not there: {told}")
    if run.run.get("kind") == "guarantees" and not any(segment_path(folder, part["name"], "rec", 0).exists() for part in trial["evidence"]):
        told = "`brokerbench guarantees` keeps those of trials with a surprise, undetermined and failed ones; --keep-evidence keeps all"
        raise UsageError(f"{folder}: the journals of trial {number} were removed, as nothing in it surprised: {told}")
    ident, why = (Ident.parse(message), "asked for") if message is not None else _first_odd(trial, number)
    found = sorted(_records(trial, folder, ident), key=lambda one: one.t_ns)
    if not found:
        raise UsageError(f"message {ident}: nobody in trial {number} attempted or received it")
    life = Life(str(run.run.get("id")), number, ident, why)
    groups = list(trial["workload"]["groups"])
    life.moments = sorted([*_moments(found, trial, groups), *_around(found, trial)], key=lambda one: one.t_s)
    life.said = {name: _Judge(trial, found, index, name, ident).said() for index, name in enumerate(groups)}
    return life


def _first_odd(trial: Json, number: int) -> tuple[Ident, str]:
    for key, why in _ODD:
        for account in trial["audit"].values():
            if account.get(key):
                open_ = key == "lost_ids" and account.get("undelivered")
                return Ident(*account[key][0]), "not delivered when the drain ended" if open_ else why
    raise UsageError(f"trial {number}: nothing in it is lost, repeated, out of order or unknown; name a message: --message 0:0:499")


def _records(trial: Json, folder: Path, ident: Ident) -> Iterator[_Record]:
    for part in trial["evidence"]:
        records = read(folder, part["name"], part["from"], part["to"])
        rows = records.rows
        mine = (rows["trial"] == trial["trial"]) & (rows["producer"] == ident.producer) & (rows["epoch"] == ident.epoch)
        mine &= (rows["kind"] != Kind.MARK) & (rows["flags"] & (CANARY | CORRUPT) == 0) & (rows["first"] <= ident.sequence)
        # Of a dense range the end is known; the others are looked into.
        mine &= (rows["form"] != Form.RANGE) | (ident.sequence - rows["first"] < rows["count"].astype(np.uint64) * rows["stride"])
        who = part.get("of") or _who(part["name"], trial)
        for place in np.flatnonzero(mine).tolist():
            row = rows[place]
            for offset in np.flatnonzero(records.sequences(place) == ident.sequence).tolist():
                yield _Record(int(row["t_first"] if row["kind"] <= Kind.INFO else row["t_last"]), who, records, place, offset)


def _who(name: str, trial: Json) -> str:
    """Whose journal this is, by its name: "007-kafka-consumer-inventory-0" is consumer.inventory.0's."""
    groups = "|".join(map(re.escape, trial["workload"]["groups"]))
    found = re.search(rf"(?:(producer)|(consumer)-({groups}))-(\d+)(?:-e\d+)?$|(dead|out)-({groups})$", name)
    return ".".join(part for part in found.groups() if part) if found else name


def _moments(found: Sequence[_Record], trial: Json, groups: Sequence[str]) -> Iterator[Moment]:
    for one in found:
        row = one.row
        positions = one.records.positions(one.place)
        sends = row["kind"] <= Kind.INFO
        yield Moment(
            (one.t_ns - trial["go_ns"]) / 1e9, one.who, _WROTE if one.who.startswith(_OUT) else _WORDS[Kind(row["kind"])],
            group=None if row["group"] == ALL else groups[int(row["group"])], attempt=int(row["attempt"]),
            position=None if positions is None or sends else int(positions[one.offset]), redelivered=bool(row["flags"] & REDELIVERED),
        )  # fmt: skip


def _around(found: Sequence[_Record], trial: Json) -> Iterator[Moment]:
    """Faults, all of them; and what happened to connections within a second of what happened to the message."""
    for fault in trial.get("faults") or ():
        for key, what in (("injected_s", "injected"), ("healed_s", "healed")):
            if fault.get(key) is not None:
                yield Moment(fault[key], fault["target"], f"fault {fault['fault']} {what}")
    low, high = ((t_ns - trial["go_ns"]) / 1e9 for t_ns in (found[0].t_ns, found[-1].t_ns))
    for event in trial.get("events") or ():
        if low - 1 <= event["t_s"] <= high + 1:
            yield Moment(event["t_s"], event["who"], f"{event['kind']} {event['detail']}".strip())


class _Fault(NamedTuple):
    begun_ns: int
    over_ns: int | None
    name: str


class _Judge:
    """Says in one sentence what became of a message for one group."""

    def __init__(self, trial: Json, found: Sequence[_Record], index: int, name: str, ident: Ident) -> None:
        self._trial, self._ident, self._name = trial, ident, name
        self._account: Json = trial["audit"].get(name, {})
        self._go_ns = trial["go_ns"]
        self._own = [one for one in found if one.row["group"] in (ALL, index)]
        outputs = {_who(part["name"], trial) for part in trial["evidence"]} & {f"{_OUT}{name}"}  # where there are some, they are judged
        self._processed = [one for one in self._of(Kind.PROCESSED) if not outputs or one.who in outputs]
        begun = self._of(Kind.ATTEMPT)
        self._sent_ns = begun[0].t_ns if begun else None

    def _of(self, *kinds: Kind) -> list[_Record]:
        return [one for one in self._own if one.row["kind"] in kinds]

    def said(self) -> str:
        """The sentence."""
        if self._sent_ns is None:
            return "unexpected: delivered, and nobody in this trial attempted it." if self._processed else "not attempted for this group."
        if not self._processed:
            return self._not_processed(self._sent_ns)
        if len(self._processed) > 1:
            return self._again()
        when = f"processed once by {self._processed[0].who}, {_span(self._processed[0].t_ns - self._sent_ns)} after it was sent"
        if self._fate() == "fail":
            return f"{when}, though the producer was told that it had failed."
        if list(self._ident) in [list(one) for one in self._account.get("reordered_ids", ())]:
            first = self._processed[0]
            return f"out of order: {when}, when {first.who} had had later ones of its lane{self._before(first.t_ns)}."
        if self._fate() == "info":
            return f"recovered: nobody said what became of it, yet it was {when}{self._near(self._sent_ns)}."
        return f"{when}: nothing odd."

    def _fate(self) -> str:
        """As the accountant decides it (bench.audit)."""
        if self._of(Kind.OK):
            return "ok"
        attempts, failed = ({int(one.row["attempt"]) for one in self._of(kind)} for kind in (Kind.ATTEMPT, Kind.FAIL))
        return "fail" if failed and not self._of(Kind.INFO) and attempts <= failed else "info"

    def _not_processed(self, sent_ns: int) -> str:
        ended = self._of(Kind.DEAD, Kind.EXPIRED)
        if ended:
            where = _WORDS[Kind(ended[0].row["kind"])]
            return f"given up by the broker, {where} {_span(ended[0].t_ns - sent_ns)} after it was sent; not a loss."
        if self._fate() == "fail":
            return "refused, and never processed: nothing odd."
        received = self._of(Kind.RECEIVED)
        if received and received[-1].row["flags"] & REFUSED:
            return f"given back on purpose by {received[-1].who} (poison), and never processed; not a loss by the system."
        held = f"; {received[-1].who} had received it {_span(received[-1].t_ns - sent_ns)} after it was sent" if received else ""
        when = received[-1].t_ns if received else sent_ns
        if self._fate() == "info":
            return f"unknown: nobody said what became of it, and it was never processed{held}{self._near(when)}. Not counted as lost."
        account = self._account
        word = self._missing()
        told = f"acknowledged {_span(self._of(Kind.OK)[0].t_ns - sent_ns)} after it was sent and never processed{held}{self._near(when)}"
        meant = f" Acknowledged means: {account['persistence']}, copies: {account['copies']}." if "persistence" in account else ""
        return f"{word}: {told}.{meant}"

    def _missing(self) -> str:
        """What an acknowledged message is that was never processed."""
        account = self._account
        if not account.get("undelivered"):
            return "lost"
        held = ((self._trial.get("depth") or {}).get(self._name) or (None, None))[1]
        if not held:
            return "not there when the drain's deadline passed"
        either = "lost or, as others of its group are," if account.get("lost") else "not lost and not delivered:"
        return f"{either} held by the broker still, which had {held:,} messages for this group"

    def _again(self) -> str:
        processed, ident = self._processed, self._ident
        rows, repeated = np.array([one.row for one in processed]), BitMap64([ident.sequence])
        causes = told_apart(rows, lambda i: processed[i].records.sequences(processed[i].place), {(ident.producer, ident.epoch): repeated})
        told = ", ".join(f"{count} x {_CAUSES[name]}" for name in _CAUSES if (count := getattr(causes, name)))
        last = self._processed[-1]
        who = f"by {self._processed[0].who}, at last by {last.who} {_span(last.t_ns - self._processed[0].t_ns)} later"
        return f"processed {len(self._processed)} times: first {who} ({told}){self._before(last.t_ns, processed[-2].t_ns)}."

    # ---- which fault

    def _faults(self) -> list[_Fault]:
        """Those that were injected, in order."""
        found = []
        for one in self._trial.get("faults") or ():
            begun, over = (None if one.get(key) is None else self._go_ns + int(one[key] * 1e9) for key in ("injected_s", "healed_s"))
            if begun is not None:
                found.append(_Fault(begun, over, f"{one['fault']} {one['target']}"))
        return sorted(found, key=lambda one: one.begun_ns)

    def _near(self, t_ns: int) -> str:
        """The fault that was on at a time, else the next."""
        for begun, over, name in self._faults():
            if begun <= t_ns and (over is None or t_ns <= over):
                return f"; at that time {name} was on, for {_span(t_ns - begun)}"
            if begun > t_ns:
                return f"; {name} came {_span(begun - t_ns)} after that"
        return ""

    def _before(self, t_ns: int, since_ns: int | None = None) -> str:
        """The first fault since another time (as bench.audit_repeats has it), else the latest before this one."""
        past = [one for one in self._faults() if one.begun_ns <= t_ns]
        since = [one for one in past if since_ns is not None and one.begun_ns > since_ns]
        if not past:
            return ""
        fault = since[0] if since else past[-1]
        return f"; {fault.name} came {_span(t_ns - fault.begun_ns)} before that"


def _span(ns: int) -> str:
    """A time for people: "850 us", "12.3 ms", "4.56 s"."""
    if abs(ns) >= 1_000_000_000:
        return f"{ns / 1e9:.2f} s"
    return f"{ns / 1e6:.1f} ms" if abs(ns) >= 1_000_000 else f"{ns / 1e3:.0f} us"


def as_text(life: Life) -> str:
    """The timeline and the sentences, for a terminal."""
    lines = [f"message {life.message} of trial {life.trial}, {life.run}: {life.why}", ""]
    for one in life.moments:
        more = [f"group {one.group}"] if one.group is not None else []
        more += [f"attempt {one.attempt}"] if one.attempt else []
        more += [f"position {one.position}"] if one.position is not None else []
        more += ["marked as redelivered"] if one.redelivered else []
        lines.append(f"{one.t_s:>12.6f} s  {one.who:<24} {one.what}" + (f" ({', '.join(more)})" if more else ""))
    return "\n".join([*lines, "", *(f"{group}: {said}" for group, said in life.said.items())])


def main(args: argparse.Namespace) -> int:
    """The verb."""
    life = explain(store.open_run(store.find(args.results, args.run)), args.trial, args.message)
    print(json.dumps(life.as_json(), indent=1) if args.json else as_text(life))
    return 0
