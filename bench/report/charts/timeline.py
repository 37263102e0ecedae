"""What faults did over time: backlog, rate and latency of each group of one variant on one time axis, the faults marked above."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.analysis.summary import Spread, VariantPoint
from bench.report import figures, over_time, svg, text
from bench.report.charts import names, scales
from bench.report.over_time import Bin, Timed
from bench.report.sheet import EDGE, LABEL, SMALL, WIDTH, Sheet, fitted, sheet
from bench.report.svg import DASHES, GRID, INK, MARKERS, QUIET, SERIES, Chart
from bench.report.table import Builder, Table

Json = Mapping[str, Any]

LANES_MAX = 6
GROUPS_MAX = 5
_BINS_MAX = 90
_LEFT, _RIGHT = 56.0, 166.0
_LANE, _PANEL, _GAP, _FOOT = 19.0, 96.0, 20.0, 38.0
_HATCHES = {"kill": "xxxx", "stop": "\\\\\\\\", "network": "////", "pause": "----", "slow": "....", "away": "||||"}
FLOOR_NS = 1e3  # of an axis of latency over time
_BLACK_HOLES = ("timeout", "down")


@dataclass(frozen=True)
class Lane:
    """One fault, which may have struck several times: (injected, healed or None, recovered or None) in seconds from go."""

    kind: str
    name: str
    times: tuple[tuple[float, float | None, float | None], ...]


def lanes(trial: Json) -> list[Lane]:
    """The faults that were injected, in the order of their first time."""
    found: dict[tuple[str, str], list[tuple[float, float | None, float | None]]] = {}
    for fault in trial.get("faults") or ():
        if fault.get("injected_s") is not None:
            key = (str(fault.get("fault")), called(fault))
            found.setdefault(key, []).append((float(fault["injected_s"]), fault.get("healed_s"), fault.get("recovered_s")))
    return [Lane(kind, name, tuple(times)) for (kind, name), times in found.items()]


def called(fault: Json) -> str:
    """A fault in words: "kill consumer.inventory.0", "black hole links", "network, latency, server.1"."""
    kind, toxic, target = (str(fault.get(key) or "") for key in ("fault", "toxic", "target"))
    if kind == "network":
        kind = "black hole" if toxic in _BLACK_HOLES else f"network {toxic}".strip()
    return f"{kind} {target}".strip()


def draw(run: Timed, result: VariantPoint, name: str) -> Chart | None:
    """One variant at one point: the round in the middle by how far behind a group was. None where no trial had a fault."""
    trial = chosen(result.trials)
    if trial is None:
        return None
    seconds = over_time.length(run, trial)
    bins = over_time.bins(run, trial, over_time.width(seconds, _BINS_MAX))
    if not bins:
        return None
    shown = _shown(bins, over_time.groups(trial))
    strip = lanes(trial)
    rows = strip if len(strip) <= LANES_MAX else _by_kind(strip)
    q, which = over_time.percentile([one for b in bins for key, one in b.latency.items() if key])
    with svg.style():
        body = _LANE * len(rows) + _GAP * 0.4 + 3 * _PANEL + 2 * _GAP + _FOOT
        paper = sheet(title(result, trial), _caption(result, trial, bins, shown, which), body)
        below = _FOOT + 3 * _PANEL + 2 * _GAP + _GAP * 0.4
        panels = [_panel(paper, body, _FOOT + i * (_PANEL + _GAP)) for i in (2, 1, 0)]
        top = paper.axes(_LEFT, below, _RIGHT, body - below - _LANE * len(rows))
        end = bins[-1].end_s
        _lanes(paper, top, rows, end)
        for axes in panels:
            _shade(axes, strip, end)
        _backlog(panels[0], bins, shown)
        _rate(panels[1], bins, shown)
        told = _latency(panels[2], bins, shown, q)
        _keys(paper, panels, shown, (which, told))
        return svg.render(paper, name, _alt(result, trial, shown), _table(result, bins, over_time.groups(trial), q, which))


def chosen(trials: Sequence[Json]) -> Json | None:
    """Of the trials that had a fault, the one in the middle by the largest backlog: one round, not an average that never was."""
    struck = [trial for trial in trials if trial.get("status") == "ok" and lanes(trial)]
    ordered = sorted(struck, key=lambda trial: (_most(trial)[1], int(trial.get("round") or 0), int(trial["trial"])))
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def _most(trial: Json) -> tuple[str, int]:
    """The group that was most behind, and by how much; ("", 0) where it was not kept."""
    kept = (trial.get("phases") or {}).get("groups") or {}
    known = [(str(group), int((one or {}).get("backlog_max") or 0)) for group, one in kept.items()]
    return max(known, key=lambda pair: pair[1], default=("", 0))


def title(result: VariantPoint, trial: Json) -> str:
    """What the faults did: how far behind, how long until caught up, who else had to wait, what was lost."""
    strip = lanes(trial)
    struck = text.listed(f"{lane.name}{f' ({len(lane.times)} times)' if len(lane.times) > 1 else ''}" for lane in strip[:3])
    struck += f" and {text.many(len(strip) - 3, 'other fault')}" if len(strip) > 3 else ""
    said = [_behind(trial), _stood_still(trial), _missing(trial)]
    called = names.in_title(names.called([result])[result.id])
    return f"{called}, {struck}: {'; '.join(one for one in said if one)}"


def _behind(trial: Json) -> str:
    group, most = _most(trial)
    phases = trial.get("phases") or {}
    if not phases:
        return "what was behind was not kept"
    of = f"{group} was " if len(over_time.groups(trial)) > 1 else ""
    if not most:
        return "never behind"
    behind = f"{of}{text.many(most, 'message')} behind at the worst"
    caught, healed = (phases["groups"][group] or {}).get("caught_up_s"), phases.get("healed_s")
    if caught is None or healed is None:
        return f"{behind}, not caught up in this trial"
    return f"{behind}, caught up {_after(caught - healed)}"


def _after(seconds: float) -> str:
    return f"{text.duration(seconds * 1e9)} after the last heal" if seconds > 0 else "by the last heal"


def _stood_still(trial: Json) -> str:
    """The longest time without a delivery of a group whose own consumers nobody struck, from a second on."""
    struck = {str(fault.get("target")).split(".")[1] for fault in trial.get("faults") or () if str(fault.get("target")).count(".")}
    gaps = [
        (float(gap), str(group))
        for fault in trial.get("faults") or ()
        for group, counts in (fault.get("counts") or {}).items()
        if group not in struck and (gap := counts.get("unavailable_to_consumers_s")) and gap >= 1.0
    ]
    if not gaps:
        return ""
    longest, group = max(gaps)
    who = f"{group} got " if len(over_time.groups(trial)) > 1 else ""
    return f"{who}nothing{'' if who else ' delivered'} for {text.duration(longest * 1e9)}"


def _missing(trial: Json) -> str:
    """Lost messages, and those without an outcome that never came."""
    audit = list((trial.get("audit") or {}).values())
    lost = [row.get("lost") for row in audit]
    unknown = sum(int(row.get("unknown") or 0) for row in audit)
    told = ["lost: not decided" if None in lost else f"{sum(lost):,} lost" if sum(lost) else ""] if lost else []
    told.append(f"{unknown:,} without outcome never came" if unknown else "")
    return ", ".join(one for one in told if one) or ("nothing lost" if lost else "")


def _shown(bins: Sequence[Bin], names: Sequence[str]) -> list[str]:
    """At most so many groups: those that were most behind, in the scenario's order."""
    worst = sorted(names, key=lambda group: -max(b.behind[group] for b in bins))[:GROUPS_MAX]
    return [group for group in names if group in worst]


