"""With several workers, tests of one group run in one of them: else each worker starts every server for itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

GROUPED = """
import pytest

@pytest.mark.xdist_group("server")
@pytest.mark.parametrize("number", range(8))
def test_one(number):
    pass
"""


def test_a_group_stays_in_one_worker(tmp_path):
    (tmp_path / "test_grouped.py").write_text(GROUPED)
    command = [sys.executable, "-m", "pytest", "-v", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", "test_grouped.py"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=60, check=False)
    workers = re.findall(r"\[(gw\d)\].* PASSED", done.stdout)
    assert len(workers) == 8, done.stdout + done.stderr
    assert len(set(workers)) == 1, done.stdout


def test_the_groups_of_conftest_are_given_in_time():
    """Of a system's tests, by the name that pytest-xdist gives them; where it looked before tests/conftest.py, they have none."""
    command = [sys.executable, "-m", "pytest", "-v", "-n", "1", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    asked = [*command, "tests/contract/test_expected.py", "-k", "kinesis"]
    done = subprocess.run(asked, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=100, check=False)
    passed = re.findall(r"PASSED (.*)", done.stdout)
    assert passed, done.stdout + done.stderr
    assert all(name.strip().endswith("@kinesis") for name in passed), done.stdout
