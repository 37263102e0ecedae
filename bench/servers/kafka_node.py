"""One Kafka broker as a process, whatever keeps the cluster's metadata: its settings, how it is started, when it answers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from adapters.ports import LOOPBACK
from bench.errors import ServerError
from bench.guard import Guard
from bench.servers.base import Node, Request
from bench.servers.common import DATA, Launch, advertised, local, proxied, wait_ready
from bench.servers.probe import kafka_metadata

READY_TIMEOUT_S = 90.0  # 2-9 s on an idle machine
MAIN = "kafka.Kafka"
WORDS = {
    "No readable meta.properties files found": "its data folder is not formatted",
    "Socket server failed to bind to": "its port is taken",
    "Failed to acquire lock on file .lock": "another broker uses its data folder",
    "doesn't match previous node id": "its data folder belongs to another node",
    "ConfigException": "a setting is wrong",
    "IllegalArgumentException": "a setting is wrong",
}


def template() -> dict[str, str]:
    """The settings of bench/data/kafka.properties."""
    lines = (DATA / "kafka.properties").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def replication(nodes: int) -> dict[str, str]:
    """Settings that depend on the number of nodes: three copies and two that must have them, as far as there are nodes."""
    copies, synced = min(3, nodes), 2 if nodes >= 3 else 1
    settings = {"default.replication.factor": copies, "min.insync.replicas": synced, "offsets.topic.replication.factor": copies}
    for topic in ("transaction.state.log", "share.coordinator.state.topic"):
        settings[f"{topic}.replication.factor"] = copies
        settings[f"{topic}.min.isr"] = synced
    if nodes > 1:
        settings |= {"offsets.topic.num.partitions": 3, "transaction.state.log.num.partitions": 3}
    return {key: str(value) for key, value in settings.items()}


def node_of(request: Request, number: int, port: int, second: int) -> Node:
    """kafka.NUMBER before it is started; ``second``: the port for those that come by a proxy, if any do."""
    name = f"kafka.{number}"
    proxy, told = proxied(request, name), advertised(request, name, local(port))
    return Node(name, "broker", None, local(port), told, request.folder / f"{name}.log", proxy, local(second) if proxy else "")


def listeners(node: Node, protocols: str, controller: int | None = None) -> dict[str, str]:
    """Where a node listens, and what it says of it to those that come by each listener; ``controller``: the port of KRaft's.

    Clients behind a proxy have a listener of their own: it tells them the proxies' addresses, while the others', and what nodes
    say to each other (a node also to itself: transaction markers), go the direct way. ``protocols``: by listener, without that one.
    """
    listening = f"PLAINTEXT://{node.address}" + ("" if controller is None else f",CONTROLLER://{local(controller)}")
    told = f"PLAINTEXT://{node.advertised}"
    if not node.proxied:
        return {"listeners": listening, "advertised.listeners": told}
    return {
        "listeners": f"{listening},PROXIED://{node.behind}",
        "advertised.listeners": f"{told},PROXIED://{node.proxied}",
        "listener.security.protocol.map": f"{protocols},PROXIED:PLAINTEXT",
    }


def launch(guard: Guard, command: Sequence[str], node: Node, folder: Path, probe: Callable[[], bool | None]) -> Launch:
    """How a node is started, at first and again, in its folder; it is up when ``probe`` says so."""
    return Launch(
        lambda: guard.spawn(command, cwd=folder, stdout=node.log, name=node.name),
        lambda popen: wait(node, popen, probe),
    )


def ready_probe(port: int, cluster_id: Callable[[], str], *wanted: int) -> Callable[[], bool | None]:
    """Asks a node whether it has a controller and sees the brokers of these ids at work (a killed one of the same id is fenced first).

    ``cluster_id`` raises OSError or ValueError while it cannot be known.
    """

    def probe() -> bool | None:
        found = kafka_metadata(LOOPBACK, port)
        if found.cluster_id != cluster_id():
            raise ValueError(f"another broker answers on port {port}")
        return True if found.controller >= 0 and set(wanted) <= set(found.brokers) else None

    return probe


def back_probe(port: int, cluster_id: Callable[[], str], node: int) -> Callable[[], bool | None]:
    """Asks a node that was started again whether it is at work, and has caught up: it is in sync in every partition that it has a copy of.

    Before that another broker's end would leave those partitions with fewer copies than they had.
    """
    ready = ready_probe(port, cluster_id, node)

    def probe() -> bool | None:
        if not ready():
            return None
        found = kafka_metadata(LOOPBACK, port, topics=None).partitions
        behind = [f"{topic}-{number}" for (topic, number), one in found.items() if node in one.replicas and node not in one.synced]
        if behind:
            raise ValueError(f"not in sync yet: {', '.join(behind[:3])}")
        return True

    return probe


def wait(node: Node, popen: subprocess.Popen[bytes], probe: Callable[[], bool | None]) -> None:
    """Wait until a node is ready; a known complaint in its log is put into plain words."""
    try:
        wait_ready(node.name, popen, node.log, probe, READY_TIMEOUT_S)
    except ServerError as error:
        text = node.log.read_text(encoding="utf-8", errors="replace") if node.log is not None and node.log.is_file() else ""
        meaning = next((plain for words, plain in WORDS.items() if words in text), None)
        if meaning is None:
            raise
        raise ServerError(f"{node.name}: {meaning}. {error}") from error
