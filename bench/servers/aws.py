"""What the recipes of Amazon's services share: an endpoint or the service itself, moto, and starting an emulator's process."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import urllib.parse
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from adapters.ports import LOOPBACK
from bench.errors import UsageError
from bench.guard import child_env
from bench.servers.base import Node, Product, Request, Server
from bench.servers.common import (
    Launch,
    ProcessServer,
    RemoteServer,
    advertised,
    answer_of,
    launched,
    local,
    node_folder,
    refuse_version,
    wait_ready,
)
from bench.servers.compose import missing_common
from bench.servers.elsewhere import ElsewhereOrHere
from bench.servers.ports import choose_port
from bench.servers.products import product

READY_TIMEOUT_S = 60.0  # kinesalite 0.2 s, moto 0.6 s, ElasticMQ 2.2 s on an idle machine
Ask = Callable[[str], object]
"""Asks the endpoint of a URL something that it has to answer. Raises OSError, ValueError."""


class AwsRecipe(ElsewhereOrHere):
    """External (an endpoint URL, or "aws"), native (an emulator), embedded (moto in a child process), compose (the native one's image)."""

    default_kinds = ("external", "native", "embedded", "compose")
    scheme = "http://"
    service: str  # Amazon's name of it
    endpoint: str  # what an endpoint that was found is called: it does not tell its product
    emulator: Product  # of compose
    ask: Ask

    @abstractmethod
    def missing_native(self) -> str | None:
        """What is missing for the emulator; None = it can be had here."""

    @abstractmethod
    def native(self, request: Request) -> Server:
        """Start the emulator."""

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "native":
            return self.missing_native()
        if kind == "embedded":
            return missing_moto()
        return missing_common(self.system, kind, self.default_kinds)

    def _external(self, request: Request, address: str) -> Server:
        return self._remote(request, address, product(self.endpoint, ""))

    def _compose(self, request: Request, address: str) -> Server:
        return self._remote(request, address, self.emulator)

    def _here(self, request: Request) -> Server:
        self._alone(request)
        return moto(request, self.system, self.ask) if request.kind == "embedded" else self.native(request)

    def _remote(self, request: Request, address: str, what: Product) -> Server:
        return remote(request, self.system, address, self.ask, what=what, service=self.service)


def missing_moto() -> str | None:
    """What is missing for moto; None = it is installed."""
    absent = [name for name in ("moto", "flask", "flask_cors") if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} not installed: pip install 'brokerbench[embedded]'" if absent else None


def moto(request: Request, system: str, ask: Ask) -> Server:
    """Moto's server in a child process, which speaks the protocols of all services."""
    version = importlib.metadata.version("moto")
    refuse_version(request, system, version)
    port = choose_port(request.port)
    command = [sys.executable, "-m", "bench.servers.moto_child", LOOPBACK, str(port)]
    folder = node_folder(request, f"{system}.1")
    return started(
        request, system, ask, port=port, command=command, folder=folder, what=product("moto", version), settings={"storage": "memory"}
    )


def started(
    request: Request, system: str, ask: Ask, *, port: int, command: Sequence[str], folder: Path, what: Product, settings: Mapping[str, str]
) -> Server:  # fmt: skip
    """An emulator as a process of this machine; returns when it answers."""
    name = f"{system}.1"
    log = request.folder / f"{name}.log"
    env = child_env()
    url = f"http://{local(port)}"

    def answers() -> bool:
        ask(url)
        return True

    launch = Launch(
        lambda: request.guard.spawn(command, env=env, cwd=folder, stdout=log, name=name),
        lambda popen: wait_ready(name, popen, log, answers, READY_TIMEOUT_S),
    )
    with launched(request.guard, launch) as (popen, _):
        told = advertised(request, name, local(port))
        node = Node(name, "emulator", popen.pid, local(port), told, log)
        return ProcessServer(
            system, request.kind, request.guard, what, (node,), (told,), settings, [popen], scratch=[folder], launches=[launch]
        )


def remote(request: Request, system: str, address: str, ask: Ask, *, what: Product, service: str) -> Server:
    """The endpoint at ``address``, or for "aws" the service itself (``service``: its name), of which nothing is asked."""
    if address == "aws":
        # Credentials and region are boto3's own business; the first call of the adapter tells whether they work.
        node = Node(f"{system}.1", "service", None, "aws", "aws")
        return RemoteServer(system, request.kind, product(service, ""), (node,), ("aws",), {}, lambda: None)
    url = address if "//" in address else f"http://{address}"
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"{system}: {address!r} is not an endpoint; it is http://HOST:PORT, HOST:PORT, or aws")
    answer_of(system, address, lambda: ask(url))
    where = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    told = url.rstrip("/") if parts.scheme == "https" else where
    node = Node(f"{system}.1", "endpoint", None, where, told)
    return RemoteServer(system, request.kind, what, (node,), (told,), {"endpoint": url}, lambda: ask(url))
