"""``brokerbench servers status``: the servers that are kept here, and what they say of themselves now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import servers
from bench.servers import keeper
from bench.servers.base import Status


def now(system: str) -> dict[str, Any] | None:
    """The state of a kept server, with "now": what it says, or "error"; None where none is kept."""
    state = keeper.status(system)
    if state is None:
        return None
    ask: Status | None = getattr(servers.recipe(system), "status", None)
    if ask is None:
        return state
    try:
        return {**state, "now": ask(state["nodes"], Path(state["folder"]))}
    except (OSError, ValueError) as error:
        return {**state, "error": str(error)}


def lines(state: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    yield f"{state['system']}: {state['product']} {state['version']} ({state['kind']}; keeper pid {state['pid']})"
    width = max(len(node["name"]) for node in state["nodes"])
    for node in state["nodes"]:
        yield f"    {node['name']:<{width}}  {node['role']} at {node['address']}" + (f" (pid {node['pid']})" if node["pid"] else "")
    for name, value in state.get("now", {}).items():
        yield f"    {name}: {_shown(value)}"
    if "error" in state:
        yield f"    does not answer: {state['error']}"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items()) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
