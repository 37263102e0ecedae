"""Amazon Kinesis: its emulators kinesalite (by npm, on Node.js) and moto (a wheel, for one producer only), or the service itself."""

from __future__ import annotations

from bench.servers import aws, node
from bench.servers.base import Request, Server
from bench.servers.common import DATA, node_folder, refuse_version
from bench.servers.home import locked
from bench.servers.ports import choose_port
from bench.servers.probe import kinesis_list_streams
from bench.servers.products import product

VERSION = "3.3.3"
SHARDS_MAX = 10_000  # of all streams together; kinesalite's own default is 10


class KinesisRecipe(aws.AwsRecipe):
    """As aws.AwsRecipe; native is kinesalite. It answers when it lists its streams."""

    system = "kinesis"
    service = "Amazon Kinesis"
    endpoint = "Kinesis endpoint"
    emulator = product("kinesalite", VERSION)
    ask = staticmethod(kinesis_list_streams)

    def missing_native(self) -> str | None:
        """Node.js or kinesalite."""
        return node.missing_modules(self.system, "kinesalite", VERSION)

    def install(self) -> None:
        """Kinesalite and what it needs, by npm."""
        with locked("kinesalite"):
            node.fetch_modules("kinesalite", VERSION)

    def native(self, request: Request) -> Server:
        """Kinesalite, in memory."""
        refuse_version(request, self.system, VERSION)
        port = choose_port(request.port)
        modules = node.modules("kinesalite", VERSION)
        command = [str(node.node_needed()), str(DATA / "kinesalite.js"), str(modules), str(port), str(SHARDS_MAX)]
        settings = {"storage": "memory", "throttling": "none", "shardLimit": str(SHARDS_MAX)}
        folder = node_folder(request, f"{self.system}.1")
        return aws.started(
            request, self.system, self.ask, port=port, command=command, folder=folder, what=self.emulator, settings=settings
        )  # fmt: skip


RECIPE = KinesisRecipe()
