"""The results folder: whole or not at all, one writer, and every damaged or foreign folder named."""

import contextlib
import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench import scenario, store
from bench.errors import EnvironmentProblem, Incompatible, UsageError
from bench.histogram import Histogram

ROOT = Path(store.__file__).resolve().parent.parent
SHOP = scenario.load("order-events")


def histogram(*values):
    made = Histogram()
    made.add(np.array(values, dtype=np.int64))
    return made


def trial(number, **more):
    return {
        "format": 1,
        "trial": number,
        "point": {"rate_per_s": 2000, "size_b": 256},
        "variant": {"id": "kafka"},
        "series": 0,
        "round": 0,
        "position": 0,
        "status": "ok",
        "reason": None,
        "started": "2026-11-22T17:01:02.123Z",
        "window_s": 5.0,
        "rates": {"slowest_group_per_s": 1999.5},
        "latency": {"end_to_end_intended": {"p50_ns": 5}, "publish": None},
        "audit": {"a": {"lost": 1, "verdict": "clean"}, "b": {"lost": 2, "verdict": "as promised"}},
        "findings": [{"code": "x"}],
        **more,
    }


@pytest.fixture
def writer(tmp_path):
    with store.RunWriter.create(tmp_path / "runs", SHOP, command="brokerbench run order-events") as made:
        yield made


# --- writing and reading back ------------------------------------------------------------------------------------------


def test_what_is_written_is_read(writer):
    writer.save_plan([{"trial": 1}, {"trial": 2}])
    writer.save_environment({"machine": {"cores": 2}})
    rows = [{"second": 0, "published": 10, "a": 9}, {"second": 1, "published": 11, "a": 12}]
    writer.save_trial(2, trial(2), {"e2e": histogram(7), "publish": histogram(1, 2)}, rows)
    writer.save_trial(1, trial(1), {}, [])
    writer.update_run(not_run=[{"variant": "sqs", "reason": "no Java", "get": "apt"}])
    writer.finish("complete")
    run = store.open_run(writer.folder)
    assert [t["trial"] for t in run.trials] == [1, 2]
    assert run.trials[1] == trial(2)
    assert run.plan == [{"trial": 1}, {"trial": 2}]
    assert run.environment == {"machine": {"cores": 2}}
    assert scenario.parse(run.scenario_text, where="x") == SHOP
    assert run.run["not_run"][0]["get"] == "apt"
    assert (run.run["format"], run.run["kind"], run.run["scenario"], run.run["seed"]) == (1, "run", "order-events", 1)
    assert run.run["command"] == "brokerbench run order-events"
    assert run.run["ended"] >= run.run["started"]
    assert run.status == "complete"
    read = run.histograms(2)
    assert {tag: h.n for tag, h in read.items()} == {"e2e": 1, "publish": 2}
    assert read["e2e"].quantile(1.0) == 7
    assert run.series(2) == rows
    assert run.histograms(1) == {}
    assert run.series(1) == []


def test_a_run_is_named_by_scenario_time_and_chance(tmp_path):
    ids = {store.RunWriter.create(tmp_path, SHOP).run_id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"order-events-\d{8}-\d{6}-[0-9a-f]{4}", name) for name in ids)
    assert {p.name for p in tmp_path.iterdir()} == ids


def test_the_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("BROKERBENCH_RESULTS", str(tmp_path / "here"))
    assert store.RunWriter.create(None, SHOP).folder.parent == tmp_path / "here"
    monkeypatch.delenv("BROKERBENCH_RESULTS")
    assert store.results_dir() == Path("results/runs")


def test_trials_csv_has_a_row_a_trial(writer):
    writer.save_trial(1, trial(1, reason="two\nlines, and a comma"), {})
    writer.save_trial(2, trial(2, status="failed", rates=None, latency=None, audit={}, findings=[]), {})
    with (writer.folder / "trials.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["trial"], first["rate_per_s"], first["variant"], first["e2e_p50_ns"], first["publish_p50_ns"]) == (
        "1",
        "2000",
        "kafka",
        "5",
        "",
    )
    assert (first["lost"], first["verdicts"], first["findings"], first["reason"]) == (
        "3",
        "as-promised clean",
        "x",
        "two lines, and a comma",
    )
    assert (second["status"], second["lost"], second["slowest_group_per_s"]) == ("failed", "", "")


def test_not_a_number_is_refused_and_leaves_nothing(writer):
    with pytest.raises(ValueError):
        writer.save_trial(1, trial(1, window_s=float("nan")), {})
    assert list((writer.folder / "trials").iterdir()) == []


def test_a_trial_is_written_once(writer):
    writer.save_trial(1, trial(1), {})
    with pytest.raises(UsageError, match="a trial is written once"):
        writer.save_trial(1, trial(1), {})


