"""The proxy of ZeroMQ's mode `proxy`: an intermediary that stores nothing, from the pyzmq that the adapter uses.

Not a system of its own: bench.servers.recipe_name() says which variants need it. Its addresses are two, the publishers' (the node's)
and the subscribers'; bench.faults.links puts a TCP proxy before each.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys

from adapters.errors import Unreachable
from bench.errors import ServerError
from bench.guard import child_env
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
from bench.servers.compose import missing_common
from bench.servers.ports import choose_port, free_ports

NAME = "zmq.proxy"
READY_TIMEOUT_S = 20.0
SETTINGS = {"sockets": "XSUB, XPUB", "sndhwm": 1000, "rcvhwm": 1000}  # libzmq's defaults, as zmq_setsockopt(3) gives them


class ZeroMqProxyRecipe:
    """External (HOST:FRONT,HOST:BACK), embedded (a child process)."""

    system = "zeromq_proxy"
    default_kinds = ("external", "embedded")

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "embedded":
            return None if importlib.util.find_spec("zmq") else "no pyzmq: pip install 'brokerbench[zeromq]'"
        return missing_common(self.system, kind, self.default_kinds)

    def start(self, request: Request) -> Server:
        """Start it, or find it; returns when both of its sockets greet."""
        if request.kind == "external":
            return self._external(request, external_address(self.system, request))
        reason = self.missing(request.kind)
        if reason is not None:
            raise ServerError(f"{self.system}: {reason}")
        one_node(request, self.system)
        return self._process(request)

    def install(self) -> None:
        """Nothing: it comes with pyzmq."""

    def _external(self, request: Request, address: str) -> Server:
        pairs = host_ports(self.system, address)
        if len(pairs) != 2:
            raise ServerError(f"{self.system}: two addresses, the publishers' and the subscribers', not {len(pairs)}")
        told = tuple(f"{host}:{port}" for host, port in pairs)
        answer_of(self.system, address, lambda: _greet(*told))
        node = Node(f"{self.system}.1", "proxy", None, told[0], told[0])
        return RemoteServer(self.system, request.kind, Product(NAME, ""), (node,), told, {}, lambda: _greet(*told))

    def _process(self, request: Request) -> Server:
        name = f"{self.system}.1"
        version = importlib.metadata.version("pyzmq")
        refuse_version(request, self.system, version)
        front = choose_port(request.port)
        (back,) = free_ports(1)
        folder = node_folder(request, name)
        log = request.folder / f"{name}.log"
        env = child_env()
        command = [sys.executable, "-m", "bench.servers.zeromq_proxy_child", str(front), str(back)]
        launch = Launch(
            lambda: request.guard.spawn(command, env=env, cwd=folder, stdout=log, name=name),
            lambda popen: wait_ready(name, popen, log, lambda: _greet(local(front), local(back)), READY_TIMEOUT_S),
        )
        with launched(request.guard, launch) as (popen, _):
            told = advertised(request, name, local(front))
            node = Node(name, "proxy", popen.pid, local(front), told, log)
            what, bootstrap = Product(NAME, version), (told, local(back))
            return ProcessServer(
                self.system, request.kind, request.guard, what, (node,), bootstrap, SETTINGS, [popen], scratch=[folder], launches=[launch]
            )


def _greet(*addresses: str) -> bool:
    """Whether each greets as ZMTP does. Raises OSError, ValueError."""
    from adapters.zeromq_pubsub import answers  # noqa: PLC0415  # imports zmq, which not every installation has

    try:
        for address in addresses:
            answers(address)
    except Unreachable as error:
        raise ValueError(str(error)) from error
    return True


RECIPE = ZeroMqProxyRecipe()
