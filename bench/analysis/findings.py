"""What is to be known of a trial before its figures are believed: a closed set of findings, each with evidence and advice (pure).

Sources: ../docs/method.md, "Validity of a run". A finding is data; the report shows it and keeps what is invalid out of rankings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INVALID = ("rate-not-reached", "not-drained", "sender-late", "clock-suspect")
"""Findings after which a trial's latency is not ranked."""

_REACHED = 0.99
_BUSY = 0.95
_LATE_SHARE = 0.10
_CORES_BUSY = 0.95
_OTHERS_CORES = 0.25


def of_trial(trial: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the findings of one trial.json (without its "findings") as {code, evidence, advice}."""
    found = [
        _rate(trial),
        _drain(trial),
        _late(trial),
        _clock(trial),
        _collections(trial),
        _machine(trial),
        _others(trial),
        _few(trial),
        *_clients(trial),
        *_events(trial),
    ]
    return [one for one in found if one is not None]


def _finding(code: str, evidence: str, advice: str) -> dict[str, str]:
    return {"code": code, "evidence": evidence, "advice": advice}


def _rate(trial: Mapping[str, Any]) -> dict[str, str] | None:
    offered, slowest = trial["rates"]["offered_per_s"], trial["rates"]["slowest_group_per_s"]
    if trial["workload"]["schedule"] == "max":
        return _finding(
            "saturated",
            "sent as fast as the system took it",
            "read the rate; a latency at saturation is the length of a queue and is not quoted",
        )
    if not offered or slowest is None or slowest >= _REACHED * offered:
        return None
    return _finding(
        "rate-not-reached",
        f"the slowest group got {slowest:,.0f}/s of {offered:,.0f}/s",
        "offer less, or give the system more room; its latency is not ranked",
    )


def _drain(trial: Mapping[str, Any]) -> dict[str, str] | None:
    if trial["drained_s"] is not None or trial["status"] != "ok":
        return None
    return _finding(
        "not-drained",
        f"{trial['workload']['drain_s']:g} s after the load not all that was acknowledged had arrived",
        "what was still under way is neither delivered nor lost: a longer timing.drain tells",
    )


def _late(trial: Mapping[str, Any]) -> dict[str, str] | None:
    late, latency = trial["latency"]["lateness"], trial["latency"]["end_to_end_intended"]
    if not late or not latency or not late["p99_ns"] or not latency["p99_ns"] or trial["workload"]["schedule"] == "max":
        return None
    ours = late["p99_ns"] - trial["workload"]["tick_s"] * 1e9  # one tick of lateness is what the scenario asked for
    blocked_s = max((producer["blocked_s"] for producer in trial["producers"]), default=0.0)
    if ours <= _LATE_SHARE * latency["p99_ns"] or blocked_s > 0.01 * trial["window_s"] or ours < 2e6:
        return None
    return _finding(
        "sender-late",
        f"the sender woke late: p99 {late['p99_ns'] / 1e6:.1f} ms of {latency['p99_ns'] / 1e6:.1f} ms end to end",
        "the machine is too busy for this load: offer less or free a core; this latency is not ranked",
    )


def _clock(trial: Mapping[str, Any]) -> dict[str, str] | None:
    negative = sum(summary["negative"] for summary in trial["latency"].values() if summary)
    if not negative:
        return None
    return _finding(
        "clock-suspect", f"{negative:,} latencies below zero", "the clocks of producer and consumer differ: see brokerbench doctor"
    )


def _collections(trial: Mapping[str, Any]) -> dict[str, str] | None:
    count = sum(side["collections"] or 0 for side in (*trial["producers"], *trial["consumers"]))
    if not count:
        return None
    return _finding(
        "collections",
        f"{count} garbage collections in the window",
        "something enabled Python's collector in an endpoint: its pauses are in the tail",
    )


def _machine(trial: Mapping[str, Any]) -> dict[str, str] | None:
    busy = trial["cost"]["machine_busy"]
    if busy is None or busy < _CORES_BUSY:
        return None
    return _finding(
        "machine-busy",
        f"all cores were {busy:.0%} busy in the window",
        "clients and server compete for the cores: the rate is the machine's, not the system's",
    )


def _others(trial: Mapping[str, Any]) -> dict[str, str] | None:
    others = trial["cost"].get("others_cores")
    if others is None or others < _OTHERS_CORES:
        return None
    return _finding(
        "not-alone",
        f"other processes used {others:.1f} cores in the window",
        "stop what else runs: a latency then is partly theirs (the idle systems of this run cost about 0.1 core)",
    )


def _few(trial: Mapping[str, Any]) -> dict[str, str] | None:
    summary = trial["latency"]["end_to_end_intended"]
    if not summary or summary["n"] >= 1000:
        return None
    return _finding("too-few-samples", f"{summary['n']:,} latencies", "p99 needs 1,000 samples (10 beyond it): measure for longer")


def _clients(trial: Mapping[str, Any]) -> list[dict[str, str]]:
    window_ns = trial["window_s"] * 1e9
    sides = [("producer", side.get("index"), side["cpu_ns"]) for side in trial["producers"]]
    sides += [("consumer", f"{side['group']}.{side['member']}", side["cpu_ns"]) for side in trial["consumers"]]
    return [
        _finding(
            "client-bound",
            f"{role} {name} used {cpu_ns / window_ns:.0%} of a core",
            "the client is the limit: its rate is a lower bound for the server; more producers or members would tell",
        )
        for role, name, cpu_ns in sides
        if cpu_ns is not None and cpu_ns > _BUSY * window_ns
    ]


def _events(trial: Mapping[str, Any]) -> list[dict[str, str]]:
    told = [event for event in trial["events"] if event["kind"] in ("reconnected", "closed", "ack-failed", "error")]
    if not told:
        return []
    kinds = sorted({event["kind"] for event in told})
    first = told[0]
    return [
        _finding(
            "connection",
            f"{len(told)} x {', '.join(kinds)}; first: {first['who']} {first['kind']} {first['detail'][:160]}".strip(),
            "a connection did not hold through the trial: look at the server's log",
        )
    ]
