"""Finds the highest rate that holds, from probes that sometimes lie (pure: no clock, no I/O; tested in virtual time).

A probe at a rate either held the objective or did not. Near the edge that is chance: the machine is 3% faster now than then, and a
stall of a second fails a probe at any rate. So no single answer is believed. Probabilistic bisection (Waeber, Frazier &
Henderson, SIAM J. Control Optim. 51(3), 2013) keeps a distribution over where the edge is, probes at its median, and weighs each
answer by how likely it was. What an answer is worth is not known beforehand either: the width of the noise and the share of
stalls are estimated along with the edge, as psychometric methods do (Kontsevich & Tyler, Vision Research 39, 1999; Prins 2013).

    P(held at r | edge e) = wrong + (1 - stalled - wrong) * Phi((log e - log r) / noise)

The prior of the edge is a Cauchy distribution around an estimate: so heavy in its tails that an estimate that is wrong by a factor
of a hundred costs a few probes (bracketing by factors comes out of it by itself), and an estimate that is right saves as many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

PROBES_MAX = 40
PROBES_MIN = 8  # that count: a few lucky answers are no interval
HELD_SHARE = 0.75  # of undisturbed probes at the edge: what fails every second time does not hold
PRECISION = 0.05  # half the width of the interval at which the search ends, relative
WIDEST = 0.25  # the same, beyond which there is no answer
INVALID_MAX = 3  # in a row at one rate: then it is no accident, and the rate did not hold

_STEP = 0.004  # of the grid, in log rate
_NOISES = np.array([0.01, 0.02, 0.035, 0.06, 0.1, 0.2])  # sd of log rate at which a probe flips
_NOISES_PRIOR = np.array([0.15, 0.25, 0.25, 0.2, 0.1, 0.05])  # most machines are off by a few percent
_STALLED = np.array([0.02, 0.06, 0.15])  # share of probes that fail at any rate
_WRONG = 0.01  # share that hold above the edge
_UP = 2.0  # a probe is at most so much over the highest rate that held: overload is what hurts
_DOWN = 4.0  # while none held, at most so much under the lowest that did not: a row of stalls is no reason to go to the bottom
_CONFIDENCE = 0.95
_SURE = 0.95  # of lying outside the range: then the search ends,
_AT_ENDS = 3  # where so many probes were made at that end


@dataclass(frozen=True)
class Answer:
    """Where the edge is. Rates in messages a second; None = outside of the range that was searched.

    kind: "found"; "at-least" (held at the highest rate allowed); "below" (not even at the lowest); "inconclusive".
    """

    kind: str
    rate_per_s: float | None
    low: float | None
    high: float | None
    probes: int  # that counted
    invalid: int  # that did not
    precise: bool  # the interval is as narrow as was asked for


class Search:
    """Ask `rate` what to probe (None: done), `tell` how it went; `answer` may be asked at any time."""

    def __init__(
        self, estimate: float, *, lowest: float, highest: float, probes_max: int = PROBES_MAX, precision: float = PRECISION
    ) -> None:
        """Search between ``lowest`` and ``highest``, from ``estimate``; rates a second. Raises ValueError where they make no range."""
        if not 0 < lowest < highest < math.inf:
            raise ValueError(f"no range of rates: {lowest} to {highest}")
        self._lowest, self._highest = lowest, highest
        self._probes_max, self._precision = probes_max, precision
        self._origin = math.log(lowest)
        n = max(2, round((math.log(highest) - self._origin) / _STEP) + 1)
        self._step = (math.log(highest) - self._origin) / (n - 1)
        # Index 0 stands for "below the lowest", n+1 for "above the highest"; 1..n are rates.
        self._log_rates = self._origin + self._step * np.arange(n)
        self._weights = self._prior(math.log(min(max(estimate, lowest), highest)))
        reach = self._step * np.arange(-n, n + 1)
        held = ndtr(reach[None, :] / _NOISES[:, None] + ndtri(HELD_SHARE))
        self._held = _WRONG + (1 - _STALLED[None, :, None] - _WRONG) * held[:, None, :]  # noise x stalled x distance of the edge
        self.counted = 0
        self.invalid = 0
        self._in_a_row = 0
        self._held_up_to = 0.0
        self._failed_from = math.inf
        self._at_ends = [0, 0]  # probes at the lowest and the highest rate
        self._proposed: float | None = self._propose()

    def _prior(self, centre: float) -> NDArray[np.float64]:
        """Cauchy around the estimate, scale a factor of two; the tails beyond the range are the two outer points."""
        edges = np.concatenate(([-np.inf], self._log_rates - self._step / 2, [self._log_rates[-1] + self._step / 2, np.inf]))
        mass = np.diff(np.arctan((edges - centre) / math.log(2)) / math.pi)
        shape = len(_NOISES), len(_STALLED)
        weights: NDArray[np.float64] = _NOISES_PRIOR[:, None, None] * np.ones(shape)[:, :, None] / shape[1] * mass
        return weights

    @property
    def rate(self) -> float | None:
        """The rate to probe next; None when the search is over."""
        return self._proposed

    def tell(self, held: bool | None) -> None:
        """Say how the probe at `rate` went; None: something disturbed it, it says nothing and is repeated.

        Disturbed INVALID_MAX times in a row, a rate counts as not held.
        """
        if self._proposed is None:
            raise ValueError("the search is over: there is no probe to tell of")
        if held is None:
            self.invalid += 1
            self._in_a_row += 1
            if self._in_a_row < INVALID_MAX:
                return
        self._in_a_row = 0
        self._learn(self._proposed, bool(held))
        self._proposed = None if self._over() else self._propose()

    def _learn(self, rate: float, held: bool) -> None:
        self.counted += 1
        if held:
            self._held_up_to = max(self._held_up_to, rate)
        else:
            self._failed_from = min(self._failed_from, rate)
        self._at_ends[0] += rate <= self._lowest * (1 + self._step)
        self._at_ends[1] += rate >= self._highest * (1 - self._step)
        n = len(self._log_rates)
        at = round((math.log(rate) - self._origin) / self._step)
        likely = np.empty_like(self._weights)
        likely[:, :, 1:-1] = self._held[:, :, n - at : 2 * n - at]
        likely[:, :, 0] = _WRONG
        likely[:, :, -1] = (1 - _STALLED)[None, :]
        self._weights = self._weights * (likely if held else 1 - likely)
        self._weights /= self._weights.sum()

    def _quantiles(self, *shares: float) -> list[float]:
        """Rates below which the edge lies with these probabilities; 0 and inf outside of the range."""
        cumulated = np.cumsum(self._weights.sum(axis=(0, 1)))
        found = np.searchsorted(cumulated, shares)
        n = len(self._log_rates)
        return [0.0 if i == 0 else math.inf if i > n else math.exp(self._log_rates[i - 1]) for i in found]

    def _propose(self) -> float:
        """The median; but every fourth probe looks away from it where an end of the interval is still far off.

        Without that, "the edge is far above and every failure so far was a stall" is never put to the test.
        """
        low, at, high = self._quantiles((1 - _CONFIDENCE) / 2, 0.5, (1 + _CONFIDENCE) / 2)
        if self.counted % 4 == 3 and self.counted >= PROBES_MIN and 0 < at < math.inf:
            if high > at * (1 + WIDEST):
                at *= 1 + WIDEST
            elif low < at / (1 + WIDEST):
                at /= 1 + WIDEST
        if self._held_up_to:
            at = min(at, _UP * self._held_up_to)
        elif self._failed_from < math.inf:
            at = max(at, self._failed_from / _DOWN)
        return min(max(_rounded(at), self._lowest), self._highest)

    def _over(self) -> bool:
        if self.counted >= self._probes_max:
            return True
        if any(self._outside()):
            return True
        low, high = self._quantiles((1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2)
        return self.counted >= PROBES_MIN and low > 0 and high < math.inf and _half_width(low, high) <= self._precision

    def _outside(self) -> tuple[bool, bool]:
        """Whether the edge lies below the lowest rate, above the highest: surely, and seen there more than once."""
        masses = self._weights[:, :, 0].sum(), self._weights[:, :, -1].sum()
        below, above = (bool(mass > _SURE) and probes >= _AT_ENDS for mass, probes in zip(masses, self._at_ends, strict=True))
        return below, above

    def answer(self) -> Answer:
        """Return what is known now: the median, with the interval that has the edge with 95%."""
        low, middle, high = self._quantiles((1 - _CONFIDENCE) / 2, 0.5, (1 + _CONFIDENCE) / 2)
        inside = low > 0 and high < math.inf
        width = _half_width(low, high) if inside else math.inf
        kind = "found" if width <= WIDEST else "inconclusive"
        below, above = self._outside()
        if above:
            kind, middle, low, high = "at-least", self._highest, self._highest, math.inf
        elif below:
            kind, middle, low, high = "below", 0.0, 0.0, self._lowest
        precise = width <= self._precision or kind in ("at-least", "below")
        return Answer(kind, _known(middle), _known(low), _known(high), self.counted, self.invalid, precise)


def _half_width(low: float, high: float) -> float:
    return math.sqrt(high / low) - 1


def _known(rate: float) -> float | None:
    return rate if 0 < rate < math.inf else None


def _rounded(rate: float) -> float:
    """To four digits, which people can read and the noise does not notice."""
    return float(f"{rate:.4g}") if 0 < rate < math.inf else rate
