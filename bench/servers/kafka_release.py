"""A release of Apache Kafka from Maven's jars, on the machine's Java: command lines, a formatted folder, a class archive.

Each is made once, in the release's own folder of BROKERBENCH_HOME.
"""

from __future__ import annotations

import base64
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import ServerError
from bench.servers import java
from bench.servers.base import Product
from bench.servers.common import DATA
from bench.servers.home import building, locked
from bench.servers.products import product

NAME = "Apache Kafka"
FORMAT_TIMEOUT_S = 120.0
HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")


@dataclass(frozen=True)
class Release:
    """One release, by its version."""

    version: str

    @property
    def libs(self) -> Path:
        """Where its jars are, or will be."""
        return java.libs("kafka", self.version)

    def product(self) -> Product:
        """What runs: the version is that of the broker's jar (kafka_2.13-4.4.0.jar)."""
        jars = sorted(self.libs.glob("kafka_*.jar"))
        return product(NAME, jars[0].stem.rpartition("-")[2] if jars else self.version)

    def missing(self) -> str | None:
        """What is missing here and how to get it; None = nothing."""
        return java.missing_jars("kafka", self.version)

    def command(self, flags: Sequence[str], main: str, *arguments: str) -> list[str]:
        """A command line that runs one of its main classes; a heap among ``flags`` is the one that counts. Raises ServerError."""
        log = f"-Dlog4j2.configurationFile={DATA / 'kafka-log4j2.properties'}"
        return [str(java.java_needed()), *HEAP, *flags, log, "-cp", java.class_path(self.libs), main, *arguments]

    def archived(self) -> list[str]:
        """Flags that use its class archive, where it is there."""
        return java.archive_flags("kafka", self.version)

    def formatted(self, settings: Mapping[str, str]) -> Path:
        """A KRaft node's data folder, formatted by Kafka's own tool, to be copied: with static voters it holds no port.

        (Writing meta.properties by hand leaves feature levels off, and the new group protocol then fails.) ``settings``: a node's, but
        for its id, addresses and folders. Raises ServerError.
        """
        target = self.libs.parent / "formatted"
        with locked("kafka-format"):  # an install holds "kafka" when it starts a broker
            if not target.is_dir():
                self._format(target, settings)
        return target

    def _format(self, target: Path, settings: Mapping[str, str]) -> None:
        with building(target) as folder, tempfile.TemporaryDirectory() as work:
            own = {"node.id": "1", "controller.quorum.voters": "1@127.0.0.1:1", "log.dirs": str(folder)}
            own |= {"listeners": "PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1", "advertised.listeners": "PLAINTEXT://127.0.0.1:2"}
            file = Path(work) / "server.properties"
            write_properties(file, {**settings, **own})
            command = self.command([], "kafka.tools.StorageTool", "format", "-t", random_id(), "-c", str(file))
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S)
            if done.returncode != 0:
                lines = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-15:])
                raise ServerError(f"kafka: its data folder could not be formatted (exit code {done.returncode}):\n{lines}")


def random_id() -> str:
    """An id as Kafka writes them: a UUID in URL-safe base64 without padding."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        continue  # a leading dash would be an option on the command line
    return text


def write_properties(file: Path, settings: Mapping[str, str]) -> None:
    """Write settings as a properties file."""
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
