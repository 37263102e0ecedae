"""The fake server as a system that `brokerbench run` finds: by the entry points of a distribution that is made for it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.calibration.adapter import SYSTEM
from bench.calibration.behaviour import Behaviour, Law
from bench.calibration.recipe import FakeRecipe

GROUPS: Final = ("a", "b")
RECIPE: Final = FakeRecipe(len(GROUPS), {}, Behaviour(1, delay=Law("constant", (2.0,)), answer=Law("constant", (3.0,))), survives=True)
"""Every delay is the same, which keeps the order, and leaves something under way at any moment."""
_POINTS: Final = f"""\
[brokerbench.adapters]
{SYSTEM} = bench.calibration.adapter:Calibration
[brokerbench.servers]
{SYSTEM} = benchmarks.evidence.fake:RECIPE
"""


def distribution(folder: Path) -> Path:
    """Make ``folder`` an installed distribution that registers it: to be put on PYTHONPATH with the checkout."""
    info = folder / "brokerbench_fake-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brokerbench-fake\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(_POINTS)
    return folder