def _by_kind(strip: Sequence[Lane]) -> list[Lane]:
    """Too many for a lane each: one for each kind."""
    merged: dict[str, list[Lane]] = {}
    for lane in strip:
        merged.setdefault(lane.kind, []).append(lane)
    return [
        Lane(kind, own[0].name if len(own) == 1 else f"{kind}: {len(own)} targets", tuple(sorted(t for lane in own for t in lane.times)))
        for kind, own in merged.items()
    ][:LANES_MAX]


def _caption(result: VariantPoint, trial: Json, bins: Sequence[Bin], shown: Sequence[str], which: str) -> str:
    struck = [one for one in result.trials if one.get("status") == "ok" and lanes(one)]
    rounds = f"Round {trial.get('round')}, the middle one of {len(struck)} by the largest backlog" if len(struck) > 1 else "One round"
    spread = Spread.of(_most(one)[1] for one in struck)
    if len(struck) > 1 and spread:
        rounds += f" (most behind over rounds: {text.ranged(spread, text.count)})"
    width = bins[0].end_s - bins[0].start_s
    behind = "accepted and not processed, the most in" if over_time.exact(trial) else "sent and not delivered, at the end of a second in"
    left_out = len(over_time.groups(trial)) - len(shown)
    not_struck = sum(fault.get("injected_s") is None for fault in trial.get("faults") or ())
    n = sum(one.n for b in bins for key, one in b.latency.items() if not key)
    first = (
        f"{rounds}, {text.at(result.point)}. Behind: {behind} {each(width)}; messages a second, repeats and drain included; "
        f"end-to-end latency from the intended time by the second of arrival, of what was due in the measured window (n = {n:,}), "
        f"{which} where ten samples lie beyond it. Shaded: from injection to heal; tick: first message processed after it."
    )
    told = [first]
    told += [f"{text.many(left_out, 'group')} less behind not drawn."] if left_out > 0 else []
    killed = any(lane.kind == "kill" and "consumer" in lane.name for lane in lanes(trial))
    told += ["The latencies that a killed consumer had counted went with it."] if killed else []
    told += [f"{text.many(not_struck, 'fault')} not injected."] if not_struck else []
    return " ".join(told)


