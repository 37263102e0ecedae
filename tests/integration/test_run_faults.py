"""Bad input and misfortune, met by the command as a user meets it: a line that helps, the right exit code, what was measured kept.

That no traceback reaches the user is checked by command.brokerbench() and ended(), so in every test here; wrong input is given
to the command's own main(), where anything that is not caught fails the test.
"""

import os
import random
import re
import signal
import subprocess
import time

import psutil
import pytest
from command import SMALL, alive, brokerbench, family, folder_of, gone, line_of, processes, read, small, started, trials, until

from bench import cli, store

pytestmark = pytest.mark.xdist_group("run_faults")  # the last of them looks at what the others left of this process's children

# ---- input


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """here(*words): (exit code, output, errors) of the command's main() in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BROKERBENCH_RESULTS", raising=False)

    def run(*words):
        try:
            code = cli.main(list(words))
        except SystemExit as ended:
            code = ended.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["order-events", "--systems", "kafak"], r'unknown system "kafak"; did you mean "kafka"\?'),
        (["order-events", "--systems", "memory"], "memory lives within one process"),
        (["order-events", "--systems", "kafka,linger_ms"], '"linger_ms" is not key=value'),
        (["order-events", "--systems", "kafka,linger=5"], "did you mean 'linger_ms'?"),
        (["order-events", "--systems", "zeromq,mode=sure"], "ZeroMQ has no mode 'sure'"),
        (["order-events", "--systems", "zeromq,profil=tuned"], 'unknown key "profil"; did you mean "profile"'),
        (["order-events", "--systems", "zeromq,profile=fast"], 'unknown profile "fast"; .*defaults.*tuned'),
        (["order-events", "--systems", "kafka,server=nativ"], 'unknown server "nativ"; did you mean "native"'),
        (["order-events", "--systems", "zeromq", "zeromq"], "named twice"),
        (["order-event"], 'no scenario "order-event"; did you mean "order-events"?'),
        (["missing.yaml"], r"missing\.yaml: no such file"),
        (["."], "is a folder"),
        (["order-events", "--set", "rate=fast"], "fast"),
        (["order-events", "--set", "rate"], r"--set rate: should be AXIS=VALUE"),
        (["order-events", "--set", "colour=red"], 'unknown axis "colour"'),
        (["order-events", "--set", "rate=0/s"], "0/s: at least"),
        (["order-events", "--set", "rate=-5/s"], "-5"),
        (["order-events", "--set", "rate=1e12/s"], "at most 50"),
        (["order-events", "--set", "rate=nan/s"], "nan"),
        (["order-events", "--set", "size=63 B"], "at least 64 B, the header that proves delivery takes 64 B"),
        (["order-events", "--set", "size=64"], "unit"),
        (["order-events", "--measure", "5"], "unit"),
        (["order-events", "--measure", "5 parsecs"], "parsecs"),
        (["order-events", "--rounds", "0"], "at least 1"),
        (["order-events", "--rounds", "three"], "invalid int value: 'three'"),
        (["order-events", "--set", "producers=9999"], "at most 64"),
    ],
)
def test_words_that_are_wrong(tmp_path, here, words, says):
    code, out, err = here("run", *words)
    assert (code, out) == (2, "")
    assert re.search(says, err), err
    assert not (tmp_path / "results").exists(), "nothing was to be run"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (SMALL.replace("payload:", "paylode:"), r'file\.yaml:5: paylode: unknown.*did you mean "payload"'),
        (SMALL.replace("128 B", "128 bits"), r"file\.yaml:5: payload\.size: .*bits"),
        (SMALL.replace("300/s", "300 parsecs"), r"file\.yaml:6: load\.rate: .*300 parsecs"),
        (SMALL.replace("128 B", "63 B"), r"file\.yaml:5: payload\.size: 63 B: at least 64 B"),
        (SMALL.replace("[{systems}]", "[kafak]"), r'file\.yaml:2: systems: unknown system "kafak"'),
        (SMALL.replace("producers: 1", "producers: 1, producers: 2"), r"file\.yaml:3: .*twice"),
        (SMALL[: SMALL.index("b: 1")], r"file\.yaml:\d+: "),
        ("", r"file\.yaml: .*empty"),
        ("# nothing but this\n", r"file\.yaml: .*empty"),
        ("[]", r"file\.yaml.*mapping"),
        ("\x00\x01\x02\xff\xfe", r"file\.yaml.*"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff\xff", r"file\.yaml.*"),
        ("a: &a [*a]\n", r"file\.yaml:1"),
        ("x: !!python/object/apply:os.system ['touch hacked']\n", r"file\.yaml:1"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong(tmp_path, here, content, says):
    text = content if isinstance(content, bytes) else content.replace("{systems}", "tcp").replace("{{", "{").replace("}}", "}").encode()
    (tmp_path / "file.yaml").write_bytes(text.replace(b"{measure}", b"1 s").replace(b"{rounds}", b"1"))
    code, _, err = here("run", "file.yaml")
    assert code == 2
    assert re.search(says, err), err
    assert len(err) < 2000
    assert {path.name for path in tmp_path.iterdir()} == {"file.yaml"}


def test_other_verbs_with_wrong_words(here):
    for words, says in (
        (["report", "nowhere"], "nowhere"),
        (["report"], "no run in results/runs"),
        (["report", "."], "is not a run"),
        (["scenarios", "nosuch"], 'no scenario "nosuch"'),
        (["systems", "kafak", "--promises"], 'unknown system "kafak"'),
        (["servers", "start", "kafak"], 'no server recipe for "kafak"; did you mean "kafka"'),
        (["servers", "begin"], "invalid choice: 'begin'"),
        (["runn"], "invalid choice: 'runn'"),
        ([], "required: VERB"),
    ):
        code, out, err = here(*words)
        assert (code, out) == (2, "")
        assert says in err


def test_wrong_words_as_a_user_sees_them(tmp_path):
    done = brokerbench("run", "order-events", "--systems", "kafak", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r'brokerbench: .*unknown system "kafak"; did you mean "kafka"\?.*\n', done.stderr, re.DOTALL)
    (tmp_path / "file.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\xff\xff")
    done = brokerbench("run", "file.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("brokerbench: file.yaml")


def test_a_message_over_the_systems_limit_is_a_cell_of_the_report(tmp_path):
    path = small(tmp_path, "tcp", measure="200 ms")
    path.write_text(path.read_text().replace("128 B", "17 MiB").replace("300/s", "5/s") + "batch: {send: 1}\nwindow: 10\n")
    done = brokerbench("run", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = folder_of(tmp_path / "results" / "runs")
    (trial,) = trials(folder)
    assert (trial["status"], trial["reason"]) == ("unsupported", "a message of 17,825,792 B is over its limit of 16,777,216 B")
    assert "over its limit of 16,777,216 B" in (folder / "report.md").read_text()


def test_an_absurd_rate_ends_in_time_as_not_reached(tmp_path):
    path = small(tmp_path, "tcp", measure="200 ms")
    path.write_text(path.read_text().replace("300/s", "50 MHz").replace("drain: 10 s", "drain: 500 ms"))
    began = time.monotonic()
    done = brokerbench("run", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 60
    (trial,) = trials(folder_of(tmp_path / "results" / "runs"))
    assert "rate-not-reached" in [finding["code"] for finding in trial["findings"]]
    assert trial["producers"][0]["sent"] < trial["producers"][0]["planned"] == 20_000_000


# ---- servers and settings


def test_an_address_where_nobody_answers_is_a_row_and_the_rest_runs(tmp_path):
    spec = "redis_pubsub,server=external:127.0.0.1:1"
    done = brokerbench("run", small(tmp_path), "--systems", spec, "tcp", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = folder_of(tmp_path / "results" / "runs")
    (row,) = read(folder / "run.json")["not_run"]
    assert "127.0.0.1:1" in row["reason"]
    assert [trial["variant"]["id"] for trial in trials(folder)] == ["tcp"]
    assert "127.0.0.1:1" in (folder / "report.md").read_text().partition("Not run")[2]


def test_nothing_that_could_be_run_is_no_success(tmp_path):
    done = brokerbench("run", small(tmp_path), "--systems", "redis_pubsub,server=external:127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 3
    assert "nothing was measured" in done.stdout


def test_an_address_where_somebody_else_answers(tmp_path):
    with Stranger() as port:
        done = brokerbench("run", small(tmp_path), "--systems", f"redis_pubsub,server=external:127.0.0.1:{port}", "tcp", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = read(folder_of(tmp_path / "results" / "runs") / "run.json")["not_run"]
    assert f"127.0.0.1:{port}" in row["reason"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [("tcp,nodelay=1", "nodelay"), ("zeromq,sndhwm=lots", "lots"), ("tcp,mode=sure", "sure"), ("tcp,profile=tuned", "tuned")],
)
def test_a_setting_that_is_refused_is_a_usage_error_before_anything_is_made(tmp_path, spec, says):
    done = brokerbench("run", small(tmp_path), "--systems", spec, "zeromq", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert spec in done.stderr
    assert says in done.stderr.rpartition(spec)[2]  # what is wrong, not only what was given
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


class Stranger:
    """Something that listens and says what no Redis says."""

    def __enter__(self):
        code = (
            "import socket, sys\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\n"
            "while True:\n    c = s.accept()[0]; c.sendall(b'SSH-2.0-OpenSSH_9\\r\\n'); c.close()\n"
        )
        self.process = subprocess.Popen(["python3", "-c", code], stdout=subprocess.PIPE, text=True)
        return int(self.process.stdout.readline())

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


# ---- the disk


def test_results_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = brokerbench("run", small(tmp_path), "--results", "file/runs", cwd=tmp_path)
    assert done.returncode == 3
    assert "a part of the path is a file: write elsewhere (--results DIR, BROKERBENCH_RESULTS)" in done.stderr


@pytest.fixture
def mounted(tmp_path):
    """mounted(options): a file system of its own (root ignores modes); a test that needs it is skipped where mounting is forbidden."""
    places = []

    def mount(options):
        place = tmp_path / f"disk-{len(places)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"this user may not mount: {done.stderr.strip()}")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_results_on_a_read_only_disk(tmp_path, mounted):
    done = brokerbench("run", small(tmp_path), "--results", mounted("ro"), cwd=tmp_path)
    assert done.returncode == 3
    assert re.search(r"disk-0/small-\S+: Read-only file system; write elsewhere \(--results DIR", done.stderr)


def test_a_disk_that_fills_up_during_the_run(tmp_path, mounted):
    disk = mounted("size=100m")
    process = started("run", small(tmp_path, "tcp", rounds=6, measure="1 s"), "--results", disk, cwd=tmp_path)
    until(lambda: list(disk.glob("*/trials/0001")), process, what="the first trial")
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    code = process.wait(60)
    ended(process)
    assert code == 3, process.err()
    assert re.search(r"No space left on device; free some room, or write elsewhere .*Trials written before are whole", process.err())
    (disk / "ballast").unlink()
    folder = folder_of(disk)
    kept = trials(folder)
    assert [trial["status"] for trial in kept] == ["ok"] * len(kept)
    assert 1 <= len(kept) < 6
    assert not list((folder / "trials").glob(".*"))
    again = brokerbench("report", folder, cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")


def test_a_disk_without_room_for_the_evidence(tmp_path, mounted):
    """The journals are laid out before a trial begins, so that this is an error then, and no SIGBUS in it."""
    disk = mounted("size=8m")
    done = brokerbench("run", small(tmp_path, "tcp"), "--results", disk, cwd=tmp_path)
    assert done.returncode == 1
    (trial,) = trials(folder_of(disk))
    assert trial["status"] == "failed"
    assert "No space left on device" in trial["reason"]


# ---- deaths


def ended(process):
    assert "Traceback" not in process.err() + process.out(), process.err()


def of_run(process, word):
    """The pid of the command's one descendant whose command line or name has ``word``."""
    found = [one.pid for one in psutil.Process(process.pid).children(recursive=True) if word in line_of(one)]
    return found[0] if len(found) == 1 else None


