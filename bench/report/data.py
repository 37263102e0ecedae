"""A run as tables for other tools: a frame with a row a trial, and its medians by point and variant (summary.csv)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.plan import AA
from bench.store import row

_MEDIANS = (
    "published_per_s", "slowest_group_per_s", "slowest_group_b_per_s", "e2e_p50_ns", "e2e_p99_ns", "publish_p50_ns", "publish_p99_ns",
    "cpu_ns_per_delivery",
)  # fmt: skip
_SUMS = ("lost", "duplicated", "reordered", "corrupted", "unexpected")


def frame(trials: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row a trial: the columns of trials.csv, with the point's axes first; numbers as nullable floats."""
    table = pd.DataFrame([row(trial) | {"emulator": bool((trial.get("server") or {}).get("emulator"))} for trial in trials])
    for name in {*_MEDIANS, *_SUMS}.intersection(table.columns):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table


def axes(trials: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the sweep's axes, in the order of the trials."""
    return list(dict.fromkeys(str(name) for trial in trials for name in trial.get("point") or {}))


def summary(trials: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row a point and variant: rounds, medians, smallest and largest of each figure, anomalies in all.

    Percentiles here are medians *of the rounds' own* percentiles, for spreadsheets; the report merges histograms.
    A figure that no round has is empty, not 0. ``rate_bound`` ">=": the client was the limit, the rates are a lower bound of the system's.
    """
    trials = [trial for trial in trials if trial.get("lane") != AA]  # a second measurement is no figure of its variant
    table = frame(trials)
    if table.empty:
        return table
    keys = [*axes(trials), "variant"]
    groups = table.groupby(keys, sort=False, dropna=False)
    parts = {
        "rounds": groups.size(),
        "ok": groups["status"].agg(lambda status: int((status == "ok").sum())),
        "emulator": groups["emulator"].first(),
    }
    for name in _MEDIANS:
        parts |= {f"{name}_median": groups[name].median(), f"{name}_min": groups[name].min(), f"{name}_max": groups[name].max()}
    parts |= {name: groups[name].sum(min_count=1) for name in _SUMS}
    parts["findings"] = groups["findings"].agg(lambda found: " ".join(sorted({code for codes in found for code in str(codes).split()})))
    bound = [{"client-bound"} < {*codes.split()} & {"client-bound", "saturated", "rate-not-reached"} for codes in parts["findings"]]
    parts["rate_bound"] = pd.Series([">=" if one else "" for one in bound], index=parts["findings"].index)
    return pd.DataFrame(parts).reset_index()
