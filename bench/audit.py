"""The accountant: what became of every message, from the journals alone (pure; runs years later on another machine).

Definitions (docs/guarantees.md): a message is (producer, epoch, sequence). Loss and duplicates are
judged on PROCESSED. Outcomes of group ALL hold for every group, others for theirs only; one without outcome is
indeterminate (INFO); OK of any attempt outweighs all, FAIL holds only where every attempt failed. Who delivered first is
judged within the group, by the time of the records; order within one consumer and (producer, epoch, lane).

Memory is bounded by roaring bitmaps; what is dense in the journals is handled as ranges and never unrolled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from pyroaring import BitMap64

from bench.audit_delivered import Deliveries
from bench.audit_order import places
from bench.audit_sent import ConsumerSource, Ident, LaneOf, Sent, Source, collect, outcomes
from bench.journal import ALL

__all__ = ["ConsumerSource", "GroupAudit", "LaneOf", "Source", "Verdict", "audit", "verdict"]

SAMPLES: Final = 20  # ids that an audit names


@dataclass(frozen=True)
class GroupAudit:
    """The account of one group: messages, unless it says otherwise. The keys of "audit" in results/README.md."""

    sent: int  # distinct, attempted
    acknowledged: int  # distinct, OK
    processed: int  # distinct, attempted and processed
    lost: int  # acknowledged, never processed
    lost_where: dict[str, int]  # of them before the first, after the last processed of their lane, or between ("prefix", "tail", "middle")
    dead_lettered: int  # not processed, and found where the broker puts what it gave up: no loss
    expired: int  # the same of what it no longer kept
    refused: int  # none of these, and given back or rejected by a consumer on purpose (bench.poison): no loss by the system
    received_only: int  # received and never processed: of acknowledged ones a loss, which is counted there
    duplicated: int  # deliveries beyond the first of each message
    redelivered: int  # of those, by the broker: a position that had come before, or its redelivered flag
    duplicate_writes: int  # of those, at a position of their own: the message is stored more than once
    retried: int  # of those, of another attempt than before: the application sent it again
    cause_unknown: int  # of those, none of these: the broker gives no position, or the client library may have sent it again
    reordered: int  # first deliveries below the highest sequence already seen in their scope
    reordered_max: int  # the largest distance of one below it, in sequence numbers
    corrupted: int  # deliveries
    unexpected: int  # distinct, processed and never attempted
    unknown: int  # indeterminate and not processed: never counted as lost
    recovered: int  # indeterminate and processed
    failed_delivered: int  # reported as failed and yet processed
    late: int  # deliveries of another trial's messages
    lost_ids: tuple[tuple[int, int, int], ...] = ()  # the first 20: producer, epoch, sequence
    duplicated_ids: tuple[tuple[int, int, int], ...] = ()
    reordered_ids: tuple[tuple[int, int, int], ...] = ()
    unknown_ids: tuple[tuple[int, int, int], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The counts, as trial.json has them (without the verdict)."""
        return {name: value for name, value in self.__dict__.items() if not name.endswith("_ids")}


class Verdict(NamedTuple):
    """``word``: "clean" (nothing to see), "as promised" (anomalies that the mode allows) or "violated"; with reasons."""

    word: str
    reasons: tuple[str, ...]


_MAY_LOSE: Final = {"none": True, "at-most-once": True, "at-least-once": False, "exactly-once": False}
_MAY_REPEAT: Final = {"none": True, "at-most-once": False, "at-least-once": True, "exactly-once": False}


def verdict(audit: GroupAudit, mode_delivery: str, ordered: bool) -> Verdict:
    """Judge an account by the delivery that the mode promises ("at-least-once", ...) and whether it promises order.

    It says nothing on what was still in flight: whether a group was drained is for the caller to know ("undetermined").
    """
    if mode_delivery not in _MAY_LOSE:
        raise ValueError(f"delivery {mode_delivery!r}: one of {', '.join(_MAY_LOSE)}")
    promise = "no delivery guarantee" if mode_delivery == "none" else mode_delivery
    findings = [
        (audit.lost, _MAY_LOSE[mode_delivery], f"{audit.lost:,} acknowledged messages lost ({promise})"),
        (audit.duplicated, _MAY_REPEAT[mode_delivery], f"{audit.duplicated:,} deliveries repeated ({promise})"),
        (audit.reordered, not ordered, f"{audit.reordered:,} deliveries out of order ({'order' if ordered else 'no order'} is promised)"),
        (audit.corrupted, False, f"{audit.corrupted:,} deliveries corrupted"),
        (audit.unexpected, False, f"{audit.unexpected:,} messages delivered that were never sent"),
        (audit.failed_delivered, False, f"{audit.failed_delivered:,} messages delivered that were reported as failed"),
    ]
    broken = tuple(text for count, allowed, text in findings if count and not allowed)
    if broken:
        return Verdict("violated", broken)
    seen = tuple(text for count, _, text in findings if count)
    return Verdict("as promised", seen) if seen else Verdict("clean", ())


