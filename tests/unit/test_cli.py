"""The command line itself: help with examples, exit codes for each kind of error, no traceback, JSON as data."""

import json
import re
import subprocess
import sys

import pytest

import adapters
from adapters.errors import NotInstalled, Refused, UnknownSystem
from bench import cli, verbs
from bench.errors import EnvironmentProblem, Incompatible, Interrupted, ServerError, UsageError

VERBS = (
    "run", "capacity", "guarantees", "gate", "report", "choose", "systems", "scenarios", "servers", "doctor", "overhead", "calibrate",
    "explain",
)  # fmt: skip


def test_every_verb_of_the_parser_is_carried_out():
    assert set(verbs.VERBS) == set(VERBS)


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_has_an_example_that_parses(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"] if verb is None else [verb, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    examples = re.findall(r"^  (brokerbench .+?)(?:   .*)?$", text, re.MULTILINE)
    assert examples
    for example in examples:
        cli._parser().parse_args(words(example))
    if verb is None:
        assert [name for name in VERBS if not re.search(rf"^    {name}\s+\w", text, re.MULTILINE)] == []
        assert "exit codes:" in text
        for code in ("0 fine", "1 a promise broken", "2 usage", "3 environment", "4 inconclusive", "130 interrupted"):
            assert code in text
    else:
        assert verb in examples[0]
        assert "--json" in text
        assert "--results" in text


def words(command):
    """The words of a command as a shell gives them, without what follows a redirection."""
    import shlex

    return shlex.split(command.partition(" > ")[0])[1:]


def test_an_unknown_option_is_told_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["choose", "--ordring", "key"])
    assert ended.value.code == 2
    assert 'brokerbench choose: error: there is no option --ordring: did you mean "--ordering"?' in capsys.readouterr().err


def test_help_and_version_cost_nothing():
    code = "import sys\nfrom bench import cli\ntry: cli.main(['--version'])\nexcept SystemExit: print({'numpy', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"brokerbench \d+\.\d+\.\d+\S*\nset\(\)\n", done.stdout)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (UsageError("no such thing"), 2, "brokerbench: no such thing\n"),
        (EnvironmentProblem("no disk"), 3, "brokerbench: no disk\n"),
        (ServerError("kafka did not come up"), 3, "brokerbench: kafka did not come up\n"),
        (Incompatible("format 9"), 4, "brokerbench: format 9\n"),
        (Interrupted("what was measured is kept"), 130, "brokerbench: what was measured is kept\n"),
        (KeyboardInterrupt(), 130, "brokerbench: interrupted\n"),
        (UnknownSystem("no system 'x'"), 2, "brokerbench: no system 'x'\n"),
        (NotInstalled("pip install it"), 3, "brokerbench: pip install it\n"),
        (Refused("no rights"), 3, "brokerbench: no rights\n"),
        (OSError(28, "No space left on device", "/disk/file"), 3, "brokerbench: [Errno 28] No space left on device: '/disk/file'\n"),
    ],
)
def test_errors_are_a_line_and_a_code(monkeypatch, capsys, error, code, says):
    def fails(args):
        raise error

    monkeypatch.setitem(verbs.VERBS, "doctor", fails)
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().err == says


def test_a_reader_that_has_had_enough_is_no_error(tmp_path):
    done = subprocess.run(
        [f"{sys.executable} -m bench.cli scenarios --explain | head -1; exit ${{PIPESTATUS[0]}}"],
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_foreign_packages_of_our_names_are_told_before_they_do_harm(monkeypatch, capsys):
    monkeypatch.setattr(adapters, "same_parent", lambda: "'adapters' comes from elsewhere")
    assert cli.main(["doctor"]) == 3
    assert capsys.readouterr().err == "brokerbench: 'adapters' comes from elsewhere\n"


def test_usage_errors_of_the_parser():
    for line in (
        [],
        ["nosuch"],
        ["run"],
        ["run", "x", "--rounds", "many"],
        ["servers", "explode"],
        ["servers", "start", "--kind", "magic"],
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(line)
        assert ended.value.code == 2


def test_axes_of_the_command_line():
    assert verbs._axes([]) is None
    assert verbs._axes(["rate=200/s, 2 kHz", "size=64 B"]) == {"rate": ["200/s", "2 kHz"], "size": ["64 B"]}
    assert verbs._axes(["rate=2,000/s"]) == {"rate": ["2,000/s"]}
    assert verbs._axes(["rate=1,000/s,2,000/s", "members=1,2,4"]) == {"rate": ["1,000/s", "2,000/s"], "members": ["1", "2", "4"]}
    assert verbs._axes(["rate=200/s,500/s,2,000/s", "size=64 B,512 B"]) == {
        "rate": ["200/s", "500/s", "2,000/s"],
        "size": ["64 B", "512 B"],
    }
    assert verbs._axes(["partitions=4,128"]) == {"partitions": ["4", "128"]}
    for wrong in ("rate", "rate=", "=5"):
        with pytest.raises(UsageError, match="should be AXIS=VALUE"):
            verbs._axes([wrong])


def test_promises_name_their_source(capsys):
    assert cli.main(["systems", "--promises", "--json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        for mode in row["capabilities"]["modes"]:
            assert mode["source"], f"{row['system']}: mode {mode['name']} says not where its promise stands"
