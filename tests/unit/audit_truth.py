"""Schedules whose accounts are known because each anomaly was planted and counted: the accountant must report exactly these.

Time has eras. Processes end (some of them killed) between two eras and are started again: a producer with the next epoch, a consumer
as a new one. What is delivered late or again by somebody else comes in a later era, so nobody can be in doubt about what came first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from audit_schedules import TRIAL, lane_function, pieces
from naive_audit import Event, Schedule

from bench.journal import ALL, CANARY, CORRUPT, REDELIVERED, REFUSED, Kind

ERA = 1_000
SENT_BY, POLLED_FROM = 400, 500
SCRIPTS = {
    "ok": (("OK",), ("OK",), ("OK",), ("FAIL", "again", "OK"), ("INFO", "again", "OK"), ("INFO", "OK")),
    "info": ((), ("INFO",), ("FAIL", "again"), ("FAIL", "again", "INFO"), ("INFO", "FAIL")),
    "fail": (("FAIL",), ("FAIL", "again", "FAIL")),
}
"""What a producer may note of a message, by what that comes to. "again": another attempt of the application."""


def sequence_of(row):
    return row[5]


def ident_of(row):
    return row[0], row[1], row[5]


@dataclass
class Sent:
    """What one message came to, for each group."""

    row: tuple
    era: int
    fates: list[str]


@dataclass
class Life:
    """One life of a member: the eras that it lived in, and what it got in each."""

    member: int
    eras: list[int]
    polled: dict[int, list] = field(default_factory=dict)  # by era: (row, position or None, whether it was processed)


class World:
    """Draws what happens. After make(): ``schedule``, and ``truth``, an account for each group."""

    def __init__(self, rng, *, producers, groups, members, lanes):
        self.rng, self.groups, self.members = rng, groups, members
        self.lane_of = lane_function(lanes)
        self.eras = rng.randint(1, 3)
        self.sent: list[Sent] = []
        self.senders, self.receivers, self.crashed = [], [], set()
        for producer in range(producers):
            self._produce(producer)
        self.truth = [Group(self, group).deliver() for group in range(groups)]

    @property
    def schedule(self):
        return Schedule(self.senders, self.receivers, self.groups, self.lane_of, frozenset(self.crashed))

    def chance(self, p):
        return self.rng.random() < p

    def lives(self):
        """The eras, cut where a process was started again."""
        found = [[0]]
        for era in range(1, self.eras):
            if self.chance(0.5):
                found.append([])
            found[-1].append(era)
        return found

    # ---- producers

    def _produce(self, producer):
        apart = self.chance(0.2)  # makes the copies: outcomes by group
        for epoch, eras in enumerate(self.lives()):
            events, number = [], self.rng.choice((0, 1000, 1 << 33))
            killed = self.chance(0.4)
            for era in eras:
                n = self.rng.choice((0, 5, 40))
                rows = [(producer, epoch, self.lane_of(producer, s), 0, 0, s) for s in range(number, number + n)]
                number += n
                parts = list(pieces(self.rng, rows, 20))
                for i, part in enumerate(parts):
                    last = killed and era == eras[-1] and i == len(parts) - 1
                    self._send(events, part, era, era * ERA + i * SENT_BY // (len(parts) + 1), apart=apart, unanswered=last)
            if self.chance(0.2):
                events.append(Event(Kind.OK, ((producer, epoch, 0, 0, 0, 77),), TRIAL + 1))
                events.append(Event(Kind.ATTEMPT, ((producer, epoch, 0, 0, CANARY, 78),), TRIAL))
            if killed:
                self.crashed.add(("p", len(self.senders)))
            self.senders.append(events)

    def _send(self, events, part, era, t, *, apart, unanswered):
        """One send and its outcomes: messages of one script are answered together."""
        events.append(Event(Kind.ATTEMPT, part, TRIAL, t=t))
        told = [Sent(row, era, ["info"] * self.groups) for row in part]
        self.sent += told
        for group in range(self.groups) if apart else (ALL,):
            answered = defaultdict(list)
            for one in () if unanswered else told:
                fate = self.rng.choices(("ok", "info", "fail"), (12, 2, 1))[0]
                one.fates = [fate if group in (ALL, g) else known for g, known in enumerate(one.fates)]
                answered[self.rng.choice(SCRIPTS[fate])].append(one.row)
            for script, rows in answered.items():
                attempt = 0
                for step in script:
                    attempt += step == "again"
                    kind = Kind.ATTEMPT if step == "again" else Kind[step]
                    events.append(Event(kind, tuple((*row[:3], attempt, *row[4:]) for row in rows), TRIAL, group, t + 1))


class Group:
    """Draws what one group gets, and counts it."""

    def __init__(self, world, index):
        self.world, self.index, self.rng = world, index, world.rng
        self.mishap = self.rng.choice((0.0, 0.03, 0.3))
        self.placed = world.chance(0.5)  # the broker gives positions
        self.works = world.chance(0.5)  # messages are received and processed apart
        self.owned = world.chance(0.5)  # lanes have one member at a time
        self.counts = Counter()
        self.worst = 0
        self.lives = [Life(member, eras) for member in range(world.members) for eras in world.lives()]
        for life in self.lives:
            life.polled = {era: [] for era in life.eras}
        self.first: dict[tuple, tuple[Life, int, object]] = {}  # of what was processed: by whom, when, at which position
        self.misplaced, self.unknown = [], []
        self.lost, self.repeated, self.ends = [], set(), {Kind.DEAD: [], Kind.EXPIRED: []}
        self._position = self.rng.choice((0, 5_000, 1 << 40))

    def bad(self):
        return self.world.chance(self.mishap)

    def life_of(self, member, era):
        return next(life for life in self.lives if life.member == member and era in life.eras)

    def position(self):
        self._position += self.rng.choice((1, 1, 1, 7))
        return self._position if self.placed else None

    def deliver(self):
        for one in self.world.sent:
            self._decide(one, one.fates[self.index])
        for life in self.lives:
            for polled in life.polled.values():
                self._displace(polled)
        for ident, first in list(self.first.items()):
            if self.bad():
                self._repeat(ident, *first)
        for life in self.lives:
            self._write(life)
        if any(self.ends.values()):
            self._give_up()
        return self._account()

    def _decide(self, one, fate):
        """First deliveries, message by message in the order of sending."""
        self.counts["sent"] += 1
        self.counts["acknowledged"] += fate == "ok"
        member = one.row[2] % self.world.members if self.owned else self.rng.randrange(self.world.members)
        life = self.life_of(member, one.era)
        arrives = not self.bad() if fate == "ok" else self.world.chance(0.5 if fate == "info" else 0.2)
        if not arrives:
            self._goes_astray(one, fate, life)
            return
        later = self.life_of(member, one.era + 1) if one.era + 1 < self.world.eras else life
        if later is not life and self.bad():  # killed between receipt and processing: its next life gets it
            if self.works:
                life.polled[one.era].append((one.row, None, False))
            life, era = later, one.era + 1
        else:
            era = one.era
        position = self.position()
        life.polled[era].append((one.row, position, True))
        self.first[ident_of(one.row)] = life, era, position
        self.counts["processed"] += 1
        self.counts["recovered"] += fate == "info"
        self.counts["failed_delivered"] += fate == "fail"

    def _goes_astray(self, one, fate, life):
        if fate != "fail" and self.world.chance(0.2):
            life.polled[one.era].append(((*one.row[:4], one.row[4] | REFUSED, one.row[5]), None, False))
            self.counts["refused"] += 1
            self.counts["received_only"] += 1
            return
        if fate != "fail" and self.world.chance(0.3):
            how = self.rng.choice((Kind.DEAD, Kind.EXPIRED))
            self.ends[how].append(one.row)
            self.counts["dead_lettered" if how == Kind.DEAD else "expired"] += 1
        elif fate == "ok":
            self.lost.append(one.row)
        elif fate == "info":
            self.counts["unknown"] += 1
            self.unknown.append(ident_of(one.row))
        if self.works and self.world.chance(0.3):
            life.polled[one.era].append((one.row, None, False))
            self.counts["received_only"] += 1

    def _displace(self, polled):
        """Let some messages of each lane come later than their followers: one each time, by so much."""
        streams = defaultdict(list)
        for i, (row, _, processed) in enumerate(polled):
            if processed:
                streams[row[:3]].append(i)
        for places in streams.values():
            at = 0
            while at + 1 < len(places):
                span = self.rng.randint(1, 4)
                if at + span >= len(places) or not self.bad():
                    at += 1
                    continue
                chosen = places[at : at + span + 1]
                self.counts["reordered"] += 1
                self.misplaced.append(ident_of(polled[chosen[0]][0]))
                self.worst = max(self.worst, sequence_of(polled[chosen[-1]][0]) - sequence_of(polled[chosen[0]][0]))
                items = [polled[i] for i in chosen]
                for i, item in zip(chosen, [*items[1:], items[0]], strict=True):
                    polled[i] = item
                at += span + 1

    def _repeat(self, ident, life, era, position):
        """The same message again, from one to three times; each of its causes."""
        row = next(row for row, _, processed in life.polled[era] if processed and ident_of(row) == ident)
        causes = ["retried", *(("redelivered", "duplicate_writes") if self.placed else ("redelivered", "cause_unknown")) * 2]
        for cause in self.rng.sample(causes, self.rng.choice((1, 1, 2, 3))):
            at = position if cause == "redelivered" else self.position()
            flags = REDELIVERED if cause == "redelivered" and not (self.placed and self.world.chance(0.5)) else 0
            again = ((*row[:3], int(cause == "retried"), flags, row[5]), at, True)
            self.counts["duplicated"] += 1
            self.counts[cause] += 1
            self.repeated.add(ident)
            others = [other for other in self.lives if other is not life and other.eras[-1] > era]
            if others and self.world.chance(0.5):
                other = self.rng.choice(others)  # at its very end: what it saw of others' lanes puts nothing of its own out of order
                other.polled[other.eras[-1]].append(again)
            else:
                polled = life.polled[era]
                after = next(i for i, (known, _, processed) in enumerate(polled) if processed and ident_of(known) == ident)
                polled.insert(self.rng.randint(after + 1, len(polled)), again)

    # ---- journals

    def _write(self, life):
        events = []
        for era, polled in life.polled.items():
            parts = list(pieces(self.rng, polled, self.rng.choice((1, 8, 40))))
            for i, part in enumerate(parts):
                events += self._poll(part, era * ERA + POLLED_FROM + i * SENT_BY // (len(parts) + 1))
        if self.world.chance(0.3):
            self.world.crashed.add(("c", len(self.world.receivers)))
        self.world.receivers.append((self.index, events))

    def _poll(self, part, t):
        """One poll: what is received, processed, acknowledged; and what is none of this trial's."""
        rows = tuple(row for row, _, processed in part if processed)
        positions = tuple(position for _, position, processed in part if processed) if self.placed else ()
        if self.works or any(not processed for *_, processed in part):
            yield Event(Kind.RECEIVED, tuple(row for row, _, _ in part), TRIAL, self.index, t)
        if rows and self.bad():  # never attempted: a sequence too high, a producer that there is not
            number = self.rng.choice((1 << 20, (1 << 40) + self.counts["unexpected"]))
            if number > 1 << 20 or not self.counts["low phantom"]:
                self.counts["unexpected"] += 1
            self.counts["low phantom"] += number == 1 << 20
            rows, positions = ((90, 0, 0, 0, 0, number), *rows), (self.position(), *positions) if self.placed else ()
        if rows:
            yield Event(Kind.PROCESSED, rows, TRIAL, self.index, t, positions)
            yield Event(Kind.ACKED, rows, TRIAL, self.index, t)
        if self.bad():
            n = self.rng.randint(1, 3)
            self.counts["corrupted"] += n
            yield Event(self.rng.choice((Kind.RECEIVED, Kind.PROCESSED)), ((0, 0, 0, 0, CORRUPT, 0),) * n, TRIAL, self.index, t)
        if rows and self.bad():
            self.counts["late"] += len(rows)
            yield Event(Kind.PROCESSED, rows, TRIAL - 1, self.index, t)
            yield Event(Kind.PROCESSED, ((*rows[0][:4], CANARY, 1),), TRIAL, self.index, t)

    def _give_up(self):
        """The journal of what the broker put aside; also of what was processed all the same, which changes nothing."""
        events = []
        processed = [row for row, _, processed in self.lives[0].polled[0][:2] if processed]
        for kind, rows in self.ends.items():
            parts = pieces(self.rng, rows + processed, 9)
            events += [Event(kind, part, TRIAL, self.index, self.world.eras * ERA) for part in parts]
        self.world.receivers.append((self.index, events))

    # ---- the account

    def _account(self):
        where = Counter({"prefix": 0, "middle": 0, "tail": 0})
        for row in self.lost:
            done = [s for p, e, s in self.first if (p, e) == row[:2] and self.world.lane_of(p, s) == row[2]]
            where["prefix" if not done or row[5] < min(done) else "tail" if row[5] > max(done) else "middle"] += 1
        names = (
            "sent", "acknowledged", "processed", "dead_lettered", "expired", "refused", "received_only", "duplicated", "redelivered",
            "duplicate_writes", "retried", "cause_unknown", "reordered", "corrupted", "unexpected", "unknown", "recovered",
            "failed_delivered", "late",
        )  # fmt: skip
        return {name: self.counts[name] for name in names} | {
            "lost": len(self.lost), "lost_where": dict(where), "reordered_max": self.worst,
            "lost_ids": tuple(sorted(map(ident_of, self.lost))[:20]), "duplicated_ids": tuple(sorted(self.repeated)[:20]),
            "reordered_ids": tuple(sorted(self.misplaced)[:20]), "unknown_ids": tuple(sorted(self.unknown)[:20]),
        }  # fmt: skip
