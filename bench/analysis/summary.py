"""What a results folder says, point by point and variant by variant: pure, from the files alone.

Rules kept here, so that every report and the command line agree: percentiles come from histograms merged over rounds,
never from averaged percentiles; no latency is quoted from a saturated trial; a percentile needs ten samples beyond it;
unequal promises are never ranked together; emulators, references and `tuned` profiles are never ranked; a trial of the A/A
lane counts in its variant's audit and in no figure of it. From six paired
rounds on neighbours are told apart by ``compare``, with fewer by whether the ranges over rounds overlap.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Protocol

from bench.analysis import aa
from bench.analysis.compare import Comparison, Round, estimate, judge, round_of
from bench.analysis.findings import NOTES
from bench.analysis.findings import of as finding_of
from bench.analysis.signed_rank import ROUNDS_MIN
from bench.errors import UsageError
from bench.histogram import BEYOND_MIN, Histogram
from bench.plan import AA, FLOOR

Json = Mapping[str, Any]

RATE_NOT_REACHED = "rate-not-reached"
REFERENCES = frozenset({"tcp", "memory"})
"""Systems that show the harness's own floor; they are not messaging systems and take no rank."""
RANKED_BY = {"rate": aa.RATE, "p99": aa.P99}
"""What a point is ranked by. A margin is what two sets of interleaved rounds of the *same* system were seen to differ by, rounded
up (1.02 to 1.04 in rate, 1.08 in p99: docs/method.md, Comparing): less is no difference between systems, however sure."""
LATENCIES = {"e2e": "end_to_end_intended", "e2e-sent": "end_to_end_sent", "publish": "publish", "lateness": "lateness"}
LATENCIES |= {"lateness-woken": "lateness_woken", "lateness-blocked": "lateness_blocked"}
"""Tag in latency.hlog -> key in trial.json."""
AUDIT_COUNTS = (
    "sent", "acknowledged", "processed", "lost", "duplicated", "redelivered", "reordered", "corrupted", "unexpected",
    "unknown", "recovered", "failed_delivered", "late", "dead_lettered", "expired", "refused", "received_only", "undelivered",
    "key_reordered",
)  # fmt: skip
VERDICTS = ("clean", "as promised", "undetermined", "violated")
"""The audit's verdicts from best to worst."""
NOT_SILENT = "A/A not silent"
_DELIVERY_ORDER = ("exactly-once", "at-least-once", "at-most-once", "none")


class RunLike(Protocol):
    """What is read of a run: ``bench.store.Run`` is one."""

    @property
    def run(self) -> Json:
        """run.json."""

    @property
    def status(self) -> str:
        """Of the run: "complete", "interrupted", "running"."""

    @property
    def plan(self) -> Sequence[Json]:
        """The order of execution."""

    @property
    def environment(self) -> Json:
        """environment.json."""

    @property
    def scenario_text(self) -> str:
        """The scenario as it was given."""

    @property
    def trials(self) -> Sequence[Json]:
        """Each trial.json."""

    def histograms(self, number: int) -> Mapping[str, Histogram]:
        """latency.hlog of a trial, by tag; empty where the file is missing."""


@dataclass(frozen=True)
class Spread:
    """One figure over rounds: the median with the smallest and the largest. Not an interval."""

    median: float
    low: float
    high: float
    rounds: int

    @staticmethod
    def of(values: Iterable[float | None]) -> Spread | None:
        """Of the values that are known; None where none is."""
        known = [float(v) for v in values if v is not None]
        return Spread(statistics.median(known), min(known), max(known), len(known)) if known else None


@dataclass(frozen=True)
class Percentiles:
    """Of one merged histogram, in nanoseconds; None where fewer than ten samples lie beyond."""

    n: int
    rounds: int
    p50_ns: float | None
    p90_ns: float | None
    p99_ns: float | None
    p999_ns: float | None
    max_ns: float | None
    curve: tuple[tuple[float, float], ...] = ()  # (1/(1-p), ns), as far as the samples reach


