"""What is installed is there as a whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.errors import EnvironmentProblem, ServerError
from bench.servers import apt, java
from bench.servers.home import building, home, locked


def test_home_is_made_and_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("BROKERBENCH_HOME", str(tmp_path / "a" / "b"))
    assert home() == tmp_path / "a" / "b"
    assert home().is_dir()
    monkeypatch.setenv("BROKERBENCH_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".cache" / "brokerbench"


def test_home_that_cannot_be_made_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BROKERBENCH_HOME", str(tmp_path / "file" / "x"))
    with pytest.raises(EnvironmentProblem, match="set BROKERBENCH_HOME to a folder that can be written"):
        home()


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def half():
        with building(tmp_path / "libs") as folder:
            (folder / "half").write_text("")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert list(tmp_path.iterdir()) == []
    with building(tmp_path / "libs") as folder:
        (folder / "whole").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["libs"]


def test_the_lock_keeps_another_process_out(monkeypatch, tmp_path):
    monkeypatch.setenv("BROKERBENCH_HOME", str(tmp_path))
    code = "from bench.servers.home import locked\nwith locked('x'): print('in', flush=True)"
    with locked("x"):
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1.0)
    assert other.communicate(timeout=30)[0] == b"in\n"


def test_maven_that_fails_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setenv("BROKERBENCH_HOME", str(tmp_path / "home"))
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho '[ERROR] no such artifact'\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ServerError, match=r"exit code 1\):\n  \[ERROR\] no such artifact"):
        java.fetch_jars("kafka", "4.4.0")
    assert not java.libs("kafka", "4.4.0").exists()


def test_without_maven(monkeypatch, tmp_path):
    monkeypatch.setenv("BROKERBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match=r"no mvn on the path.*apt-get install maven"):
        java.fetch_jars("kafka", "4.4.0")


def test_no_service_starts_while_its_package_is_installed(monkeypatch, tmp_path):
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(apt, "POLICY", policy)
    with apt.no_services():
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()
    with pytest.raises(RuntimeError), apt.no_services():
        raise RuntimeError
    assert not policy.exists()
    policy.write_text("#!/bin/sh\nexit 0\n")  # the administrator's own
    with apt.no_services():
        assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert policy.exists()


def test_apt_runs_under_the_policy_and_its_failure_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setattr(apt, "POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    tool = tmp_path / "apt-get"
    tool.write_text(
        f'#!/bin/sh\n[ -x "{tmp_path}/policy-rc.d" ] || exit 9\necho "$@" >> "{tmp_path}/calls"\n'
        'case "$*" in *no-such*) echo E: nope; exit 100;; esac\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    apt.install_packages("redis_pubsub", ["redis-server"])
    update, install = (tmp_path / "calls").read_text().splitlines()
    assert update.endswith("update")
    assert install.endswith("install -y --no-install-recommends redis-server")
    with pytest.raises(ServerError, match=r"apt-get install no-such failed \(exit code 100\):\n  E: nope"):
        apt.install_packages("x", ["no-such"])
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ServerError, match="not root; get it by: sudo apt-get install redis-server"):
        apt.install_packages("redis_pubsub", ["redis-server"])
