"""Real servers for the tests: one a system for the whole session, started when the first test asks for it."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from hypothesis import settings

from adapters.base import Wiring
from bench.errors import ServerError
from bench.faults import links
from bench.guard import Guard
from bench.servers import choose, recipe, start
from bench.servers.base import Request, Server
from bench.servers.rabbitmq import missing_version

settings.register_profile("brokerbench", deadline=None)  # an example's time says what else the machine does
settings.load_profile("brokerbench")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers (-n, --dist loadgroup) all of one system runs in one of them, so that its server is started once.

    So do the tests of a file that look at what one of its fixtures made for them all: a run, an environment.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is not None:
            continue
        named = re.fullmatch(r"test_(.*?)(_confluent|_cluster)?_(adapter|modes)", item.path.stem)
        params = getattr(item, "callspec", None)
        system = named[1] if named else params.params.get("system") if params else None
        if isinstance(system, str):
            item.add_marker(pytest.mark.xdist_group(system.partition(",")[0]))  # kafka,client=...: the same server
        elif _shares(item):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _shares(item: pytest.Item) -> bool:
    """Whether the test uses a fixture that its own file makes once for all of its tests."""
    info = getattr(item, "_fixtureinfo", None)
    made = (found[-1] for found in info.name2fixturedefs.values()) if info else ()
    return any(one.scope == "module" and one.baseid == item.nodeid.partition("::")[0] for one in made)


@pytest.fixture(scope="session")
def absent() -> Callable[[str], None]:
    """``absent(reason)``: a server or a browser cannot be had, a skip on a developer's machine, a failure where all are required."""

    def told(reason: str) -> None:
        if os.environ.get("BROKERBENCH_REQUIRE") == "all":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)

    return told


@pytest.fixture(scope="session")
def needs(absent: Callable[[str], None]) -> Callable[..., None]:
    """``needs(system, kind="native", version="")``: skips the test (or fails it, see absent) where that server cannot be had."""

    def check(system: str, kind: str = "native", version: str = "") -> None:
        found = recipe(system)
        reason = "no server recipe" if found is None else found.missing(kind)
        if reason is None and version and system.startswith("rabbitmq"):
            reason = missing_version(version)
        if reason is not None:
            absent(f"{system}: no {kind} server: {reason}")

    return check


@pytest.fixture(scope="session")
def session_guard() -> Iterator[Guard]:
    """One guard for everything that the session starts."""
    with Guard(f"pytest-{uuid.uuid4().hex[:12]}") as guard:
        yield guard


@pytest.fixture(scope="session")
def servers(
    session_guard: Guard, tmp_path_factory: pytest.TempPathFactory, absent: Callable[[str], None]
) -> Iterator[Callable[..., Server]]:
    """``servers(system, **options)``: a server that answers, shared by all tests; one that has died is started anew."""
    started: dict[tuple[str, ...], Server] = {}

    def get(system: str, **options: str) -> Server:
        key = (system, *(f"{name}={value}" for name, value in sorted(options.items())))
        server = started.get(key)
        if server is not None and server.dead() is None:
            return server
        if server is not None:
            server.stop()
        try:
            kind = choose(system)
        except ServerError as error:
            absent(str(error))
            raise
        folder = tmp_path_factory.mktemp(f"server-{system}")
        wiring = links.request(system)  # a proxy may be put before it: tests/integration/test_links.py
        breaks = options.get("nodes", "1") != "1"  # a cluster's nodes are killed: tests/integration/test_kafka_cluster.py
        request = Request(kind, folder, session_guard.run_id, session_guard, options=options, wiring=wiring, breaks=breaks)
        started[key] = start(system, request)
        return started[key]

    yield get
    for server in started.values():
        server.stop()


@pytest.fixture(scope="session")
def of_session(
    session_guard: Guard, tmp_path_factory: pytest.TempPathFactory, absent: Callable[[str], None]
) -> Callable[[str, Wiring], AbstractContextManager[list[str]]]:
    """``of_session(system, wiring)``: the addresses of a server that is set up for one run's wiring (recipes that are ``wired``)."""

    @contextmanager
    def started(system: str, wiring: Wiring) -> Iterator[list[str]]:
        try:
            kind = choose(system)
        except ServerError as error:
            absent(str(error))
            raise
        folder = tmp_path_factory.mktemp(f"server-{system}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")  # short lives: compiling well is a third of their CPU
            server = start(system, Request(kind, folder, session_guard.run_id, session_guard, wiring={"session": wiring}))
        try:
            yield list(server.bootstrap)
        finally:
            server.kill(server.nodes[0].name)  # a Flume agent takes a second to end in order, and there are many of them
            server.stop()

    return started
