"""Whether a producer may spin between messages: only where a core is free for it, and never beside Python threads of its client."""

from __future__ import annotations

from dataclasses import replace

from adapters.capabilities import Capabilities
from bench.workload import Workload

FALLBACK_S = 100e-6


def settled(load: Workload, capabilities: Capabilities, *, nodes: int, cores: int) -> tuple[Workload, str]:
    """Return the workload with the tick that is possible here, and why it is not the one asked for ("" where it is).

    ``nodes``: server processes. A spinning producer that shares its core takes turns with what it waits for; one whose client runs
    Python threads keeps the interpreter from them (kafka-python at 5,000/s: p50 of 12 ms and more against 1.5 ms asleep).
    """
    if load.tick_s:
        return load, ""
    processes = load.producers + sum(members for _, members in load.groups) + nodes
    if capabilities.threads:
        why = "the client runs Python threads"
    elif processes >= cores:
        why = f"{processes} busy processes and {cores} cores: none is free"
    else:
        return load, ""
    return replace(load, tick_s=FALLBACK_S), f"no spinning, {why}: a tick of {FALLBACK_S * 1e6:.0f} us instead"