@dataclass(frozen=True)
class GroupAudit:
    """One consumer group's counts, summed over trials, and the worst verdict."""

    group: str
    counts: Mapping[str, int | None]
    lost_where: Mapping[str, int]
    verdict: str
    trials: int


@dataclass(frozen=True)
class Finding:
    """One code, with the trials that have it; evidence and advice of the first."""

    code: str
    trials: tuple[int, ...]
    evidence: str
    advice: str


@dataclass(frozen=True)
class Cost:
    """CPU in ns a delivered message, memory in bytes (resident, at the end of the window), over rounds."""

    producers: Spread | None
    intermediary: Spread | None
    consumers: Spread | None
    total: Spread | None
    nodes: Mapping[str, Spread | None]
    machine_busy: Spread | None
    producers_b: Spread | None
    consumers_b: Spread | None
    nodes_b: Mapping[str, Spread | None]
    deliveries: Spread | None


@dataclass(frozen=True)
class VariantPoint:
    """One variant at one point. ``standing`` says whether it is ranked, and if not, why (``why``)."""

    point: Json
    variant: Json
    server: Json | None
    workload: Json
    standing: str  # ranked, tuned, reference, emulator, rate-not-reached, not-valid, violated, failed, unsupported
    why: str
    trials: tuple[Json, ...]
    rate: Spread | None  # of the slowest group, messages a second
    published: Spread | None
    latency: Mapping[str, Percentiles | None]  # by tag
    absent: Mapping[str, str]  # tag -> why there is no figure
    rate_by_round: Mapping[tuple[int, int], float]
    p99_by_round: Mapping[tuple[int, int], float]
    cost: Cost
    audit: tuple[GroupAudit, ...]
    findings: tuple[Finding, ...]

    @property
    def id(self) -> str:
        """The variant's id, unique in a run."""
        return str(self.variant.get("id", ""))

    @property
    def emulator(self) -> bool:
        """Whether the server only imitates the system: then no figure says anything about the system."""
        return bool((self.server or {}).get("emulator"))

    @property
    def delivery(self) -> str:
        """The delivery guarantee that its mode promises."""
        return str((self.variant.get("mode") or {}).get("delivery", "none"))

    @property
    def valid(self) -> bool:
        """Whether its figures count: those of an emulator do, of the emulator."""
        return self.standing in {"ranked", "tuned", "emulator"}

    @property
    def doubtful(self) -> bool:
        """Whether its figures are shown, and marked as not to be relied on."""
        return self.standing in {"not-valid", "violated", RATE_NOT_REACHED}

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of its trials."""
        return tuple(int(trial["trial"]) for trial in self.trials)

    @property
    def codes(self) -> frozenset[str]:
        """Of all findings of its trials."""
        return frozenset(finding.code for finding in self.findings)

    @property
    def at_least(self) -> bool:
        """Whether its rate is only a lower bound of the system's: the client was the limit, and no rate was set and reached."""
        return "client-bound" in self.codes and (RATE_NOT_REACHED in self.codes or _saturating(self.workload, self.point))


@dataclass(frozen=True)
class Place:
    """A rank within a board: first..last where rounds do not tell neighbours apart."""

    result: VariantPoint
    first: int
    last: int
    ratio: Spread | None  # to the board's best; None where there is nothing to compare with
    close: bool  # not told apart from the best
    comparison: Comparison | None = None  # with the board's best as base; None of the best, and below six paired rounds


@dataclass(frozen=True)
class Board:
    """Variants that promise the same delivery, best first."""

    delivery: str
    places: tuple[Place, ...]
    same_acknowledgement: bool  # whether "acknowledged" means the same for all of them


