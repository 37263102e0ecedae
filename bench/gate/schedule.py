"""The order of a gate's trials (pure).

Rounds come in blocks of two. In a block each side is measured twice at each point, base head head base or head base base head: which
of the two leads is drawn for each block and point. So what drifts evenly through a block hits both sides alike, and neither side is
always the first. Base's two trials of a block are the A/A lane: the same thing measured twice, as far apart as anything that is compared.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BASE, HEAD = "base", "head"
SIDES = (BASE, HEAD)
BLOCK = 2  # rounds


@dataclass(frozen=True)
class Step:
    """One trial: ``round`` from 0, ``position`` within it from 0."""

    round: int
    position: int
    point: str
    side: str


def block(points: Sequence[str], number: int, seed: str) -> Iterator[Step]:
    """The trials of the rounds 2 x ``number`` and 2 x ``number`` + 1, in order: the same seed gives the same order."""
    drawn = random.Random(f"{seed} {number}")
    leads = {point: drawn.choice(SIDES) for point in points}
    for half in range(BLOCK):
        position = 0
        for point in drawn.sample(list(points), len(points)):
            first = leads[point]
            second = HEAD if first == BASE else BASE
            for side in (first, second) if half == 0 else (second, first):
                yield Step(number * BLOCK + half, position, point, side)
                position += 1
