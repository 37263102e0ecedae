"""One browser for the session, and the reports that are looked at: of every kind, made once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit"))  # committed, make_results

import looking
import reports

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers (-n, --dist loadgroup) one of them has the browser, and makes the reports."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="module")
def browser(absent: Callable[[str], None]) -> Iterator[Browser]:
    """Chromium; without one the tests are skipped, or fail where everything is required.

    Of a module: while it is open Playwright's event loop runs in this thread, and clients on asyncio (NATS, RabbitMQ Streams), whose tests
    the same worker may have next, cannot run theirs.
    """
    reason = looking.missing()
    if reason is not None:
        absent(reason)
    with looking.started() as started:
        yield started


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """kind -> page, made when it is first asked for."""
    made = {}

    def page(kind):
        if kind not in made:
            place = tmp_path_factory.mktemp(kind)
            found = getattr(reports, kind)(place)
            made[kind] = reports.reported(place / "out", found if isinstance(found, list) else [found])
        return made[kind]

    return page
