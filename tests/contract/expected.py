"""expected.toml: what each system can do, by hand, so that an "unsupported" cannot grow unnoticed."""

import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import adapters
from adapters import canonical

OURS: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "expected.toml").read_text(encoding="utf-8"))
# Packages that are installed beside brokerbench bring theirs (docs/add-a-system.md); they cannot change ours.
THEIRS = {canonical(point.name): point.load().EXPECTED for point in entry_points(group="brokerbench.contract")}
EXPECTED: dict[str, dict[str, Any]] = {**THEIRS, **OURS}
SPECS = [adapters.spec(*each) for each in adapters.pairs()]  # every system, through each of its clients


def pair(text: str) -> tuple[str, str]:
    """A row's system and client."""
    system, _, client = text.partition(",client=")
    return system, client


# Modes beside the first whose row says what is different in them.
LISTED_MODES = [(system, mode) for system, row in EXPECTED.items() for mode in row.get("modes", {})]
