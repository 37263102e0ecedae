"""How many nodes have a message of RabbitMQ's replicated queues and streams for certain once it is confirmed."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.errors import BadSetting


def confirmed(name: str, copies: int, server: Mapping[str, str]) -> int:
    """A majority of the ``copies`` that the setting ``name`` asks for.

    Raises BadSetting where the server is known to have fewer nodes: RabbitMQ would make as many copies as it has nodes, and say nothing.
    """
    nodes = int(server.get("nodes", copies))
    if copies > nodes:
        raise BadSetting(f"rabbitmq: {name} = {copies} is more than the server's nodes ({nodes}), each of which has one copy; see nodes=")
    return copies // 2 + 1
