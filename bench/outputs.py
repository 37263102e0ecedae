"""What consumers wrote, where that is what counts (capabilities.judged_on_outputs): read by the runner, and journalled as evidence.

Such a consumer is a stage: it writes what it processed, in a transaction with its acknowledgement. That it worked on a message
twice is in its own journal, and no repetition; what a reader of committed messages finds is PROCESSED, in a journal of its own
for each group, and the accountant takes that in place of the consumers' (ConsumerSource.worked).

A record's time is that of the message itself, made by the client that wrote it, which is before its transaction ended: from the wall
clock, by what both clocks say as it is read, to the end of the system's unit (Kafka: a millisecond).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from adapters.base import Batch, OutputReader, Wiring, WritesOutputs
from bench.account import Account
from bench.audit_sent import ConsumerSource
from bench.clock import monotonic_ns, now_ns, sleep_until
from bench.consuming import account_of
from bench.journal import Writer
from bench.workload import Workload

_PAUSE_NS = 20_000_000
_QUIET_NS = 300_000_000  # all is there, and nothing for so long: what was written twice would have come with it
_MORE_NS = 20_000_000_000  # to read them takes its time as well
_UNIT_NS = 1_000_000  # of Output.written_ns
MEMBER = 0xFFFE
"""The member of a group that its outputs stand for, in audits."""


class Outputs:
    """The outputs of one session's groups. Its journals are `PREFIX-out-GROUP`."""

    def __init__(self, adapter: WritesOutputs, wiring: Wiring, groups: Sequence[str], *, run: int, evidence: Path, prefix: str) -> None:
        self._groups = groups
        self._run = run
        self._evidence = evidence
        self._writers = [Writer(evidence, f"{prefix}-out-{group}", segment_b=1 << 20) for group in groups]
        self._readers: list[OutputReader] = []
        self._accounts: list[Account] = []
        self._before: list[int] = []
        try:
            for group in groups:
                self._readers.append(adapter.outputs(wiring, group))
        except BaseException:
            self.close()
            raise

    def begin(self, trial: int, workload: Workload) -> list[tuple[str, int]]:
        """Account from now on for ``trial``; return name and position of each group's journal."""
        if self._accounts:
            self.take()  # what is left of the trial before
        self._accounts = [
            account_of(workload, run=self._run, trial=trial, group=index, writer=writer) for index, writer in enumerate(self._writers)
        ]
        for account in self._accounts:
            account.keep_positions = True  # one that is there twice was written twice
        self._before = [writer.position for writer in self._writers]
        return [(writer.name, writer.position) for writer in self._writers]

    def take(self) -> int:
        """Journal what came since the last time; return how many messages of the trial that were."""
        before = self._counts()
        for reader, account in zip(self._readers, self._accounts, strict=True):
            for written_ns, some in groupby(reader.read(), key=lambda one: one.written_ns):
                rows = list(some)
                batch = Batch([row.payload for row in rows], count=len(rows), positions=[row.position for row in rows])
                account.take(batch, monotonic_ns(written_ns + _UNIT_NS))
                account.settle()
        return sum(self._counts()) - sum(before)

    def collect(self, wanted: Mapping[str, int], deadline_ns: int, watch: Callable[[], None]) -> tuple[int | None, bool]:
        """Take until each group has ``wanted`` messages and no more come, or until the deadline; while more come, for 20 s after it.

        Return when the last was found (None: some never were) and whether they still came in the last second.
        """
        began_ns = moved_ns = now_ns()
        while True:
            if self.take():
                moved_ns = now_ns()
            now = now_ns()
            missing = any(count < wanted[group] for group, count in zip(self._groups, self._counts(), strict=True))
            if not missing and now - moved_ns >= _QUIET_NS:
                return moved_ns, False
            moving = moved_ns > began_ns and now - moved_ns < 1_000_000_000
            if now > deadline_ns and (not moving or now > deadline_ns + _MORE_NS):
                return None, moving
            watch()
            sleep_until(now + _PAUSE_NS)

    def _counts(self) -> list[int]:
        return [account.received for account in self._accounts]

    def sources(self) -> list[ConsumerSource]:
        """Where the trial's outputs are noted."""
        return [
            ConsumerSource(self._evidence, writer.name, before, writer.position, group=index, member=MEMBER)
            for index, (writer, before) in enumerate(zip(self._writers, self._before, strict=True))
        ]

    def close(self) -> None:
        """Cut the journals to what was written, and close the connections. Idempotent."""
        for writer in self._writers:
            writer.close()
        for reader in self._readers:
            reader.close()
        self._readers = []
