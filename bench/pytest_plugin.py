"""The pytest plugin: a fixture `brokerbench`, whose `check` fails a test where a system is worse than asked for (docs/gate.md, pytest).

Loaded by every pytest where the suite is installed, so nothing heavy is imported before the fixture is used. Where pytest-benchmark is
installed a check against another side gives it the ratios of the gate's rounds through its public API: a virtual timer that each call
moves on by one ratio. Its table, JSON and --benchmark-compare then compare what was measured in one run.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bench.gate.check import Checked

ON_INCONCLUSIVE = ("fail", "pass", "skip", "retry")
_FIXTURE, _BENCHMARK = "brokerbench", "benchmark"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for where results are kept."""
    group = parser.getgroup("brokerbench", "benchmarks of messaging systems")
    group.addoption(
        "--brokerbench-results", type=Path, metavar="DIR", help="where runs are kept (default: BROKERBENCH_RESULTS or results/runs)"
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Tests with a check are benchmarks to --benchmark-only and --benchmark-skip, which look at the names of fixtures."""
    names = [_names(item) for item in items] if config.pluginmanager.hasplugin(_BENCHMARK) else []
    lent = {id(one): one for one in names if _FIXTURE in one and _BENCHMARK not in one}  # a list may be of several items
    for one in lent.values():
        one.append(_BENCHMARK)
    try:
        return (yield)
    finally:
        for one in lent.values():
            one.remove(_BENCHMARK)


def _names(item: pytest.Item) -> list[str]:
    names: list[str] = getattr(item, "fixturenames", [])
    return names


@pytest.fixture
def brokerbench(request: pytest.FixtureRequest) -> BrokerBench:
    """Checks of messaging systems: ``brokerbench.check("order-events", "kafka", p99="<= 20 ms", lost=0)``."""
    return BrokerBench(request)


class BrokerBench:
    """The fixture's value."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._fed = False

    def check(
        self,
        scenario: str | Path,
        spec: str,
        *,
        against: str | None = None,
        metrics: str | Sequence[str] = (),
        margin: str | Sequence[str] = (),
        max_time: str = "60s",
        rounds: int | None = None,
        on_inconclusive: str = "fail",
        at: dict[str, str] | None = None,
        warmup: str | None = None,
        measure: str | None = None,
        value: str | None = None,
        **limits: str | int,
    ) -> Checked:
        """Measure ``spec`` on a scenario, and fail the test where it is worse than ``against`` or outside of a limit.

        With ``against`` base and head are measured in turn (`brokerbench gate`: metrics, margin, max_time, rounds as there); without,
        the scenario is run. ``limits``: p50, p90, p99, p999, rate, and counts of the audit (lost, duplicated, reordered, ...).
        ``at``: values of axes, such as {"rate": "2 kHz"}. ``value``: the metric whose ratio pytest-benchmark gets.

        Raises AssertionError with the verdict's sentence and the results folder; the suite's own errors for what cannot be asked or run.
        """
        __tracebackhide__ = True
        if on_inconclusive not in ON_INCONCLUSIVE:
            raise ValueError(f'on_inconclusive="{on_inconclusive}": one of {", ".join(ON_INCONCLUSIVE)}')
        from bench.gate import check  # noqa: PLC0415  # scipy: not for tests that do without
        from bench.gate.asked import known  # noqa: PLC0415  # as above

        if value is not None:
            known(value)  # before minutes are measured
        asked = check.Asked(
            str(scenario), spec, against, _listed(metrics), _listed(margin), max_time, rounds, on_inconclusive == "retry", at or {},
            warmup, measure,
        )  # fmt: skip
        with warnings.catch_warnings():  # of client libraries, whose versions are recorded: kafka-python alone has 200
            warnings.simplefilter("ignore", DeprecationWarning)
            found = check.check(asked, limits, self._request.config.getoption("brokerbench_results"))
        self._feed(found, _metric(found, value, limits), check.medians(found.gate) if found.gate is not None else {})
        if found.inconclusive and on_inconclusive == "skip":
            pytest.skip(found.told)
        if not found.ok and not (found.inconclusive and on_inconclusive == "pass"):
            raise AssertionError(found.told)
        return found

    def _feed(self, found: Checked, metric: str | None, medians: dict[str, Any]) -> None:
        """Give pytest-benchmark the ratios of ``metric``: once a test, as it takes one value of each; not where the test uses it itself."""
        plugins = self._request.config.pluginmanager
        if metric is None or self._fed or not plugins.hasplugin(_BENCHMARK) or _BENCHMARK in self._request.fixturenames:
            return
        self._fed = True
        ratios = found.ratios[metric]
        timer, advance = _virtual(ratios)
        before = self._request.node.get_closest_marker(_BENCHMARK)
        options = {**(before.kwargs if before is not None else {}), "timer": timer}
        self._request.node.add_marker(pytest.mark.benchmark(**options), append=False)
        benchmark = self._request.getfixturevalue(_BENCHMARK)
        benchmark.extra_info.update(
            metric=metric, unit="ratio to base of each round; above 1 is worse", verdict=found.verdict, told=found.told,
            folder=str(found.folder), ratios=dict(found.ratios), figures=dict(found.figures), **medians,
        )  # fmt: skip
        benchmark.pedantic(advance, rounds=len(ratios), iterations=1)


def _virtual(samples: Sequence[float]) -> tuple[Callable[[], float], Callable[[], None]]:
    """A timer, and what moves it on by the next sample."""
    now, left = 0.0, iter(samples)

    def ratio_to_base() -> float:
        return now

    def advance() -> None:
        nonlocal now
        now += next(left)

    return ratio_to_base, advance


def _metric(found: Checked, value: str | None, limits: dict[str, Any]) -> str | None:
    """The metric that is shown: ``value``, else the first that has a limit, else p50, else the first; None: nothing was compared."""
    if value is not None and found.gate is not None and value not in found.gate["metrics"]:
        raise ValueError(f'value="{value}": compared are {", ".join(found.gate["metrics"])}')
    wanted: Iterator[str] = (name for name in ([value] if value else [*limits, "p50", *found.ratios]) if name in found.ratios)
    return next(wanted, None)


def _listed(given: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else tuple(given)
