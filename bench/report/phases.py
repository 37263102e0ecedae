"""What faults did over time, by group: backlog, catching up, latency before, during and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.analysis.phases import PHASES, ratio
from bench.analysis.summary import PointSummary, Spread, VariantPoint
from bench.report import figures, text
from bench.report.table import Builder, Cell, Table

_WORDS = {"before": "before", "during": "during", "catching_up": "catching up", "after": "after"}


def table(point: PointSummary, results: Sequence[VariantPoint]) -> Table | None:
    """A row a group and variant; None where no trial of the point had a fault."""
    builder = Builder(
        f"Before, during and after the faults, {text.point_name(point.point)}",
        (
            ("System (client), group", False),
            ("Most behind", True),
            ("Caught up after", True),
            ("Catching up /s", True),
            *((f"p50 {_WORDS[name]}", True) for name in PHASES),
            *((f"p99 {_WORDS[name]}", True) for name in PHASES),
            ("p99 during ÷ before", True),
            ("Lost", True),
            ("Unknown", True),
            ("Repeated", True),
        ),
        note="Medians over rounds, smallest and largest in brackets. Most behind: messages acknowledged and not processed, at the worst. "
        "Caught up: from the healing of the last fault until no more was behind than before the first; what is lost never comes and is "
        "not waited for. Unknown: neither confirmed nor refused, and not delivered. Latencies are end to end from the intended time, of "
        "whole seconds of a phase by arrival: n/a where it has none, or under ten samples beyond the percentile.",
    )
    for result in results:
        trials = [trial for trial in result.trials if trial.get("phases")]
        if trials:
            told = "; ".join(dict.fromkeys(_fault(fault) for trial in trials for fault in trial.get("faults") or ()))
            rows = [_row(group, trials) for group in trials[0]["phases"]["groups"]]
            builder.add(f"{figures.name(result)}: {told}", rows)
    return builder.build()


def _fault(fault: Any) -> str:
    toxic = f" ({fault['toxic']})" if fault.get("toxic") else ""
    return f"{fault['fault']}{toxic} {fault['target']}"


def _row(group: str, trials: Sequence[Any]) -> tuple[str | Cell, ...]:
    own = [trial["phases"]["groups"][group] for trial in trials if group in trial["phases"]["groups"]]
    healed = [trial["phases"]["healed_s"] for trial in trials if group in trial["phases"]["groups"]]
    waits = [None if one["caught_up_s"] is None else one["caught_up_s"] - at for one, at in zip(own, healed, strict=True)]
    missing = sum(wait is None for wait in waits)
    caught = text.ranged(Spread.of(waits), _seconds) if not missing else f"not in {missing} of {len(waits)}"
    return (
        group,
        text.ranged(Spread.of(one["backlog_max"] for one in own), text.count),
        caught,
        text.ranged(Spread.of(one["catch_up_per_s"] for one in own)),
        *(_latency(own, name, "p50_ns") for name in PHASES),
        *(_latency(own, name, "p99_ns") for name in PHASES),
        text.times(Spread.of(ratio(one, "p99_ns") for one in own)),
        _audited(trials, group, "lost"),
        _audited(trials, group, "unknown"),
        _audited(trials, group, "duplicated"),
    )


def _latency(own: Sequence[Any], phase: str, which: str) -> str:
    return text.ranged(Spread.of((one.get(phase) or {}).get(which) for one in own), text.duration)


def _seconds(value: float) -> str:
    return text.duration(value * 1e9) if value else "at once"


def _audited(trials: Sequence[Any], group: str, count: str) -> str:
    """Summed over rounds; a dash where one could not be decided."""
    counts = [trial["audit"].get(group, {}).get(count) for trial in trials]
    return text.count(None if None in counts else sum(counts))
