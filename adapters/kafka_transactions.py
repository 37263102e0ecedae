"""Kafka's transactional producer: what one send() takes is one transaction; it is confirmed when that is committed.

A producer has one transaction at a time, and committing takes several round trips, in which it takes nothing more: room() is
0 meanwhile, so a load that is faster sends more messages in each transaction, up to the scenario's batch. kafka-python's
commit_transaction() and flush() block, so a thread calls them. By its source kafka-python 3.0 commits a transaction also
where delivery_timeout_ms gave up some of its messages; here it is aborted as soon as one was given up. And where the broker dies
it may drop the request that ends a transaction, and then waits for its answer for good (seen after a SIGKILL of the broker, the
client's thread busy all the while): what has not ended after transaction_timeout_ms, when the coordinator aborts it anyway, is given up.

Outcomes: committed = CONFIRMED; aborted, and the coordinator said so = FAILED, since no reader of committed messages ever sees
it; else INDETERMINATE. After any of the last two the producer is replaced: the new one has the same transactional_id, so
the coordinator ends what its predecessor left and refuses what of it is still under way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from kafka import errors as kafka_errors

from adapters.base import Block, Event, Outcomes, Status, Wiring
from adapters.kafka_client import shut
from adapters.kafka_ending import EndsTransactions, Transaction
from adapters.kafka_sender import Sender, check_size
from adapters.kafka_shared import within


class TransactionalSender(EndsTransactions, Sender):
    """A KafkaProducer with a transactional_id; at most ``window`` messages a transaction."""

    def __init__(self, connect: Callable[[], Any], wiring: Wiring, outcomes: Outcomes, *, window: int, explicit: bool) -> None:
        super().__init__(connect, wiring, outcomes, window=window, explicit=explicit)
        self._limit_s = self._client.config["transaction_timeout_ms"] / 1000
        self._start_ending(outcomes)

    def _get_ready(self, client: Any) -> None:
        client.init_transactions()  # goes on with one that timed out; does nothing after the first

    def room(self) -> int:
        """The window, and nothing while a transaction is being ended."""
        return 0 if self._ending else super().room()

    def _room_within(self, timeout_s: float) -> int:
        if timeout_s > 0 and not self._closed and not self.room():
            with self._change:
                self._change.wait_for(lambda: self._closed or self.room() > 0, timeout_s)
        return self.room()

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:  # noqa: ARG002  # one topic serves all groups
        """Hands rows lo..hi to a transaction; waits at most ``timeout_s`` seconds for the end of the one before.

        A row that the client itself refuses (over its max_request_size) is accepted and failed, outside the transaction.
        Raises Refused for messages over the adapter's limit.
        """
        check_size(block)
        most = min(hi - lo, self._room_within(timeout_s))
        if most <= 0:
            return 0
        with self._change:
            if self._ending:  # since room() was asked
                return 0
            self._filling = True
        accepted = 0
        try:
            if self._transaction.begun or self._begin():
                accepted = self._fill(block, lo, most, timeout_s)
        finally:
            with self._change:
                self._filling = False
                self._change.notify_all()
        return accepted

    def _begin(self) -> bool:
        try:
            self._client.begin_transaction()
        except kafka_errors.KafkaError as error:
            self._gave_up(error)
        else:
            self._transaction.begun = True
        return self._transaction.begun

    def _fill(self, block: Block, lo: int, most: int, timeout_s: float) -> int:
        send, topic = self._client.send, self._topic
        self._client.config["max_block_ms"] = timeout_s * 1000
        accepted, transaction = 0, self._transaction

        def failed(error: BaseException) -> None:  # in the client's thread
            transaction.given_up(repr(error))

        for ident, message, key, partition in self._rows(block, lo, most):
            try:
                future = send(topic, message, key, None, partition)
            except (kafka_errors.MessageSizeTooLargeError, ValueError) as error:
                self._events.append(Event("error", f"not sent: {error!r}"))
                self._report(ident, 1, Status.FAILED)
            except kafka_errors.KafkaTimeoutError as error:
                self._events.append(Event("error", f"not sent: {error!r}"))
                break
            except kafka_errors.KafkaError as error:  # the transaction is in trouble already
                transaction.given_up(repr(error))
                break
            else:
                future.add_errback(failed)
                transaction.take(ident)
                self._outstanding += 1
            accepted += 1
        return accepted

    def _end_open(self) -> tuple[Status, str]:
        """As _end(), within the transaction's time limit."""
        ended = within(self._limit_s, partial(self._end, self._client, self._transaction))
        return ended or (Status.INDETERMINATE, f"it had not ended after {self._limit_s:g} s (transaction_timeout_ms)")

    def _end(self, client: Any, transaction: Transaction) -> tuple[Status, str]:
        """Commits, or aborts what is in trouble; waits as long as that takes."""
        try:
            self._flush_client(client)
            if not transaction.trouble:
                client.commit_transaction()
                return Status.CONFIRMED, ""
        except kafka_errors.KafkaError as error:
            transaction.given_up(repr(error))
        if self._closed:
            return Status.INDETERMINATE, transaction.trouble
        try:
            client.abort_transaction()
        except kafka_errors.KafkaError as error:
            self._events.append(Event("error", f"not even aborted: {error!r}"))
            return Status.INDETERMINATE, transaction.trouble
        return Status.FAILED, transaction.trouble

    def _flush_client(self, client: Any) -> None:
        """KafkaProducer.flush(), which kafka-python 3.0 ends too early, with UnknownError, where a batch was divided meanwhile."""
        while not self._closed:
            with contextlib.suppress(kafka_errors.UnknownError):
                client.flush()
                return

    def _not_committed(self, why: str) -> None:
        self._gave_up(kafka_errors.TransactionAbortedError(why))

    def _end_client(self) -> None:
        if not self._replacing:
            shut(self._client)
