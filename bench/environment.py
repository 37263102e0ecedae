"""Where a run was measured (`capture`), and whether figures from there can be trusted (`doctor`).

Figures are of a machine as much as of a system: what could move them is recorded with each run, and what spoils them is
told beforehand. Sizes in bytes, times in seconds unless a name says otherwise; None = cannot be known here.
"""

from __future__ import annotations

import math
import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import adapters
from adapters.errors import AdapterError
from bench import __version__, clock, store
from bench.errors import EnvironmentProblem
from bench.servers.home import home
from bench.servers.java import java

CORES_MIN = 4  # a producer, a server and a consumer at work at the same time, and the rest of the machine
MEMORY_MIN_B = 2 << 30  # Kafka's and RabbitMQ's servers beside the endpoints
DISK_MIN_B = 2 << 30  # Kafka's log of a run at full speed
LOAD_MAX = 0.25  # of each core, by others
STEAL_MAX = 0.02  # of the machine, while the doctor looks
FILES_MIN = 1024
RESOLUTION_MAX_NS = 1000
ROUND_TRIP_MAX_S = 0.005
_LOOK_S = 0.3
_CPU_FAMILIES = ("xeon", "epyc", "ryzen", "threadripper", "opteron", "core", "atom", "celeron", "pentium", "neoverse", "graviton", "apple")
_LIBRARIES = ("numpy", "pydantic", "PyYAML", "psutil", "pyroaring", "pandas", "matplotlib", "Jinja2")


@dataclass(frozen=True)
class Check:
    """One thing that the doctor looked at. ``ok``: "ok", "warn" (figures suffer) or "bad" (nothing can be measured)."""

    name: str
    ok: str
    found: str
    advice: str


# --- what is recorded with each run ------------------------------------------------------------------------------------


def capture() -> dict[str, Any]:
    """Everything about this machine that figures may depend on, as plain JSON (environment.json)."""
    return {
        "captured": clock.utc_now(),
        "machine": machine(),
        "state": state(),
        "placement": {"affinity": sorted(os.sched_getaffinity(0)), "usable_cores": len(os.sched_getaffinity(0))},
        "clock": {"source": _text("/sys/devices/system/clocksource/clocksource0/current_clocksource"), "timens_offsets": timens_offsets()},
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "compiler": platform.python_compiler(),
        },
        "clients": clients(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "java": _java_version(),
        "brokerbench": {"version": __version__, **_revision()},
    }


def machine() -> dict[str, Any]:
    """What does not change while a run lasts."""
    uname = platform.uname()
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_allowed_by_cgroup": quota(),
        "memory_b": psutil.virtual_memory().total,
        "memory_allowed_by_cgroup_b": _cgroup_memory_b(),
        "kernel": f"{uname.system} {uname.release}",
        "architecture": uname.machine,
        "os": _os_name(),
        "virtualisation": _virtualisation(),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


def machine_name(*, pinned: bool = False) -> str:
    """This machine's name in results/reference: `debian12-xeon-2-cores`. Like machines share a name, and so a folder.

    Where processes ran on cores of their own it is another machine, as far as figures go: `debian12-xeon-16-cores-pinned`.
    """
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {"ID": platform.system()}
    usable = min(len(os.sched_getaffinity(0)), quota() or math.inf)
    name = named(release.get("ID", ""), release.get("VERSION_ID", ""), _cpu_model() or platform.machine(), max(1, int(usable)))
    return f"{name}-pinned" if pinned else name


def named(system: str, version: str, cpu: str, cores: int) -> str:
    """A machine's name of its operating system, processor family and usable cores: small letters, digits and hyphens (pure)."""
    family = re.search("|".join(_CPU_FAMILIES), cpu, re.IGNORECASE)
    plain = family[0] if family else re.sub(r"\((?:R|TM)\)|\bCPU\b|\bProcessor\b|@.*", " ", cpu, flags=re.IGNORECASE)
    words = f"{system}{version.partition('.')[0]} {plain} {cores} core{'' if cores == 1 else 's'}"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def machine_folder(results: Path = Path("results"), *, pinned: bool = False) -> Path:
    """Where figures of this machine are committed: ``results``/reference/<machine>. Not made here."""
    return results / "reference" / machine_name(pinned=pinned)


