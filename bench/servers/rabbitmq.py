"""RabbitMQ: the distribution's own server, or Debian 13's in a private folder, as nodes of ours beside whatever service the package has.

/usr/lib/rabbitmq/bin/rabbitmq-server works as any user; /usr/sbin/rabbitmq-server insists on the account "rabbitmq".
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from adapters.ports import LOOPBACK
from bench.errors import ServerError
from bench.servers.apt import install_packages
from bench.servers.base import Node, Request, Server
from bench.servers.common import (
    Launch,
    RemoteServer,
    advertised,
    answer_of,
    host_ports,
    local,
    node_folder,
    wait_ready,
)
from bench.servers.compose import missing_common
from bench.servers.elsewhere import ElsewhereOrHere
from bench.servers.ports import choose_port, free_ports
from bench.servers.probe import amqp_start
from bench.servers.products import product
from bench.servers.rabbitmq_leaders import Leaders
from bench.servers.starting import Starting
from bench.servers.suite import Suite, impossible

NAME = "RabbitMQ"
SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
RELEASES = Path("/usr/lib/rabbitmq/lib")  # rabbitmq_server-3.10.8
NEWER = Suite("rabbitmq", "trixie", ("rabbitmq-server",))
NEWER_VERSION = "4.0"
ANY = "any"  # the machine's own, else the newer one
NOT_THERE = "RabbitMQ is not installed: apt-get install rabbitmq-server"
Run = Callable[[Sequence[str | Path]], list[str]]
READY_TIMEOUT_S = 120.0  # 3.10: 7 s on an idle machine, a cluster of three 27 s; 4.0: 3 and 7 s
CONF = {
    "disk_free_limit.absolute": "50MB",
    "vm_memory_high_watermark.absolute": "2GB",
    # To standard output, which the guard writes to the node's log file.
    "log.console": "true",
    "log.console.level": "info",
    "log.console.use_colors": "off",
    "log.file": "false",
}


@dataclass(frozen=True)
class _Place:
    """Where one node lives."""

    name: str  # rabbitmq.1
    erlang: str  # bench@localhost
    port: int
    dist: int
    epmd: int
    folder: Path

    def environment(self) -> dict[str, str]:
        d = self.folder
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(d / "home"),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self.erlang,
            "RABBITMQ_DIST_PORT": str(self.dist),
            "RABBITMQ_MNESIA_BASE": str(d / "mnesia"),
            "RABBITMQ_LOG_BASE": str(d / "log"),
            "RABBITMQ_CONFIG_FILE": str(d / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(d / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(d / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(d / "gen"),
            "RABBITMQ_PID_FILE": str(d / "pid"),
            # The script then becomes the Erlang machine instead of waiting for it: one process, and its pid is ours.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_CRASH_DUMP_BYTES": "0",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }


def packaged() -> str | None:
    """The version of the machine's own package; None = it is not installed, or not whole."""
    found = sorted(RELEASES.glob("rabbitmq_server-*"))
    return found[-1].name.partition("-")[2] if found and SCRIPT.is_file() and shutil.which("epmd") else None


def missing_version(version: str) -> str | None:
    """Why a version cannot be had natively here, and how to get it; None = it can."""
    own = packaged()
    if own is not None and (version == ANY or own.startswith(f"{version}.")):
        return None
    reason = NEWER.missing()
    if version in {ANY, NEWER_VERSION} and reason is None:
        return None
    have = NOT_THERE if own is None else f"this machine's package is {own}"
    if version == ANY:
        return f"{have}, or, where you are not root, version {NEWER_VERSION} of Debian 13: brokerbench servers install rabbitmq"
    if version == NEWER_VERSION:
        return f"{have}, and {reason}; brokerbench servers install rabbitmq gets them where that can be done"
    return have


def programs(version: str, folder: Path) -> Run:
    """What makes a command use the programs of a version on data in ``folder``. Raises ServerError that says why it cannot be had."""
    reason = missing_version(version)
    if reason is not None:
        raise ServerError(f"rabbitmq: version {version} cannot be had: {reason}")
    own = packaged()
    if own is not None and (version == ANY or own.startswith(f"{version}.")):
        return lambda words: list(map(str, words))
    NEWER.refuse(folder)
    return NEWER.command


