"""What a fake server does to messages: delays by a law, faults by seeded choice. Plain data; standard library only."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

MS: Final = 1_000_000
LAWS: Final = {"constant": 1, "uniform": 2, "exponential": 2, "lognormal": 3, "bimodal": 3}
"""Laws of a delay with the number of their parameters: see Law."""


@dataclass(frozen=True)
class Law:
    """A distribution of delays; ``ms`` are its parameters, times in milliseconds.

    constant: the delay · uniform: lowest, highest · exponential: added to all, mean of the rest · lognormal: added to all,
    median of the rest, sigma of its logarithm · bimodal: one, the other, share of the other.
    """

    name: str = "constant"
    ms: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if LAWS.get(self.name) != len(self.ms):
            raise ValueError(f"a delay is one of {LAWS} (law: number of parameters), not {self.name}{self.ms}")

    def draw(self, generator: random.Random) -> int:
        """Return one delay, ns."""
        a, *rest = self.ms
        match self.name:
            case "constant":
                ms = a
            case "uniform":
                ms = generator.uniform(a, rest[0])
            case "exponential":
                ms = a + generator.expovariate(1.0 / rest[0])
            case "lognormal":
                ms = a + rest[0] * generator.lognormvariate(0.0, rest[1])
            case _:
                ms = rest[0] if generator.random() < rest[1] else a
        return int(ms * MS)


# What becomes of a message as a whole, in the order in which the shares of Behaviour are laid out.
TAKEN, REFUSED, DENIED, SILENT, SWALLOWED = range(5)


@dataclass(frozen=True)
class Behaviour:
    """What is done in one trial. Shares are of messages or of deliveries, 0..1; at most one of each kind befalls one."""

    seed: int = 1
    delay: Law = field(default_factory=Law)  # from arrival to leaving
    answer: Law = field(default_factory=Law)  # from arrival to the answer to the producer
    # of messages
    refused: float = 0.0  # answered "failed", not delivered
    denied: float = 0.0  # answered "failed", and delivered all the same
    silent: float = 0.0  # never answered, delivered
    swallowed: float = 0.0  # never answered, not delivered
    # of deliveries to one group
    lost: float = 0.0  # answered "confirmed" before it was stored, and never delivered: a lie
    repeated: float = 0.0  # delivered twice
    flagged: float = 0.0  # delivered twice, and the second time marked as redelivered
    swapped: float = 0.0  # held until the producer's next message has left
    flipped: float = 0.0  # one bit is turned
    invented: float = 0.0  # followed by a sound message that nobody sent
    # for all: nothing leaves for so long, counted from the trial's first message
    stall_at_s: float = 0.0
    stall_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data, for the server's SPEC."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Behaviour:
        """The inverse of to_json()."""
        laws = {name: Law(data[name]["name"], tuple(data[name]["ms"])) for name in ("delay", "answer")}
        return cls(**{**data, **laws})


class Fates:
    """Draws what becomes of one producer's messages in one trial: the same for the same seed, whatever the timing.

    A stream of its own for the messages and for each group, drawn in order of arrival (which is the producer's order).
    """

    def __init__(self, behaviour: Behaviour, trial: int, producer: int, groups: int) -> None:
        b = behaviour
        self._behaviour = b
        self._message = random.Random(f"{b.seed} {trial} {producer}")
        self._groups = [random.Random(f"{b.seed} {trial} {producer} {group}") for group in range(groups)]
        self._of_message = (b.refused, b.denied, b.silent, b.swallowed)
        self._of_delivery = (b.lost, b.repeated, b.flagged, b.swapped, b.flipped, b.invented)

    def message(self) -> tuple[int, int]:
        """Return what becomes of the next message (TAKEN, REFUSED, ...) and the delay of its answer, ns."""
        return _choice(self._message, self._of_message), self._behaviour.answer.draw(self._message)

    def delivery(self, group: int) -> tuple[int, int, int, int]:
        """Return what becomes of the next delivery (0 = nothing, LOST, ...), its delay, that of a second one, a number to pick a bit by."""
        generator = self._groups[group]
        delay = self._behaviour.delay
        return _choice(generator, self._of_delivery), delay.draw(generator), delay.draw(generator), generator.getrandbits(30)


# What becomes of a delivery, in the order of Fates: 0 is nothing.
LOST, REPEATED, FLAGGED, SWAPPED, FLIPPED, INVENTED = range(1, 7)


def _choice(generator: random.Random, shares: tuple[float, ...]) -> int:
    """Return 0, or the place (from 1) of the share that the next random number falls into."""
    number = generator.random()
    for place, share in enumerate(shares, 1):
        if number < share:
            return place
        number -= share
    return 0