def test_finish_knows_its_words_and_is_idempotent(writer):
    with pytest.raises(ValueError, match="none of"):
        writer.finish("done")
    writer.finish("interrupted")
    writer.finish("complete")
    assert store.open_run(writer.folder).status == "interrupted"


def test_many_trials_stay_in_order(writer):
    for number in (10_000, 9, 10, 9999):
        writer.save_trial(number, trial(number), {})
    assert [t["trial"] for t in store.open_run(writer.folder).trials] == [9, 10, 9999, 10_000]


# --- one writer, and what a crash leaves -------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from bench import scenario, store
sys.path.insert(0, "tests/unit")
from test_store import SHOP, histogram, trial
writer = store.RunWriter.create(Path(sys.argv[1]), SHOP, run_id="mine")
print("ready", flush=True)
for n in range(1, 10_000):
    writer.save_trial(n, trial(n), {"e2e": histogram(*range(1000))}, [{"second": 0, "published": n}])
    print(n, flush=True)
"""


@pytest.fixture
def child(tmp_path):
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_two_processes_cannot_write_one_run(child, tmp_path):
    assert store.open_run(tmp_path / "mine").status == "running"
    with pytest.raises(EnvironmentProblem, match="mine: another process is writing this run"):
        store.RunWriter.reopen(tmp_path / "mine")
    with pytest.raises(UsageError, match="mine exists"):
        store.RunWriter.create(tmp_path, SHOP, run_id="mine")


def test_a_killed_writer_leaves_whole_trials_and_another_goes_on(child, tmp_path):
    told = 0
    while told < 5:
        told = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split()
    child.wait()
    told = int(rest[-1]) if rest else told
    run = store.open_run(tmp_path / "mine")
    assert run.status == "interrupted"
    assert [t["trial"] for t in run.trials] in (list(range(1, told + 1)), list(range(1, told + 2)))
    for t in run.trials:
        assert run.histograms(t["trial"])["e2e"].n == 1000
    with store.RunWriter.reopen(tmp_path / "mine") as writer:
        assert not list((tmp_path / "mine" / "trials").glob(".*"))
        number = len(run.trials) + 1
        writer.save_trial(number, trial(number), {})
        assert store.open_run(tmp_path / "mine").status == "running"
        writer.finish("complete")
    assert store.open_run(tmp_path / "mine").status == "complete"


# --- a disk that does not take it --------------------------------------------------------------------------------------


@contextlib.contextmanager
def as_nobody():
    """Without root's rights, which no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder(tmp_path):
    results = Path("/tmp") / f"brokerbench-test-{os.getpid()}-{time.monotonic_ns()}"
    results.mkdir(mode=0o555)
    try:
        with as_nobody(), pytest.raises(EnvironmentProblem) as caught:
            store.RunWriter.create(results, SHOP)
    finally:
        results.rmdir()
    assert str(results) in str(caught.value)
    assert "Permission denied; you may not write there: write elsewhere (--results DIR" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    for results in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(EnvironmentProblem, match="write elsewhere"):
            store.RunWriter.create(results, SHOP)


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB; None where this user may not mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        yield None
        return
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(writer):
    """Write until the disk refuses; return what it says."""
    for number in range(1, 1000):
        try:
            writer.save_trial(number, trial(number, reason="x" * 20_000), {})
        except EnvironmentProblem as error:
            return str(error)
    raise AssertionError("the disk took everything")


def test_a_full_disk(small_disk, tmp_path):
    if small_disk is None:  # not root: the file size limit takes the same way through the code
        small_disk = tmp_path
        writer = store.RunWriter.create(small_disk, SHOP)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            message = fill(writer)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        assert "ulimit -f" in message
    else:
        writer = store.RunWriter.create(small_disk, SHOP)
        message = fill(writer)
        assert "No space left on device; free some room" in message
    assert str(writer.folder) in message
    run = store.open_run(writer.folder)
    assert all(len(t["reason"]) == 20_000 for t in run.trials)
    assert not list((writer.folder / "trials").glob(".*")), "the half-written trial gives its room back"
    with contextlib.suppress(EnvironmentProblem):  # a full disk does not take the end either
        writer.finish("failed")
    assert store.open_run(writer.folder).status in {"failed", "interrupted"}


# --- foreign, damaged, newer -------------------------------------------------------------------------------------------


@pytest.fixture
def whole(writer):
    writer.save_trial(1, trial(1), {"e2e": histogram(5)}, [{"second": 0, "published": 3}])
    writer.save_environment({"a": 1})
    writer.finish("complete")
    return writer.folder


