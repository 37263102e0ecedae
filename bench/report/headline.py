"""The answer in one sentence a point, for the command line and the first screen; what else is to be known stands in short lines below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.analysis.compare import ALPHA
from bench.analysis.summary import RATE_NOT_REACHED, VERDICTS, Board, PointSummary, RunLike, VariantPoint
from bench.report import clients, compared, losses, text
from bench.report.joining import Evidence

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
_NO_SYSTEM = {"reference", "violated"}
BEHIND_MAX = 3
"""So many systems behind the best are named in a sentence; the table has all."""

Faults = Callable[[VariantPoint], Sequence[Evidence]]
"""What faults did to a variant, where a run of them was given: bench.report.collection.Collection.faults."""


@dataclass(frozen=True)
class Answer:
    """One point's answer: a sentence of ``condition`` and ``told``; ``alarms`` are read before it, ``lines`` (label, words) after it."""

    condition: str  # "order-events at 2,000/s, 256 B, at-least-once, loopback on shared cores (95% intervals over 8 rounds)"
    told: str
    alarms: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]

    @property
    def sentence(self) -> str:
        """The whole of it."""
        return f"{self.condition}: {self.told}."

    @property
    def plain(self) -> str:
        """For the terminal: what speaks against it, the sentence, the lines indented."""
        return "\n".join([*self.alarms, self.sentence, *(f"    {label}: {words}." for label, words in self.lines)])


def nothing(_: VariantPoint) -> Sequence[Evidence]:
    """Where no run of faults was given."""
    return ()


def place(results: Sequence[VariantPoint]) -> str:
    """Where it was measured: said in every headline."""
    far = sorted({text.variant_name(r.variant) for r in results if (r.server or {}).get("kind") == "external"})
    pinned = {bool((t.get("placement") or {}).get("pinned")) for r in results for t in r.trials}
    where = {True: "loopback, pinned to cores of their own", False: "loopback on shared cores"}[pinned == {True}] if pinned else "loopback"
    return where + (f", external server of {text.listed(far)}" if far else "")


def verdict(run: RunLike, faults: Faults, points: Sequence[PointSummary]) -> str:
    """The answers of a run, of which ``points`` is the summary; a line that says so where nothing was measured."""
    name = str(run.run.get("scenario") or "the scenario")
    if not points:
        return f"{name}: nothing was measured{_not_run(run)}."
    lines = [answer(name, point, faults).plain for point in points]
    left = _not_run(run)
    return "\n".join([*lines, f"{name}{left}."] if left else lines)


def answer(scenario: str, point: PointSummary, faults: Faults = nothing) -> Answer:
    """Who leads among what promises the same, by how much, what was lost; then what else was promised, and what stands apart."""
    main = next((board for board in point.boards if len(board.places) > 1), None)
    promise = f", {_promise(main)}" if main else ""
    condition = f"{scenario} {text.at(point.point)}{promise}, {place(point.results)} ({_rounds(point)})"
    told = [_board(main, point.by) if main else _unranked(point), _lost(main, point, faults), *_broken(point)]
    alarms = tuple(f"{finding.code}: {finding.evidence}; {finding.advice}." for finding in point.findings)
    return Answer(condition, "; ".join(part for part in told if part), alarms, tuple(_lines(point, main, faults)))


def figure(result: VariantPoint, by: str) -> str:
    """What the ranking goes by, in words."""
    if by == "rate":
        bound = ">= " if result.at_least else ""
        return f"{bound}{text.number(result.rate.median)}/s" if result.rate else text.NONE
    e2e = result.latency.get("e2e")
    return text.duration(e2e.p99_ns if e2e else None)


def _rounds(point: PointSummary) -> str:
    rounds = max((len({(t.get("series"), t.get("round")) for t in r.trials}) for r in point.results), default=0)
    series = len({t.get("series") for r in point.results for t in r.trials})
    if rounds < 2:
        return "one round, so no order is established"
    starts = f" in {series} series" if series > 1 else ""
    return f"{f'{1 - ALPHA:.0%} intervals' if point.family else 'ranges'} over {rounds} rounds{starts}"


def _promise(board: Board) -> str:
    """The promise, with a word where an acknowledgement is worth more in one system than in another."""
    return text.promise(board.delivery) + ("" if board.same_acknowledgement else " (acknowledgements differ)")