class RabbitMQRecipe(ElsewhereOrHere):
    """External, native (Debian's package, of this or the next Debian; one node or a cluster), compose."""

    system = "rabbitmq"
    default_kinds = ("external", "native", "compose")
    options: Mapping[str, tuple[str, ...]] = MappingProxyType({"nodes": ("1", "3"), "version": (ANY, "3.10", NEWER_VERSION)})
    # What clients speak, on the one port that they are told.
    ask: Callable[[str, int], dict[str, str]] = staticmethod(amqp_start)  # opens a connection; the server's properties
    listener = "listeners.tcp.1"
    conf: Mapping[str, str] = MappingProxyType({})
    plugins: tuple[str, ...] = ()

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "native":
            return missing_version(ANY)
        return missing_common(self.system, kind, self.default_kinds)

    def install(self) -> None:
        """The machine's own package by apt, its service not started, and version 4.0 beside it; where one of them can be had, that one."""
        try:
            if packaged() is None:
                install_packages(self.system, ["rabbitmq-server"])
        except ServerError:  # not root
            if impossible() is not None:
                raise
        own = packaged() or ""
        if impossible() is not None or own.startswith(f"{NEWER_VERSION}."):
            return
        try:
            NEWER.install()
        except ServerError as error:
            have = f" (this machine's own {own} can)" if own else ""
            raise ServerError(f"version {NEWER_VERSION} of Debian 13 cannot be had{have}: {error}") from error

    def _external(self, request: Request, address: str) -> Server:
        pairs = host_ports(self.system, address)
        found = [answer_of(self.system, f"{host}:{port}", lambda host=host, port=port: self.ask(host, port)) for host, port in pairs]  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        nodes = tuple(Node(f"{self.system}.{i}", "broker", None, f"{h}:{p}", f"{h}:{p}") for i, (h, p) in enumerate(pairs, 1))
        what = product(found[0].get("product", NAME), found[0].get("version", ""))
        bootstrap = tuple(node.advertised for node in nodes)
        settings = {"platform": found[0].get("platform", ""), "nodes": len(nodes)}
        return RemoteServer(
            self.system, request.kind, what, nodes, bootstrap, settings, lambda: [self.ask(host, port) for host, port in pairs]
        )

    def _here(self, request: Request) -> Server:
        run = programs(request.version, request.folder)
        places = self._places(request)
        cookie, cluster_name = secrets.token_hex(20), f"bench-{secrets.token_hex(6)}"
        cluster = [place.erlang for place in places] if len(places) > 1 else []
        with Starting(request) as starting:
            # Ours to start and to stop: the one that Erlang starts by itself outlives the broker.
            epmd = run(["epmd", "-port", str(places[0].epmd), "-address", LOOPBACK])
            starting.helpers.append(request.guard.spawn(epmd, cwd=request.folder, stdout=request.folder / "epmd.log", name="epmd"))
            launches = [self._launch(request, run, place, cluster_name) for place in places]
            for place, launch in zip(places, launches, strict=True):
                self._write_settings(place, cookie, cluster_name, cluster)
                told = advertised(request, place.name, local(place.port))
                starting.spawn(Node(place.name, "broker", None, local(place.port), told, _log(request, place)), place.folder, launch)
            first, *_ = [launch.wait(popen) for launch, popen in zip(launches, starting.processes, strict=True)]
            what = product(first.get("product", NAME), first.get("version", ""))
            settings = {**CONF, **self.conf, "platform": first.get("platform", ""), "plugins": list(self.plugins), "nodes": len(places)}
            leaders = Leaders({place.erlang: place.name for place in places}, run(["erl_call"]), places[0].environment())
            return starting.server(self.system, what, settings, leaders=leaders)

    def _places(self, request: Request) -> list[_Place]:
        count = request.nodes
        clients, dist, (epmd,) = [choose_port(request.port), *free_ports(count - 1)], free_ports(count), free_ports(1)
        names = ["bench@localhost"] if count == 1 else [f"bench{i}@localhost" for i in range(1, count + 1)]
        return [
            _Place(f"{self.system}.{i}", erlang, clients[i - 1], dist[i - 1], epmd, node_folder(request, f"{self.system}.{i}"))
            for i, erlang in enumerate(names, 1)
        ]

    def _launch(self, request: Request, run: Run, place: _Place, cluster_name: str) -> Launch:
        """A node that finds its own data again: its name is fixed (bench@localhost, no host's name in it), and so is its Mnesia folder."""
        log = _log(request, place)

        def probe() -> dict[str, str]:
            found = self.ask(LOOPBACK, place.port)
            if found.get("cluster_name") != cluster_name:
                raise ValueError(f"another broker answers on port {place.port}: {found.get('cluster_name')}")
            return found

        return Launch(
            lambda: request.guard.spawn(run([SCRIPT]), env=place.environment(), cwd=place.folder, stdout=log, name=place.name),
            lambda popen: wait_ready(place.name, popen, log, probe, READY_TIMEOUT_S),
        )

    def _write_settings(self, place: _Place, cookie: str, cluster_name: str, cluster: list[str]) -> None:
        for part in ("home", "mnesia", "log", "gen"):
            (place.folder / part).mkdir()
        secret = place.folder / "home" / ".erlang.cookie"
        secret.write_text(cookie, encoding="ascii")
        secret.chmod(0o400)
        (place.folder / "enabled_plugins").write_text(f"[{','.join(self.plugins)}].\n", encoding="ascii")
        conf = {self.listener: local(place.port), "cluster_name": cluster_name, **CONF, **self.conf}
        if cluster:
            conf |= {
                "cluster_formation.peer_discovery_backend": "classic_config",
                "cluster_formation.target_cluster_size_hint": str(len(cluster)),
            }
            conf |= {f"cluster_formation.classic_config.nodes.{i}": name for i, name in enumerate(cluster, 1)}
        (place.folder / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in conf.items()), encoding="utf-8")


def _log(request: Request, place: _Place) -> Path:
    return request.folder / f"{place.name}.log"


RECIPE = RabbitMQRecipe()
