"""Poison: messages that make a consumer's program fail, whoever tries. Each is given back, and never processed.

Stands between the harness's loop and the adapter's consumer, where a scenario asks for it: the loop sees only the other messages.
Every delivery of a poisonous one is journalled RECEIVED with the flag REFUSED: what became of it is told from that and from what
lies in the dead-letter queue (bench.dead_letters), not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.base import Batch, Consumer, Event
from bench import header
from bench.clock import now_ns
from bench.journal import REDELIVERED, REFUSED, Kind, Row, Writer
from bench.workload import Workload

_U16, _U32 = 0xFFFF, 0xFFFFFFFF


def row_of(payload: bytes, run: int) -> tuple[int, Row] | None:
    """Return the trial and the journal's row of a message; None of one that is damaged, a canary, or of another run."""
    if len(payload) < header.SIZE:
        return None
    words = header.words_of(payload)
    flags = words[2] >> 48
    if words[0] != header.MAGIC | run << 32 or flags & header.CANARY or not header.holds(words):
        return None
    return words[1] & _U32, (words[1] >> 32 & _U16, words[1] >> 48, words[2] & _U32, words[2] >> 32 & _U16, flags, words[3])


class Sifter:
    """A Consumer that keeps poison back. Only of this run's messages: canaries and what is not ours pass."""

    def __init__(self, consumer: Consumer, writer: Writer, workload: Workload, *, run: int, group: int) -> None:
        self._consumer = consumer
        self._writer = writer
        self._every, self._how = workload.poison_every, workload.poison_how
        self._run = run
        self._group = group
        self._seen: dict[int, set[tuple[int, int, int]]] = {}  # by trial: producer, epoch, sequence
        self._deliveries: dict[int, int] = {}

    def messages(self, trial: int) -> int:
        """How many different messages of a trial were given back."""
        return len(self._seen.get(trial, ()))

    def deliveries(self, trial: int) -> int:
        """How often."""
        return self._deliveries.get(trial, 0)

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """What came without the poison, which has gone back; None where nothing else came."""
        batch = self._consumer.poll(max_messages, timeout_s)
        if batch is None or not batch.payloads:
            return batch
        now, kept = now_ns(), []
        for i, payload in enumerate(batch.payloads):
            found = self._poisonous(payload)
            if found is None:
                kept.append(i)
                continue
            trial, about = found
            flags = REFUSED | (REDELIVERED if batch.redelivered is not None and batch.redelivered[i] else 0)
            self._writer.few(Kind.RECEIVED, [(*about[:4], about[4] | flags, about[5])], trial=trial, group=self._group, t=now)
            self._seen.setdefault(trial, set()).add((about[0], about[1], about[5]))
            self._deliveries[trial] = self._deliveries.get(trial, 0) + 1
            self._consumer.settle(batch, i, self._how)
        if not kept:
            return None  # nothing to acknowledge: each was settled by itself
        return Batch(
            payloads=[batch.payloads[i] for i in kept],
            count=len(kept),
            positions=None if batch.positions is None else [batch.positions[i] for i in kept],
            redelivered=None if batch.redelivered is None else [batch.redelivered[i] for i in kept],
            token=(batch, kept),
        )

    def _poisonous(self, payload: bytes) -> tuple[int, Row] | None:
        """The trial and the row of a message that is poison."""
        if len(payload) < header.SIZE or header.sequence_of(payload) % self._every != self._every - 1:
            return None
        return row_of(payload, self._run)

    def ack(self, batch: Batch, upto: int) -> None:
        """As of the messages that are left: what was given back in between is settled already."""
        whole, kept = batch.token
        self._consumer.ack(whole, kept[upto - 1] + 1 if upto else 0)

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Of a message that is left."""
        whole, kept = batch.token
        self._consumer.settle(whole, kept[index], how)

    def idle(self, seconds: float) -> None:
        """As the consumer does."""
        self._consumer.idle(seconds)

    def events(self) -> Sequence[Event]:
        """As the consumer has them."""
        return self._consumer.events()

    def close(self) -> None:
        """As the consumer does."""
        self._consumer.close()

    def report(self, trial: int) -> dict[str, Any]:
        """`poison` of a consumer in trial.json."""
        return {"messages": self.messages(trial), "deliveries": self.deliveries(trial)}
