"""The servers of one run: which variants share one, started together, restarted when one died."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.base import Options, Wiring
from bench import servers
from bench.errors import ServerError
from bench.faults import links
from bench.faults.links import Links
from bench.guard import Guard
from bench.servers.base import Request, Server
from bench.spec import AUTO, Variant


@dataclass(frozen=True)
class Place:
    """What variants must agree in to share a server."""

    system: str
    kind: str
    address: str
    owner: str = ""  # the one variant that it is for: what passes through cannot be told apart (zmq.proxy), or it is made for one session
    options: tuple[tuple[str, str], ...] = ()  # Variant.server_options

    @property
    def name(self) -> str:
        """Folder name: "kafka", "kafka-embedded" where a variant asks for a kind, "kafka-nodes=3" for an option."""
        parts = [self.system, "" if self.kind == AUTO else self.kind, *(f"{key}={value}" for key, value in self.options), self.owner]
        return "-".join(part for part in parts if part)


def place_of(variant: Variant) -> Place | None:
    """Return where a variant's server stands; None for a broker-less system.

    BROKERBENCH_<SYSTEM>_ADDRESS makes an external server of "auto".
    """
    system = servers.recipe_name(variant.system, variant.mode)
    if servers.recipe(system) is None:
        return None
    kind, address = variant.server_kind, variant.server_address
    given = os.environ.get(f"BROKERBENCH_{system.upper()}_ADDRESS", "")
    if given and (kind == AUTO or (kind == "external" and not address)):
        kind, address = "external", given
    shared = system == variant.system and not servers.wired(system)
    return Place(system, kind, address, "" if shared else variant.id, tuple(variant.server_options.items()))


def options_of(variant: Variant, **more: Any) -> Options:
    """What a variant asks of its adapter; ``more``: of the workload (batch, ack_every, payload_bytes_max)."""
    place = place_of(variant)
    server = {} if place is None else dict(place.options)
    if place is not None and place.kind != "external":
        server = servers.filled(place.system, server)
    return Options(profile=variant.profile, mode=variant.mode, settings=dict(variant.settings), server=server, **more)


class Deployment:
    """Starts, watches, restarts and stops the servers of a run."""

    def __init__(self, guard: Guard, folder: Path, run_id: str, links: Links | None = None) -> None:
        """``links``: where servers and the network will be broken; its proxies are watched with the servers."""
        self._guard = guard
        self._folder = folder
        self._run_id = run_id
        self._links = links
        self._running: dict[Place, Server] = {}
        self._wirings: dict[Place, Wiring] = {}  # of the session that a server was set up for, where it is for one
        self._starts = 0

    def start(self, places: Iterable[Place], told: Callable[[str], None]) -> dict[Place, str]:
        """Start servers side by side; return the reason of each that cannot be had. One that is for a session starts with it."""
        wanted = [place for place in dict.fromkeys(places) if place not in self._running]
        failed: dict[Place, str] = {}
        if not wanted:
            return failed
        with ThreadPoolExecutor(len(wanted)) as pool:
            for place, result in zip(wanted, pool.map(self._try, wanted), strict=True):
                if isinstance(result, Started):
                    self._running[place] = result.server
                    product = result.server.product
                    told(f"{place.name}: {product.name} {product.version} ({result.server.kind}) answers")
                elif result is not None:
                    failed[place] = result
                    told(f"{place.name}: not run: {result}")
        return failed

    def _try(self, place: Place) -> Started | str | None:
        try:
            if servers.wired(place.system):
                servers.choose(place.system, _kind(place))
                return None
            return Started(self._start(place))
        except ServerError as error:
            return str(error)

    def _start(self, place: Place) -> Server:
        self._starts += 1
        kind = servers.choose(place.system, _kind(place))
        folder = self._folder / place.name
        number = self._starts
        while folder.exists():  # a restart, or a run that goes on: the first server's log is evidence
            folder = self._folder / f"{place.name}-{number}"
            number += 1
        folder.mkdir(parents=True)
        wiring: dict[str, Any] = {} if self._links is None else links.request(place.system)
        if place in self._wirings:
            wiring["session"] = self._wirings[place]
        breaks = self._links is not None
        request = Request(
            kind, folder, self._run_id, self._guard, address=place.address, options=dict(place.options), breaks=breaks, wiring=wiring
        )
        return servers.start(place.system, request)

    def server(self, place: Place | None, session: Wiring | None = None) -> Server | None:
        """Return a place's server, started anew where it has died; None for a broker-less system. Raises ServerError.

        ``session``: the wiring of one that begins. A server that is set up for a session is started anew for it.
        """
        if place is None:
            return None
        server = self._running.get(place)
        begins = session is not None and servers.wired(place.system)
        if begins:
            self._wirings[place] = dict(session or {})
        if server is None or begins or server.dead() is not None:
            if server is not None:
                server.stop()
                del self._running[place]
            server = self._running[place] = self._start(place)
        return server

    def running(self, place: Place | None) -> Server | None:
        """Return a place's server as it is, dead or alive; None when there is none."""
        return None if place is None else self._running.get(place)

    def pids(self, without: Place | None = None) -> list[int]:
        """Of all nodes that run here, but those of one place."""
        servers_ = [server for place, server in self._running.items() if place != without]
        return [node.pid for server in servers_ for node in server.nodes if node.pid is not None]

    def dead(self, place: Place | None) -> str | None:
        """Say why a place's server, or the proxies, are dead; None when they live or there are none."""
        server = self.running(place)
        reason = None if server is None else server.dead()
        return reason or (None if self._links is None else self._links.dead())

    def retire(self, place: Place | None) -> None:
        """Stop a place's server, where it has one."""
        server = None if place is None else self._running.pop(place, None)
        if server is not None:
            _stop(server)

    def stop(self) -> None:
        """Stop all; idempotent."""
        running, self._running = list(self._running.values()), {}
        if running:
            with ThreadPoolExecutor(len(running)) as pool:
                list(pool.map(_stop, running))


@dataclass
class Started:
    """A server that started."""

    server: Server


def _kind(place: Place) -> str:
    """As servers.choose() takes it."""
    return f"{place.kind}:{place.address}" if place.address else place.kind


def _stop(server: Server) -> None:
    with contextlib.suppress(ServerError):
        server.stop()
