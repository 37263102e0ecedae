"""Every figure of a trial a second time, by plain loops, from the fake server's log and the stamps that the harness was given.

Shares no code with what it checks: no journal, no histogram, no bitmap, no vector. Times are absolute monotonic ns.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from adapters.base import Status
from bench.calibration import endpoint, log
from bench.calibration.fake_server import INVENTED_FROM

SECOND: Final = 1_000_000_000
SOON: Final = 900_000_000  # what comes so soon after the last must have been waited for; a machine that stops may make it later
Ident = tuple[int, int]
"""(producer, sequence)."""


class Arrival(NamedTuple):
    """One message of a trial, as it came to the server."""

    producer: int
    sequence: int
    lane: int
    intended: int
    sent: int
    t_in: int


class Delivery(NamedTuple):
    """One delivery as the server logged it and the consumer's harness stamped it."""

    producer: int
    sequence: int
    trial: int  # the message's own
    what: int  # bench.calibration.log
    t_out: int
    stamp: int
    account: int  # the trial that was being accounted when it came; 0 = it came after a report, and is in no account

    @property
    def ident(self) -> Ident:
        """Which message."""
        return self.producer, self.sequence


@dataclass
class Trial:
    """All that is known of one trial without asking the harness."""

    number: int
    groups: Sequence[str]
    go: int
    start: int
    end: int
    arrivals: dict[Ident, Arrival]
    answers: dict[Ident, tuple[int, int]]  # status, when it left
    outcomes: dict[Ident, list[int]]  # stamps of "confirmed"
    deliveries: dict[str, list[Delivery]]  # by group, in the order of arrival: what this trial's account had to do with
    missed: int  # of its own deliveries, those that came after its report, and within SOON of the last before it

    def window(self, at: int) -> bool:
        """Whether a time lies in the measured window."""
        return self.start <= at < self.end

    def sound(self, group: str) -> list[Delivery]:
        """This trial's own deliveries, undamaged."""
        return [d for d in self.deliveries[group] if d.trial == self.number and not d.what & log.FLIPPED]

    def times_of(self, ident: Ident) -> Arrival:
        """The message's header; of one that nobody sent, that of the message it was made from."""
        return self.arrivals[ident[0], ident[1] % INVENTED_FROM]


@dataclass
class Evidence:
    """The files of one run: read once. ``misplaced``: deliveries that came in another order than they left in, or as other messages."""

    run: Path
    groups: Sequence[str]
    logs: Mapping[str, Any]
    by_consumer: dict[str, list[Delivery]] = field(default_factory=dict)  # by endpoint name
    misplaced: int = 0

    @classmethod
    def read(cls, run: Path, server_log: Path, groups: Sequence[str], trials: Sequence[Mapping[str, Any]]) -> Evidence:
        """Read the server's log and what the endpoints wrote down; ``trials``: every trial.json of the run."""
        found = cls(run, groups, log.read(server_log))
        names = sorted({entry["name"] for trial in trials for entry in trial["evidence"]})
        for index, group in enumerate(groups):
            consumers = [name for name in names if name.endswith(f"-consumer-{group}-0")]
            of_group = found.logs["deliveries"][found.logs["deliveries"]["group"] == index]
            connections = sorted(set(of_group["connection"].tolist()) - {0})
            for name, connection in zip(consumers, connections, strict=True):  # a session's consumer has one connection, in turn
                found._join(name, of_group[of_group["connection"] == connection])
        return found

    def _join(self, name: str, left: Any) -> None:
        """A connection keeps order: its n-th delivery is the consumer's n-th."""
        rows = endpoint.read(endpoint.stamps_of(self.run / "evidence", name), endpoint.STAMP).tolist()
        joined: list[Delivery] = []
        reported: set[int] = set()
        at = 0
        columns = ("producer", "sequence", "trial", "what", "t_out")
        logged = list(zip(*(left[column].tolist() for column in columns), strict=True))
        for stamp, sequence, trial, is_report in rows:
            if is_report:
                reported.add(trial)
                continue
            if at >= len(logged):
                self.misplaced += 1
                continue
            producer, own, of, what, t_out = logged[at]
            at += 1
            if own != sequence and not what & log.FLIPPED:
                self.misplaced += 1
            if not what & log.CANARY:
                joined.append(Delivery(producer, own, of, what, t_out, stamp, 0 if trial in reported else trial))
        self.misplaced += len(logged) - at  # left and never came; the last trial waits for all of its own
        self.by_consumer[name] = joined

    def trial(self, record: Mapping[str, Any]) -> Trial:
        """What is known of one trial; of ``record`` (trial.json) only its place in time and the names of its endpoints are used."""
        number, load = record["trial"], record["workload"]
        start = record["go_ns"] + int(load["warmup_s"] * SECOND)
        names = [entry["name"] for entry in record["evidence"]]
        rows = self.logs["arrivals"]
        fields = ("producer", "sequence", "lane", "intended", "sent", "t_in")
        rows = rows[rows["trial"] == number]
        arrivals = [Arrival(*values) for values in zip(*(rows[name].tolist() for name in fields), strict=True)]
        answers = self.logs["answers"]
        answers = answers[answers["trial"] == number]
        said = zip(*(answers[name].tolist() for name in ("producer", "sequence", "status", "t_out")), strict=True)
        own = {group: next(name for name in names if name.endswith(f"-consumer-{group}-0")) for group in self.groups}
        found = Trial(
            number, self.groups, record["go_ns"], start, start + int(load["measure_s"] * SECOND),
            {(arrival.producer, arrival.sequence): arrival for arrival in arrivals},
            {(producer, sequence): (status, t_out) for producer, sequence, status, t_out in said},
            defaultdict(list),
            {group: [d for d in self.by_consumer[name] if d.account == number] for group, name in own.items()},
            sum(self._missed(name, number) for name in own.values()),
        )  # fmt: skip
        for index in range(load["producers"]):
            self._outcomes(found, next(name for name in names if name.endswith(f"-producer-{index}")), index)
        return found

    def _missed(self, name: str, number: int) -> int:
        own = [d for d in self.by_consumer[name] if d.trial == number]
        last = max((d.stamp for d in own if d.account == number), default=0)
        return sum(d.account != number and d.stamp <= last + SOON for d in own)

    def _outcomes(self, trial: Trial, name: str, producer: int) -> None:
        for stamp, first, count, status, _, step in endpoint.read(
            endpoint.outcomes_of(self.run / "evidence", name), endpoint.OUTCOME
        ).tolist():
            if not count and first == trial.number:
                return  # what is told after the report is in no account
            for i in range(count):
                ident = producer, first + i * step
                if status == Status.CONFIRMED and ident in trial.arrivals:
                    trial.outcomes[ident].append(stamp)


