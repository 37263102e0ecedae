"""Apache Kafka from Maven's jars on the machine's Java: KRaft nodes that are broker and controller at once, or 3.9 with ZooKeeper."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.errors import ServerError
from bench.servers import kafka_status, kafka_zookeeper
from bench.servers.base import Node, Request, Server
from bench.servers.common import ProcessServer, RemoteServer, answer_of, host_ports, local, node_folder
from bench.servers.compose import missing_common
from bench.servers.elsewhere import ElsewhereOrHere
from bench.servers.kafka_archive import install
from bench.servers.kafka_leaders import Leaders, raft_leader
from bench.servers.kafka_node import MAIN, back_probe, launch, listeners, node_of, ready_probe, replication, template, wait
from bench.servers.kafka_release import HEAP, NAME, Release, random_id, write_properties
from bench.servers.kafka_status import first_answer
from bench.servers.ports import choose_port, free_ports
from bench.servers.probe import KafkaCluster
from bench.servers.products import product
from bench.servers.starting import Starting

VERSION = "4.4.0"
RELEASES = {"4.4": Release(VERSION), "3.9": Release("3.9.2")}
LAST = RELEASES["3.9"]
"""The last series that runs with ZooKeeper: 4.0 took that out."""
TIMERS = {
    # Kafka's defaults, written down so that they are printed. A broker that was killed is fenced, and let in again, when its old
    # registration has timed out; what it led has another leader from then on.
    "broker.heartbeat.interval.ms": "2000",
    "broker.session.timeout.ms": "9000",
    # When nodes elect another controller, and how long they wait between two tries.
    "controller.quorum.fetch.timeout.ms": "2000",
    "controller.quorum.election.timeout.ms": "1000",
    "controller.quorum.election.backoff.max.ms": "1000",
    "replica.lag.time.max.ms": "30000",  # how long acks=all waits for a replica that lives and lags
    # Of the new group protocol (KIP-848), whose clients do not choose them: when a member that was killed is missed.
    "group.consumer.session.timeout.ms": "45000",
    "group.consumer.min.session.timeout.ms": "45000",
    "group.consumer.heartbeat.interval.ms": "5000",
    "group.consumer.min.heartbeat.interval.ms": "5000",
}
FAILOVER = {
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "2000",
    "controller.quorum.fetch.timeout.ms": "1000",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.election.backoff.max.ms": "300",
    "group.consumer.session.timeout.ms": "6000",  # the least that the classic protocol grants
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.heartbeat.interval.ms": "1500",
    "group.consumer.min.heartbeat.interval.ms": "1500",
}
"""In place of TIMERS where something will be killed: these decide how long it takes until it is back, or others are in its place."""


class KafkaRecipe(ElsewhereOrHere):
    """External, native, compose. ``options``: of native; metadata=zookeeper is always of 3.9, the last series that has it."""

    system = "kafka"
    tells_addresses = True
    default_kinds = ("external", "native", "compose")
    options: Mapping[str, tuple[str, ...]] = MappingProxyType(
        {"nodes": ("1", "3"), "metadata": ("kraft", "zookeeper"), "version": ("4.4", "3.9"), "zookeepers": ("1", "3")}
    )

    belongs: Mapping[str, str] = MappingProxyType({"zookeepers": "metadata=zookeeper"})

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "native":
            return RELEASES["4.4"].missing()
        return missing_common(self.system, kind, self.default_kinds)

    def _here(self, request: Request) -> Server:
        keeps, keepers = request.options["metadata"], int(request.options["zookeepers"])
        if request.version not in RELEASES:
            raise ServerError(f"kafka: native gives version {' or '.join(RELEASES)}, not {request.version}")
        release = LAST if keeps == "zookeeper" else RELEASES[request.version]
        reason = release.missing()
        if reason is not None:
            raise ServerError(f"kafka: {reason}")
        if keeps == "zookeeper":
            return kafka_zookeeper.start(release, request, release.archived())
        if keepers > 1:
            raise ServerError(f"kafka: zookeepers={keepers} belongs to metadata=zookeeper")
        return start_kraft(release, request, release.archived())

    def install(self) -> None:
        """Jars and class archives of both releases, each once."""
        install(RELEASES["4.4"], partial(start_kraft, RELEASES["4.4"]))
        install(LAST, partial(kafka_zookeeper.start, LAST))

    def status(self, nodes: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Any]:
        """What a server that runs here says of itself now; raises OSError where nobody answers."""
        return kafka_status.status(nodes, folder)

    def _external(self, request: Request, address: str) -> Server:
        pairs = host_ports(self.system, address)
        found: KafkaCluster = answer_of(self.system, address, lambda: first_answer(pairs))
        # The protocol names no release of the broker; what is not known is not printed as a version.
        nodes = tuple(Node(f"kafka.{i}", "broker", None, where, where) for i, where in sorted(found.brokers.items()))
        settings = {"cluster id": found.cluster_id, "brokers": len(found.brokers)}
        bootstrap = tuple(part.strip() for part in address.split(","))
        return RemoteServer(
            self.system, request.kind, product(NAME, ""), nodes, bootstrap, settings, lambda: first_answer(pairs),
            leaders=Leaders(bootstrap),
        )  # fmt: skip


def start_kraft(release: Release, request: Request, flags: Sequence[str]) -> ProcessServer:
    """Start ``request.nodes`` nodes of a release, with a class archive by ``flags`` of their JVMs. Raises ServerError."""
    count = request.nodes
    clients = [choose_port(request.port), *free_ports(count - 1)]
    controllers, seconds = free_ports(count), free_ports(count)
    cluster_id = random_id()
    voters = ",".join(f"{i}@{local(port)}" for i, port in enumerate(controllers, 1))
    timers = TIMERS | (FAILOVER if request.breaks else {})
    common = template() | replication(count) | timers | {"controller.quorum.voters": voters}
    with Starting(request) as starting:
        for i, port in enumerate(clients, 1):
            node = node_of(request, i, port, seconds[i - 1])
            folder = node_folder(request, node.name)
            own = {"node.id": str(i), "log.dirs": str(folder / "data")}
            own |= listeners(node, common["listener.security.protocol.map"], controllers[i - 1])
            write_properties(folder / "server.properties", common | own)
            _copy_formatted(release, folder / "data", cluster_id, i)
            command = release.command(flags, MAIN, str(folder / "server.properties"))
            probe = back_probe(port, lambda: cluster_id, i)
            starting.spawn(node, folder, launch(request.guard, command, node, folder, probe))
        for node, popen, port in zip(starting.nodes, starting.processes, clients, strict=True):
            wait(node, popen, ready_probe(port, lambda: cluster_id, *range(1, count + 1)))
        settings = common | {"jvm": " ".join(HEAP), "class archive": bool(flags), "nodes": count}
        del settings["controller.quorum.voters"]  # ports: they say nothing
        leaders = Leaders([node.address for node in starting.nodes], raft_leader([folder / "data" for folder in starting.folders]))
        return starting.server("kafka", release.product(), settings, leaders=leaders)


def _copy_formatted(release: Release, target: Path, cluster_id: str, node_id: int) -> None:
    shutil.copytree(release.formatted(template() | replication(1)), target)
    meta = {"version": "1", "cluster.id": cluster_id, "node.id": str(node_id), "directory.id": random_id()}
    write_properties(target / "meta.properties", meta)


RECIPE = KafkaRecipe()
