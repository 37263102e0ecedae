"""Schedules of everything that can happen to messages, as calls of journal writers; and the journals of them."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import numpy as np
from naive_audit import Event, Schedule

from bench.audit import ConsumerSource, Source, audit
from bench.journal import ALL, ANY_LANE, CANARY, CORRUPT, REDELIVERED, REFUSED, Kind, Writer

TRIAL = 7
SEGMENT_B = 64 * 64  # small, so that journals have several segments


def lane_function(lanes):
    def lane(producer, sequence):
        return (sequence * 7 + sequence // 5 + producer * 3) % lanes

    return lane


def write(writer, event, rng):
    """Journal one event by one of the ways that fit it."""
    common = {"trial": event.trial, "group": event.group}
    producers = {row[:2] + row[3:5] for row in event.rows}
    sequences = [row[5] for row in event.rows]
    if event.positions:
        writer.placed(event.kind, event.rows, event.positions, t_first=event.t, t_last=event.t, **common)
    elif len(producers) == 1 and sequences == list(range(sequences[0], sequences[0] + len(sequences))) and rng.random() < 0.5:
        producer, epoch, lane, attempt, flags, first = event.rows[0]
        lane = lane if len({row[2] for row in event.rows}) == 1 and rng.random() < 0.5 else ANY_LANE
        writer.span(
            event.kind, producer=producer, epoch=epoch, lane=lane, attempt=attempt, flags=flags, first=first, count=len(sequences),
            t_first=event.t, t_last=event.t, **common,
        )  # fmt: skip
    elif len(sequences) <= 8 and rng.random() < 0.5:
        writer.few(event.kind, event.rows, t=event.t, **common)
    else:
        names = ("producer", "epoch", "lane", "attempt", "flags", "sequence")
        types = ("<u2", "<u2", "<u4", "<u2", "<u2", "<u8")
        columns = np.array(list(event.rows), dtype=list(zip(names, types, strict=True)))
        if rng.random() < 0.5:
            columns = {name: columns[name] for name in names}
        writer.batch(event.kind, columns, t_first=event.t, t_last=event.t, **common)


def journal(folder, name, events, rng, *, crash=False):
    """A whole journal of these events; with ``crash`` one that was never closed, its next record torn."""
    writer = Writer(folder, name, SEGMENT_B)
    for event in events:
        write(writer, event, rng)
    if crash:
        writer.span(Kind.PROCESSED, trial=TRIAL, producer=0, first=0, count=1_000_000, group=0, t_last=-1)
        writer._map[writer._at - 20 : writer._at] = bytes(20)
    else:
        writer.close()
    return writer


@contextlib.contextmanager
def journals(folder, schedule, rng):
    """The sources of a schedule's journals. Those that crashed are still open: nobody cut them to their size."""
    senders, receivers, writers = [], [], []
    for i, events in enumerate(schedule.producers):
        writers.append(journal(folder, f"p{i}", events, rng, crash=("p", i) in schedule.crashed))
        senders.append(Source(folder, f"p{i}"))
    for i, (group, events) in enumerate(schedule.consumers):
        writers.append(journal(folder, f"c{i}", events, rng, crash=("c", i) in schedule.crashed))
        receivers.append(ConsumerSource(folder, f"c{i}", group=group, member=i))
    yield senders, receivers
    for writer in writers:
        writer.close()


def lanes_of(lane_of):
    """The same function as the accountant takes it."""

    def lanes(producer, sequences):
        return np.array([lane_of(producer, int(s)) for s in sequences], dtype=np.uint32)

    return lanes


def audited(folder, schedule, rng):
    """The accounts, as dicts by group."""
    names = [f"g{i}" for i in range(schedule.groups)]
    with journals(folder, schedule, rng) as (senders, receivers):
        found = audit(senders, receivers, trial=TRIAL, groups=names, lane_of=lanes_of(schedule.lane_of))
    return [asdict(found[name]) for name in names]


def chaos(rng, *, producers, groups, members, lanes):
    """A schedule of everything at once."""
    lane_of = lane_function(lanes)
    made = [produce(rng, p, lane_of, groups) for p in range(producers)]
    sent = [row for _, rows in made for row in rows]
    if rng.random() < 0.5:
        rng.shuffle(sent) if rng.random() < 0.2 else sent.sort(key=lambda row: row[5])
    consumers = [one for group in range(groups) for one in consume(rng, sent, members, group, lane_of)]
    crashed = {("p", i) for i in range(producers) if rng.random() < 0.2} | {("c", i) for i in range(len(consumers)) if rng.random() < 0.2}
    return Schedule([events for events, _ in made], consumers, groups, lane_of, frozenset(crashed))


def pieces(rng, rows, most):
    """Cut rows into events' worth."""
    while rows:
        n = rng.randint(1, most)
        yield tuple(rows[:n])
        rows = rows[n:]


