"""What a broker gave up: taken from the dead-letter queues by the runner once a trial has drained, and journalled as evidence.

A record is of the kind DEAD, in a journal of its own for each group. The accountant counts its messages in a column of their own:
they are no losses, and nobody processed them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from adapters.base import DeadLetters, Wiring
from bench.audit import ConsumerSource
from bench.clock import now_ns, sleep_until
from bench.journal import Kind, Writer
from bench.poison import row_of

_PAUSE_NS = 100_000_000
_QUIET_NS = 1_000_000_000  # another member may have counted the same message: then the queue decides, when it stays empty
MEMBER = 0xFFFF
"""The member of a group that its dead-letter queue stands for, in audits."""


class Letters:
    """The dead-letter queues of one session. Its journals are `PREFIX-dead-GROUP`."""

    def __init__(self, adapter: DeadLetters, wiring: Wiring, groups: Sequence[str], *, run: int, evidence: Path, prefix: str) -> None:
        self._adapter = adapter
        self._wiring = wiring
        self._groups = groups
        self._run = run
        self._evidence = evidence
        self._writers = {group: Writer(evidence, f"{prefix}-dead-{group}", segment_b=1 << 20) for group in groups}

    def collect(self, trial: int, wanted: Mapping[str, int], deadline_ns: int, watch: Callable[[], None]) -> list[ConsumerSource]:
        """Take out what lies there until each group has ``wanted`` messages of this trial and no more come; return where they are noted.

        ``wanted``: at least so many were given back, as its members counted them, each for itself. Raises AdapterError.
        """
        before = {group: writer.position for group, writer in self._writers.items()}
        found: dict[str, set[tuple[int, int, int]]] = {group: set() for group in self._groups}
        moved_ns = now_ns()
        while True:
            for index, group in enumerate(self._groups):
                size = len(found[group])
                self._take(index, group, trial, found[group])
                if len(found[group]) > size:
                    moved_ns = now_ns()
            now = now_ns()
            missing = any(len(found[group]) < wanted.get(group, 0) for group in self._groups)
            if now > deadline_ns or (not missing and now - moved_ns >= (_QUIET_NS if any(wanted.values()) else 0)):
                break
            watch()
            sleep_until(now + _PAUSE_NS)
        return [
            ConsumerSource(self._evidence, writer.name, before[group], writer.position, group=index, member=MEMBER)
            for index, (group, writer) in enumerate(self._writers.items())
        ]

    def _take(self, index: int, group: str, trial: int, found: set[tuple[int, int, int]]) -> None:
        for payload in self._adapter.dead_letters(self._wiring, group):
            writer, now, known = self._writers[group], now_ns(), row_of(payload, self._run)
            if known is None:
                writer.corrupt(trial=trial, group=index, t=now)
                continue
            of_trial, row = known
            writer.few(Kind.DEAD, [row], trial=of_trial, group=index, t=now)
            if of_trial == trial:
                found.add((row[0], row[1], row[5]))

    def close(self) -> None:
        """Cut the journals to what was written. Idempotent."""
        for writer in self._writers.values():
            writer.close()