@pytest.mark.server
def test_a_server_killed_in_a_trial_fails_that_trial_only(tmp_path, needs):
    needs("redis_pubsub")
    path = small(tmp_path, "tcp, redis_pubsub", rounds=2, measure="2 s")
    process = started("run", path, cwd=tmp_path)
    until(lambda: re.search(r"\d/4 redis_pubsub", process.err()), process, what="a trial of redis")
    time.sleep(0.8)
    os.kill(of_run(process, "redis-server") or of_run(process, "valkey"), signal.SIGKILL)
    code = process.wait(100)
    ended(process)
    assert code == 1, process.err()
    folder = folder_of(tmp_path / "results" / "runs")
    by_system = {name: [t for t in trials(folder) if t["variant"]["id"] == name] for name in ("tcp", "redis_pubsub")}
    assert [trial["status"] for trial in by_system["tcp"]] == ["ok"] * 2
    assert [trial["status"] for trial in by_system["redis_pubsub"]] == ["failed", "ok"]
    reason = by_system["redis_pubsub"][0]["reason"]
    assert reason.startswith("redis_pubsub.1 was killed by signal 9; its last log lines")
    assert "Ready to accept connections" in reason
    logs = sorted(log.parent.name for log in (folder / "servers").glob("*/redis_pubsub.1.log"))
    assert len(logs) == 2, "the first server's log is evidence, and the second has its own"
    assert [row["verdict"] for trial in by_system["redis_pubsub"][1:] for row in trial["audit"].values()] == ["clean"] * 2
    assert read(folder / "run.json")["status"] == "complete"
    assert "killed by signal 9" in (folder / "report.md").read_text()