def produce(rng, producer, lane_of, groups):
    """A producer's events: attempts, outcomes of every kind, retries, canaries, another trial's outcomes."""
    events, sent = [], []
    t = rng.randint(0, 3)
    for epoch in range(rng.choice((1, 1, 2))):
        start = rng.choice((0, 1000, 1 << 33))
        ids = range(start, start + rng.randint(1, 80))
        rows = [(producer, epoch, lane_of(producer, s), 0, 0, s) for s in ids]
        sent += rows
        for part in pieces(rng, rows, 30):
            t += rng.choice((0, 1, 4))
            events.append(Event(Kind.ATTEMPT, part, TRIAL, t=t))
            outcome = rng.choice((Kind.OK, Kind.OK, Kind.OK, Kind.OK, Kind.INFO, Kind.FAIL, None))
            chosen = part if rng.random() < 0.6 else tuple(row for row in part if rng.random() < 0.7)
            if outcome is None or not chosen:
                continue
            group = rng.choice((ALL, ALL, rng.randrange(groups)))
            chosen = tuple(rng.sample(chosen, len(chosen))) if rng.random() < 0.2 else chosen
            t += rng.choice((0, 1, 3))
            events.append(Event(outcome, chosen, TRIAL, group, t))
            if rng.random() < 0.1:  # a second word on the same attempt
                events.append(Event(rng.choice((Kind.OK, Kind.FAIL, Kind.INFO)), chosen, TRIAL, rng.choice((ALL, group)), t))
            if rng.random() < 0.3:  # the application tries again
                again = tuple((*row[:3], 1, *row[4:]) for row in chosen)
                events.append(Event(Kind.ATTEMPT, again, TRIAL, group, t))
                if rng.random() < 0.7:
                    events.append(Event(rng.choice((Kind.OK, Kind.FAIL, Kind.INFO)), again, TRIAL, group, t))
    if rng.random() < 0.3:
        events.append(Event(Kind.OK, ((producer, 0, 0, 0, 0, 5_000),), TRIAL + 1))
        events.append(Event(Kind.ATTEMPT, ((producer, 0, 0, 0, CANARY, 6_000),), TRIAL))
    return events, sent


def consume(rng, sent, members, group, lane_of):
    """Deliveries to one group's members: clean at first, then spoilt in every way."""
    mishap = rng.choice((0.0, 0.02, 0.2))
    kept = [row for row in sent if rng.random() >= mishap]
    if rng.random() < mishap * 2:
        kept = kept[rng.randint(0, len(kept)) :]
    kept += [row for row in kept if rng.random() < mishap]
    if rng.random() < mishap * 2:
        rng.shuffle(kept)
    for i in range(len(kept)):
        if rng.random() < mishap:
            j = rng.randrange(len(kept))
            kept[i], kept[j] = kept[j], kept[i]
    rows = [(*r[:3], rng.choice((0, 1)), REDELIVERED, r[5]) if rng.random() < mishap else r for r in kept]
    for _ in range(rng.choice((0, 0, 2))):  # phantoms
        sequence = rng.choice((999_999, 1 << 40, 3_000))
        rows.insert(rng.randint(0, len(rows)), (rng.choice((0, 9)), 3, lane_of(0, sequence), 0, 0, sequence))
    if rng.random() < 0.5:  # owned lanes; else shared, one by one
        shares = [[r for r in rows if r[2] % members == m] for m in range(members)]
    else:
        shares = [rows[m::members] for m in range(members)]
    return [(group, list(deliveries(rng, share, group, sent))) for share in shares]


def deliveries(rng, rows, group, sent):
    placed = rng.random() < 0.4

    def place(row):  # of a log: one write of each message, now and then two
        return row[5] // 3 + 1000 * row[2] + (rng.randint(0, 1) << 20 if rng.random() < 0.3 else 0)

    t = rng.randint(0, 3)
    for part in pieces(rng, rows, rng.choice((1, 8, 40))):
        t += rng.choice((0, 1, 5, -1))
        if rng.random() < 0.3:
            yield Event(Kind.RECEIVED, part, TRIAL, group, t)
            if rng.random() < 0.05:
                continue  # received, never processed
        positions = tuple(place(row) for row in part) if placed and rng.random() < 0.9 else ()
        yield Event(Kind.PROCESSED, part, TRIAL, group, t, positions)
        if rng.random() < 0.05:
            ended = tuple(rng.sample(sent, min(len(sent), 9)))
            yield Event(rng.choice((Kind.DEAD, Kind.EXPIRED)), ended, TRIAL, group, t)
        if rng.random() < 0.05:
            poison = rng.sample(sent, min(len(sent), 9))
            yield Event(Kind.RECEIVED, tuple((*row[:4], row[4] | REFUSED, row[5]) for row in poison), TRIAL, group, t)
        if rng.random() < 0.05:
            yield Event(Kind.RECEIVED, ((0, 0, 0, 0, CORRUPT, 0),) * rng.randint(1, 3), TRIAL, group, t)
            yield Event(Kind.PROCESSED, part, TRIAL - 1, group, t)
            yield Event(Kind.PROCESSED, ((*part[0][:4], CANARY, 1),), TRIAL, group, t)
