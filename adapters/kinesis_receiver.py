"""Kinesis' receiving side: shards by lease, GetRecords in turn, checkpoints. One thread, no callbacks.

A shard is read from after its checkpoint (AFTER_SEQUENCE_NUMBER), or from its oldest record (TRIM_HORIZON) where there is none, at most
once in ``idleTimeBetweenReadsInMillis``: GetRecords does not wait for records, and a shard gives five reads a second to all groups
together. What a read brings waits here until it is polled; the shard is not read again before.

ack() writes the checkpoint of each shard. One that fails is tried again with the next; one of a shard that another member has taken
meanwhile is refused, which is the event "ack-failed": those messages come again. Each second the leases are looked at: what was taken
away is dropped, what is wanted is taken (adapters/kinesis_leases.py).

Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html ,
https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html
"""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from adapters import aws
from adapters.base import Batch, Event
from adapters.errors import Unreachable, Unsupported
from adapters.kinesis_leases import LeaseTable, Watch, to_take

_FAILED_S = 0.2  # a shard that could not be read is left alone so long: a dead server refuses at once
_CLOSED_S = float("inf")
_TRIES = 3


def position(sequence: str) -> int:
    """A sequence number, which has 186 bits, as one of 63: a digest, so it identifies a record and says nothing of the order."""
    return int.from_bytes(hashlib.blake2b(sequence.encode(), digest_size=8).digest(), "little") >> 1


@dataclass
class _Shard:
    """A shard whose lease this member has."""

    switches: int
    last: str  # the last record that was read, "" = none: where reading goes on without an iterator
    iterator: str = ""
    due_s: float = 0.0  # when it may be read again


@dataclass
class _Read:
    """Records of one shard that were read and not polled yet, oldest first."""

    shard: int
    switches: int
    records: deque[tuple[str, bytes]]  # sequence number, payload