def each(width: int) -> str:
    """Of bins of so many seconds."""
    return "each second" if width == 1 else f"each {width} s"


def _panel(paper: Sheet, body: float, bottom: float) -> Axes:
    return paper.axes(_LEFT, bottom, _RIGHT, body - bottom - _PANEL)


def _lanes(paper: Sheet, axes: Axes, rows: Sequence[Lane], end: float) -> None:
    """A bar a fault above the panels; its name to the right, where there is room for any number of them."""
    axes.set_xlim(0, end)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_axis_off()
    right = WIDTH - _RIGHT
    thin = end / 200  # a fault of an instant is still to be seen
    for row, lane in enumerate(rows):
        hatch = _HATCHES.get(lane.kind, "++++")
        for injected, healed, recovered in lane.times:
            long = max((end if healed is None else min(healed, end)) - injected, thin)
            axes.broken_barh([(injected, long)], (row - 0.32, 0.64), facecolor=GRID, edgecolor=INK, linewidth=0.7, hatch=hatch)
            if recovered is not None and recovered <= end:
                axes.plot([recovered, recovered], [row - 0.44, row + 0.44], color=INK, linewidth=1.6)
        _, y = paper.place(axes, 0, row)
        times = f" \u00d7{len(lane.times)}" if len(lane.times) > 1 else ""
        room = _RIGHT - 10 - EDGE
        paper.text(right + 10, y, fitted(lane.name, room - 6 * len(times), SMALL) + times, SMALL, va="center", color=INK)


def _shade(axes: Axes, strip: Sequence[Lane], end: float) -> None:
    axes.set_xlim(0, end)
    for lane in strip:
        for injected, healed, _ in lane.times:
            axes.axvspan(injected, end if healed is None else min(healed, end), color=GRID, alpha=0.6, linewidth=0, zorder=0)
            axes.axvline(injected, color=QUIET, linewidth=0.6, zorder=1)


def _backlog(axes: Axes, bins: Sequence[Bin], shown: Sequence[str]) -> None:
    most = max((b.behind[group] for b in bins for group in shown), default=0)
    for i, group in enumerate(shown):
        _stairs(axes, bins, [b.behind[group] for b in bins], i)
    linear(axes, most, "behind (messages)")


def _rate(axes: Axes, bins: Sequence[Bin], shown: Sequence[str]) -> None:
    edges = [bins[0].start_s, *(b.end_s for b in bins)]
    axes.stairs([b.published_per_s for b in bins], edges, color=GRID, fill=True, zorder=0.5)
    axes.stairs([b.published_per_s for b in bins], edges, color=QUIET, linewidth=0.9, zorder=2, baseline=None)
    for i, group in enumerate(shown):
        _stairs(axes, bins, [b.delivered_per_s[group] for b in bins], i)
    most = max([b.published_per_s for b in bins] + [b.delivered_per_s[group] for b in bins for group in shown])
    linear(axes, most, "messages/s")


