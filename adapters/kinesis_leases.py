"""The lease table of a Kinesis group's members: which member owns which shard, and how far each shard is processed.

The Kinesis Client Library keeps such a table in DynamoDB, one a consumer application. This one is emulated: a SQLite file of this
machine with the same fields and conditions, shared by the members' processes, and it outlives them. What follows the KCL:

* a lease has an owner and a counter; its owner raises the counter each third of ``failoverTimeMillis``. Whoever has watched a counter
  stand still for that long, by its own clock, takes the lease for expired: no two clocks are compared
* a member wants shards / members of them, rounded up. It takes those without an owner and the expired ones; only where there are none
  it steals, each from the member that has most by then, ``maxLeasesToStealAtOneTime`` at a time
* each write is conditional: a lease is taken only with the counter that was seen, a checkpoint written only while the lease is the same
  owner's that it was when the messages were read (``switches``: a member that was asleep cannot set its successor back)

Source: https://github.com/awslabs/amazon-kinesis-client/blob/master/docs/lease-lifecycle.md ,
https://docs.aws.amazon.com/streams/latest/dev/shared-throughput-kcl-consumers.html
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from adapters.errors import Unreachable

_BUSY_S = 5.0  # how long a write waits for another member's
_TABLE = """CREATE TABLE IF NOT EXISTS leases (
    consumers TEXT, shard INTEGER, owner TEXT NOT NULL DEFAULT '', counter INTEGER NOT NULL DEFAULT 0,
    switches INTEGER NOT NULL DEFAULT 0, checkpoint TEXT NOT NULL DEFAULT '', PRIMARY KEY (consumers, shard))"""


class Lease(NamedTuple):
    """One shard of one group. ``owner`` "" = nobody; ``checkpoint`` "" = none yet, else the last sequence number that was processed."""

    shard: int
    owner: str
    counter: int
    switches: int  # how often it went to another owner
    checkpoint: str


class LeaseTable:
    """One process's connection to the table; used by one thread. Raises Unreachable where the file cannot be used."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._translated():
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            # A killed process loses nothing that the kernel holds, which is all that is promised here.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute(_TABLE)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Unreachable(f"kinesis: the lease table {self._path}: {error}") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def make(self, groups: Sequence[str], shards: int, *, anew: bool = False) -> None:
        """Add the leases that are missing; ``anew``: the stream is a new one, and checkpoints of an older one of its name mean nothing."""
        with self._writing() as db:
            rows = [(group, shard) for group in groups for shard in range(shards)]
            db.executemany("INSERT OR IGNORE INTO leases (consumers, shard) VALUES (?, ?)", rows)
            if anew:
                db.execute("UPDATE leases SET checkpoint = ''")

    def read(self, group: str) -> list[Lease]:
        """All leases of a group, by shard."""
        with self._translated():
            found = self._db.execute(
                "SELECT shard, owner, counter, switches, checkpoint FROM leases WHERE consumers = ? ORDER BY shard", (group,)
            )
            return [Lease(*row) for row in found]

    def take(self, group: str, owner: str, leases: Sequence[Lease]) -> None:
        """Make ``leases`` this owner's: those of them that are as they were seen."""
        with self._writing() as db:
            db.executemany(
                "UPDATE leases SET owner = ?, counter = counter + 1, switches = switches + 1"
                " WHERE consumers = ? AND shard = ? AND owner = ? AND counter = ?",
                [(owner, group, lease.shard, lease.owner, lease.counter) for lease in leases],
            )

    def renew(self, group: str, owner: str) -> None:
        """Raise the counters of all that this owner has."""
        with self._writing() as db:
            db.execute("UPDATE leases SET counter = counter + 1 WHERE consumers = ? AND owner = ?", (group, owner))

    def checkpoint(self, group: str, owner: str, done: Mapping[int, tuple[int, str]]) -> set[int]:
        """Write how far shards are processed ({shard: (switches, sequence number)}); the shards whose lease is no longer the same."""
        gone = set()
        with self._writing() as db:
            for shard, (switches, sequence) in done.items():
                changed = db.execute(
                    "UPDATE leases SET checkpoint = ? WHERE consumers = ? AND shard = ? AND owner = ? AND switches = ?",
                    (sequence, group, shard, owner, switches),
                )
                if not changed.rowcount:
                    gone.add(shard)
        return gone

    def release(self, group: str, owner: str) -> None:
        """Give up all that this owner has, so that others need not wait until it is expired."""
        with self._writing() as db:
            db.execute("UPDATE leases SET owner = '', counter = counter + 1 WHERE consumers = ? AND owner = ?", (group, owner))

    def close(self) -> None:
        """Idempotent."""
        with self._translated():
            self._db.close()


def remove(path: str) -> None:
    """Remove a table with SQLite's own files beside it; idempotent."""
    for ending in ("", "-wal", "-shm"):
        Path(path + ending).unlink(missing_ok=True)


class Watch:
    """Since when, by this member's clock, each lease's counter stands where it is."""

    def __init__(self, failover_s: float) -> None:
        self._failover_s = failover_s
        self._since: dict[int, tuple[int, float]] = {}

    def expired(self, leases: Sequence[Lease], now_s: float) -> set[int]:
        """The shards that may be taken: without an owner, or whose counter has stood still for the fail-over time."""
        found = set()
        for lease in leases:
            counter, since_s = self._since.get(lease.shard, (-1, now_s))
            if counter != lease.counter:
                self._since[lease.shard] = (lease.counter, now_s)
                since_s = now_s
            if not lease.owner or now_s - since_s >= self._failover_s:
                found.add(lease.shard)
        return found


def to_take(leases: Sequence[Lease], expired: set[int], me: str, steal_max: int, chance: random.Random) -> list[Lease]:
    """The leases that a member should take now, as KCL's lease taker chooses (at random among equals)."""
    owned = Counter(lease.owner for lease in leases if lease.owner and lease.shard not in expired)
    workers = len({*owned, me})
    target = -(-len(leases) // workers)
    mine = sum(lease.owner == me for lease in leases)
    needed = target - mine
    if needed <= 0:
        return []
    free = [lease for lease in leases if lease.shard in expired and lease.owner != me]
    if free:
        return chance.sample(free, min(needed, len(free)))
    stolen: list[Lease] = []
    del owned[me]
    while needed > 0 and owned and len(stolen) < steal_max:
        richest = max(owned, key=lambda owner: owned[owner])
        # One that has just its share gives only to one that has two too few.
        if owned[richest] < target or (owned[richest] == target and needed == 1):
            break
        stolen.append(chance.choice([lease for lease in leases if lease.owner == richest and lease not in stolen]))
        owned[richest] -= 1
        needed -= 1
    return stolen
