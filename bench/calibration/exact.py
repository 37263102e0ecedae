"""What must agree to the message and to the histogram's resolution, whatever the machine does: cases, and the comparison.

Counts are held against the server's log. Times are held against the stamps that the harness itself took (a busy machine makes
them late, not wrong), counted again by bench.calibration.recount.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from bench import scenario, stage, store
from bench.analysis.summary import summarise
from bench.calibration import recount
from bench.calibration.adapter import SYSTEM
from bench.calibration.behaviour import Behaviour, Law
from bench.calibration.figures import RESOLUTION, Figure
from bench.calibration.recipe import FakeRecipe, known, log_of
from bench.errors import EnvironmentProblem, ServerError
from bench.histogram import Histogram, decode, highest
from bench.plan import Planned
from bench.progress import Progress
from bench.scenario import Scenario
from bench.store import RunWriter
from bench.workload import Point

ENDPOINT: Final = ("-m", "bench.calibration.endpoint")
GROUPS: Final = ("a", "b")
PRODUCERS: Final = 2
_SCENARIO: Final = """
name: calibrate
systems: [{system}]
topology: {{producers: {producers}, groups: {{{groups}}}, partitions: 4, routing: {routing}}}
payload: {payload}
load: {load}
timing: {{warmup: {warmup_s} s, measure: {measure_s} s, drain: {drain_s} s}}
window: {window}
rounds: 1
seed: {seed}
"""
QUANTILES: Final = {"p50_ns": Fraction(1, 2), "p90_ns": Fraction(9, 10), "p99_ns": Fraction(99, 100), "p999_ns": Fraction(999, 1000)}
EVERY: Final = [Fraction(k, 100) for k in range(1, 100)]
COUNTS: Final = (
    "sent", "acknowledged", "processed", "lost", "duplicated", "redelivered", "reordered", "reordered_max", "corrupted", "unexpected",
    "unknown", "recovered", "failed_delivered", "late",
)  # fmt: skip
EQUAL: Final = 1e-12  # relative: a division's rounding


@dataclass(frozen=True)
class Case:
    """One trial: a load, and what the server does with it."""

    name: str
    behaviour: Behaviour
    load: str = "{rate: 800/s}"
    warmup_s: float = 0.25
    measure_s: float = 1.0
    drain_s: float = 1.4  # over a second, so that a loss is told from what is late
    payload: str = "{size: 128 B}"
    window: int = 10_000
    routing: str = "round-robin"
    groups: Sequence[str] = field(default=GROUPS)
    producers: int = PRODUCERS

    def scenario(self, seed: int) -> Scenario:
        """The case as a scenario of its own."""
        groups = ", ".join(f"{name}: 1" for name in self.groups)
        return scenario.parse(
            _SCENARIO.format(
                system=SYSTEM, groups=groups, routing=self.routing, payload=self.payload, load=self.load, warmup_s=self.warmup_s,
                measure_s=self.measure_s, drain_s=self.drain_s, window=self.window, producers=self.producers, seed=seed,
            ),
            where=f"calibration case {self.name}",
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain data, for calibration.json."""
        return asdict(self)


def described(chosen: Sequence[Case], seed: int) -> Scenario:
    """The first case as a scenario: what the run's folder is made with."""
    with known(FakeRecipe(len(chosen[0].groups), {})):
        return chosen[0].scenario(seed)


