"""Percentile distributions as HdrHistogram's own tools read and plot them (``.hgrm``): one a point, variant and tag."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bench.analysis.summary import RunLike
from bench.histogram import Histogram, percentile_text
from bench.plan import AA
from bench.report import text


def texts(run: RunLike) -> Iterator[tuple[str, str]]:
    """(name of the file, its text) of all whose latency may be quoted: merged over trials, values in microseconds."""
    merged: dict[tuple[str, str], Histogram] = {}
    for trial in run.trials:
        if trial.get("status") != "ok" or trial.get("lane") == AA or (trial.get("workload") or {}).get("schedule") == "max":
            continue
        name = f"{trial['variant']['id']}-{text.point_name(trial['point'])}"
        for tag, histogram in run.histograms(int(trial["trial"])).items():
            merged.setdefault((name, tag), Histogram()).merge(histogram)
    for (name, tag), histogram in merged.items():
        if histogram.n:
            yield re.sub(r"[^a-z0-9]+", "-", f"{name}-{tag}".lower()).strip("-") + ".hgrm", percentile_text(histogram)
