"""A skip in this folder is a failure where all systems are required: tried on a copy of the folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SKIPPED = """
import pytest


def test_that_skips():
    pytest.skip("no server here")


@pytest.mark.skip(reason="not today")
def test_marked():
    raise AssertionError


def test_that_passes():
    pass
"""


@pytest.mark.parametrize(("require", "says"), [("all", "1 failed, 1 passed, 1 error"), ("", "1 passed, 2 skipped")])
def test_a_skip_fails_where_all_is_required(require, says, tmp_path):
    for path in (*HERE.glob("*.py"), HERE / "expected.toml"):
        if not path.name.startswith("test_"):
            shutil.copy(path, tmp_path)
    (tmp_path / "test_skipped.py").write_text(SKIPPED, encoding="utf-8")
    root = HERE.parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "BROKERBENCH_REQUIRE": require}
    command = [sys.executable, "-m", "pytest", str(tmp_path), "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert says in done.stdout, done.stdout + done.stderr
