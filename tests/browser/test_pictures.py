"""The pictures of README.md and docs/: all that `make pictures` makes, shown somewhere, small, and none that nobody made."""

from __future__ import annotations

import re
from pathlib import Path

import pictures
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SHOWN = {
    (page.parent / target).resolve()
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    for target in re.findall(r"\]\(([^)#\s]+\.png)\)", page.read_text(encoding="utf-8"))
}


def test_each_is_shown_and_each_that_is_shown_is_there():
    assert {path.resolve() for path in pictures.FOLDER.glob("*.png")} == SHOWN


@pytest.mark.parametrize("path", sorted(SHOWN), ids=lambda path: path.name)
def test_it_is_small_and_tells_no_time(path):
    assert path.stat().st_size <= pictures.LIMIT_B
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert not picture.info.keys() - {"dpi", "transparency"}
        assert min(picture.size) >= 400


def test_equal_screens_are_equal_files(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    whole = Image.effect_mandelbrot((320, 200), (-2, -1, 1, 1), 60).convert("RGB")
    whole.save(tmp_path / "whole.png")
    png = (tmp_path / "whole.png").read_bytes()
    first = pictures.saved("a", png).read_bytes()
    assert first == pictures.saved("b", png).read_bytes()
    assert len(first) < len(png)
