"""Runs `brokerbench capacity`: for each variant an estimate, the search for its capacity, then the sweep below it.

Probes are trials like any, on a run's stage, one variant and its server at a time. capacity.json is written after each, so that a run
that is cut short can be reported.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench import stage
from bench.analysis.summary import REFERENCES
from bench.capacity import objective as objectives
from bench.capacity import result
from bench.capacity.objective import Objective
from bench.capacity.search import WIDEST, Answer, Search
from bench.clock import now_ns
from bench.histogram import Histogram
from bench.plan import Planned
from bench.progress import Progress
from bench.scenario import Scenario
from bench.spec import Variant
from bench.stage import Stage
from bench.store import FORMAT, RunWriter
from bench.units import show_rate
from bench.workload import Point, Workload

SHARES = (0.10, 0.25, 0.50, 0.70, 0.80, 0.90, 0.95)
PRECISION_MAX = WIDEST
INCONCLUSIVE = 4  # exit code
_ESTIMATE_S = 1.0  # of a saturating probe
_ESTIMATE = 1000.0  # where that gave nothing
_HIGHEST = 50e6  # no client comes near it; a probe is at most twice the highest rate that held, so that it is not asked for
_LONGEST_S = 30.0  # a probe that needs longer for its percentile is not made: its rate is below the range
_SPARE = 1.1  # samples over those that the percentile needs
_SEARCH_SHARE = 0.7  # of the time, where it is limited; the rest is the sweep's
_BETWEEN_S = 0.6  # of a probe's own time beside its load
_GIVE_UP = 2  # failed trials in a row


@dataclass(frozen=True)
class Options:
    """How to search. Rates a second, times in seconds."""

    objective: Objective
    probes_max: int
    precision: float
    rounds: int = 2  # of the sweep; 0 = none
    estimate: float | None = None  # None = by a saturating probe
    highest: float | None = None  # None = as far as it goes
    time_s: float | None = None  # for everything

    def to_json(self) -> dict[str, Any]:
        """`options` of capacity.json."""
        return {
            "probes_max": self.probes_max, "precision": self.precision, "sweep_rounds": self.rounds, "estimate_per_s": self.estimate,
            "highest_per_s": self.highest, "time_s": self.time_s,
        }  # fmt: skip


class OutOfTime(Exception):
    """The limit of --time has passed: no further probe is begun."""


class GivenUp(Exception):
    """Trials failed one after the other, or the variant cannot do it; the text says why."""


@dataclass
class Hunt:
    """One search and its sweep: one variant, one workload without its rate."""

    variant: Variant
    load: Workload
    axes: tuple[tuple[str, float], ...]
    seen: dict[str, Any]  # its part of capacity.json
    until_ns: int | None = None
    failed: int = 0  # in a row
    merged: dict[float, Histogram] = field(default_factory=dict)  # by share of the capacity


class Capacity:
    """One run of the verb into one folder."""

    def __init__(self, scenario: Scenario, writer: RunWriter, progress: Progress, options: Options) -> None:
        self._scenario = scenario.kept(writer.folder)
        self._writer = writer
        self._progress = progress
        self._options = options
        self._plan: list[Planned] = []
        self._began_ns = now_ns()
        self._data: dict[str, Any] = {
            "format": FORMAT,
            "objective": {"text": str(options.objective), "percentile": options.objective.percentile, "limit_s": options.objective.limit_s},
            "options": options.to_json(),
            "searches": [],
            "producers": [],
        }

    def run(self) -> int:
        """Search and sweep everything; return the exit code: that of the trials, else 4 where a search came to no answer."""
        searches = self._data["searches"]
        with stage.opened(self._scenario, self._writer, self._progress) as on:
            self._save()
            variants = self._scenario.variants()
            for i, variant in enumerate(variants):
                on.admit([variant])
                if variant.id in on.entries:
                    self._variant(on, variant, len(variants) - i)
                    on.close_sessions()
                    on.stop_servers()
        unclear = any(
            one["answer"] is None or one["answer"]["kind"] == "inconclusive" for one in searches if one["status"] != "unsupported"
        )
        return on.exit_code() or (INCONCLUSIVE if unclear else 0)

    def _variant(self, on: Stage, variant: Variant, variants_left: int) -> None:
        places = _places(self._scenario)
        for i, (load, axes) in enumerate(places):
            on.close_sessions()
            seen = {
                "variant": variant.id, "point": {"size_b": load.size_b, **dict(axes)}, "producers": load.producers,
                "reference": variant.system in REFERENCES, "status": "searching", "reason": None, "saturated_per_s": None,
                "estimate_per_s": self._options.estimate, "probes": [], "answer": None, "limit": None, "sweep": [], "knee": None,
            }  # fmt: skip
            self._data["searches"].append(seen)
            left = (variants_left - 1) * len(places) + len(places) - i
            hunt = Hunt(variant, load, axes, seen, self._until(left))
            try:
                self._hunt(on, hunt)
                seen["status"] = "complete"
                self._progress.say(result.sentence(seen, variant.id, self._options.objective))
            except OutOfTime:
                seen["status"] = "out of time"
            except GivenUp as given_up:
                seen["status"], seen["reason"] = given_up.args
            self._data["producers"] = result.conclude(self._data["searches"])
            self._save()
            if seen["status"] in ("failed", "unsupported"):
                return

    def _until(self, left: int) -> int | None:
        """When this search and its sweep have to end, the rest of the time shared by what is left."""
        if self._options.time_s is None:
            return None
        now = now_ns()
        end = self._began_ns + int(self._options.time_s * 1e9)
        return now + max(0, end - now) // left

    # ---- one search and its sweep

    def _hunt(self, on: Stage, hunt: Hunt) -> None:
        self._estimate(on, hunt)
        seen, options = hunt.seen, self._options
        lowest = options.objective.samples * _SPARE / (_LONGEST_S * len(hunt.load.groups))
        highest = options.highest or _HIGHEST
        lowest = min(float(f"{lowest:.3g}"), highest / 2)
        search = Search(seen["estimate_per_s"], lowest=lowest, highest=highest, probes_max=options.probes_max, precision=options.precision)
        search_until = hunt.until_ns and now_ns() + int((hunt.until_ns - now_ns()) * (_SEARCH_SHARE if options.rounds else 1))
        try:
            while (rate := search.rate) is not None:
                left = options.probes_max - search.counted + len(SHARES) * options.rounds
                probe, _ = self._probe(on, hunt, rate, "search", f"probe {search.counted + 1}", left=left, until_ns=search_until)
                search.tell(probe["held"])
                self._answered(seen, search.answer())
        except OutOfTime:
            self._answered(seen, search.answer())
        answer = seen["answer"]
        if answer["rate_per_s"] is not None and answer["kind"] in ("found", "at-least") and options.rounds:
            self._sweep(on, hunt, answer["rate_per_s"])
        elif search.rate is not None:
            raise OutOfTime

    def _answered(self, seen: dict[str, Any], answer: Answer) -> None:
        seen["answer"] = {
            "kind": answer.kind, "rate_per_s": answer.rate_per_s, "low_per_s": answer.low, "high_per_s": answer.high,
            "probes": answer.probes, "invalid": answer.invalid, "precise": answer.precise,
        }  # fmt: skip
        seen["limit"] = None if answer.kind == "inconclusive" else result.limit(seen["probes"], seen["answer"])
        self._save()

    def _estimate(self, on: Stage, hunt: Hunt) -> None:
        """Where nobody gave one: as fast as it goes, for a second. Its rate is a first guess, its latency is not looked at."""
        if hunt.seen["estimate_per_s"] is None:
            left = 1 + self._options.probes_max + len(SHARES) * self._options.rounds
            probe, _ = self._probe(on, hunt, None, "estimate", "for an estimate", left=left)
            hunt.seen["saturated_per_s"] = probe["delivered_per_s"]
            hunt.seen["estimate_per_s"] = probe["delivered_per_s"] or _ESTIMATE

    def _sweep(self, on: Stage, hunt: Hunt, capacity: float) -> None:
        """Latency at shares of the capacity, every share once a round, in an order of its own."""
        seen, options = hunt.seen, self._options
        seen["status"] = "sweeping"
        shuffler = random.Random(f"{self._scenario.seed} {hunt.variant.id} {hunt.load.producers}")
        order = [(number, share) for number in range(options.rounds) for share in shuffler.sample(SHARES, len(SHARES))]
        for i, (number, share) in enumerate(order):
            rate = float(f"{share * capacity:.4g}")
            told = f"{share:.0%} of the capacity"
            _, histogram = self._probe(on, hunt, rate, "sweep", told, left=len(order) - i, share=share, number=number)
            if histogram is not None:
                hunt.merged.setdefault(share, Histogram()).merge(histogram)
            seen["sweep"] = _rows(hunt)
            seen["knee"] = result.knee(seen["sweep"], options.objective.key)
            self._save()

    # ---- one probe

    def _probe(
        self, on: Stage, hunt: Hunt, rate: float | None, phase: str, told: str, *, left: int,
        share: float | None = None, number: int = 0, until_ns: int | None = None,
    ) -> tuple[dict[str, Any], Histogram | None]:  # fmt: skip
        """Run one trial at ``rate`` (None: as fast as it goes); return its entry of capacity.json and its end-to-end histogram.

        ``left``: how many of this variant are still to come at most, itself included.
        """
        ends = until_ns or hunt.until_ns
        if ends is not None and now_ns() >= ends:
            raise OutOfTime
        objective = self._options.objective
        load = _at(hunt.load, rate, objective)
        planned = Planned(len(self._plan) + 1, Point(load, hunt.axes), hunt.variant, 0, number, len(hunt.seen["probes"]))
        self._plan.append(planned)
        self._writer.save_plan([one.to_json() for one in self._plan])
        what = f"{hunt.variant.id} · {planned.point.label} · {told}"
        self._progress.trial(planned.trial, planned.trial + left - 1, what, left * (load.warmup_s + load.measure_s + _BETWEEN_S))
        trial, histograms = on.trial(planned)
        probe = _entry(trial, objective, phase) | {"share": share, "round": number}
        hunt.seen["probes"].append(probe)
        self._save()
        self._progress.say(f"{hunt.variant.id}: {_said(probe)}")
        hunt.failed = hunt.failed + 1 if trial["status"] == "failed" else 0
        if trial["status"] == "unsupported" or hunt.failed >= _GIVE_UP:
            raise GivenUp(trial["status"], trial["reason"])
        return probe, histograms.get("e2e")

    def _save(self) -> None:
        self._writer.save_data(result.FILE, self._data)


def _places(scenario: Scenario) -> list[tuple[Workload, tuple[tuple[str, float], ...]]]:
    """The scenario's workloads, each with its axes; those that differ only in their rates are one, at a rate that is not looked at."""
    return list({point.workload.at_rate(_ESTIMATE): point.axes for point in scenario.points()}.items())


