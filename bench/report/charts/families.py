"""Points that differ along one axis of the grid only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from bench.analysis.summary import PointSummary


def along(axis: str, points: Iterable[PointSummary]) -> list[list[PointSummary]]:
    """Families of points, all of which have a number on that axis: of two points at least, each in ascending order."""
    found: dict[str, list[PointSummary]] = {}
    for point in points:
        found.setdefault(json.dumps(rest(axis, point.point), sort_keys=True, default=str), []).append(point)
    return [sorted(own, key=lambda point: float(point.point[axis])) for own in found.values() if len(own) > 1]


def rest(axis: str, point: Mapping[str, Any]) -> dict[str, Any]:
    """The point without that axis."""
    return {name: value for name, value in point.items() if name != axis}
