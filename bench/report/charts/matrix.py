"""The delivery matrix of one system: modes down, faults across; what was observed in each cell as a sign, its n and bound as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report import svg, text
from bench.report.joining import mode_name
from bench.report.sheet import EDGE, LABEL, SMALL, WIDTH, Sheet, fitted, sheet, wrapped
from bench.report.svg import GRID, INK, QUIET, SERIES, Chart
from bench.report.table import Builder, Table

Json = Mapping[str, Any]

COLUMNS_MAX = 6
_NAMES = 118.0
_ROW, _HEAD, _GAP, _KEY = 46.0, 42.0, 10.0, 19.0


@dataclass(frozen=True)
class Kind:
    """What can be seen in a cell: a sign, a word for it, a colour and how strong it is (0 = a frame only)."""

    sign: str
    word: str
    colour: str
    strength: float


OK = Kind("\u2713", "all arrived once", SERIES[2], 0.2)
REPEATS = Kind("+", "repeats, as allowed", SERIES[0], 0.22)
LOSS = Kind("\u2212", "loss, as allowed", SERIES[4], 0.3)
BOTH = Kind("\u00b1", "loss and repeats, as allowed", SERIES[4], 0.3)
VIOLATED = Kind("\u2717", "promise violated", SERIES[1], 0.4)
OPEN = Kind("?", "undetermined", QUIET, 0.0)
VACUOUS = Kind("\u2205", "struck nothing in flight", QUIET, 0.0)
FAILED = Kind("!", "failed", QUIET, 0.0)
UNTRIED = Kind("\u00b7", "not tried", GRID, 0.0)
NONE = Kind("\u2013", "there is no such cell", GRID, 0.0)
_KINDS = (OK, REPEATS, LOSS, BOTH, VIOLATED, OPEN, VACUOUS, FAILED, UNTRIED, NONE)
_TRIED = (OK, REPEATS, LOSS, BOTH, VIOLATED)


def kind(cell: Json | None) -> Kind:
    """What the cell's sign is; None: the matrix has no such cell."""
    if cell is None or cell.get("status") == "unsupported":
        return NONE
    judged = cell.get("judged")
    if not judged:
        return FAILED if cell.get("status") == "failed" else UNTRIED
    if judged.get("verdict") == "violated":
        return VIOLATED
    if judged.get("verdict") == "undetermined" or not judged.get("n"):
        return VACUOUS if judged.get("verdict") == "vacuous" else OPEN
    lost, repeated = (((judged.get("shares") or {}).get(name) or {}).get("events") for name in ("lost", "duplicated"))
    return BOTH if lost and repeated else LOSS if lost else REPEATS if repeated else OK


def words(cell: Json | None) -> tuple[str, ...]:
    """Beneath the sign: n and the bound on losing something, or how often it lost; at most two short lines."""
    judged = (cell or {}).get("judged")
    seen = kind(cell)
    if not judged or not cell:
        return {UNTRIED: ("not tried",), FAILED: ("failed",)}.get(seen, (text.NONE,))
    if seen in (OPEN, VACUOUS):
        return (f"n {judged.get('n') or 0}", "open" if seen is OPEN else "no effect")
    lost = (judged.get("shares") or {}).get("lost") or {}
    if lost.get("events"):
        return ("lost in", f"{lost['events']} of {lost['n']}")
    if seen is VIOLATED:
        return (f"n {judged['n']}", str((judged.get("violations") or [""])[0]))
    return (f"n {judged['n']}", f"p < {text.percent(lost['high'])}") if lost.get("high") is not None else (f"n {judged['n']}",)


def draw(cells: Sequence[Json], system: str, name: str, *, called: str = "") -> Chart | None:
    """One system of guarantees.json (its "cells"); ``called``: its name for people. None where it has none, or none was tried."""
    own = [cell for cell in cells if cell["system"] == system]
    if not any(cell.get("judged") for cell in own):
        return None
    modes = list(dict.fromkeys((str(cell["variant"]), mode_name(cell), str(cell["mode"]["delivery"])) for cell in own))
    tried = {str(cell["fault"]) for cell in own if cell.get("judged")}
    faults = [fault for fault in dict.fromkeys(str(cell["fault"]) for cell in own) if fault in tried]
    found = {(str(cell["variant"]), str(cell["fault"])): cell for cell in own}
    blocks = [faults[i : i + COLUMNS_MAX] for i in range(0, len(faults), COLUMNS_MAX)]
    seen = [one for one in _KINDS if any(kind(found.get((variant, fault))) is one for variant, _, _ in modes for fault in faults)]
    keys = math.ceil(len(seen) / 2) * _KEY + 12
    with svg.style():
        body = len(blocks) * (_HEAD + len(modes) * _ROW) + (len(blocks) - 1) * _GAP + keys
        paper = sheet(title(called or system, own), _caption(own, faults), body)
        top = paper.top
        for block in blocks:
            _block(paper, top, block, modes, found)
            top -= _HEAD + len(modes) * _ROW + _GAP
        _keys(paper, paper.bottom + keys - 8, seen)
        return svg.render(paper, name, _alt(called or system, modes, faults, found), _table(called or system, modes, faults, found))