class KinesisConsumer:
    """One member of a group."""

    def __init__(
        self, client: Any, stream: str, shards: Sequence[str], table: LeaseTable, *, group: str, settings: Mapping[str, Any]
    ) -> None:
        """``shards``: their ids, by partition. Raises Unreachable where the lease table cannot be used."""
        self._client = client
        self._stream = stream
        self._shard_ids = shards
        self._table = table
        self._group = group
        self._me = f"{group}-{uuid.uuid4().hex[:12]}"  # a worker's id: one that is started again is another
        self._limit: int = settings["Limit"]
        self._idle_s: float = settings["idleTimeBetweenReadsInMillis"] / 1000
        self._renew_s: float = settings["failoverTimeMillis"] / 3000
        self._look_s: float = min(settings["leaseTakerIntervalMillis"] / 1000, self._renew_s)  # leases are renewed when they are looked at
        self._steal_max: int = settings["maxLeasesToStealAtOneTime"]
        self._watch = Watch(settings["failoverTimeMillis"] / 1000)
        self._chance = random.Random(self._me)
        self._events = aws.Events()
        self._requests = aws.Requests(client)
        self._assigned: list[Event] = []
        self._owned: dict[int, _Shard] = {}
        self._read: deque[_Read] = deque()
        self._polled: deque[tuple[int, int, str]] = deque()  # shard, switches and sequence number of what is not acknowledged
        self._first = 0  # number of the first of them, over all that was polled
        self._pending: dict[int, tuple[int, str]] = {}  # acknowledged, and not in the table yet
        self._next_look_s = self._next_renewal_s = 0.0
        self._closed = False
        self._events.add("ready")
        self._keep()
        if not self._owned:
            self._tell()  # nothing yet, which has to be said

    # ---- leases

    def _keep(self) -> None:
        """Renew, look and take where it is time to. Raises Unreachable where the table cannot be used."""
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + self._look_s
        if now_s >= self._next_renewal_s:
            self._next_renewal_s = now_s + self._renew_s
            self._table.renew(self._group, self._me)
        leases = self._table.read(self._group)
        for _ in range(_TRIES):  # another may be quicker: members that come at the same time all want all
            wanted = to_take(leases, self._watch.expired(leases, now_s), self._me, self._steal_max, self._chance)
            if not wanted:
                break
            self._table.take(self._group, self._me, wanted)
            leases = self._table.read(self._group)
        mine = {lease.shard: lease for lease in leases if lease.owner == self._me}
        before = {shard: held.switches for shard, held in self._owned.items()}
        for shard in [shard for shard, switches in before.items() if shard not in mine or mine[shard].switches != switches]:
            del self._owned[shard]
        for shard, lease in mine.items():
            if shard not in self._owned:
                self._owned[shard] = _Shard(lease.switches, lease.checkpoint)
        if {shard: held.switches for shard, held in self._owned.items()} != before:
            self._tell()

    def _tell(self) -> None:
        self._assigned.append(Event("assigned", partitions=tuple(sorted(self._owned))))

    def _kept(self) -> None:
        try:
            self._keep()
        except Unreachable as error:
            self._events.add("error", str(error))

    def _holds(self, shard: int, switches: int) -> bool:
        held = self._owned.get(shard)
        return held is not None and held.switches == switches

    # ---- polling

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """What was read, at most max_messages; reads the shards that are due, and waits for the first message only."""
        until_s = time.monotonic() + timeout_s
        fetched = False
        while not self._closed:
            self._kept()
            if (batch := self._batch(max_messages)) is not None:
                return batch
            now_s = time.monotonic()
            shard = min(self._owned, key=lambda shard: self._owned[shard].due_s, default=None)
            due_s = _CLOSED_S if shard is None else self._owned[shard].due_s
            if shard is not None and due_s <= now_s and (now_s < until_s or not fetched):
                fetched = True  # at least one, however short the time is
                self._fetch(shard, self._owned[shard])
            elif now_s >= until_s:
                return None
            else:
                time.sleep(max(0.0, min(until_s, due_s, self._next_look_s) - now_s))
        return None

    def _batch(self, max_messages: int) -> Batch | None:
        payloads: list[bytes] = []
        positions: list[int] = []
        token = self._first + len(self._polled)
        while self._read and len(payloads) < max_messages:
            read = self._read[0]
            if not self._holds(read.shard, read.switches):
                self._read.popleft()  # whoever has it now reads it again
                continue
            for _ in range(min(len(read.records), max_messages - len(payloads))):
                sequence, payload = read.records.popleft()
                payloads.append(payload)
                positions.append(position(sequence))
                self._polled.append((read.shard, read.switches, sequence))
            if not read.records:
                self._read.popleft()
        return Batch(payloads, count=len(payloads), positions=positions, token=token) if payloads else None

    def _fetch(self, number: int, shard: _Shard) -> None:
        """Read a shard once. What fails is an event, and the shard is left alone for a moment."""
        now_s = time.monotonic()
        shard.due_s = now_s + max(self._idle_s, _FAILED_S)
        try:
            shard.iterator = shard.iterator or self._iterator(number, shard)
            answer = self._client.get_records(ShardIterator=shard.iterator, Limit=self._limit)
        except ClientError as error:
            self._events.add("error", f"read: {error}")
            if aws.code(error) != aws.THROTTLED:
                shard.iterator = ""  # expired, or of a stream that is gone: goes on after the last record that was read
            return
        except (BotoCoreError, OSError) as error:
            self._events.add("error", f"read: {error}")
            self._events.lost(str(error))
            return
        self._events.reached()
        shard.due_s = now_s + self._idle_s
        shard.iterator = answer.get("NextShardIterator") or ""
        if not shard.iterator:
            shard.due_s = _CLOSED_S
            self._events.add("error", f"{self._shard_ids[number]} was closed: a stream that is resharded is not followed")
        records = [(str(record["SequenceNumber"]), bytes(record["Data"])) for record in answer["Records"]]
        if records:
            shard.last = records[-1][0]
            self._read.append(_Read(number, shard.switches, deque(records)))

    def _iterator(self, number: int, shard: _Shard) -> str:
        return iterator_of(self._client, self._stream, self._shard_ids[number], shard.last, self._events)

    # ---- acknowledging

    def ack(self, batch: Batch, upto: int) -> None:
        """Checkpoints all that was polled before, and ``upto`` of this batch. What fails goes with the next one."""
        while self._polled and self._first < batch.token + upto:
            shard, switches, sequence = self._polled.popleft()
            self._first += 1
            self._pending[shard] = (switches, sequence)
        if self._closed:
            self._events.add("ack-failed", "the consumer is closed")
        else:
            self._checkpoint()

    def _checkpoint(self) -> None:
        if not self._pending:
            return
        try:
            gone = self._table.checkpoint(self._group, self._me, self._pending)
        except Unreachable as error:
            self._events.add("ack-failed", f"{error}: it goes again")
            return
        if gone:
            self._events.add("ack-failed", f"shards {sorted(gone)} went to another member: what it has not seen acknowledged comes again")
            if lost := [shard for shard in gone if self._holds(shard, self._pending[shard][0])]:
                for shard in lost:
                    del self._owned[shard]
                self._tell()
        self._pending = {}

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported: a checkpoint is a place in a shard."""
        raise Unsupported(f"Kinesis has checkpoints, no single messages: message {index} of {batch.count} cannot be settled ({how})")

    def idle(self, seconds: float) -> None:
        """Waits; keeps the leases up."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            if not self._closed:
                self._kept()
            time.sleep(min(left_s, self._look_s))

    def events(self) -> Sequence[Event]:
        """ready, assigned, ack-failed, error, closed and reconnected; all but the assignments counted."""
        assigned, self._assigned = self._assigned, []
        return [*self._events.take(), *assigned]

    def requests(self) -> Mapping[str, int]:
        """Requests since the last call, by action: reads that bring nothing too."""
        return self._requests.take()

    def close(self) -> None:
        """Writes the last checkpoints and gives up the leases; what was not acknowledged is read again by whoever has them then."""
        if self._closed:
            return
        self._closed = True
        self._checkpoint()
        try:
            self._table.release(self._group, self._me)
            self._table.close()
        except Unreachable as error:
            self._events.add("error", f"leases not given up: {error}")
        self._client.close()


def iterator_of(client: Any, stream: str, shard: str, after: str, events: aws.Events | None = None) -> str:
    """An iterator of a shard from after a sequence number, "" = from its oldest record. Raises botocore's errors.

    A number that this stream does not know is that of a stream of the same name before it (an emulator that came back empty): then too
    it is read from the oldest record.
    """
    where = {"StreamName": stream, "ShardId": shard}
    if after:
        try:
            answer = client.get_shard_iterator(**where, ShardIteratorType="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=after)
            return str(answer["ShardIterator"])
        except ClientError as error:
            if aws.code(error) != "InvalidArgumentException":
                raise
            if events is not None:
                events.add("error", f"{shard} does not know its checkpoint {after}: read from its oldest record")
    return str(client.get_shard_iterator(**where, ShardIteratorType="TRIM_HORIZON")["ShardIterator"])
