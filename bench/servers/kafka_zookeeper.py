"""Apache Kafka 3.9 with ZooKeeper, as it was run until 4.0 took it out: brokers that register there and elect a controller through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.errors import ServerError
from bench.servers import zookeeper
from bench.servers.base import Request
from bench.servers.common import ProcessServer, node_folder
from bench.servers.kafka_leaders import Leaders
from bench.servers.kafka_node import MAIN, back_probe, launch, listeners, node_of, ready_probe, replication, template, wait
from bench.servers.kafka_release import HEAP, Release, write_properties
from bench.servers.ports import choose_port, free_ports
from bench.servers.starting import Starting
from bench.servers.zookeeper_probe import kafka_registered, version

ROOT = "/kafka"
TIMERS = {
    # Kafka's defaults, written down so that they are printed. A broker that was killed is missed when its session ends.
    "zookeeper.session.timeout.ms": "18000",
    "zookeeper.connection.timeout.ms": "18000",
    "replica.lag.time.max.ms": "30000",
}
FAILOVER = {"zookeeper.session.timeout.ms": "2000"}
"""In place of TIMERS where nodes will be killed; as long as KRaft's broker.session.timeout.ms is then."""
KRAFT = ("process.roles", "controller.", "share.", "listener.security.protocol.map")
"""Beginnings of settings of the template that 3.9 with ZooKeeper does not know."""
PROTOCOLS = "PLAINTEXT:PLAINTEXT"
_EXPIRE_S = 60.0
_POLL_S = 0.1


def start(release: Release, request: Request, flags: Sequence[str]) -> ProcessServer:
    """Start ZooKeeper, then the brokers; with a class archive by ``flags`` of their JVMs. Raises ServerError."""
    count, keepers = request.nodes, int(request.options.get("zookeepers", "1"))
    clients, seconds = [choose_port(request.port), *free_ports(count - 1)], free_ports(count)
    timers = TIMERS | (FAILOVER if request.breaks else {})
    common = {key: value for key, value in template().items() if not key.startswith(KRAFT)}
    common |= {key: value for key, value in replication(count).items() if not key.startswith(KRAFT)} | timers
    with Starting(request) as starting:
        addresses = zookeeper.spawn(starting, request, release, keepers)
        identity = _cluster_id(addresses)
        for i, port in enumerate(clients, 1):
            node = node_of(request, i, port, seconds[i - 1])
            folder = node_folder(request, node.name)
            own = {"broker.id": str(i), "log.dirs": str(folder / "data"), "zookeeper.connect": ",".join(addresses) + ROOT}
            write_properties(folder / "server.properties", common | own | listeners(node, PROTOCOLS))
            command = release.command(flags, MAIN, str(folder / "server.properties"))
            probe = back_probe(port, identity, i)
            launching = launch(request.guard, command, node, folder, probe)
            starting.spawn(node, folder, replace(launching, before=_until_missed(addresses, i)))
        for node, popen, port in zip(starting.nodes[keepers:], starting.processes[keepers:], clients, strict=True):
            wait(node, popen, ready_probe(port, identity, *range(1, count + 1)))
        settings = common | {"jvm": " ".join(HEAP), "class archive": bool(flags), "nodes": count, **_of_zookeeper(request, addresses)}
        leaders = Leaders([node.address for node in starting.nodes[keepers:]], lambda cluster: cluster.controller)
        health = zookeeper.health_of({node.name: node.address for node in starting.nodes[:keepers]})
        return starting.server("kafka", release.product(), settings, leaders=leaders, health=health)


def _of_zookeeper(request: Request, addresses: Sequence[str]) -> dict[str, str | int]:
    about = {f"zookeeper {name}": value for name, value in zookeeper.effective(request).items()}
    return {"zookeeper version": version(addresses[0]), "zookeeper servers": len(addresses), **about}


def _cluster_id(addresses: Sequence[str]) -> Callable[[], str]:
    """The cluster's id, as the first of the brokers wrote it into ZooKeeper; raises OSError or ValueError while it is not there."""
    known: list[str] = []

    def ask() -> str:
        if not known:
            found = kafka_registered(addresses, ROOT).cluster_id
            if not found:
                raise ValueError("no broker has registered yet")
            known.append(found)
        return known[0]

    return ask


def _until_missed(addresses: Sequence[str], number: int) -> Callable[[], None]:
    """Waits until ZooKeeper has no broker of this id: one that is registered already does not start, and ends with an exception.

    The registration of a broker that was killed goes when its session ends, and sessions end only while ZooKeeper serves.
    """

    def wait_for_it() -> None:
        deadline, last = time.monotonic() + _EXPIRE_S, ""
        while time.monotonic() < deadline:
            try:
                if number not in kafka_registered(addresses, ROOT).brokers:
                    return
                last = "its registration is still there"
            except OSError as error:
                last = str(error)
            time.sleep(_POLL_S)
        raise ServerError(f"kafka.{number} cannot be started again: {last} after {_EXPIRE_S:g} s")

    return wait_for_it