def title(system: str, own: Sequence[Json]) -> str:
    """Whether the promise held, and what was seen where it allows it."""
    kinds = [(kind(cell), cell) for cell in own]
    judged = [one for one, _ in kinds if one in _TRIED]
    n = sum(cell["judged"]["n"] for one, cell in kinds if one in _TRIED)
    broken = [f"{cell['mode']['name']} under {cell['fault']}" for one, cell in kinds if one is VIOLATED]
    allowed = [
        f"{word} in {count}"
        for word, of in (("loss", (LOSS, BOTH)), ("repeats", (REPEATS, BOTH)))
        if (count := sum(k in of for k in judged))
    ]
    if not judged:
        return f"{system}: nothing could be decided yet"
    head = f"{system}: promise violated by {text.listed(broken[:3])}" if broken else f"{system}: no promise violated"
    head += f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    told = f"{head} ({text.many(len(judged), 'cell')}, {text.many(n, 'injection')})"
    return f"{told}; {' and '.join(allowed)} where allowed" if allowed else told


def _caption(own: Sequence[Json], faults: Sequence[str]) -> str:
    told = (
        "Beneath a mode stands what it promises. n: injections that struck something and could be decided; p: 95% upper bound of the "
        "probability that such a fault loses an acknowledged message, where none did; loopback on shared cores."
    )
    odd = sum(bool((cell.get("judged") or {}).get("surprises")) for cell in own)
    left = [fault for fault in dict.fromkeys(str(cell["fault"]) for cell in own) if fault not in faults]
    told += f" A frame: the documentation does not predict it ({text.many(odd, 'cell')})." if odd else ""
    return told + (f" Not tried in any mode: {text.listed(left)}." if left else "")


def _block(
    paper: Sheet, top: float, faults: Sequence[str], modes: Sequence[tuple[str, str, str]], found: Mapping[tuple[str, str], Json]
) -> None:
    """So many faults as fit side by side, under their names."""
    wide = (WIDTH - EDGE - _NAMES) / COLUMNS_MAX
    for i, fault in enumerate(faults):
        lines = wrapped(fault.replace("-", " "), wide - 3, SMALL, most=3)
        for j, line in enumerate(lines):
            y = top - _HEAD + 6 + (len(lines) - 1 - j) * SMALL * 1.2
            paper.text(_NAMES + (i + 0.5) * wide, y, line, SMALL, ha="center", color=INK)
    for row, (variant, mode, delivery) in enumerate(modes):
        high = top - _HEAD - row * _ROW
        paper.text(EDGE, high - 13, fitted(mode, _NAMES - EDGE - 4, LABEL), LABEL, color=INK)
        for j, line in enumerate(wrapped(text.promise(delivery), _NAMES - EDGE - 4, SMALL, most=2)):
            paper.text(EDGE, high - 26 - j * SMALL * 1.2, line, SMALL, color=QUIET)
        for i, fault in enumerate(faults):
            _cell(paper, (_NAMES + i * wide, high - _ROW), wide, found.get((variant, fault)))


def _cell(paper: Sheet, at: tuple[float, float], wide: float, cell: Json | None) -> None:
    """A box with the sign above and the words beneath."""
    x, y = at
    seen = kind(cell)
    paper.box(x + 1.5, y + 1.5, wide - 3, _ROW - 3, facecolor=seen.colour, alpha=seen.strength or 0.0, linewidth=0)
    if seen is VIOLATED:
        paper.box(x + 2.5, y + 2.5, wide - 5, _ROW - 5, facecolor="none", edgecolor=seen.colour, linewidth=2.4)
    if seen in (OPEN, VACUOUS, FAILED, UNTRIED):
        paper.box(x + 2, y + 2, wide - 4, _ROW - 4, facecolor="none", edgecolor=seen.colour, linewidth=0.9, linestyle=(0, (2, 2)))
    if ((cell or {}).get("judged") or {}).get("surprises"):
        paper.box(x, y, wide, _ROW, facecolor="none", edgecolor=INK, linewidth=1.6)
    colour = QUIET if seen in (UNTRIED, NONE) else INK
    paper.text(x + wide / 2, y + _ROW - 15, seen.sign, 13, ha="center", color=colour, fontweight="bold")
    for i, line in enumerate(words(cell)):
        paper.text(x + wide / 2, y + 18.5 - i * SMALL * 1.2, fitted(line, wide - 4, SMALL), SMALL, ha="center", color=colour)


def _keys(paper: Sheet, top: float, seen: Sequence[Kind]) -> None:
    """What the signs mean, two to a line."""
    for i, one in enumerate(seen):
        x, y = EDGE + (i % 2) * (WIDTH / 2), top - (i // 2) * _KEY - 12
        paper.box(x, y - 3, 20, 15, facecolor=one.colour, alpha=one.strength or 0.0, linewidth=0)
        paper.text(x + 10, y, one.sign, LABEL, ha="center", color=INK, fontweight="bold")
        paper.text(x + 26, y, one.word, SMALL, color=INK)


def _table(system: str, modes: Sequence[tuple[str, str, str]], faults: Sequence[str], found: Mapping[tuple[str, str], Json]) -> Table:
    builder = Builder(f"{system}: delivery under faults", (("Mode", False), ("Promise", False), *((fault, False) for fault in faults)))
    rows = []
    for variant, mode, delivery in modes:
        told = [" ".join((f"{kind(cell).word}:", *words(cell))) for fault in faults for cell in [found.get((variant, fault))]]
        rows.append((mode, text.promise(delivery), *told))
    builder.add("", [*rows])
    return builder.whole()


def _alt(system: str, modes: Sequence[tuple[str, str, str]], faults: Sequence[str], found: Mapping[tuple[str, str], Json]) -> str:
    told = []
    for variant, mode, _ in modes:
        cells = [f"{fault} {kind(cell).word}" for fault in faults if (cell := found.get((variant, fault))) and kind(cell) in _TRIED]
        if cells:
            told.append(f"{mode}: {', '.join(cells)}")
    return f"Delivery matrix of {system}. {'; '.join(told)}."