def cases(seed: int) -> list[Case]:
    """All of them; those after which messages may be missing last, as endpoints start anew after such a trial."""
    two = Law("constant", (2.0,))
    spread = Law("uniform", (0.2, 6.0))
    slow = Law("uniform", (2.0, 150.0))  # when as many have come as were sent, some came twice and others are under way
    several = "{sizes: {distribution: lognormal, median: 300 B, sigma: 1, max: 4 KiB}}"
    mixed = {
        "refused": 0.02, "denied": 0.01, "silent": 0.02, "swallowed": 0.01, "lost": 0.02, "repeated": 0.02, "flagged": 0.01,
        "swapped": 0.02, "flipped": 0.02, "invented": 0.01,
    }  # fmt: skip
    return [
        Case("clean", Behaviour(seed, two), warmup_s=1.0),
        Case("clean", Behaviour(seed, two), warmup_s=0.0),
        Case("repeated", drain_s=5.0, behaviour=Behaviour(seed, slow, repeated=0.1, flagged=0.1), load="{schedule: poisson, rate: 800/s}"),
        Case("reordered", Behaviour(seed, spread, spread, swapped=0.05), routing="key", payload=several),
        Case("stalled", Behaviour(seed, two, two, stall_at_s=0.6, stall_s=0.3), window=120, warmup_s=0.0, load="{rate: 1 kHz}"),
        Case("max", Behaviour(seed, two, two), load="{schedule: max}", window=500, warmup_s=0.0, measure_s=0.6, payload="{size: 1 KiB}"),
        Case("closed", Behaviour(seed, two, two), load="{schedule: closed, outstanding: 5}", warmup_s=0.0, measure_s=0.6),
        Case("lost", Behaviour(seed, two, lost=0.03), load="{schedule: bursts, rate: 800/s, burst: 20}"),
        Case("corrupted", Behaviour(seed, two, flipped=0.05), payload=several),
        Case("everything", Behaviour(seed, spread, spread, **mixed), routing="key"),
        Case("everything", Behaviour(seed + 1, Law("lognormal", (0.1, 1.0, 1.0)), spread, **mixed), payload="{size: 64 B}"),
    ]


def run(writer: RunWriter, chosen: Sequence[Case], *, seed: int, progress: Progress, endpoint: Sequence[str]) -> None:
    """Run the cases, one trial each, through a run's own stage, into ``writer``'s folder. Raises EnvironmentProblem where one fails."""
    with known(FakeRecipe(len(chosen[0].groups), {number: case.behaviour for number, case in enumerate(chosen, 1)})):
        base = chosen[0].scenario(seed)
        (variant,) = base.variants()
        numbers = {name: place for place, name in enumerate(dict.fromkeys(case.name for case in chosen))}
        plan = []
        for number, case in enumerate(chosen, 1):
            (point,) = case.scenario(seed).points()
            axes = (("case", numbers[case.name]),)
            plan.append(
                Planned(number, Point(point.workload, axes), variant, 0, [c.name for c in chosen[: number - 1]].count(case.name), 0)
            )
        with stage.opened(base, writer, progress, endpoint) as on:
            writer.save_plan([planned.to_json() for planned in plan])
            on.admit([variant])
            for missing in on.not_run:
                raise ServerError(f"the fake server did not start: {missing['reason']}\n{missing['get']}")
            for planned, case in zip(plan, chosen, strict=True):
                left_s = sum(later.warmup_s + later.measure_s + 1.0 for later in chosen[planned.trial - 1 :])
                progress.trial(planned.trial, len(plan), case.name, left_s)
                record, _ = on.trial(planned)
                if record["status"] != "ok":
                    raise EnvironmentProblem(f"calibration case {case.name}: the trial {record['status']}: {record['reason']}")


def compare(folder: Path, chosen: Sequence[Case]) -> list[Figure]:
    """Hold every figure of a run's files against the fake server's log and the recorded stamps."""
    opened = store.open_run(folder)
    groups = chosen[0].groups
    evidence = recount.Evidence.read(folder, log_of(folder), groups, opened.trials)
    found = [Figure("all", "deliveries out of place", evidence.misplaced, 0)]
    trials: dict[int, recount.Trial] = {}
    for record, case in zip(opened.trials, chosen, strict=True):
        truth = trials[record["trial"]] = evidence.trial(record)
        name = f"{record['trial']} {case.name}"
        found += _counts(name, record, truth)
        found += _rates(name, record, truth, opened.series(record["trial"]))
        found += _latencies(name, record, truth, opened.histograms(record["trial"]))
        found += _seconds(name, folder / "trials" / f"{record['trial']:04d}" / "latency.hlog", truth)
        found += _parts(name, record, truth, opened.histograms(record["trial"]))
    names = {number: case.name for number, case in enumerate(chosen, 1)}
    return found + list(_summary(opened, names, trials))