@dataclass(frozen=True)
class PointSummary:
    """One point of the scenario: what was ranked, and by what; what stands apart."""

    point: Json
    by: str  # "p99": end-to-end from intended time; "rate": of the slowest group
    boards: tuple[Board, ...]
    apart: tuple[VariantPoint, ...]  # measured, not ranked (no emulators)
    emulators: tuple[VariantPoint, ...]
    lane: aa.Lane | None = None  # the A/A lane: where it is not silent, nothing is told apart
    findings: tuple[Finding, ...] = ()  # of the point itself, shown before all figures
    family: int = 0  # comparisons that were adjusted together: every pair of every board; 0 below six paired rounds

    @property
    def results(self) -> tuple[VariantPoint, ...]:
        """All of them, the ranked first."""
        return (*(p.result for b in self.boards for p in b.places), *self.apart, *self.emulators)


def summarise(run: RunLike) -> tuple[PointSummary, ...]:
    """Every point of a run in the plan's order.

    Raises:
        UsageError: a trial.json lacks what says which point and variant it is.
    """
    cells: dict[tuple[str, str], list[Json]] = {}
    order: dict[str, Json] = {}
    every: dict[str, list[Json]] = {}
    for trial in run.trials:
        number = trial.get("trial")
        point, variant = trial.get("point"), trial.get("variant")
        if not isinstance(number, int) or not isinstance(point, Mapping) or not isinstance(variant, Mapping) or "id" not in variant:
            raise UsageError(f"trials/{number}/trial.json: needs trial (a number), point and variant with an id (results/README.md)")
        key = json.dumps(point, sort_keys=True, default=str)
        order.setdefault(key, point)
        cells.setdefault((key, str(variant["id"])), []).append(trial)
        every.setdefault(key, []).append(trial)
    # The run's trials come shuffled: sort the points by their own values, so that 200/s stands before 2,000/s.
    points = sorted(order, key=lambda k: _sort_key(order[k]))
    whole = run.status == "complete"
    rows: dict[str, list[VariantPoint]] = {}
    for (key, _), trials in cells.items():
        if _shown(trials):
            rows.setdefault(key, []).append(_variant(run, trials))
    return tuple(_point(order[key], rows.get(key, []), every[key], whole=whole) for key in points)


def _shown(trials: Sequence[Json]) -> bool:
    """Whether there is a row for these: not where only the lane was measured (a run cut short), nor for a floor that cannot be had."""
    own = [trial for trial in trials if trial.get("lane") != AA]
    return bool(own) and not all(trial.get("lane") == FLOOR and trial.get("status") == "unsupported" for trial in own)


def _sort_key(point: Json) -> tuple[Any, ...]:
    return tuple(
        (name, value is None, value if isinstance(value, int | float) else 0.0, str(value)) for name, value in sorted(point.items())
    )


def _point(point: Json, results: list[VariantPoint], trials: Sequence[Json], *, whole: bool) -> PointSummary:
    by = "rate" if any(_saturating(r.workload, point) or _closed(r.workload) for r in results) else "p99"
    results = [_rankable(r, by) for r in results]
    ranked = [r for r in results if r.standing == "ranked"]
    deliveries = sorted({r.delivery for r in ranked}, key=lambda d: _DELIVERY_ORDER.index(d) if d in _DELIVERY_ORDER else 99)
    classes = {d: sorted((r for r in ranked if r.delivery == d), key=lambda r: (_value(r, by) or 0.0, r.id)) for d in deliveries}
    compared = _compared(classes.values(), by, _expected(ranked, whole=whole))
    lane = aa.of_point(trials, by)
    findings: tuple[Finding, ...] = ()
    if lane is not None and not lane.silent:
        findings = (_not_silent(lane, trials),)
        compared = {pair: replace(one, verdict="inconclusive", why=NOT_SILENT) for pair, one in compared.items()}
    boards = tuple(_board(delivery, ordered, by, compared, silent=not findings) for delivery, ordered in classes.items())
    rest = sorted((r for r in results if r not in ranked), key=lambda r: r.id)
    apart_, emulators = tuple(r for r in rest if not r.emulator), tuple(r for r in rest if r.emulator)
    return PointSummary(point, by, boards, apart_, emulators, lane, findings, len(compared))


