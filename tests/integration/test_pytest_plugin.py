"""The pytest plugin in a pytest of its own: real trials over tcp, few and short."""

import json
import re
import subprocess
import sys

import pytest

# In this process before the inner pytest, which forgets what it has imported: numpy and scipy cannot be loaded twice.
import bench.gate.check
import bench.stage  # noqa: F401

pytest_plugins = ["pytester"]

ALONE = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest")  # which would be compiled anew in each
SCENARIO = """
name: small
topology: {producers: 1, groups: {a: 1}, partitions: 1, routing: round-robin}
payload: {size: 128 B}
load: {rate: 1 kHz}
timing: {warmup: 20 ms, measure: 400 ms, drain: 5 s}
"""


@pytest.fixture
def inner(pytester, monkeypatch):
    pytester.path.joinpath("small.yaml").write_text(SCENARIO)
    monkeypatch.setenv("BROKERBENCH_RESULTS", str(pytester.path / "elsewhere"))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # of the outer pytest: pytest-benchmark would not work in the inner one
    return pytester


def test_ratios_go_to_pytest_benchmark_and_a_limit_that_does_not_hold_fails(inner):
    inner.makepyfile(
        """
        def test_against(brokerbench):
            limits = {"p50": "<= 1 ns", "lost": 0}
            brokerbench.check("small.yaml", "tcp", against="tcp", metrics="memory,p50", rounds=2, value="memory", **limits)
        """
    )
    done = inner.runpytest_inprocess("--brokerbench-results", "kept", "--benchmark-json", "b.json", *ALONE)
    done.assert_outcomes(failed=1)
    text = done.stdout.str()
    assert "AssertionError: small.yaml: Inconclusive: " in text
    assert re.search(r"E +p50 is .* at 1,000/s, 128 B, asked for is <= 1 ns\nE +results: \S*kept/small-", text)
    assert not (inner.path / "elsewhere").exists()
    (row,) = json.loads((inner.path / "b.json").read_text())["benchmarks"]
    gate = json.loads(next((inner.path / "kept").glob("*/gate.json")).read_text())
    figures = gate["measurements"][0]["figures"]["memory"]
    ratios = [head / base for base, head in zip(figures["base"], figures["head"], strict=True)]
    assert row["stats"]["data"] == pytest.approx(ratios), "the ratios of this run's rounds, and no time"
    assert (row["extra_info"]["metric"], row["extra_info"]["verdict"]) == ("memory", "failed")
    assert row["extra_info"]["base"]["memory"] == pytest.approx(sum(figures["base"]) / 2)


def test_without_pytest_benchmark_a_system_alone_holds_its_limits(inner):
    inner.makepyfile(
        """
        def test_alone(brokerbench):
            found = brokerbench.check("small.yaml", "tcp", rounds=1, p50="<= 10 s", lost=0)
            assert found.figures["at 1,000/s, 128 B"]["lost"] == 0
        """
    )
    inner.runpytest_inprocess("-p", "no:benchmark", *ALONE).assert_outcomes(passed=1)
    assert list((inner.path / "elsewhere").glob("small-*/run.json")), "BROKERBENCH_RESULTS is the default place"


def test_a_check_is_a_benchmark_to_pytest_benchmark(inner):
    inner.makepyfile(
        """
        def test_plain():
            pass

        def test_check(brokerbench):
            raise RuntimeError("is run")
        """
    )
    inner.runpytest_inprocess("--benchmark-only", *ALONE).assert_outcomes(failed=1, skipped=1)
    inner.runpytest_inprocess("--benchmark-skip", *ALONE).assert_outcomes(passed=1, skipped=1)


def test_what_cannot_be_asked_is_told(inner):
    inner.makepyfile(
        """
        import pytest
        from bench.errors import UsageError

        def test_wrong(brokerbench):
            with pytest.raises(UsageError, match="nothing to check"):
                brokerbench.check("small.yaml", "tcp")
            with pytest.raises(UsageError, match="no limit or option"):
                brokerbench.check("small.yaml", "tcp", max_tim="3 s")
            with pytest.raises(UsageError, match="unknown metric"):
                brokerbench.check("small.yaml", "tcp", against="tcp", metrics="p51")
            with pytest.raises(UsageError, match="--base"):
                brokerbench.check("small.yaml", "tcp", against="tcpp")
            with pytest.raises(ValueError, match="unknown metric"):
                brokerbench.check("small.yaml", "tcp", against="tcp", value="p51")
            with pytest.raises(ValueError, match="on_inconclusive"):
                brokerbench.check("small.yaml", "tcp", against="tcp", on_inconclusive="ignore")
        """
    )
    inner.runpytest_inprocess(*ALONE).assert_outcomes(passed=1)
    assert not (inner.path / "elsewhere").exists(), "nothing was measured"


def test_the_plugin_is_light_until_it_is_used():
    told = "import bench.pytest_plugin, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "scipy", "pandas", "matplotlib", "pydantic", "yaml", "zmq"} & set(found), found