def _counts(name: str, record: Mapping[str, Any], truth: recount.Trial) -> Iterator[Figure]:
    if record["drained_s"] is not None:  # else the deadline ended it
        yield Figure(name, "deliveries that were not waited for", truth.missed, 0)
    for group in truth.groups:
        said, true = record["audit"][group], recount.audit(truth, group)
        for count in COUNTS:
            # "undelivered": lost or late, which the audit could not tell apart as messages still came.
            value = said["undelivered"] if count == "lost" and said["lost"] is None else said[count]
            yield Figure(name, count, value, true[count])
        if said["lost"] is not None:
            for where in ("prefix", "middle", "tail"):
                yield Figure(name, f"lost_{where}", said["lost_where"][where], true[f"lost_{where}"])
    for row, true in zip(record["producers"], recount.producers(truth, len(record["producers"])), strict=True):
        for count, value in true.items():
            yield Figure(name, f"producer: {count}", row[count], value)
    for row in record["consumers"]:
        sound = truth.sound(row["group"])
        yield Figure(name, "consumer: received", row["received"], len(sound))
        yield Figure(name, "consumer: in_window", row["in_window"], sum(truth.window(d.stamp) for d in sound))


def _rates(name: str, record: Mapping[str, Any], truth: recount.Trial, rows: Sequence[Mapping[str, int]]) -> Iterator[Figure]:
    said, true = record["rates"], recount.rates(truth)
    for group in truth.groups:
        yield Figure(name, "rate of a group", said["groups"][group], true[group], EQUAL, "/s")
    yield Figure(name, "rate of the slowest group", said["slowest_group_per_s"], true["slowest"], EQUAL, "/s")
    load = record["workload"]
    if float(load["warmup_s"]).is_integer() and float(load["measure_s"]).is_integer():  # it is counted by whole seconds
        yield Figure(name, "published rate", said["published_per_s"], true["published"], EQUAL, "/s")
    series = recount.series(truth)
    same = sum(dict(row) == by_log for row, by_log in zip(rows, series, strict=False))
    yield Figure(name, "series.csv: seconds that agree", same if len(rows) == len(series) else -1, len(series))


def _latencies(name: str, record: Mapping[str, Any], truth: recount.Trial, histograms: Mapping[str, Histogram]) -> Iterator[Figure]:
    printed = {
        "e2e": "end_to_end_intended", "e2e-sent": "end_to_end_sent", "publish": "publish", "lateness": "lateness",
    }  # fmt: skip
    for tag, values in recount.latencies(truth).items():
        values.sort()
        if tag in printed:
            yield from _printed(name, tag, record["latency"][printed[tag]], values)
        histogram = histograms[tag]
        yield Figure(name, f"{tag}: n of latency.hlog", histogram.n, len(values))
        said = [(q, histogram.quantile(float(q))) for q in EVERY] if values and histogram.n else []
        near = sum(_near(value, recount.quantile(values, q, value)) for q, value in said)
        yield Figure(name, f"{tag}: of 99 percentiles right", near, 99 if values else 0)


def _seconds(name: str, log: Path, truth: recount.Trial) -> Iterator[Figure]:
    """The lines of end to end in latency.hlog: one for each second in which messages arrived that were due in the window."""
    lines = [line.split(",") for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("Tag=e2e,")]
    said = [(float(line[1]), decode(line[4])) for line in lines]
    true = sorted(recount.by_second(truth).items())
    same = 0
    for (start_s, histogram), (second, values) in zip(said, true, strict=False):
        middle = histogram.quantile(0.5)
        right = histogram.n == len(values) and _near(middle, recount.quantile(values, Fraction(1, 2), middle))
        same += right and round(start_s - said[0][0]) == second - true[0][0]
    yield Figure(name, "latency.hlog: seconds that agree", same if len(said) == len(true) else -1, len(true))