def _board(board: Board, by: str) -> str:
    what = "in delivery rate" if by == "rate" else "at p99"
    best = board.places[0].result
    close = [p for p in board.places if p.close]
    rest = [p for p in board.places[1:] if not p.close]
    if close:
        # Below six rounds the ranges of what is close say nothing that the table does not.
        others = (f"{_with_figure(p.result, by)} {compared.sentence(p) if p.comparison else ''}".rstrip() for p in close)
        told = f"{text.listed([_with_figure(best, by), *others])} {compared.TOO_CLOSE} {what}"
    else:
        told = f"{text.variant_name(best.variant)} leads {what} with {figure(best, by)}"
    behind = ", ".join(f"{_with_figure(p.result, by)} {compared.sentence(p)}".rstrip() for p in rest[:BEHIND_MAX])
    more = f" and {len(rest) - BEHIND_MAX} more" if len(rest) > BEHIND_MAX else ""
    return f"{told}{f', then {behind}{more}' if behind else ''}"


def _unranked(point: PointSummary) -> str:
    """No two that promise the same could be ranked: each stands alone."""
    alone = [board.places[0].result for board in point.boards]
    if not alone:
        return "nothing could be ranked"
    names = [f"{_with_figure(r, point.by)} ({text.promise(r.delivery)})" for r in alone]
    what = "delivery rate" if point.by == "rate" else "p99"
    promise = ", which promise different things" if len(alone) > 1 else ""
    return f"no two can be ranked against each other: {what} of {text.listed(names)}{promise}"


def _with_figure(result: VariantPoint, by: str) -> str:
    return f"{text.variant_name(result.variant)} {figure(result, by)}"


def _lost(main: Board | None, point: PointSummary, faults: Faults) -> str:
    results = [p.result for p in main.places] if main else [board.places[0].result for board in point.boards]
    # Where nothing is ranked, what was lost is known all the same, of those whose audit could decide.
    results = results or [r for r in point.apart if r.standing not in _NO_SYSTEM and all(a.verdict in VERDICTS[:2] for a in r.audit)]
    return losses.sentence(results, faults)


def _broken(point: PointSummary) -> list[str]:
    broken = [text.variant_name(r.variant) for r in point.results if r.standing == "violated"]
    return [f"{text.listed(broken)} broke what the mode promises and takes no rank"] if broken else []


def _lines(point: PointSummary, main: Board | None, faults: Faults) -> list[tuple[str, str]]:
    said = []
    for board in point.boards:
        if board is main or main is None:
            continue
        told = (
            f"{_with_figure(board.places[0].result, point.by)}, alone in its class" if len(board.places) == 1 else _board(board, point.by)
        )
        said.append((_promise(board).capitalize(), f"{told}; {losses.sentence([p.result for p in board.places], faults)}".rstrip("; ")))
    # What broke its promise was just said; the table says the rest.
    out = [r for r in point.apart if r.standing not in {"tuned", "reference", "violated"}]
    if out:
        said.append(("Not ranked", "; ".join(_grouped(out))))
    tuned = [r for r in point.apart if r.standing == "tuned"]
    if tuned:
        what = "delivery rate" if point.by == "rate" else "p99"
        said.append(("Tuned, shown beside", "; ".join(f"{text.variant_name(r.variant)}, {what} {figure(r, point.by)}" for r in tuned)))
    if point.emulators:
        names = text.listed(f"{text.variant_name(r.variant)} on {(r.server or {}).get('product')}{_slow(r)}" for r in point.emulators)
        said.append(("Emulated, apart", f"{names}: a server that imitates the service says nothing about its speed"))
    chosen = clients.sentence(point.results, lambda r: figure(r, point.by), "delivery rate" if point.by == "rate" else "p99")
    if chosen:
        said.append((clients.LABEL, chosen))
    if point.by == "rate" and any(p.result.at_least for board in point.boards for p in board.places):
        said.append(("Lower bounds", compared.AT_LEAST.removesuffix(".")))
    floor = compared.noise_floor(point)
    return [*said, ("Noise floor", floor)] if floor else said


def _grouped(out: Sequence[VariantPoint]) -> list[str]:
    """The reasons, each with those that it holds for."""
    reasons: dict[str, list[str]] = {}
    for result in out:
        reasons.setdefault(_reason(result), []).append(text.variant_name(result.variant))
    return [f"{text.listed(names)}, {reason}" for reason, names in reasons.items()]


def _reason(result: VariantPoint) -> str:
    state = STANDING[result.standing]
    return state if result.standing == RATE_NOT_REACHED else f"{state} ({text.shortened(result.why)})"


def _slow(emulated: VariantPoint) -> str:
    return " (rate not reached)" if any(f.code == RATE_NOT_REACHED for f in emulated.findings) else ""


def _not_run(run: RunLike) -> str:
    rows = run.run.get("not_run") or ()
    return "" if not rows else ", not run: " + "; ".join(f"{row.get('variant')} ({row.get('reason')})" for row in rows)
