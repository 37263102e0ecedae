"""What a server recipe gives: a started server as a list of nodes, whatever it runs as."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.guard import Guard

Leaders = Callable[[Mapping[str, Any]], Mapping[str, str]]
"""Of a server whose nodes share out what they lead, optional, as ``Server.leaders(wiring)``: what is led (of the adapter's wiring) -> the
node's name, "" while nobody leads it. The first is what a fault's target `server.leader` means. OSError, ValueError: nobody answers."""
Health = Callable[[bool], Mapping[str, Mapping[str, str | float]]]
"""What nodes say of themselves, optional, as ``Server.health(anew)``: figures by name, by the node's name; those that do not answer are
left out. With ``anew`` counts begin again from now on."""
INNER = ("controller", "zookeeper")
"""Roles of nodes that no client connects to."""
Status = Callable[[Sequence[Mapping[str, Any]], Path], Mapping[str, Any]]
"""Of a recipe, optional, as ``status(nodes, folder)``: what a server that runs here says of itself now, texts and figures by name;
``nodes``: name, role, address of each, ``folder``: of their data. OSError, ValueError: nobody answers."""
KINDS = ("external", "native", "embedded", "compose")


@dataclass(frozen=True)
class Node:
    """One process of a server. ``pid`` is None where it runs elsewhere (external, compose)."""

    name: str  # "kafka.1": faults and figures name nodes so
    role: str  # "broker", "emulator", or one of INNER
    pid: int | None
    address: str  # host:port that it listens on
    advertised: str  # host:port that clients are told
    log: Path | None = None
    # A node that tells its clients addresses itself (Kafka) has a listener more for those that come by a proxy. Else "".
    proxied: str = ""  # host:port of the proxy that it tells them
    behind: str = ""  # host:port of that listener


@dataclass(frozen=True)
class Product:
    """Which server this is, for the report: name, version and its dates (ISO, "" = not known)."""

    name: str  # "Apache Kafka", "Valkey", "ElasticMQ"
    version: str
    released: str = ""
    end_of_life: str = ""
    emulator: bool = False  # speaks a cloud service's protocol; says nothing about the service: never ranked


@dataclass(frozen=True)
class Request:
    """What the runner asks of a recipe."""

    kind: str  # one of KINDS
    folder: Path  # data, settings and logs of this server: folder/NODE.log
    run_id: str
    guard: Guard  # every child is started through it, so that nothing outlives the run
    address: str = ""  # external: host:port[,host:port...]
    options: Mapping[str, str] = field(default_factory=dict)  # of the recipe's `options`; servers.start() fills in its defaults
    port: int = 0  # 0 = any free one
    breaks: bool = False  # nodes will be killed: what they wait for each other is set short, and shown among the settings
    # "advertise", "proxied": an address by node, see common.advertised; "session": what wire() made, where the recipe is ``wired``
    wiring: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        """How many brokers: the option "nodes"."""
        return int(self.options.get("nodes", "1"))

    @property
    def version(self) -> str:
        """Which version: the option of that name; "" = the recipe's own choice."""
        return self.options.get("version", "")


class Server(Protocol):
    """A server that answers. ``stop`` is idempotent and leaves nothing running."""

    system: str
    kind: str
    product: Product
    nodes: tuple[Node, ...]
    bootstrap: tuple[str, ...]  # advertised addresses: wiring["servers"]
    settings: Mapping[str, Any]  # effective ones, for the report

    def dead(self) -> str | None: ...  # None = lives, or was taken down on purpose; else why not, with the node's last log lines
    def stop(self) -> None: ...

    # Breaking it on purpose, by a node's name. ServerError where that cannot be done: an unknown name, a server that runs elsewhere.
    def kill(self, node: str) -> None: ...  # SIGKILL; returns when it is gone
    def stop_node(self, node: str) -> None: ...  # asks it to end in order; ServerError where it had to be killed
    def pause(self, node: str) -> None: ...  # SIGSTOP; returns when every thread of it stands still
    def resume(self, node: str) -> None: ...  # SIGCONT
    def restart(self, node: str) -> None: ...  # the same data, ports and settings; returns when it answers; ``nodes`` has its new pid


class Recipe(Protocol):
    """How one system's server is obtained and started: one module of bench/servers each, as RECIPE.

    It may have ``options``: Mapping[str, tuple[str, ...]], the keys of a SPEC that are its server's with their values, the first being
    the default. Ask servers.options(), not the recipe: most have none. ``belongs``: Mapping[str, str], options that make sense beside
    another only, each with that one.
    With an attribute ``wired = True`` its server is set up for one session, whose consumers it calls, and is started anew for each.
    """

    system: str
    default_kinds: tuple[str, ...]  # tried in this order for "auto"

    def missing(self, kind: str) -> str | None: ...  # None = can be had here; else what is missing and how to get it
    def start(self, request: Request) -> Server: ...  # returns when the protocol answers; raises ServerError
    def install(self) -> None: ...  # gets it for "native" (apt as root, mvn); skips what is there; raises ServerError
