"""Amazon Kinesis: its emulators kinesalite (by npm, on Node.js) and moto (a wheel, for one producer only), or the service itself."""

from __future__ import annotations

from bench.errors import ServerError
from bench.servers import aws, node
from bench.servers.base import Request, Server
from bench.servers.common import DATA, external_address, node_folder, one_node, refuse_version
from bench.servers.compose import missing_common, start_service
from bench.servers.home import locked
from bench.servers.ports import choose_port
from bench.servers.probe import kinesis_list_streams
from bench.servers.products import product

VERSION = "3.3.3"
SERVICE = "Amazon Kinesis"
SHARDS_MAX = 10_000  # of all streams together; kinesalite's own default is 10


class KinesisRecipe:
    """External (an endpoint URL, or "aws"), native (kinesalite), embedded (moto in a child process), compose (kinesalite)."""

    system = "kinesis"
    default_kinds = ("external", "native", "embedded", "compose")

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "native":
            return node.missing_modules(self.system, "kinesalite", VERSION)
        if kind == "embedded":
            return aws.missing_moto()
        return missing_common(self.system, kind, self.default_kinds)

    def start(self, request: Request) -> Server:
        """Start it, or find it; returns when it answers ListStreams."""
        if request.kind == "external":
            address = external_address(self.system, request)
            return aws.remote(request, self.system, address, kinesis_list_streams, what=product("Kinesis endpoint", ""), service=SERVICE)
        if request.kind == "compose":
            return start_service(self.system, request, self._compose, scheme="http://")
        reason = self.missing(request.kind)
        if reason is not None:
            raise ServerError(f"kinesis: {reason}")
        one_node(request, self.system)
        if request.kind == "embedded":
            return aws.moto(request, self.system, kinesis_list_streams)
        return self._kinesalite(request)

    def install(self) -> None:
        """Kinesalite and what it needs, by npm."""
        with locked("kinesalite"):
            node.fetch_modules("kinesalite", VERSION)

    def _compose(self, request: Request, address: str) -> Server:
        return aws.remote(request, self.system, address, kinesis_list_streams, what=product("kinesalite", VERSION), service=SERVICE)

    def _kinesalite(self, request: Request) -> Server:
        refuse_version(request, self.system, VERSION)
        port = choose_port(request.port)
        modules = node.modules("kinesalite", VERSION)
        command = [str(node.node_needed()), str(DATA / "kinesalite.js"), str(modules), str(port), str(SHARDS_MAX)]
        settings = {"storage": "memory", "throttling": "none", "shardLimit": str(SHARDS_MAX)}
        folder = node_folder(request, f"{self.system}.1")
        what = product("kinesalite", VERSION)
        return aws.started(
            request, self.system, kinesis_list_streams, port=port, command=command, folder=folder, what=what, settings=settings
        )  # fmt: skip


RECIPE = KinesisRecipe()
