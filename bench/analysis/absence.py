"""What a variant did while one of its groups was away or slow: what that group missed, what the others noticed (pure).

From runs whose scenario sends a consumer away or slows it down (scenarios/backlog.yaml, isolation.yaml): "phases" of their trials.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis.phases import ratio
from bench.analysis.summary import Spread

Json = Mapping[str, Any]

KINDS = ("away", "slow")
"""Faults that strike one group and leave the system alone."""


@dataclass(frozen=True)
class Absence:
    """One kind of fault on one variant, over trials. Shares are during the fault / before it, of each other group."""

    fault: str  # one of KINDS
    groups: tuple[str, ...]  # struck
    behind: Spread | None  # most messages that were acknowledged and not processed by such a group
    lost: int | None  # acknowledged and never processed by such a group; None = not known of all trials
    unknown: int | None  # neither confirmed nor refused, and never delivered to it
    others_rate: Spread | None  # messages a second
    others_p99: Spread | None
    trials: int


def same(ours: Json, theirs: Json) -> bool:
    """Whether two trials' "variant" are the same: system, client, profile, mode, and the settings and server of their SPECs."""
    return _identity(ours) == _identity(theirs)


def of(trials: Iterable[Json], variant: Json) -> tuple[Absence, ...]:
    """What the trials of this variant say, by kind of fault; () where it had none of KINDS."""
    own = [t for t in trials if t.get("status") == "ok" and t.get("phases") and same(variant, t.get("variant") or {})]
    by_kind = {kind: [trial for trial in own if _only(trial, kind)] for kind in KINDS}
    return tuple(_absence(kind, found) for kind, found in by_kind.items() if found)


def _absence(kind: str, trials: Sequence[Json]) -> Absence:
    struck, others = [], []
    for trial in trials:
        names = set(_struck(trial))
        groups = trial["phases"].get("groups") or {}
        struck += [(trial, name, row) for name, row in groups.items() if name in names]
        others += [row for name, row in groups.items() if name not in names]
    return Absence(
        fault=kind,
        groups=tuple(dict.fromkeys(name for _, name, _ in struck)),
        behind=Spread.of(row.get("backlog_max") for _, _, row in struck),
        lost=_sum(struck, "lost"),
        unknown=_sum(struck, "unknown"),
        others_rate=Spread.of(ratio(row, "processed_per_s") for row in others),
        others_p99=Spread.of(ratio(row, "p99_ns") for row in others),
        trials=len(trials),
    )


def _only(trial: Json, kind: str) -> bool:
    """Whether nothing but this kind of fault was injected."""
    return {fault.get("fault") for fault in trial.get("faults") or () if fault.get("injected_s") is not None} == {kind}


def _struck(trial: Json) -> list[str]:
    """Groups that the faults of a trial name: of "consumer.away" and "consumer.away.0" away."""
    targets = [str(fault.get("target") or "").split(".") for fault in trial.get("faults") or ()]
    return [parts[1] for parts in targets if parts[0] == "consumer" and len(parts) > 1]


def _sum(struck: Sequence[tuple[Json, str, Json]], count: str) -> int | None:
    counts = [(trial.get("audit") or {}).get(name, {}).get(count) for trial, name, _ in struck]
    return None if not counts or None in counts else sum(counts)


def _identity(variant: Json) -> tuple[Any, ...]:
    mode = (variant.get("mode") or {}).get("name")
    words = {word for word in str(variant.get("spec") or "").split(",")[1:] if not word.startswith("mode=")}
    names = ("system", "client", "client_version", "profile")
    return (*(variant.get(name) for name in names), mode, frozenset(words))
