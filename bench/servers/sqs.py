"""Amazon SQS: its emulators ElasticMQ (from Maven's jars on the machine's Java) and moto (a wheel), or the service itself."""

from __future__ import annotations

from string import Template

from adapters.ports import LOOPBACK
from bench.servers import aws, java
from bench.servers.base import Request, Server
from bench.servers.common import DATA, node_folder, refuse_version
from bench.servers.home import locked
from bench.servers.ports import choose_port
from bench.servers.probe import sqs_list_queues
from bench.servers.products import product

VERSION = "1.7.1"
JVM = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class SqsRecipe(aws.AwsRecipe):
    """As aws.AwsRecipe; native is ElasticMQ. It answers when it lists its queues."""

    system = "sqs"
    service = "Amazon SQS"
    endpoint = "SQS endpoint"
    emulator = product("ElasticMQ", VERSION)
    ask = staticmethod(sqs_list_queues)

    def missing_native(self) -> str | None:
        """Java or ElasticMQ's jars."""
        reason = java.missing_jars("elasticmq", VERSION)
        return None if reason is None else reason.replace("install elasticmq", "install sqs")

    def install(self) -> None:
        """ElasticMQ's jars."""
        with locked("elasticmq"):
            java.fetch_jars("elasticmq", VERSION)

    def native(self, request: Request) -> Server:
        """ElasticMQ, in memory, with the limits of SQS."""
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
        return aws.started(request, self.system, self.ask, port=port, command=command, folder=folder, what=what, settings=settings)


def _jar_version() -> str:
    jars = sorted(java.libs("elasticmq", VERSION).glob("elasticmq-server_*.jar"))
    return jars[0].stem.rpartition("-")[2] if jars else VERSION


RECIPE = SqsRecipe()
