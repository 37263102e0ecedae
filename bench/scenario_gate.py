"""The part `gate` of a scenario: what `brokerbench gate` looks at, and the changes that matter to it."""

# ruff: noqa: TRY004  # ValueError is what pydantic turns into a message, also for a wrong type
from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from bench.gate.asked import METRICS, known, percent, show_percent
from bench.scenario_fields import Part, a_list


def read_metrics(value: object) -> tuple[str, ...]:
    """Names of metrics, none twice."""
    listed = a_list(value)
    assert isinstance(listed, list | tuple)
    names = tuple(known(one) for one in listed)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"metrics are a list of these, each once: {', '.join(METRICS)}")
    return names


def read_margins(value: object) -> dict[str, float]:
    """Shares by metric, of a mapping such as {rate: 10%, p99: 25%}."""
    if not isinstance(value, dict):
        raise ValueError("margins are a mapping of metric: percentage, such as {rate: 10%, p99: 25%}")
    found = {}
    for name, margin in value.items():
        if isinstance(margin, float) and name in METRICS:  # what `read_margins` itself made
            found[known(name)] = margin
            continue
        try:
            found[known(name)] = percent(margin)
        except ValueError as error:
            raise ValueError(f"{name}: {error}" if name in METRICS else str(error)) from error
    return found


class Gate(Part):
    """What a gate on this scenario looks at."""

    metrics: Annotated[tuple[str, ...], BeforeValidator(read_metrics)] = Field(
        tuple(METRICS), description=f"what is compared: {', '.join(METRICS)}; all by default"
    )
    margins: Annotated[dict[str, float], BeforeValidator(read_margins)] = Field(
        {}, description="the change that matters, such as {rate: 10%, p99: 25%}; by default 10%, p99 25%"
    )

    def shown(self, data: dict[str, Any]) -> dict[str, Any]:
        """With percentages; without what is not said."""
        return {name: value for name, value in (data | {"margins": {k: show_percent(v) for k, v in self.margins.items()}}).items() if value}