@pytest.mark.parametrize("name", ["run.json", "plan.json", "environment.json", "trials/0001/trial.json"])
def test_truncated_and_damaged_files_are_named(whole, name):
    path = whole / name
    text = path.read_bytes()
    for damaged in (text[: len(text) // 2], b"", b"\xff\xfe\x00", b"[" * 100_000, b"5"):
        path.write_bytes(damaged)
        with pytest.raises(UsageError) as caught:
            store.open_run(whole)
        assert str(path) in str(caught.value), damaged[:20]


@pytest.mark.parametrize("name", ["run.json", "trials/0001/trial.json"])
@pytest.mark.parametrize(
    ("version", "error"), [(2, Incompatible), (0, UsageError), ("1", UsageError), (None, UsageError), (True, UsageError)]
)
def test_other_formats(whole, name, version, error):
    path = whole / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": version}))
    with pytest.raises(error) as caught:
        store.open_run(whole)
    assert str(path) in str(caught.value)
    assert "format" in str(caught.value)


def test_a_trial_in_anothers_folder(whole):
    (whole / "trials" / "0001").rename(whole / "trials" / "0003")
    with pytest.raises(UsageError, match=r"0003/trial.json: is of trial 1"):
        store.open_run(whole)


def test_what_is_missing_is_empty(whole):
    for name in (
        "plan.json",
        "environment.json",
        "scenario.yaml",
        "trials.csv",
        "trials/0001/latency.hlog",
        "trials/0001/series.csv",
        ".lock",
    ):
        (whole / name).unlink()
    run = store.open_run(whole)
    assert (run.plan, run.environment, run.scenario_text) == ([], {}, "")
    assert (run.histograms(1), run.series(1), run.status) == ({}, [], "complete")
    (whole / "trials" / "0001" / "trial.json").unlink()
    (whole / "trials" / "0001").rmdir()
    (whole / "trials").rmdir()
    assert store.open_run(whole).trials == []


def test_damaged_histograms_and_series(whole):
    log, series = whole / "trials/0001/latency.hlog", whole / "trials/0001/series.csv"
    run = store.open_run(whole)
    log.write_bytes(log.read_bytes()[:-20])
    with pytest.raises((Incompatible, UsageError), match=r"latency.hlog"):
        run.histograms(1)
    log.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"latency.hlog"):
        run.histograms(1)
    for text in ("second,published\n0,3\n1", "second,published\n0,x\n"):
        series.write_text(text)
        with pytest.raises(UsageError, match=r"series.csv: not whole"):
            run.series(1)


def test_folders_that_are_no_run(tmp_path, whole):
    with pytest.raises(UsageError, match="no such folder; a run is a folder such as"):
        store.open_run(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"is not a run; a run's folder has a run.json"):
        store.open_run(ROOT / "bench")
    with pytest.raises(UsageError, match=f"is not a run; it holds runs, name one of them, such as .*{whole.name}"):
        store.open_run(whole.parent)
    with pytest.raises(UsageError, match="is a file; name the folder of a run"):
        store.open_run(whole / "run.json")
    (tmp_path / "run.json").write_text('{"format": 1}')
    with pytest.raises(UsageError, match="not of brokerbench: format, id or kind is missing"):
        store.open_run(tmp_path)


def test_a_folder_written_by_the_description_alone_is_read(tmp_path):
    (tmp_path / "trials" / "0007").mkdir(parents=True)
    (tmp_path / "evidence").mkdir()
    (tmp_path / "trials" / ".0008.new").mkdir()
    (tmp_path / "run.json").write_text('{"format": 1, "kind": "run", "id": "a", "status": "complete", "a later field": [1]}')
    (tmp_path / "trials" / "0007" / "trial.json").write_text('{"format": 1, "trial": 7, "a later field": 1}')
    (tmp_path / "trials" / "0007" / "series.csv").write_text("second,published,inventory\n0,200,199\n")
    run = store.open_run(tmp_path)
    assert [t["trial"] for t in run.trials] == [7]
    assert run.series(7) == [{"second": 0, "published": 200, "inventory": 199}]


# --- which run ---------------------------------------------------------------------------------------------------------


def test_the_latest_run_and_others_by_name(tmp_path):
    with pytest.raises(UsageError, match=r"no run in .*brokerbench run order-events"):
        store.latest(tmp_path)
    ids = []
    for number in range(3):
        with store.RunWriter.create(tmp_path, SHOP, run_id=f"order-events-2026112{3 - number}-x") as writer:
            writer.update_run(started=f"2026-11-22T0{number}:00:00.000Z")
            ids.append(writer.run_id)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    assert store.latest(tmp_path).name == ids[-1]
    assert store.find(tmp_path, ids[0]).name == ids[0]
    assert store.find(tmp_path, "order-events-20261122").name == ids[1]
    assert store.find(tmp_path, str(tmp_path / ids[1])).name == ids[1]
    with pytest.raises(UsageError, match=r'no run "xyzzy" in .*; the last ones: order-events'):
        store.find(tmp_path, "xyzzy")
