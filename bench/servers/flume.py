"""Apache Flume: an agent from Maven's jars on the machine's Java, configured for one session's consumers.

Its sinks call the consumers, so the adapter's wire() makes its channels and sinks (wiring["agent"]), and an agent is started for each
session: ``wired``. The recipe adds the source, its port, and the folders of file channels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from adapters.ports import LOOPBACK
from bench.errors import ServerError
from bench.guard import Guard
from bench.servers import java
from bench.servers.base import Node, Request, Server
from bench.servers.common import (
    DATA,
    Launch,
    ProcessServer,
    advertised,
    launched,
    local,
    node_folder,
    one_node,
    refuse_version,
    wait_ready,
)
from bench.servers.home import locked
from bench.servers.ports import choose_port, free_ports
from bench.servers.probe import flume_append
from bench.servers.products import product

NAME = "Apache Flume"
VERSION = "1.11.0"
READY_TIMEOUT_S = 90.0  # 1-2 s on an idle machine
JVM = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
AGENT = "a1"
PASSED_ON_S = 5.0  # by then the sinks, which sleep 1 s and more where they have found nothing, have passed on what came
_BEHIND = f"""
{AGENT}.sources = r1 r2
{AGENT}.channels = c1 c2 c3
{AGENT}.sinks = k1 k2 k3
{AGENT}.sources.r2.type = thrift
{AGENT}.sources.r2.bind = {LOOPBACK}
{AGENT}.sources.r2.port = $port
{AGENT}.sources.r2.protocol = binary
{AGENT}.sources.r2.channels = c3
{AGENT}.channels.c3.type = memory
{AGENT}.sinks.k3.type = null
{AGENT}.sinks.k3.channel = c3
"""
"""Where the sinks of the agent that writes the class archive find somebody: a second source of the same agent."""


class FlumeRecipe:
    """Native only: nobody publishes an image, and an agent that runs already does not know this session's consumers."""

    system = "flume"
    wired = True
    default_kinds = ("native",)

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "native":
            return java.missing_jars("flume", VERSION)
        return "an agent is started for each session, as its sinks call the session's consumers: server=native"

    def start(self, request: Request) -> Server:
        """Start an agent with the channels and sinks of request.wiring["session"]; returns when its source answers."""
        reason = self.missing(request.kind)
        if reason is not None:
            raise ServerError(f"flume: {reason}")
        one_node(request, self.system)
        refuse_version(request, self.system, VERSION)
        wanted = request.wiring.get("session", {}).get("agent")
        if wanted is None:
            raise ServerError("flume: its agent is started with a run, which knows where the consumers listen, and not before it")
        name = f"{self.system}.1"
        port = choose_port(request.port)
        folder = node_folder(request, name)
        file = folder / "agent.properties"
        file.write_text(properties(wanted, port, folder), encoding="utf-8")
        log = request.folder / f"{name}.log"
        flags = java.archive_flags("flume", VERSION)
        launch = _launch(request.guard, Node(name, "agent", None, local(port), local(port), log), file, flags)
        with launched(request.guard, launch) as (popen, _):
            told = advertised(request, name, local(port))
            node = Node(name, "agent", popen.pid, local(port), told, log)
            settings = {"jvm": " ".join(JVM), "class archive": bool(flags), **_told(wanted)}
            return ProcessServer(
                self.system, request.kind, request.guard, product(NAME, VERSION), (node,), (told,), settings, [popen], scratch=[folder],
                launches=[launch],
            )  # fmt: skip

    def install(self) -> None:
        """Jars and the class archive, each once."""
        with locked("flume"):
            java.fetch_jars("flume", VERSION)
            archive = java.archive_file("flume", VERSION)
            if not archive.is_file():
                _build_archive(archive)


def properties(wanted: Mapping[str, Mapping[str, Mapping[str, Any]]], port: int, folder: Path) -> str:
    """An agent's configuration: ``wanted`` (channels and sinks by name), a source on ``port``, files under ``folder``."""
    channels = {
        name: {**its, "checkpointDir": folder / name / "checkpoint", "dataDirs": folder / name / "data"} if its["type"] == "file" else its
        for name, its in wanted["channels"].items()
    }
    sinks = {name: _located(its) for name, its in wanted["sinks"].items()}
    source = {"type": "thrift", "bind": LOOPBACK, "port": port, "protocol": "binary", "channels": " ".join(channels)}
    parts: Mapping[str, Mapping[str, Mapping[str, Any]]] = {"sources": {"r1": source}, "channels": channels, "sinks": sinks}
    lines = []
    for kind, named in parts.items():
        lines.append(f"{AGENT}.{kind} = {' '.join(named)}")
        lines += [f"{AGENT}.{kind}.{name}.{key} = {value}" for name, its in named.items() for key, value in its.items()]
    return "\n".join(lines) + "\n"


def _located(sink: Mapping[str, Any]) -> dict[str, Any]:
    """A sink's settings with Flume's two in the place of its address."""
    host, _, port = sink["address"].rpartition(":")
    return {"hostname": host, "port": port, **{key: value for key, value in sink.items() if key != "address"}}


def _told(wanted: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The settings of the first channel and sink, which are those of all, without addresses."""
    found: dict[str, Any] = {"channels": len(wanted["channels"]), "sinks": len(wanted["sinks"])}
    for kind in ("channels", "sinks"):
        first = next(iter(wanted[kind].values()))
        found |= {f"{kind}.{key}": value for key, value in first.items() if key not in {"address", "channel"}}
    return found


def _launch(guard: Guard, node: Node, file: Path, flags: list[str]) -> Launch:
    host, _, port = node.address.rpartition(":")
    command = [str(java.java_needed()), *JVM, *flags, f"-Dlog4j2.configurationFile={DATA / 'flume-log4j2.properties'}"]
    command += ["-cp", java.class_path(java.libs("flume", VERSION)), "org.apache.flume.node.Application"]
    command += ["-n", AGENT, "-f", str(file), "--no-reload-conf"]
    return Launch(
        lambda: guard.spawn(command, cwd=file.parent, stdout=node.log, name=node.name),
        lambda popen: wait_ready(node.name, popen, node.log, lambda: flume_append(host, int(port)), READY_TIMEOUT_S),
    )


def _build_archive(archive: Path) -> None:
    """Run an agent once, use it a little, and have its JVM write the classes it loaded. The caller holds the lock."""
    with java.archiving("flume", archive) as (folder, guard, flags):
        log, file = folder / "flume.log", folder / "agent.properties"
        port, second = free_ports(2)
        sink = {"type": "thrift", "address": local(second), "protocol": "binary"}
        wanted: dict[str, dict[str, dict[str, Any]]] = {
            "channels": {"c1": {"type": "memory"}, "c2": {"type": "file"}},
            "sinks": {"k1": sink | {"channel": "c1"}, "k2": sink | {"channel": "c2"}},
        }
        file.write_text(properties(wanted, port, folder) + Template(_BEHIND).substitute(port=second), encoding="utf-8")
        launch = _launch(guard, Node("flume", "agent", None, local(port), local(port), log), file, flags)
        popen = launch.spawn()
        launch.wait(popen)
        for _ in range(20):
            flume_append(LOOPBACK, port, [b"x" * 100] * 5)
        time.sleep(PASSED_ON_S)
        guard.stop(popen, java.ARCHIVE_STOP_S)


RECIPE = FlumeRecipe()
