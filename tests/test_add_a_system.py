"""docs/add-a-system.md, done: its blocks are written out, registered by entry points, and the contract suite takes the system up."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "add-a-system.md"
BLOCK = re.compile(r"<!-- file: (\S+) -->\n```\w*\n(.*?)```\n", re.DOTALL)


def blocks():
    """File name -> text; several blocks of one file follow each other, as on the page."""
    files: dict[str, str] = {}
    for name, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        files[name] = f"{files[name]}\n\n{text}" if name in files else text
    return files


@pytest.fixture
def package(tmp_path):
    """The page's files as an installed distribution: what pip would write of its pyproject.toml, pip not being needed for it."""
    files = blocks()
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points), encoding="utf-8")
    return tmp_path


def run(package, *command, timeout_s=110, **more):
    path = os.pathsep.join([str(package), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "BROKERBENCH_REQUIRE": "all", **more}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def contract(package, selected, **more):
    return run(package, "-m", "pytest", "tests/contract", "-q", "-p", "no:cacheprovider", "-k", selected, **more)


def test_the_page_has_all_the_files():
    assert set(blocks()) == {"shelf_server.py", "shelf.py", "shelf_recipe.py", "shelf_contract.py", "pyproject.toml"}


def test_the_page_is_typed_as_this_repository_is(package):
    done = run(package, "-m", "mypy", "--strict", str(package / "shelf.py"), str(package / "shelf_recipe.py"))
    assert done.returncode == 0, done.stdout


@pytest.mark.server
@pytest.mark.slow
def test_the_contract_suite_takes_the_system_up(package):
    sys.path.insert(0, str(ROOT / "tests" / "contract"))
    try:
        from checks import CHECKS
    finally:
        sys.path.remove(str(ROOT / "tests" / "contract"))
    done = contract(package, "shelf or every_system")
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{len(CHECKS) + 3} passed" in done.stdout, done.stdout[-1000:]  # and what it is expected to declare


@pytest.mark.server
@pytest.mark.slow
def test_the_contract_suite_catches_a_toy_that_drops_every_thousandth_message(package):
    adapter = package / "shelf.py"
    text = adapter.read_text(encoding="utf-8")
    whole = "for row in block.messages(lo, lo + count)]"
    assert whole in text
    dropping = whole.replace("]", " if int.from_bytes(row[:4], 'little') % 1000 != 999]")
    adapter.write_text(text.replace(whole, dropping), encoding="utf-8")
    done = contract(package, "fans_out and shelf", BROKERBENCH_CONTRACT_WAIT_S="5")
    assert done.returncode == 1, done.stdout[-4000:]
    assert "are missing" in done.stdout