def state() -> dict[str, Any]:
    """What others do on this machine now. ``steal`` is the share since its start that the hypervisor took."""
    load_1m, load_5m, load_15m = os.getloadavg()
    times = psutil.cpu_times()
    memory = psutil.virtual_memory()
    return {
        "load_1m": round(load_1m, 2),
        "load_5m": round(load_5m, 2),
        "load_15m": round(load_15m, 2),
        "steal": round(times.steal / max(sum(times[:8]), 1e-9), 5),
        "memory_available_b": memory.available,
        "swap_used_b": psutil.swap_memory().used,
    }


def stolen(before: Sequence[float], after: Sequence[float]) -> float:
    """The share of the cores' time that the hypervisor took between two `psutil.cpu_times()`."""
    passed = sum(after[:8]) - sum(before[:8])  # the fields behind these are within them
    return (after[7] - before[7]) / passed if passed > 0 else 0.0


def clients() -> dict[str, str | None]:
    """Versions of the client libraries by distribution name; None = not installed."""
    found: dict[str, str | None] = {}
    for system, client in adapters.pairs():
        try:
            name = adapters.load(system, client).capabilities.client
        except AdapterError:
            found[client or f"(of {system})"] = None
            continue
        if name:
            found[name] = _version(name)
    return found


def timens_offsets() -> dict[str, int] | None:
    """Offset in ns of each clock of this time namespace; None where the kernel has none (all clocks then agree).

    Two processes whose offsets differ read different monotonic times, and one-way latency between them is nonsense:
    man 7 time_namespaces.
    """
    text = _text("/proc/self/timens_offsets")
    if text is None:
        return None
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) * 1_000_000_000 + int(row[2]) for row in rows if len(row) == 3}


# --- the doctor --------------------------------------------------------------------------------------------------------


def doctor() -> list[Check]:
    """Look at everything that figures need. Takes about a second; starts no server and leaves nothing behind."""
    looks = (_python, _parents, _clock, _cores, _memory, *_disks(), _load, _steal, _files, _loopback, _java, *_tools())
    return [look() for look in looks]


def _python() -> Check:
    name = platform.python_implementation()
    advice = "the costs of client libraries were weighed on CPython; elsewhere figures are of that interpreter as well"
    return Check("Python", "ok" if name == "CPython" else "warn", f"{name} {platform.python_version()}", advice)


def _parents() -> Check:
    wrong = adapters.same_parent()
    return Check("packages", "bad" if wrong else "ok", wrong or f"bench and adapters of {Path(adapters.__file__).parent.parent}", "")


def _clock() -> Check:
    offsets = timens_offsets() or {}
    if any(offsets.values()):
        advice = "processes outside of this time namespace read other times: run producers, consumers and servers in one container"
        return Check("clock", "warn", f"a time namespace with offsets {offsets}", advice)
    step_ns = _step_ns(clock.now_ns)
    resolution_ns = max(step_ns, round(time.get_clock_info("perf_counter").resolution * 1e9))
    source = _text("/sys/devices/system/clocksource/clocksource0/current_clocksource") or "unknown source"
    advice = "microseconds cannot be told apart: latencies below a few steps of the clock mean nothing (a slow clock source?)"
    found = f"monotonic, steps of {resolution_ns} ns ({source}), no namespace offset"
    return Check("clock", "ok" if resolution_ns <= RESOLUTION_MAX_NS else "warn", found, advice)


def _step_ns(now_ns: Callable[[], int]) -> int:
    """The smallest step between two readings that differ: what the clock can tell, its own cost included."""
    steps = []
    for _ in range(200):
        before = now_ns()
        while (after := now_ns()) == before:
            pass
        steps.append(after - before)
    return min(steps)


