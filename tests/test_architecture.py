"""The shape of the code, held by tests: who may import whom, who reads clocks, how long a function is, what a system needs."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import adapters
from bench import servers
from bench.servers import compose

ROOT = Path(__file__).resolve().parent.parent
LINES_MAX = 70
SOURCES = sorted(path for folder in ("bench", "adapters", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py"))

# Modules of bench/ that may look at time.monotonic: they wait for other processes with a deadline and measure nothing.
WAITING = {"guard.py", "watchdog.py", "servers", "engine", "control.py"}
STAMPS = {
    "time",
    "time_ns",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "process_time",
    "process_time_ns",
    "thread_time",
    "thread_time_ns",
}
STAMPS |= {"clock_gettime", "clock_gettime_ns", "now", "utcnow", "today"}
HEAVY = {"pandas", "scipy", "matplotlib", "yaml", "pydantic", "jinja2", "psutil", "pyroaring"}
HEAVY |= {"zmq", "kafka", "pika", "redis", "boto3", "nats"}


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name(path):
    return str(path.relative_to(ROOT))


def imports(path):
    """Top-level names of what a module imports, anywhere in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: relative import; write the whole name"
            yield (node.module or "").partition(".")[0]


def clock_reads(path):
    """(line, attribute) of each use of time.X or datetime.X, also by ``from time import X``."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in {"time", "datetime", "date"}:
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((node.lineno, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_functions_fit_a_screen(path):
    long = [
        f"{name(path)}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > LINES_MAX
    ]
    assert not long, long


@pytest.mark.parametrize("path", sorted((ROOT / "adapters").glob("*.py")), ids=name)
def test_adapters_are_leaves(path):
    found = set(imports(path))
    assert "bench" not in found, "an adapter knows nothing of the harness"
    assert "tests" not in found


@pytest.mark.parametrize("path", sorted((ROOT / "adapters").glob("*.py")), ids=name)
def test_adapters_read_no_clock_but_for_deadlines(path):
    used = [f"{name(path)}:{line}: {attribute}" for line, attribute in clock_reads(path) if attribute in STAMPS]
    assert not used, used


@pytest.mark.parametrize("path", sorted((ROOT / "bench").rglob("*.py")), ids=name)
def test_one_module_reads_the_clock(path):
    parts = set(path.relative_to(ROOT / "bench").parts)
    if parts == {"clock.py"}:
        return
    forbidden = STAMPS if parts & WAITING else STAMPS | {"monotonic"}
    used = [
        f"{name(path)}:{line}: {attribute}; bench/clock.py has what you need"
        for line, attribute in clock_reads(path)
        if attribute in forbidden
    ]
    assert not used, used


@pytest.mark.parametrize("path", sorted((ROOT / "bench").rglob("*.py")), ids=name)
def test_nothing_imports_the_tests_or_the_benchmarks(path):
    assert not {"tests", "benchmarks", "conftest"} & set(imports(path))


@pytest.mark.parametrize("folder", ["analysis", "report"])
def test_what_comes_after_the_trial_starts_nothing(folder):
    for path in (ROOT / "bench" / folder).rglob("*.py"):
        assert not {"subprocess", "socket", "multiprocessing", "adapters"} & set(imports(path)), f"{name(path)} is to be pure"


def loaded(statement):
    """Top-level packages, of neither the standard library nor ours, that a statement imports in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}} - set(sys.stdlib_module_names)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {module for module in done.stdout.split() if not module.startswith("_")} - {"adapters", "bench"}


def test_an_endpoint_imports_numpy_and_nothing_else():
    assert loaded("import bench.endpoint") - {"sitecustomize"} == {"numpy"}  # Debian's Python brings a sitecustomize


def test_an_endpoint_imports_only_the_client_of_its_own_system():
    found = loaded("import bench.endpoint, adapters; adapters.load('zeromq')")
    assert "zmq" in found
    assert not found & (HEAVY - {"zmq"}), found


def test_the_command_line_answers_before_it_imports_what_is_slow():
    found = loaded("import bench.cli")
    assert not found & {"pandas", "scipy", "matplotlib", "zmq", "kafka", "pika", "redis", "boto3"}, found


WITHOUT_IMAGE = {"flume"}  # nobody publishes one, and its recipe starts an agent for each session

MEASURED = [system for system in adapters.BUILT_IN if system != "memory"]  # the reference has neither server nor client
PAIRS = [(system, client) for system in MEASURED for client in ("", *adapters.clients(system))]


@pytest.mark.parametrize(("system", "second"), PAIRS)
def test_a_system_has_its_extra(system, second):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    client = adapters.load(system, second).capabilities.client
    extra = second or system.replace("_", "-")
    if not client:
        assert extra not in extras
        return
    assert any(need.startswith(client) for need in extras[extra]), f"extra {extra!r} does not install {client}"
    assert f"{extra}," in extras["all"][0] or f"{extra}]" in extras["all"][0], f"extra 'all' leaves out {extra}"


@pytest.mark.parametrize("system", MEASURED)
def test_a_system_has_a_recipe_and_a_service_or_no_broker(system):
    capabilities = adapters.load(system).capabilities
    recipe = servers.recipe(system)
    if capabilities.architecture == "broker-less":
        assert recipe is None
        assert capabilities.consumer_listens
        return
    assert recipe is not None, f"bench/servers/{system}.py is missing"
    assert recipe.system == system
    if system in WITHOUT_IMAGE:
        assert system not in compose.SERVICES
        return
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    assert "compose" in recipe.default_kinds
    assert compose.SERVICES[system] in services


def test_every_recipe_has_its_adapter():
    assert set(servers.OWN) <= set(adapters.BUILT_IN)
