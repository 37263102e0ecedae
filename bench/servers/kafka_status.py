"""What a Kafka server that runs here says of itself now: who is registered, who controls, how those are that keep the metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.servers import zookeeper
from bench.servers.common import host_ports
from bench.servers.kafka_leaders import raft_leader
from bench.servers.kafka_zookeeper import ROOT
from bench.servers.probe import KafkaCluster, kafka_metadata
from bench.servers.zookeeper_probe import kafka_registered

_SILENT = "does not answer"


def status(nodes: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """Texts and figures by name, nested; ``nodes``: name, role, address of each, ``folder``: of their data.

    With ZooKeeper it is ZooKeeper that is asked, with KRaft a broker, and the controllers' own files: brokers hide who controls. Raises
    OSError where nobody answers.
    """
    keepers = {str(node["name"]): str(node["address"]) for node in nodes if node["role"] == zookeeper.ROLE}
    if not keepers:
        cluster = first_answer(host_ports("kafka", ",".join(str(node["address"]) for node in nodes)))
        controller = raft_leader([folder / str(node["name"]) / "data" for node in nodes])(cluster)
        found = {"metadata": "KRaft", "cluster": cluster.cluster_id}
        return {**found, "controller": _name(controller), "brokers registered": _brokers(cluster.brokers)}
    registered = kafka_registered(list(keepers.values()), ROOT)
    health = zookeeper.health_of(keepers)(False)
    return {
        "metadata": "ZooKeeper",
        "cluster": registered.cluster_id,
        "controller": _name(registered.controller),
        "brokers registered": _brokers(registered.brokers),
        **{name: health.get(name, _SILENT) for name in keepers},
    }


def first_answer(pairs: Sequence[tuple[str, int]]) -> KafkaCluster:
    """The metadata of the first broker that answers. Raises OSError where none does."""
    errors = []
    for host, port in pairs:
        try:
            return kafka_metadata(host, port)
        except (OSError, ValueError) as error:
            errors.append(f"{host}:{port}: {error}")
    raise OSError("; ".join(errors))


def _name(number: int | None) -> str:
    if number is None:
        return "not known"  # a node's own files say it, and those of a container are not here
    return "none" if number < 0 else f"kafka.{number}"


def _brokers(addresses: Mapping[int, str]) -> dict[str, str]:
    return {_name(number): address for number, address in sorted(addresses.items())}
