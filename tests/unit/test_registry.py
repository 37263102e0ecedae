"""The registry of adapters, reading of options, ports: adapters/__init__.py, options.py, ports.py."""

import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import adapters
from adapters.base import Options
from adapters.errors import AdapterError, BadSetting, NotInstalled, UnknownSystem, Unreachable
from adapters.memory import CAPABILITIES, Memory
from adapters.options import choose_mode, integer_settings
from adapters.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent.parent


def python(code, *paths, **more):
    """Run code in a fresh interpreter with these folders in front."""
    path = ":".join(str(folder) for folder in (*paths, ROOT))
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def installed(folder, points):
    """A distribution in ``folder`` with these entry points, as pip leaves it."""
    info = folder / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[brokerbench.adapters]\n{points}\n")


def test_names_are_those_of_the_files():
    built_in = [name for name in adapters.names() if (ROOT / "adapters" / f"{name}.py").is_file()]
    assert tuple(built_in) == adapters.BUILT_IN
    with_adapter = {path.stem for path in (ROOT / "adapters").glob("*.py") if "\nADAPTER = " in path.read_text(encoding="utf-8")}
    assert with_adapter == set(adapters.BUILT_IN) | {module for others in adapters.SECOND.values() for module in others.values()}


@pytest.mark.parametrize("name", ["redis-pubsub", "redis_pubsub", " Redis-PubSub "])
def test_hyphens_and_capitals_are_accepted(name):
    assert adapters.load(name).capabilities.system == "Redis Pub/Sub"


def test_importing_the_registry_imports_no_client():
    clients = {"zmq", "kafka", "pika", "redis", "boto3", "nats"}
    done = python(f"import sys, adapters; adapters.names(); print(sorted({clients} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("wrong", "right"), [("kafak", "kafka"), ("zermoq", "zeromq"), ("rabbit", "rabbitmq"), ("redispubsub", "redis_pubsub")]
)
def test_an_unknown_system_names_the_nearest(wrong, right):
    with pytest.raises(UnknownSystem, match=f"did you mean '{right}'"):
        adapters.load(wrong)


def test_an_unknown_system_like_no_other_lists_them_all():
    with pytest.raises(UnknownSystem) as told:
        adapters.load("carrier pigeon")
    assert "did you mean" not in str(told.value)
    assert all(name in str(told.value) for name in adapters.names())


@pytest.mark.parametrize(
    ("system", "library", "extra"),
    [
        ("zeromq", "zmq", "zeromq"),
        ("redis_pubsub", "redis", "redis-pubsub"),
        ("rabbitmq", "pika", "rabbitmq"),
        ("kafka", "kafka", "kafka"),
        ("kafka,confluent-kafka", "confluent_kafka", "confluent-kafka"),
    ],
)
def test_a_missing_client_library_says_what_to_install(system, library, extra):
    code = f"""
        import sys
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name == {library!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        sys.meta_path.insert(0, Missing())
        import adapters
        try:
            adapters.load(*{system!r}.split(','))
        except adapters.NotInstalled as missing:
            print(missing)
    """
    done = python(code)
    assert f"pip install 'brokerbench[{extra}]'" in done.stdout, done.stderr
    assert repr(library) in done.stdout


def test_an_entry_point_adds_a_system(tmp_path):
    installed(tmp_path, "my-queue = my_queue:Mine")
    (tmp_path / "my_queue.py").write_text("from adapters.memory import Memory\n\n\nclass Mine(Memory):\n    pass\n")
    done = python("import adapters; print(adapters.names()[-1], adapters.load('my-queue').__name__)", tmp_path)
    assert done.stdout.split() == ["my_queue", "Mine"], done.stderr


def test_an_entry_point_cannot_take_a_built_in_name(tmp_path):
    installed(tmp_path, "memory = nowhere:Fake")
    done = python("import adapters; print(adapters.load('memory').__module__, adapters.names().count('memory'))", tmp_path)
    assert done.stdout.split() == ["adapters.memory", "1"], done.stderr


