"""A load without a rate, by the command: all that was handed over arrives. Beside a consumer without a core the last rows find no room."""

from command import brokerbench, folder_of, trials


def test_as_fast_as_it_goes(tmp_path):
    timing = ("--rounds", "1", "--warmup", "100ms", "--measure", "500ms", "--no-lanes")
    done = brokerbench("run", "throughput", "--systems", "zeromq", "tcp", *timing, "--set", "size=128 B", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for trial in trials(folder_of(tmp_path / "results" / "runs")):
        assert trial["point"]["rate_per_s"] is None
        assert (trial["workload"]["schedule"], trial["rates"]["offered_per_s"], trial["producers"][0]["planned"]) == ("max", None, None)
        row = trial["audit"]["reader"]
        assert row["verdict"] == "clean"
        assert row["sent"] == row["processed"] == trial["producers"][0]["sent"] > 2000
        assert "saturated" in [finding["code"] for finding in trial["findings"]]
