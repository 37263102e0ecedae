"""What a transactional producer does with its open transaction, with either client library: a thread ends one after the other."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from adapters.base import Outcomes, Status

_CLOSE_S = 2.0


@dataclass
class Transaction:
    """An open transaction, or one that is not begun yet. ``trouble``: why it has to be aborted."""

    taken: list[tuple[int, int]] = field(default_factory=list)  # first id and count, of neighbours
    begun: bool = False
    trouble: str = ""

    def take(self, first: int, many: int = 1) -> None:
        """Add messages."""
        if self.taken and sum(self.taken[-1]) == first:
            self.taken[-1] = (self.taken[-1][0], self.taken[-1][1] + many)
        else:
            self.taken.append((first, many))

    def given_up(self, why: str) -> None:
        """A message of it was not written, or it is in trouble otherwise; the first reason counts."""
        self.trouble = self.trouble or why


class EndsTransactions(ABC):
    """Before the class of a sender that has these: its outcomes are those of transactions, and room() is 0 while ``_ending``."""

    _change: threading.Condition
    _closed: bool
    _outstanding: int

    def _start_ending(self, outcomes: Outcomes) -> None:
        """Last in __init__: from now on a thread ends transactions."""
        self._outcomes = outcomes
        self._transaction = Transaction()
        self._filling = False  # send() adds to it
        self._ending = False  # the thread ends it
        threading.Thread(target=self._end_each, name="end-kafka-transactions", daemon=True).start()

    @abstractmethod
    def _end_open(self) -> tuple[Status, str]:
        """Commits the open transaction or aborts it, within its time limit; what became of it, and why it was not committed."""

    @abstractmethod
    def _not_committed(self, why: str) -> None:
        """Another producer has to take this one's place."""

    @abstractmethod
    def _end_client(self) -> None:
        """Last of close()."""

    def _end_each(self) -> None:
        """The thread: ends one transaction after the other."""
        while True:
            with self._change:
                self._change.wait_for(
                    lambda: self._closed or ((self._transaction.taken or self._transaction.trouble) and not self._filling)
                )
                if self._closed:
                    return
                self._ending = True
            status, why = self._end_open()
            with self._change:
                if self._closed:  # close() has reported it
                    return
                self._tell_open(status)
            if status is not Status.CONFIRMED:
                self._not_committed(why)
            with self._change:
                self._ending = False
                self._change.notify_all()

    def _tell_open(self, status: Status) -> None:
        for first, many in self._transaction.taken:
            self._outcomes.run(first, many, status)
        self._transaction, self._outstanding = Transaction(), 0

    def flush(self, timeout_s: float) -> int:
        """Waits at most ``timeout_s`` seconds until the last transaction has ended; how many messages of it have no outcome."""
        with self._change:
            self._change.wait_for(lambda: not self._outstanding, timeout_s)
        return self._outstanding

    def close(self) -> None:
        """Waits at most 2 s for the last transaction; what is left of it is indeterminate. Idempotent."""
        if self._closed:
            return
        self.flush(_CLOSE_S)
        with self._change:
            self._closed = True
            self._tell_open(Status.INDETERMINATE)
            self._change.notify_all()
        self._end_client()
