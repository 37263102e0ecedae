"""A run in memory whose trials were looked at second by second: rates, backlogs, latencies and faults as a test wants them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.histogram import Histogram, Log, Used

HOSTILE = "</svg><script>alert(1)</script>'\"& $x_1$ \x1b\u4f60 a name that is far too long for any chart to show"


def histogram(*values_ns: int, each: int = 1) -> Histogram:
    made = Histogram()
    for value in values_ns:
        made.add_one(value, each)
    return made


def used_of(one: Histogram) -> Used:
    at = np.flatnonzero(one.counts)
    return at.astype(np.uint16), one.counts[at]


def spread_out(middle_ms: float, n: int, seed: int = 1) -> Histogram:
    made = Histogram()
    made.add((np.random.default_rng(seed).lognormal(np.log(middle_ms * 1e6), 0.4, n)).astype(np.int64))
    return made


@dataclass
class Made:
    """RunLike and Timed: everything in memory."""

    trials: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[int, list[dict[str, int]]] = field(default_factory=dict)
    logs: dict[int, dict[str, list[tuple[float, float, Histogram]]]] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=lambda: {"scenario": "made", "kind": "run", "id": "made-1"})
    status: str = "complete"
    plan: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    scenario_text: str = ""

    def series(self, number):
        return self.rows.get(number, [])

    def log(self, number):
        lines = [(tag, 1e9 + at, length, used_of(one)) for tag, parts in self.logs.get(number, {}).items() for at, length, one in parts]
        return Log(tuple(lines), 1e9, {})

    def histograms(self, number):
        found = {}
        for tag, parts in self.logs.get(number, {}).items():
            found[tag] = Histogram()
            for _, _, part in parts:
                found[tag].merge(part)
        return found

    def add(
        self, variant="redis", *, title="Redis", groups=("live", "away"), seconds=20, rate=1000, away=None, warmup=2.0, faults=(), round_=1,
        delivery="at-least-once", point=None, middle_ms=2.0, codes=(), phases=True, bytes_per_s=None, sliced=True, server=None,
    ) -> dict[str, Any]:  # fmt: skip
        """A trial. ``away``: (from, to) seconds in which the last group gets nothing, and everything in the second after."""
        number = len(self.trials) + 1
        workload = {
            "groups": dict.fromkeys(groups, 1), "warmup_s": warmup, "measure_s": seconds - warmup,
            "schedule": "constant" if rate else "max",
        }  # fmt: skip
        rows, log = self._seconds(groups, seconds, rate or 1000, away, warmup, middle_ms, number)
        self.rows[number] = rows
        whole = [log["e2e"]] if not sliced else []
        self.logs[number] = log if sliced else {"e2e": [(0.0, seconds - warmup, _all(whole[0]))]}
        behind = (away[1] - away[0]) * (rate or 1000) if away else 0
        kept = {
            name: {"backlog_max": behind if away and name == groups[-1] else 5, "caught_up_s": away[1] + 0.5 if away else 0.0,
                   "backlog": [0] * (seconds * 2)}
            for name in groups
        }  # fmt: skip
        if away:
            for step in range(2 * away[0], 2 * away[1] + 1):
                kept[groups[-1]]["backlog"][step] = (step - 2 * away[0]) * (rate or 1000) // 2
        phases_ = {"step_s": 0.5, "injected_s": 4.0, "healed_s": away[1] if away else 5.0, "caught_up_s": None, "spans": {}, "groups": kept}
        trial = {
            "trial": number, "point": point or {"rate_per_s": rate, "size_b": 256}, "workload": workload, "series": 0, "round": round_,
            "variant": {
                "id": variant, "spec": variant, "system": variant, "title": title, "client": "client", "confirms": True,
                "intermediary": True, "mode": {"name": "usual", "delivery": delivery, "persistence": "page cache", "copies": 1},
            },
            "server": server, "status": "ok", "reason": None, "lane": "", "position": 1, "findings": [{"code": code} for code in codes],
            "rates": {"groups": {}, "published_per_s": rate, "slowest_group_per_s": rate or 1000, "slowest_group_b_per_s": bytes_per_s},
            "latency": {}, "cost": {}, "producers": [], "consumers": [], "nodes": [], "events": [], "faults": list(faults),
            "audit": {name: {"verdict": "clean", "lost": 0, "unknown": 0, "processed": 1000, "acknowledged": 1000} for name in groups},
            "phases": phases_ if faults and phases else None,
        }  # fmt: skip
        self.trials.append(trial)
        return trial

    @staticmethod
    def _seconds(groups, seconds, rate, away, warmup, middle_ms, number):  # noqa: PLR0917  # what add() was given
        rows, log = [], {"e2e": []} | ({f"e2e-{name}": [] for name in groups} if len(groups) > 1 else {})
        for second in range(seconds):
            row = {"second": second, "published": rate}
            merged = Histogram()
            for i, name in enumerate(groups):
                gone = away and name == groups[-1]
                row[name] = (
                    0 if gone and away[0] <= second < away[1] else rate * (away[1] - away[0] + 1) if gone and second == away[1] else rate
                )
                if row[name] and second >= warmup:
                    one = spread_out(middle_ms * (50 if gone and second == away[1] else 1), row[name], seed=number * 1000 + second * 10 + i)
                    merged.merge(one)
                    if len(groups) > 1:
                        log[f"e2e-{name}"].append((second - warmup, 1.0, one))
            if merged.n:
                log["e2e"].append((second - warmup, 1.0, merged))
            rows.append(row)
        return rows, log


def _all(parts):
    whole = Histogram()
    for _, _, part in parts:
        whole.merge(part)
    return whole


def fault(kind="away", target="consumer.away", injected=4.0, healed=9.0, *, recovered=9.1, toxic=""):
    return {"fault": kind, "toxic": toxic, "target": target, "injected_s": injected, "healed_s": healed, "recovered_s": recovered}
