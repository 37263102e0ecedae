"""bench.audit_injections written a second time, message by message, from events."""

from __future__ import annotations

import itertools
from collections import defaultdict

from naive_audit import ODD, _deliveries, _ends, _fates, _ident

from bench.journal import ALL, CANARY, Kind


def naive_by_injection(schedule, trial, injections):
    return [_Group(schedule, trial, group, injections).counts() for group in range(schedule.groups)]


class _Group:
    def __init__(self, schedule, trial, group, injections):
        producers, consumers = schedule.producers, schedule.consumers
        self.injections = injections
        self.members = members = [events for g, events in consumers if g == group]
        self.fates, self.ends = _fates(producers, trial, group), _ends(members, trial)
        said = [event for events in producers for event in events if event.trial == trial and event.group in (ALL, group)]
        self.said = [(event, row) for event in said for row in event.rows if not row[4] & CANARY]
        got = [event for events in members for event in events if event.trial == trial]
        self.got = [(event, row) for event in got for row in event.rows if not row[4] & ODD]
        self.merged = _deliveries(members, trial)
        self.said_of, self.got_of = _by_message(self.said), _by_message(self.got)

    def times(self, pairs, kind):
        return sorted(event.t for event, _ in pairs if event.kind == kind)

    def counts(self):
        processed, attempts = self.times(self.got, Kind.PROCESSED), self.times(self.said, Kind.ATTEMPT)
        confirmed = self.times(self.said, Kind.OK)
        again = [next((t for t in processed if heal is not None and t >= heal), None) for _, heal in self.injections]
        owners = {ident: self.owner(ident, again) for ident in self.fates}
        seen = {_ident(row) for event, row in self.got if event.kind == Kind.PROCESSED}
        repeats = self.repeats()
        counts = []
        for i, (begin, _) in enumerate(self.injections):
            mine = [ident for ident, owner in owners.items() if owner == i]
            open_ = [ident for ident in mine if ident not in seen and ident not in self.ends]
            flying = [ident for ident in self.fates if self.flies(ident, begin, i, owners, seen)]
            taken = {_ident(row) for event, row in self.got if event.kind == Kind.RECEIVED and event.t < begin}
            end = min([*attempts[-1:], *(t for t, _ in self.injections[i + 1 : i + 2])]) if attempts else begin
            counts.append({
                "in_flight": len(flying), "received": sum(ident in taken for ident in flying),
                "lost": sum(self.fates[ident] == "ok" for ident in open_), "unknown": sum(self.fates[ident] == "info" for ident in open_),
                "recovered": sum(self.fates[ident] == "info" and ident in seen for ident in mine),
                "duplicated": repeats.count(("duplicated", i)), "reordered": repeats.count(("reordered", i)), "first_after_ns": again[i],
                "gap_ok_ns": _gap(confirmed, begin, end), "gap_processed_ns": _gap(processed, begin, end),
            })  # fmt: skip
        return counts

    def owner(self, ident, again):
        """Where it was received and never processed: what came after that. Else what had not passed when it was attempted."""
        processed = any(event.kind == Kind.PROCESSED for event in self.got_of[ident])
        received = [event.t for event in self.got_of[ident] if event.kind == Kind.RECEIVED]
        last = len(self.injections) - 1
        if received and not processed:
            return next((i for i, (begin, _) in enumerate(self.injections) if begin >= max(received)), last)
        attempted = min(event.t for event in self.said_of[ident])
        begun = [i for i, (begin, _) in enumerate(self.injections) if begin <= attempted]
        if any(again[i] is None or attempted <= again[i] for i in begun):
            return begun[-1]
        return min(len(begun), last)

    def flies(self, ident, begin, i, owners, seen):
        if min(event.t for event in self.said_of[ident]) >= begin:
            return False
        if any(t < begin for t in self.ended_at(ident)):
            return False
        failed = [event.t for event in self.said_of[ident] if event.kind == Kind.FAIL]
        if self.fates[ident] == "fail":
            return not any(t < begin for t in failed)
        return ident in seen or ident in self.ends or owners[ident] >= i

    def ended_at(self, ident):
        kinds = (Kind.PROCESSED, Kind.DEAD, Kind.EXPIRED)
        return [event.t for event in self.got_of[ident] if event.kind in kinds]

    def repeats(self):
        """(what, injection) of each delivery that was repeated or out of order; those before the first have none."""
        found, before, highest = [], {}, {}
        for _, member, place, _, row, _ in self.merged:
            ident, scope = _ident(row), (member, *row[:3])
            if ident not in self.fates:
                continue
            t = self.members[member][place].t
            begun = [i for i, (begin, _) in enumerate(self.injections) if begin <= t]
            if ident in before:
                since = [i for i in begun if self.injections[i][0] > before[ident]]
                found += [("duplicated", i) for i in since[:1] or begun[-1:]]
            elif highest.get(scope, -1) > row[5]:
                found += [("reordered", i) for i in begun[-1:]]
            before[ident] = t
            highest[scope] = max(highest.get(scope, -1), row[5])
        return found


def _gap(times, begin, end):
    if end <= begin:
        return None
    stops = [begin, *(t for t in times if begin < t < end), end]
    return max(later - earlier for earlier, later in itertools.pairwise(stops))


def _by_message(pairs):
    found = defaultdict(list)
    for event, row in pairs:
        found[_ident(row)].append(event)
    return found
