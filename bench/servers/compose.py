"""Servers in containers: ``docker compose`` with the repository's docker-compose.yml, one project a server of a run.

What is asked is the daemon, not the command: a machine can have the one without the other.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import servers
from bench.errors import ServerError
from bench.servers.base import KINDS, Request, Server
from bench.servers.common import DATA, RemoteServer, address_variable, local
from bench.servers.ports import choose_port, free_ports

SERVICES = {
    **{system: system for system in ("kafka", "kinesis", "nats", "rabbitmq", "rabbitmq_streams", "sqs")},
    **dict.fromkeys(("redis_pubsub", "redis_streams"), "redis"),
}
"""The service of each system in docker-compose.yml."""
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "kafka,nodes=3": ("kafka-1", "kafka-2", "kafka-3"),
    "kafka,metadata=zookeeper": ("kafka-zookeeper",),  # which depends on the service zookeeper
    "rabbitmq,version=4.0": ("rabbitmq-4",),
    "rabbitmq,nodes=3,version=4.0": ("rabbitmq-1", "rabbitmq-2", "rabbitmq-3"),
    "rabbitmq_streams,version=4.0": ("rabbitmq-streams-4",),
}
"""The same for servers with options: those that clients connect to."""

PROFILE = "options"  # of docker-compose.yml: services of VARIANTS, which a plain `docker compose up` leaves out
PROBE_TIMEOUT_S = 10.0
UP_TIMEOUT_S = 600.0  # the first time it fetches the image
DOWN_TIMEOUT_S = 60.0


def port_variable(service: str) -> str:
    """The variable in docker-compose.yml that a service's port on this machine comes from."""
    return f"BROKERBENCH_{service.upper().replace('-', '_')}_PORT"


def compose_file() -> Path | None:
    """docker-compose.yml of the checkout, or of the installed package; None where there is none."""
    for candidate in (DATA.parent.parent / "docker-compose.yml", DATA / "docker-compose.yml"):
        if candidate.is_file():
            return candidate
    return None


def missing_compose() -> str | None:
    """What is missing for "compose"; None = a daemon answers and the file is there."""
    docker = shutil.which("docker")
    if docker is None:
        return "no docker on the path: install Docker Engine with its compose plug-in"
    if compose_file() is None:
        return "no docker-compose.yml beside the package: run from a checkout of the repository"
    try:
        for words in (["info"], ["compose", "version"]):
            done = subprocess.run([docker, *words], check=False, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
            if done.returncode != 0:
                return f"docker {' '.join(words)} fails ({_last(done.stderr)}): start the Docker daemon, with its compose plug-in"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"docker does not answer ({error}): start the Docker daemon"
    return None


def missing_common(system: str, kind: str, kinds: Sequence[str]) -> str | None:
    """What is missing for the kinds that are alike in all recipes: external, compose, and those that a system has not."""
    if kind not in kinds:
        known = "" if kind in KINDS else f"unknown kind of server {kind!r}; "
        return f"{known}{system} has no {kind} server; it has: {', '.join(kinds)}"
    if kind == "external":
        variable = address_variable(system)
        return None if os.environ.get(variable) else f"no address given: server=external:HOST:PORT, or {variable}=HOST:PORT"
    return missing_compose()


def services_of(system: str, options: Mapping[str, str]) -> tuple[str, ...]:
    """The services that are a server with these options. Raises ServerError where docker-compose.yml has none."""
    changed = servers.changed(system, options)
    if not changed:
        return (SERVICES[system],)
    spec = ",".join([system, *changed])
    if spec not in VARIANTS:
        there = ", ".join(name for name in VARIANTS if name.startswith(f"{system},"))
        beside = f", which has {there}," if there else ""
        raise ServerError(
            f"{system}: there is no {', '.join(changed)} in docker-compose.yml{beside} beside the defaults; use server=native"
        )
    return VARIANTS[spec]


def start_service(system: str, request: Request, connect: Callable[[Request, str], Server], scheme: str = "") -> Server:
    """Bring its services up, wait until they are healthy, then look at them as at an external server. Raises ServerError."""
    services = services_of(system, request.options)
    reason = missing_compose()
    file = compose_file()
    docker = shutil.which("docker")
    if reason is not None or file is None or docker is None:
        raise ServerError(f"{system}: {reason}")
    ports = [choose_port(request.port), *free_ports(len(services) - 1)]
    # A project for each server: two systems have the service "redis", and "down" takes down what a service depends on, too.
    name = "-".join([system, *servers.changed(system, request.options)])
    project = "brokerbench-" + re.sub(r"[^a-z0-9_-]", "-", f"{request.run_id}-{name}".lower())
    command = [docker, "compose", "-p", project, "-f", str(file), "--profile", PROFILE]
    down = [*command, "down", "--volumes"]
    environment = {**os.environ, **{port_variable(service): str(port) for service, port in zip(services, ports, strict=True)}}
    key = f"compose-{name}"
    request.guard.at_death(key, down)

    def stop() -> None:
        _docker(down, environment, DOWN_TIMEOUT_S, system)
        request.guard.at_death(key, None)

    try:
        _docker([*command, "up", "-d", "--wait", *services], environment, UP_TIMEOUT_S, system)
        server = connect(request, ",".join(scheme + local(port) for port in ports))
    except BaseException as error:  # also Ctrl-C: the container must not stay
        log = _logs([*command, "logs", "--no-color", "--tail", "15", *services], environment)
        try:
            stop()
        except ServerError as second:  # the first reason is the one that helps
            raise ServerError(f"{error}\n{log}\n{second}") from error
        if isinstance(error, ServerError):
            raise ServerError(f"{error}\n{log}".rstrip()) from error
        raise
    assert isinstance(server, RemoteServer)  # that is what the recipes' external servers are
    server.on_stop = stop
    return server


def _logs(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What the containers said last; "" where that takes too long: they are to be taken down all the same."""
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=DOWN_TIMEOUT_S).stdout
    except subprocess.TimeoutExpired:
        return ""


def _docker(command: Sequence[str], environment: Mapping[str, str], timeout_s: float, system: str) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{system}: {' '.join(command)} took longer than {timeout_s:g} s") from error
    if done.returncode != 0:
        raise ServerError(f"{system}: {' '.join(command)} failed (exit code {done.returncode}): {_last(done.stderr)}")


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it says nothing"
