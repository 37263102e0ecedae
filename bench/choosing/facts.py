"""Results as rules: each variant with what it was measured to do, what its mode promises and what was seen broken (pure).

Rules kept here and in the modules beside: never more than was measured. A point shows its own load and smaller ones, at its own p99
and longer ones, and nothing beyond. One that is not valid shows nothing, an emulator's no speed. What fails is read as
narrowly: only a steady load without any handicap excludes, and only needs that ask no less; where a client was the limit it does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.analysis.absence import Absence
from bench.analysis.summary import REFERENCES, PointSummary, VariantPoint
from bench.choosing import broken, measured, noticed, promised, promises
from bench.choosing.answers import Candidate, Condition
from bench.report import text

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """The results of one run. ``label``: "" where it need not be told from others.

    Of a capacity run the answers of its ``searches`` count, not its probes: the luckiest of forty is no figure. Its ``points`` then are
    read for what they say of the variant, and for promises that were broken.
    """

    run: str
    points: Sequence[PointSummary]
    label: str = ""
    searches: Sequence[Json] | None = None  # of capacity.json; None: a run
    objective: Json = field(default_factory=dict)


@dataclass
class Known:
    """What is collected of one variant, over all sources. ``cells``: of guarantees.json."""

    variant: Json
    audited: list[VariantPoint] = field(default_factory=list)
    results: list[tuple[Source, VariantPoint]] = field(default_factory=list)
    searches: list[tuple[Source, Json, VariantPoint]] = field(default_factory=list)
    cells: Sequence[Json] = ()
    absences: Sequence[Absence] = ()  # what happened while a group was away or slow


def known(sources: Iterable[Source]) -> list[Known]:
    """Each variant of the sources once, without the references: the harness's own floor is no messaging system."""
    found: dict[str, Known] = {}
    for source in sources:
        for result in (r for point in source.points for r in point.results if r.variant.get("system") not in REFERENCES):
            one = found.setdefault(_key(result.variant), Known(result.variant))
            one.audited.append(result)
            if source.searches is None:
                one.results.append((source, result))
        for search in source.searches or ():
            result_ = next((r for p in source.points for r in p.results if _of_search(search, r)), None)
            if result_ is not None and result_.variant.get("system") not in REFERENCES:
                found[_key(result_.variant)].searches.append((source, search, result_))
    return list(found.values())


def _of_search(search: Json, result: VariantPoint) -> bool:
    """Whether a probe is of a search: its variant, at the search's values of all axes."""
    axes = (search.get("point") or {}).items()
    return result.id == search.get("variant") and all(result.point.get(name, value) == value for name, value in axes)


def _key(variant: Json) -> str:
    """The same variant in several runs: its SPEC, its client, and the mode that it came to."""
    return f"{variant.get('spec') or variant.get('id')} {variant.get('client')} {(variant.get('mode') or {}).get('name')}"


def candidate(one: Known) -> Candidate:
    """All that is known of one variant, as rules."""
    mode: Json = one.variant.get("mode") or {}
    results = sorted(one.results, key=lambda pair: _load(pair[1]))
    points = [found for source, r in results if (found := measured.point(r, source.run, source.label))]
    points += [p for source, search, r in one.searches for p in measured.capacity(search, source.objective, r, source.run, source.label)]
    points.sort(key=lambda point: (point.rate_low, point.size_b))
    shows = [point.shows(points) for point in points] if points or results else broken.nothing(mode, one.cells)
    nearly = [rule for point in points if (rule := point.nearly())]
    unread = tuple(Condition(need, "unasked") for need, level in promises.levels(mode).items() if level is None)
    emulator = next((str((r.server or {}).get("product")) for r in one.audited if r.emulator), "")
    name = text.variant_name(one.variant)
    return Candidate(
        id=str(one.variant.get("id")),
        name=name if not mode.get("name") or f"mode={mode['name']}" in name else f"{name}, mode {mode['name']}",
        delivery=str(mode.get("delivery", "none")),
        emulator=emulator,
        promises=promised.told(mode, one.audited, one.cells, one.absences),
        excludes=(
            *promised.refused(one.variant), *broken.in_trials(one.audited), *broken.under_faults(one.cells),
            *noticed.rules(one.absences, emulated=bool(emulator)),
        ),
        # What is declared in words that nobody here can read is not refused, and not met either.
        shows=tuple(replace(rule, when=(*rule.when, *unread)) for rule in shows),
        nearly=tuple(replace(rule, when=(*rule.when, *unread)) for rule in nearly),
        limits=(
            *(rule for point in points if (rule := point.limit())),
            *(rule for source, r in results if (rule := measured.not_reached(r, source.run, source.label))),
        ),
        void=tuple(words for source, r in results if (words := measured.void(r, source.label))),
        mode=mode,
    )  # fmt: skip


def _load(result: VariantPoint) -> tuple[float, float]:
    rate, size = result.point.get("rate_per_s"), result.point.get("size_b")
    return (float(rate) if isinstance(rate, int | float) else math.inf, float(size) if isinstance(size, int | float) else 0.0)
