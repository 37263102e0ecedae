"""Apache Kafka: KRaft nodes that are broker and controller at once, from Maven's jars on the machine's Java."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from adapters.ports import LOOPBACK
from bench.errors import ServerError
from bench.guard import Guard
from bench.servers import java
from bench.servers.base import Node, Request, Server
from bench.servers.common import (
    DATA,
    Launch,
    ProcessServer,
    RemoteServer,
    advertised,
    answer_of,
    external_address,
    failure,
    host_ports,
    local,
    node_folder,
    proxied,
    refuse_version,
    stop_all,
    wait_ready,
)
from bench.servers.compose import missing_common, start_service
from bench.servers.home import building, locked
from bench.servers.kafka_leaders import Leaders, raft_leader
from bench.servers.ports import choose_port, free_ports
from bench.servers.probe import KafkaCluster, kafka_metadata
from bench.servers.products import product

NAME = "Apache Kafka"
VERSION = "4.4.0"
READY_TIMEOUT_S = 90.0  # 2-9 s on an idle machine
FORMAT_TIMEOUT_S = 120.0
HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
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
}
FAILOVER = {
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "2000",
    "controller.quorum.fetch.timeout.ms": "1000",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.election.backoff.max.ms": "300",
}
"""In place of TIMERS where nodes will be killed: these decide how long it takes until they are back, or others lead in their place."""
WORDS = {
    "No readable meta.properties files found": "its data folder is not formatted",
    "Socket server failed to bind to": "its port is taken",
    "Failed to acquire lock on file .lock": "another broker uses its data folder",
    "doesn't match previous node id": "its data folder belongs to another node",
    "ConfigException": "a setting is wrong",
    "IllegalArgumentException": "a setting is wrong",
}


def random_id() -> str:
    """An id as Kafka writes them: a UUID in URL-safe base64 without padding."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        continue  # a leading dash would be an option on the command line
    return text


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


def template() -> dict[str, str]:
    """The settings of bench/data/kafka.properties."""
    lines = (DATA / "kafka.properties").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def write_properties(file: Path, settings: dict[str, str]) -> None:
    """Write settings as a properties file."""
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")


def java_command(flags: list[str], main: str, *arguments: str) -> list[str]:
    """A command line that runs one of Kafka's main classes."""
    jars = java.class_path(java.libs("kafka", VERSION))
    return [
        str(java.java_needed()),
        *HEAP,
        *flags,
        f"-Dlog4j2.configurationFile={DATA / 'kafka-log4j2.properties'}",
        "-cp",
        jars,
        main,
        *arguments,
    ]