def _at(load: Workload, rate: float | None, objective: Objective) -> Workload:
    """The workload at a rate, its window as long as the percentile needs; saturating, it is short."""
    if rate is None:
        return replace(load.at_rate(None), measure_s=_ESTIMATE_S)
    needed_s = objective.samples * _SPARE / (rate * len(load.groups))
    return replace(load.at_rate(rate), measure_s=min(max(load.measure_s, needed_s), _LONGEST_S))


def _entry(trial: Mapping[str, Any], objective: Objective, phase: str) -> dict[str, Any]:
    """One of `probes` in capacity.json."""
    judged = objectives.judge(trial, objective)
    latency = trial["latency"]["end_to_end_intended"] or {}
    window_ns = trial["window_s"] * 1e9
    nodes = [node["cpu_ns"] for node in trial["nodes"] if node["cpu_ns"] is not None]
    return {
        "trial": trial["trial"], "phase": phase, "rate_per_s": trial["rates"]["offered_per_s"],
        "held": None if phase == "estimate" else judged.held, "why": "" if phase == "estimate" else judged.why,
        "by": "" if phase == "estimate" else judged.by,
        "delivered_per_s": trial["rates"]["slowest_group_per_s"], "latency_ns": latency.get(objective.key),
        "drained_s": trial["drained_s"], "status": trial["status"],
        "producer_cores": max((side["cpu_ns"] / window_ns for side in trial["producers"]), default=None),
        "consumer_cores": max((side["cpu_ns"] / window_ns for side in trial["consumers"]), default=None),
        "server_cores": sum(nodes) / window_ns if nodes else None, "machine_busy": trial["cost"]["machine_busy"],
        "findings": [finding["code"] for finding in trial["findings"]],
    }  # fmt: skip


def _rows(hunt: Hunt) -> list[dict[str, Any]]:
    """`sweep` of capacity.json: a row a share, histograms merged over its rounds."""
    rows = []
    for share in sorted(hunt.merged):
        rounds = [probe for probe in hunt.seen["probes"] if probe["share"] == share and probe["status"] == "ok"]
        rows.append(
            {
                "share": share, "rate_per_s": rounds[0]["rate_per_s"], "rounds": len(rounds),
                "held": sum(probe["held"] is True for probe in rounds), "trials": [probe["trial"] for probe in rounds],
                **hunt.merged[share].summary(),
            }
        )  # fmt: skip
    return rows


def _said(probe: Mapping[str, Any]) -> str:
    if probe["phase"] == "estimate":
        return f"as fast as it goes: {probe['delivered_per_s'] or 0:,.0f}/s"
    word = {True: "holds", False: "does not hold", None: "says nothing"}[probe["held"]]
    offered = float(f"{probe['rate_per_s']:.4g}")  # a Poisson load's own may have many digits
    return f"{show_rate(offered)} {word}" + (f": {probe['why']}" if probe["why"] else "")