def _not_silent(lane: aa.Lane, trials: Sequence[Json]) -> Finding:
    numbers = tuple(int(trial["trial"]) for trial in trials if trial.get("lane") == AA)
    found = finding_of("aa-not-silent", aa.evidence(lane))
    return Finding(found["code"], numbers, found["evidence"], found["advice"])


def _rankable(result: VariantPoint, by: str) -> VariantPoint:
    if result.standing != "ranked" or _value(result, by) is not None:
        return result
    e2e = result.latency.get("e2e")
    why = (
        "no rate was recorded"
        if by == "rate"
        else f"too few samples for a p99 (n = {e2e.n})"
        if e2e
        else result.absent.get("e2e", "no latency")
    )
    return replace(result, standing="not-valid", why=why)


def _value(result: VariantPoint, by: str) -> float | None:
    """What is ranked, smaller is better."""
    if by == "rate":
        return -result.rate.median if result.rate else None
    e2e = result.latency.get("e2e")
    return e2e.p99_ns if e2e else None


def _rounds(result: VariantPoint, by: str) -> Mapping[tuple[int, int], float]:
    return result.rate_by_round if by == "rate" else result.p99_by_round


def apart(a: Mapping[Any, float], b: Mapping[Any, float]) -> bool:
    """Whether the ranges over rounds do not overlap; one round is no range, and tells nothing apart."""
    if len(a) < 2 or len(b) < 2:
        return False
    return max(a.values()) < min(b.values()) or max(b.values()) < min(a.values())


def _expected(ranked: Sequence[VariantPoint], *, whole: bool) -> frozenset[Round]:
    """The rounds that every variant ought to have; of a run that was cut short, those that every one had."""
    rounds = [frozenset(round_of(t) for t in r.trials) for r in ranked]
    if not rounds:
        return frozenset()
    return frozenset.union(*rounds) if whole else frozenset.intersection(*rounds)


def _compared(classes: Iterable[Sequence[VariantPoint]], by: str, expected: frozenset[Round]) -> Mapping[tuple[str, str], Comparison]:
    """Every pair within a class, (the one placed before, the one behind) -> behind against before; one family. Empty below six rounds.

    All pairs, not those with the best only: which one is best was found in the same figures.
    """
    if len(expected) < ROUNDS_MIN:
        return {}

    def figures(result: VariantPoint) -> dict[Round, float]:
        return {at: value for at, value in _rounds(result, by).items() if at in expected}

    pairs = [pair for ordered in classes for pair in combinations(ordered, 2)]
    effects = [(RANKED_BY[by], estimate(figures(base), figures(head), expected=expected)) for base, head in pairs]
    found = judge(effects, adjust="false-discovery")
    return {(base.id, head.id): comparison for (base, head), comparison in zip(pairs, found, strict=True)}


def _board(
    delivery: str, ordered: Sequence[VariantPoint], by: str, compared: Mapping[tuple[str, str], Comparison], *, silent: bool
) -> Board:
    def told(before: VariantPoint, behind: VariantPoint) -> bool:
        if not silent:
            return False
        comparison = compared.get((before.id, behind.id))
        if comparison is None:
            return apart(_rounds(before, by), _rounds(behind, by))
        # "better" would contradict the figure that is printed (one disturbed round can do that): then neither is believed.
        return comparison.verdict == "worse"

    best = ordered[0]
    places = []
    for index, result in enumerate(ordered):
        first = 1 + sum(told(other, result) for other in ordered[:index])
        last = len(ordered) - sum(told(result, other) for other in ordered[index + 1 :])
        close = result is not best and not told(best, result)
        places.append(Place(result, first, last, _ratio(result, best, by), close, compared.get((best.id, result.id))))
    meanings = {_acknowledged(r.variant) for r in ordered}
    return Board(delivery, tuple(places), len(meanings) == 1)


def _acknowledged(variant: Json) -> tuple[Any, ...]:
    mode = variant.get("mode") or {}
    return mode.get("persistence"), mode.get("copies")