def test_an_entry_point_whose_library_is_missing_names_its_package(tmp_path):
    installed(tmp_path, "my-queue = my_queue:Mine")
    (tmp_path / "my_queue.py").write_text("import no_such_client\n")
    code = """
        import adapters
        try:
            adapters.load("my-queue")
        except adapters.NotInstalled as missing:
            print(missing)
    """
    done = python(code, tmp_path)
    assert "other" in done.stdout, done.stderr
    assert "no_such_client" in done.stdout


def test_registering_by_hand():
    adapters.register("by-hand", Memory)
    try:
        assert adapters.load("by_hand") is Memory
        assert "by_hand" in adapters.names()
        with pytest.raises(UnknownSystem, match="taken"):
            adapters.register("by_hand", Memory)
    finally:
        adapters.unregister("by-hand")
    with pytest.raises(UnknownSystem):
        adapters.load("by_hand")


def test_adapters_and_bench_are_of_one_parent():
    assert adapters.same_parent() is None


def test_a_foreign_bench_in_front_is_told(tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").touch()
    done = python("import adapters; print(adapters.same_parent())", tmp_path)
    assert str(tmp_path) in done.stdout, done.stderr
    assert str(ROOT) in done.stdout


def test_a_missing_bench_is_told(tmp_path):
    (tmp_path / "adapters").symlink_to(ROOT / "adapters")
    done = subprocess.run(
        [sys.executable, "-c", "import adapters, importlib.util as u; u.find_spec = lambda name: None; print(adapters.same_parent())"],
        env={"PYTHONPATH": str(tmp_path)}, cwd="/", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "not installed whole" in done.stdout, done.stderr


def test_every_error_is_an_adapter_error():
    assert all(issubclass(kind, AdapterError) for kind in (NotInstalled, UnknownSystem, BadSetting, Unreachable))


@pytest.mark.parametrize("system", [name for name in adapters.BUILT_IN if name not in {"memory", "tcp"}])
def test_a_setting_that_is_nearly_right_is_suggested(system):
    known = {"zeromq": "sndhwm", "kafka": "linger_ms", "rabbitmq": "window", "redis_pubsub": "socket_timeout"}
    known |= {
        "rabbitmq_streams": "window",
        "redis_streams": "min_idle_time",
        "sqs": "threads",
        "kinesis": "resends",
        "nats": "ack_wait",
        "flume": "batch-size",
    }
    with pytest.raises(BadSetting, match=known[system]):
        adapters.load(system)(Options(settings={known[system] + "x": "1"}))


def test_integer_settings():
    settings = integer_settings("toy", Options(settings={"a": "7"}), {"a": 1, "b": 2})
    assert settings == {"a": 7, "b": 2}
    for text, says in [("seven", "not a whole number"), ("1.5", "not a whole number"), ("", "not a whole number"), ("-1", "at least 0")]:
        with pytest.raises(BadSetting, match=says):
            integer_settings("toy", Options(settings={"a": text}), {"a": 1})


def test_modes_by_name():
    assert choose_mode(CAPABILITIES, Options(mode="acknowledged")).name == "acknowledged"
    with pytest.raises(BadSetting, match="acknowledged"):
        choose_mode(CAPABILITIES, Options(mode="ack"))


def test_free_ports_differ_and_can_be_bound():
    ports = free_ports(50) + free_ports(50)
    assert len(set(ports)) == 100
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_free_ports_lie_outside_of_what_outgoing_connections_take(monkeypatch):
    monkeypatch.setattr("adapters.ports.ephemeral_range", lambda: (32768, 60999))
    assert max(free_ports(50)) < 32768
    monkeypatch.setattr("adapters.ports.ephemeral_range", lambda: (1024, 60999))
    assert min(free_ports(50)) > 60999
    monkeypatch.setattr("adapters.ports.ephemeral_range", lambda: (1024, 65535))
    assert len(set(free_ports(5))) == 5


def test_ports_that_are_not_there_are_told(monkeypatch):
    monkeypatch.setattr("adapters.ports.candidates", lambda: range(23456, 23459))
    with pytest.raises(Unreachable, match="5 free ports are needed"):
        free_ports(5)
