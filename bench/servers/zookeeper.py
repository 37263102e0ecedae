"""Apache ZooKeeper beside Kafka 3.9, from the jars that come with it: one server, or an ensemble.

Kafka keeps in it which brokers there are, which of them is the controller, and which replicas of each partition are in sync.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from adapters.ports import LOOPBACK
from bench.guard import Guard
from bench.servers.base import Health, Node, Request
from bench.servers.common import Launch, local, node_folder, wait_ready
from bench.servers.kafka_release import Release, write_properties
from bench.servers.ports import free_ports
from bench.servers.starting import Starting
from bench.servers.zookeeper_probe import health, reset, word

ROLE = "zookeeper"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
HEAP = ("-Xms16m", "-Xmx128m")
READY_TIMEOUT_S = 60.0  # 1-2 s on an idle machine
LOOK_TIMEOUT_S = 0.5
SETTINGS = {
    "tickTime": "2000",  # ms; a session ends at least 2 and at most 20 of them after its client was last heard
    "initLimit": "10",
    "syncLimit": "5",
    "admin.enableServer": "false",
    "4lw.commands.whitelist": "*",
    "maxClientCnxns": "0",
}
BREAKS = {"tickTime": "500"}
"""In place of SETTINGS' where nodes will be killed: sessions may then be as short as Kafka's recipe asks for."""


def effective(request: Request) -> dict[str, str]:
    """The settings of each server, but for its own addresses and folder."""
    return SETTINGS | (BREAKS if request.breaks else {})


def spawn(starting: Starting, request: Request, release: Release, count: int) -> list[str]:
    """Start ``count`` servers; returns their addresses when all of them serve."""
    launches: list[Launch] = []
    ports = [free_ports(3) for _ in range(count)]  # clients', followers', elections'
    peers = {f"server.{i}": f"{local(followers)}:{elections}" for i, (_, followers, elections) in enumerate(ports, 1)}
    for i, (port, _, _) in enumerate(ports, 1):
        node = Node(f"{ROLE}.{i}", ROLE, None, local(port), local(port), request.folder / f"{ROLE}.{i}.log")
        folder = node_folder(request, node.name)
        _write(folder, i, effective(request) | {"clientPort": str(port)}, peers if count > 1 else {})
        command = release.command([*release.archived(), *HEAP], MAIN, str(folder / "zoo.cfg"))
        launches.append(_launch(request.guard, command, node, folder))
        starting.spawn(node, folder, launches[-1])
    for launch, popen in zip(launches, starting.processes[-count:], strict=True):
        launch.wait(popen)
    return [local(port) for port, _, _ in ports]


def _write(folder: Path, number: int, settings: Mapping[str, str], peers: Mapping[str, str]) -> None:
    data = folder / "data"
    data.mkdir()
    if peers:
        (data / "myid").write_text(f"{number}\n", encoding="ascii")
    write_properties(folder / "zoo.cfg", {**settings, "clientPortAddress": LOOPBACK, "dataDir": str(data), **peers})


def _launch(guard: Guard, command: Sequence[str], node: Node, folder: Path) -> Launch:
    def probe() -> str:
        if f"dataDir={folder}/" not in word(node.address, "conf"):
            raise ValueError(f"another ZooKeeper answers at {node.address}")
        return str(health(node.address)["mode"])

    return Launch(
        lambda: guard.spawn(command, cwd=folder, stdout=node.log, name=node.name),
        lambda popen: wait_ready(node.name, popen, node.log, probe, READY_TIMEOUT_S),
    )


def health_of(nodes: Mapping[str, str]) -> Health:
    """Asks servers for zookeeper_probe.FIGURES; ``nodes``: addresses by name."""

    def ask(anew: bool) -> Mapping[str, Mapping[str, str | float]]:
        found: dict[str, dict[str, str | float]] = {}
        for name, address in nodes.items():
            try:
                if anew:
                    reset(address, LOOK_TIMEOUT_S)
                found[name] = health(address, LOOK_TIMEOUT_S)
            except (OSError, ValueError):
                continue  # it is down, or has no quorum
        return found

    return ask