def _ratio(result: VariantPoint, best: VariantPoint, by: str) -> Spread | None:
    """Median and range of the ratios of the rounds that both have: a round is one block, what disturbed it hit both."""
    if result is best:
        return None
    mine, theirs = _rounds(result, by), _rounds(best, by)
    return Spread.of(mine[k] / theirs[k] for k in mine if theirs.get(k))


def _saturating(workload: Json, point: Json) -> bool:
    return workload.get("schedule") == "max" or ("rate_per_s" in point and point["rate_per_s"] is None and not _closed(workload))


def _closed(workload: Json) -> bool:
    """A closed loop's latencies are shown, and rank nothing: it sends less while a system is slow."""
    return workload.get("schedule") == "closed"


def codes_of(trial: Json) -> set[str]:
    """Of all findings of a trial."""
    return {str(f.get("code")) for f in trial.get("findings") or ()}


def _variant(run: RunLike, audited: list[Json]) -> VariantPoint:
    trials = [trial for trial in audited if trial.get("lane") != AA]
    first = trials[0]
    point, workload = first["point"], first.get("workload") or {}
    measured = [t for t in trials if t.get("status") == "ok"]
    # A backlog that grows all along gives a latency that depends on how long one looked: it is not quoted.
    quotable = [t for t in measured if RATE_NOT_REACHED not in codes_of(t) and not _saturating(workload, point)]
    latency, absent = _latencies(run, first["variant"], measured, quotable)
    standing, why = _standing(trials, measured, audited)
    rates = {round_of(t): number_at(t, "rates", "slowest_group_per_s") for t in measured}
    p99s = {round_of(t): percentile(t, "p99", 0.99) for t in quotable}
    return VariantPoint(
        point=point,
        variant=first["variant"],
        server=next((t["server"] for t in trials if t.get("server")), None),
        workload=workload,
        standing=standing,
        why=why,
        trials=tuple(trials),
        rate=Spread.of(rates.values()),
        published=Spread.of(number_at(t, "rates", "published_per_s") for t in measured),
        latency=latency,
        absent=absent,
        rate_by_round={k: v for k, v in rates.items() if v is not None},
        p99_by_round={k: v for k, v in p99s.items() if v is not None},
        cost=_cost(measured),
        audit=_audit(audited),
        findings=_findings(trials),
    )


def _broken(trials: Sequence[Json]) -> str:
    """The audit's own reasons for a broken promise, with the trial and group that each comes from; the first three."""
    told = [
        f"trial {trial['trial']}, {group}: {'; '.join(row.get('reasons') or ['the mode forbids it'])}"
        for trial in trials
        for group, row in (trial.get("audit") or {}).items()
        if row.get("verdict") == "violated"
    ]
    more = f" (and {len(told) - 3} more)" if len(told) > 3 else ""
    return " · ".join(told[:3]) + more


def number_at(trial: Json, *path: str) -> float | None:
    """The number at a path of trial.json; None where there is none."""
    value: Any = trial
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def supported(n: int, q: float) -> bool:
    """Whether at least ten of n samples lie beyond the quantile q; counted as ``Histogram.supported`` counts."""
    return n > 0 and round(n * (1.0 - q), 6) >= BEYOND_MIN


def percentile(trial: Json, name: str, q: float) -> float | None:
    """A trial's own latency, end to end from the intended time, in ns ("p99", 0.99).

    None of one that did not end well or did not reach its rate, and where too few samples lie beyond it.
    """
    if trial.get("status") != "ok" or RATE_NOT_REACHED in codes_of(trial):
        return None
    n = number_at(trial, "latency", LATENCIES["e2e"], "n")
    return number_at(trial, "latency", LATENCIES["e2e"], f"{name}_ns") if n is not None and supported(int(n), q) else None


