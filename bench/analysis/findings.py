"""What is to be known of a trial before its figures are believed: a closed set of findings, each with evidence and advice (pure).

Sources: ../docs/method.md, "Validity of a run". A finding is data; the report shows it and keeps what is invalid out of rankings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.analysis import steady


@dataclass(frozen=True)
class Code:
    """One kind of finding. ``invalid``: a variant with a trial that has it is not ranked."""

    code: str
    means: str  # when a trial has it, for docs/method.md
    advice: str
    invalid: bool = False


_REACHED = 0.99
_LUMP = 0.10  # of what was due: beyond it the window is too short to tell a lump from a rate that was not reached
_BUSY = 0.95
_LATE_SHARE = 0.10
_CORES_BUSY = 0.95
_OTHERS_CORES = 0.25
_STEAL = 0.02
_THROTTLED = 0.01
_QUICK_S = 1.0
_CHANGING = ("steps", "ramp", "bursts", "replay")
_EVEN = ("constant", "poisson")  # schedules of which as much is due in each slice of the window
_CLIENTS_FEW = 0.25  # of the cores: below it, a server that has all the rest is not held back by its clients

CODES = (
    Code(
        "rate-not-reached",
        "the slowest group's delivery rate in the window is under 99% of the offered rate, "
        "by more than it once was behind and caught up with in that window",
        "offer less, or give the system more room; its latency is not ranked",
        invalid=True,
    ),
    Code(
        "not-drained",
        "at the drain deadline not all that was acknowledged had arrived",
        "what was still under way is neither delivered nor lost: a longer timing.drain tells",
        invalid=True,
    ),
    Code(
        "sender-late",
        "the sender *woke* late: the p99 of that part of its lateness is, beyond one tick, over 2 ms and over 10% of the end-to-end p99",
        "the machine is too busy for this load: offer less or free a core; this latency is not ranked",
        invalid=True,
    ),
    Code(
        "clock-suspect",
        "a latency below zero",
        "the clocks of producer and consumer differ: see brokerbench doctor",
        invalid=True,
    ),
    Code(
        "saturated",
        "schedule max: read the rate, not the latency",
        "read the rate; a latency at saturation is the length of a queue and is not quoted",
    ),
    Code(
        "closed-loop",
        "schedule closed: the next message waits for the confirmation of one before",
        "a closed loop waits while the system stalls and so hides it: its latency is no user's, and is not ranked with an open loop's",
    ),
    Code(
        "client-bound",
        "a producer or consumer used over 95% of a core: the rate is a lower bound for the server, and printed as `>= x` unless one was "
        "set and reached",
        "the client is the limit: its rate is a lower bound for the server; more producers or members would tell",
    ),
    Code(
        "server-bound",
        "saturated or the rate not reached, and a thread of the server used over 95% of a core, or its nodes 95% of what few clients left",
        "the server is the limit: this is what it does with these settings; more of its threads or nodes would tell",
    ),
    Code(
        "not-steady",
        "first and last third of the window differ by over 10% in rate, or by over 5 ms and a factor of 2 in p50 (how surely: Steady)",
        "the figures depend on how long one looked: a longer timing.warmup, or less load; nothing was trimmed",
    ),
    Code(
        "machine-busy",
        "all cores were over 95% busy in the window",
        "clients and server compete for the cores: the rate is the machine's, not the system's",
    ),
    Code(
        "not-alone",
        "processes that are not of this run used over a quarter of a core in the window",
        "stop what else runs: a latency then is partly theirs",
    ),
    Code(
        "stolen-time",
        "the hypervisor took over 2% of the cores' time, or a quota stopped this run for over 1% of the window",
        "the machine was not all ours: compare only within this run, use more rounds, or raise the quota",
    ),
    Code(
        "collections",
        "Python's collector ran in an endpoint",
        "something enabled Python's collector in an endpoint: its pauses are in the tail",
    ),
    Code(
        "connection",
        "a connection was closed, reconnected, or an acknowledgement failed",
        "a connection did not hold through the trial: look at the server's log",
    ),
    Code(
        "reconnect-unannounced",
        "an endpoint's sockets were replaced by others within the trial, and its adapter told no event",
        "a bug of the adapter: what was under way may be lost or come twice, and nobody can tell why",
    ),
    Code(
        "too-few-samples",
        "under 1,000 latencies: no p99",
        "p99 needs 1,000 samples (10 beyond it): measure for longer",
    ),
    Code(
        "quick",
        "a window under 1 s: no p99.9 is printed",
        "what happens once in a few seconds is not in it: measure for 5 s and more before you rely on it",
    ),
    Code(
        "aa-not-silent",
        "of a point: the same system measured twice differed past interval and margin; no comparison of the point holds",
        "something other than the systems makes rounds differ: nothing is told apart here; look for what else runs, and run again",
    ),
)
"""The closed set. What a release does not know is not taken for harmless: it keeps its variant out of the ranking."""
INVALID = tuple(one.code for one in CODES if one.invalid)
"""Findings after which a variant is not ranked."""
NOTES = frozenset(one.code for one in CODES if not one.invalid)
"""Findings that are printed and leave the rank alone."""
_ADVICE = {one.code: one.advice for one in CODES}


def of(code: str, evidence: str) -> dict[str, str]:
    """One finding of the closed set, as trial.json has it."""
    return {"code": code, "evidence": evidence, "advice": _ADVICE[code]}


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
        _stolen(trial),
        _few(trial),
        _quick(trial),
        _steady(trial),
        _server(trial),
        *_clients(trial),
        *_events(trial),
        _unannounced(trial),
    ]
    return [one for one in found if one is not None]


def _rate(trial: Mapping[str, Any]) -> dict[str, str] | None:
    offered, slowest = trial["rates"]["offered_per_s"], trial["rates"]["slowest_group_per_s"]
    if _saturated(trial):
        return of("saturated", "sent as fast as the system took it")
    if trial["workload"]["schedule"] == "closed":
        return of("closed-loop", f"a producer sent the next message when one of {trial['workload'].get('outstanding', 1):,} was confirmed")
    if not _missed(trial):
        return None
    return of(
        "rate-not-reached",
        f"the slowest group got {slowest:,.0f}/s of {offered:,.0f}/s",
    )


def _drain(trial: Mapping[str, Any]) -> dict[str, str] | None:
    if trial["drained_s"] is not None or trial["status"] != "ok":
        return None
    return of(
        "not-drained",
        f"{trial['workload']['drain_s']:g} s after the load not all that was acknowledged had arrived",
    )


def _late(trial: Mapping[str, Any]) -> dict[str, str] | None:
    late, latency = trial["latency"].get("lateness_woken"), trial["latency"]["end_to_end_intended"]  # blocked is the system's
    if not late or not latency or not late["p99_ns"] or not latency["p99_ns"]:
        return None
    ours = late["p99_ns"] - trial["workload"]["tick_s"] * 1e9  # one tick of lateness is what the scenario asked for
    if ours <= _LATE_SHARE * latency["p99_ns"] or ours < 2e6:
        return None
    return of(
        "sender-late",
        f"the sender woke late: p99 {late['p99_ns'] / 1e6:.1f} ms of {latency['p99_ns'] / 1e6:.1f} ms end to end",
    )


def _clock(trial: Mapping[str, Any]) -> dict[str, str] | None:
    negative = sum(summary["negative"] for summary in trial["latency"].values() if summary)
    if not negative:
        return None
    return of("clock-suspect", f"{negative:,} latencies below zero")


def _collections(trial: Mapping[str, Any]) -> dict[str, str] | None:
    count = sum(side["collections"] or 0 for side in (*trial["producers"], *trial["consumers"]))
    if not count:
        return None
    return of(
        "collections",
        f"{count} garbage collections in the window",
    )


def _machine(trial: Mapping[str, Any]) -> dict[str, str] | None:
    busy = trial["cost"]["machine_busy"]
    if busy is None or busy < _CORES_BUSY:
        return None
    return of(
        "machine-busy",
        f"all cores were {busy:.0%} busy in the window",
    )


def _others(trial: Mapping[str, Any]) -> dict[str, str] | None:
    others = trial["cost"].get("others_cores")
    if others is None:
        return None
    idle = (trial.get("machine") or {}).get("idle_servers_cores") or 0.0  # trials of before it was sampled have none
    if others - idle < _OTHERS_CORES:
        return None
    return of("not-alone", f"processes that are not of this run used {others - idle:.1f} cores in the window")


def _stolen(trial: Mapping[str, Any]) -> dict[str, str] | None:
    machine = trial.get("machine") or {}
    steal, throttled = machine.get("steal"), machine.get("throttled_s")
    told = [f"the hypervisor took {steal:.1%} of the cores' time"] if steal is not None and steal > _STEAL else []
    if throttled is not None and throttled > _THROTTLED * trial["window_s"]:
        told.append(f"its CPU quota stopped this run for {throttled * 1e3:,.0f} ms of {trial['window_s']:g} s")
    return of("stolen-time", "; ".join(told)) if told else None


def _few(trial: Mapping[str, Any]) -> dict[str, str] | None:
    summary = trial["latency"]["end_to_end_intended"]
    if not summary or summary["n"] >= 1000:
        return None
    return of("too-few-samples", f"{summary['n']:,} latencies")


def _quick(trial: Mapping[str, Any]) -> dict[str, str] | None:
    if trial["status"] != "ok" or trial["window_s"] >= _QUICK_S:
        return None
    return of("quick", f"measured for {trial['window_s']:g} s")


def _steady(trial: Mapping[str, Any]) -> dict[str, str] | None:
    """Not beside a rate that was not reached (its backlog grows), nor where the schedule itself is not: of course it is not steady."""
    if trial["workload"]["schedule"] in _CHANGING:
        return None
    told = steady.drift(trial["steady"], saturated=_saturated(trial)) if trial.get("steady") and not _missed(trial) else ""
    return of("not-steady", told) if told else None


def _saturated(trial: Mapping[str, Any]) -> bool:
    return bool(trial["workload"]["schedule"] == "max")


def _missed(trial: Mapping[str, Any]) -> bool:
    """Whether the rate was not reached, by what is missing beyond what a delivery in lumps may leave for after the window."""
    rates = trial["rates"]
    if not missed(rates["offered_per_s"], rates["slowest_group_per_s"]):
        return False
    lumps = _lumps(trial)
    return not lumps or any(
        missed(rates["offered_per_s"], rates["groups"][group] + lump / trial["window_s"]) for group, lump in lumps.items()
    )


def _lumps(trial: Mapping[str, Any]) -> dict[str, float]:
    """By how many messages each group was behind and caught up with; {} where the slices do not tell, or over 1% of all never came.

    A shard that is read five times a second, a sink that waits for its batch: how much is under way at either end of the window is luck,
    and over 1% of a short one. Not where things break: what is made up for after a fault says nothing of lumps.
    """
    seen, load, rates = trial.get("steady") or {}, trial["workload"], trial["rates"]
    slices, arrived = seen.get("slices") or {}, seen.get("n_thirds") or ()
    if load["schedule"] not in _EVEN or trial.get("faults") or not slices or set(slices) != set(rates.get("groups") or ()):
        return {}
    due = rates["offered_per_s"] * trial["window_s"]
    if sum(arrived) < _REACHED * due * len(slices):
        return {}
    return {group: min(steady.caught_up(counts, due), _LUMP * due) for group, counts in slices.items()}


def missed(offered_per_s: float | None, delivered_per_s: float | None) -> bool:
    """Whether the rate was not reached: less was delivered than offered, but for what may be left at the end."""
    return bool(offered_per_s and delivered_per_s is not None and delivered_per_s < _REACHED * offered_per_s)


def _clients(trial: Mapping[str, Any]) -> list[dict[str, str]]:
    window_ns = trial["window_s"] * 1e9
    sides = [("producer", side.get("index"), side["cpu_ns"]) for side in trial["producers"]]
    sides += [("consumer", f"{side['group']}.{side['member']}", side["cpu_ns"]) for side in trial["consumers"]]
    known = [node["cpu_ns"] for node in trial.get("nodes") or () if node["cpu_ns"] is not None]
    server = f"; its server {sum(known) / window_ns:.0%}" if known else ""
    return [
        of("client-bound", f"{role} {name} used {cpu_ns / window_ns:.0%} of a core{server}")
        for role, name, cpu_ns in sides
        if cpu_ns is not None and cpu_ns > _BUSY * window_ns
    ]


def _server(trial: Mapping[str, Any]) -> dict[str, str] | None:
    """Only where more was asked for than came: a server that is busy and keeps up holds nobody back."""
    if not _saturated(trial) and not _missed(trial):
        return None
    window_ns = trial["window_s"] * 1e9
    nodes = [node for node in trial.get("nodes") or () if node["cpu_ns"] is not None]
    for node in nodes:
        thread_ns = node.get("thread_ns")
        if thread_ns is not None and thread_ns > _BUSY * window_ns:
            return of("server-bound", f"a thread of {node['name']} used {thread_ns / window_ns:.0%} of a core")
    cores = (trial.get("machine") or {}).get("cores")
    clients = [side["cpu_ns"] for side in (*trial["producers"], *trial["consumers"])]
    if not cores or not nodes or None in clients:
        return None
    left = cores - sum(clients) / window_ns
    used = sum(node["cpu_ns"] for node in nodes) / window_ns
    if cores - left > _CLIENTS_FEW * cores or used < _BUSY * left:
        return None
    return of("server-bound", f"its server used {used:.1f} of the {left:.1f} cores that the clients left")


def _events(trial: Mapping[str, Any]) -> list[dict[str, str]]:
    told = [event for event in trial["events"] if event["kind"] in ("reconnected", "closed", "ack-failed", "error")]
    if not told:
        return []
    kinds = sorted({event["kind"] for event in told})
    first = told[0]
    return [
        of(
            "connection",
            f"{len(told)} x {', '.join(kinds)}; first: {first['who']} {first['kind']} {first['detail'][:160]}".strip(),
        )
    ]


def _unannounced(trial: Mapping[str, Any]) -> dict[str, str] | None:
    told = [f"{event['who']}: {event['detail']}" for event in trial["events"] if event["kind"] == "unannounced"]
    return of("reconnect-unannounced", "; ".join(told)) if told else None
