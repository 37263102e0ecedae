"""The contract suite's cases: every system of the registry, in each of its profiles, on its real server."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from expected import EXPECTED, pair
from harness import Case
from witness import witness_of

import adapters
from adapters.errors import NotInstalled
from bench import servers as recipes


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With BROKERBENCH_REQUIRE=all a skip in this folder is a failure: a contract that was not tested is not kept."""
    report = yield
    if report.skipped and os.environ.get("BROKERBENCH_REQUIRE") == "all" and Path(__file__).parent in item.path.parents:
        report.outcome = "failed"
        report.longrepr = f"skipped, which BROKERBENCH_REQUIRE=all does not allow here: {report.longrepr}"
    return report


@pytest.fixture
def case_of(request: pytest.FixtureRequest) -> Callable[..., Case]:
    """Make the case of one system (through one client), profile and mode, on a server with ``options``; starts it, if there is one."""

    def make(text: str, profile: str = "defaults", mode: str = "", **options: str) -> Case:
        system, client = pair(text)
        try:
            adapter: Any = adapters.load(system, client)
        except NotInstalled as missing:
            pytest.skip(str(missing))
        bootstrap: list[str] = []
        server = recipes.recipe_name(system, mode)
        settings = EXPECTED[text].get("settings", {})
        if recipes.wired(server):
            started = partial(request.getfixturevalue("of_session"), server)
            return Case(system, adapter, [], witness_of(system), profile, mode, settings=settings, started=started)
        if recipes.recipe(server) is not None:
            bootstrap = list(request.getfixturevalue("servers")(server, **options).bootstrap)
        return Case(system, adapter, bootstrap, witness_of(system), profile, mode, recipes.filled(server, options), settings)

    return make
