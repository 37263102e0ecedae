"""Rules and needs: which variants met what was asked (pure). templates/choose.js evaluates the same rules in the page.

All that is to be decided about results was decided when the rules were made (``facts``); here numbers are only compared. A rule
matches when all of its conditions do. Of a condition whose need is not asked: it holds, unless it *must* be asked.

- a rule of ``excludes`` matches: **not met**, whatever was measured (a promise that is not made, or was seen broken);
- else one of ``shows`` does: **met**, by the first (they stand from the smallest load up), with its notes;
- else one of ``nearly`` does: **too close to call** (rounds lie on both sides of what is asked);
- else one of ``limits`` does: **not met** (a load that is no larger failed), by the largest of these;
- else **never measured**, with what is nearest to it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.choosing.needs import SHORT, Asked

Answer = Literal["met", "too close", "not met", "never measured"]
ANSWERS: tuple[Answer, ...] = ("met", "too close", "not met", "never measured")
HEADINGS: Mapping[Answer, str] = {
    "met": "Met, in these results",
    "too close": "Too close to call",
    "not met": "Not met",
    "never measured": "Never measured",
}
NEAREST = 3
"""So many measured loads are named where none shows what is asked, or where several exclude it."""
_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "=": operator.eq,
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """``asked[need] op value``; op "unasked": the need is not asked. ``must``: it does not hold where the need is not asked."""

    need: str
    op: str
    value: float = 0
    must: bool = False

    def holds(self, asked: Asked) -> bool:
        """Whether what is asked fulfils it."""
        if self.need not in asked:
            return not self.must
        return self.op != "unasked" and _COMPARED[self.op](asked[self.need], self.value)


@dataclass(frozen=True)
class Rule:
    """What follows where all conditions hold: ``words`` cite the figure or the promise, ``trials`` are those that it is from."""

    when: tuple[Condition, ...]
    words: str
    name: str = ""  # of the point: "2,000/s, 256 B, 3 groups"
    run: str = ""
    trials: tuple[int, ...] = ()
    notes: tuple[Rule, ...] = ()  # said after the words where they match
    source: str = ""  # of a promise: the page of the documentation that makes it

    def matches(self, asked: Asked) -> bool:
        """Whether all conditions hold."""
        return all(one.holds(asked) for one in self.when)

    def short_in(self, asked: Asked) -> list[str]:
        """The needs whose conditions do not hold, each once, in a reader's words."""
        return list(dict.fromkeys(SHORT[one.need] for one in self.when if not one.holds(asked)))


@dataclass(frozen=True)
class Candidate:
    """One variant with all that these results say of it."""

    id: str
    name: str
    delivery: str
    emulator: str = ""  # what imitates the system, where something does
    promises: tuple[Rule, ...] = ()  # said of a need that is met
    excludes: tuple[Rule, ...] = ()
    shows: tuple[Rule, ...] = ()
    nearly: tuple[Rule, ...] = ()
    limits: tuple[Rule, ...] = ()
    void: tuple[str, ...] = ()  # measured, and not counted: what, and why
    mode: Mapping[str, Any] = field(default_factory=dict)

    @property
    def called(self) -> str:
        """The name, an emulator called so."""
        return f"{self.name} on {self.emulator}, an emulator" if self.emulator else self.name

    def to_json(self) -> dict[str, Any]:
        """Return what choose.js reads."""
        lists = {name: [_data(rule) for rule in getattr(self, name)] for name in ("promises", "excludes", "shows", "nearly", "limits")}
        return {"id": self.id, "name": self.called, **lists, "void": list(self.void)}


def _data(rule: Rule) -> dict[str, Any]:
    when = [[c.need, c.op, c.value, int(c.must)] for c in rule.when]
    return {
        "when": when, "words": rule.words, **({"name": rule.name} if rule.name else {}),
        **({"notes": [_data(note) for note in rule.notes]} if rule.notes else {}), **({"source": rule.source} if rule.source else {}),
    }  # fmt: skip


@dataclass(frozen=True)
class Answered:
    """What came of one variant. ``words``: the figures and promises that decide, each whole, with its source or ""."""

    candidate: Candidate
    answer: Answer
    words: tuple[tuple[str, str], ...]
    rules: tuple[Rule, ...] = ()  # what decided: its trials

    def to_json(self) -> dict[str, Any]:
        """For ``choose --json``."""
        figures = [{"run": rule.run, "point": rule.name, "words": rule.words, "trials": list(rule.trials)} for rule in self.rules]
        one = self.candidate
        return {
            "variant": one.id, "name": one.name, "delivery": one.delivery, "emulator": one.emulator or None, "answer": self.answer,
            "words": [{"words": words, "source": source or None} for words, source in self.words], "figures": figures,
        }  # fmt: skip


def answer(candidate: Candidate, asked: Asked) -> Answered:
    """Judge one variant; see the module."""

    def matching(rules: Sequence[Rule]) -> tuple[Rule, ...]:
        return tuple(rule for rule in rules if rule.matches(asked))

    if found := matching(candidate.excludes):
        return Answered(candidate, "not met", _said(found), found)
    kind: Answer
    for kind, rules in (("met", candidate.shows), ("too close", candidate.nearly)):
        if found := matching(rules)[:1]:
            return Answered(candidate, kind, _said((*found, *matching(found[0].notes), *matching(candidate.promises))), found)
    if found := matching(candidate.limits):
        return Answered(candidate, "not met", _said(found[-NEAREST:]), found[-NEAREST:])
    return Answered(candidate, "never measured", tuple((words, "") for words in _nearest(candidate, asked)))


def _said(rules: Sequence[Rule]) -> tuple[tuple[str, str], ...]:
    """Each once: exactly-once asks for two promises that are made in the same words."""
    return tuple(dict.fromkeys((rule.words, rule.source) for rule in rules))


def _nearest(candidate: Candidate, asked: Asked) -> tuple[str, ...]:
    """Of what was measured that which lacks least, then what does not count."""
    short = [(rule.words, rule.short_in(asked)) for rule in reversed(candidate.shows)]
    short.sort(key=lambda pair: len(pair[1]))  # stable: of equals, the larger load first
    told = [f"{words}; does not show: {', '.join(needs)}" for words, needs in short]
    return (*told[:NEAREST], *candidate.void[:NEAREST]) or ("nothing of it was measured",)


def answers(candidates: Sequence[Candidate], asked: Asked) -> list[Answered]:
    """Judge every variant, grouped by answer, within an answer in the order given: no ranking."""
    judged = [answer(candidate, asked) for candidate in candidates]
    return sorted(judged, key=lambda one: ANSWERS.index(one.answer))
