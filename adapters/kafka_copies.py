"""How many brokers have a copy of Kafka's messages, and how many of them have a message for certain once it is acknowledged.

acks=all waits for every replica that is *in sync* at that moment: all of them while nothing is wrong, and never fewer than
min.insync.replicas, below which the broker refuses the message. So that number is what the reply promises; the replication factor
is what there will be, as far as brokers live. https://kafka.apache.org/documentation/#topicconfigs_min.insync.replicas
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.errors import BadSetting

_FACTOR = 3


@dataclass(frozen=True)
class Copies:
    """Of a topic: how many brokers have a partition (``factor``), and how many have to be in sync for acks=all (``synced``)."""

    factor: int
    synced: int

    def acknowledged(self, acks: object) -> int:
        """On how many brokers a message is at least when ``acks`` ("all", 1, 0) of them has been answered; 1 where nobody answers."""
        return self.synced if acks == "all" else 1

    def words(self, acks: object) -> str:
        """What "acknowledged" means, for the settings in force."""
        if acks == "all":
            return f"on every replica in sync, at least {self.synced} of {self.factor}"
        return f"on the leader, of {self.factor}" if acks else "nobody answers"

    def of_topic(self) -> dict[str, Any]:
        """As create_topics() of kafka-python takes it."""
        return {"replication_factor": self.factor, "configs": {"min.insync.replicas": str(self.synced)}}


def usual_factor(server: Mapping[str, str]) -> int:
    """Of a partition where the SPEC says nothing else: three, or as many as the server is known to have brokers."""
    return min(_FACTOR, int(server.get("nodes", "1")))


def copies(factor: int, synced: int | None, server: Mapping[str, str]) -> Copies:
    """``synced`` None: two where there are three copies or more, as Kafka's documentation has it for acks=all; else one.

    Raises BadSetting where more have to be in sync than there are (no message would ever be taken), or where the server is known
    to have fewer brokers than copies are asked for.
    """
    brokers = int(server.get("nodes", factor))
    if factor > brokers:
        raise BadSetting(f"kafka: replication_factor = {factor} is more than the server has brokers ({brokers}); see nodes=")
    if synced is None:
        synced = 2 if factor >= 3 else 1
    if synced > factor:
        raise BadSetting(f"kafka: min_insync_replicas = {synced} is more than replication_factor = {factor}: no message would be taken")
    return Copies(factor, synced)