def _cores() -> Check:
    usable, allowed = len(os.sched_getaffinity(0)), quota()
    found = (
        f"{usable} usable of {psutil.cpu_count()}"
        + (f", {allowed:g} allowed by the cgroup" if allowed else "")
        + f" ({_cpu_model() or 'unknown model'})"
    )
    enough = min(usable, allowed or usable)
    advice = "producer, server and consumer take turns on too few cores: latencies then show the scheduler"
    return Check("cores", "ok" if enough >= CORES_MIN else "warn", found, advice)


def _memory() -> Check:
    memory = psutil.virtual_memory()
    allowed = _cgroup_memory_b()
    available = min(memory.available, allowed or memory.available)
    found = f"{_gib(available)} available of {_gib(min(memory.total, allowed or memory.total))}"
    advice = f"Kafka and RabbitMQ beside the endpoints need about {_gib(MEMORY_MIN_B)}; end something, or compare fewer systems at once"
    return Check("memory", "ok" if available >= MEMORY_MIN_B else "warn", found, advice)


def _disks() -> Iterable[Callable[[], Check]]:
    yield partial(_disk, "disk for results", store.results_dir, "BROKERBENCH_RESULTS")
    yield partial(_disk, "disk for servers", home, "BROKERBENCH_HOME")


def _disk(name: str, folder_of: Callable[[], Path], variable: str) -> Check:
    advice = f"free some room, or set {variable} to a folder elsewhere"
    folder: Path | None = None
    try:
        folder = place = folder_of().absolute()
        while not place.exists():  # results/runs is made by the first run
            place = place.parent
        with tempfile.TemporaryFile(dir=place):  # to write is the only proof: root may write by every permission
            free = shutil.disk_usage(place).free
    except EnvironmentProblem as error:
        return Check(name, "bad", str(error), advice)
    except OSError as error:
        return Check(name, "bad", f"{folder} cannot be written: {error.strerror}", advice)
    return Check(name, "ok" if free >= DISK_MIN_B else "warn", f"{_gib(free)} free in {place}", advice)


def _load() -> Check:
    load_1m, load_5m, _ = os.getloadavg()
    cores = psutil.cpu_count() or 1
    found = f"{load_1m:.2f} over the last minute, {load_5m:.2f} over five, on {cores} cores"
    return Check(
        "load",
        "ok" if load_1m <= LOAD_MAX * cores else "warn",
        found,
        "others use the machine: wait until they have finished, or figures are theirs too",
    )


def _steal() -> Check:
    before = psutil.cpu_times()
    time.sleep(_LOOK_S)
    now = stolen(before, psutil.cpu_times())
    since = state()["steal"]
    found = f"{now:.1%} now, {since:.1%} since the machine started"
    advice = "the hypervisor gives this machine's cores to others: compare only within one run, and use more rounds"
    return Check("steal", "ok" if max(now, since) <= STEAL_MAX else "warn", found, advice)


def _files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    advice = f"many endpoints need more: ulimit -n {FILES_MIN}" + (
        "" if hard in (-1, resource.RLIM_INFINITY) else f" (at most {hard} here)"
    )
    return Check(
        "file descriptors", "ok" if soft == resource.RLIM_INFINITY or soft >= FILES_MIN else "warn", f"{soft} for one process", advice
    )


def _loopback() -> Check:
    """A real round trip over 127.0.0.1: the way that every message takes."""
    try:
        round_trip_s = _round_trip_s()
    except OSError as error:
        return Check(
            "loopback", "bad", f"127.0.0.1: {error.strerror or error}", "everything runs over 127.0.0.1: bring the interface lo up"
        )
    advice = "a byte over loopback should take far below a millisecond: the machine is busy"
    found = f"a byte to 127.0.0.1 and back in {round_trip_s * 1e6:.0f} us"
    return Check("loopback", "ok" if round_trip_s <= ROUND_TRIP_MAX_S else "warn", found, advice)


