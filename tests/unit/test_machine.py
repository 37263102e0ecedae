"""What the machine did in a window: from prepared kernel files to the figures, and from the real ones."""

import os
import subprocess
import sys
import time

import pytest

from bench import machine
from bench.servers.base import Node

BEFORE = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 1 1 1\n"
AFTER = "cpu  140 0 70 870 60 5 5 10 0 0\ncpu0 1 1 1 1\n"  # of 160 ticks 80 busy, 10 of them stolen


def prepared(root, stat, *, load="0.75 1 1 1/1 1\n", cgroup=None, **cpu_stat):
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/stat").write_text(stat)
    (root / "proc/loadavg").write_text(load)
    if cgroup is not None:
        (root / "proc/self/cgroup").write_text(cgroup)
    for folder, text in cpu_stat.items():
        path = root / "sys/fs/cgroup" / folder.replace("__", "/") / "cpu.stat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_shares_are_of_the_time_of_all_cores(tmp_path):
    prepared(tmp_path, BEFORE)
    watch = machine.Watch(root=tmp_path)
    prepared(tmp_path, AFTER)
    found = watch.end(0.8)
    assert (found["busy"], found["steal"], found["load_1m"], found["throttled_s"]) == (0.5, 0.0625, 0.75, None)
    assert found["cores"] == os.cpu_count()
    assert found["idle_servers_cores"] >= 0


@pytest.mark.parametrize(
    ("cgroup", "folder", "before", "after"),
    [
        ("0::/a/b\n", "a__b", "usage_usec 1\nthrottled_usec 1000\n", "usage_usec 9\nthrottled_usec 61000\n"),
        ("0::/host/path\n", ".", "throttled_usec 0\n", "throttled_usec 60000\n"),  # within a container
        (
            "3:memory:/m\n1:cpu,cpuacct:/x\n0::/\n",
            "cpu__x",
            "nr_throttled 0\nthrottled_time 5\n",
            "nr_throttled 1\nthrottled_time 60000005\n",
        ),
    ],
)
def test_time_without_quota_is_of_the_own_group(tmp_path, cgroup, folder, before, after):
    prepared(tmp_path, BEFORE, cgroup=cgroup, **{folder: before})
    watch = machine.Watch(root=tmp_path)
    prepared(tmp_path, AFTER, **{folder: after})
    assert watch.end(1.0)["throttled_s"] == pytest.approx(0.06)


def test_what_the_kernel_does_not_say_is_not_known(tmp_path):
    prepared(tmp_path, "cpu 1 2 3 4\n", load="", cgroup="0::/\n", **{".": "usage_usec 1\n"})
    found = machine.Watch(root=tmp_path).end(1.0)
    assert {name: found[name] for name in ("busy", "steal", "throttled_s", "load_1m")} == dict.fromkeys(
        ("busy", "steal", "throttled_s", "load_1m")
    )


BURN = """\
import threading, time
threading.Thread(target=lambda: sum(i for i in iter(int, 1)), daemon=True).start()
print("on", flush=True)
time.sleep(60)
"""


def test_a_real_machine_a_real_node_and_its_one_busy_thread():
    with subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE) as burning:
        try:
            burning.stdout.readline()
            nodes = machine.Nodes([Node("s.1", "broker", burning.pid, "", ""), Node("gone.1", "broker", None, "", "")])
            watch = machine.Watch(idle=[burning.pid, 1 << 22])
            began = time.monotonic()
            while time.monotonic() - began < 0.5:
                time.sleep(0.05)
            window_s = time.monotonic() - began
            (row, gone), found = nodes.end(), watch.end(window_s)
        finally:
            burning.kill()
    assert row["cpu_ns"] > 20_000_000
    assert row["thread_ns"] == pytest.approx(row["cpu_ns"], abs=40_000_000), "one thread had it all; its clock has steps of 10 ms"
    assert row["rss_b"] > 1_000_000
    assert gone == {"name": "gone.1", "role": "broker", "cpu_ns": None, "thread_ns": None, "rss_b": None}
    assert found["idle_servers_cores"] >= row["cpu_ns"] / (window_s * 1e9) * 0.9
    assert 0 < found["busy"] <= 1
    assert found["steal"] is None or 0 <= found["steal"] <= 1
