"""guarantees.json: what was asked, and of each cell every injection and the verdict they add up to (results/README.md).

It follows from what was asked and the run's trials: a run that was cut off goes on from these.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from bench.errors import UsageError
from bench.guarantees import cells, observed, verdicts
from bench.guarantees.cells import Cell
from bench.guarantees.named import FAULTS
from bench.guarantees.shape import Shape
from bench.guarantees.verdicts import Injection, Judged
from bench.trial import described_mode

FORMAT = 1
KIND = "guarantees"
FILE = "guarantees.json"
_GIVE_UP = 2  # failed trials in a row
_SERVER = ("kind", "product", "version", "emulator")
_TOO_MANY = 2.0  # times the trials that should have done

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What the command line said. ``quick``: the cells of cells.QUICK, of the systems that ``specs`` name."""

    specs: tuple[str, ...]
    faults: tuple[str, ...]
    injections: int
    core: int
    quick: bool = False

    def cells(self) -> list[Cell]:
        """Raises UsageError for what is unknown, or leaves nothing to try."""
        if self.quick:
            made = cells.picked(cells.QUICK, self.injections, self.specs, self.faults)
        else:
            made = cells.of(self.specs or cells.systems(), self.faults, core=self.core, others=self.injections)
        if not made and self.quick:
            raise UsageError(f"nothing to try: --quick has no cell of {', '.join((*self.specs, *self.faults))}")
        if not made:
            needs = {f"{key}={value}" for fault in cells.faults_named(self.faults) for key, value in FAULTS[fault].where.items()}
            raise UsageError(
                f"nothing to try: {', '.join(self.faults)} needs {', '.join(sorted(needs))} in the SPEC, as kafka,nodes=3 has it"
            )
        return made

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``asdict``."""
        plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
        return cls(**plain)


@dataclass
class Tried:
    """A cell and what became of its trials."""

    cell: Cell
    trials: list[int] = field(default_factory=list)
    injections: list[Injection] = field(default_factory=list)
    rest: Counter[str] = field(default_factory=Counter)
    timer: str = ""  # in force
    ended: int = 0  # trials that did not fail
    failed: int = 0  # in a row, since the command was started
    reason: str = ""  # of the last trial that failed, or why there is no such cell
    unsupported: bool = False
    server: Json | None = None  # what was broken: product, version and whether it emulates

    def take(self, trial: Mapping[str, Any]) -> None:
        """Add one trial."""
        self.trials.append(trial["trial"])
        if trial["status"] == "unsupported":
            self.unsupported, self.reason = True, str(trial["reason"])
        elif trial["status"] == "failed":
            self.failed, self.reason = self.failed + 1, str(trial["reason"])
        elif trial["status"] == "ok":
            self.failed, self.reason = 0, ""
            self.ended += 1
            self.server = {key: trial["server"].get(key) for key in _SERVER} if trial.get("server") else None
            self.injections += observed.injections(trial)
            self.rest.update(observed.rest(trial))
            self.timer = observed.timer(trial, self.cell.expected.timer) or self.timer

    @property
    def judged(self) -> Judged:
        """Its verdict so far."""
        return verdicts.judge(self.cell.mode.delivery.value, self.cell.expected, self.injections, self.rest)

    @property
    def missing(self) -> int:
        """Counted injections that are still to be made; 0 where nothing more is tried."""
        return 0 if self.status != "waiting" else self.cell.wanted - self.judged.n

    @property
    def status(self) -> str:
        """One of "waiting", "complete", "unsupported", "failed" (given up), "short" (too many were vacuous or undetermined)."""
        if self.cell.unsupported or self.unsupported:
            return "unsupported"
        if self.judged.n >= self.cell.wanted:
            return "complete"
        if self.failed >= _GIVE_UP:
            return "failed"
        needed = math.ceil(self.cell.wanted / self.cell.shape(self.cell.wanted).injections)
        return "short" if self.ended >= max(needed + 1, _TOO_MANY * needed) else "waiting"

    def left(self) -> list[Shape]:
        """The trials that are still to be made, as far as one can tell."""
        missing, shapes = self.missing, []
        while missing > 0:
            shapes.append(self.cell.shape(missing))
            missing -= shapes[-1].injections
        return shapes

    def to_json(self) -> Json:
        """One of `cells` in guarantees.json."""
        cell, expected = self.cell, self.cell.expected
        return {
            "id": cell.id, "variant": cell.variant.id, "spec": cell.variant.spec, "system": cell.variant.system,
            "mode": described_mode(cell.mode), "fault": cell.fault, "title": FAULTS[cell.fault].title, "core": cell.core,
            "wanted": cell.wanted, "status": self.status, "reason": cell.unsupported or self.reason,
            "expected": asdict(expected) | {"may_show": sorted(expected.may_show), "must_show": sorted(expected.must_show)},
            "timer": self.timer, "server": self.server, "trials": self.trials, "injections": [asdict(one) for one in self.injections],
            "rest": dict(self.rest), "judged": self.judged.to_json() if self.injections else None,
        }  # fmt: skip


@dataclass
class Record:
    """The whole file. A sitting is one start of the command: ``{started, ended, environment}``."""

    asked: Asked
    tried: list[Tried]
    sittings: list[Json] = field(default_factory=list)

    @classmethod
    def of(cls, asked: Asked) -> Self:
        """Nothing tried yet."""
        return cls(asked, [Tried(cell) for cell in asked.cells()])

    def take(self, trials: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, Any]] = ()) -> None:
        """Add the trials of a run that was cut off; ``kept``: its `cells` (() = they stand as here), which may stand in another order.

        UsageError where a trial is of a cell that is not here: another revision has other modes, timers or faults.
        """
        known = {one.cell.id: one for one in self.tried}
        ids = [cell["id"] for cell in kept] or list(known)
        owners = {number: cell["id"] for cell in kept for number in cell["trials"]}
        for trial in trials:
            place = trial["point"].get("cell")
            by_place = ids[place] if isinstance(place, int) and 0 <= place < len(ids) else ""  # cut off before it was written down
            one = known.get(owners.get(trial["trial"], by_place))
            if one is None or trial["variant"]["id"] != one.cell.variant.id:
                raise UsageError(f"trial {trial['trial']} is of no cell that this revision would try: begin anew, without --resume")
            one.take(trial)
        for one in self.tried:
            one.failed = 0  # what stood in the way then may be gone

    def to_json(self) -> Json:
        """As it lies on disk."""
        return {"format": FORMAT, "kind": KIND, "asked": asdict(self.asked), "sittings": self.sittings,
                "cells": [one.to_json() for one in self.tried]}  # fmt: skip