def _round_trip_s() -> float:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(2.0)
        with socket.create_connection(listener.getsockname(), timeout=2.0) as here:
            there, _ = listener.accept()
            with there:
                there.settimeout(2.0)
                taken = []
                for _ in range(20):
                    start_ns = clock.now_ns()
                    here.sendall(b"x")
                    there.sendall(there.recv(1))
                    here.recv(1)
                    taken.append(clock.now_ns() - start_ns)
    return min(taken) / 1e9


def _java() -> Check:
    version = _java_version()
    advice = "Kafka and ElasticMQ need Java 17: apt-get install default-jre-headless; without it they are left out"
    found = version or "none"
    major = re.search(r"\d+", version or "0")
    return Check("Java", "ok" if version and major and int(major[0]) >= 17 else "warn", found, advice)


def _tools() -> Iterable[Callable[[], Check]]:
    yield partial(_tool, "RabbitMQ", "rabbitmq-server", "apt-get install rabbitmq-server; without it RabbitMQ is left out")
    yield partial(_tool, "Redis", "redis-server", "apt-get install redis-server; without it Valkey from a wheel takes its place")
    yield partial(_tool, "Maven", "mvn", "apt-get install maven: fetches Kafka's and ElasticMQ's jars, once")


def _tool(name: str, program: str, advice: str) -> Check:
    # Debian keeps servers in /usr/sbin, which an ordinary user's path leaves out.
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/sbin")
    return Check(name, "ok" if found else "warn", found or f"no {program}", advice)


# --- facts -------------------------------------------------------------------------------------------------------------


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _cpu_model() -> str | None:
    info = _text("/proc/cpuinfo") or ""
    # ARM has no "model name"; its part number says at least which core it is.
    found = re.search(r"^(?:model name|Model|CPU part)\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1].strip() if found else None


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _virtualisation() -> str:
    """A hint, from what the kernel shows; "none seen" is no proof."""
    seen = []
    if re.search(r"^flags\s*:.*\bhypervisor\b", _text("/proc/cpuinfo") or "", re.MULTILINE):
        seen.append("virtual machine")
    product = _text("/sys/class/dmi/id/product_name") or _text("/sys/hypervisor/type")
    if product:
        seen.append(product)
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        seen.append("container")
    if "microsoft" in platform.release().lower():
        seen.append("WSL")
    return ", ".join(seen) or "none seen"


def quota() -> float | None:
    """Cores that the cgroup's quota allows; None = no quota seen (version 2: cpu.max, version 1: cfs_quota_us)."""
    both = (_text("/sys/fs/cgroup/cpu.max") or "").split()
    if len(both) != 2:
        both = [_text(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    quota, period = both
    return round(int(quota) / int(period), 2) if quota.isdigit() and period.isdigit() and int(period) else None


def _cgroup_memory_b() -> int | None:
    limit = _text("/sys/fs/cgroup/memory.max") or _text("/sys/fs/cgroup/memory/memory.limit_in_bytes") or ""
    # Version 1 says "no limit" by a number near 2^63.
    return int(limit) if limit.isdigit() and int(limit) < 1 << 60 else None


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _java_version() -> str | None:
    program = java()
    if program is None:
        return None
    said = _said([str(program), "-version"]) or ""
    found = re.search(r'version "([^"]+)"', said)
    return found[1] if found else None


def _revision() -> dict[str, Any]:
    """Of the checkout that this runs from; both None in an installed package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return {"revision": None, "changed": None}
    revision = _said(["git", "-C", str(root), "rev-parse", "HEAD"])
    changes = _said(["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"])
    return {"revision": revision, "changed": None if changes is None else bool(changes)}


def _said(command: list[str]) -> str | None:
    """What a command prints (both streams: java speaks on stderr); None where it fails."""
    try:
        # No optional locks: `git status` would otherwise write the index of a checkout that somebody works in.
        quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10, check=False, text=True, env=quiet)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _gib(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB"
