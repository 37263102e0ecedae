"""Amazon SQS: its emulators ElasticMQ (from Maven's jars on the machine's Java) and moto (a wheel), or the service itself."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import urllib.parse
from pathlib import Path
from string import Template

from adapters.ports import LOOPBACK
from bench.errors import ServerError, UsageError
from bench.guard import child_env
from bench.servers import java
from bench.servers.base import Node, Product, Request, Server
from bench.servers.common import (
    DATA,
    Launch,
    ProcessServer,
    RemoteServer,
    advertised,
    answer_of,
    external_address,
    launched,
    local,
    node_folder,
    one_node,
    refuse_version,
    wait_ready,
)
from bench.servers.compose import missing_common, start_service
from bench.servers.home import locked
from bench.servers.ports import choose_port
from bench.servers.probe import sqs_list_queues
from bench.servers.products import product

VERSION = "1.7.1"
READY_TIMEOUT_S = 60.0  # 0.6 s (moto) and 2.2 s (ElasticMQ) on an idle machine
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
            absent = [name for name in ("moto", "flask", "flask_cors") if importlib.util.find_spec(name) is None]
            return f"{', '.join(absent)} not installed: pip install 'brokerbench[embedded]'" if absent else None
        return missing_common(self.system, kind, self.default_kinds)

    def start(self, request: Request) -> Server:
        """Start it, or find it; returns when it answers ListQueues."""
        if request.kind == "external":
            return self._external(request, external_address(self.system, request))
        if request.kind == "compose":
            return start_service(self.system, request, self._compose, scheme="http://")
        reason = self.missing(request.kind)
        if reason is not None:
            raise ServerError(f"sqs: {reason}")
        one_node(request, self.system)
        return self._moto(request) if request.kind == "embedded" else self._elasticmq(request)

    def install(self) -> None:
        """ElasticMQ's jars."""
        with locked("elasticmq"):
            java.fetch_jars("elasticmq", VERSION)

    def _external(self, request: Request, address: str) -> Server:
        return _remote(request, address, product("SQS endpoint", ""))

    def _compose(self, request: Request, address: str) -> Server:
        return _remote(request, address, product("ElasticMQ", VERSION))

    def _elasticmq(self, request: Request) -> Server:
        name = "sqs.1"
        version = _jar_version()
        refuse_version(request, self.system, version)
        port = choose_port(request.port)
        folder = node_folder(request, name)
        conf = folder / "elasticmq.conf"
        conf.write_text(
            Template((DATA / "elasticmq.conf").read_text(encoding="utf-8")).substitute(port=port, host=LOOPBACK), encoding="utf-8"
        )
        flags = [f"-Dlogback.configurationFile={DATA / 'elasticmq-logback.xml'}", f"-Dconfig.file={conf}"]
        jars = java.class_path(java.libs("elasticmq", VERSION))
        command = [str(java.java_needed()), *JVM, *flags, "-cp", jars, "org.elasticmq.server.Main"]
        settings = {"sqs-limits": "strict", "messages-storage": "memory", "jvm": " ".join(JVM)}
        return _started(request, name, port=port, command=command, folder=folder, what=product("ElasticMQ", version), settings=settings)

    def _moto(self, request: Request) -> Server:
        name = "sqs.1"
        version = importlib.metadata.version("moto")
        refuse_version(request, self.system, version)
        port = choose_port(request.port)
        folder = node_folder(request, name)
        command = [sys.executable, "-m", "bench.servers.moto_child", LOOPBACK, str(port)]
        what, settings = product("moto", version), {"storage": "memory"}
        return _started(request, name, port=port, command=command, folder=folder, what=what, settings=settings)


def _started(
    request: Request, name: str, *, port: int, command: list[str], folder: Path, what: Product, settings: dict[str, str]
) -> Server:
    log = request.folder / f"{name}.log"
    env = child_env()
    url = f"http://{local(port)}"
    launch = Launch(
        lambda: request.guard.spawn(command, env=env, cwd=folder, stdout=log, name=name),
        lambda popen: wait_ready(name, popen, log, lambda: _answered(url), READY_TIMEOUT_S),
    )
    with launched(request.guard, launch) as (popen, _):
        told = advertised(request, name, local(port))
        node = Node(name, "emulator", popen.pid, local(port), told, log)
        return ProcessServer(
            "sqs", request.kind, request.guard, what, (node,), (told,), settings, [popen], scratch=[folder], launches=[launch]
        )


def _answered(url: str) -> bool:
    sqs_list_queues(url)
    return True


def _remote(request: Request, address: str, what: Product) -> Server:
    if address == "aws":
        # Credentials and region are boto3's own business; the first call of the adapter tells whether they work.
        node = Node("sqs.1", "service", None, "aws", "aws")
        return RemoteServer("sqs", request.kind, product("Amazon SQS", ""), (node,), ("aws",), {}, lambda: None)
    url = address if "//" in address else f"http://{address}"
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"sqs: {address!r} is not an endpoint; it is http://HOST:PORT, HOST:PORT, or aws")
    answer_of("sqs", address, lambda: sqs_list_queues(url))
    where = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    told = url.rstrip("/") if parts.scheme == "https" else where
    node = Node("sqs.1", "endpoint", None, where, told)
    return RemoteServer("sqs", request.kind, what, (node,), (told,), {"endpoint": url}, lambda: sqs_list_queues(url))


def _jars_missing() -> str | None:
    reason = java.missing_jars("elasticmq", VERSION)
    return None if reason is None else reason.replace("install elasticmq", "install sqs")


def _jar_version() -> str:
    jars = sorted(java.libs("elasticmq", VERSION).glob("elasticmq-server_*.jar"))
    return jars[0].stem.rpartition("-")[2] if jars else VERSION


RECIPE = SqsRecipe()
