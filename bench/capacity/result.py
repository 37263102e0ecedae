"""What probes and a sweep add up to: whose limit it was, where the knee is, what more producers changed (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

FILE = "capacity.json"
NEAR = 1.25  # probes within this factor of the answer say whose limit it is
KNEE = 2.0  # a latency that many times the one at low load
GROWN = 1.10  # a capacity has grown with the producers when it has by this factor, and the intervals are apart
_LOW_LOAD = 0.5  # shares up to this one are low load

Json = Mapping[str, Any]


def limit(probes: Sequence[Json], answer: Json) -> dict[str, str]:
    """Whose limit the answer is: {"by": client | machine | system | search, "evidence"}.

    By the probes near the answer that did not hold: what most of them ran into. "search": nothing failed there.
    """
    edge = answer["rate_per_s"]
    reach = (0.0, float("inf")) if edge is None else (edge / NEAR, edge * NEAR)  # None: none held
    near = [p for p in probes if p["phase"] == "search" and p["by"] and reach[0] <= p["rate_per_s"] <= reach[1]]
    if not near or answer["kind"] == "at-least":
        return {"by": "search", "evidence": "no rate that was tried failed"}
    by = Counter(p["by"] for p in near).most_common(1)[0][0]
    nearest = min(near, key=lambda p: abs(p["rate_per_s"] - (edge or 0.0)))
    return {"by": by, "evidence": f"{nearest['why']} {usage(nearest)}"}


def usage(probe: Json) -> str:
    """Who used how much of the machine in a probe, in words."""
    told = [f"at {rate(probe['rate_per_s'])}/s"]
    for name, key in (("busiest producer", "producer_cores"), ("busiest consumer", "consumer_cores"), ("server", "server_cores")):
        if probe.get(key) is not None:
            told.append(f"{name} {probe[key]:.2f} cores")
    if probe.get("machine_busy") is not None:
        told.append(f"machine {probe['machine_busy']:.0%} busy")
    return ", ".join(told)


def bound(search: Json) -> str:
    """What stands before the rate: ">= " where not the server but a client, the machine or the search was the limit."""
    at_least = search["answer"]["kind"] == "at-least" or (search.get("limit") or {}).get("by") in ("client", "machine")
    return ">= " if at_least else ""


def knee(sweep: Sequence[Json], key: str) -> dict[str, Any] | None:
    """Where latency leaves its low-load value for good: between which loads it passes twice that value.

    The low-load value is the smallest at up to half of the capacity (the very lowest load is often slower: everything sleeps).
    None where latency stays below it up to the highest load, or nothing was measured at low load.
    """
    known = sorted((row for row in sweep if row[key] is not None), key=lambda row: float(row["rate_per_s"]))
    low = [row[key] for row in known if row["share"] <= _LOW_LOAD]
    if not low:
        return None
    base = min(low)
    above = len(known)
    while above > 0 and known[above - 1][key] > KNEE * base:
        above -= 1
    if above == len(known):
        return None
    before = known[above - 1] if above else None
    return {
        "base_ns": base,
        "after_per_s": before and before["rate_per_s"],
        "by_per_s": known[above]["rate_per_s"],
        "after_share": before and before["share"],
        "by_share": known[above]["share"],
    }


def conclude(searches: Sequence[Json]) -> list[dict[str, Any]]:
    """Say, where a variant was searched with several numbers of producers, whether the client was the limit or the system."""
    found = []
    groups: dict[str, list[Json]] = {}
    for one in searches:
        place = {name: value for name, value in one["point"].items() if name != "producers"}
        groups.setdefault(f"{one['variant']} {place}", []).append(one)
    for together in groups.values():
        known = [one for one in together if one.get("answer") and one["answer"]["rate_per_s"] and one["answer"]["kind"] != "inconclusive"]
        if len(known) < 2:
            continue
        first, best = known[0], max(known[1:], key=lambda one: float(one["answer"]["rate_per_s"]))
        ratio = best["answer"]["rate_per_s"] / first["answer"]["rate_per_s"]
        apart = (first["answer"]["high_per_s"] or float("inf")) < (best["answer"]["low_per_s"] or 0)
        grown = ratio >= GROWN and apart
        found.append(
            {
                "variant": first["variant"], "point": {name: value for name, value in first["point"].items() if name != "producers"},
                "limit": "client" if grown else "system", "ratio": ratio,
                "said": f"{best['producers']} producers instead of {first['producers']}: {ratio:.2f} times the rate"
                + (", so the client was the limit" if grown else ", so not the client was the limit: " + _what(best)),
                "evidence": (best.get("limit") or {}).get("evidence", ""),
            }
        )  # fmt: skip
    return found


def _what(search: Json) -> str:
    return "the machine's cores were all busy" if (search.get("limit") or {}).get("by") == "machine" else "the system was"


def rate(per_s: float) -> str:
    """Three digits, which is what an interval of a few percent bears: 18,700."""
    return f"{float(f'{per_s:.3g}'):,.0f}" if per_s >= 100 else f"{per_s:.3g}"


def sentence(search: Json, name: str, objective: object) -> str:
    """One search's answer, for the command line and the first screen."""
    answer = search["answer"]
    who = f"{name}, {search['producers']} producer{'s' if search['producers'] > 1 else ''}"
    if answer is None:
        return f"{who}: {search['status']}{': ' if search['reason'] else ''}{search['reason'] or ''}"
    if answer["kind"] == "below":
        return f"{who}: {objective} does not hold even at {rate(answer['high_per_s'])}/s"
    if answer["kind"] == "inconclusive":
        return f"{who}: no answer after {answer['probes']} probes"
    limited = {"client": "the client is the limit", "machine": "the machine's cores are the limit", "search": "no higher rate was tried"}
    by = limited.get((search["limit"] or {}).get("by", ""))
    ends = f" (95%: {rate(answer['low_per_s'])} to {rate(answer['high_per_s'])}/s)" if answer["high_per_s"] else ""
    return f"{who}: {objective} holds up to {'at least ' * bool(bound(search))}{rate(answer['rate_per_s'])}/s{ends}" + (
        f"; {by}" if by else ""
    )


def knee_words(found: Json | None, percentile: str) -> str:
    """Where the knee is, in words."""
    if found is None:
        return "none up to the highest load"
    start = f"{found['after_share']:.0%} and " if found["after_share"] is not None else ""
    where = f"between {start}{found['by_share']:.0%}" if start else f"below {found['by_share']:.0%}"
    return f"{where} ({percentile} over {KNEE:g} x {found['base_ns'] / 1e6:.3g} ms)"
