"""Percentile distributions as HdrHistogram's own tools read and plot them (``.hgrm``): one a point, variant and tag."""

from __future__ import annotations

import re
from collections.abc import Iterator
from zlib import crc32

from bench.analysis.summary import RunLike
from bench.histogram import Histogram, percentile_text
from bench.plan import AA
from bench.report import text

LONGEST = 180


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
            yield f"{_file(f'{name}-{tag}')}.hgrm", percentile_text(histogram)


def _file(name: str) -> str:
    """A file's name of it. One that is too long for a file system is cut, its sum told; variants have as many settings as they like."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}-{crc32(name.encode()):08x}"
