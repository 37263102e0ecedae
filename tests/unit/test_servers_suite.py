"""Another Debian's programs: what is said where they cannot be had, and who is told that what is there."""

import re
from pathlib import Path

import pytest

from bench.errors import ServerError
from bench.servers import rabbitmq, suite
from bench.servers.suite import Suite


@pytest.fixture
def away(monkeypatch, tmp_path):
    """A machine that has neither the package nor, yet, the other Debian's."""
    monkeypatch.setenv("BROKERBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(rabbitmq, "RELEASES", tmp_path / "none")
    return tmp_path


def test_a_machine_without_apt_says_so(away, monkeypatch):
    monkeypatch.setenv("PATH", str(away))
    assert suite.impossible() == "no apt-get on the path: another Debian's packages are fetched by apt and run by unshare"
    assert rabbitmq.missing_version("4.0").startswith(
        "RabbitMQ is not installed: apt-get install rabbitmq-server, and no apt-get on the path"
    )


def test_what_is_not_fetched_yet_says_where_and_how(away, monkeypatch):
    monkeypatch.setattr(suite, "impossible", lambda: None)
    told = rabbitmq.missing_version("4.0")
    assert f"Debian trixie's packages for rabbitmq are not in {away / 'home'}" in told
    assert "brokerbench servers install rabbitmq" in told
    assert "version 4.0 of Debian 13" in rabbitmq.missing_version("any"), "who may not install the package can have the other"
    assert rabbitmq.missing_version("3.10") == "RabbitMQ is not installed: apt-get install rabbitmq-server"
    with pytest.raises(ServerError, match=re.escape(f"rabbitmq: version 4.0 cannot be had: {told}")):
        rabbitmq.programs("4.0", away)


def test_a_version_is_the_machines_own_where_that_is_it(away, monkeypatch):
    (away / "none" / "rabbitmq_server-4.0.9").mkdir(parents=True)
    monkeypatch.setattr(rabbitmq, "SCRIPT", Path(__file__))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert rabbitmq.packaged() == "4.0.9"
    for version in ("4.0", "any"):
        assert rabbitmq.programs(version, away)([rabbitmq.SCRIPT, "x"]) == [str(rabbitmq.SCRIPT), "x"]
    assert rabbitmq.missing_version("3.10") == "this machine's package is 4.0.9"


def test_data_in_usr_would_not_be_seen():
    with pytest.raises(ServerError, match=r"toy: /usr/src/app/results is in /usr, of which Debian sid sees its own: run it elsewhere"):
        Suite("toy", "sid", ()).refuse(Path("/usr/src/app/results"))


def test_the_process_that_is_started_becomes_the_program(away):
    command = Suite("toy", "sid", ()).command(["/usr/bin/toy", Path("/tmp/a b")])
    assert command[-3:] == [str(away / "home" / "toy-sid" / "usr"), "/usr/bin/toy", "/tmp/a b"]
    assert "--fork" not in command
    assert command[command.index("-c") + 1] == 'mount --bind "$0" /usr && exec "$@"'


def test_what_apt_says_is_told_and_nothing_is_left(away):
    """A suite that no mirror has, or no mirror that answers."""
    if suite.impossible() is not None:
        pytest.skip(suite.impossible())
    with pytest.raises(ServerError, match=r"toy: (apt-get failed \(exit code 100\):\n  |apt-get names no mirror)"):
        Suite("toy", "no-such-suite", ("toy",)).install()
    assert [path.name for path in (away / "home").iterdir() if path.name != ".toy.lock"] == []
