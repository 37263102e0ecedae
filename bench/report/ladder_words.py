"""Steps of a ladder in words: what changes, by how much, and why a figure is not to be relied on."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.ladder import Ratio, Step
from bench.analysis.summary import PointSummary, VariantPoint
from bench.differences import Difference
from bench.report import text
from bench.report.headline import STANDING
from bench.report.table import Cell

COSTS = (("p50", "p50"), ("p99", "p99"), ("cpu", "CPU a message"))
"""Key in the ratios of a step, and what a reader calls it."""
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SETTINGS_MOST = 3  # named; all of them stand in the effective settings
_VALUE_MOST = 24  # signs of a setting's value


def sentence(one: Step, point: PointSummary, steps: Sequence[Step]) -> str:
    """What a step costs and changes, and whether that is what it says; "" where it or its base was not measured."""
    if one.base is None or one.result is None:
        return ""
    costs = [f"{word} {_told(one.ratios[key])}" for key, word in COSTS if key in one.ratios]
    told = text.listed(costs) or "no figure of both"
    return f"{quoted(one.claim.step)} against {quoted(one.claim.after)}: {told}. {_claim(one)}.{_doubts(one, point, steps)}"


def quoted(step: str) -> str:
    """A step's name, set apart from the sentence around it."""
    return f"“{step}”"


def heading(one: Step) -> str:
    """A step and what it stands against, as both tables name it."""
    return f"{quoted(one.claim.step)}, against {quoted(one.claim.after)}" if one.claim.after else quoted(one.claim.step)


def changed(one: Step) -> Cell | str:
    """What is put together otherwise, from what to what; marked where that is not what the scenario says."""
    if one.base is None:
        return Cell(f"{quoted(one.claim.after)} is not in this run" if one.claim.after else "here the ladder starts", "quiet")
    made = "; ".join(difference(found) for found in one.differences if not found.promised) or "nothing but promises"
    wrong = []
    if one.undeclared:
        wrong.append(f"this step changes {_counted(len(one.differences))}, and the scenario does not name {text.listed(one.undeclared)}")
    if one.unseen:
        wrong.append(f"the scenario names {text.listed(one.unseen)}, which {'does' if len(one.unseen) == 1 else 'do'} not differ")
    return Cell(f"{made}. Not as the scenario says: {'; '.join(wrong)}", "warn") if wrong else made


def difference(one: Difference) -> str:
    """From what to what, such as "intermediary: no → yes"; of settings the first few."""
    if one.aspect != "settings":
        return f"{one.aspect}: {one.before} → {one.after}"
    shown = [_setting(*setting) for setting in one.settings[:_SETTINGS_MOST]]
    more = len(one.settings) - len(shown)
    return f"settings: {', '.join(shown)}{f' and {more} more' if more else ''}"


def cell(found: Ratio | None, sides: Sequence[VariantPoint], key: str) -> Cell:
    """A ratio for a table, marked where a side is not valid; why there is none."""
    if found is None:
        why = [side.absent.get("e2e", "") for side in sides if key != "cpu" and side.latency.get("e2e") is None]
        return Cell(next((word for word in why if word), text.NONE), "quiet")
    told = text.ratio(found.ratio, found.low, found.high)
    doubts = dict.fromkeys(STANDING[side.standing] for side in sides if side.doubtful)
    return Cell(",\n".join((told, *doubts)), "warn") if doubts else Cell(told, "number")


def noisy(point: PointSummary) -> bool:
    """Whether the same system measured twice differed by more than noise."""
    return point.lane is not None and not point.lane.silent


def _told(found: Ratio) -> str:
    """A ratio in a sentence: whether its rounds tell it from 1."""
    ratio = f"{text.number(found.ratio)}{text.TIMES}"
    if found.low is None or found.high is None:
        return f"{ratio} (one round)"
    ends = f"{text.number(found.low)}{text.DASH}{text.number(found.high)}"
    if not found.exact:
        return f"{ratio} ({ends} in {found.rounds} rounds)"
    return f"{ratio} ({ends}{'' if found.apart else ', too close to call'})"


def _claim(one: Step) -> str:
    """How many things change and which, such as "It changes one thing: intermediary"."""
    names = [found.aspect for found in one.differences]
    if not names:
        return f"It changes nothing, and says that it changes {text.listed(one.claim.changes)}"
    told = f"It changes {_counted(len(names))}: {text.listed(names)}"
    if one.undeclared:
        told += f"; the scenario names {text.listed(one.claim.changes)} only, and not {text.listed(one.undeclared)}"
    if one.unseen:
        told += f"; it does not change {text.listed(one.unseen)}, as the scenario says"
    return told


def _counted(things: int) -> str:
    number = _NUMBERS[things] if things < len(_NUMBERS) else str(things)
    return f"{number} {'thing' if things == 1 else 'things at once'}"


def _doubts(one: Step, point: PointSummary, steps: Sequence[Step]) -> str:
    names = {other.result.id: quoted(other.claim.step) for other in steps if other.result}
    why: dict[str, list[str]] = {}
    for side in (one.base, one.result):
        if side is not None and side.doubtful:
            why.setdefault(f"{STANDING[side.standing]} ({side.why})", []).append(names[side.id])
    bad = [f"{text.listed(who)}: {what}" for what, who in why.items()]
    if noisy(point):
        bad.append("the A/A lane is not silent")
    return f" Not to be relied on: {'; '.join(bad)}." if bad else ""


def _setting(name: str, before: str, after: str) -> str:
    """One setting; its name alone where the values differ further on than can be shown."""
    old, new = (text.shortened(value, _VALUE_MOST) for value in (before, after))
    return f"{name} {old} → {new}" if old != new else name
