"""Our own gate in CI: which revision it compares with, and what fails a build."""

import importlib.util
import shutil
from pathlib import Path

import pytest
from make_gate import gate
from repository import commit, created, git

PATH = Path(__file__).resolve().parents[2] / ".ci" / "gate.py"
SPEC = importlib.util.spec_from_file_location("own_gate", PATH)
own_gate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(own_gate)


@pytest.fixture
def clone(tmp_path):
    return created(tmp_path / "clone")


def test_base_is_where_a_branch_left_main(clone):
    forked = commit(clone, "one")
    git(clone, "update-ref", "refs/remotes/origin/main", commit(clone, "main goes on"))
    git(clone, "reset", "--quiet", "--hard", forked)
    commit(clone, "two")
    commit(clone, "three")
    assert own_gate.base_of(clone) == (forked, "the merge base with origin/main")


def test_on_main_itself_base_is_the_commit_before(clone):
    before = commit(clone, "one")
    git(clone, "update-ref", "refs/remotes/origin/main", commit(clone, "two"))
    assert own_gate.base_of(clone) == (before, "HEAD~1")


def test_without_a_remote_base_is_the_commit_before(clone):
    before = commit(clone, "one")
    commit(clone, "two")
    assert own_gate.base_of(clone) == (before, "HEAD~1")


def test_where_there_is_no_base_it_is_told(clone, tmp_path, monkeypatch):
    assert own_gate.base_of(clone) == (None, "no git here, or no commit")
    commit(clone, "one")
    assert own_gate.base_of(clone) == (None, "there is one commit only")
    commit(clone, "two")
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{clone}", "shallow")
    assert own_gate.base_of(tmp_path / "shallow") == (None, "a shallow clone has no HEAD~1")
    shutil.rmtree(tmp_path / "shallow" / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert own_gate.base_of(tmp_path / "shallow") == (None, "no git here, or no commit")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_gate.base_of(clone) == (None, "no git here, or no commit")


def test_delivery_blocks_and_speed_informs(monkeypatch, capsys):
    found = {"tcp": (1, gate({"p50": 2.0})), "zeromq": (None, None)}
    assert found["tcp"][1]["verdict"] == "failed"
    monkeypatch.setattr(own_gate, "base_of", lambda _: ("0123456789abcdef", "HEAD~1"))
    monkeypatch.setattr(own_gate, "measured", lambda system, *_: found[system])
    assert own_gate.main() == 0
    assert "tcp: failed, which informs only" in capsys.readouterr().out
    found["zeromq"] = (1, gate({"p50": 1.0}, head_broken=["trial 2, a: 1 lost"]))
    assert own_gate.main() == 1
    assert "zeromq: head breaks its promise: trial 2, a: 1 lost" in capsys.readouterr().out
    monkeypatch.setattr(own_gate, "base_of", lambda _: (None, "there is one commit only"))
    assert own_gate.main() == 0
    assert "no base" in capsys.readouterr().out
