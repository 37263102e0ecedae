"""The part `ladder:` of a scenario: variants in steps of which each changes something that it names."""

# ruff: noqa: TRY004  # ValueError is what pydantic turns into a message, also for a wrong type
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from bench import spec
from bench.differences import ASPECTS
from bench.errors import UsageError
from bench.scenario_errors import Problem
from bench.scenario_fields import Part, a_list
from bench.units import did_you_mean

_STEP = re.compile(r"\S(?:.{0,46}\S)?")  # printable, on one line
STEPS_MIN = 2


def _step(value: object) -> str:
    if not isinstance(value, str) or not _STEP.fullmatch(value) or not value.isprintable():
        raise ValueError(f"{value!r}: a step's name is a few words on one line, such as through a proxy; at most 48 characters")
    return value


def _system(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError('a SPEC such as "zeromq,mode=proxy" belongs here')
    try:
        return spec.parse(value).spec
    except UsageError as error:
        raise ValueError(str(error)) from error


def _changes(value: object) -> tuple[str, ...]:
    listed = a_list(value)
    assert isinstance(listed, Sequence)
    for name in listed:
        if name not in ASPECTS:
            raise ValueError(f'unknown value "{name}"; {did_you_mean(str(name), ASPECTS)}')
    if len(set(listed)) != len(listed):
        raise ValueError("something is named twice")
    return tuple(listed)


def read(value: object) -> object:
    """The list itself; raises ValueError where there is none."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("a ladder is a list of steps, such as - {step: direct, system: zeromq}, with changes: from the second on")
    return value


class Step(Part):
    """One entry of `ladder`."""

    step: Annotated[str, BeforeValidator(_step)] = Field(description="its name, as a report has it: through a proxy")
    system: Annotated[str, BeforeValidator(_system)] = Field(description="what it runs, a SPEC: system[,key=value...]")
    changes: Annotated[tuple[str, ...], BeforeValidator(_changes)] = Field(
        (),
        description=f"what differs from the step before, one or a list of {' | '.join(ASPECTS)}; the report checks it",
    )
    after: Annotated[str | None, BeforeValidator(_step)] = Field(
        None, description="the step that it is compared with, where that is not the one before"
    )

    def shown(self, data: dict[str, Any]) -> dict[str, Any]:
        """``data``, without what the first step lacks."""
        return {name: value for name, value in data.items() if value != []}


def problems(ladder: Sequence[Step], systems: Sequence[str]) -> list[Problem]:
    """What does not go together, with the path of the field; ``systems``: the scenario's."""
    if not ladder:
        return []
    found: list[Problem] = []
    if len(ladder) < STEPS_MIN:
        found.append((("ladder",), "a ladder has at least two steps: the second says what it changes"))
    for i, one in enumerate(ladder):
        before = ladder[:i]
        for field, word in (("step", one.step), ("system", one.system)):
            if word in {getattr(other, field) for other in before}:
                found.append((("ladder", i, field), f'"{word}" is a step already'))
        if one.system not in systems:
            found.append((("ladder", i, "system"), f'"{one.system}" is none of the systems: {", ".join(systems)}; leave systems out'))
        found += [(("ladder", i, field), text) for field, text in _place(one, before)]
    return found


def _place(one: Step, before: Sequence[Step]) -> list[tuple[str, str]]:
    """What is wrong with where a step stands: (field, text)."""
    if not before:
        wrong = [name for name in ("changes", "after") if getattr(one, name)]
        return [(name, "the first step has none before it; remove it") for name in wrong]
    found = [] if one.changes else [("changes", f"is missing: {Step.model_fields['changes'].description}")]
    names = [other.step for other in before]
    if one.after is not None and one.after not in names:
        found.append(("after", f'"{one.after}" is none of the steps before this one; {did_you_mean(one.after, names)}'))
    return found
