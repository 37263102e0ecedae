"""The accountant written a second time, with plain dicts and lists: it knows no journal, no range and no bitmap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.journal import ALL, CANARY, CORRUPT, REDELIVERED, REFUSED, Kind

ODD = CANARY | CORRUPT

Row = tuple[int, int, int, int, int, int]  # producer, epoch, lane, attempt, flags, sequence


@dataclass(frozen=True)
class Event:
    """One call of a writer: messages in order of arrival."""

    kind: Kind
    rows: tuple[Row, ...]
    trial: int = 1
    group: int = ALL
    t: int = 0
    positions: tuple[int, ...] = ()  # the broker's, of each row


@dataclass(frozen=True)
class Schedule:
    """What all writers wrote: events by producer's journal; by consumer's, with the index of its group; which were killed."""

    producers: Sequence[Sequence[Event]]
    consumers: Sequence[tuple[int, Sequence[Event]]]
    groups: int
    lane_of: Callable[[int, int], int]
    crashed: frozenset[tuple[str, int]] = frozenset()


def naive(schedule: Schedule, trial: int) -> list[dict[str, object]]:
    return [
        _group(
            _fates(schedule.producers, trial, group), [events for g, events in schedule.consumers if g == group], trial, schedule.lane_of
        )
        for group in range(schedule.groups)
    ]


def _fates(producers, trial, group):
    attempts, failed, said = defaultdict(set), defaultdict(set), defaultdict(set)
    for event in [event for events in producers for event in events if event.trial == trial and event.group in (ALL, group)]:
        for producer, epoch, _, attempt, flags, sequence in event.rows:
            if flags & CANARY:
                continue
            ident = (producer, epoch, sequence)
            said[ident].add(event.kind)
            if event.kind == Kind.ATTEMPT:
                attempts[ident].add(attempt)
            if event.kind == Kind.FAIL:
                failed[ident].add(attempt)
    return {ident: _fate(kinds, attempts[ident] - failed[ident]) for ident, kinds in said.items()}


def _fate(kinds, open_attempts):
    if Kind.OK in kinds:
        return "ok"
    return "info" if Kind.INFO in kinds or open_attempts else "fail"


def _deliveries(members, trial):
    """(time, member, place of its event, place in it, row, position or None), as they came."""
    merged = []
    for member, events in enumerate(members):
        clock = None
        for place, event in enumerate(events):
            if event.kind != Kind.PROCESSED or event.trial != trial:
                continue
            clock = event.t if clock is None else max(clock, event.t)
            positions = event.positions or (None,) * len(event.rows)
            rows = enumerate(zip(event.rows, positions, strict=True))
            merged.extend((clock, member, place, i, row, position) for i, (row, position) in rows if not row[4] & ODD)
    return sorted(merged, key=lambda one: one[:4])


def _ident(row):
    return row[0], row[1], row[5]


def _ends(members, trial):
    """Where messages ended other than processed; dead-lettered outweighs expired, and both outweigh refused."""
    found = {"refused": set(), "expired": set(), "dead-lettered": set()}
    for event in [event for events in members for event in events if event.trial == trial]:
        for row in event.rows:
            refused = event.kind == Kind.RECEIVED and row[4] & REFUSED
            name = "refused" if refused else {Kind.DEAD: "dead-lettered", Kind.EXPIRED: "expired"}.get(event.kind)
            if name and not row[4] & ODD:
                found[name].add(_ident(row))
    return {ident: name for name, idents in found.items() for ident in idents}


def _cause(before, attempt, position, flags):
    """Why a message came again that had come ``before``."""
    positions = [known for _, known in before]
    if attempt not in [known for known, _ in before]:
        return "retried"
    if position is not None and position in positions:
        return "redelivered"
    if position is not None and None not in positions:
        return "duplicate_writes"
    return "redelivered" if flags & REDELIVERED else "cause_unknown"


def _group(fates, members, trial, lane_of):
    seen, strays, highest, duplicates = set(), set(), {}, []
    reordered = worst = 0
    before, causes, misplaced = defaultdict(list), [], set()
    for _, member, _, _, (producer, epoch, lane, attempt, flags, sequence), position in _deliveries(members, trial):
        ident = (producer, epoch, sequence)
        if ident not in fates:
            strays.add(ident)
            continue
        scope = (member, producer, epoch, lane)
        if ident in seen:
            duplicates.append(ident)
            causes.append(_cause(before[ident], attempt, position, flags))
        else:
            seen.add(ident)
            if highest.get(scope, -1) > sequence:
                reordered += 1
                misplaced.add(ident)
                worst = max(worst, highest[scope] - sequence)
        highest[scope] = max(highest.get(scope, -1), sequence)
        before[ident].append((attempt, position))
    ends = _ends(members, trial)
    lost = sorted(ident for ident, fate in fates.items() if fate == "ok" and ident not in seen and ident not in ends)
    where = {"prefix": 0, "middle": 0, "tail": 0}
    for producer, epoch, sequence in lost:
        lane = lane_of(producer, sequence)
        done = [s for p, e, s in seen if (p, e) == (producer, epoch) and lane_of(p, s) == lane]
        where["prefix" if not done or sequence < min(done) else "tail" if sequence > max(done) else "middle"] += 1
    arrived = [(event, row) for events in members for event in events for row in event.rows if not row[4] & CANARY]
    damaged = [event for event, row in arrived if row[4] & CORRUPT and event.kind in (Kind.RECEIVED, Kind.PROCESSED)]
    late = [event for event, row in arrived if event.kind == Kind.PROCESSED and event.trial != trial and not row[4] & ODD]
    received = {_ident(row) for event, row in arrived if event.kind == Kind.RECEIVED and event.trial == trial and not row[4] & ODD}
    ended = [ends[ident] for ident in fates if ident in ends and ident not in seen]
    unknown = [ident for ident, fate in fates.items() if fate == "info" and ident not in seen and ident not in ends]
    return {
        "sent": len(fates),
        "acknowledged": sum(fate == "ok" for fate in fates.values()),
        "processed": len(seen),
        "lost": len(lost),
        "lost_where": where,
        "dead_lettered": ended.count("dead-lettered"),
        "expired": ended.count("expired"),
        "refused": ended.count("refused"),
        "received_only": sum(ident in fates and ident not in seen for ident in received),
        "duplicated": len(duplicates),
        **{name: causes.count(name) for name in ("redelivered", "duplicate_writes", "retried", "cause_unknown")},
        "reordered": reordered,
        "reordered_max": worst,
        "corrupted": len(damaged),
        "unexpected": len(strays),
        "unknown": len(unknown),
        "recovered": sum(fate == "info" and ident in seen for ident, fate in fates.items()),
        "failed_delivered": sum(fate == "fail" and ident in seen for ident, fate in fates.items()),
        "late": len(late),
        "lost_ids": tuple(lost[:20]),
        "duplicated_ids": tuple(sorted(set(duplicates))[:20]),
        "reordered_ids": tuple(sorted(misplaced)[:20]),
        "unknown_ids": tuple(sorted(unknown)[:20]),
    }
