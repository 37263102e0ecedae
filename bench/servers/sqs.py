"""Amazon SQS: its emulators ElasticMQ (from Maven's jars on the machine's Java) and moto (a wheel), or the service itself."""

from __future__ import annotations

from string import Template

from adapters.ports import LOOPBACK
from bench.errors import ServerError
from bench.servers import aws, java
from bench.servers.base import Request, Server
from bench.servers.common import DATA, external_address, node_folder, one_node, refuse_version
from bench.servers.compose import missing_common, start_service
from bench.servers.home import locked
from bench.servers.ports import choose_port
from bench.servers.probe import sqs_list_queues
from bench.servers.products import product

VERSION = "1.7.1"
SERVICE = "Amazon SQS"
JVM = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class SqsRecipe:
    """External (an endpoint URL, or "aws"), native (ElasticMQ), embedded (moto in a child process), compose (ElasticMQ)."""

    system = "sqs"
    default_kinds = ("external", "native", "embedded", "compose")

    def missing(self, kind: str) -> str | None:
        """What is missing for a kind; None = it can be had here."""
        if kind == "native":
            return _jars_missing()
        if kind == "embedded":
            return aws.missing_moto()
        return missing_common(self.system, kind, self.default_kinds)

    def start(self, request: Request) -> Server:
        """Start it, or find it; returns when it answers ListQueues."""
        if request.kind == "external":
            address = external_address(self.system, request)
            return aws.remote(request, self.system, address, sqs_list_queues, what=product("SQS endpoint", ""), service=SERVICE)
        if request.kind == "compose":
            return start_service(self.system, request, self._compose, scheme="http://")
        reason = self.missing(request.kind)
        if reason is not None:
            raise ServerError(f"sqs: {reason}")
        one_node(request, self.system)
        return aws.moto(request, self.system, sqs_list_queues) if request.kind == "embedded" else self._elasticmq(request)

    def install(self) -> None:
        """ElasticMQ's jars."""
        with locked("elasticmq"):
            java.fetch_jars("elasticmq", VERSION)

    def _compose(self, request: Request, address: str) -> Server:
        return aws.remote(request, self.system, address, sqs_list_queues, what=product("ElasticMQ", VERSION), service=SERVICE)

    def _elasticmq(self, request: Request) -> Server:
        version = _jar_version()
        refuse_version(request, self.system, version)
        port = choose_port(request.port)
        folder = node_folder(request, f"{self.system}.1")
        conf = folder / "elasticmq.conf"
        conf.write_text(
            Template((DATA / "elasticmq.conf").read_text(encoding="utf-8")).substitute(port=port, host=LOOPBACK), encoding="utf-8"
        )
        flags = [f"-Dlogback.configurationFile={DATA / 'elasticmq-logback.xml'}", f"-Dconfig.file={conf}"]
        jars = java.class_path(java.libs("elasticmq", VERSION))
        command = [str(java.java_needed()), *JVM, *flags, "-cp", jars, "org.elasticmq.server.Main"]
        settings = {"sqs-limits": "strict", "messages-storage": "memory", "jvm": " ".join(JVM)}
        what = product("ElasticMQ", version)
        return aws.started(request, self.system, sqs_list_queues, port=port, command=command, folder=folder, what=what, settings=settings)


def _jars_missing() -> str | None:
    reason = java.missing_jars("elasticmq", VERSION)
    return None if reason is None else reason.replace("install elasticmq", "install sqs")


def _jar_version() -> str:
    jars = sorted(java.libs("elasticmq", VERSION).glob("elasticmq-server_*.jar"))
    return jars[0].stem.rpartition("-")[2] if jars else VERSION


RECIPE = SqsRecipe()
