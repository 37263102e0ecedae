"""How it was measured and judged, in a few sentences for each kind of run; docs/method.md and docs/guarantees.md say it whole."""

from __future__ import annotations

from bench.report.collection import Collection
from bench.report.view import Block

SPEED = (
    "Open loop: each message has an intended send time, and end-to-end latency runs from it, so that a sender that stalls "
    "does not hide its own delay. Percentiles come from histograms merged over rounds, never from averaged percentiles, and "
    "are printed only with at least ten samples beyond them. No latency is quoted from a saturated trial. Every variant ran "
    "once in each round, in random order; one of them twice, unless lanes were left out (the A/A lane), which shows what the same system "
    "differs by. "
    "Ratios compare rounds: each round's value to the best one's in the same round. Below six rounds their median and range "
    "are printed, which is no confidence interval; from six on the Hodges-Lehmann estimate with its exact signed-rank "
    "interval. Delivery rate is that of the slowest group."
)
CAPACITY = (
    "Held is: the slowest group got at least 99% of what was offered, but for deliveries in lumps (no finding rate-not-reached), "
    "the backlog was gone within a second of the load's end, "
    "the audit found nothing lost and no promise broken, and {objective} from the intended send time. Each probe is a trial "
    "of its own. The search bisects by probability: every answer of a probe is weighed by how likely it was, stalls and noise "
    "included, so that one lucky or unlucky probe decides nothing. Latencies of the sweep come from histograms merged over "
    "its rounds."
)
FAULTS = (
    "n counts injections of a fault with something in flight, not messages: losses within one crash are correlated. No event "
    "in n bounds its probability below 1 - 0.05^(1/n) at 95%; of m events in n the exact interval is given. Observed says "
    "what the counts are consistent with, never that a promise is kept: absence in n tries is luck with a bound. Violated: "
    "the mode's promise forbids what was seen. A surprise is what the documentation of this fault does not predict, or the "
    "lack of what it says must show. A killed process loses nothing that the kernel holds: none of this tests fsync."
)


def paragraphs(collection: Collection, objectives: tuple[str, ...]) -> list[Block]:
    """Of the kinds that the page reports on; ``objectives``: what the capacity runs searched for."""
    said = [SPEED] if collection.runs else []
    said += [CAPACITY.format(objective=" or ".join(objectives))] if objectives else []
    said += [FAULTS] if collection.guarantees else []
    return [Block("text", words) for words in said]
