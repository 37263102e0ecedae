"""The first screen's figures once more, from trial.json, latency.hlog and guarantees.json alone: nothing of bench is imported here.

Histograms by the package hdrhistogram (the reference implementation), Hodges and Lehmann's estimate and the exact interval of
Wilcoxon's signed ranks by counting every sign there can be (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3.1-3.3),
false discovery after Benjamini and Hochberg. Written from docs/method.md and results/README.md, slowly and plainly.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram
from scipy import stats

QUANTILES = (0.5, 0.99, 0.999)
NOTES = {
    "aa-not-silent",
    "client-bound",
    "closed-loop",
    "collections",
    "connection",
    "machine-busy",
    "not-alone",
    "not-steady",
    "quick",
    "reconnect-unannounced",
    "saturated",
    "server-bound",
    "stolen-time",
    "too-few-samples",
}  # docs/method.md: findings that leave a rank alone


@dataclass
class Result:
    """One variant at one point. Latencies in ns, rates a second, CPU in ns a delivery; by round: (series, round) -> figure."""

    name: str
    system: str
    mode: str
    delivery: str
    emulator: bool
    reference: bool
    ok: bool  # every round ended well and reached its rate, and nothing speaks against it
    quantiles: dict[float, float | None] = field(default_factory=dict)
    n: int = 0
    p99: dict[tuple[int, int], float] = field(default_factory=dict)
    rate: dict[tuple[int, int], float] = field(default_factory=dict)
    cpu: dict[tuple[int, int], float] = field(default_factory=dict)
    processed: int = 0
    lost: int = 0


def histogram(path: Path) -> Any:
    """All lines tagged e2e of a log, in one."""
    whole = None
    for line in path.read_text().splitlines():
        found = re.match(r"Tag=e2e,[^,]*,[^,]*,[^,]*,(\S+)", line)
        if found:
            one = HdrHistogram.decode(found[1].encode())
            whole = one if whole is None else (whole.add(one), whole)[1]
    return whole


def quantile(whole: Any, q: float) -> float | None:
    """A percentile, None where fewer than ten samples lie beyond it."""
    n = whole.get_total_count()
    return float(whole.get_value_at_percentile(100 * q)) if n * (1 - q) >= 10 - 1e-6 else None


def points(folder: Path) -> dict[float | None, dict[str, Result]]:
    """By rate, then by variant's id. A run with one size only."""
    trials = [json.loads(path.read_text()) for path in sorted(folder.glob("trials/*/trial.json"))]
    found: dict[float | None, dict[str, Result]] = {}
    for rate, name in dict.fromkeys((t["point"]["rate_per_s"], t["variant"]["id"]) for t in trials):
        own = [t for t in trials if t["point"]["rate_per_s"] == rate and t["variant"]["id"] == name]
        if any(t.get("lane") != "aa" for t in own):
            found.setdefault(rate, {})[name] = result(folder, own)
    return found


def result(folder: Path, trials: list[dict[str, Any]]) -> Result:
    """One variant at one point, of all its trials; those of the A/A lane count in its audit only."""
    own = [t for t in trials if t.get("lane") != "aa"]
    variant, server = own[0]["variant"], own[0]["server"] or {}
    codes = {finding["code"] for t in own for finding in t["findings"]}
    sound = all(t["status"] == "ok" for t in own) and not codes - NOTES
    made = Result(
        f"{variant['title']} ({variant['client']})" if variant["client"] else variant["title"], variant["system"], variant["mode"]["name"],
        variant["mode"]["delivery"], bool(server.get("emulator")), variant["system"] == "tcp", sound,
    )  # fmt: skip
    whole = None
    for trial in own:
        at = (trial["series"], trial["round"])
        one = histogram(folder / "trials" / f"{trial['trial']:04d}" / "latency.hlog")
        deliveries = sum(c["in_window"] for c in trial["consumers"])
        cpu = [*trial["producers"], *trial["consumers"], *(node for node in trial["nodes"] if node["role"] != "network")]
        groups = {c["group"] for c in trial["consumers"]}
        made.rate[at] = min(sum(c["in_window"] for c in trial["consumers"] if c["group"] == g) for g in groups) / trial["window_s"]
        made.cpu[at] = sum(part["cpu_ns"] for part in cpu) / deliveries
        if not any(finding["code"] == "rate-not-reached" for finding in trial["findings"]):
            tail = quantile(one, 0.99)
            made.p99 |= {} if tail is None else {at: tail}
            whole = one if whole is None else (whole.add(one), whole)[1]
    if whole is not None:
        made.n = whole.get_total_count()
        made.quantiles = {q: quantile(whole, q) for q in QUANTILES}
    counts = [group for t in trials for group in t["audit"].values()]
    made.processed, made.lost = sum(c["processed"] for c in counts), sum(c["lost"] for c in counts)
    return made


