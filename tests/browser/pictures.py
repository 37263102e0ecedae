"""`make pictures`: the pictures of README.md and docs/, taken from the report of the committed runs in headless Chromium.

Equal results and an equal browser give equal files: nothing moves, colours are reduced to a palette, no time is written into them.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "unit"))  # reports makes small runs with what stands there

import looking
import reports
from committed import RUN, TOGETHER
from PIL import Image

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
LIMIT_B = 300_000
COLOURS = 256
# What a chart's name begins with, in the order of the page, and which of several: the last point has the highest rate.
CHARTS = {"forest": -1, "rates": -1, "percentiles": -1, "cost": -1, "matrix": 0}
# A chart off its page: room around it, its data left out. By script, since the page's policy lets no style in.
ALONE = """(figure) => {
  figure.querySelector("details")?.remove();
  Object.assign(figure.style, { padding: "16px", background: "var(--paper)" });
}"""


def saved(name: str, png: bytes) -> Path:
    """Write a picture with a palette."""
    with Image.open(io.BytesIO(png)) as full:
        # Most colours are shades between ink and paper, and the few others must stay: by coverage; dithering would blur text.
        small = full.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    path = FOLDER / f"{name}.png"
    small.save(path, optimize=True)
    return path


def screen(look: looking.Look, width: int, height: int) -> bytes:
    """What the window shows of the page's top."""
    look.page.set_viewport_size({"width": width, "height": height})
    return look.page.screenshot(animations="disabled", caret="hide")


def taken(run: Path, everything: Path) -> Iterator[tuple[str, bytes]]:
    """(name, PNG) of every picture: the first screen of the report of one run, charts of the report of all committed ones."""
    with looking.started() as browser:
        with looking.window(browser) as look:
            look.open(run)
            yield "report", screen(look, looking.WIDE, 1000)
            look.set(dark=True)
            yield "report-dark", screen(look, looking.WIDE, 1000)
        with looking.window(browser, width=looking.NARROW, scale=2) as look:
            look.open(run)
            yield "report-narrow", screen(look, looking.NARROW, 844)
        with looking.window(browser, width=760, scale=2) as look:
            look.open(everything)
            for name, which in CHARTS.items():
                found = look.page.query_selector_all(f"figure[id^='chart-{name}']")
                real = [figure for figure in found if "emulated" not in str(figure.get_attribute("id"))]
                if real:
                    real[which].evaluate(ALONE)
                    yield f"chart-{name}", real[which].screenshot(animations="disabled")


def main() -> int:
    """Take them all anew; 1 where one is too large."""
    reason = looking.missing()
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
        return 3
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as out:
        run = reports.reported(Path(out) / "run", [RUN])
        everything = reports.reported(Path(out) / "all", TOGETHER)
        made = [saved(name, png) for name, png in taken(run, everything)]
    large = [path for path in made if path.stat().st_size > LIMIT_B]
    for path in made:
        sys.stdout.write(
            f"{path.relative_to(FOLDER.parents[1])}: {path.stat().st_size // 1000} kB{' TOO LARGE' if path in large else ''}\n"
        )
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
