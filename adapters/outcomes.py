"""How an adapter tells what became of messages whose ids come one by one."""

from __future__ import annotations

from collections.abc import Collection

from adapters.base import Outcomes, Status


def tell(outcomes: Outcomes, ids: Collection[int], status: Status) -> None:
    """Report ``ids``, each once and in any order: neighbours in one report."""
    if not ids:
        return
    first = min(ids)
    if max(ids) - first == len(ids) - 1:
        outcomes.run(first, len(ids), status)
    else:
        outcomes.some(sorted(ids), status)