def _parts(name: str, record: Mapping[str, Any], truth: recount.Trial, histograms: Mapping[str, Histogram]) -> Iterator[Figure]:
    """Lateness in its two parts; the parts of the window that say whether a trial was steady."""
    late = recount.latencies(truth)["lateness"]
    for part in ("woken", "blocked"):
        yield Figure(name, f"lateness-{part}: n", histograms[f"lateness-{part}"].n, len(late))
    both = sum(_sum(histograms[f"lateness-{part}"]) for part in ("woken", "blocked"))
    yield Figure(name, "lateness: woken and blocked together", both, sum(late), RESOLUTION, "ns")
    slices, thirds = recount.steady(truth, len(next(iter(record["steady"]["slices"].values()))))
    for group in truth.groups:
        same = sum(said == true for said, true in zip(record["steady"]["slices"][group], slices[group], strict=True))
        yield Figure(name, "slices of the window that agree", same, len(slices[group]))
    for said, n, values in zip(record["steady"]["p50_thirds_ns"], record["steady"]["n_thirds"], thirds, strict=True):
        yield Figure(name, "n of a third of the window", n, len(values))
        true = recount.quantile(values, Fraction(1, 2), said) if recount.supported(len(values), Fraction(1, 2)) else None
        yield Figure(name, "p50 of a third of the window", said, true, RESOLUTION, "ns")


def _sum(histogram: Histogram) -> int:
    return sum(highest(index) * int(histogram.counts[index]) for index in histogram.counts.nonzero()[0].tolist())


def _printed(name: str, tag: str, said: Mapping[str, Any], values: Sequence[int]) -> Iterator[Figure]:
    """The summary in trial.json; ``values`` ascend."""
    n = len(values)
    yield Figure(name, f"{tag}: n", said["n"], n)
    yield Figure(name, f"{tag}: negative", said["negative"], sum(value < 0 for value in values))
    yield Figure(name, f"{tag}: min", said["min_ns"], values[0] if n else None, RESOLUTION, "ns")
    for key, q in QUANTILES.items():
        true = recount.quantile(values, q, said[key]) if recount.supported(n, q) else None
        yield Figure(name, f"{tag}: {key.removesuffix('_ns')}", said[key], true, RESOLUTION, "ns")
    yield Figure(name, f"{tag}: max", said["max_ns"], values[-1] if n else None, RESOLUTION, "ns")


def _near(said: int, true: int) -> bool:
    return abs(said - true) <= RESOLUTION * abs(true)


def _summary(opened: store.Run, names: Mapping[int, str], trials: Mapping[int, recount.Trial]) -> Iterator[Figure]:
    """What a report prints of several trials of one point: percentiles of all their samples, the median of their rates."""
    for point in summarise(opened):
        (result,) = point.results
        numbers = [record["trial"] for record in result.trials]
        name = f"report {names[numbers[0]]}"
        # No latency is quoted of a trial that did not reach its rate, or had none.
        quoted = [
            record["trial"]
            for record in result.trials
            if record["workload"]["schedule"] != "max" and "rate-not-reached" not in {finding["code"] for finding in record["findings"]}
        ]
        values = sorted(value for number in quoted for value in recount.latencies(trials[number])["e2e"])
        latency = result.latency["e2e"]
        yield Figure(name, "report: n of end to end", latency.n if latency else 0, len(values))
        for key, q in QUANTILES.items():
            said = getattr(latency, key) if latency else None
            true = recount.quantile(values, q, said) if recount.supported(len(values), q) else None
            yield Figure(name, f"report: {key.removesuffix('_ns')} of end to end", said, true, RESOLUTION, "ns")
        slowest = sorted(recount.rates(trials[number])["slowest"] for number in numbers)
        middle = (slowest[(len(slowest) - 1) // 2] + slowest[len(slowest) // 2]) / 2
        yield Figure(name, "report: rate", result.rate.median if result.rate else None, middle, EQUAL, "/s")
