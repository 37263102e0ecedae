"""What recipes share whose server may be one that runs already, or come in containers: by which way it is had."""

from __future__ import annotations

from abc import ABC, abstractmethod

from bench.errors import ServerError
from bench.servers.base import Request, Server
from bench.servers.common import external_address, one_node
from bench.servers.compose import start_service


class ElsewhereOrHere(ABC):
    """External and compose servers are looked at, others are started here."""

    system: str
    scheme = ""  # before the address of a container

    @abstractmethod
    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""

    def start(self, request: Request) -> Server:
        """Start it, or find it; returns when it answers. Raises ServerError."""
        if request.kind == "external":
            return self._external(request, external_address(self.system, request))
        if request.kind == "compose":
            return start_service(self.system, request, self._compose, self.scheme)
        return self._here(request)

    @abstractmethod
    def _external(self, request: Request, address: str) -> Server:
        """A server that runs at an address; it is asked what it is."""

    def _compose(self, request: Request, address: str) -> Server:
        """The same of a container that was brought up."""
        return self._external(request, address)

    @abstractmethod
    def _here(self, request: Request) -> Server:
        """Start it on this machine."""

    def _alone(self, request: Request) -> None:
        """Refuse what is missing, and more than one node."""
        reason = self.missing(request.kind)
        if reason is not None:
            raise ServerError(f"{self.system}: {reason}")
        one_node(request, self.system)
