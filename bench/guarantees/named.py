"""The faults of the matrix by name: what is broken, how long it lasts, how soon the next may come (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.guarantees.timers import Timers

BASELINE = "baseline"


def _nothing(timers: Timers) -> float:
    del timers
    return 0.0


@dataclass(frozen=True)
class Named:
    """A fault by name; ``fault`` and ``more`` as a scenario has them. Times in seconds, by the timers of the system."""

    title: str
    fault: str = ""
    on: str = ""  # "server", "producer", "consumer" (one member), "group" (all of them), "link" (the way to the server, or to a peer)
    lasts: Callable[[Timers], float] = _nothing
    recovers: Callable[[Timers], float] = _nothing  # after the heal
    more: Mapping[str, str] = field(default_factory=dict)
    at_start: bool = False  # once a load, as it begins
    members: int = 1  # of a group, where members can share its work
    target: str = ""  # of "server", where it is not the first node
    where: Mapping[str, str] = field(default_factory=dict)  # options of the server without which there is nothing to try it on


FAULTS: Mapping[str, Named] = {
    BASELINE: Named("nothing is broken"),
    "consumer-kill": Named(
        "a consumer is killed (SIGKILL) and started again", "kill", "consumer", lambda _: 0.3, lambda t: t.handover_s + t.endpoint_s
    ),
    "producer-kill": Named(
        "the producer is killed (SIGKILL) and started again", "kill", "producer", lambda _: 0.3, lambda t: t.endpoint_s + 1
    ),
    "server-kill": Named("the server is killed (SIGKILL) and started again", "kill", "server", lambda _: 0.3, lambda t: t.restart_s),
    "leader-kill": Named(
        "the node that leads is killed (SIGKILL), another leads in its place, and it is started again", "kill", "server",
        lambda t: t.failover_s + 1, lambda t: t.restart_s + 2, target="server.leader", where={"nodes": "3"},
    ),
    "zookeeper-kill": Named(
        "the first server of ZooKeeper, which keeps the cluster's metadata, is killed (SIGKILL) and started again", "kill", "server",
        lambda _: 3.0, lambda t: t.restart_s, target="zookeeper.1", where={"metadata": "zookeeper"},
    ),
    "server-stop": Named("the server is stopped in order and started again", "stop", "server", lambda _: 0.5, lambda t: t.restart_s + 1),
    "server-pause": Named(
        "the server stands still (SIGSTOP) past the time-outs", "pause", "server", lambda t: t.silence_s + 2, lambda t: t.restart_s / 2 + 1
    ),
    "black-hole-short": Named(
        "nothing comes through for a second: shorter than all time-outs", "network", "link", lambda _: 1.0, lambda _: 1.0,
        {"toxic": "timeout"},
    ),
    "black-hole-long": Named(
        "nothing comes through for longer than the time-outs", "network", "link", lambda t: t.silence_s + 2, lambda t: t.handover_s + 1,
        {"toxic": "timeout"},
    ),
    "reset": Named("connections are reset (RST)", "network", "link", lambda _: 0.3, lambda t: t.handover_s + 1, {"toxic": "reset_peer"}),
    "latency": Named(
        "the way takes 50 ms more, +-10 ms", "network", "link", lambda _: 2.0, _nothing,
        {"toxic": "latency", "latency": "50 ms", "jitter": "10 ms"},
    ),
    "slow-consumer": Named("a consumer takes ten times as long for a message", "slow", "consumer", lambda _: 2.0, lambda _: 1.0),
    "zombie-consumer": Named(
        "a consumer stands still (SIGSTOP) past its lease, then goes on", "pause", "consumer",
        lambda t: max(t.handover_s, t.silence_s) + 2, lambda t: t.handover_s + 1, members=2,
    ),
    "away": Named("all consumers close in order and come back", "away", "group", lambda _: 2.0, lambda t: t.endpoint_s + 1),
    "late-subscriber": Named(
        "consumers leave with the first messages and come two seconds later", "away", "group", lambda _: 2.0, lambda t: t.endpoint_s + 1,
        at_start=True,
    ),
}  # fmt: skip
