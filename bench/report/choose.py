"""The chooser: what is needed, and which variants met it in these results; for the verb ``choose`` and for the page.

The rules are made here once (bench.choosing); the page's script only compares numbers with them, as bench.choosing.answers does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.capacity.result import FILE as CAPACITY
from bench.choosing import answers, facts, needs, promises
from bench.choosing.broken import BROKEN
from bench.guarantees import timers
from bench.report import joining, text
from bench.report.collection import Collection, variants
from bench.report.table import Builder, Cell, Table
from bench.report.view import View
from bench.store import Run

Json = Mapping[str, Any]

NAME = "choose"
_NOT_KNOWN = "not known"


def section(collection: Collection) -> View | None:
    """The chooser as a section of the page; None where no variant was measured."""
    found = candidates(collection)
    if not found:
        return None
    groups: dict[str, list[needs.Need]] = {}
    for need in needs.NEEDS:
        groups.setdefault(need.section, []).append(need)
    content = {"data": data(found), "groups": groups, "table": _table(found), "differences": collection.differences}
    return View(NAME, "Choose by what you need", content)


def data(found: Sequence[answers.Candidate]) -> dict[str, Any]:
    """What choose.js reads."""
    return {
        "answers": answers.ANSWERS, "headings": answers.HEADINGS, "nearest": answers.NEAREST, "short": needs.SHORT,
        "candidates": [one.to_json() for one in found],
    }  # fmt: skip


def _table(found: Sequence[answers.Candidate]) -> Table | None:
    """What each variant promises (in whole words: background.promises) and bore: the chooser without a script."""
    heads = (
        "Variant",
        "Delivery",
        "Order, at best",
        "Late subscriber gets",
        "Slow consumer",
        "Acknowledged in",
        "Largest load it bore",
        "Seen broken",
    )
    builder = Builder("What there is to choose from", tuple((head, False) for head in heads))
    rows: list[tuple[str | Cell, ...]] = []
    for one in found:
        levels = promises.levels(one.mode)
        late = None if levels["late"] is None else levels["late"] + (levels["replay"] or 0)
        broken = [rule.words for rule in one.excludes if rule.words.startswith(BROKEN)]
        rows.append(
            (
                one.called,
                text.promise(one.delivery),
                _word(levels["order"], ("none", "of a key", "of a producer", "of all")),
                _word(late, ("nothing", "what waited for it", "all, from the start")),
                _word(levels["isolation"], ("holds up others", "alone is behind")),
                str(one.mode.get("persistence", _NOT_KNOWN)),
                one.shows[-1].words if one.shows else "nothing that counts",
                Cell("; ".join(dict.fromkeys(broken)), "bad") if broken else "no",
            )
        )
    builder.add("", rows)
    return builder.build()


def candidates(collection: Collection) -> list[answers.Candidate]:
    """Every variant of the collection as rules, by name.

    Raises:
        UsageError: a data file of a run is damaged.
    """
    sources = [_source(collection, run) for run in (*collection.runs, *collection.capacities)]
    known = facts.known(sources)
    for one in known:
        one.cells, one.absences = collection.cells(one.variant), collection.absences(one.variant)
    joined = {str(cell.get("id")) for one in known for cell in one.cells}
    known += _only_faults(collection, joined, {one.variant.get("system"): one.variant.get("title") for one in known})
    found = [facts.candidate(one) for one in known]
    return sorted([*found, *_not_run(collection, {one.id for one in found})], key=lambda one: (one.name, one.id))


def _word(level: int | None, words: Sequence[str]) -> str:
    return _NOT_KNOWN if level is None else words[level]


def _not_run(collection: Collection, measured: set[str]) -> list[answers.Candidate]:
    """Variants that a run was asked for and could not measure."""
    rows = {str(row.get("variant")): str(row.get("reason")) for run in collection.all for row in run.run.get("not_run") or ()}
    return [
        answers.Candidate(name, name, _NOT_KNOWN, void=(f"not run: {text.shortened(reason)}",))
        for name, reason in rows.items()
        if name not in measured
    ]


def _source(collection: Collection, run: Run) -> facts.Source:
    run_id, label, points = str(run.run["id"]), collection.label(run), collection.points(run)
    if run.run["kind"] == "run":
        return facts.Source(run_id, points, label)
    found = run.data(CAPACITY)
    return facts.Source(run_id, points, label, found.get("searches") or (), found.get("objective") or {})


def _only_faults(collection: Collection, joined: set[str], titles: Mapping[Any, Any]) -> list[facts.Known]:
    """Variants whose faults were measured, and whose speed was not."""
    found: dict[str, facts.Known] = {}
    for run in collection.guarantees:
        described = variants(run)
        for cell in run.data(joining.FILE).get("cells") or ():
            if str(cell.get("id")) in joined or not (cell.get("judged") or {}).get("n"):
                continue
            name = str(cell.get("variant"))
            plain = _variant(cell, titles)
            one = found.setdefault(name, facts.Known(described.get(name) or plain))
            one.cells = [*one.cells, cell]
    return list(found.values())


def _variant(cell: Json, titles: Mapping[Any, Any]) -> Json:
    """A variant of which only guarantees.json is kept, without what the matrix sets so that a system recovers soon."""
    system, mode = str(cell.get("system")), cell.get("mode") or {}
    waits = tuple(f"{key}=" for key in timers.of(system, str(mode.get("name")), {}).settings)
    words = [word for word in str(cell.get("spec") or "").split(",") if not word.startswith(waits)]
    return {"id": cell.get("variant"), "spec": ",".join(words), "system": system, "title": titles.get(system) or system, "mode": mode}
