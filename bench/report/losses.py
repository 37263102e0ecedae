"""What became of acknowledged messages, in words: under faults where a run of them was given, else by the audit of each trial."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench.analysis.summary import VariantPoint
from bench.guarantees.named import BASELINE
from bench.report import text
from bench.report.joining import Evidence

FIRST = ("consumer-kill", "server-kill", "producer-kill")
"""What an architect asks first; then the others, in the order of the matrix."""


def sentence(results: Sequence[VariantPoint], faults: Callable[[VariantPoint], Sequence[Evidence]]) -> str:
    """In words: "neither lost an acknowledged message in 20 consumer kills each (p < 14%)", "none lost in 408,000 deliveries ...".

    Of several faults the first that most of the results were tried with; "" where nothing was audited.
    """
    by_fault: dict[str, dict[str, Evidence]] = {}
    for result in results:
        for one in (one for one in faults(result) if one.fault != BASELINE):
            known = by_fault.setdefault(one.fault, {}).get(result.id)
            if known is None or one.n > known.n:  # of several runs the one that tried most: they are not pooled
                by_fault[one.fault][result.id] = one
    if not by_fault:
        return _audited(results)
    order = sorted(by_fault, key=lambda fault: (-len(by_fault[fault]), FIRST.index(fault) if fault in FIRST else len(FIRST)))
    return _tried(results, by_fault[order[0]], order[0])


def _tried(results: Sequence[VariantPoint], found: dict[str, Evidence], fault: str) -> str:
    tried = [r for r in results if r.id in found]
    evidence = [found[r.id] for r in tried]
    left = [text.variant_name(r.variant) for r in results if r.id not in found]
    missing = f" ({text.listed(left)} not tried)" if left else ""
    if any(one.lost for one in evidence):
        told = "; ".join(f"{text.variant_name(r.variant)} lost messages {events(found[r.id])}" for r in tried)
        return f"under {fault}: {told}{missing}"
    message = "acknowledged message" if all(r.variant.get("confirms") for r in tried) else "message"
    if left or len(tried) == 1:
        told = f"{text.listed(text.variant_name(r.variant) for r in tried)} lost no {message}"
    else:
        told = f"{'neither' if len(tried) == 2 else 'none'} lost {'an' if message[0] == 'a' else 'a'} {message}"
    return f"{told} in {_tries(evidence, fault)} ({bound(max(one.high for one in evidence))}){missing}"


def events(one: Evidence) -> str:
    """In words: "in 12 of 15 (52-96%)", "in none of 20 (p < 14%)"."""
    if not one.lost:
        return f"in none of {one.n} ({bound(one.high)})"
    return f"in {one.lost} of {one.n} ({text.percent(one.low)}{text.DASH}{text.percent(one.high)})"


def bound(high: float) -> str:
    """The upper bound of the probability, at 95%."""
    return f"p < {text.percent(high)}"


def _tries(evidence: Sequence[Evidence], fault: str) -> str:
    counts = sorted({one.n for one in evidence})
    what = f"{fault.removesuffix('-kill')} kill{'s' * (counts != [1])}" if fault.endswith("-kill") else f"injections of {fault}"
    return f"{text.between(counts, str)} {what}{' each' if len(evidence) > 1 else ''}"


def _audited(results: Sequence[VariantPoint]) -> str:
    real = [r for r in results if r.audit]
    if not real:
        return ""
    n = _sum(a.counts.get("processed") for r in real for a in r.audit)
    lost = _sum(a.counts.get("lost") for r in real for a in r.audit)
    disturbed = any(fault.get("injected_s") is not None for r in real for t in r.trials for fault in t.get("faults") or ())
    where = f"in {n:,} deliveries {'under the faults of the scenario' if disturbed else 'without a fault'}"
    return f"{lost:,} lost {where}, as the promise allows" if lost else f"none lost {where}"


def _sum(values: Iterable[int | None]) -> int:
    return sum(value or 0 for value in values)
