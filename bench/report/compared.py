"""A comparison with the best in words: ratio, interval, verdict, and the smallest effect that could have been seen."""

from __future__ import annotations

from bench.analysis.compare import ALPHA, POWER, Comparison
from bench.analysis.summary import NOT_SILENT, Place, PointSummary
from bench.report import text

TOO_CLOSE = "too close to call"
AT_LEAST = "\">=\": the client's CPU was the limit, so the rate is a lower bound of the system's and the rank is of the pair."


def cell(place: Place) -> str:
    """For a table: the ratio with its interval; the verdict where it is not "told apart"; from which ratio on it would have shown."""
    comparison = place.comparison
    if comparison is None:
        ratio = text.times(place.ratio) or "best"
        return f"{ratio},\n{TOO_CLOSE}" if place.close else ratio
    effect = comparison.effect
    if effect.ratio is None:
        return _why(comparison)
    ratio = text.ratio(effect.ratio, effect.low, effect.high)
    words = [ratio, *([_why(comparison)] if place.close else []), _visible(comparison)]
    return ",\n".join(word for word in words if word)


def sentence(place: Place) -> str:
    """For the answer in words, in brackets: "(ratio 1.32, 1.21-1.45)"; what the two figures are is said once for all of a point."""
    comparison = place.comparison
    if comparison is None:
        return _ranged(place)
    effect = comparison.effect
    words = []
    if effect.ratio is not None:
        words.append(f"ratio {text.number(effect.ratio)}")
    if effect.low is not None and effect.high is not None:
        words.append(f"{text.number(effect.low)}{text.DASH}{text.number(effect.high)}")
    if place.close and _why(comparison) != TOO_CLOSE:
        words.append(_why(comparison))
    return f"({', '.join(words)})" if words else ""


def note(point: PointSummary) -> str:
    """What the intervals of a point's table are, and what they are not; "" where it has none."""
    found = [p.comparison for b in point.boards for p in b.places if p.comparison]
    if not found:
        return ""
    rounds, series = max(c.effect.rounds for c in found), max(c.effect.series for c in found)
    start = (
        "the rounds are of one series (one start of servers and clients), and the intervals hold for that start"
        if series == 1
        else f"the rounds are of {series} series (starts of servers and clients), and the intervals allow for what differs between starts"
    )
    among = f"p, adjusted for false discovery among {point.family} comparisons, is at most {ALPHA:g} and " if point.family > 1 else ""
    leaves = "" if among else f"the {1 - ALPHA:.0%} interval leaves 1 out and "
    return (
        f"Ratio to the best: of {rounds} paired rounds (Hodges-Lehmann), {1 - ALPHA:.0%} interval in brackets; {start}. "
        f"Told apart where {among}{leaves}the ratio is past {found[0].metric.margin:.0%}; the rest is too close to call and "
        f"shares its ranks. Visible from: the smallest difference that these rounds would have told apart {POWER:.0%} of the time."
    )


def noise_floor(point: PointSummary) -> str:
    """What the same system measured twice differed by, in a sentence; "" where none was."""
    lane = point.lane
    if lane is None:
        return ""
    first = lane.repeats[0]
    others = "".join(f", {text.number(one.noise)}{text.TIMES} in {one.metric.name}" for one in lane.repeats[1:])
    told = f"the same system measured twice differed by up to {text.number(first.noise)}{text.TIMES} in {first.metric.name}"
    return f"{told}{others} ({text.many(first.rounds, 'round')} of {', '.join(lane.systems)})"


def _why(comparison: Comparison) -> str:
    if comparison.verdict == "same":
        return f"the same within {comparison.metric.margin:.0%}"
    if comparison.why == NOT_SILENT:
        return f"{TOO_CLOSE}: {NOT_SILENT}"
    if comparison.missing:
        count = len(comparison.effect.unpaired)
        return f"not compared: {count} {'round lacks' if count == 1 else 'rounds lack'} a figure"
    return TOO_CLOSE


def _visible(comparison: Comparison) -> str:
    if comparison.smallest is None:
        return ""
    # On the side where a worse one would stand: a rate falls below the best's, a latency rises above it.
    seen = 1 / comparison.smallest if comparison.metric.higher_is_better else comparison.smallest
    return f"visible from {text.number(seen)}{text.TIMES}"


def _ranged(place: Place) -> str:
    ratio = place.ratio
    if ratio is None:
        return ""
    between = f", {text.number(ratio.low)}{text.DASH}{text.number(ratio.high)}" if ratio.rounds > 1 else ""
    return f"(ratio {text.number(ratio.median)}{between})"