def audit(
    producers: Sequence[Source],
    consumers: Sequence[ConsumerSource],
    *,
    trial: int,
    groups: Sequence[str],
    lane_of: LaneOf | None = None,
) -> dict[str, GroupAudit]:
    """Account trial ``trial`` for each of ``groups`` (names; a ConsumerSource has the index).

    ``lane_of`` is called for attempted messages only, numbers lanes as the headers do, and is needed where a producer has several:
    without it, records that span lanes are judged as one lane, so reordering may come out too high, and the place of a loss
    is that in the producer's whole sequence. ValueError where it contradicts the journals; bench.journal.EvidenceMissing for
    journals that are missing or cut.
    """
    for source in consumers:
        if not 0 <= source.group < len(groups):
            raise ValueError(f"consumer journal {source.name}: group index {source.group}, there are {len(groups)} groups")
    sets = collect(producers, trial)
    shared = outcomes([sets.get(ALL, {})])
    audits = {}
    for index, name in enumerate(groups):
        sent = outcomes([sets.get(ALL, {}), sets[index]]) if index in sets else shared
        delivered = Deliveries(sent, lane_of)
        delivered.take([source for source in consumers if source.group == index], trial)
        audits[name] = _account(sent, delivered, lane_of)
    return audits


def _account(sent: dict[Ident, Sent], delivered: Deliveries, lane_of: LaneOf | None) -> GroupAudit:
    """The account of one group."""
    seen = delivered.seen
    lost = {ident: own.ok - delivered.came_to_an_end(ident) for ident, own in sent.items()}
    unknown = {ident: own.info - delivered.came_to_an_end(ident) for ident, own in sent.items()}
    where = {"prefix": 0, "middle": 0, "tail": 0}
    for ident, missing in lost.items():
        if missing:
            for place, count in zip(where, places(missing, seen[ident], ident[0], lane_of), strict=True):
                where[place] += count
    return GroupAudit(
        sent=sum(len(own.attempted) for own in sent.values()),
        acknowledged=sum(len(own.ok) for own in sent.values()),
        processed=_size(seen),
        lost=_size(lost),
        lost_where=where,
        dead_lettered=_size(delivered.dead_lettered),
        expired=_size(delivered.expired),
        refused=_size(delivered.refused),
        received_only=sum(len(received - seen[ident]) for ident, received in delivered.received.items()),
        duplicated=delivered.duplicated,
        redelivered=delivered.causes.redelivered,
        duplicate_writes=delivered.causes.duplicate_writes,
        retried=delivered.causes.retried,
        cause_unknown=delivered.causes.cause_unknown,
        reordered=sum(delivered.reordered),
        reordered_max=delivered.reordered_max,
        corrupted=delivered.corrupted,
        unexpected=_size(delivered.stray),
        unknown=_size(unknown),
        recovered=sum(own.info.intersection_cardinality(seen[ident]) for ident, own in sent.items()),
        failed_delivered=sum(own.fail.intersection_cardinality(seen[ident]) for ident, own in sent.items()),
        late=delivered.late,
        lost_ids=_samples(lost),
        duplicated_ids=_samples(delivered.twice),
        reordered_ids=_samples(delivered.misplaced),
        unknown_ids=_samples(unknown),
    )


def _size(bitmaps: dict[Ident, BitMap64]) -> int:
    return sum(map(len, bitmaps.values()))


def _samples(bitmaps: dict[Ident, BitMap64]) -> tuple[tuple[int, int, int], ...]:
    """The first SAMPLES ids."""
    return tuple(islice(((*ident, number) for ident, bitmap in sorted(bitmaps.items()) for number in bitmap), SAMPLES))