# ---- the audit's counts


def audit(trial: Trial, group: str) -> dict[str, int]:
    """The counts of one group, by the definitions of docs/guarantees.md."""
    status = {ident: trial.answers.get(ident, (0, 0))[0] for ident in trial.arrivals}
    seen: set[Ident] = set()
    strays: set[Ident] = set()
    highest: dict[tuple[int, int], int] = {}
    duplicated = redelivered = reordered = worst = 0
    for delivery in trial.sound(group):
        if delivery.ident not in trial.arrivals:
            strays.add(delivery.ident)
            continue
        lane = delivery.producer, trial.arrivals[delivery.ident].lane
        before = highest.get(lane, -1)
        if delivery.ident in seen:
            duplicated += 1
            redelivered += bool(delivery.what & log.FLAGGED)
        elif before > delivery.sequence:
            reordered += 1
            worst = max(worst, before - delivery.sequence)
        seen.add(delivery.ident)
        highest[lane] = max(before, delivery.sequence)
    acknowledged = {ident for ident, code in status.items() if code == Status.CONFIRMED}
    failed = {ident for ident, code in status.items() if code == Status.FAILED}
    unanswered = set(trial.arrivals) - acknowledged - failed
    others = [d for d in trial.deliveries[group] if d.trial != trial.number and not d.what & log.FLIPPED]
    return {
        "sent": len(trial.arrivals), "acknowledged": len(acknowledged), "processed": len(seen), "lost": len(acknowledged - seen),
        **_places(trial, acknowledged - seen, seen),
        "duplicated": duplicated, "redelivered": redelivered, "reordered": reordered, "reordered_max": worst,
        "corrupted": sum(bool(d.what & log.FLIPPED) for d in trial.deliveries[group]),
        "unexpected": len(strays), "unknown": len(unanswered - seen), "recovered": len(unanswered & seen),
        "failed_delivered": len(failed & seen), "late": len(others),
    }  # fmt: skip


def _places(trial: Trial, lost: set[Ident], seen: set[Ident]) -> dict[str, int]:
    """Where in their lanes the lost ones lie: before the first that was seen (or where none was), after the last, between."""
    lanes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for producer, sequence in seen:
        lanes[producer, trial.arrivals[producer, sequence].lane].append(sequence)
    where = Counter({"lost_prefix": 0, "lost_middle": 0, "lost_tail": 0})
    ends = {lane: (min(sequences), max(sequences)) for lane, sequences in lanes.items()}
    for producer, sequence in lost:
        low, high = ends.get((producer, trial.arrivals[producer, sequence].lane), (1 << 63, 1 << 63))
        where["lost_prefix" if sequence < low else "lost_tail" if sequence > high else "lost_middle"] += 1
    return dict(where)


def producers(trial: Trial, count: int) -> list[dict[str, int]]:
    """What each producer's report must say."""
    rows = []
    for producer in range(count):
        own = [ident for ident in trial.arrivals if ident[0] == producer]
        said = Counter(trial.answers.get(ident, (0, 0))[0] for ident in own)
        rows.append({"sent": len(own), "confirmed": said[Status.CONFIRMED], "failed": said[Status.FAILED], "indeterminate": said[0]})
    return rows


