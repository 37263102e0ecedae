"""Kinesis' sending side: PutRecords by one or more threads, and what its answers say of each record.

A call holds whatever waits, up to 500 records and 5 MiB, so that calls grow as the service slows down. A lane is a shard: each
record carries the first hash key of its shard's range as ExplicitHashKey, which decides, and the message's key as PartitionKey. What
goes to one shard goes through one thread, one call at a time: two calls would overtake one another.

PutRecords may take a part of a call. What it did not take has an ErrorCode: a throttled record (ProvisionedThroughputExceededException)
was not written, so it is FAILED; after an InternalFailure nobody knows. With ``resends`` the failed records are sent again, in their order
and before anything else of their shards, as the documentation proposes: then a record that was refused stands behind a later one of its
call that was not, and one after an InternalFailure may be written twice (INDETERMINATE, where all that follows is refused). PutRecords
promises no order within such a call.

Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html ,
https://docs.aws.amazon.com/streams/latest/dev/developing-producers-with-sdk.html
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from adapters import aws
from adapters.base import Block, Event, Outcomes, Status
from adapters.errors import Refused
from adapters.outcomes import tell

CALL_RECORDS = 500
CALL_BYTES = 5 << 20  # of data and partition keys; since 2025 AWS takes 10 MiB
KEY_CHARACTERS = 256
RECORD_BYTES = 1 << 20  # of data and partition key; AWS takes larger ones only where a stream is set so
PAYLOAD_BYTES_MAX = RECORD_BYTES - 4 * KEY_CHARACTERS
RESEND_S = 0.1  # before the first resend; twice as long before each one more

Row = tuple[int, bytes, int, str]
"""Id, payload, partition, partition key."""


class KinesisProducer:
    """Rows wait in a queue a thread; the threads send them and report the outcomes. ``_changed`` guards what they share."""

    def __init__(self, client: Any, stream: str, hash_keys: Sequence[str], settings: Mapping[str, Any], outcomes: Outcomes) -> None:
        """``hash_keys``: the first of each partition's shard."""
        self._client = client
        self._stream = stream
        self._hash_keys = hash_keys
        self._window: int = settings["window"]
        self._resends: int = settings["resends"]
        self._retries = settings["total_max_attempts"] > 1
        self._outcomes = outcomes
        self._events = aws.Events()
        self._requests = aws.Requests(client)
        self._queues: list[deque[Row]] = [deque() for _ in range(min(settings["threads"], len(hash_keys)))]
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._outstanding = 0
        self._told_ready = False
        self._threads = [
            threading.Thread(target=self._work, args=(rows,), name=f"kinesis-put-{n}", daemon=True) for n, rows in enumerate(self._queues)
        ]
        for thread in self._threads:
            thread.start()

    def ready(self, timeout_s: float) -> bool:  # noqa: ARG002  # the client's own time-outs hold
        """True when the stream can be written to."""
        try:
            told = self._client.describe_stream_summary(StreamName=self._stream)["StreamDescriptionSummary"]
        except (BotoCoreError, ClientError, OSError) as error:
            self._events.add("error", f"not ready: {error}")
            return False
        if told["StreamStatus"] not in ("ACTIVE", "UPDATING"):
            return False
        if not self._told_ready:
            self._told_ready = True
            self._events.add("ready")
        return True

    def room(self) -> int:
        """How many fit into the window."""
        return 0 if self._stop.is_set() else self._window - self._outstanding

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:  # noqa: ARG002  # one stream for all groups
        """Queues what the window takes. Raises Refused for messages over the limit."""
        if block.size > PAYLOAD_BYTES_MAX:
            raise Refused(f"kinesis: {block.size} bytes is over the limit of {PAYLOAD_BYTES_MAX} bytes a message (1 MiB with its key)")
        with self._changed:
            if self._outstanding >= self._window and timeout_s > 0:
                self._changed.wait(timeout_s)
            count = min(hi - lo, self.room())
            if count <= 0:
                return 0
            self._outstanding += count
        keys = block.keys
        queues, many = self._queues, len(self._queues)
        for row, (payload, partition) in enumerate(zip(block.messages(lo, lo + count), block.partitions[lo : lo + count], strict=True), lo):
            key = f"partition-{partition}" if keys is None else keys[row].decode(errors="replace")[:KEY_CHARACTERS] or "-"
            queues[partition % many].append((block.first_id + row, payload, partition, key))
        with self._changed:
            self._changed.notify_all()
        return count

    def _work(self, waiting: deque[Row]) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: waiting or self._stop.is_set())
            if self._stop.is_set():
                return
            rows = self._next_call(waiting)
            try:
                self._send(rows)
            finally:
                with self._changed:
                    self._outstanding -= len(rows)
                    self._changed.notify_all()

    @staticmethod
    def _next_call(waiting: deque[Row]) -> list[Row]:
        """As many of the waiting rows as one call takes."""
        rows: list[Row] = []
        held = 0
        while waiting and len(rows) < CALL_RECORDS:
            held += len(waiting[0][1]) + 4 * len(waiting[0][3])
            if rows and held > CALL_BYTES:
                break
            rows.append(waiting.popleft())
        return rows

    def _send(self, rows: list[Row]) -> None:
        """One call, and where it is set so those that follow for what it did not take; reports each row once."""
        sends = 0
        doubtful: set[int] = set()  # ids that an earlier send may have written
        while rows:
            failed: dict[int, Status] = {}  # what the answer refused, by index in rows
            rest = Status.INDETERMINATE
            try:
                rest = self._call(rows, failed)
            finally:  # whatever happened, each message has its outcome once
                again = sends < self._resends and not self._stop.is_set()
                found: dict[Status, list[int]] = {}
                for at, (ident, *_) in enumerate(rows):
                    if at not in failed or not again:
                        status = failed.get(at, rest)
                        sure = status is not Status.FAILED or ident not in doubtful
                        found.setdefault(status if sure else Status.INDETERMINATE, []).append(ident)
                for status, ids in () if self._stop.is_set() else found.items():  # after close() nothing is told
                    tell(self._outcomes, ids, status)
            if not again:
                return
            doubtful.update(rows[at][0] for at, status in failed.items() if status is Status.INDETERMINATE)
            rows = [rows[at] for at in failed]
            self._stop.wait(RESEND_S * 2**sends if rows else 0.0)
            sends += 1

    def _call(self, rows: Sequence[Row], failed: dict[int, Status]) -> Status:
        """One PutRecords; puts the records that its answer refuses into ``failed``, returns what became of the others."""
        records = [
            {"Data": payload, "PartitionKey": key, "ExplicitHashKey": self._hash_keys[partition]} for _, payload, partition, key in rows
        ]
        try:
            answer = self._client.put_records(StreamName=self._stream, Records=records)
        except (EndpointConnectionError, ConnectTimeoutError) as error:
            self._events.lost(str(error))
            self._events.add("error", str(error))
            # Never connected, so never sent; with retries an earlier attempt may have been.
            return Status.INDETERMINATE if self._retries else Status.FAILED
        except ClientError as error:
            self._events.add("error", str(error))
            return Status.FAILED if aws.is_refusal(error) else Status.INDETERMINATE
        except (BotoCoreError, OSError) as error:
            self._events.lost(str(error))
            self._events.add("error", str(error))
            return Status.INDETERMINATE
        self._events.reached()
        if answer.get("FailedRecordCount"):
            for at, record in enumerate(answer["Records"]):
                if why := record.get("ErrorCode"):
                    failed[at] = Status.FAILED if why == aws.THROTTLED and aws.only_try(answer) else Status.INDETERMINATE
                    self._events.add("error", f"record refused: {why}: {record.get('ErrorMessage', '')}")
        return Status.CONFIRMED

    def pump(self, timeout_s: float) -> None:
        """A plain wait: the threads do the work."""
        if timeout_s > 0:
            time.sleep(timeout_s)

    def flush(self, timeout_s: float) -> int | None:
        """Waits until every record has its outcome; how many have none."""
        with self._changed:
            self._changed.wait_for(lambda: not self._outstanding, timeout_s)
            return self._outstanding

    def events(self) -> Sequence[Event]:
        """ready; what calls and records failed of, counted."""
        return self._events.take()

    def requests(self) -> Mapping[str, int]:
        """Requests since the last call, by action."""
        return self._requests.take()

    def close(self) -> None:
        """Drops what is queued and waits a moment for calls under way; nothing is reported after it."""
        if self._stop.is_set():
            return
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(1.0)
        self._client.close()