class KafkaRecipe:
    """External, native (KRaft, one node or several), compose."""

    system = "kafka"
    tells_addresses = True
    default_kinds = ("external", "native", "compose")

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "native":
            return java.missing_jars("kafka", VERSION)
        return missing_common(self.system, kind, self.default_kinds)

    def start(self, request: Request) -> Server:
        """Start it, or find it; returns when it answers and has a controller."""
        if request.kind == "external":
            return self._external(request, external_address(self.system, request))
        if request.kind == "compose":
            return start_service(self.system, request, self._external)
        reason = self.missing(request.kind)
        if reason is not None:
            raise ServerError(f"kafka: {reason}")
        refuse_version(request, "kafka", VERSION)
        return self._native(request)

    def install(self) -> None:
        """Jars, the formatted folder and the class archive, each once."""
        with locked("kafka"):
            java.fetch_jars("kafka", VERSION)
            formatted_folder()
            archive = java.archive_file("kafka", VERSION)
            if not archive.is_file():
                self._build_archive(archive)

    def _external(self, request: Request, address: str) -> Server:
        pairs = host_ports(self.system, address)
        found: KafkaCluster = answer_of(self.system, address, lambda: _first_answer(pairs))
        # The protocol names no release of the broker; what is not known is not printed as a version.
        nodes = tuple(Node(f"kafka.{i}", "broker", None, where, where) for i, where in sorted(found.brokers.items()))
        settings = {"cluster id": found.cluster_id, "brokers": len(found.brokers)}
        bootstrap = tuple(part.strip() for part in address.split(","))
        return RemoteServer(
            self.system, request.kind, product(NAME, ""), nodes, bootstrap, settings, lambda: _first_answer(pairs),
            leaders=Leaders(bootstrap),
        )  # fmt: skip

    def _native(self, request: Request) -> Server:
        count = request.nodes
        clients = [choose_port(request.port), *free_ports(count - 1)]
        others = free_ports(2 * count)
        while set(clients) & set(others):
            others = free_ports(2 * count)
        controllers, seconds = others[:count], others[count:]
        cluster_id = random_id()
        voters = ",".join(f"{i}@{local(port)}" for i, port in enumerate(controllers, 1))
        timers = TIMERS | (FAILOVER if request.breaks else {})
        common = template() | replication(count) | timers | {"controller.quorum.voters": voters}
        nodes: list[Node] = []
        processes: list[subprocess.Popen[bytes]] = []
        launches: list[Launch] = []
        folders: list[Path] = []
        try:
            for i, port in enumerate(clients, 1):
                name = f"kafka.{i}"
                proxy, told, log = proxied(request, name), advertised(request, name, local(port)), request.folder / f"{name}.log"
                folder = node_folder(request, name)
                folders.append(folder)
                node = Node(name, "broker", None, local(port), told, log, proxy, local(seconds[i - 1]) if proxy else "")
                own = {"node.id": str(i), "log.dirs": str(folder / "data"), **_listeners(common, node, controllers[i - 1])}
                write_properties(folder / "server.properties", common | own)
                _copy_formatted(folder / "data", cluster_id, i)
                launches.append(_launch(request.guard, node, folder, _back_probe(port, cluster_id, i)))
                processes.append(launches[-1].spawn())
                nodes.append(replace(node, pid=processes[-1].pid))
            for node, popen, port in zip(nodes, processes, clients, strict=True):
                _wait(node, popen, _ready_probe(port, cluster_id, *range(1, count + 1)))
        except BaseException:  # also Ctrl-C: half a cluster must not stay
            stop_all(request.guard, processes, 2.0)
            raise
        settings = common | {"jvm": " ".join(HEAP), "class archive": bool(java.archive_flags("kafka", VERSION)), "nodes": count}
        del settings["controller.quorum.voters"]  # ports: they say nothing
        what = product(NAME, jar_version())
        bootstrap = tuple(node.advertised for node in nodes)
        leaders = Leaders([node.address for node in nodes], raft_leader([folder / "data" for folder in folders]))
        return ProcessServer(
            self.system, request.kind, request.guard, what, tuple(nodes), bootstrap, settings, processes, scratch=folders,
            launches=launches, leaders=leaders,
        )  # fmt: skip

    def _build_archive(self, archive: Path) -> None:
        """Run a broker once, use it a little, and have its JVM write the classes it loaded. The caller holds the lock."""
        with (
            tempfile.TemporaryDirectory(prefix=".archive-", dir=archive.parent) as name,
            Guard(f"install-kafka-{uuid.uuid4().hex[:8]}") as guard,
        ):
            folder = Path(name)
            made = folder / "classes.jsa"
            port, controller = free_ports(2)
            cluster_id = random_id()
            settings = template() | replication(1)
            settings |= {
                "node.id": "1",
                "controller.quorum.voters": f"1@{local(controller)}",
                "listeners": f"PLAINTEXT://{local(port)},CONTROLLER://{local(controller)}",
                "advertised.listeners": f"PLAINTEXT://{local(port)}",
                "log.dirs": str(folder / "data"),
            }
            write_properties(folder / "server.properties", settings)
            _copy_formatted(folder / "data", cluster_id, 1)
            log = folder / "kafka.log"
            command = java_command([f"-XX:ArchiveClassesAtExit={made}"], "kafka.Kafka", str(folder / "server.properties"))
            popen = guard.spawn(command, cwd=folder, stdout=log, name="kafka")
            node = Node("kafka.1", "broker", popen.pid, local(port), local(port), log)
            _wait(node, popen, _ready_probe(port, cluster_id, 1))
            _exercise(local(port))
            guard.stop(popen, 60.0)
            if not made.is_file():
                raise failure("kafka", "wrote no class archive", log)
            made.rename(archive)


def jar_version() -> str:
    """The version of the jars in use, from the broker's jar name (kafka_2.13-4.4.0.jar)."""
    jars = sorted(java.libs("kafka", VERSION).glob("kafka_*.jar"))
    return jars[0].stem.rpartition("-")[2] if jars else VERSION


def formatted_folder() -> Path:
    """A folder formatted by Kafka's own tool, made once and then copied: with static voters it holds no port.

    (Writing meta.properties by hand leaves feature levels off, and the new group protocol then fails.)
    """
    target = java.libs("kafka", VERSION).parent / "formatted"
    if target.is_dir():
        return target
    with building(target) as folder, tempfile.TemporaryDirectory() as work:
        settings = template() | replication(1)
        settings |= {"node.id": "1", "controller.quorum.voters": "1@127.0.0.1:1", "log.dirs": str(folder)}
        settings |= {"listeners": "PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1", "advertised.listeners": "PLAINTEXT://127.0.0.1:2"}
        file = Path(work) / "server.properties"
        write_properties(file, settings)
        command = java_command([], "kafka.tools.StorageTool", "format", "-t", random_id(), "-c", str(file))
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S)
        if done.returncode != 0:
            lines = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-15:])
            raise ServerError(f"kafka: its data folder could not be formatted (exit code {done.returncode}):\n{lines}")
    return target


