"""`brokerbench overhead` as a user has it: both sides measured for real, cut off, gone on with, reported."""

import json
import signal

import pytest
from command import brokerbench, folder_of, read, started, until

pytestmark = pytest.mark.slow


def blocks(folder):
    path = folder / "overhead.json"
    return [len(one["blocks"]) for one in read(path)["variants"]] if path.exists() else []


def test_a_run_that_was_cut_off_goes_on_and_its_folder_is_enough(tmp_path):
    results = tmp_path / "runs"
    words = ("overhead", "tcp", "zeromq", "--rounds", "2", "--seconds", "0.2", "--sizes", "100 B")
    process = started(*words, "--results", results, cwd=tmp_path, TMPDIR=str(tmp_path))
    until(lambda: any("overhead.json" in path.name for path in results.glob("*/*")), process, what="a first block")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    folder = folder_of(results)
    assert f"go on with: brokerbench overhead --resume {folder}" in process.err()
    assert 1 <= sum(blocks(folder)) < 4
    assert read(folder / "run.json")["status"] == "interrupted"

    done = brokerbench("overhead", "--resume", folder, "--json", cwd=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert blocks(folder) == [2, 2]
    run = read(folder / "run.json")
    assert (run["kind"], run["status"]) == ("overhead", "complete")
    record = read(folder / "overhead.json")
    assert len(record["sittings"]) == 2
    for one in record["variants"]:
        for block in one["blocks"]:
            lanes = {sample["lane"]: sample for sample in block["samples"]}
            assert lanes.keys() == {"harness", "bare"}
            assert lanes["harness"]["audit"] == "clean"
            assert lanes["harness"]["start_up"].keys() == {"producer", "consumer"}
            assert all(part > 0 for side in lanes["harness"]["start_up"].values() for part in side.values())
            for sample in lanes.values():
                assert min(sample[name] for name in ("rate_per_s", "send_ns", "receive_ns")) > 0
                assert min(sample["send_peak_b"], sample["receive_peak_b"]) > 5_000_000

    said = json.loads(done.stdout)
    assert [cell["variant"] for cell in said["cells"]] == ["tcp", "zeromq"]
    table = (folder / "overhead.md").read_text()
    assert "Quick: fewer than 6 rounds" in table
    (folder / "overhead.md").unlink()
    again = brokerbench("report", folder, cwd=tmp_path)
    assert again.returncode == 0
    assert (folder / "overhead.md").read_text() == table
    assert table in again.stdout
    left = {path.name for path in tmp_path.iterdir()} - {"runs"}
    assert all(name.startswith(("out-", "err-")) for name in left), "something was left behind"


def test_what_cannot_be_measured_is_said_and_is_no_success(tmp_path):
    spec = "redis_pubsub,server=external:127.0.0.1:9"
    done = brokerbench("overhead", spec, "--sizes", "100 B", "--rounds", "1", "--results", tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    (one,) = read(folder_of(tmp_path) / "overhead.json")["variants"]
    assert one["blocks"] == []
    assert "127.0.0.1:9" in one["not_run"]
    assert f"- {spec}: not run: " in done.stdout