def _stairs(axes: Axes, bins: Sequence[Bin], values: Sequence[float], number: int) -> None:
    edges = [bins[0].start_s, *(b.end_s for b in bins)]
    axes.stairs(values, edges, color=SERIES[number], linestyle=DASHES[number], linewidth=1.5, baseline=None, zorder=3 + number / 10)
    every = max(1, len(bins) // 6)
    at = range(number * every // GROUPS_MAX, len(bins), every)
    axes.plot([bins[i].middle_s for i in at], [values[i] for i in at], color=SERIES[number], marker=MARKERS[number], markersize=4,
              linestyle="none", zorder=4)  # fmt: skip


def linear(axes: Axes, most: float, label: str) -> None:
    """An axis of counts from 0."""
    axes.set_ylim(0, max(most, 1) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, min_n_ticks=2))
    axes.yaxis.set_major_formatter(lambda v, _: scales.short(v))
    axes.grid(axis="y")
    axes.set_ylabel(label, labelpad=3)
    axes.yaxis.set_label_coords(-0.165, 0.5)
    axes.tick_params(axis="x", labelbottom=False)


def _latency(axes: Axes, bins: Sequence[Bin], shown: Sequence[str], q: float) -> bool:
    """p50 thin, the high percentile thick; a gap where nothing, or too little, arrived. Returns whether there was anything."""
    seen: list[float] = []
    for i, group in enumerate(shown):
        for share, thick in ((0.5, 0.8), (q, 1.7)) if q > 0.5 else ((0.5, 1.7),):
            values = [over_time.at(b.latency.get(group), share) for b in bins]
            seen += [scales.ms(v, FLOOR_NS) for v in values if v is not None]
            high = thick > 1
            ys = [math.nan if v is None else scales.ms(v, FLOOR_NS) for v in values]
            axes.plot(
                [b.middle_s for b in bins], ys, color=SERIES[i], linewidth=thick,
                linestyle=DASHES[i] if high else "-", marker=MARKERS[i], markersize=3.5 if high else 1.5, zorder=3 + high,
            )  # fmt: skip
    axes.grid(axis="y")
    axes.set_xlabel("seconds from the start of the load")
    axes.set_ylabel("latency (ms)")
    axes.yaxis.set_label_coords(-0.165, 0.5)
    if seen:
        scales.logarithmic(axes.yaxis, seen, room=1.6, most=4)
        axes.yaxis.set_major_formatter(lambda v, _: scales.short(v))
    else:
        axes.set_yticks([])
        axes.text(
            0.5, 0.5, "nothing that was due in the window arrived", transform=axes.transAxes, ha="center", va="center", fontsize=SMALL
        )
    return bool(seen)


def _keys(paper: Sheet, panels: Sequence[Axes], shown: Sequence[str], latency: tuple[str, bool]) -> None:
    """To the right of the panels, from the top of each: what its lines are."""
    which, drawn = latency
    right = WIDTH - _RIGHT
    room = _RIGHT - 10 - 27 - EDGE

    def top(axes: Axes) -> float:
        return paper.place(axes, 0, axes.get_ylim()[1])[1] - 6

    y = top(panels[0])
    for i, group in enumerate(shown):
        paper.sample(right + 10, y, i)
        paper.text(right + 37, y, fitted(group, room, LABEL), LABEL, va="center", color=INK)
        y -= LABEL * 1.5
    y = top(panels[1])
    paper.box(right + 10, y - 5, 22, 10, facecolor=GRID, edgecolor=QUIET, linewidth=0.9)
    paper.text(right + 37, y, "sent", LABEL, va="center", color=INK)
    paper.text(
        right + 10, y - LABEL * 1.5, fitted("lines: delivered to a group", _RIGHT - 10 - EDGE, SMALL), SMALL, va="center", color=QUIET
    )
    if drawn:
        y = top(panels[2])
        for words, wide in ((which, 1.9), ("p50", 0.8)) if which != "p50" else (("p50", 1.9),):
            paper.line((right + 10, right + 32), (y, y), color=INK, linewidth=wide)
            paper.text(right + 37, y, words, LABEL, va="center", color=INK)
            y -= LABEL * 1.5


def _table(result: VariantPoint, bins: Sequence[Bin], names: Sequence[str], q: float, which: str) -> Table:
    """A row a bin and group."""
    highest = ((f"{which}, ms", True),) if which != "p50" else ()
    builder = Builder(
        f"Over time: {figures.name(result)}, {text.point_name(result.point)}",
        (("From, s", True), ("To, s", True), ("Sent /s", True), ("Delivered /s", True), ("Behind", True), ("n", True), ("p50, ms", True),
         *highest),
    )  # fmt: skip
    for group in names:
        rows: list[tuple[str, ...]] = []
        for b in bins:
            histogram = b.latency.get(group)
            shares = (0.5, q) if highest else (0.5,)
            latencies = [text.milli(over_time.at(histogram, share)) for share in shares]
            rows.append(
                (f"{b.start_s}", f"{b.end_s}", text.number(b.published_per_s), text.number(b.delivered_per_s[group]),
                 text.count(b.behind[group]), f"{histogram.n if histogram else 0:,}", *latencies)
            )  # fmt: skip
        builder.add(group, [*rows])
    return builder.whole()


def _alt(result: VariantPoint, trial: Json, shown: Sequence[str]) -> str:
    def told(injected: float, healed: float | None) -> str:
        return f"{injected:.1f} s" + ("" if healed is None else f" to {healed:.1f} s")

    spans = "; ".join(f"{lane.name} at {', '.join(told(*times[:2]) for times in lane.times)}" for lane in lanes(trial))
    return f"{figures.name(result)}: backlog, rate and latency of {text.listed(shown)} over time. {spans}."
