"""gate.json of a gate that was never measured: figures are drawn, what is said of them is the gate's own."""

import math
import random

from bench.gate import decision, past
from bench.gate.asked import chosen, show_percent

SIDE = {
    "python": "3.11.7",
    "client": "",
    "client_version": "",
    "packages": {},
    "suite": "s",
    "adapter": "a",
    "revision": None,
    "built": None,
}


def drawn(ratios, *, rounds=16, noise=0.04, seed=0):
    """Figures of a measurement whose head is ``ratios`` times base."""
    source = random.Random(seed)

    def side(times):
        return [times * math.exp(source.gauss(0, noise)) for _ in range(rounds)]

    return {name: {"base": side(1e6), "head": side(1e6 * ratio)} for name, ratio in ratios.items()}


def gate(ratios, *, before=None, alone=False, on_inconclusive=None, head_broken=(), **more):
    """gate.json of head at ``ratios`` of base, each measurement drawn anew; ``before``: a Past that head is held against."""
    asked = chosen(list(ratios), {}, paced=True)
    points = {one.name: one.point if one.point == "full speed" else "at 2,000/s" for one in asked}
    measured, kept = [], []
    for series in range(1 if head_broken else 2):
        figures = drawn(ratios, seed=series, **more)
        found = decision.judged(asked, figures, more.get("rounds", 16))
        measured.append(found)
        why = ("first", "confirmation")[series]
        rows = [] if head_broken else [row.to_json() for row in found.rows]
        kept.append({"why": why, "rounds": 16, "figures": figures, "rows": rows, "lane": found.lane.to_json()})
        if before is not None:
            kept[-1]["past"] = past.rows(asked, before, figures, found.lane.noise, points)
    standings = {} if head_broken or alone else {
        one.name: decision.final([each.rows[i].standing for each in measured]) for i, one in enumerate(asked)
    }  # fmt: skip
    held = past.standings([one["past"] for one in kept]) if before is not None else {}
    together = {**standings, **{f"{name}, past": word for name, word in held.items()}}
    verdict = decision.outcome(together, head_broken=bool(head_broken), base_broken=False)
    reasons = [f"{name}: {show_percent(0.1)}" for name, word in together.items() if word != "passes"]
    return {
        "format": 1, "status": "complete", "scenario": "orders", "base": {"spec": "tcp", **SIDE}, "head": {"spec": "tcp,rev=x", **SIDE},
        "metrics": list(ratios), "points": points, "options": {"max_time_s": 60.0, "rounds": None, "on_inconclusive": on_inconclusive},
        "past": {"source": before.source, "alone": alone, "standings": held} if before is not None else None,
        "rounds": 16, "round_s": 1.0, "seconds": 33.3, "measurements": kept,
        "delivery": {
            "base": {"audits": 32, "broken_groups": 0, "reasons": []},
            "head": {"audits": 32, "broken_groups": len(head_broken), "reasons": list(head_broken)},
        },
        "standings": standings, "verdict": verdict, "reasons": [] if verdict == "passed" else [*head_broken, *reasons],
        "exit_code": decision.exit_code(verdict, on_inconclusive or ""),
    }  # fmt: skip