@pytest.mark.parametrize("role", ["producer-0", "consumer-b-0"])
def test_an_endpoint_killed_in_a_trial_fails_that_trial_only(tmp_path, role):
    process = started("run", small(tmp_path, "tcp, zeromq", rounds=2, measure="2 s"), cwd=tmp_path)
    until(lambda: re.search(r"\d/4 zeromq", process.err()), process, what="a trial of zeromq")
    time.sleep(0.6)
    os.kill(of_run(process, f"zeromq-{role}.spec.json"), signal.SIGKILL)
    code = process.wait(60)
    ended(process)
    assert code == 1, process.err()
    by_system = {
        name: [t for t in trials(folder_of(tmp_path / "results" / "runs")) if t["variant"]["id"] == name] for name in ("tcp", "zeromq")
    }
    assert [trial["status"] for trial in by_system["tcp"]] == ["ok"] * 2
    assert [trial["status"] for trial in by_system["zeromq"]] == ["failed", "ok"]
    assert re.fullmatch(rf"\d+-zeromq-{role} was killed by signal 9", by_system["zeromq"][0]["reason"])
    keys = [set(trial) for trial in by_system["zeromq"]]
    assert keys[0] == keys[1], "a trial that failed keeps every key"


def test_a_variant_that_fails_again_and_again_is_given_up_and_the_rest_goes_on(tmp_path, needs):
    needs("redis_pubsub")
    process = started("run", small(tmp_path, "tcp, redis_pubsub", rounds=4, measure="1 s"), cwd=tmp_path)
    killed = set()
    while process.poll() is None:
        for one in psutil.Process(process.pid).children(recursive=True):
            name = re.search(r"(\d+-redis_pubsub-producer-0)\.spec", line_of(one))
            # After the second endpoint the server too: a trial that is not tried says so, and nothing of a server that is dead by now.
            server = len(killed) >= 4 and "redis-server" in line_of(one)
            if one.pid not in killed and ((name and name[1] not in killed) or server):
                killed |= {name[1] if name else "server", one.pid}
                os.kill(one.pid, signal.SIGKILL)
        time.sleep(0.05)
    ended(process)
    assert process.returncode == 1
    assert "server" in killed
    found = trials(folder_of(tmp_path / "results" / "runs"))
    assert [trial["status"] for trial in found if trial["variant"]["id"] == "tcp"] == ["ok"] * 4
    lost = [trial["reason"] for trial in found if trial["variant"]["id"] == "redis_pubsub"]
    assert len(lost) == 4
    assert lost[2:] == ["not tried: redis_pubsub has failed 2 times in this run"] * 2


