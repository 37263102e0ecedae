"""Several processes that become one server: all of them, or none."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.servers.base import INNER, Health, Leaders, Node, Product, Request
from bench.servers.common import Launch, ProcessServer, stop_all

_GIVE_UP_S = 2.0


class Starting:
    """The nodes of a server that is coming up. Whatever fails before the block has ended, Ctrl-C too, ends them again."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.nodes: list[Node] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.helpers: list[subprocess.Popen[bytes]] = []  # what the nodes need, stopped after them
        self._launches: list[Launch] = []
        self.folders: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            stop_all(self._request.guard, self.processes, _GIVE_UP_S)
            stop_all(self._request.guard, self.helpers, _GIVE_UP_S)

    def spawn(self, node: Node, folder: Path, launch: Launch) -> subprocess.Popen[bytes]:
        """Start one; does not wait until it answers. ``folder``: its data, removed when the server has stopped."""
        popen = launch.spawn()
        self.processes.append(popen)
        self.nodes.append(replace(node, pid=popen.pid))
        self._launches.append(launch)
        self.folders.append(folder)
        return popen

    def server(
        self, system: str, what: Product, settings: Mapping[str, Any], *, leaders: Leaders | None = None, health: Health | None = None
    ) -> ProcessServer:
        """All that was started, as a server. Nodes that clients connect to come first; those that are there for them are stopped last."""
        order = sorted(range(len(self.nodes)), key=lambda i: self.nodes[i].role in INNER)
        nodes = tuple(self.nodes[i] for i in order)
        return ProcessServer(
            system,
            self._request.kind,
            self._request.guard,
            what,
            nodes,
            tuple(node.advertised for node in nodes if node.role not in INNER),
            settings,
            [self.processes[i] for i in order],
            self.helpers,
            scratch=self.folders,
            launches=[self._launches[i] for i in order],
            leaders=leaders,
            health=health,
            outlive=tuple(node.name for node in nodes if node.role in INNER),
        )