def _copy_formatted(target: Path, cluster_id: str, node_id: int) -> None:
    if not (java.libs("kafka", VERSION).parent / "formatted").is_dir():
        with locked("kafka"):
            formatted_folder()
    shutil.copytree(formatted_folder(), target)
    meta = {"version": "1", "cluster.id": cluster_id, "node.id": str(node_id), "directory.id": random_id()}
    write_properties(target / "meta.properties", meta)


def _launch(guard: Guard, node: Node, folder: Path, probe: Callable[[], bool | None]) -> Launch:
    command = java_command(java.archive_flags("kafka", VERSION), "kafka.Kafka", str(folder / "server.properties"))
    return Launch(
        lambda: guard.spawn(command, cwd=folder, stdout=node.log, name=node.name),
        lambda popen: _wait(node, popen, probe),
    )


def _listeners(common: Mapping[str, str], node: Node, controller: int) -> dict[str, str]:
    """Where a node listens, and what it says of it to those that come by each listener.

    Clients behind a proxy have a listener of their own: it tells them the proxies' addresses, while the others', and what nodes
    say to each other (a node also to itself: transaction markers), go the direct way.
    """
    listeners, told = f"PLAINTEXT://{node.address},CONTROLLER://{local(controller)}", f"PLAINTEXT://{node.advertised}"
    if not node.proxied:
        return {"listeners": listeners, "advertised.listeners": told}
    return {
        "listeners": f"{listeners},PROXIED://{node.behind}",
        "advertised.listeners": f"{told},PROXIED://{node.proxied}",
        "listener.security.protocol.map": common["listener.security.protocol.map"] + ",PROXIED:PLAINTEXT",
    }


def _first_answer(pairs: list[tuple[str, int]]) -> KafkaCluster:
    errors = []
    for host, port in pairs:
        try:
            return kafka_metadata(host, port)
        except (OSError, ValueError) as error:
            errors.append(f"{host}:{port}: {error}")
    raise OSError("; ".join(errors))


def _ready_probe(port: int, cluster_id: str, *wanted: int) -> Callable[[], bool | None]:
    """Asks a node whether it has a controller and sees the brokers of these ids at work (a killed one of the same id is fenced first)."""

    def probe() -> bool | None:
        found = kafka_metadata(LOOPBACK, port)
        if found.cluster_id != cluster_id:
            raise ValueError(f"another broker answers on port {port}")
        return True if found.controller >= 0 and set(wanted) <= set(found.brokers) else None

    return probe


def _back_probe(port: int, cluster_id: str, node: int) -> Callable[[], bool | None]:
    """Asks a node that was started again whether it is at work, and has caught up: it is in sync in every partition that it has a copy of.

    Before that another broker's end would leave those partitions with fewer copies than they had.
    """
    ready = _ready_probe(port, cluster_id, node)

    def probe() -> bool | None:
        if not ready():
            return None
        found = kafka_metadata(LOOPBACK, port, topics=None).partitions
        behind = [f"{topic}-{number}" for (topic, number), one in found.items() if node in one.replicas and node not in one.synced]
        if behind:
            raise ValueError(f"not in sync yet: {', '.join(behind[:3])}")
        return True

    return probe


def _wait(node: Node, popen: subprocess.Popen[bytes], probe: Callable[[], bool | None]) -> None:
    """Wait until a node is ready; a known complaint in its log is put into plain words."""
    try:
        wait_ready(node.name, popen, node.log, probe, READY_TIMEOUT_S)
    except ServerError as error:
        text = node.log.read_text(encoding="utf-8", errors="replace") if node.log is not None and node.log.is_file() else ""
        meaning = next((plain for words, plain in WORDS.items() if words in text), None)
        if meaning is None:
            raise
        raise ServerError(f"{node.name}: {meaning}. {error}") from error


def _exercise(address: str) -> None:
    """Make a topic, write and read it, so that the archive holds those classes too; without the client, only the start's."""
    try:
        from kafka import KafkaConsumer, KafkaProducer  # noqa: PLC0415  # an extra: not there on every machine
        from kafka.admin import KafkaAdminClient, NewTopic  # noqa: PLC0415  # as above
    except ImportError:
        return
    admin = KafkaAdminClient(bootstrap_servers=address)
    admin.create_topics([NewTopic("warm", 1, 1)])
    producer = KafkaProducer(bootstrap_servers=address, acks="all")
    for _ in range(500):
        producer.send("warm", b"x" * 100)
    producer.flush(30)
    producer.close()
    consumer = KafkaConsumer("warm", bootstrap_servers=address, group_id="warm", auto_offset_reset="earliest", consumer_timeout_ms=5000)
    for index, _ in enumerate(consumer):
        if index == 400:
            break
    consumer.close()
    admin.close()


RECIPE = KafkaRecipe()
