"""A gate as JUnit XML, for the test tab of a pipeline (pure): one case a metric, and one for what is no estimate: trials and promises.

The format is what Jenkins, GitLab and others read (https://github.com/testmoapp/junitxml). A regression is a failure. What cannot be told
is an error, as it ends the command with exit code 4; a failure or skipped where `--on-inconclusive` makes it one or lets it pass.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import FinalResult

from bench.gate.asked import METRICS, show_percent
from bench.gate.past import how_wide

Json = Mapping[str, Any]
DELIVERY = "every trial ends, every promise is kept"
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(data: Json) -> str:
    """The XML text of gate.json."""
    suite = TestSuite(_legal(f"brokerbench gate: {data['scenario']}"))
    for name in ("base", "head"):
        suite.add_property(name, _legal(data[name]["spec"]))
    cases = [_delivery(data)]
    before = data.get("past")
    if before is None or not before["alone"]:
        cases += [_metric(data, name, "", data["standings"], _told(data, name, "rows", _row)) for name in data["metrics"]]
    if before is not None:
        cases += [
            _metric(data, name, ", against the past", before["standings"], _told(data, name, "past", _row_past)) for name in data["metrics"]
        ]
    suite.add_testcases(cases)
    xml = JUnitXml("brokerbench")
    xml.add_testsuite(suite)
    xml.update_statistics()  # type: ignore[no-untyped-call]  # the library's
    suite.time = xml.time = round(data["seconds"], 3)  # of the whole: a round measures several metrics at once
    text = io.BytesIO()
    xml.write(text)
    return text.getvalue().decode("utf-8") + "\n"


def _case(data: Json, name: str) -> TestCase:
    return TestCase(_legal(name), classname=_legal(f"brokerbench.{data['scenario']}"))


def _delivery(data: Json) -> TestCase:
    """Fails where a promise was broken or a trial failed: the gate said no without any estimate, or there was nothing to compare with."""
    case, verdict = _case(data, DELIVERY), data["verdict"]
    told = _legal("; ".join(data["reasons"]))
    if verdict == "base broken":
        case.result = [Error(told, "base broken")]
    elif verdict == "failed" and "fails" not in (*data["standings"].values(), *((data.get("past") or {}).get("standings", {}).values())):
        case.result = [Failure(told, "delivery")]
    return case


def _metric(data: Json, name: str, against: str, standings: Mapping[str, str], told: str) -> TestCase:
    case = _case(data, METRICS[name].title + against)
    case.result = _results(data, standings.get(name), told)
    if told:
        case.system_out = told
    return case


def _results(data: Json, standing: str | None, told: str) -> list[FinalResult]:
    if data["verdict"] in ("failed", "base broken") and standing is None:
        return [Skipped("not compared: the gate ended before")]
    if standing == "fails":
        return [Failure(told, "regression")]
    if standing == "passes":
        return []
    return [_unclear(data, told or _legal("; ".join(data["reasons"]) or "not enough was measured"))]


def _unclear(data: Json, why: str) -> FinalResult:
    kinds: dict[str, type[FinalResult]] = {"pass": Skipped, "fail": Failure}
    return kinds.get(data["options"]["on_inconclusive"] or "", Error)(why, "inconclusive")


def _told(data: Json, name: str, kind: str, say: Callable[[Json], str]) -> str:
    """What each measurement said of a metric: ``kind`` "rows" (against base) or "past"."""
    rows = [row for measured in data["measurements"] for row in measured.get(kind) or () if row["metric"] == name]
    return _legal("; then ".join(map(say, rows)))


def _row(row: Json) -> str:
    if row["ratio"] is None:
        return f"{row['verdict']}: {row['why']}"
    interval = f" ({row['low']:.3f} to {row['high']:.3f})" if row["low"] is not None else ""
    why = f", {row['why']}" if row["why"] else ""
    return f"{row['verdict']}: {row['ratio']:.3f} of base's{interval}, margin {show_percent(row['margin'])}{why}"


def _row_past(row: Json) -> str:
    if row["ratio"] is None:
        return f"inconclusive: {row['why']}"
    return f"{row['ratio']:.3f} of the past's, {how_wide(row)}"


def _legal(text: str) -> str:
    """Without what XML 1.0 has no way to write."""
    return _NO_XML.sub("?", text)
