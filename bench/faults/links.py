"""Where a run's network can be broken: proxies before a server's nodes, or between peers that have no server.

The direct way stays: only a session whose trials have network faults is led through the proxies, so that nothing else pays for
them or sees what a proxy cannot hide (it takes a connection before it knows whether the server would). In this order:

1. `request`: Request.wiring of a server that is about to start, for the one that tells clients addresses itself (Kafka)
2. `Links.of_server` for its nodes, or `Links.of_peers` for a wiring without a server: opens the proxies, once; both for a server that calls
   its peers (a Flume agent), which is told the latter before it starts
3. the `Ways` that they return: what those that connect are told, and `add` and `clear` by a node's name or "peer.1"

The runner's own calls (prepare, cleanup) go the direct way, whatever is done to the links.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapters.base import Wiring
from adapters.errors import Unsupported
from bench import servers
from bench.faults.proxy import Proxies, Toxic
from bench.guard import Guard
from bench.servers.base import INNER, Node, Server
from bench.servers.common import local
from bench.servers.ports import free_ports

_ADDRESS = re.compile(r"(?P<before>(?:[a-z]+://)?)(?P<address>(?P<host>[\w.-]+):\d+)")
_LOCAL = re.compile(r"\d+\.\d+\.\d+\.\d+|localhost")
NODES_MAX = 9  # addresses are chosen before anybody knows how many nodes there will be
ALL = "all"
"""As a target: every link that the variant has."""


def addresses(value: Any) -> Iterator[str]:
    """Every host:port in a wiring, in its order: "127.0.0.1:5000", "tcp://127.0.0.1:5000" and ["127.0.0.1", 5000] are such."""
    if isinstance(value, str):
        match = _ADDRESS.fullmatch(value)
        if match is not None and _LOCAL.fullmatch(match["host"]):
            yield match["address"]
    elif _is_pair(value):
        yield from addresses(f"{value[0]}:{value[1]}")
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from addresses(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from addresses(each)


def moved(value: Any, where: Mapping[str, str]) -> Any:
    """A copy of a wiring in which every address that ``where`` knows is another, in the form that it had."""
    if isinstance(value, str):
        match = _ADDRESS.fullmatch(value)
        return value if match is None else match["before"] + where.get(match["address"], match["address"])
    if _is_pair(value):
        host, _, port = where.get(f"{value[0]}:{value[1]}", f"{value[0]}:{value[1]}").rpartition(":")
        return [host, int(port)]
    if isinstance(value, Mapping):
        return {key: moved(each, where) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [moved(each, where) for each in value]
    return value


def _is_pair(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) != 2 or isinstance(value[1], bool):
        return False
    return isinstance(value[0], str) and isinstance(value[1], int) and _ADDRESS.fullmatch(f"{value[0]}:{value[1]}") is not None


def request(system: str) -> dict[str, dict[str, str]]:
    """Request.wiring of a server that is about to start: the proxy's address for each node that it may have."""
    return {"proxied": {f"{system}.{i}": local(port) for i, port in enumerate(free_ports(NODES_MAX), 1)}}


class Ways:
    """The links of one server, or of the peers of one session."""

    def __init__(self, proxies: Proxies, links: Mapping[str, Sequence[str]], where: Mapping[str, str]) -> None:
        self._proxies = proxies
        self._links = {name: tuple(its) for name, its in links.items()}
        self._where = dict(where)

    def told(self, wiring: Wiring) -> Wiring:
        """The wiring for endpoints that connect; peers that listen keep the adapter's own."""
        changed: Wiring = moved(wiring, self._where)
        return changed

    def with_calls(self, peers: Ways) -> Ways:
        """These ways, with those by which the server itself calls peers: what is done to a node's link is done to both.

        Nobody but the server is told of the others: its peers listen on their own addresses.
        """
        more = peers._meant(ALL)
        return Ways(self._proxies, {name: (*its, *more) for name, its in self._links.items()}, self._where)

    @property
    def names(self) -> tuple[str, ...]:
        """What `add` and `clear` take: names of nodes, or "peer.1" and so on in the order of the wiring's addresses."""
        return tuple(self._links)

    def add(self, target: str, toxic: str, direction: str = "both", attributes: Mapping[str, float] | None = None) -> int:
        """Put a toxic on a link, ALL: on all of them; when it was in force (ns, bench.clock). Raises Unsupported without that link."""
        made = Toxic(toxic, direction, attributes or {})
        return max(self._proxies.add(link, made) for link in self._meant(target))

    def clear(self, target: str) -> int:
        """Take all toxics off a link, ALL: off all of them; when it was done (ns, bench.clock)."""
        return max(self._proxies.clear(link) for link in self._meant(target))

    def check(self, target: str) -> None:
        """Raise Unsupported where there is no such link."""
        self._meant(target)

    def _meant(self, target: str) -> tuple[str, ...]:
        if target == ALL:
            return tuple(dict.fromkeys(link for its in self._links.values() for link in its))
        if target not in self._links:
            raise Unsupported(f"there is no link to {target}; there are: {', '.join(self._links)}")
        return self._links[target]