# ---- Ctrl-C


def interrupted(process, tmp_path, *, code=(130,), within_s=30.0):
    """Ctrl-C, and what must then hold. Return the run's folder, None where there was none yet."""
    before = family(process, str(tmp_path))
    process.send_signal(signal.SIGINT)
    found = process.wait(within_s)
    ended(process)
    assert found in code, (found, process.err())
    assert gone(before, 5.0) == []
    assert processes(str(tmp_path)) == {}
    folders = [path.parent for path in (tmp_path / "results").glob("runs/*/run.json")]
    if not folders:
        return None
    run = store.open_run(folders[0])
    assert run.status == "interrupted"
    assert not store.in_use(folders[0])
    return folders[0]


@pytest.mark.server
@pytest.mark.timeout(300)
def test_ctrl_c_at_random_moments_of_a_run(tmp_path, needs):
    needs("redis_pubsub")
    for attempt in range(4):
        place = tmp_path / str(attempt)
        place.mkdir()
        process = started("run", small(place, "tcp, redis_pubsub", rounds=9, measure="1 s"), cwd=place)
        until(process.err, process, what="its first word")
        # Anywhere in each quarter of what a start and the first trials take; the run itself takes longer.
        moment = random.uniform(1.5 * attempt, 1.5 * (attempt + 1))
        print(f"Ctrl-C after {moment:.3f} s")
        time.sleep(moment)
        folder = interrupted(process, place)
        assert "brokerbench: interrupted" in process.err()
        if folder is None:
            continue
        assert read(folder / "run.json")["status"] == "interrupted"
        assert str(folder) in process.err()
        statuses = [trial["status"] for trial in trials(folder)]
        assert statuses[:-1] == ["ok"] * len(statuses[:-1])
        assert statuses == [] or statuses[-1] in ("ok", "interrupted")
        if "ok" in statuses:
            assert "interrupted" in (folder / "report.md").read_text()
    again = brokerbench("report", folder, cwd=place)
    assert again.returncode == 0, again.stderr


