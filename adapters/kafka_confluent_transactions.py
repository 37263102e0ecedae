"""The transactional producer through confluent-kafka: what one send() takes is one transaction; it is confirmed when that is committed.

As with kafka-python (adapters/kafka_transactions.py) a producer has one transaction at a time, a thread ends it, and room() is 0
meanwhile. librdkafka's calls for transactions have time limits, and it refuses to commit what lacks a message.

Outcomes: committed = CONFIRMED; aborted, and the coordinator said so = FAILED, since no reader of committed messages ever sees it; else
INDETERMINATE. After any of the last two another producer takes its place, with the same transactional.id, so that the coordinator ends
what is left. One that has aborted could go on, but librdkafka 2.16 fails its next transaction too, where the broker had refused a message
of the one before ("skipped sequence numbers, requires epoch bump").
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from adapters.base import Block, Event, Outcomes, Status, Wiring
from adapters.errors import AdapterError
from adapters.kafka_confluent_client import AGAIN_S, Hears, said
from adapters.kafka_confluent_sender import Sender, check_size
from adapters.kafka_ending import EndsTransactions

_ANOTHER_S = 3.0  # one try of a producer in place of another


class TransactionalSender(EndsTransactions, Sender):
    """A Producer with a transactional.id; at most ``window`` messages a transaction, which may take ``limit_s`` seconds to end."""

    def __init__(
        self, connect: Callable[[Hears], Any], wiring: Wiring, outcomes: Outcomes, *, window: int, explicit: bool,
        limit_s: float,
    ) -> None:  # fmt: skip
        super().__init__(connect, wiring, outcomes, window=window, explicit=explicit, ordered=True)
        self._limit_s = limit_s
        self._begun_anew = False  # init_transactions() is done
        self._change = threading.Condition()
        self._start_ending(outcomes)

    def _get_ready(self, timeout_s: float) -> None:
        if not self._begun_anew:
            self._client.init_transactions(timeout_s)
            self._begun_anew = True

    def room(self) -> int:
        """The window, and nothing while a transaction is being ended; one that can make none is told by its next, and replaced."""
        return 0 if self._ending or self._closed else max(0, self._window - self._outstanding)

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:  # noqa: ARG002  # one topic serves all groups
        """Hands rows lo..hi to a transaction; waits at most ``timeout_s`` seconds for the end of the one before.

        A row that the client itself refuses (over its message.max.bytes) is accepted and failed, outside the transaction.
        Raises Refused for messages over the adapter's limit.
        """
        check_size(block)
        with self._change:
            if timeout_s > 0:
                self._change.wait_for(lambda: self._closed or self.room() > 0, timeout_s)
            end = lo + min(hi - lo, self.room())
            if end <= lo or not self._known:
                return 0
            self._filling = True
        try:
            return self._fill(block, lo, end)
        finally:
            with self._change:
                self._filling = False
                self._change.notify_all()

    def _fill(self, block: Block, lo: int, end: int) -> int:
        at, transaction = lo, self._transaction

        def delivered(error: KafkaError | None, _message: object) -> None:  # one that failed, which librdkafka knows too
            if error is not None:
                transaction.given_up(error.str())

        try:
            if not transaction.begun:
                self._client.begin_transaction()
                transaction.begun = True
        except KafkaException as refused:
            transaction.trouble = said(refused)
            return 0
        while at < end:
            taken, error = self._produce(block, at, end, delivered)
            if taken:
                transaction.take(block.first_id + at, taken)
                self._outstanding += taken
            at += taken
            if error is None:
                break
            self._events.append(Event("error", f"not sent: {said(error)}"))
            if isinstance(error, BufferError) or error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                transaction.given_up(said(error))  # this producer takes nothing more as it is
                break
            self._outcomes.run(block.first_id + at, 1, Status.FAILED)
            at += 1
        return at - lo

    def _end_open(self) -> tuple[Status, str]:
        """Commits, or aborts what is in trouble."""
        client, transaction = self._client, self._transaction
        until = time.monotonic() + self._limit_s
        if not transaction.trouble:
            why = self._tried(client.commit_transaction, until)
            if why is None:
                return Status.CONFIRMED, ""
            transaction.given_up(why.str())
            if why.retriable():  # it may still come to it
                return Status.INDETERMINATE, transaction.trouble
        failed = self._tried(client.abort_transaction, until)
        return (Status.FAILED if failed is None else Status.INDETERMINATE), transaction.trouble

    def _tried(self, call: Callable[[float], None], until: float) -> KafkaError | None:
        """A call for a transaction, again while it may be; what it failed with."""
        while True:
            left = until - time.monotonic()
            try:
                call(max(left, _ANOTHER_S))
            except KafkaException as error:
                inner: KafkaError = error.args[0]
                if not inner.retriable() or left <= 0 or self._closed:
                    return inner
            else:
                return None

    def _not_committed(self, why: str) -> None:
        """End the producer, and connect another, as often as that takes."""
        self._events.append(Event("error", f"a transaction was not committed: {why}"))
        self._drop()
        while not self._closed:
            try:
                self._client = self._connect(self._links.error)
                self._begun_anew = False
                self._get_ready(_ANOTHER_S)
            except (KafkaException, AdapterError) as error:
                self._events.append(Event("error", said(error)))
                time.sleep(AGAIN_S)
            else:
                if not self._closed:
                    self._links.fatal = ""
                    self._events.append(Event("reconnected", "another producer"))
                    return
        self._drop()

    def pump(self, timeout_s: float) -> None:
        """A plain wait of ``timeout_s`` seconds: the thread does the work."""
        time.sleep(max(timeout_s, 0.0))

    def _end_client(self) -> None:
        self._drop()