# ---- times


def latencies(trial: Trial) -> dict[str, list[int]]:
    """Durations in ns by the tags of latency.hlog, in no order."""
    found: dict[str, list[int]] = {"e2e": [], "e2e-sent": [], "publish": [], "lateness": []}
    for group in trial.groups:
        found[f"e2e-{group}"] = []
        for delivery in trial.sound(group):
            times = trial.times_of(delivery.ident)
            if trial.window(times.intended):
                found[f"e2e-{group}"].append(delivery.stamp - times.intended)
                found["e2e-sent"].append(delivery.stamp - times.sent)
        found["e2e"] += found[f"e2e-{group}"]
    for ident, arrival in trial.arrivals.items():
        if trial.window(arrival.intended):
            found["lateness"].append(arrival.sent - arrival.intended)
            found["publish"] += [stamp - arrival.sent for stamp in trial.outcomes.get(ident, ())]
    return found


def logged(trial: Trial) -> dict[str, list[int]]:
    """The same from the server's side: until a delivery or an answer left it. What the way to the client took is not in these."""
    found: dict[str, list[int]] = {"e2e": [], "e2e-sent": [], "publish": []}
    for group in trial.groups:
        for delivery in trial.sound(group):
            times = trial.times_of(delivery.ident)
            if trial.window(times.intended):
                found["e2e"].append(delivery.t_out - times.intended)
                found["e2e-sent"].append(delivery.t_out - times.sent)
    for ident, (status, t_out) in trial.answers.items():
        arrival = trial.arrivals[ident]
        if status == Status.CONFIRMED and trial.window(arrival.intended):
            found["publish"].append(t_out - arrival.sent)
    return found


def ranks(n: int, q: Fraction) -> set[int]:
    """The place, from 1, of the value that a share ``q`` of ``n`` values does not exceed: q * n to the nearest.

    HdrHistogram rounds halves up, in floating point: of an exact half either neighbour is right.
    """
    return {min(max(round(q * n + side), 1), n) for side in (Fraction(-1, 10**9), Fraction(1, 10**9))}


def quantile(ascending: Sequence[int], q: Fraction, near: float | None = None) -> int:
    """The value at that place; where two are right, the one that is nearer to ``near``."""
    values = sorted(ascending[place - 1] for place in ranks(len(ascending), q))
    return values[0] if near is None else min(values, key=lambda value: abs(value - near))


def supported(n: int, q: Fraction) -> bool:
    """Whether at least ten values lie beyond."""
    return n * (1 - q) >= 10


# ---- rates


def rates(trial: Trial) -> dict[str, float]:
    """Deliveries a second that *arrived* in the window, by group; the slowest group's; messages handed over in it."""
    window_s = (trial.end - trial.start) / SECOND
    found = {group: sum(trial.window(d.stamp) for d in trial.sound(group)) / window_s for group in trial.groups}
    published = sum(trial.window(arrival.sent) for arrival in trial.arrivals.values()) / window_s
    return {**found, "slowest": min(found.values()), "published": published}


def steady(trial: Trial, parts: int) -> tuple[dict[str, list[int]], list[list[int]]]:
    """Deliveries of each group that arrived in each of ``parts`` equal parts of the window; end to end by the third that it was due in."""
    length = trial.end - trial.start
    slices = {group: [0] * parts for group in trial.groups}
    edges = [trial.start, trial.start + length // 3, trial.start + 2 * (length // 3), trial.end]
    thirds: list[list[int]] = [[], [], []]
    for group in trial.groups:
        for delivery in trial.sound(group):
            if trial.window(delivery.stamp):
                slices[group][(delivery.stamp - trial.start) * parts // length] += 1
            due = trial.times_of(delivery.ident).intended
            for place, (begin, over) in enumerate(pairwise(edges)):
                if begin <= due < over:
                    thirds[place].append(delivery.stamp - due)
    return slices, [sorted(values) for values in thirds]


def by_second(trial: Trial) -> dict[int, list[int]]:
    """End to end of what was due in the window, ascending, by the second of the load in which it arrived."""
    seconds: dict[int, list[int]] = defaultdict(list)
    for group in trial.groups:
        for delivery in trial.sound(group):
            due = trial.times_of(delivery.ident).intended
            if trial.window(due):
                seconds[(delivery.stamp - trial.go) // SECOND].append(delivery.stamp - due)
    return {second: sorted(values) for second, values in seconds.items()}


def series(trial: Trial) -> list[dict[str, int]]:
    """The rows of series.csv."""
    columns = {"published": Counter((arrival.sent - trial.go) // SECOND for arrival in trial.arrivals.values())}
    for group in trial.groups:
        columns[group] = Counter((d.stamp - trial.go) // SECOND for d in trial.sound(group))
    last = max((second for column in columns.values() for second in column), default=-1)
    return [{"second": second, **{name: column[second] for name, column in columns.items()}} for second in range(last + 1)]