class Links:
    """The proxies of one run; their process starts with the first of them. Thread-safe. Close it after the endpoints.

    ``folder``: for the log. ``seed``: of jitter and slices.
    """

    def __init__(self, guard: Guard, folder: Path, seed: int = 0) -> None:
        self._guard = guard
        self._folder = folder
        self._seed = seed
        self._lock = threading.Lock()
        self._proxies: Proxies | None = None
        self._opened: dict[str, str] = {}  # the proxy's address by the one it forwards to

    def of_server(self, server: Server) -> Ways:
        """Proxies before a server's nodes. Raises Unsupported where clients would pass them by."""
        tells = getattr(servers.recipe(server.system), "tells_addresses", False)
        links: dict[str, list[str]] = {}
        where: dict[str, str] = {}
        for node in server.nodes:
            if node.role in INNER:
                continue
            if tells and not node.behind:
                raise Unsupported(f"{node.name} itself tells clients where to go, and not through a proxy; use server=native")
            links[node.name] = [self._open(node.name, node.proxied, node.behind or node.address)]
            where |= dict.fromkeys((node.address, node.advertised), links[node.name][0].rpartition("@")[2])
        for address in server.bootstrap:
            if address not in where:  # a second address of a server of one node: the subscribers' of zmq.proxy
                node = server.nodes[0]
                links[node.name].append(self._open(node.name, "", address))
                where[address] = links[node.name][-1].rpartition("@")[2]
        return Ways(self.proxies, links, where)

    def of_peers(self, wiring: Wiring) -> Ways:
        """Proxies before the addresses of a wiring without a server, in its order. Raises Unsupported where there is none."""
        there = list(dict.fromkeys(addresses(wiring)))
        if not there:
            raise Unsupported("nothing of its network can be reached: no server, and no addresses in its wiring")
        links = {f"peer.{i}": self._open(f"peer.{i}", "", address) for i, address in enumerate(there, 1)}
        where = {address: link.rpartition("@")[2] for address, link in zip(there, links.values(), strict=True)}
        return Ways(self.proxies, {name: [link] for name, link in links.items()}, where)

    @property
    def proxies(self) -> Proxies:
        """Their process's other end. Raises EnvironmentProblem where it does not start."""
        with self._lock:
            if self._proxies is None:
                self._proxies = Proxies(self._guard, self._folder, self._seed)
            return self._proxies

    def nodes(self) -> tuple[Node, ...]:
        """The proxies' process, whose CPU and memory a trial tells beside the server's; none where nothing was opened."""
        return () if self._proxies is None else (self._proxies.node,)

    def dead(self) -> str | None:
        """None while the process lives or is not needed; else how it ended."""
        return None if self._proxies is None else self._proxies.dead()

    def heal(self) -> None:
        """Take all toxics off everything."""
        if self._proxies is not None:
            self._proxies.heal()

    def close(self) -> None:
        """End the process. Idempotent."""
        if self._proxies is not None:
            self._proxies.close()

    def _open(self, name: str, told: str, address: str) -> str:
        """The link before an address; its name ends with the proxy's own address."""
        if not re.fullmatch(r"[^/]+:\d+", address):
            raise Unsupported(f"{name}: no proxy can be put before {address}")
        if address not in self._opened:
            told = told or local(free_ports(1)[0])
            self.proxies.open(f"{name}@{told}", int(told.rpartition(":")[2]), address)
            self._opened[address] = f"{name}@{told}"
        return self._opened[address]