def noise(folder: Path, rate: float | None) -> dict[str, float]:
    """The widest ratio, above 1, of a round's two trials of the same system: of p99, p50 and CPU a message."""
    trials = [json.loads(path.read_text()) for path in sorted(folder.glob("trials/*/trial.json"))]
    widest = {"p99": 1.0, "p50": 1.0, "CPU a message": 1.0}
    for again in (t for t in trials if t.get("lane") == "aa" and t["point"]["rate_per_s"] == rate and t["status"] == "ok"):
        for own in trials:
            same = all(own[key] == again[key] for key in ("point", "series", "round")) and own["variant"]["id"] == again["variant"]["id"]
            if not same or own.get("lane") == "aa" or own["status"] != "ok":
                continue
            one, other = ((histogram(folder / "trials" / f"{t['trial']:04d}" / "latency.hlog"), t) for t in (own, again))
            pairs = {"CPU a message": (own["cost"]["total_ns"], again["cost"]["total_ns"])}
            for label, q in (("p99", 0.99), ("p50", 0.5)):
                pairs[label] = (one[0].get_value_at_percentile(100 * q), other[0].get_value_at_percentile(100 * q))
            for label, (a, b) in pairs.items():
                widest[label] = max(widest[label], a / b, b / a)
    return widest


@dataclass
class Ratio:
    """To the best. Below six rounds ``low`` and ``high`` are the smallest and the largest of a round."""

    ratio: float
    low: float
    high: float
    p: float = 1.0
    visible: float | None = None


def ratio(best: dict[tuple[int, int], float], other: dict[tuple[int, int], float], margin: float = 0.10) -> Ratio:
    """Of paired rounds of one series."""
    logs = [math.log(other[at]) - math.log(best[at]) for at in sorted(best) if at in other]
    n = len(logs)
    if n < 6:
        ratios = [math.exp(x) for x in logs]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))
    walsh = sorted((logs[i] + logs[j]) / 2 for i in range(n) for j in range(i, n))
    counts = [0] * (n * (n + 1) // 2 + 1)
    for signs in itertools.product((0, 1), repeat=n):
        counts[sum(rank for rank, sign in enumerate(signs, 1) if sign)] += 1
    tails = [2 * total / 2**n for total in itertools.accumulate(counts)]
    cut = sum(tail <= 0.05 for tail in tails[: len(tails) // 2])
    low, high = walsh[cut - 1], walsh[len(walsh) - cut]
    extreme = min(sum(w >= 0 for w in walsh), sum(w <= 0 for w in walsh))
    level = 1 - tails[cut - 1]
    error = (high - low) / 2 / stats.t.ppf((1 + level) / 2, n - 1)
    needed = max((high - low) / 2, math.log(1 + margin))
    visible = math.exp(needed + stats.t.ppf(0.8, n - 1) * error)
    return Ratio(math.exp(statistics.median(walsh)), math.exp(low), math.exp(high), min(1.0, tails[extreme]), visible)


def false_discovery(ps: list[float]) -> list[float]:
    """Adjusted p, in the order given."""
    order = sorted(range(len(ps)), key=lambda i: -ps[i])
    adjusted, lowest = [0.0] * len(ps), 1.0
    for place, i in enumerate(order):
        lowest = min(lowest, ps[i] * len(ps) / (len(ps) - place))
        adjusted[i] = lowest
    return adjusted


def kills(folders: list[Path], one: Result) -> tuple[int, int, float] | None:
    """Counted consumer kills of a variant's mode, how many lost an acknowledged message, and where none did the bound of 95%."""
    for folder in folders:
        for cell in json.loads((folder / "guarantees.json").read_text())["cells"]:
            if (cell["system"], cell["mode"]["name"], cell["fault"]) == (one.system, one.mode, "consumer-kill") and cell["judged"]:
                moved = {"lost", "duplicated", "reordered", "corrupted", "unexpected", "failed_delivered", "unknown", "recovered"}
                struck = [i for i in cell["injections"] if not i["undetermined"] and (i["in_flight"] or any(i["counts"][m] for m in moved))]
                lost = sum(i["counts"]["lost"] > 0 for i in struck)
                return len(struck), lost, 1 - 0.05 ** (1 / len(struck))
    return None


def told_apart(best: dict[tuple[int, int], float], other: dict[tuple[int, int], float], family: list[float]) -> bool:
    """Whether ``other`` is worse than the best beyond doubt; ``family``: the unadjusted p of every pair, this one's first."""
    if min(len(best), len(other)) < 6:
        return len(best) > 1 and max(best.values()) < min(other.values())
    found = ratio(best, other)
    return false_discovery(family)[0] <= 0.05 and found.ratio > 1.10
