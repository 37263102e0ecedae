"""The sections on services that bill and limit: requests and list price of a million messages, and quotas that the scenario is over."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis import billing
from bench.analysis.summary import PointSummary, RunLike
from bench.report import text
from bench.report.figures import name
from bench.report.gallery import Shown
from bench.report.table import Builder, Cell, Table, link
from bench.report.view import Block, View, section, table

OF_AN_EMULATOR = (
    "Requests are those that this client sent to this server, empty receives and reads too, for each million messages that were sent "
    "(each to all groups). An emulator is asked as the service would be, but answers at its own speed, and does not throttle."
)


def view(shown: Sequence[Shown]) -> View | None:
    """The section; None where no service that bills was measured."""
    made = requests([one.point for one in shown])
    price = billing.prices()
    listed = (
        f"List prices of {price['region']} in {price['currency']}, before free tier, discounts, tax and transfer, as of the table's date: "
        "check them. Kinesis' leases are emulated: DynamoDB, where the KCL keeps them, would cost besides."
    )
    words = Block("note", f"{OF_AN_EMULATOR} {listed}")
    return section("billing", "Requests and list price per million messages", words, table(made), brief=(words, table(made)))


def requests(points: Sequence[PointSummary]) -> Table | None:
    """A row a variant and point."""
    builder = Builder(
        "Requests and list price per million messages",
        (("System (client)", False), ("Requests", True), ("By action", False), ("Price", True), ("Made of", False), ("As of", False)),
        note="Median over the rounds.",
    )
    for point in points:
        rows: list[tuple[str | Cell, ...]] = []
        for result in point.results:
            found = billing.bill(result.trials)
            if found is None:
                continue
            actions = ", ".join(f"{action} {text.count(n)}" for action, n in found.requests.items())
            dated = Cell(found.as_of, href=link(found.source))
            rows.append((name(result), text.count(sum(found.requests.values())), actions, f"${text.number(found.usd)}", found.by, dated))
        builder.add(text.point_name(point.point), rows)
    return builder.build()


def over_quota(run: RunLike) -> list[str]:
    """A warning a variant and quota that the run's scenario is over; points that are over it alike are told together."""
    by: dict[tuple[str, str], list[str]] = {}
    for one in run.run.get("quotas") or ():
        by.setdefault((str(one["variant"]), str(one["quota"])), []).append(str(one["point"]))
    return [f"{variant} is over a quota of its service at {'; '.join(points)}: {quota}." for (variant, quota), points in by.items()]
