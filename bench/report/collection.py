"""The runs of one report: gathered from their folders, held against each other, joined by variant.

A folder that cannot be read is named and the others are reported; what of a folder cannot be read is named and the rest of it is
reported. Runs stand side by side only where machine, placement and the kind of each server match (bench/likeness.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import likeness
from bench.analysis import absence
from bench.analysis.summary import PointSummary, VariantPoint, summarise
from bench.errors import Incompatible, UsageError
from bench.report import joining
from bench.report.held import PARTS, alone, hold
from bench.report.joining import Evidence
from bench.store import Run

KINDS = ("run", "capacity", "guarantees")
_OPTIONAL = {
    "environment.json": "the machine and the versions are not known",
    "plan.json": "the order of execution is not known",
    "scenario.yaml": "the scenario is not known",
}

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Collection:
    """What one page reports on. Each run is of one of KINDS, in the order given."""

    runs: tuple[Run, ...] = ()
    capacities: tuple[Run, ...] = ()
    guarantees: tuple[Run, ...] = ()
    differences: tuple[str, ...] = ()  # machine or placement differ, and it was said that this does not matter: label every figure
    missing: tuple[str, ...] = ()  # what could not be read, and why
    _summaries: dict[Path, tuple[PointSummary, ...]] = field(default_factory=dict, compare=False, repr=False)
    _faults: dict[tuple[str, ...], Sequence[Evidence]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def all(self) -> tuple[Run, ...]:
        """Every run: speed, then capacity, then faults."""
        return (*self.runs, *self.capacities, *self.guarantees)

    def label(self, run: Run) -> str:
        """What tells a run from the others of its kind and scenario; "" where there is none and all machines are alike.

        Its time of start to the minute; its id where that is the same for two.
        """
        alike = [one for one in self.all if _sort(one) == _sort(run)]
        if len(alike) < 2 and not self.differences:
            return ""
        started = _minute(run)
        same = [one for one in alike if _minute(one) == started]
        return started if started and len(same) == 1 else str(run.run["id"])

    def points(self, run: Run) -> tuple[PointSummary, ...]:
        """summarise() of a run, made once; raises what that raises."""
        if run.folder not in self._summaries:
            self._summaries[run.folder] = summarise(run)
        return self._summaries[run.folder]

    def faults(self, result: VariantPoint) -> Sequence[Evidence]:
        """What faults did to a variant, joined once (bench.report.joining.delivery)."""
        mode, server = result.variant.get("mode") or {}, result.server or {}
        # Another run may have the same id with another version of client or server: that is another variant.
        said = (mode.get("name"), result.variant.get("client_version"), server.get("product"), server.get("version"))
        key = (result.id, *map(str, said))
        if key not in self._faults:
            self._faults[key] = joining.delivery(self, result.variant, result.server)
        return self._faults[key]

    def cells(self, variant: Json) -> Sequence[Json]:
        """The cells of guarantees.json of this variant (``variant`` as in trial.json), tried or not."""
        return joining.cells(self, variant)

    def absences(self, variant: Json) -> Sequence[absence.Absence]:
        """What this variant did while a group was away or slow, over all runs."""
        return absence.of((trial for run in self.runs for trial in run.trials), variant)


def variants(run: Run) -> dict[str, Json]:
    """The variants of a run by id, as its trials describe them."""
    return {trial["variant"]["id"]: trial["variant"] for trial in run.trials}


def gather(folders: Sequence[Path], *, anyway: bool = False) -> Collection:
    """Read the runs of one report.

    Raises:
        UsageError: a folder is of a kind that no page stands side by side with others, or nothing can be read; of several folders one
            that cannot be read is named in ``missing``.
        Incompatible: a newer format; or machines, placements or kinds of server differ and not ``anyway``.
    """
    missing: list[str] = []
    found: list[Run] = []
    for folder in dict.fromkeys(Path(one).resolve() for one in folders):
        try:
            found.append(_opened(folder, missing))
        except (UsageError, Incompatible) as error:
            if len(folders) == 1:
                raise
            missing.append(f"not reported: {error}")
    for run in found:
        if run.run["kind"] not in KINDS:
            raise UsageError(f'{run.folder}: a run of kind "{run.run["kind"]}" has a report of its own: name it alone')
    if not found:
        raise UsageError("; ".join(missing) or "name at least one run")
    differences = _differences(found)
    if differences and not anyway:
        listed = "\n  ".join(differences)
        raise Incompatible(
            f"these runs are not of like machines, so their figures do not compare:\n  {listed}\n--anyway reports them, labelled"
        )
    of = {kind: tuple(run for run in found if run.run["kind"] == kind) for kind in KINDS}
    return Collection(of["run"], of["capacity"], of["guarantees"], tuple(differences), tuple(missing))


def _opened(folder: Path, missing: list[str]) -> Run:
    """One run; what of it cannot be read is added to ``missing``."""
    if not (folder / "run.json").is_file():
        for kind, (file, _, _) in PARTS.items():
            if (folder / file).is_file():
                return alone(folder, kind, missing.append)
    run = hold(folder, missing.append)
    missing.extend(f"{folder / name}: missing, {what}" for name, what in _OPTIONAL.items() if not (folder / name).is_file())
    return run


def _differences(runs: Sequence[Run]) -> list[str]:
    """How machine, placement and kinds of server of each run differ from those of the first, with the file and field."""
    first, *others = runs
    found = []
    for run in others:
        found += [
            f"environment.json, {one.field}: {one.ours} in {_called(first)}, {one.theirs} in {_called(run)}"
            for one in likeness.machines(first.environment, run.environment)
        ]
        ours, theirs = _servers(first.trials), _servers(run.trials)
        found += [
            f"trial.json, server.kind of {system}: {ours[system]} in {_called(first)}, {theirs[system]} in {_called(run)}"
            for system in ours
            if system in theirs and ours[system] != theirs[system]
        ]
    return found


def _servers(trials: Iterable[Json]) -> dict[str, str]:
    """The kind of server that each system had: native, embedded, compose, external."""
    kinds: dict[str, set[str]] = {}
    for trial in trials:
        if isinstance(trial.get("server"), Mapping):
            kinds.setdefault(str((trial.get("variant") or {}).get("system")), set()).add(str(trial["server"].get("kind")))
    return {system: " and ".join(sorted(found)) for system, found in kinds.items()}


def _called(run: Run) -> str:
    return str(run.run["id"])


def _sort(run: Run) -> tuple[Any, ...]:
    return run.run["kind"], run.run.get("scenario")


def _minute(run: Run) -> str:
    """2026-11-22 17:01, of an ISO time; "" where it is not known."""
    started = str(run.run.get("started") or "")
    return started[:16].replace("T", " ") if len(started) >= 16 else ""