def _standing(trials: Sequence[Json], measured: Sequence[Json], audited: Sequence[Json]) -> tuple[str, str]:
    reasons = [str(t["reason"]) for t in trials if t.get("reason")]
    variant, server = trials[0]["variant"], next((t["server"] for t in trials if t.get("server")), None) or {}
    if not measured:
        statuses = {str(t.get("status")) for t in trials}
        name = "unsupported" if statuses == {"unsupported"} else "failed"
        return name, reasons[0] if reasons else "no reason was recorded"
    codes = set().union(*(codes_of(t) for t in trials))
    verdicts = {str(a.get("verdict")) for t in audited for a in (t.get("audit") or {}).values()}
    if "violated" in verdicts:
        # Before all else: whatever its speed, and also an emulator.
        return "violated", _broken(audited)
    if server.get("emulator"):
        return "emulator", f"{server.get('product')} imitates the service: its speed says nothing about it"
    if variant.get("system") in REFERENCES:
        return "reference", "the harness's own floor, not a messaging system"
    bad = [t.get("status") != "ok" for t in trials]
    if any(bad):  # before its rate: a round that died is the news, and a restart may well have cost another one its rate
        return "not-valid", _of_rounds("ended early", bad) + (f": {reasons[0]}" if reasons else "")
    if RATE_NOT_REACHED in codes:
        return RATE_NOT_REACHED, _of_rounds("did not reach the rate", [RATE_NOT_REACHED in codes_of(t) for t in trials])
    voiding = codes - NOTES
    if voiding:
        return "not-valid", ", ".join(_of_rounds(code, [code in codes_of(t) for t in trials]) for code in sorted(voiding))
    if verdicts - {"clean", "as promised"}:
        return "not-valid", "the audit could not decide"
    if variant.get("profile") == "tuned":
        return "tuned", "tuned: shown beside, the defaults are ranked"
    return "ranked", ""


def _of_rounds(what: str, hit: Sequence[bool]) -> str:
    return f"{what} in {sum(hit)} of {len(hit)} {'round' if len(hit) == 1 else 'rounds'}"


def _latencies(
    run: RunLike, variant: Json, measured: Sequence[Json], quotable: Sequence[Json]
) -> tuple[dict[str, Percentiles | None], dict[str, str]]:
    found: dict[str, Percentiles | None] = dict.fromkeys(LATENCIES)
    if not quotable:
        return found, dict.fromkeys(LATENCIES, "saturated" if measured else "not measured")
    absent: dict[str, str] = {}
    whole, without = _all_rounds(run, quotable)
    for tag, key in LATENCIES.items():
        if tag == "publish" and not variant.get("confirms"):
            absent[tag] = "n/a: no acknowledgement"
            continue
        if tag in whole and not without[tag]:
            found[tag] = _percentiles(whole[tag], len(quotable))
        elif len(quotable) == 1 and isinstance((quotable[0].get("latency") or {}).get(key), Mapping):
            found[tag] = _from_summary(quotable[0]["latency"][key])  # one trial: its own summary is the whole
        else:
            absent[tag] = f"no histogram in trial {', '.join(f'{number:04d}' for number in without[tag])}"
        merged = found[tag]
        if merged is not None and any("quick" in codes_of(t) for t in quotable):  # what is that rare comes once in a few seconds
            merged = found[tag] = replace(merged, p999_ns=None)
        if merged is not None and merged.n == 0:
            found[tag], absent[tag] = None, "no samples"
    return found, absent


def _all_rounds(run: RunLike, trials: Sequence[Json]) -> tuple[dict[str, Histogram], dict[str, list[int]]]:
    """Histograms by tag, merged over trials, read one trial at a time; and by tag the trials that have none."""
    whole: dict[str, Histogram] = {}
    without: dict[str, list[int]] = {tag: [] for tag in LATENCIES}
    for trial in trials:
        number = int(trial["trial"])
        log = run.histograms(number)
        for tag, missing in without.items():
            if tag in log:
                whole.setdefault(tag, Histogram()).merge(log[tag])
            else:
                missing.append(number)
    return whole, without


