"""What having no broker leaves to the application, of each variant without one; what is at risk with a peer's death."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.analysis.summary import VariantPoint
from bench.report import text
from bench.report.figures import name
from bench.report.table import Builder, Cell, Table

_KERNEL = "what the kernel's socket buffers hold"


def table(results: Sequence[VariantPoint]) -> Table | None:
    """A row a variant without an intermediary; None where every one has one. The harness's floor is no variant to choose."""
    builder = Builder(
        "What no broker leaves to the application",
        (
            ("System (client)", False),
            ("Discovery", False),
            ("Start order", False),
            ("Buffering", False),
            ("Retry", False),
            ("Deduplication", False),
            ("At risk, each connection", False),
        ),
        note="A broker does these for its clients, as far as it does. Start order and buffering: as the mode's documentation has them. "
        "At risk: what a connection can hold that is in no other place, from the high-water marks and socket buffers in "
        "force; with the death of either peer so much can be gone, and what is sent while it is away comes on top.",
    )
    without = [r for r in results if not r.variant.get("intermediary") and r.standing != "reference"]
    builder.add("", [_row(result) for result in without])
    return builder.build()


def passing(results: Sequence[VariantPoint]) -> str:
    """Of those with an intermediary that stores nothing, in a sentence; "" where there is none."""
    found = [name(r) for r in results if r.variant.get("intermediary") and not r.variant.get("stores")]
    if not found:
        return ""
    return (
        f"{text.listed(found)}: an intermediary that stores nothing. Peers need its address alone, and every message crosses it; one that "
        "nobody is subscribed to, or that a slow subscriber leaves too long, is gone."
    )


def at_risk(variant: Mapping[str, Any], size_b: float | None) -> str:
    """What one connection from a producer to a consumer can hold, by the settings in force; ``size_b``: of a message."""
    producer, consumer = (_mapping(_mapping(variant.get("settings")).get(side)) for side in ("producer", "consumer"))
    marks = [(key, _whole(side.get(key))) for side, key in ((producer, "sndhwm"), (consumer, "rcvhwm")) if key in side]
    credit = _whole(consumer.get("credit"))
    buffers = [(key, _whole(side.get(key))) for side, key in ((producer, "sndbuf"), (consumer, "rcvbuf")) if key in side]
    said = []
    if credit is not None:
        said.append(f"{text.many(credit, 'message')} of credit, which its producer sends again while it lives")
    if marks:
        told = " + ".join(f"{key} {text.count(value)}" for key, value in marks)
        unbounded = any(value == 0 for _, value in marks)
        total = "without bound" if unbounded else text.many(sum(value or 0 for _, value in marks), "message")
        said.append(f"{total} ({told})")
    if buffers and credit is None:
        said.append(_buffers(buffers, size_b))
    return ", and ".join(said) or "not known"


def _row(result: VariantPoint) -> tuple[str | Cell, ...]:
    variant, mode = result.variant, result.variant.get("mode") or {}
    resends = bool(variant.get("confirms"))
    copies = "; the producer makes a copy for each group" if variant.get("fan_out") == "emulated" else ""
    mean_b = _mapping(result.workload.get("bodies")).get("mean_b")
    return (
        name(result),
        "every peer is told the others' addresses",
        f"late subscriber: {mode.get('late_subscriber', 'not known')}",
        f"slow consumer: {mode.get('slow_consumer', 'not known')}{copies}",
        "its adapter sends again what is not acknowledged, while the producer lives" if resends else "nobody knows what arrived",
        "what is sent again comes twice: by the application" if resends else "nothing is sent again, so nothing to remove",
        at_risk(variant, mean_b if isinstance(mean_b, int | float) else result.point.get("size_b")),
    )


def _buffers(buffers: Sequence[tuple[str, int | None]], size_b: float | None) -> str:
    """Socket buffers of a fixed size in bytes and messages; 0 and -1 leave the size to the kernel."""
    fixed = [(key, value) for key, value in buffers if value is not None and value > 0]
    if len(fixed) < len(buffers):
        return _KERNEL
    total = sum(value for _, value in fixed)
    told = " + ".join(f"{key} {text.count(value)}" for key, value in fixed)
    messages = f", {total / size_b:,.0f} messages of {size_b:,.0f} B" if size_b else ""
    return f"{total:,} B in socket buffers ({told}{messages})"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None
