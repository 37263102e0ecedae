"""Which of Kafka's nodes leads what: partitions, consumer groups (their coordinators), the cluster itself (the controller)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.servers.common import host_ports
from bench.servers.probe import KafkaCluster, kafka_metadata

TIMEOUT_S = 0.5  # of a node that is paused
OFFSETS = "__consumer_offsets"
NOBODY = ""


class Leaders:
    """Asks one of ``addresses`` after another, beginning with the one that answered last. Used by one thread at a time or several.

    ``controller``: the controlling node's id, of what a broker says; None where nobody can tell.
    """

    def __init__(self, addresses: Sequence[str], controller: Callable[[KafkaCluster], int | None] = lambda _: None) -> None:
        self._pairs = host_ports("kafka", ",".join(addresses))
        self._controller = controller
        self._last = 0

    def __call__(self, wiring: Mapping[str, Any]) -> dict[str, str]:
        """Node names by "partition 0", ..., "controller", "coordinator of GROUP"; NOBODY where an election is not over.

        A coordinator leads the group's partition of __consumer_offsets: the absolute hash of its id (Java's), modulo their number
        (org.apache.kafka.coordinator.group.GroupCoordinatorService.partitionFor). Raises OSError where no node answers.
        """
        cluster = self._ask([wiring["topic"], OFFSETS])
        parts = {number: one.leader for (topic, number), one in sorted(cluster.partitions.items()) if topic == wiring["topic"]}
        found = {f"partition {number}": leader for number, leader in parts.items()}
        controller = self._controller(cluster)
        if controller is not None:
            found["controller"] = controller
        offsets = [one.leader for (topic, _), one in sorted(cluster.partitions.items()) if topic == OFFSETS]
        if offsets:
            groups = wiring["groups"].items()
            found |= {f"coordinator of {name}": offsets[java_hash(group) % len(offsets)] for name, group in groups}
        return {what: f"kafka.{leader}" if leader >= 0 else NOBODY for what, leader in found.items()}

    def _ask(self, topics: Sequence[str]) -> KafkaCluster:
        first, errors = self._last, []
        for turn in range(len(self._pairs)):
            at = (first + turn) % len(self._pairs)
            try:
                found = kafka_metadata(*self._pairs[at], TIMEOUT_S, topics)
            except (OSError, ValueError) as error:
                errors.append(str(error))
            else:
                self._last = at
                return found
        raise OSError("; ".join(errors))


def java_hash(text: str) -> int:
    """The absolute value of String.hashCode() as Kafka's Utils.abs() has it (the smallest number becomes 0)."""
    value = 0
    for unit in memoryview(text.encode("utf-16-le")).cast("H"):
        value = (31 * value + unit) & 0xFFFFFFFF
    return 0 if value == 1 << 31 else abs(value - (1 << 32 if value >> 31 else 0))


def raft_leader(folders: Sequence[Path]) -> Callable[[KafkaCluster], int | None]:
    """The controller of KRaft nodes whose data lies in ``folders``: the leader of the latest epoch that any of them wrote down.

    Brokers do not tell it to clients: the "controller" of their metadata is any broker (KIP-590).
    """

    def ask(_: KafkaCluster) -> int | None:
        states: list[tuple[int, int]] = []
        for folder in folders:
            with contextlib.suppress(OSError, ValueError, KeyError):  # being replaced just now
                state = json.loads((folder / "__cluster_metadata-0" / "quorum-state").read_text(encoding="utf-8"))
                states.append((int(state["leaderEpoch"]), int(state["leaderId"])))
        return max(states)[1] if states else None

    return ask