def _percentiles(total: Histogram, rounds: int) -> Percentiles:
    n = total.n

    def at(q: float) -> float | None:
        return float(total.quantile(q)) if total.supported(q) else None

    # 24 points a decade of 1/(1-p): smooth at any size of a chart, and it ends where ten samples are left.
    shares: list[float] = []
    while total.supported(q := 1 - 10 ** (-len(shares) / 24)):
        shares.append(q)
    reached = total.quantiles(shares) if shares else []
    curve = tuple((10 ** (step / 24), float(value)) for step, value in enumerate(reached))
    return Percentiles(n, rounds, at(0.5), at(0.9), at(0.99), at(0.999), float(total.max) if n else None, curve)


def _from_summary(summary: Json) -> Percentiles:
    n = int(summary.get("n") or 0)

    def at(name: str, q: float) -> float | None:
        value = summary.get(name)
        return float(value) if value is not None and supported(n, q) else None

    top = summary.get("max_ns")
    p50, p90, p99, p999 = (at(k, q) for k, q in (("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99), ("p999_ns", 0.999)))
    return Percentiles(n, 1, p50, p90, p99, p999, float(top) if top is not None else None)


def _cost(trials: Sequence[Json]) -> Cost:
    names = sorted({str(n["name"]) for t in trials for n in t.get("nodes") or ()})

    def node(trial: Json, name: str, key: str) -> float | None:
        return next((number_at(n, key) for n in trial.get("nodes") or () if n["name"] == name), None)

    def a_message(trial: Json, name: str) -> float | None:
        cpu, deliveries = node(trial, name, "cpu_ns"), number_at(trial, "cost", "deliveries")
        return cpu / deliveries if cpu is not None and deliveries else None

    def memory(trial: Json, side: str) -> float | None:
        known = [number_at(e, "rss_b") for e in trial.get(side) or ()]
        return sum(v for v in known if v is not None) if known and None not in known else None

    return Cost(
        producers=Spread.of(number_at(t, "cost", "producers_ns") for t in trials),
        intermediary=Spread.of(number_at(t, "cost", "intermediary_ns") for t in trials),
        consumers=Spread.of(number_at(t, "cost", "consumers_ns") for t in trials),
        total=Spread.of(number_at(t, "cost", "total_ns") for t in trials),
        nodes={name: Spread.of(a_message(t, name) for t in trials) for name in names},
        machine_busy=Spread.of(number_at(t, "cost", "machine_busy") for t in trials),
        producers_b=Spread.of(memory(t, "producers") for t in trials),
        consumers_b=Spread.of(memory(t, "consumers") for t in trials),
        nodes_b={name: Spread.of(node(t, name, "rss_b") for t in trials) for name in names},
        deliveries=Spread.of(number_at(t, "cost", "deliveries") for t in trials),
    )


def _audit(trials: Sequence[Json]) -> tuple[GroupAudit, ...]:
    groups: dict[str, list[Json]] = {}
    for trial in trials:
        for group, counts in (trial.get("audit") or {}).items():
            groups.setdefault(str(group), []).append(counts)
    found = []
    for group, parts in groups.items():
        counts = {name: _sum(part.get(name) for part in parts) for name in AUDIT_COUNTS}
        where = {place: _sum((part.get("lost_where") or {}).get(place) for part in parts) or 0 for place in ("prefix", "middle", "tail")}
        # A verdict that is not known is no success: it counts as undetermined.
        ranks = [VERDICTS.index(v) if (v := part.get("verdict")) in VERDICTS else VERDICTS.index("undetermined") for part in parts]
        found.append(GroupAudit(group, counts, where, VERDICTS[max(ranks)], len(parts)))
    return tuple(found)


def _sum(values: Iterable[Any]) -> int | None:
    known = [int(v) for v in values if v is not None]
    return sum(known) if known else None


def _findings(trials: Sequence[Json]) -> tuple[Finding, ...]:
    by_code: dict[str, list[tuple[int, Json]]] = {}
    for trial in trials:
        for finding in trial.get("findings") or ():
            by_code.setdefault(str(finding.get("code")), []).append((int(trial["trial"]), finding))
    return tuple(
        Finding(code, tuple(n for n, _ in hits), str(hits[0][1].get("evidence") or ""), str(hits[0][1].get("advice") or ""))
        for code, hits in sorted(by_code.items())
    )
