"""What a step of a ladder buys: promises, what happens to who comes late or is away, what survives a kill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.analysis.absence import Absence
from bench.analysis.ladder import Step
from bench.guarantees.named import BASELINE
from bench.report import joining, losses, text
from bench.report.collection import Collection
from bench.report.joining import Evidence
from bench.report.ladder_words import difference, heading
from bench.report.table import Builder, Cell, Table

_SAME = "the same"


def table(collection: Collection, where: str, steps: Sequence[Step]) -> Table | None:
    """A row a step that was measured; columns of what other runs say are there where one says something."""
    away, killed = _away(collection, steps), _killed(collection, steps)
    builder = Builder(
        f"What each step buys: {where}",
        (
            ("Step", False),
            ("Promised otherwise", False),
            ("Late subscriber", False),
            ("Slow consumer", False),
            *([("A group away or slow", False)] if any(away.values()) else []),
            *([("When something was killed", False)] if any(killed.values()) else []),
        ),
        note=_note(away=any(away.values()), killed=any(killed.values())),
    )
    rows: list[tuple[str | Cell, ...]] = []
    for one in steps:
        if one.result is None:
            continue
        cells: list[str | Cell] = [heading(one), _promised(one), _behaviour(one, "late_subscriber"), _behaviour(one, "slow_consumer")]
        cells += [_absences(away[one.claim.step])] if any(away.values()) else []
        cells += [_kills(killed[one.claim.step])] if any(killed.values()) else []
        rows.append(tuple(cells))
    builder.add("", rows)
    return builder.build()


def _away(collection: Collection, steps: Iterable[Step]) -> Mapping[str, Sequence[Absence]]:
    """By step: what runs with a group away or slow say of its variant."""
    return {one.claim.step: collection.absences(one.result.variant) for one in steps if one.result}


def _killed(collection: Collection, steps: Iterable[Step]) -> Mapping[str, Sequence[Evidence]]:
    """By step: what the faults of guarantees runs did to its variant."""
    found = {one.claim.step: joining.delivery(collection, one.result.variant, one.result.server) for one in steps if one.result}
    return {step: [one for one in evidence if one.fault != BASELINE] for step, evidence in found.items()}


def _promised(one: Step) -> str | Cell:
    if one.base is None:
        mode = one.result.variant.get("mode") or {} if one.result else {}
        return f"delivery: {mode.get('delivery', 'not known')}; ordering: {mode.get('ordering', 'not known')}"
    return "; ".join(difference(found) for found in one.differences if found.promised) or Cell(_SAME, "quiet")


def _behaviour(one: Step, key: str) -> str | Cell:
    """As the mode's documentation has it, where it is another than that of the step before."""
    ours, theirs = ((side.variant.get("mode") or {}).get(key) if side else None for side in (one.result, one.base))
    return Cell(_SAME, "quiet") if ours and ours == theirs else str(ours or "not known")


def _absences(found: Sequence[Absence]) -> str | Cell:
    return "; ".join(_absence(one) for one in found) or Cell("not measured", "quiet")


def _absence(one: Absence) -> str:
    behind = f"{text.ranged(one.behind, text.count)} messages behind at most" if one.behind else "backlog not known"
    gone = [f"{text.count(count)} {word}" for count, word in ((one.lost, "lost"), (one.unknown, "unknown")) if count]
    fate = text.listed(gone) or ("none lost" if one.lost == 0 else "losses not known")
    others = [f"{word} {text.times(share)}" for share, word in ((one.others_rate, "rate"), (one.others_p99, "p99")) if share]
    noticed = f", the others' {text.listed(others)}" if others else ""
    return f"{one.fault}: {behind}, {fate}{noticed}"


def _kills(found: Sequence[Evidence]) -> str | Cell:
    told = []
    for one in found:
        fate = f"lost in {one.lost} of {one.n}" if one.lost else f"none lost in {one.n} ({losses.bound(one.high)})"
        told.append(f"{one.fault.replace('-', ' ')}: {fate}{f', repeated in {one.duplicated}' if one.duplicated else ''}")
    if not told:
        return Cell("not measured", "quiet")
    return Cell("; ".join(told), "bad" if any(one.verdict == "violated" for one in found) else "")


def _note(*, away: bool, killed: bool) -> str:
    said = ["Promises, late subscriber and slow consumer: as the documentation of each mode has them."]
    if away:
        said.append("Away or slow: from this report's runs with such a fault; the others' rate and p99 are those during it ÷ before it.")
    else:
        said.append("What happens while a group is away or slow was not measured: add runs of backlog and isolation with these systems.")
    if killed:
        said.append("Killed: from the guarantees runs of this report; p: 95% bound of the probability of a loss.")
    else:
        said.append("What survives a kill was not measured: add a run of brokerbench guarantees.")
    return " ".join(said)
