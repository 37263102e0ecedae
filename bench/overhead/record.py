"""overhead.json: what was asked, and every round as it was measured (results/README.md). From it everything else is computed.

The unit is a *block*: one variant, one size, one round, measured on every lane in random order. Blocks are written whole,
so that the lanes of one stand close together in time, and a sitting that was cut off goes on with those that are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bench import store
from bench.errors import Incompatible, UsageError
from bench.likeness import exactly

FORMAT = 1
KIND = "overhead"
FILE = "overhead.json"

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What is measured: SPECs, sizes in bytes (header included), rounds; times in seconds, of each lane of a block."""

    systems: tuple[str, ...]
    sizes_b: tuple[int, ...]
    rounds: int
    window_s: float
    warmup_s: float
    batch: int
    seed: int
    distinct: bool  # a lane more: the bare loop with payloads that differ

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``asdict``."""
        plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
        return cls(**plain)


@dataclass
class Measured:
    """One variant: its blocks ``{round, size_b, sitting, samples}``; why a lane failed, why nothing ran."""

    variant: str
    not_run: str | None = None
    failures: list[Json] = field(default_factory=list)  # {round, size_b, lane, sitting, reason}
    blocks: list[Json] = field(default_factory=list)

    def has(self, number: int, size_b: int) -> bool:
        """Whether that block was measured."""
        return any(block["round"] == number and block["size_b"] == size_b for block in self.blocks)


@dataclass
class Record:
    """The whole file. A sitting is one start of the command: ``{started, ended, environment, disturbed, steal}``."""

    asked: Asked
    sittings: list[Json] = field(default_factory=list)
    variants: list[Measured] = field(default_factory=list)

    @classmethod
    def of(cls, asked: Asked) -> Self:
        """Nothing measured yet."""
        return cls(asked, [], [Measured(text) for text in asked.systems])

    def missing(self, variant: Measured, number: int) -> list[int]:
        """Sizes of a round that were not measured."""
        return [size_b for size_b in self.asked.sizes_b if not variant.has(number, size_b)]

    @property
    def whole(self) -> bool:
        """Whether there is nothing left to measure."""
        return not any(self.missing(variant, number) for variant in self.variants for number in range(1, self.asked.rounds + 1))

    def to_json(self) -> Json:
        """As it lies on disk."""
        return {"format": FORMAT, "kind": KIND, **asdict(self)}


def read(folder: Path) -> Record:
    """The record of a run's folder; raises UsageError for what is none, Incompatible for a newer format."""
    path = folder / FILE
    data = store.read_json(path) if path.is_file() else None
    if data is None:
        raise UsageError(f"{folder}: no {FILE} there; it is not of `brokerbench overhead`, or was cut off before it began to measure")
    try:
        if data["kind"] != KIND:
            raise UsageError(f'{path}: of kind "{data["kind"]}", not {KIND}')
        if data["format"] > FORMAT:
            raise Incompatible(f"{path}: format {data['format']}; this brokerbench reads up to format {FORMAT}: update it")
        return Record(Asked.from_json(data["asked"]), data["sittings"], [Measured(**one) for one in data["variants"]])
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: not whole: {error}") from error


def same_machine(sittings: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> None:
    """Raise Incompatible where a sitting before was on another machine or with another revision of the code: no such rounds are pooled."""
    for sitting in sittings:
        other = exactly(sitting["environment"], now, ("machine", "placement", "python", "clients", "brokerbench"), aside=("changed",))
        if other:
            raise Incompatible(f"it was begun with another {other}: begin anew, without --resume")