def test_ctrl_c_before_anything_was_started(tmp_path):
    process = started("run", small(tmp_path), cwd=tmp_path)
    until(lambda: "numpy" in open(f"/proc/{process.pid}/maps").read(), process, what="the import of numpy")  # noqa: PTH123, SIM115
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    ended(process)
    assert process.err().endswith("brokerbench: interrupted\n")


@pytest.mark.server
@pytest.mark.timeout(200)
@pytest.mark.parametrize(("system", "program"), [("kafka", "java"), ("rabbitmq", "beam.smp")])
def test_ctrl_c_while_a_server_starts(tmp_path, needs, system, program):
    needs(system)
    process = started("run", small(tmp_path, f"{system}, tcp"), cwd=tmp_path)
    until(lambda: any(program in line_of(one) for one in psutil.Process(process.pid).children(recursive=True)), process, what=program)
    folder = interrupted(process, tmp_path)
    assert trials(folder) == []
    assert brokerbench("report", folder, cwd=tmp_path).returncode == 0


@pytest.mark.server
@pytest.mark.timeout(200)
def test_ctrl_c_twice_still_leaves_nothing(tmp_path, needs):
    needs("rabbitmq")
    process = started("run", small(tmp_path, "rabbitmq, tcp", rounds=9), cwd=tmp_path)
    until(lambda: list(tmp_path.glob("results/runs/*/trials/0002")), process, what="two trials", timeout_s=120)
    before = family(process, str(tmp_path))
    for _ in range(3):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        time.sleep(0.4)
    assert process.wait(30) == 130
    ended(process)
    assert gone(before, 5.0) == []
    folder = folder_of(tmp_path / "results" / "runs")
    assert store.open_run(folder).status == "interrupted"
    assert [trial["status"] for trial in trials(folder)][:2] == ["ok", "ok"]


def test_two_runs_at_once_in_one_results_folder(tmp_path):
    path = small(tmp_path, "tcp", rounds=2)
    both = [started("run", path, "--results", "kept", cwd=tmp_path) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    for process in both:
        ended(process)
    folders = [found.parent for found in (tmp_path / "kept").glob("*/run.json")]
    assert len(folders) == 2
    for folder in folders:
        assert read(folder / "run.json")["status"] == "complete"
        assert [row["verdict"] for trial in trials(folder) for row in trial["audit"].values()] == ["clean"] * 4
        assert (folder / "report.html").is_file()


def test_nothing_of_these_tests_is_left(tmp_path):
    assert alive(family_of_this_process()) == []


def family_of_this_process():
    mine = psutil.Process()
    ours = [one for one in mine.children(recursive=True) if "bench." in line_of(one)]
    # The test session's own guard and servers (tests/conftest.py) live as long as the session lasts.
    own = (" pytest-", "zeromq_proxy_child")
    return [(one.pid, one.create_time(), line_of(one)) for one in ours if not any(mark in line_of(one) for mark in own)]
