"""The answer in one sentence a point, for the command line and the first screen."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.summary import RATE_NOT_REACHED, Board, PointSummary, RunLike, VariantPoint, summarise
from bench.report import compared, text

STANDING = {
    "tuned": "tuned",
    "reference": "reference",
    "emulator": "emulator",
    "rate-not-reached": "rate not reached",
    "not-valid": "not valid",
    "violated": "promise broken",
    "failed": "failed",
    "unsupported": "unsupported",
}


def place(results: Sequence[VariantPoint]) -> str:
    """Where it was measured: said in every headline."""
    far = sorted({text.variant_name(r.variant) for r in results if (r.server or {}).get("kind") == "external"})
    return "loopback, shared cores" + (f"; external server: {text.listed(far)}" if far else "")


def verdict(run: RunLike) -> str:
    """One line a point; a line that says so where nothing was measured."""
    points = summarise(run)
    name = str(run.run.get("scenario") or "the scenario")
    if not points:
        return f"{name}: nothing was measured{_not_run(run)}."
    lines = [sentence(name, point) for point in points]
    left = _not_run(run)
    return "\n".join([*lines, f"{name}{left}."] if left else lines)


def sentence(scenario: str, point: PointSummary) -> str:
    """One point's answer: who leads within each promise, by how much, what was lost, what stands apart."""
    rounds = max((len({(t.get("series"), t.get("round")) for t in r.trials}) for r in point.results), default=0)
    what = "intervals" if point.family else "range"
    ranges = f"{what} over {rounds} rounds" if rounds > 1 else "one round, so no order is established"
    head = "".join(f"{finding.code}: {finding.evidence}; {finding.advice}. " for finding in point.findings)
    head += f"{scenario} {text.at(point.point)} ({place(point.results)}; {ranges}): "
    boards = [_board(board, point.by) for board in point.boards]
    parts = ["; ".join(boards) or "nothing could be ranked", _audit(point.results)]
    parts += [*_apart(point), _bound(point), compared.noise_floor(point)]
    return head + ". ".join(p for p in parts if p) + "."


def _bound(point: PointSummary) -> str:
    """Said where a lower bound is printed: a rate that the ranking goes by."""
    bound = point.by == "rate" and any(place.result.at_least for board in point.boards for place in board.places)
    return compared.AT_LEAST.removesuffix(".") if bound else ""


def figure(result: VariantPoint, by: str) -> str:
    """What the ranking goes by, in words."""
    if by == "rate":
        bound = ">= " if result.at_least else ""
        return f"{bound}{text.number(result.rate.median)}/s" if result.rate else text.NONE
    e2e = result.latency.get("e2e")
    return text.duration(e2e.p99_ns if e2e else None)


def _board(board: Board, by: str) -> str:
    what = "delivery rate" if by == "rate" else "p99"
    name = text.promise(board.delivery)
    best = board.places[0].result
    if len(board.places) == 1:
        return f"{name}: {text.variant_name(best.variant)}, {what} {figure(best, by)}, alone in its class"
    close = [p for p in board.places if p.close]
    rest = [p for p in board.places[1:] if not p.close]
    if close:
        where = "in" if by == "rate" else "at"
        # Below six rounds the ranges of what is close say nothing that the table does not.
        others = (f"{_with_figure(p.result, by)} {compared.sentence(p) if p.comparison else ''}".rstrip() for p in close)
        told = f"{text.listed([_with_figure(best, by), *others])} {compared.TOO_CLOSE} {where} {what}"
    else:
        told = f"{text.variant_name(best.variant)} leads with {what} {figure(best, by)}"
    behind = ", ".join(f"{_with_figure(p.result, by)} {compared.sentence(p)}".rstrip() for p in rest)
    label = "" if board.same_acknowledgement else " (their acknowledgements mean different things)"
    return f"{name}{label}: {told}{f', then {behind}' if behind else ''}"


def _with_figure(result: VariantPoint, by: str) -> str:
    return f"{text.variant_name(result.variant)} {figure(result, by)}"


def _audit(results: Sequence[VariantPoint]) -> str:
    real = [r for r in results if r.audit and not r.emulator]
    if not real:
        return ""
    broken = [text.variant_name(r.variant) for r in real if any(a.verdict == "violated" for a in r.audit)]
    if broken:
        return f"{text.listed(broken)} broke what the mode promises and so takes no rank"
    doubtful = [text.variant_name(r.variant) for r in real if any(a.verdict == "undetermined" for a in r.audit)]
    n = sum(a.counts.get("processed") or 0 for r in real for a in r.audit)
    lost = sum(a.counts.get("lost") or 0 for r in real for a in r.audit)
    told = f"No promise was seen broken in {n:,} deliveries"
    if lost:
        told += f" ({lost:,} lost where the mode allows it)"
    return told + (f"; undetermined for {text.listed(doubtful)}" if doubtful else "")


def _apart(point: PointSummary) -> list[str]:
    said = []
    # What broke its promise was just said; the table says the rest.
    out = [r for r in point.apart if r.standing not in {"tuned", "reference", "violated"}]
    if out:
        said.append("Not ranked: " + "; ".join(f"{text.variant_name(r.variant)}, {_reason(r)}" for r in out))
    if point.emulators:
        names = text.listed(f"{text.variant_name(r.variant)} on {(r.server or {}).get('product')}{_slow(r)}" for r in point.emulators)
        said.append(f"Apart, because the server only imitates the service: {names}")
    return said


def _reason(result: VariantPoint) -> str:
    state = STANDING[result.standing]
    return state if result.standing == RATE_NOT_REACHED else f"{state} ({text.shortened(result.why)})"


def _slow(emulated: VariantPoint) -> str:
    return " (rate not reached)" if any(f.code == RATE_NOT_REACHED for f in emulated.findings) else ""


def _not_run(run: RunLike) -> str:
    rows = run.run.get("not_run") or ()
    return "" if not rows else ", not run: " + "; ".join(f"{row.get('variant')} ({row.get('reason')})" for row in rows)
