"""The page's script answers as bench/choosing/answers.py does, word for word, over many needs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from make_choosing import collection, needs_at_random

from bench.choosing.answers import answer
from bench.report import choose
from bench.report.markup import TEMPLATES

ASK = """
const fs = require("fs");
const chooser = new Function(fs.readFileSync(process.argv[1], "utf8") + "; return chooser;")();
const { data, asked } = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify(asked.map((needs) => data.candidates.map((one) => chooser.answer(data, one, needs)))));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here; tests/browser/test_choose.py holds it in Chromium")
def test_the_script_answers_as_python_does(tmp_path: Path) -> None:
    candidates = choose.candidates(collection(tmp_path))
    asked = [{}, *needs_at_random(600)]
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"data": choose.data(candidates), "asked": asked}), encoding="utf-8")
    done = subprocess.run(
        ["node", "-e", ASK, str(TEMPLATES / "choose.js"), str(given)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    kinds: Counter[str] = Counter()
    for needs, theirs in zip(asked, json.loads(done.stdout), strict=True):
        ours = [answer(one, needs) for one in candidates]
        assert theirs == [[one.answer, [list(words) for words in one.words]] for one in ours], needs
        kinds.update(one.answer for one in ours)
    assert min(kinds.values()) >= 5, kinds
    assert len(kinds) == 4, "each answer was given"
